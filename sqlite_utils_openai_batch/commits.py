"""Short transactions over many rows (DESIGN section 7, rule 10)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

COMMIT_ROWS = 10_000
COMMIT_SECONDS = 0.25
# Pages that are read to be judged are still there when they are written: SQLite's own 2 MB hold
# too few rows of usual length.
CACHE_KB = 8_000


class Commits:
    """Commits each 10,000 rows or 250 ms; rolls back what is open where its block raises.

    `begin` before writing some rows, `wrote` after them: between two transactions others write.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.rows = 0
        self.since = 0.0

    def __enter__(self) -> Commits:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.end()
        elif self.conn.in_transaction:
            self.conn.execute("ROLLBACK")

    def begin(self) -> None:
        """Begin a transaction, unless one goes on."""
        if not self.conn.in_transaction:
            self.conn.execute("BEGIN IMMEDIATE")
            self.rows = 0
            self.since = time.monotonic()

    def wrote(self, rows: int) -> None:
        """Count rows written; commit where it is time."""
        self.rows += rows
        if self.rows >= COMMIT_ROWS or time.monotonic() - self.since > COMMIT_SECONDS:
            self.end()

    def end(self) -> None:
        """Commit what is open."""
        if self.conn.in_transaction:
            self.conn.execute("COMMIT")


@contextmanager
def cached(conn: sqlite3.Connection) -> Iterator[None]:
    """Give a connection a page cache for writing many rows while the block runs."""
    (before,) = conn.execute("PRAGMA cache_size").fetchone()
    conn.execute(f"PRAGMA cache_size = {-CACHE_KB}")
    try:
        yield
    finally:
        conn.execute(f"PRAGMA cache_size = {int(before)}")
