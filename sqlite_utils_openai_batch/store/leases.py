"""The lease of a whole job: one process at a time makes it, reverts it or applies it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from .. import clock
from ..database import transaction
from .owner import me
from .parts import LEASE_SECONDS, may_take


@contextmanager
def job_leased(conn: sqlite3.Connection, job_id: int) -> Iterator[bool]:
    """Hold a job for this process while the body runs; yields False where another holds it."""
    with transaction(conn):
        owner, until = conn.execute(
            "SELECT lease_owner, lease_until FROM openai_batch_jobs WHERE id = ?", [job_id]
        ).fetchone()
        mine = may_take(owner, until)
        if mine:
            conn.execute(
                "UPDATE openai_batch_jobs SET lease_owner = ?, lease_until = ? WHERE id = ?",
                [me(), clock.now(LEASE_SECONDS), job_id],
            )
    try:
        yield mine
    finally:
        if mine:
            conn.execute(
                "UPDATE openai_batch_jobs SET lease_owner = NULL, lease_until = NULL "
                "WHERE id = ? AND lease_owner = ?",
                [job_id, me()],
            )


def renew_job(conn: sqlite3.Connection, job_id: int) -> bool:
    """Prolong this process's lease of a job; False where it was lost."""
    cursor = conn.execute(
        "UPDATE openai_batch_jobs SET lease_until = ? WHERE id = ? AND lease_owner = ?",
        [clock.now(LEASE_SECONDS), job_id, me()],
    )
    return cursor.rowcount == 1
