"""Lines of result files → outcomes of requests, and answers into columns with them.

Each file is read once, as it came; then its requests are settled in their own order, each in one
transaction with the cells of its answer. What is settled already stays as it is, so a kill in
the middle costs nothing, and taking in the same file again changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from . import store
from .commits import Commits
from .errors import OutputError
from .jsonl import iter_lines
from .outcome import Outcome, read_response
from .output import Output
from .prices import Prices, Spent, part_prices
from .schema import AnswerSchema
from .staging import (
    ANSWER,
    CHUNK_BYTES,
    CHUNK_ROWS,
    FILE,
    ID,
    NOTE,
    NUMBER,
    STATUS,
    TOKENS_END,
    VALUES,
    Staged,
    Staging,
    staged,
)
from .store import settling
from .template import Template
from .usual import usual_reader
from .writeback import Answer, Fate, Writer

Known = dict[int, settling.Asked]
Changed = dict[int, Staged]

_NOT_WRITTEN = (None, None)
_ID_DIGITS = 18  # more than any request id has; SQLite's integers end at 19 digits


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
    applied: int = 0
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
        output = Output.from_json(job.output)
        self.conn = conn
        self.job = job
        self.part = part
        self.writer = writer if output.write else None
        self.writes = output.write
        self.keep = output.responses
        self.reader = reader(job)
        self.prefix = f"{job.uid}-"
        self.files: list[ResultFile] = []
        self.strays: dict[tuple[int, int], int | None] = {}
        self.collected = Collected(spent=Spent(prices_of(job, part)))

    def take(self, files: Sequence[ResultFile]) -> Collected:
        """Read files, then settle the requests that their lines answer."""
        self.files = list(files)
        with Staging() as staging:
            for n in range(len(self.files)):
                self.read(staging, n)
            try:
                if self.writer is not None:
                    self.writer.ready()
                self.settle_all(staging)
            except OutputError:
                # The columns can't be written: the answers are taken in all the same. Writing
                # them later raises again, and then the job stops with the sentence.
                self.writer = None
                self.settle_all(staging)
        self.collected.unknown += sum(owner is None for owner in self.strays.values())
        self.keep_strays()
        self.collected.written = self.writer is not None or not self.writes
        return self.collected

    # reading

    def read(self, staging: Staging, n: int) -> None:
        """Stage what the lines of a file say; keep the lines themselves."""
        file = self.files[n]
        read, spend, prefix = self.reader, self.collected.spent.add, self.prefix
        with file.path.open("rb") as opened, Commits(self.conn) as commits:
            for chunk in in_chunks(iter_lines(opened)):
                said, kept = [], []
                for number, line in chunk:
                    outcome = read(line)
                    spend(outcome)
                    request_id = own_id(prefix, outcome.custom_id)
                    if request_id is not None:
                        said.append(staged(request_id, outcome, n, number))
                    if request_id is None or self.keeps(outcome.status):
                        kept.append((request_id, number, line))
                self.collected.lines += len(chunk)
                self.collected.unknown += len(chunk) - len(said)
                staging.add(said, sum([len(line) for _, line in chunk]))
                self.keep_lines(commits, file, kept)

    def keeps(self, status: str) -> bool:
        """Whether the line of such an outcome is kept (`--responses`)."""
        return self.keep == "all" or (self.keep == "failed" and status != "ok")

    # settling

    def settle_all(self, staging: Staging) -> None:
        """Settle the requests of all staged lines, in short transactions."""
        self.strays.clear()
        self.collected.surplus = 0
        with Commits(self.conn) as commits:
            for chunk in staging.chunks():
                commits.begin()
                self.collected.applied += self.settle(chunk)
                store.renew(self.conn, self.part)
                commits.wrote(len(chunk))

    def settle(self, chunk: Sequence[Staged]) -> int:
        """Settle the requests of some lines in the caller's transaction. Returns how many."""
        known = settling.asked(
            self.conn, self.job.id, list(dict.fromkeys([line[ID] for line in chunk]))
        )
        changed = self.judge(chunk, known)
        fates = self.write(known, changed)
        fate_of = fates.get
        settling.set_settled(
            self.conn,
            [
                (*line[STATUS:TOKENS_END], *fate_of(request_id, _NOT_WRITTEN), request_id)
                for request_id, line in changed.items()
            ],
        )
        notes = [(line[NOTE], id_) for id_, line in changed.items() if line[NOTE] is not None]
        settling.set_notes(self.conn, notes)
        return len(changed)

    def judge(self, chunk: Sequence[Staged], known: Known) -> Changed:
        """Which line settles each request, where one does.

        The first `ok` wins. A later `ok` replaces anything else; anything else replaces only
        `pending`, and only in the part that the request belongs to now.
        """
        changed: Changed = {}
        again: list[Staged] = []
        here = self.part.id
        for line in chunk:
            request_id = line[ID]
            request = known.get(request_id)
            if request is None:
                self.strays[line[FILE], line[NUMBER]] = None
                continue
            _, part_id, status, _, _ = request
            before = changed.get(request_id)
            if before is not None:
                status = before[STATUS]
            if line[STATUS] != "ok":
                if status == "pending" and part_id == here:
                    changed[request_id] = line
            elif status != "ok":
                changed[request_id] = line
                if part_id != here and part_id is not None:
                    self.collected.other_parts.add(part_id)
            elif before is not None:
                self.surplus(line)
            else:
                again.append(line)
        if again:
            self.sort_out(again)
        return changed

    def sort_out(self, again: Sequence[Staged]) -> None:
        """Tell lines that were taken in before from others that answer the same requests."""
        settled = settling.answers_of(self.conn, [line[ID] for line in again])
        for line in again:
            if settled[line[ID]] != line[STATUS:TOKENS_END]:
                self.surplus(line)

    def surplus(self, line: Staged) -> None:
        """Note a second answer to a request: it is kept in any case."""
        self.strays[line[FILE], line[NUMBER]] = line[ID]
        self.collected.surplus += 1

    def write(self, known: Known, changed: Changed) -> dict[int, Fate]:
        """Write the answers among what changed. Returns what became of them, by request."""
        if self.writer is None:
            return {}
        ids: list[int] = []
        answers: list[Answer] = []
        for request_id, line in changed.items():
            if line[STATUS] == "ok":
                _, _, _, row_key, digest = known[request_id]
                values = line[VALUES]
                cells = (line[ANSWER],) if values is None else tuple(values)
                ids.append(request_id)
                answers.append((row_key, digest, cells))
        return dict(zip(ids, self.writer.write(answers), strict=True))

    # keeping

    def keep_strays(self) -> None:
        """Keep the lines that belong to nobody, or came twice: they are read once more."""
        for n, file in enumerate(self.files):
            owners = {number: owner for (place, number), owner in self.strays.items() if place == n}
            if not owners:
                continue
            with file.path.open("rb") as opened, Commits(self.conn) as commits:
                for chunk in in_chunks(iter_lines(opened)):
                    kept = [(owners[no], no, line) for no, line in chunk if no in owners]
                    self.keep_lines(commits, file, kept)
                    nobodys = [number for owner, number, _ in kept if owner is None]
                    settling.disown_responses(self.conn, file.file_id, nobodys)

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


def reader(job: store.Job) -> Callable[[bytes], Outcome]:
    """Return the function that reads the lines of a job."""
    schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
    json_mode = asks_for_json(Template.from_json(job.template, job.endpoint).body)
    whole = partial(read_response, endpoint=job.endpoint, schema=schema, json_mode=json_mode)
    usual = None if json_mode else usual_reader(job.endpoint, schema)
    if usual is None:
        return whole
    return lambda line: usual(line) or whole(line)


def own_id(prefix: str, custom_id: str | None) -> int | None:
    """Return the request that a `custom_id` names, None where it isn't this job's: never guessed.

    Only the spelling that was sent is ours: ASCII digits, no leading zero.
    """
    if custom_id is None or not custom_id.startswith(prefix):
        return None
    digits = custom_id[len(prefix) :]
    plain = digits.isascii() and digits.isdecimal() and digits[0] != "0"
    return int(digits) if plain and len(digits) <= _ID_DIGITS else None


def in_chunks(lines: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield numbered lines in lists of at most 2,000 lines or about 8 MB."""
    chunk: list[tuple[int, bytes]] = []
    room = CHUNK_BYTES
    for numbered in lines:
        chunk.append(numbered)
        room -= len(numbered[1])
        if room <= 0 or len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk, room = [], CHUNK_BYTES
    if chunk:
        yield chunk


def as_stored(line: bytes) -> str | bytes:
    """The bytes as received: TEXT when valid UTF-8, else BLOB."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return bytes(line)


def asks_for_json(body: dict[str, Any]) -> bool:
    """Whether a request body asks for JSON without a schema (JSON mode)."""
    text = body.get("text")
    wanted = [body.get("response_format"), text.get("format") if isinstance(text, dict) else None]
    return any(isinstance(one, dict) and one.get("type") == "json_object" for one in wanted)
