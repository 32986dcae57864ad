"""One send of one part: render, record the intent, upload, create. Or adopt what went out before.

Each step commits before and after its call, so that whatever kills this process, the next pass
knows what may have happened and looks before it sends again.

While a part is uploaded, the lines of the next are rendered. Nothing is recorded of that: its turn
begins with the same looks as ever, and where anything of it isn't as it was, it is rendered anew.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import xxhash

from ... import store
from ...base import clock
from ...base.errors import NeedsAttention, OpenAIBatchError, ProviderError, Unreachable
from ...base.scratch import Scratch
from ...pricing.ceiling import PartBound, reserve
from ...provider.batch import BatchState
from ...provider.client import Provider
from ...requests.chunks import ROWS, ROWS_WITH_IMAGES, Chunks, ManyLines
from ...requests.images import check_folder
from ...requests.limits import cap_for
from ...requests.lines import Ready
from ...requests.template import Renderer, bind_job, hashed_columns
from ...requests.turns import with_turn
from ...store import Part, earlier, parts
from ...store.connection import transaction
from ...store.leases import Renewal
from ...store.records import is_token
from ...tables.lines import open_lines
from ...tables.output import Output
from ...tables.source import Group, Source, fetch_groups, source_of_job
from ...tables.sql import SQLiteValue
from .. import queue
from .lookup import hash_ids, since
from .settle import put_back

# The lines of a part, from its rows as they are now: for a send, and for a file by hand.

GONE = "the row is gone"


class Asked(NamedTuple):
    """Requests that wait: their ids, the keys of their rows, and the hashes last looked at."""

    ids: Sequence[int]
    row_keys: Sequence[SQLiteValue]
    hashes: Sequence[bytes | None]

    def some(self, start: int, stop: int) -> Asked:
        """Some of them."""
        some = slice(start, stop)
        return Asked(self.ids[some], self.row_keys[some], self.hashes[some])

    def without(self, gone: frozenset[int]) -> Asked:
        """All but those of these places."""
        kept = [index not in gone for index in range(len(self.ids))]
        ids, row_keys = list(compress(self.ids, kept)), list(compress(self.row_keys, kept))
        return Asked(ids, row_keys, list(compress(self.hashes, kept)))


@dataclass(frozen=True, slots=True)
class PartLines:
    """Some of a part's requests, in the order of their ids."""

    ids: list[int]
    """Those that have a line."""
    lines: ManyLines
    changed: list[tuple[bytes, int]]
    """The hash of each row that isn't as it was when last asked or planned, and its request."""
    problems: list[tuple[int, str]]
    """Requests that have no line, and why."""
    before: Sequence[bytes | None]
    """The hashes last looked at, of all these requests."""


def part_lines(
    conn: sqlite3.Connection, source: Source, chunks: Chunks, part: Part, endpoint: str
) -> Iterator[PartLines]:
    """Render the requests of a part that wait for an answer, a few hundred at a time.

    Where failed answers go back to the model they are in the lines, with what was wrong with them.
    No cursor is open on the database while lines are with the caller.
    """
    for some in rendered_lines(conn, source, chunks, part.id):
        yield with_turns(conn, some, endpoint) if part.repairs else some


def with_turns(conn: sqlite3.Connection, some: PartLines, endpoint: str) -> PartLines:
    """Lines with what their requests were answered, and what was wrong with it."""
    turns = earlier.turns(conn, some.ids)
    lines = [
        with_turn(line, endpoint, turns[one]) if one in turns else line
        for one, line in zip(some.ids, some.lines.all(), strict=True)
    ]
    return replace(some, lines=Ready(lines))


def rendered_lines(
    conn: sqlite3.Connection, source: Source, chunks: Chunks, part_id: int
) -> Iterator[PartLines]:
    """Render the requests of a part as their rows are, and nothing else."""
    renderer = chunks.renderer
    most = ROWS_WITH_IMAGES if renderer.has_images else ROWS
    after = 0
    while page := store.pending_page(conn, part_id, after):
        asked = Asked(*zip(*page, strict=True))
        after = asked.ids[-1]
        groups = fetch_groups(
            source, renderer.columns, asked.row_keys, stored=renderer.takes_stored, most=most
        )
        start = 0
        for group in groups:
            yield _rendered(chunks, asked.some(start, start + group.keys), group)
            start += group.keys


def _rendered(chunks: Chunks, asked: Asked, group: Group) -> PartLines:
    problems = [(asked.ids[index], GONE) for index in group.gone]
    looked_at = asked.hashes
    if group.gone:
        asked = asked.without(frozenset(group.gone))
    if not asked.ids:
        return PartLines([], Ready([]), [], problems, looked_at)
    ids, before = list(asked.ids), list(asked.hashes)
    made = chunks.made(ids, group.columns, group.stored)
    lines, failed = made.lines, made.problems
    problems += [(ids[index], message) for index, message in failed.items()]
    changed = []
    if before != made.hashes:
        changed = [
            (now, request_id)
            for index, (request_id, digest, now) in enumerate(
                zip(ids, before, made.hashes, strict=True)
            )
            if now != digest and index not in failed
        ]
    if failed:
        ids = [request_id for index, request_id in enumerate(ids) if index not in failed]
        lines = Ready([line for line in lines.all() if line])
    return PartLines(ids, lines, changed, sorted(problems), looked_at)


# A part's file as it is about to be sent: its lines, their requests, and what stays behind.


@dataclass
class RenderedPart:
    """A part's file as it is about to be sent."""

    path: Path
    most: int
    """Bytes that the provider takes in one file."""
    bound: PartBound | None
    size: int = 0
    ids: list[int] = field(default_factory=list)
    """The request of each line."""
    hashes: list[tuple[bytes, int]] = field(default_factory=list)
    gone: list[tuple[str, str | None, str | None, int]] = field(default_factory=list)
    overflow: list[int] = field(default_factory=list)
    """Requests that don't fit any more: rows can have grown since they were planned."""
    overflow_size: int = 0
    """Bytes of their lines."""
    before: list[bytes | None] = field(default_factory=list)
    """The hash last looked at of each request, in their order, as it was when it was rendered."""
    _digest: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return len(self.ids)

    @property
    def fingerprint(self) -> bytes:
        """What tells the file from others: its XXH3-128."""
        return self._digest.digest()

    @property
    def requests(self) -> list[int]:
        """All requests of the part that were looked at, in their order."""
        return sorted([*self.ids, *self.overflow, *(gone[-1] for gone in self.gone)])

    def add(self, some: PartLines, file: BinaryIO) -> None:
        """Write the next lines of the part."""
        self.before += some.before
        self.gone += [("unrenderable", None, why, one) for one, why in some.problems]
        ids, lines = some.ids, some.lines
        written = lines.whole()
        if self.overflow or self.size + len(written) > self.most:
            ids, lines = self.fitting(some)
            written = lines.whole()
        kept = frozenset(ids)
        self.hashes += [(now, one) for now, one in some.changed if one in kept]
        self._digest.update(written)
        file.write(written)
        self.size += len(written)
        self.ids += ids
        if self.bound is not None:
            for line in lines.all():
                self.bound.add(line)

    def fitting(self, some: PartLines) -> tuple[list[int], ManyLines]:
        """Sort out what fits no file at all, and what is left for another part."""
        ids, lines, size = [], [], self.size
        for request_id, line in zip(some.ids, some.lines.all(), strict=True):
            if len(line) > self.most:
                message = f"one line of {len(line):,} bytes; the limit is {self.most:,}"
                self.gone.append(("too_large", None, message, request_id))
            elif self.overflow or size + len(line) > self.most:
                self.overflow.append(request_id)
                self.overflow_size += len(line)
            else:
                ids.append(request_id)
                lines.append(line)
                size += len(line)
        return ids, Ready(lines)


class Rendering:
    """A part's file in the making. Between two pages nothing is open on the database."""

    def __init__(self, done: RenderedPart, pages: Iterator[PartLines]) -> None:
        self.done = done
        self._pages = pages
        self._file = done.path.open("wb")

    def some(self) -> bool:
        """Write the next page; False where all are written."""
        page = next(self._pages, None)
        if page is not None:
            self.done.add(page, self._file)
            return True
        self._file.close()
        if self.done.bound is not None:
            self.done.bound.count()
        return False

    def close(self) -> None:
        """Close the file, whole or not."""
        self._file.close()


@dataclass
class Begun:
    """A part's file in a folder of its own, begun before or when it was the part's turn."""

    part: Part
    ceiling: int | None
    """That of the job, in nano-dollars."""
    folder: Scratch
    rendering: Rendering

    def fits(self, part: Part, job: store.Job) -> bool:
        """Whether the part, and the ceiling, are as they were when this was begun."""
        same = replace(part, lease_owner=self.part.lease_owner, lease_until=self.part.lease_until)
        return same == self.part and job.max_cost_nanousd == self.ceiling

    def close(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # on a full disk: a file that is whole was closed before
            self.rendering.close()
        self.folder.close()


def resized(part: Part, size: int, requests: int) -> Part:
    """A part over some of another's requests: their bytes, and its share of what was estimated.

    Tokens follow the bytes. So does the bound of the cost, but answers may be as long in short
    lines: it never falls behind the share of the requests.
    """

    def share(value: int | None, some: int, whole: int) -> int | None:
        return value if value is None or not whole else -(-value * some // whole)

    by_size = share(part.upper_cost_nanousd, size, part.bytes)
    by_number = share(part.upper_cost_nanousd, requests, part.requests)
    return replace(
        part,
        requests=requests,
        bytes=size,
        estimated_tokens=share(part.estimated_tokens, size, part.bytes),
        upper_cost_nanousd=None if by_size is None else max(by_size, by_number or 0),
    )


def figures(part: Part) -> dict[str, int | None]:
    """The columns that tell how much a part is."""
    return {
        "requests": part.requests,
        "bytes": part.bytes,
        "estimated_tokens": part.estimated_tokens,
        "upper_cost_nanousd": part.upper_cost_nanousd,
    }


#: Seconds that an upload which isn't wanted any more has to notice it: it does with its next piece.
LEAVE_SECONDS = 5.0


class Left(Exception):
    """Nobody waits for this upload any more."""


class Uploading:
    """An upload in a thread of its own, while its caller does something else with the database.

    `upload` is given a function to call now and then, which ends it where nobody waits for it any
    more: at the end of the `with`, whatever ended that. The thread keeps no process alive.
    """

    def __init__(self, upload: Callable[[Callable[[], None]], str]) -> None:
        self._upload = upload
        self._done = threading.Event()
        self._left = threading.Event()
        self._file_id = ""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def __enter__(self) -> Uploading:
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C comes here too, and then nobody leaves the block.
            self._left.set()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(LEAVE_SECONDS)

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for the upload so long; whether it has ended."""
        return self._done.wait(seconds)

    def result(self) -> str:
        """The id of the file, once the upload has ended. Raises what ended it."""
        if self._error is not None:
            raise self._error
        return self._file_id

    def _still(self) -> None:
        if self._left.is_set():
            raise Left

    def _run(self) -> None:
        try:
            self._file_id = self._upload(self._still)
        except BaseException as error:  # noqa: BLE001  raised where the result is wanted
            self._error = error
        finally:
            self._done.set()


#: Between two looks whether an upload has ended, with the next part rendered.
WAIT_SECONDS = 1.0
#: What may be wrong with the next part: that is said when it is its turn.
IN_ITS_TURN = (OpenAIBatchError, OSError, sqlite3.Error)


class Sender:
    """Renders and sends the parts of one job. Closed at the end of a pass."""

    def __init__(self, conn: sqlite3.Connection, provider: Provider, job: store.Job):
        self.conn = conn
        self.provider = provider
        self.job = job
        self.source: Source | None = None
        self.ahead: Begun | None = None
        """What of the next part was rendered while the one before was uploaded."""

    def close(self) -> None:
        """Remove what was rendered ahead, and drop what was read from a view or query."""
        self.leave_ahead()
        if self.source is not None:
            self.source.close()

    def open(self) -> tuple[Source, tuple[int, ...]]:
        """The source, and which of the rendered columns a row's hash covers."""
        job = self.job
        if self.source is None:
            lines = bool(job.settings.get("lines"))
            self.source = (
                open_lines(self.conn, str(job.source)) if lines else source_of_job(self.conn, job)
            )
            self.hashed = hashed_columns(self.renderer(None), Output.of(job))
        return self.source, self.hashed

    def renderer(self, overrides: str | None) -> Renderer:
        """The renderer of the job's template, with a retry's changes to the body."""
        assert self.source is not None
        return bind_job(self.job, self.source, overrides)

    def render(self, part: store.Part, folder: Path) -> RenderedPart:
        """Write a part's file from the rows as they are now, a page at a time."""
        # One at a time reads the rows.
        self.leave_ahead()
        return self.finished(part, self.rendering(part, folder))

    def rendering(self, part: store.Part, folder: Path) -> Rendering:
        """Begin a part's file."""
        check_folder(self.job)
        source, hashed = self.open()
        chunks = Chunks(self.renderer(part.overrides), hashed, f"{self.job.uid}-")
        # The ceiling may have been set since this pass began.
        bound = PartBound.of_part(store.get_job(self.conn, self.job.id), part)
        path = folder / f"part-{part.number}.jsonl"
        done = RenderedPart(path, cap_for(self.job.provider).bytes, bound)
        return Rendering(done, part_lines(self.conn, source, chunks, part, self.job.endpoint))

    def finished(self, part: store.Part, rendering: Rendering) -> RenderedPart:
        """Write what is left of a part's file, while the part stays this process's."""
        alive = Renewal(self.conn, part)
        try:
            while rendering.some():
                alive()
        finally:
            rendering.close()
        return rendering.done

    def begun(self, part: store.Part) -> Begun:
        """Begin a part's file, in a folder of its own."""
        ceiling = store.get_job(self.conn, self.job.id).max_cost_nanousd
        folder = Scratch()
        try:
            return Begun(part, ceiling, folder, self.rendering(part, folder.path))
        except BaseException:
            folder.close()
            raise

    @contextmanager
    def file_of(self, part: store.Part) -> Iterator[RenderedPart]:
        """A part's file while the block lasts: what was rendered ahead, or made now."""
        if self.ahead is not None and not self.ahead.fits(
            part, store.get_job(self.conn, self.job.id)
        ):
            self.leave_ahead()
        begun, self.ahead = self.ahead or self.begun(part), None
        try:
            yield self.finished(part, begun.rendering)
        finally:
            begun.close()

    def send(
        self, part: store.Part, following: Callable[[], store.Part | None] = lambda: None
    ) -> BatchState | None:
        """Send a prepared part that this process holds. None where nothing was left to send.

        `following` is asked for the part that goes out next, as things are. Raises ProviderError;
        what state the part is in then is in the database.
        """
        with self.file_of(part) as rendered:
            token = self.intend(part, rendered)
            if token is None:
                return None
            part = store.get_part(self.conn, part.id)
            file_id = self.look_for_file(part, rendered)
            event = "file found" if file_id else "uploaded"
            if file_id is None:
                file_id = self.upload(part, rendered, f"{token}.jsonl", following)
        self.uploaded(part, file_id, event)
        return self.create(store.get_part(self.conn, part.id))

    def upload(
        self,
        part: store.Part,
        rendered: RenderedPart,
        name: str,
        following: Callable[[], store.Part | None],
    ) -> str:
        """Upload a part's file, and render of the next part what there is time for meanwhile."""
        alive = Renewal(self.conn, part)
        self.begin_ahead(following)
        if self.ahead is None:
            return self.provider.upload(rendered.path, name, alive)
        with Uploading(lambda still: self.provider.upload(rendered.path, name, still)) as upload:
            while not upload.wait() and self.some_ahead():
                alive()
            while not upload.wait(WAIT_SECONDS):
                alive()
            return upload.result()

    def begin_ahead(self, following: Callable[[], store.Part | None]) -> None:
        """Begin the file of the part that goes out next, where there is one."""
        self.leave_ahead()
        try:
            part = following()
            if part is not None:
                self.ahead = self.begun(part)
        except IN_ITS_TURN:
            self.leave_ahead()

    def some_ahead(self) -> bool:
        """Write the next page of the part that goes out next; False where there is none."""
        if self.ahead is None:
            return False
        try:
            return self.ahead.rendering.some()
        except IN_ITS_TURN:
            self.leave_ahead()
            return False

    def leave_ahead(self) -> None:
        """Remove what was rendered ahead."""
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None

    def intend(self, part: store.Part, rendered: RenderedPart) -> str | None:
        """Record what is about to be sent, before it is. None where it may not go out now.

        Approval, lease, queue, ceiling and the step itself are one transaction. Raises
        NeedsAttention where the ceiling wouldn't hold: then nothing was changed.
        """
        send = part.sends + 1
        token = f"{self.job.uid}-{part.number}-{send}"
        sized = resized(part, rendered.size, rendered.lines)
        with transaction(self.conn):
            if not self.allowed(sized) or not self.still_so(part, rendered):
                return None
            store.set_outcome(self.conn, rendered.gone)
            store.set_hashes(self.conn, rendered.hashes)
            self.split_off(part, rendered)
            store.count_outcomes(self.conn, part.id)
            if rendered.lines == 0:
                self.nothing_left(part)
                return None
            store.update_part(self.conn, part.id, **figures(sized))
            reserve(self.conn, store.get_job(self.conn, self.job.id), part, rendered.bound)
            mine = store.move_part(
                self.conn,
                part,
                "uploading",
                sends=send,
                token=token,
                fingerprint=rendered.fingerprint,
                intent_at=clock.now(),
                next_try_at=None,
                input_file_id=None,
                batch_id=None,
                in_progress_at=None,
                ended_at=None,
                errors=None,
            )
            if not mine:
                return None
            store.insert_send(self.conn, part, send, token, rendered.fingerprint)
            parts.log_intent(
                self.conn,
                part,
                token=token,
                fingerprint=rendered.fingerprint,
                lines=rendered.lines,
                ids=hash_ids(rendered.ids),
            )
        return token

    def allowed(self, part: store.Part) -> bool:
        """Whether the job still runs, the part is still ours, and the queue has room for it."""
        job = store.get_job(self.conn, self.job.id)
        if job.status != "running" or job.approved_at is None:
            return False
        return store.renew(self.conn, part) and queue.reason_to_wait(self.conn, job, part) is None

    def still_so(self, part: store.Part, rendered: RenderedPart) -> bool:
        """Whether all that was rendered waits for an answer still, and nobody looked at it since.

        Else the next pass renders. An export, or another process, may have recorded the rows as
        they are by now, which isn't what this file asks about.
        """
        pending = list(zip(rendered.requests, rendered.before, strict=True))
        return store.pending_hashes(self.conn, part.id) == pending

    def nothing_left(self, part: store.Part) -> None:
        """Complete a part that has no line to send."""
        now = clock.now()
        store.move_part(self.conn, part, "completed", ended_at=now, collected_at=now, requests=0)
        put_back(self.conn, part.id)

    def split_off(self, part: store.Part, rendered: RenderedPart) -> None:
        """Put requests that don't fit any more into a part of their own."""
        if not rendered.overflow:
            return
        sized = resized(part, rendered.overflow_size, len(rendered.overflow))
        new = store.insert_part(
            self.conn,
            job_id=self.job.id,
            number=store.next_number(self.conn, self.job.id),
            status="prepared",
            overrides=part.overrides,
            **figures(sized),
        )
        store.move_requests(self.conn, rendered.overflow, new)
        store.count_outcomes(self.conn, new)

    def look_for_file(self, part: store.Part, rendered: RenderedPart) -> str | None:
        """`find_file`, where the server lets itself be asked: an upload more costs nothing."""
        try:
            return self.find_file(part, rendered)
        except (Unreachable, NeedsAttention):
            raise
        except ProviderError as error:
            store.log(
                self.conn, "files unseen", job_id=part.job_id, part_id=part.id, why=str(error)
            )
            return None

    def find_file(self, part: store.Part, rendered: RenderedPart) -> str | None:
        """The file of an earlier send with the very same content, where the provider has it.

        Its id is known, or it is found by its name: then its upload was cut, or the reply lost.
        """
        sends = store.earlier_sends(self.conn, part, rendered.fingerprint)
        for file_id in filter(None, (send["input_file_id"] for send in sends)):
            if self.provider.file_size(file_id) == rendered.size:
                return str(file_id)
        names = {f"{send['token']}.jsonl" for send in sends if not send["input_file_id"]}
        listed = self.provider.files_named(f"{self.job.uid}-", since(self.job)) if names else []
        for file in listed:
            if file.name in names and file.size == rendered.size:
                return file.id
        return None

    def uploaded(self, part: store.Part, file_id: str, event: str) -> None:
        """Record the file's id; `event` tells how it came to be there."""
        with transaction(self.conn):
            store.move_part(self.conn, part, "uploaded", input_file_id=file_id)
            store.update_send(self.conn, part.id, part.sends, input_file_id=file_id)
            store.log(self.conn, event, job_id=self.job.id, part_id=part.id, file=file_id)

    def create(self, part: store.Part) -> BatchState | None:
        """Create the batch over an uploaded file. None where the part isn't ours any more."""
        if part.status != "uploaded" or not part.input_file_id or not part.token:
            return None
        assert part.fingerprint is not None
        with transaction(self.conn):
            mine = store.renew(self.conn, part) and store.move_part(self.conn, part, "creating")
        if not mine:
            return None
        state = self.provider.create(
            part.input_file_id,
            self.job.endpoint,
            {
                "token": part.token,
                "fingerprint": part.fingerprint.hex(),
                "job": self.job.uid,
                "part": str(part.number),
            },
        )
        self.adopt(store.get_part(self.conn, part.id), state, "created")
        return state

    def adopt(self, part: store.Part, state: BatchState, event: str) -> None:
        """Record that this batch is the part's: the one just made, or one found at the provider.

        Where the lease was lost meanwhile, the batch is recorded beside the part only: whatever
        it answers is still collected.
        """
        token, fingerprint = sent_as(part, state)
        with transaction(self.conn):
            mine = store.move_part(
                self.conn,
                part,
                "validating",
                sends=max(part.sends, 1),
                token=token,
                fingerprint=fingerprint,
                batch_id=state.id,
                input_file_id=state.input_file_id or part.input_file_id,
                submitted_at=clock.from_unix(state.created_at) or clock.now(),
                expires_at=state.expires_at,
                next_try_at=None,
                errors=None,
            )
            self.record(part, state)
            if self.job.submitted_at is None:
                store.update_job(self.conn, self.job.id, submitted_at=clock.now())
            store.log(
                self.conn,
                event if mine else f"{event}, lease lost",
                job_id=self.job.id,
                part_id=part.id,
                batch=state.id,
                token=token,
            )

    def record(self, part: store.Part, state: BatchState) -> None:
        """Keep a batch of this part, in the transaction that the caller holds."""
        token, fingerprint = sent_as(part, state)
        store.record_batch(
            self.conn,
            part,
            batch_id=state.id,
            said=state.said,
            input_file_id=state.input_file_id,
            token=token,
            fingerprint=fingerprint,
        )


def sent_as(part: store.Part, state: BatchState) -> tuple[str, bytes]:
    """Token and fingerprint of a send: this database's, or in a restored one the batch's own."""
    if part.token and part.fingerprint:
        return part.token, part.fingerprint
    token = state.metadata.get("token", "")
    try:
        fingerprint = bytes.fromhex(state.metadata.get("fingerprint", ""))
    except ValueError:
        # Whoever wrote that, it says nothing of what was sent.
        fingerprint = b""
    return token if is_token(token) else "", fingerprint
