"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines of a batch say is sorted
before anything is written: in memory while that is little, else packed in a private temporary
database on its own connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import msgspec

from .outcome import Outcome

# Rows that are written together, at most.
CHUNK_ROWS = 2_000
# Bytes of lines whose outcomes stay in memory; more would gain no time (benchmarks/collect.py).
MEMORY_BYTES = 8_000_000
# Bytes of outcomes that are read back together, at most.
CHUNK_BYTES = 8_000_000

# What a line says of a request: its id, the fields of its outcome in their order (the custom_id
# left out), then the number of the file (from 0) and of the line in it (from 1).
Staged = tuple[Any, ...]
ID, STATUS, ANSWER, TOKENS_END, VALUES, NOTE, FILE, NUMBER = 0, 1, 2, 11, 11, 12, 13, 14

_fields = msgspec.structs.astuple
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple).decode


def staged(request_id: int, outcome: Outcome, file: int, number: int) -> Staged:
    """Return what a line says of a request, as it is staged."""
    return (request_id, *_fields(outcome)[1:], file, number)


class Staging:
    """What the lines of a batch say, in the order of its requests. Close it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.room = memory_bytes
        self.lines: list[Staged] = []
        self.conn: sqlite3.Connection | None = None

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        if self.conn is not None:
            self.conn.close()

    def add(self, lines: list[Staged], size: int) -> None:
        """Keep what lines say that have `size` bytes together."""
        self.lines += lines
        self.room -= size
        if self.room < 0:
            self._spill()

    def _spill(self) -> None:
        if self.conn is None:
            # SQLite deletes the file (named by the empty string) when the connection closes.
            self.conn = sqlite3.connect("", isolation_level=None)
            self.conn.execute("PRAGMA journal_mode = OFF")
            self.conn.execute("CREATE TABLE staged (request_id, packed)")
            self.conn.execute("BEGIN")
        self.conn.executemany(
            "INSERT INTO staged VALUES (?, ?)", ((line[ID], _pack(line)) for line in self.lines)
        )
        self.lines.clear()

    def chunks(self) -> Iterator[list[Staged]]:
        """Yield what was kept, by request, and as it came where several lines answer one."""
        if self.conn is None:
            self.lines.sort(key=itemgetter(ID))
            for start in range(0, len(self.lines), CHUNK_ROWS):
                yield self.lines[start : start + CHUNK_ROWS]
            return
        chunk: list[Staged] = []
        room = CHUNK_BYTES
        for (packed,) in self.conn.execute("SELECT packed FROM staged ORDER BY request_id, rowid"):
            chunk.append(_unpack(packed))
            room -= len(packed)
            if room < 0 or len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk, room = [], CHUNK_BYTES
        if chunk:
            yield chunk
