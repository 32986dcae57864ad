"""Rows that are as they were asked about and have no answer yet: nearly all, told at a glance.

Their text is never made a Python string. A row that isn't told here isn't necessarily another:
whoever asks looks at it once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .hashing import digests, packed_rows
from .keys import SQLiteValue, decode_key, quote
from .reading import CHUNK, are_near, lookup, select, sentences

# Rows that are hashed together, at most, and about how many bytes of them: what is read is
# hashed while it is in the processor's cache.
GROUP_ROWS = 32
GROUP_BYTES = 64_000


@dataclass(frozen=True)
class Glance:
    """Where rows are looked at: a table that SQLite looks up by these keys.

    `table` is SQL, the rest are names. The hash of a row is over `columns`; in `empty` it has to
    be NULL.
    """

    conn: sqlite3.Connection
    table: str
    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    empty: tuple[str, ...]

    def unchanged(self, asked: Mapping[SQLiteValue, bytes]) -> set[SQLiteValue]:
        """Return those row keys whose rows have the hash that was asked about, and no answer.

        Rows with a BLOB are left out. Only a few rows are held at a time.
        """
        keys = list(asked)
        with sentences(self.table):
            if len(self.key_columns) == 1 and are_near(keys):
                return self._near(keys, asked)
            return set().union(
                *(
                    self._each(keys[start : start + CHUNK], asked)
                    for start in range(0, len(keys), CHUNK)
                )
            )

    def _near(
        self, keys: Sequence[SQLiteValue], asked: Mapping[SQLiteValue, bytes]
    ) -> set[SQLiteValue]:
        """Look at keys that are whole numbers close together, in one walk."""
        key = f"t.{quote(self.key_columns[0])}"
        chosen = ", ".join([key, *self._chosen])
        sql = (
            f"SELECT {chosen} FROM {self.table} AS t WHERE {key} BETWEEN ? AND ? AND {self._usual}"
        )
        bounds = [min(keys), max(keys)]  # type: ignore[type-var]
        with select(self.conn, sql, bounds, text=bytes) as cursor:
            return {key for key, digest in hashes(cursor) if asked.get(key) == digest}

    def _each(
        self, keys: Sequence[SQLiteValue], asked: Mapping[SQLiteValue, bytes]
    ) -> set[SQLiteValue]:
        """Look up keys one by one."""
        on = tuple(map(quote, self.key_columns))
        chosen = tuple(map(quote, self.columns))
        sql = f"{lookup(self.table, on, chosen, len(keys))} WHERE {self._usual}"
        params = [value for key in keys for value in decode_key(key, len(on))]
        with select(self.conn, sql, params, text=bytes) as cursor:
            # A row comes with the place of its key.
            found = ((keys[place], digest) for place, digest in hashes(cursor))
            return {key for key, digest in found if asked[key] == digest}

    @property
    def _chosen(self) -> list[str]:
        return [f"t.{quote(name)}" for name in self.columns]

    @property
    def _usual(self) -> str:
        """What SQLite itself can say of a usual row."""
        nothing = [f"t.{quote(name)} IS NULL" for name in self.empty]
        # SQLite sorts BLOBs behind all other values: a comparison is faster than typeof().
        no_blobs = [f"({name} >= x'') IS NOT 1" for name in self._chosen]
        return " AND ".join([*nothing, *no_blobs]) or "1"


def hashes(cursor: sqlite3.Cursor) -> Iterator[tuple[Any, bytes]]:
    """Yield the first value of each row, and the hash of the others. TEXT comes as bytes."""
    step = 1
    while rows := cursor.fetchmany(step):
        firsts, *columns = zip(*rows, strict=True)
        packed = list(packed_rows(columns, len(rows)))
        yield from zip(firsts, digests(packed), strict=True)
        size = max(1, sum(map(len, packed)))
        step = max(1, min(GROUP_ROWS, 2 * step, GROUP_BYTES * step // size))
