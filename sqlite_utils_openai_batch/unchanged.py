"""Rows that are as they were asked about and have no answer yet: nearly all, told at a glance.

Their text is never made a Python string. A row that isn't told here isn't necessarily another:
whoever asks looks at it once more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .hashing import stored_hash
from .keys import SQLiteValue, decode_key, quote
from .reading import CHUNK, Row, are_near, lookup, select, sentences


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

        Rows with a BLOB are left out. Only one row is held at a time.
        """
        keys = list(asked)
        with sentences(self.table):
            rows = self._near(keys) if self._is_near(keys) else self._each(keys)
            return {key for key, row in rows if asked.get(key) == stored_hash(row)}

    def _is_near(self, keys: Sequence[SQLiteValue]) -> bool:
        return len(self.key_columns) == 1 and are_near(keys)

    def _near(self, keys: Sequence[SQLiteValue]) -> Iterator[tuple[SQLiteValue, Row]]:
        key = f"t.{quote(self.key_columns[0])}"
        chosen = ", ".join([key, *self._chosen])
        sql = (
            f"SELECT {chosen} FROM {self.table} AS t WHERE {key} BETWEEN ? AND ? AND {self._usual}"
        )
        bounds = [min(keys), max(keys)]  # type: ignore[type-var]
        with select(self.conn, sql, bounds, text=bytes) as cursor:
            for row in cursor:
                yield row[0], row[1:]

    def _each(self, row_keys: Sequence[SQLiteValue]) -> Iterator[tuple[SQLiteValue, Row]]:
        on = tuple(map(quote, self.key_columns))
        chosen = tuple(map(quote, self.columns))
        for start in range(0, len(row_keys), CHUNK):
            some = row_keys[start : start + CHUNK]
            sql = f"{lookup(self.table, on, chosen, len(some))} WHERE {self._usual}"
            params = [value for key in some for value in decode_key(key, len(on))]
            with select(self.conn, sql, params, text=bytes) as cursor:
                for row in cursor:
                    yield some[row[0]], row[1:]

    @property
    def _chosen(self) -> list[str]:
        return [f"t.{quote(name)}" for name in self.columns]

    @property
    def _usual(self) -> str:
        """What SQLite itself can say of a usual row."""
        nothing = [f"t.{quote(name)} IS NULL" for name in self.empty]
        texts = [f"typeof({name}) <> 'blob'" for name in self._chosen]
        return " AND ".join([*nothing, *texts]) or "1"
