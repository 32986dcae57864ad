"""Leases of whole jobs (made, reverted, applied, retried by one process), and renewing them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..base import clock
from .connection import left_at_once, transaction
from .owner import me
from .parts import LEASE_SECONDS, may_take, renew
from .records import Part

# Renewed that often within a long call: well before the lease runs out.
RENEW_SECONDS = 60.0


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

    def leave() -> None:
        if mine:
            conn.execute(
                "UPDATE openai_batch_jobs SET lease_owner = NULL, lease_until = NULL "
                "WHERE id = ? AND lease_owner = ?",
                [job_id, me()],
            )

    with left_at_once(leave, conn):
        yield mine


def renew_job(conn: sqlite3.Connection, job_id: int) -> bool:
    """Prolong this process's lease of a job; False where it was lost."""
    cursor = conn.execute(
        "UPDATE openai_batch_jobs SET lease_until = ? WHERE id = ? AND lease_owner = ?",
        [clock.now(LEASE_SECONDS), job_id, me()],
    )
    return cursor.rowcount == 1


class Renewal:
    """Renews the lease of a part now and then: called often, outside of a transaction."""

    def __init__(self, conn: sqlite3.Connection, part: Part) -> None:
        self.conn = conn
        self.part = part
        self.since = time.monotonic()

    def __call__(self) -> None:
        """Renew the lease where that was long ago."""
        if time.monotonic() - self.since < RENEW_SECONDS:
            return
        self.since = time.monotonic()
        try:
            renew(self.conn, self.part)
        except sqlite3.OperationalError as error:
            # Another program writes: the lease lasts, and is renewed the next time.
            if "locked" not in str(error):
                raise
