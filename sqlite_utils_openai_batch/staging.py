"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines say is kept, packed, in a
private temporary database on its own connection, and read back sorted: memory stays small.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from .outcome import Outcome

# Rows that are written together, at most; long answers make it fewer.
CHUNK_ROWS = 2_000
CHUNK_BYTES = 8_000_000

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple).decode

# (status, answer, error code, error message, finish reason, model, prompt, cached, completion and
# reasoning tokens, values of the schema's columns): the order of the columns of a request.
Settled = tuple[Any, ...]
STATUS, ANSWER, VALUES = 0, 1, 10


class Staged(NamedTuple):
    """What one line says about a request; its file (from 0) and its number there (from 1)."""

    request_id: int
    file: int
    number: int
    packed: bytes

    def read(self) -> Settled:
        """Unpack what `settled` packed."""
        return _unpack(self.packed)


def settled(outcome: Outcome) -> bytes:
    """Pack what an outcome changes in its request."""
    return _pack(
        (
            outcome.status,
            outcome.answer,
            outcome.error_code,
            outcome.error_message or outcome.note,
            outcome.finish_reason,
            outcome.model,
            outcome.prompt_tokens,
            outcome.cached_tokens,
            outcome.completion_tokens,
            outcome.reasoning_tokens,
            outcome.values,
        )
    )


class Staging:
    """What lines say, in the order of the requests that they answer. Close it."""

    def __init__(self) -> None:
        # SQLite deletes the file (named by the empty string) when the connection closes.
        self.conn = sqlite3.connect("", isolation_level=None)
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute("CREATE TABLE staged (request_id, file, number, packed)")
        self.conn.execute("BEGIN")

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self.conn.close()

    def add(self, lines: Iterable[tuple[int, int, int, bytes]]) -> None:
        """Keep what lines say: (request id, file, number, packed)."""
        self.conn.executemany("INSERT INTO staged VALUES (?, ?, ?, ?)", lines)

    def chunks(self) -> Iterator[list[Staged]]:
        """Yield what was kept, by request, and as it came where several lines answer one."""
        cursor = self.conn.execute(
            "SELECT request_id, file, number, packed FROM staged ORDER BY request_id, rowid"
        )
        chunk: list[Staged] = []
        room = CHUNK_BYTES
        for row in cursor:
            line = Staged._make(row)
            chunk.append(line)
            room -= len(line.packed)
            if room <= 0 or len(chunk) == CHUNK_ROWS:
                yield chunk
                chunk, room = [], CHUNK_BYTES
        if chunk:
            yield chunk
