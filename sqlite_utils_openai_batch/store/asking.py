"""Every statement about what was asked before: for choosing rows, and for answers shared."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

PAGE = 5_000


class Asked(NamedTuple):
    """A request of an earlier job, as far as the choice of rows has to know."""

    id: int
    job_id: int
    row_key: Any
    source_hash: bytes
    status: str
    write_status: str | None
    previous: str | None


def asked_before(conn: sqlite3.Connection, job_ids: Sequence[int]) -> Iterator[list[Asked]]:
    """Pages of the requests of some jobs, oldest first; no cursor is open between them."""
    after = 0
    marks = ", ".join("?" * len(job_ids))
    # "+": one walk along the ids, rather than a search for each job and a sort
    sql = (
        "SELECT id, job_id, row_key, source_hash, status, write_status, previous "
        f"FROM openai_batch_requests WHERE +job_id IN ({marks}) AND id > ? "
        "AND status <> 'placeholder' ORDER BY id LIMIT ?"
    )
    while page := conn.execute(sql, [*job_ids, after, PAGE]).fetchall():
        yield [Asked._make(row) for row in page]
        after = page[-1][0]


def last_written(
    conn: sqlite3.Connection, job_ids: Sequence[int], row_keys: Sequence[Any]
) -> dict[Any, str]:
    """What the newest write of these jobs to a row is remembered by (`previous`), by row key."""
    marks = ", ".join("?" * len(job_ids))
    found: dict[Any, str] = {}
    for row_key in row_keys:
        row = conn.execute(
            f"SELECT previous FROM openai_batch_requests WHERE job_id IN ({marks}) "
            "AND row_key IS ? AND write_status = 'written' ORDER BY id DESC LIMIT 1",
            [*job_ids, row_key],
        ).fetchone()
        if row is not None and row[0]:
            found[row_key] = row[0]
    return found
