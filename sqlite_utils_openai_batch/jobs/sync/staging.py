"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines of a batch say is sorted
before anything is written: in memory, or, where a batch has much to say, in a private temporary
database on its own connection.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

import msgspec

from ...answers.wire import BUILDING
from ...base.outcome import Outcome, Outcomes, picked

# Rows that are written together, at most: few enough that what is read of them to be judged is
# still in the processor's cache when they are written.
CHUNK_ROWS = 1_000
# Bytes that stay in memory: those of 50,000 requests, OpenAI's most, where answers have the usual
# length.
MEMORY_BYTES = 32_000_000
# Bytes of answers that are settled together, at most.
CHUNK_BYTES = 8_000_000
# What a line takes beside its answer.
LINE_BYTES = 100

# What a line says of a request: its id, the number of the file (from 0) and of the line in it
# (from 1), the outcome.
Staged = tuple[int, int, int, Outcome]

_encode = msgspec.msgpack.Encoder().encode
with BUILDING:
    _decode = msgspec.msgpack.Decoder(Outcome).decode


@dataclass(slots=True)
class Chunk:
    """What lines say, column by column: requests, files, numbers of lines, outcomes."""

    ids: Sequence[int]
    files: Sequence[int]
    numbers: Sequence[int]
    outcomes: Outcomes

    @classmethod
    def of(cls, lines: Iterable[Staged]) -> Chunk:
        """From one tuple each."""
        found = list(lines)
        return cls(
            [request_id for request_id, _, _, _ in found],
            [file for _, file, _, _ in found],
            [number for _, _, number, _ in found],
            Outcomes.of([said for _, _, _, said in found]),
        )

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self.ids)

    def take(self, places: Sequence[int]) -> Chunk:
        """The lines at some places."""
        return Chunk(
            picked(self.ids, places),
            picked(self.files, places),
            picked(self.numbers, places),
            self.outcomes.take(places),
        )

    def lines(self) -> list[Staged]:
        """The lines as one tuple each."""
        return list(zip(self.ids, self.files, self.numbers, self.outcomes.all(), strict=True))


class Staging:
    """What the lines of a batch say, in the order of its requests. Close it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_bytes = memory_bytes
        self.room = memory_bytes
        self.longest = 0
        self.lines = _Lines()
        self.conn: sqlite3.Connection | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        if self.conn is not None:
            self.conn.close()

    def add(self, lines: Chunk) -> None:
        """Keep what lines say."""
        if not len(lines):
            return
        sizes = sizes_of(lines.outcomes)
        self.lines.add(lines)
        self.longest = max(self.longest, *sizes)
        self.room -= sum(sizes) + LINE_BYTES * len(sizes)
        if self.room < 0:
            self._spill()

    def _spill(self) -> None:
        if self.conn is None:
            # SQLite deletes the file (named by the empty string) when the connection closes.
            self.conn = sqlite3.connect("", isolation_level=None)
            self.conn.execute("PRAGMA journal_mode = OFF")
            self.conn.execute("CREATE TABLE staged (request_id, file, number, packed)")
            self.conn.execute("BEGIN")
        lines = self.lines
        self.conn.executemany(
            "INSERT INTO staged VALUES (?, ?, ?, ?)",
            [(*place, _encode(said)) for *place, said in lines.take(range(len(lines.ids))).lines()],
        )
        self.lines = _Lines()
        self.room = self.memory_bytes

    def chunks(self) -> Iterator[Chunk]:
        """Yield what was kept, by request, and as it came where several lines answer one.

        It is forgotten as it is yielded.
        """
        if self.conn is not None:
            self._spill()
            found = self.conn.execute("SELECT * FROM staged ORDER BY request_id, rowid")
            yield from _by_size((*place, _decode(packed)) for *place, packed in found)
            return
        lines = self.lines
        order = sorted(range(len(lines.ids)), key=lines.ids.__getitem__)
        if self.longest * CHUNK_ROWS > CHUNK_BYTES:
            yield from _by_size(lines.take([n]).lines()[0] for n in order)
            return
        for start in range(0, len(order), CHUNK_ROWS):
            yield lines.take(order[start : start + CHUNK_ROWS])


def or_none(tokens: list[int]) -> list[int | None]:
    """Tokens, with None for -1."""
    if not tokens or min(tokens) >= 0:
        return list(tokens)
    return [None if one < 0 else one for one in tokens]


def sizes_of(outcomes: Outcomes) -> list[int]:
    """About how many bytes of memory each outcome takes."""
    sizes = list(map(getsizeof, outcomes.answers))
    for n in outcomes.odd():
        sizes[n] = getsizeof(outcomes.one(n).answer)
    return sizes


def _by_size(lines: Iterable[Staged]) -> Iterator[Chunk]:
    """Yield lines in chunks, fewer of them where answers are long."""
    chunk: list[Staged] = []
    room = CHUNK_BYTES
    for line in lines:
        chunk.append(line)
        room -= getsizeof(line[3].answer)
        if room < 0 or len(chunk) == CHUNK_ROWS:
            yield Chunk.of(chunk)
            chunk, room = [], CHUNK_BYTES
    if chunk:
        yield Chunk.of(chunk)


class _Lines:
    """What lines say, to be taken in another order than they came.

    Numbers stand in arrays: to look for each as an object all over the memory takes longer than
    to make it anew.
    """

    def __init__(self) -> None:
        self.ids = array("q")
        self.files = array("i")
        self.numbers = array("q")
        # Answers, and outcomes that are more than that.
        self.answers: list[Any] = []
        self.kinds: list[tuple[str | None, str | None]] = []
        self.kind_of: dict[tuple[str | None, str | None], int] = {}
        self.kind = array("i")
        # -1 stands for None.
        self.tokens = [array("q") for _ in range(4)]

    def add(self, lines: Chunk) -> None:
        """Add lines."""
        said = lines.outcomes
        self.ids.extend(lines.ids)
        self.files.extend(lines.files)
        self.numbers.extend(lines.numbers)
        self.answers += said.answers
        kinds = list(zip(said.reasons, said.models, strict=True))
        for kind in set(kinds) - self.kind_of.keys():
            self.kind_of[kind] = len(self.kinds)
            self.kinds.append(kind)
        self.kind.extend(map(self.kind_of.__getitem__, kinds))
        for column, tokens in zip(self.tokens, said.columns[3:], strict=True):
            if None in tokens:
                tokens = [-1 if one is None else one for one in tokens]
            column.extend(tokens)

    def take(self, order: Sequence[int]) -> Chunk:
        """Return lines by their index, and forget what they said."""
        answers = picked(self.answers, order)
        for n in order:
            self.answers[n] = None
        kinds = picked(self.kinds, picked(self.kind, order))
        return Chunk(
            picked(self.ids, order),
            picked(self.files, order),
            picked(self.numbers, order),
            Outcomes(
                answers,
                [reason for reason, _ in kinds],
                [model for _, model in kinds],
                *(or_none(picked(column, order)) for column in self.tokens),
            ),
        )
