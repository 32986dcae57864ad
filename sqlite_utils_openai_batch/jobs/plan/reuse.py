"""Which requests ask the same: for --reuse, while a job is planned."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...store import history


class Seen:
    """The first request with each hash, in a private temporary database."""

    def __init__(self, conn: sqlite3.Connection, earlier: Sequence[int]) -> None:
        """Begin with the answers of `earlier` jobs."""
        self.own = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.own.execute(
            "CREATE TABLE seen (digest PRIMARY KEY, request_id, answered) WITHOUT ROWID"
        )
        if earlier:
            for page in history.answered_before(conn, earlier):
                self.own.execute("BEGIN")
                self.own.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, 1)", page)
                self.own.execute("COMMIT")
        self.own.execute("BEGIN")

    def close(self) -> None:
        """Delete the list."""
        self.own.close()

    def find(self, digest: bytes) -> tuple[int, bool] | None:
        """The request that asks the same, and whether an earlier job has its answer."""
        found = self.own.execute(
            "SELECT request_id, answered FROM seen WHERE digest = ?", [digest]
        ).fetchone()
        return None if found is None else (found[0], bool(found[1]))

    def add(self, digest: bytes, request_id: int) -> None:
        """Take in a request that is going to be asked."""
        self.own.execute("INSERT INTO seen VALUES (?, ?, 0)", [digest, request_id])
