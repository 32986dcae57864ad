"""Rows whose keys a table's triggers change while they are written: followed, not lost.

A temporary trigger of this connection notes each change of a key. Nothing of it is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence

from .columns import triggers
from .sql import SQLiteValue, encode_key, quote

_NOTES = "openai_batch_moves"


class Moves:
    """Follows the keys of a table's rows while its block runs, in the caller's transaction.

    Where the table has no triggers there is nothing to follow.
    """

    def __init__(self, conn: sqlite3.Connection, table: str, keys: Sequence[str]) -> None:
        self.conn = conn
        self.table = table
        self.keys = [quote(key) for key in keys]
        self.follows = bool(triggers(conn, table))

    def __enter__(self) -> Moves:
        if self.follows:
            width = range(len(self.keys))
            columns = ", ".join([f"old{n}" for n in width] + [f"new{n}" for n in width])
            values = ", ".join(f"{row}.{key}" for row in ("OLD", "NEW") for key in self.keys)
            changed = " OR ".join(f"OLD.{key} IS NOT NEW.{key}" for key in self.keys)
            self.drop()
            self.conn.execute(f"CREATE TEMP TABLE {_NOTES} ({columns})")
            self.conn.execute(
                f"CREATE TEMP TRIGGER {_NOTES}_note AFTER UPDATE ON main.{quote(self.table)} "
                f"WHEN {changed} BEGIN INSERT INTO {_NOTES} VALUES ({values}); END"
            )
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.follows and kind is None:
            self.drop()

    def drop(self) -> None:
        """Forget what was noted; after an error the next one does, or the rollback."""
        self.conn.execute(f"DROP TRIGGER IF EXISTS temp.{_NOTES}_note")
        self.conn.execute(f"DROP TABLE IF EXISTS temp.{_NOTES}")

    def of(self, keys: Collection[SQLiteValue]) -> Iterator[tuple[SQLiteValue, SQLiteValue]]:
        """Yield (key before, key now) of those of these rows that have moved."""
        if not self.follows:
            return
        began: dict[SQLiteValue, SQLiteValue] = {}
        width = len(self.keys)
        for row in self.conn.execute(f"SELECT * FROM temp.{_NOTES} ORDER BY rowid").fetchall():
            old, new = encode_key(row[:width]), encode_key(row[width:])
            began[new] = began.pop(old, old)
        for now, before in began.items():
            if before in keys and before != now:
                yield before, now
