"""Output and error files → responses and outcomes.

Files are downloaded whole before a line is read. Their lines are taken in, and what their batch
left unanswered gets its outcome.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ... import store
from ...answers.jsonl import BOM, iter_lines
from ...answers.reader import Reader, as_stored, asks_for_json, own_ids
from ...answers.schema import AnswerSchema
from ...base import clock
from ...base.errors import CutShort, NotFound, OutputError
from ...base.outcome import Outcome, Outcomes
from ...base.scratch import scratch
from ...pricing.prices import Prices, Spent, part_prices
from ...provider.client import whole_lines
from ...requests.template import Template
from ...store import earlier
from ...store.connection import COMMIT_ROWS, Commits, cached, transaction
from ...store.costs import add_cost, end_batch
from ...store.leases import Renewal
from ...store.outcomes import (
    Asked,
    answer_columns,
    answers_of,
    asked,
    came_elsewhere,
    disown_responses,
    set_answered,
    set_failed,
    set_usual,
)
from ...tables.output import Output
from ...tables.stale import Answer, Values
from ..writeback import Fate, Writer
from .settle import ask_again, put_back, repair_again
from .staging import Chunk, Staged, Staging

if TYPE_CHECKING:
    from ...provider.batch import BatchState
    from ...provider.client import Provider


# Lines of result files → outcomes of requests, and answers into columns with them.
#
# Each file is read once, as it came; then its requests are settled in their own order, each in one
# transaction with the cells of its answer. What is settled already stays as it is, so a kill in
# the middle costs nothing, and taking in the same file again changes nothing.

Known = dict[int, Asked]
Changed = dict[int, Outcome]

#: Outcomes that leave nothing to keep where a late answer replaces them.
UNANSWERED_YET = ("pending", "ok")

NotWritten = tuple[None, None]
NOT_WRITTEN: NotWritten = (None, None)


class ResultFile(NamedTuple):
    """A downloaded file of a batch; `kind` is `output`, `error` or `import`."""

    kind: str
    file_id: str
    path: Path


@dataclass
class Collected:
    """What files held.

    `unknown` lines name no request of the job, `surplus` ones answer a request that had its
    answer: they were paid for too.
    """

    lines: int = 0
    unknown: int = 0
    surplus: int = 0
    spent: Spent = field(default_factory=lambda: Spent(None))
    """Tokens of all lines, and what they cost."""

    written: bool = False
    """Whether the answers were written back too."""

    other_parts: set[int] = field(default_factory=set)
    """Parts beside the one taken in whose requests were answered late."""


class Taker:
    """Takes in the files of one batch of a part."""

    def __init__(
        self, conn: sqlite3.Connection, job: store.Job, part: store.Part, writer: Writer | None
    ):
        output = Output.of(job)
        self.conn = conn
        self.job = job
        self.part = part
        votes = bool(job.settings.get("times"))
        # What several requests say of a row is written once they have voted.
        self.writer = writer if output.write and not votes else None
        self.writes = output.write or votes
        self.keep = output.responses
        self.reader = reader_of(job)
        self.prefix = f"{job.uid}-"
        self.files: list[ResultFile] = []
        self.strays: dict[tuple[int, int], int | None] = {}
        self.prices = prices_of(job, part)
        self.collected = Collected()
        self.again = earlier.has_any(conn, job.id)
        """Whether something of the job was asked again: few jobs have to look for that."""
        self.tried: int | None = None
        """The part, where it was run by hand: an attempt is counted with each outcome."""
        self.waits: set[int] = set()
        """Requests of the chunk that wait for a better answer than they have."""

    def take(self, files: Sequence[ResultFile]) -> Collected:
        """Read files, then settle the requests that their lines answer."""
        self.files = list(files)
        try:
            self.take_in()
        except OutputError:
            # The columns can't be written: the answers are taken in all the same. Writing them
            # later raises again, and then the job stops with the sentence.
            self.writer = None
            self.take_in()
        self.collected.unknown += sum(owner is None for owner in self.strays.values())
        self.keep_strays()
        self.collected.written = self.writer is not None or not self.writes
        return self.collected

    def take_in(self) -> None:
        """Read the files and settle what they say, from the beginning."""
        self.strays.clear()
        # What is settled already stays so, and its part has to be counted anew.
        others = self.collected.other_parts
        self.collected = Collected(spent=Spent(self.prices), other_parts=others)
        with Staging() as staging:
            for n in range(len(self.files)):
                self.read(staging, n)
            if self.writer is not None:
                self.writer.ready()
            self.settle_all(staging)

    # reading

    def read(self, staging: Staging, n: int) -> None:
        """Stage what the lines of a file say; keep the lines themselves."""
        file, prefix, collected = self.files[n], self.prefix, self.collected
        with file.path.open("rb") as opened, Commits(self.conn) as commits:
            for numbers, lines in iter_lines(opened):
                custom_ids, outcomes = self.reader.read_all(lines)
                collected.spent.add_all(outcomes)
                owners = own_ids(prefix, custom_ids)
                kept = self.kept(owners, numbers, lines, outcomes)
                chunk = Chunk(owners, [n] * len(lines), numbers, outcomes)  # type: ignore[arg-type]
                collected.lines += len(lines)
                if None in owners:
                    ours = [place for place, owner in enumerate(owners) if owner is not None]
                    collected.unknown += len(lines) - len(ours)
                    chunk = chunk.take(ours)
                staging.add(chunk)
                self.keep_lines(commits, file, kept)

    def kept(
        self,
        owners: Sequence[int | None],
        numbers: Sequence[int],
        lines: Sequence[bytes],
        outcomes: Outcomes,
    ) -> list[tuple[int | None, int, bytes]]:
        """The lines that are kept as they came (`--responses`), with their owners and numbers."""
        keep = self.keep
        if keep == "none" and None not in owners:
            return []
        found = zip(owners, numbers, lines, strict=True)
        if keep == "all":
            return list(found)
        failed = [False] * len(lines)
        if keep == "failed":
            cells = self.reader.cells(outcomes)
            unsure = [n for n, one in enumerate(cells) if one is None]
            checked = outcomes.take(unsure).all()
            self.reader.check(checked)
            for n, one in zip(unsure, checked, strict=True):
                failed[n] = one.status != "ok"
        return [line for line, fail in zip(found, failed, strict=True) if fail or line[0] is None]

    # settling

    def settle_all(self, staging: Staging) -> None:
        """Settle the requests of all staged lines, in short transactions."""
        with cached(self.conn), Commits(self.conn) as commits:
            for chunk in staging.chunks():
                commits.begin()
                self.settle(chunk)
                store.renew(self.conn, self.part)
                commits.wrote(len(chunk))

    def settle(self, chunk: Chunk) -> None:
        """Settle the requests of some lines in the caller's transaction."""
        ids = list(dict.fromkeys(chunk.ids))
        known = asked(self.conn, self.job.id, ids)
        cells = self.reader.cells(chunk.outcomes)
        usual = [] if len(ids) < len(chunk) else self.usual(chunk, known, cells)
        fresh = chunk.take(usual)
        self.took(fresh)
        answers: list[Answer] = [
            (known[one][3], known[one][4], cells[n] or ())
            for one, n in zip(fresh.ids, usual, strict=True)
        ]
        answered: Changed = {}
        if len(usual) < len(chunk):
            rest = sorted(set(range(len(chunk))).difference(usual))
            answered = self.settle_others(chunk.take(rest).lines(), known)
            answers += self.answers_of(known, answered)
        fates = self.write(answers)
        set_usual(self.conn, fresh.ids, fresh.outcomes, fates[: len(fresh)], self.tried)
        set_answered(self.conn, answered, fates[len(fresh) :], self.tried)
        if self.waits:
            earlier.replace(self.conn, self.waits.intersection(answered))
        if self.writer is not None:
            self.writer.keep_moved([*fresh.ids, *answered])

    def usual(self, chunk: Chunk, known: Known, cells: Sequence[Values | None]) -> list[int]:
        """The places of checked answers to requests that wait for them here: nearly all.

        What `judge` would say of these, each a line of its own request, needs no closer look.
        """
        if self.again:
            return []
        here, requests = self.part.id, map(known.get, chunk.ids)
        return [
            n
            for n, (request, one) in enumerate(zip(requests, cells, strict=True))
            if one is not None
            and request is not None
            and request[2] == "pending"
            and request[1] == here
        ]

    def took(self, fresh: Chunk) -> None:
        """Hear of the usual answers, in the transaction that settles their requests."""

    def settle_others(self, lines: Sequence[Staged], known: Known) -> Changed:
        """Settle lines of which each has to be looked at; those `ok` are returned, and written."""
        self.reader.check([outcome for _, _, _, outcome in lines])
        if self.again:
            self.waits = earlier.standing(self.conn, [request_id for request_id, _, _, _ in lines])
        answered, failed = self.judge(lines, known)
        late = [one for one in answered if known[one][2] not in UNANSWERED_YET]
        if late:
            earlier.keep(self.conn, late, earlier.LATE)
        set_failed(self.conn, failed, self.tried)
        return answered

    def judge(self, chunk: Sequence[Staged], known: Known) -> tuple[Changed, Changed]:
        """Which outcome settles each request, where one does: the `ok` ones, and the others.

        The first `ok` wins. A later `ok` replaces anything else; anything else replaces only
        `pending`, and only in the part that the request belongs to now.
        """
        answered: Changed = {}
        failed: Changed = {}
        again: list[Staged] = []
        here = self.part.id
        for line in chunk:
            request_id, file, number, outcome = line
            request = known.get(request_id)
            if request is None:
                self.strays[file, number] = None
                continue
            _, part_id, status, _, _ = request
            if outcome.status != "ok":
                if status == "pending" and part_id == here and request_id not in answered:
                    failed.setdefault(request_id, outcome)
            elif request_id in answered:
                self.surplus(line)
            elif status == "ok" or (request_id in self.waits and self.is_old(line, part_id)):
                again.append(line)
            else:
                answered[request_id] = outcome
                if failed:
                    failed.pop(request_id, None)
                if part_id != here and part_id is not None:
                    self.collected.other_parts.add(part_id)
        if again:
            self.sort_out(again)
        return answered, failed

    def is_old(self, line: Staged, part_id: int | None) -> bool:
        """Whether a line is what a request was answered before it was asked again.

        It comes with another part than the one that asks now, or by hand once more.
        """
        request_id, place, number, _ = line
        file = self.files[place]
        if part_id != self.part.id or file.kind != "import":
            return part_id != self.part.id
        return came_elsewhere(self.conn, request_id, file.file_id, number)

    def sort_out(self, again: Sequence[Staged]) -> None:
        """Tell lines that were taken in before from others that answer the same requests."""
        ids = [line[0] for line in again]
        settled = answers_of(self.conn, ids)
        before = earlier.said_before(self.conn, ids) if self.again else {}
        for line in again:
            said = answer_columns(line[3])
            if settled[line[0]] != said and said not in before.get(line[0], ()):
                self.surplus(line)

    def surplus(self, line: Staged) -> None:
        """Note a second answer to a request: it is kept in any case."""
        request_id, file, number, _ = line
        self.strays[file, number] = request_id
        self.collected.surplus += 1

    def answers_of(self, known: Known, answered: Changed) -> list[Answer]:
        """What is written of answers that were looked at."""
        answers: list[Answer] = []
        for request_id, outcome in answered.items():
            _, _, _, row_key, digest = known[request_id]
            values = outcome.values
            answers.append((row_key, digest, (outcome.answer,) if values is None else values))
        return answers

    def write(self, answers: Sequence[Answer]) -> Sequence[Fate | NotWritten]:
        """Write the answers that settle requests. Returns what became of each."""
        return [NOT_WRITTEN] * len(answers) if self.writer is None else self.writer.write(answers)

    # keeping

    def keep_strays(self) -> None:
        """Keep the lines that belong to nobody, or came twice: they are read once more."""
        for n, file in enumerate(self.files):
            owners = {number: owner for (place, number), owner in self.strays.items() if place == n}
            if not owners:
                continue
            with file.path.open("rb") as opened, Commits(self.conn) as commits:
                for numbers, lines in iter_lines(opened):
                    kept = [
                        (owners[number], number, line)
                        for number, line in zip(numbers, lines, strict=True)
                        if number in owners
                    ]
                    self.keep_lines(commits, file, kept)
                    nobodys = [number for owner, number, _ in kept if owner is None]
                    disown_responses(self.conn, file.file_id, nobodys)

    def keep_lines(
        self, commits: Commits, file: ResultFile, lines: list[tuple[int | None, int, bytes]]
    ) -> None:
        """Keep lines as they came: (request id, number, line)."""
        if lines:
            commits.begin()
            store.insert_responses(
                self.conn,
                [
                    (request_id, self.part.id, file.kind, file.file_id, number, as_stored(line))
                    for request_id, number, line in lines
                ],
            )
            commits.wrote(len(lines))


def prices_of(job: store.Job, part: store.Part) -> Prices | None:
    """What the answers to a part cost."""
    return part_prices(job.model, job.base_url, job.settings, part.overrides)


__all__ = ["Collected", "ResultFile", "collect", "collect_surplus", "finish", "take_files"]

#: How often files are downloaded that have fewer lines than the provider counts.
TRIES = 3
# What a request is that its batch ended without answering.
UNANSWERED = {
    "completed": ("missing", None, "the batch ended, and no line for this request came"),
    "expired": ("expired", None, "the batch expired before this request was run"),
    "cancelled": ("cancelled", None, "the batch was cancelled before this request was run"),
    "failed": ("missing", None, "the batch failed, and no line for this request came"),
}
# The same where lines came, and none is of a request of ours. They were answered and paid for:
# asked again by itself, they would be lost and paid for again.
OTHER_IDS = (
    "api_error",
    "other_custom_ids",
    "the lines that came have other ids (custom_id) than those that were sent",
)


def collect(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None = None,
    without: Sequence[str] = (),
) -> Collected:
    """Take in both files of an ended batch, then settle what it left unanswered.

    With a `writer`, answers go to their columns at once. Raises ProviderError where a file can't
    be had now: then the part is collected later. `without` names the kinds of files (`output`,
    `error`) that may be gone.
    """
    collected = take_batch(conn, provider, job, part, state, writer, without)
    finish(
        conn,
        job,
        part,
        state.status,
        collected,
        batch=state.id,
        output_file_id=state.output_file_id,
        error_file_id=state.error_file_id,
        again=True,
    )
    return collected


def finish(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    status: str,
    collected: Collected,
    *,
    batch: str | None = None,
    again: bool = False,
    **files: str | None,
) -> None:
    """Settle what a batch that ended with `status` left unanswered; mark its part collected.

    With `again`, what never ran goes into a part of its own, unless the job is being stopped.
    """
    others = collected.unknown == collected.lines >= part.requests > 0
    end_unanswered(conn, part, OTHER_IDS if others else UNANSWERED[status])
    with transaction(conn):
        count_parts(conn, part, collected)
        if store.get_part(conn, part.id).collected_at is None:
            add_cost(conn, part.id, collected.spent)
        now = clock.now()
        written = now if collected.written else None
        store.update_part(conn, part.id, collected_at=now, written_at=written, **files)
        log(conn, "collected", job, part, batch, collected)
        if again and store.get_job(conn, job.id).status in ("running", "paused"):
            ask_again(conn, job, store.get_part(conn, part.id))
            repair_again(conn, job, store.get_part(conn, part.id))
        put_back(conn, part.id)


def collect_surplus(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None = None,
    without: Sequence[str] = (),
) -> Collected:
    """Take in the files of a batch beside the one that its part goes by, and settle nothing."""
    collected = take_batch(conn, provider, job, part, state, writer, without)
    with transaction(conn):
        count_parts(conn, part, collected)
        if end_batch(conn, state.id, state.said, state.ended_at or clock.now()):
            add_cost(conn, part.id, collected.spent)
        if not collected.written:
            store.update_part(conn, part.id, written_at=None)
        log(conn, "surplus collected", job, part, state.id, collected)
    return collected


def take_batch(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None,
    without: Sequence[str],
) -> Collected:
    """Download both files of a batch, and take in what they hold.

    Raises NotFound for one that isn't there, unless it is of a kind that may be gone, and CutShort
    for one that never came whole.
    """
    with scratch() as folder:
        download = Download(conn, provider, job, part, state, folder, without)
        files = download.whole_files()
        collected = take_files(conn, job, part, files, writer)
    # Answers that can't be read any more were paid for.
    collected.spent.unpriced += download.gone or (state.hides_answers and not files)
    return collected


@dataclass
class Download:
    """The files of an ended batch on their way to a folder."""

    conn: sqlite3.Connection
    provider: Provider
    job: store.Job
    part: store.Part
    state: BatchState
    folder: Path
    without: Sequence[str]
    """Kinds of files that may be gone, or come short."""
    gone: bool = False
    sure: bool = True
    """Whether the provider knows how large they are, and all of that came."""

    def whole_files(self) -> list[ResultFile]:
        """Both files, as far as they are there: again where lines are missing that were counted.

        Raises NotFound, or CutShort where the provider counts lines that don't come, and doesn't
        say that the files have no more.
        """
        counted = (self.state.completed or 0) + (self.state.failed or 0)
        for attempt in range(1, TRIES + 1):
            self.sure = True
            files = list(filter(None, map(self.one_file, ("output", "error"))))
            lines = sum(whole_lines(file.path) for file in files)
            if self.gone or lines >= counted:
                return files
            if self.state.hides_answers:
                # A server may write all lines to the error file; these are fewer than it counts.
                if "output" not in self.without:
                    raise NotFound("no file holds the answers that are counted")
                self.gone = True
                return files
            if attempt == TRIES and (self.sure or self.without):
                self.log("lines missing", lines=lines, of=counted)
                return files
            self.log("file cut", lines=lines, of=counted)
        raise CutShort(
            f"{self.provider.host} counts {counted:,} lines and sent {lines:,} of them, "
            f"{TRIES} times. Nothing is bought again: sync again later.",
            lines,
            counted,
            "lines",
        )

    def one_file(self, kind: str) -> ResultFile | None:
        """Download one file; None where there is none, or where it is gone and may be so."""
        state = self.state
        output = kind == "output"
        file_id = state.output_file_id if output else state.error_file_id
        if not file_id:
            return None
        path = self.folder / kind
        lines = (state.completed if output else state.failed) or 0
        try:
            self.sure &= bool(
                self.provider.download(
                    file_id, path, Renewal(self.conn, self.part), lines, partial(self.cut, file_id)
                )
            )
            if output and state.completed and not holds_lines(path):
                raise NotFound(f"{file_id} came, and holds no lines")
        except CutShort:
            if kind not in self.without or not path.exists():
                raise
        except NotFound as error:
            if kind not in self.without:
                raise
            # Deleted or expired at the provider: what it held can't come any more.
            self.log("file gone", file=file_id, why=str(error))
            self.gone = self.gone or output
            return None
        return ResultFile(kind, file_id, path)

    def cut(self, file_id: str, came: int, whole: int | None) -> None:
        """Record that a file came short."""
        self.log("file cut", file=file_id, bytes=came, of=whole)

    def log(self, event: str, **detail: object) -> None:
        """Record what happened to a file."""
        store.log(self.conn, event, job_id=self.job.id, part_id=self.part.id, **detail)


def holds_lines(path: Path) -> bool:
    """Whether a file that came isn't empty, nor a page of a server on the way to the provider."""
    with path.open("rb") as file:
        begins = file.read(4_096).removeprefix(BOM).lstrip()
    return bool(begins) and not begins.startswith(b"<")


def take_files(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    files: list[ResultFile],
    writer: Writer | None = None,
) -> Collected:
    """Take in files that are here. The sums of the parts are the caller's (`count_parts`)."""
    return Taker(conn, job, part, writer).take(files)


def end_unanswered(
    conn: sqlite3.Connection, part: store.Part, ended: tuple[str, str | None, str]
) -> None:
    """Give what is still pending its outcome (status, code, message), in short transactions."""
    while True:
        with transaction(conn):
            if store.end_pending(conn, part.id, *ended, COMMIT_ROWS) < COMMIT_ROWS:
                return


def count_parts(conn: sqlite3.Connection, part: store.Part, collected: Collected) -> None:
    """Bring sums up to date; a late answer may be of a request that moved to another part."""
    store.count_outcomes(conn, part.id)
    for other in sorted(collected.other_parts):
        store.count_outcomes(conn, other)
        if not collected.written:
            store.update_part(conn, other, written_at=None)


def log(
    conn: sqlite3.Connection,
    event: str,
    job: store.Job,
    part: store.Part,
    batch: str | None,
    collected: Collected,
) -> None:
    """Record what files held: lines, and of those the odd ones."""
    odd = {name: count for name in ("unknown", "surplus") if (count := getattr(collected, name))}
    store.log(
        conn, event, job_id=job.id, part_id=part.id, batch=batch, lines=collected.lines, **odd
    )


def reader_of(job: store.Job) -> Reader:
    """The reader of a job's lines."""
    schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
    body = Template.from_json(job.template, job.endpoint).body
    sure = job.settings.get("confidence") or ()
    if schema is not None and job.beside:
        # What comes beside the answer was asked of no model.
        schema = AnswerSchema(job.asked_schema)
    return Reader(job.endpoint, schema, json_mode=asks_for_json(body), confidence=sure)
