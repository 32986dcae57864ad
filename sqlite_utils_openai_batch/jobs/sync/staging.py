"""Outcomes in the order of their requests: lines come shuffled, rows are written in order.

Writing in the order of arrival costs twice the time. So what the lines of a batch say is sorted
before anything is written: in memory, or, where a batch has much to say, in a private temporary
database on its own connection.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from sys import getsizeof

import msgspec

from ...answers.wire import BUILDING
from ...base.outcome import Outcome

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

    def add(self, lines: Sequence[Staged]) -> None:
        """Keep what lines say, but for their `custom_id`."""
        if not lines:
            return
        self.lines.add(lines)
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
        lines = self.lines
        self.conn.executemany(
            "INSERT INTO staged VALUES (?, ?, ?, ?)",
            [(*place, _encode(said)) for *place, said in lines.take(range(len(lines.ids)))],
        )
        self.lines = _Lines()
        self.room = self.memory_bytes

    def chunks(self) -> Iterator[list[Staged]]:
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
            yield from _by_size(lines.take([n])[0] for n in order)
            return
        for start in range(0, len(order), CHUNK_ROWS):
            yield lines.take(order[start : start + CHUNK_ROWS])


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


class _Lines:
    """What lines say, to be taken in another order than they came.

    Of an outcome that is no more than an answer only the answer is kept as an object: to look for
    each of its numbers all over the memory takes longer than to make them anew.
    """

    # file, line, tokens (-1 for None), index in `kinds`
    row = Struct("=7q")

    def __init__(self) -> None:
        self.ids = array("q")
        self.rows = bytearray()
        self.kinds: list[tuple[str | None, str | None]] = []
        self.kind_of: dict[tuple[str | None, str | None], int] = {}
        # what outcomes are, where they are more than the answer that stands here otherwise
        self.said: list[str | bytes | Outcome | None] = []

    def add(self, lines: Sequence[Staged]) -> None:
        """Add lines."""
        self.ids.extend([request_id for request_id, _, _, _ in lines])
        self.said += [said.answer if is_plain(said) else said for _, _, _, said in lines]
        pack, kind_of = self.row.pack, self.kind_of
        for _, file, number, said in lines:
            kind = said.finish_reason, said.model
            if kind not in kind_of:
                kind_of[kind] = len(self.kinds)
                self.kinds.append(kind)
            self.rows += pack(
                file,
                number,
                -1 if said.prompt_tokens is None else said.prompt_tokens,
                -1 if said.cached_tokens is None else said.cached_tokens,
                -1 if said.completion_tokens is None else said.completion_tokens,
                -1 if said.reasoning_tokens is None else said.reasoning_tokens,
                kind_of[kind],
            )

    def take(self, order: Sequence[int]) -> list[Staged]:
        """Return lines by their index, and forget what they said."""
        taken: list[Staged] = []
        unpack, size = self.row.unpack_from, self.row.size
        for n in order:
            said, self.said[n] = self.said[n], None
            file, number, prompt, cached, completion, reasoning, kind = unpack(self.rows, n * size)
            if not isinstance(said, Outcome):
                reason, model = self.kinds[kind]
                said = Outcome(
                    None,
                    "ok",
                    said,
                    None,
                    None,
                    reason,
                    model,
                    None if prompt < 0 else prompt,
                    None if cached < 0 else cached,
                    None if completion < 0 else completion,
                    None if reasoning < 0 else reasoning,
                )
            taken.append((self.ids[n], file, number, said))
        return taken


def is_plain(said: Outcome) -> bool:
    """Whether an outcome is an answer, and neither checked nor odd in any way."""
    return (
        said.status == "ok"
        and said.values is None
        and said.note is None
        and said.confidence is None
        and said.error_code is None
        and said.error_message is None
    )
