"""The lines that came back from the provider, in the order of the requests."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sqlite_utils_openai_batch.store import outcomes

STEP_BYTES = 250_000

# Lines of requests by the index on request_id; lines whose custom_id nobody knows come last.
KNOWN = (
    "SELECT request_id, id, CAST(line AS BLOB) FROM openai_batch_responses "
    "WHERE (request_id, id) > (:request, :line) AND request_id <= :last ORDER BY request_id, id"
)
UNKNOWN = (
    "SELECT :last + 1, id, CAST(line AS BLOB) FROM openai_batch_responses "
    "WHERE request_id IS NULL AND id > :line AND part_id IN (SELECT value FROM json_each(:parts)) "
    "ORDER BY id"
)


class RawLines:
    """Reads the responses of a job in steps; no cursor stays open between them."""

    def __init__(self, conn: sqlite3.Connection, job_id: int) -> None:
        self.conn = conn
        self.job_id = job_id
        first, self.last = outcomes.id_range(conn, job_id)
        before = first - 1
        self.request = before + 1
        self.line = 0
        self.known = True
        (self.parts,) = conn.execute(
            "SELECT json_group_array(id) FROM openai_batch_parts WHERE job_id = ?", [job_id]
        ).fetchone()

    def begin(self) -> Callable[[], list[bytes] | None] | None:
        """The function that gives the next piece, or None where no line is kept."""
        first = self.step()
        if first is None:
            return None
        waiting = [first]
        return lambda: waiting.pop() if waiting else self.step()

    def step(self) -> list[bytes] | None:
        """The next lines; None at the end."""
        found = self.read(KNOWN if self.known else UNKNOWN)
        if not found and self.known:
            self.known = False
            self.line = 0
            found = self.read(UNKNOWN)
        return [b"".join(found)] if found else None

    def read(self, sql: str) -> list[bytes]:
        """Some lines, each with its line break."""
        found: list[bytes] = []
        size = 0
        params = {
            "request": self.request,
            "line": self.line,
            "last": self.last,
            "parts": self.parts,
        }
        cursor = self.conn.execute(sql, params if sql is UNKNOWN else params | {"parts": None})
        try:
            for request, line, text in cursor:
                found.append(bytes(text or b"") + b"\n")
                self.request, self.line = request, line
                size += len(found[-1])
                if size > STEP_BYTES:
                    break
        finally:
            cursor.close()
        return found
