"""Rows written by one statement, of which their table may refuse some."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from operator import length_hint

from .database import explain
from .errors import OutputError
from .keys import SQLiteValue

Values = tuple[SQLiteValue, ...]


class Rows:
    """Rows for one statement, each with its place among the answers: `rows` is all of them."""

    def __init__(self, sql: str, rows: Sequence[Values] = ()) -> None:
        self.sql = sql
        self.rows = list(rows)
        self.places = list(range(len(self.rows)))

    def add(self, place: int, row: Values) -> None:
        """Take in one row."""
        self.places.append(place)
        self.rows.append(row)

    def write(self, conn: sqlite3.Connection) -> dict[int, str]:
        """Write the rows. Returns SQLite's words for those that the table refused, by place.

        Raises OutputError where a trigger undid the transaction.
        """
        refused: dict[int, str] = {}
        left = iter(self.rows)
        while length_hint(left):
            try:
                conn.executemany(self.sql, left)
            except sqlite3.Error as error:
                if explain(error, "") is not None:
                    raise  # it is about the file: locked, full, damaged
                if not conn.in_transaction:
                    raise OutputError(
                        f"A trigger undoes what is written: {error}. The answers are kept in the "
                        "job: drop the trigger, or write them elsewhere with apply and "
                        "--output-table."
                    ) from error
                # The rows before it are written, and the iterator stands behind it.
                refused[self.places[len(self.rows) - length_hint(left) - 1]] = str(error)
        return refused
