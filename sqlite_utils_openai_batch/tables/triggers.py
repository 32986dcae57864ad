"""Triggers that fire when answers are written: said before anything is sent."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from ..base.text import listed
from .output import Output
from .source import Source


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
