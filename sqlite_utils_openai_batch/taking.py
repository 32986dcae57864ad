"""Lines of result files → outcomes of requests, and answers into columns with them.

Each file is read once, as it came; then its requests are settled in their own order, each in one
transaction with the cells of its answer. What is settled already stays as it is, so a kill in
the middle costs nothing, and taking in the same file again changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from . import store
from .commits import Commits, cached
from .errors import OutputError
from .job_prices import part_prices
from .jsonl import iter_lines
from .judging import Answer
from .lines import Reader, as_stored, own_id
from .outcome import Outcome
from .output import Output
from .prices import Prices, Spent
from .staging import Staged, Staging
from .store import settling
from .writeback import Fate, Writer

Known = dict[int, settling.Asked]
Changed = dict[int, Outcome]

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
        output = Output.from_json(job.output)
        self.conn = conn
        self.job = job
        self.part = part
        self.writer = writer if output.write else None
        self.writes = output.write
        self.keep = output.responses
        self.reader = Reader.of(job)
        self.prefix = f"{job.uid}-"
        self.files: list[ResultFile] = []
        self.strays: dict[tuple[int, int], int | None] = {}
        self.prices = prices_of(job, part)
        self.collected = Collected()

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
                outcomes = self.reader.read(lines)
                collected.spent.add(outcomes)
                owners = [own_id(prefix, outcome.custom_id) for outcome in outcomes]
                staged: list[Staged] = [
                    (owner, n, number, outcome)
                    for owner, number, outcome in zip(owners, numbers, outcomes, strict=True)
                    if owner is not None
                ]
                staging.add(staged)
                collected.lines += len(lines)
                collected.unknown += len(lines) - len(staged)
                if self.keep == "none" and len(staged) == len(lines):
                    continue
                kept = [
                    (owner, number, line)
                    for owner, number, line, keep in zip(
                        owners, numbers, lines, self.keeps(outcomes), strict=True
                    )
                    if keep or owner is None
                ]
                self.keep_lines(commits, file, kept)

    def keeps(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Whether the line of each outcome is kept (`--responses`)."""
        if self.keep == "failed":
            self.reader.check(outcomes)
            return [outcome.status != "ok" for outcome in outcomes]
        return [self.keep == "all"] * len(outcomes)

    # settling

    def settle_all(self, staging: Staging) -> None:
        """Settle the requests of all staged lines, in short transactions."""
        with cached(self.conn), Commits(self.conn) as commits:
            for chunk in staging.chunks():
                commits.begin()
                self.settle(chunk)
                store.renew(self.conn, self.part)
                commits.wrote(len(chunk))

    def settle(self, chunk: Sequence[Staged]) -> None:
        """Settle the requests of some lines in the caller's transaction."""
        self.reader.check([outcome for _, _, _, outcome in chunk])
        ids = list(dict.fromkeys([request_id for request_id, _, _, _ in chunk]))
        known = settling.asked(self.conn, self.job.id, ids)
        answered, failed = self.judge(chunk, known)
        settling.set_failed(self.conn, failed)
        settling.set_answered(self.conn, answered, self.write(known, answered))

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
            elif status == "ok":
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

    def sort_out(self, again: Sequence[Staged]) -> None:
        """Tell lines that were taken in before from others that answer the same requests."""
        settled = settling.answers_of(self.conn, [line[0] for line in again])
        for line in again:
            if settled[line[0]] != settling.answer_columns(line[3]):
                self.surplus(line)

    def surplus(self, line: Staged) -> None:
        """Note a second answer to a request: it is kept in any case."""
        request_id, file, number, _ = line
        self.strays[file, number] = request_id
        self.collected.surplus += 1

    def write(self, known: Known, answered: Changed) -> Sequence[Fate | NotWritten]:
        """Write the answers that settle requests. Returns what became of each."""
        if self.writer is None:
            return [NOT_WRITTEN] * len(answered)
        answers: list[Answer] = []
        for request_id, outcome in answered.items():
            _, _, _, row_key, digest = known[request_id]
            values = outcome.values
            answers.append((row_key, digest, (outcome.answer,) if values is None else values))
        return self.writer.write(answers)

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
