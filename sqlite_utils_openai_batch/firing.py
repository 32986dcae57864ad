"""Triggers that fire when answers are written: said before anything is sent."""

from __future__ import annotations

import re
import sqlite3
from typing import Any


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
