"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines of a batch say is sorted
before anything is written: in memory, or, where a batch has much to say, packed in a private
temporary database on its own connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from operator import itemgetter
from sys import getsizeof

import msgspec

from .outcome import Outcome
from .wire import BUILDING

# Rows that are written together, at most: few enough that what is read of them to be judged is
# still in the processor's cache when they are written.
CHUNK_ROWS = 1_000
# Bytes of outcomes that stay in memory: those of 50,000 requests, OpenAI's most, where answers
# have the usual length.
MEMORY_BYTES = 36_000_000
# Bytes of answers that are settled together, at most.
CHUNK_BYTES = 8_000_000
# What a line takes beside its answer: the outcome, numbers, the tuple around them.
LINE_BYTES = 350

# What a line says of a request: its id, the number of the file (from 0) and of the line in it
# (from 1), the outcome.
Staged = tuple[int, int, int, Outcome]

_pack = msgspec.msgpack.Encoder().encode
with BUILDING:
    _unpack = msgspec.msgpack.Decoder(Outcome).decode


class Staging:
    """What the lines of a batch say, in the order of its requests. Close it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.room = memory_bytes
        self.longest = 0
        self.lines: list[Staged] = []
        self.conn: sqlite3.Connection | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        if self.conn is not None:
            self.conn.close()

    def add(self, lines: list[Staged]) -> None:
        """Keep what lines say."""
        if not lines:
            return
        self.lines += lines
        sizes = [getsizeof(outcome.answer) for _, _, _, outcome in lines]
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
        self.conn.executemany(
            "INSERT INTO staged VALUES (?, ?, ?, ?)",
            ((*place, _pack(outcome)) for *place, outcome in self.lines),
        )
        self.lines.clear()

    def chunks(self) -> Iterator[list[Staged]]:
        """Yield what was kept, by request, and as it came where several lines answer one.

        It is forgotten as it is yielded.
        """
        if self.conn is not None:
            yield from _by_size(self._from_disk())
            return
        # Backwards, as a list gives back memory at its end only.
        lines = self.lines
        lines.sort(key=itemgetter(0))
        lines.reverse()
        if self.longest * CHUNK_ROWS > CHUNK_BYTES:
            yield from _by_size(lines.pop() for _ in range(len(lines)))
        while lines:
            chunk = lines[: -CHUNK_ROWS - 1 : -1]
            del lines[-CHUNK_ROWS:]
            yield chunk

    def _from_disk(self) -> Iterator[Staged]:
        assert self.conn is not None
        self._spill()
        staged = self.conn.execute("SELECT * FROM staged ORDER BY request_id, rowid")
        return ((*place, _unpack(packed)) for *place, packed in staged)


def _by_size(lines: Iterable[Staged]) -> Iterator[list[Staged]]:
    """Yield lines in chunks, fewer of them where answers are long."""
    chunk: list[Staged] = []
    room = CHUNK_BYTES
    for line in lines:
        chunk.append(line)
        room -= getsizeof(line[3].answer)
        if room < 0 or len(chunk) == CHUNK_ROWS:
            yield chunk
            chunk, room = [], CHUNK_BYTES
    if chunk:
        yield chunk
