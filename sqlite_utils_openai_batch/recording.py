"""Rendered rows → a job's part and request rows, in short transactions."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

from . import store
from .chunks import shifted
from .database import transaction
from .errors import JobError
from .rendering import Rendered, Run
from .store import asking
from .store.leases import renew_job

# Rule 10 of DESIGN section 7: short locks.
COMMIT_ROWS = 10_000
COMMIT_SECONDS = 0.25


@dataclass
class _Part:
    """The part that is being filled."""

    id: int
    number: int
    requests: int = 0
    bytes: int = 0
    others: dict[str, int] = field(default_factory=dict)
    """Requests that aren't sent, by outcome."""

    def count(self, status: str) -> str:
        """Count a request that isn't sent. Returns its outcome."""
        outcome = "pending" if status == "shared" else status
        self.others[outcome] = self.others.get(outcome, 0) + 1
        return outcome

    def outcomes(self) -> dict[str, int]:
        """All requests of the part, by outcome."""
        pending = self.requests + self.others.get("pending", 0)
        return {**self.others, **({"pending": pending} if pending else {})}


class Recorder:
    """Stores a job's parts and requests in short transactions."""

    def __init__(self, conn: sqlite3.Connection, job_id: int):
        self.conn = conn
        self.job_id = job_id
        self.part: _Part | None = None
        self.waiting: list[store.RequestRow] = []
        self.pending: list[tuple[int, Any, bytes]] = []
        self.links: list[tuple[int, int]] = []
        self.last_commit = time.monotonic()

    def add_run(self, run: Run, first_id: int) -> None:
        """Take in rows that all go into the part that is open."""
        part, chunk = self.part, run.chunk
        assert part is not None
        part.requests += len(chunk.sizes)
        part.bytes += sum(chunk.sizes)
        ids = shifted(chunk.positions, first_id)
        self.pending += zip(ids, chunk.row_keys, chunk.hashes, strict=True)
        late = time.monotonic() - self.last_commit > COMMIT_SECONDS
        if late or len(self.pending) + len(self.waiting) >= COMMIT_ROWS:
            self.commit()

    def add(self, row: Rendered, request_id: int) -> None:
        """Take in one rendered row."""
        status, part = row.status, self.part
        # A row that can't be asked belongs to a part too: sums come from parts.
        if part is None or (row.starts_part and part.requests):
            part = self.start_part()
        if status == "pending":
            part.requests += 1
            part.bytes += row.size
        else:
            status = part.count(status)
            if row.same_as is not None:
                self.links.append((row.same_as, request_id))
        waiting = self.waiting
        waiting.append(
            (request_id, self.job_id, part.id, row.row_key, row.source_hash, status, row.message)
        )
        count = len(waiting)
        # the clock is asked now and then: asking costs more than taking in a row
        late = not count % 64 and time.monotonic() - self.last_commit > COMMIT_SECONDS
        if late or count >= COMMIT_ROWS:
            self.commit()

    def start_part(self) -> _Part:
        """Finish the part before, and begin the next."""
        self.commit()
        number = self.part.number + 1 if self.part else 1
        with transaction(self.conn):
            self.renew()
            part_id = store.insert_part(
                self.conn, job_id=self.job_id, number=number, status="prepared", requests=0, bytes=0
            )
        self.part = _Part(part_id, number)
        return self.part

    def commit(self) -> None:
        """Write what waits, and the part's figures, in one transaction."""
        if self.part is None:
            return
        with transaction(self.conn):
            self.renew()
            store.insert_requests(self.conn, self.waiting)
            store.insert_pending(self.conn, self.job_id, self.part.id, self.pending)
            asking.link(self.conn, self.links)
            store.update_part(
                self.conn,
                self.part.id,
                requests=self.part.requests,
                bytes=self.part.bytes,
                outcomes=json.dumps(self.part.outcomes()),
            )
        self.waiting.clear()
        self.pending.clear()
        self.links.clear()
        self.last_commit = time.monotonic()

    def renew(self) -> None:
        """Keep the job for this process, in the caller's transaction.

        Raises JobError where another one took it for abandoned: the ids that were reserved for its
        requests may be others' by now.
        """
        if not renew_job(self.conn, self.job_id):
            raise JobError(
                "This took a long break, and another process has swept away what was prepared. "
                "Nothing was sent: run it again."
            )
