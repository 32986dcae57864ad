"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines of a batch say is sorted
before anything is written: packed in memory, or, where a batch has much to say, in a private
temporary database on its own connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from operator import itemgetter

import msgspec

from .outcome import Outcome
from .wire import BUILDING

# Rows that are written together, at most.
CHUNK_ROWS = 2_000
# Bytes of packed outcomes that stay in memory: those of 50,000 requests, OpenAI's most, where
# answers have the usual length.
MEMORY_BYTES = 32_000_000
# Bytes of outcomes that are unpacked together, at most.
CHUNK_BYTES = 8_000_000

# What a line says of a request: its id, the number of the file (from 0) and of the line in it
# (from 1), the outcome; packed, and as it is.
Packed = tuple[int, int, int, bytes]
Staged = tuple[int, int, int, Outcome]

pack = msgspec.msgpack.Encoder().encode
with BUILDING:
    _unpack = msgspec.msgpack.Decoder(Outcome).decode


class Staging:
    """What the lines of a batch say, in the order of its requests. Close it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.room = memory_bytes
        self.lines: list[Packed] = []
        self.conn: sqlite3.Connection | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        if self.conn is not None:
            self.conn.close()

    def add(self, lines: list[Packed]) -> None:
        """Keep what lines say."""
        self.lines += lines
        self.room -= sum([len(line[3]) for line in lines])
        if self.room < 0:
            self._spill()

    def _spill(self) -> None:
        if self.conn is None:
            # SQLite deletes the file (named by the empty string) when the connection closes.
            self.conn = sqlite3.connect("", isolation_level=None)
            self.conn.execute("PRAGMA journal_mode = OFF")
            self.conn.execute("CREATE TABLE staged (request_id, file, number, packed)")
            self.conn.execute("BEGIN")
        self.conn.executemany("INSERT INTO staged VALUES (?, ?, ?, ?)", self.lines)
        self.lines.clear()

    def chunks(self) -> Iterator[list[Staged]]:
        """Yield what was kept, by request, and as it came where several lines answer one."""
        chunk: list[Staged] = []
        room = CHUNK_BYTES
        for request_id, file, number, packed in self._sorted():
            chunk.append((request_id, file, number, _unpack(packed)))
            room -= len(packed)
            if room < 0 or len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk, room = [], CHUNK_BYTES
        if chunk:
            yield chunk

    def _sorted(self) -> Iterator[Packed]:
        if self.conn is not None:
            return self.conn.execute("SELECT * FROM staged ORDER BY request_id, rowid")
        self.lines.sort(key=itemgetter(0))
        return iter(self.lines)
