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
from .prices import Spent, stored_prices
from .schema import AnswerSchema
from .staging import (
    ANSWER,
    CHUNK_BYTES,
    CHUNK_ROWS,
    STATUS,
    VALUES,
    Settled,
    Staged,
    Staging,
    settled,
)
from .store import settling
from .template import Template
from .writeback import Answer, Fate, Writer

Known = dict[int, settling.Asked]

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

    `unknown` lines name no request of the job. `surplus` ones answer a request that had its
    answer; they were paid for too: `surplus_prompt_tokens`, `surplus_completion_tokens`.
    """

    lines: int = 0
    applied: int = 0
    unknown: int = 0
    surplus: int = 0
    surplus_prompt_tokens: int = 0
    surplus_completion_tokens: int = 0
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
        self.collected = Collected(spent=Spent(stored_prices(job.settings)))

    def take(self, files: Sequence[ResultFile]) -> Collected:
        """Read files, then settle the requests that their lines answer."""
        self.files = list(files)
        with Staging() as staging:
            answers = sum([self.read(staging, n) for n in range(len(self.files))])
            try:
                if self.writer is not None and answers:
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

    def read(self, staging: Staging, n: int) -> int:
        """Stage what the lines of a file say; keep the lines themselves. Returns the answers."""
        answers = 0
        spent = self.collected.spent
        kind, file_id, path = self.files[n]
        with path.open("rb") as file, Commits(self.conn) as commits:
            for chunk in in_chunks(iter_lines(file)):
                staged, kept = [], []
                for number, line in chunk:
                    outcome = self.reader(line)
                    answers += outcome.status == "ok"
                    spent.add(outcome)
                    request_id = own_id(self.prefix, outcome.custom_id)
                    if request_id is not None:
                        staged.append((request_id, n, number, settled(outcome)))
                    if request_id is None or self.keeps(outcome.status):
                        kept.append(
                            (request_id, self.part.id, kind, file_id, number, as_stored(line))
                        )
                self.collected.lines += len(chunk)
                self.collected.unknown += len(chunk) - len(staged)
                staging.add(staged)
                if kept:
                    commits.begin()
                    store.insert_responses(self.conn, kept)
                    commits.wrote(len(kept))
        return answers

    def keeps(self, status: str) -> bool:
        """Whether the line of such an outcome is kept (`--responses`)."""
        return self.keep == "all" or (self.keep == "failed" and status != "ok")

    # settling

    def settle_all(self, staging: Staging) -> None:
        """Settle the requests of all staged lines, in short transactions."""
        self.strays.clear()
        self.collected.surplus = 0
        self.collected.surplus_prompt_tokens = self.collected.surplus_completion_tokens = 0
        with Commits(self.conn) as commits:
            for chunk in staging.chunks():
                commits.begin()
                self.collected.applied += self.settle(chunk)
                store.renew(self.conn, self.part)
                commits.wrote(len(chunk))

    def settle(self, chunk: Sequence[Staged]) -> int:
        """Settle the requests of some lines in the caller's transaction. Returns how many."""
        ids = list(dict.fromkeys([line.request_id for line in chunk]))
        asked = settling.asked(self.conn, self.job.id, ids)
        changed = self.judge(chunk, asked)
        fates = self.write(asked, changed)
        settling.set_settled(
            self.conn,
            [
                (*outcome[:VALUES], *fates.get(request_id, _NOT_WRITTEN), request_id)
                for request_id, outcome in changed.items()
            ],
        )
        return len(changed)

    def judge(self, chunk: Sequence[Staged], asked: Known) -> dict[int, Settled]:
        """What the lines change, by request.

        The first `ok` wins. A later `ok` replaces anything else; anything else replaces only
        `pending`, and only in the part that the request belongs to now.
        """
        changed: dict[int, Settled] = {}
        again: list[tuple[Staged, Settled]] = []
        for line in chunk:
            request = asked.get(line.request_id)
            if request is None:
                self.stray(line, None)
                continue
            outcome = line.read()
            before = changed.get(line.request_id)
            status = request.status if before is None else before[STATUS]
            if outcome[STATUS] != "ok":
                if status == "pending" and request.part_id == self.part.id:
                    changed[line.request_id] = outcome
            elif status != "ok":
                changed[line.request_id] = outcome
                if request.part_id is not None and request.part_id != self.part.id:
                    self.collected.other_parts.add(request.part_id)
            elif before is not None:
                self.surplus(line, outcome)
            else:
                again.append((line, outcome))
        self.sort_out(again)
        return changed

    def sort_out(self, again: Sequence[tuple[Staged, Settled]]) -> None:
        """Tell lines that were taken in before from others that answer the same requests."""
        known = settling.answers_of(self.conn, [line.request_id for line, _ in again])
        for line, outcome in again:
            if known[line.request_id] != outcome[ANSWER:VALUES]:
                self.surplus(line, outcome)

    def surplus(self, line: Staged, outcome: Settled) -> None:
        """Note a second answer to a request: it is kept, and it was paid for."""
        self.stray(line, line.request_id)
        self.collected.surplus += 1
        self.collected.surplus_prompt_tokens += outcome[6] or 0
        self.collected.surplus_completion_tokens += outcome[8] or 0

    def stray(self, line: Staged, request_id: int | None) -> None:
        """Note a line that is kept in any case: it may be the only trace of an answer."""
        self.strays[line.file, line.number] = request_id

    def write(self, asked: Known, changed: dict[int, Settled]) -> dict[int, Fate]:
        """Write the answers among what changed. Returns what became of them, by request."""
        if self.writer is None:
            return {}
        ids, answers = [], []
        for request_id, outcome in changed.items():
            if outcome[STATUS] == "ok":
                request = asked[request_id]
                values = outcome[VALUES]
                ids.append(request_id)
                answers.append(
                    Answer(
                        request.row_key,
                        request.source_hash,
                        (outcome[ANSWER],) if values is None else tuple(values),
                    )
                )
        return dict(zip(ids, self.writer.write(answers), strict=True))

    # keeping

    def keep_strays(self) -> None:
        """Keep the lines that belong to nobody, or came twice: they are read once more."""
        for n, file in enumerate(self.files):
            wanted = {number: id_ for (place, number), id_ in self.strays.items() if place == n}
            if not wanted:
                continue
            with file.path.open("rb") as opened, Commits(self.conn) as commits:
                for chunk in in_chunks(iter_lines(opened)):
                    kept = [
                        (
                            wanted[number],
                            self.part.id,
                            file.kind,
                            file.file_id,
                            number,
                            as_stored(line),
                        )
                        for number, line in chunk
                        if number in wanted
                    ]
                    commits.begin()
                    store.insert_responses(self.conn, kept)
                    settling.disown_responses(self.conn, [row for row in kept if row[0] is None])
                    commits.wrote(len(kept))


def reader(job: store.Job) -> Callable[[bytes], Outcome]:
    """Return the function that reads the lines of a job."""
    return partial(
        read_response,
        endpoint=job.endpoint,
        schema=AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None,
        json_mode=asks_for_json(Template.from_json(job.template, job.endpoint).body),
    )


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
