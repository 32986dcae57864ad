"""The statement that sets the answers of two jobs side by side."""

from __future__ import annotations

import sqlite3
from typing import Any


def pairs_page(
    conn: sqlite3.Connection, first: int, second: int, after: int, last: int, size: int
) -> list[tuple[Any, ...]]:
    """The next requests of a job up to an id, beside those of another job about the same rows.

    Each is (id, row_key, status, answer, other status, other answer); the last two are NULL where
    the other job didn't ask about the row.
    """
    # The + keeps SQLite on its walk along the ids: another index would mean a sort for each page.
    return conn.execute(
        "SELECT own.id, own.row_key, own.status, own.answer, other.status, other.answer "
        "FROM openai_batch_requests AS own LEFT JOIN openai_batch_requests AS other "
        "ON other.job_id = ? AND other.row_key = own.row_key "
        "WHERE own.id > ? AND own.id <= ? AND +own.job_id = ? ORDER BY own.id LIMIT ?",
        [second, after, last, first, size],
    ).fetchall()
