"""Triggers that fire when answers are written: said before anything is sent."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..base.text import listed
from .columns import triggers
from .output import Output
from .source import Source
from .sql import SQLiteValue, encode_key, quote


def firing(conn: sqlite3.Connection, table: str, event: str) -> list[str]:
    """Return the names of a table's triggers on UPDATE or INSERT."""
    found: list[tuple[Any, ...]] = conn.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' "
        "AND tbl_name = ? COLLATE NOCASE ORDER BY name",
        [table],
    ).fetchall()
    # what stands before the body: CREATE TRIGGER name AFTER UPDATE OF column ON table
    on_event = re.compile(rf"\b{event}\b.*?\bON\b", re.IGNORECASE | re.DOTALL)
    heads = {str(name): re.split(r"(?i)\bBEGIN\b", sql)[0] for name, sql in found}
    return [name for name, head in heads.items() if on_event.search(head)]


def trigger_warnings(conn: sqlite3.Connection, source: Source, output: Output) -> list[str]:
    """What will happen beside the writing of answers: each one fires the table's triggers."""
    table = output.table or source.name
    if not output.write or table is None:
        return []
    event = "INSERT" if output.table else "UPDATE"
    names = firing(conn, table, event)
    if not names:
        return []
    one = len(names) == 1
    return [
        f"writing the answers fires {table}'s trigger{'' if one else 's'} {listed(names)} for each "
        f"row; with full-text search that takes about 14 times as long."
    ]


# Rows whose keys a table's triggers change while they are written: followed, not lost.
# A temporary trigger of this connection notes each change of a key; nothing of it is in the file.

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
