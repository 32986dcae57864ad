"""What a pass over one job works with, and what it tells."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from . import store
from .api import BatchState, Provider
from .send import Sender
from .states import STATES
from .writeback import Writer, Written


@dataclass
class Report:
    """What a pass did, and what there is to do still."""

    sent: int = 0
    collected: int = 0
    ended: list[store.Job] = field(default_factory=list)
    paused: list[store.Job] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    unreadable: set[int] = field(default_factory=set)
    """Ids of jobs whose batches, or what they answered, can't be read."""
    written: dict[int, Written] = field(default_factory=dict)


class Pass:
    """One pass over the parts of one job. Closed at its end."""

    def __init__(
        self, conn: sqlite3.Connection, job: store.Job, provider: Provider, report: Report
    ):
        self.conn = conn
        self.job = job
        self.provider = provider
        self.report = report
        self.sender = Sender(conn, provider, job)
        self.writer = Writer(conn, job)
        self.found: dict[int, list[BatchState]] | None = None
        self.blind = False
        """Whether the provider has no list to look for batches in."""
        self.told: set[str] = set()

    def close(self) -> None:
        """Free what the pass held."""
        self.sender.close()
        self.writer.close()

    def step(self, needs: str, do: Callable[[Pass, store.Part], None]) -> None:
        """Do one thing for each part whose state needs it and that nobody else holds."""
        for listed in store.list_parts(self.conn, self.job.id):
            if STATES[listed.status].needs != needs or listed.collected_at:
                continue
            with store.leased(self.conn, listed) as mine:
                part = store.get_part(self.conn, listed.id)
                if mine and STATES[part.status].needs == needs and not part.collected_at:
                    do(self, part)

    def say(self, part: store.Part, why: str) -> None:
        """Report why a part waits, once in a pass."""
        sentence = f"Part {part.number} of job {self.job.id}: {why}"
        if why not in self.told:
            self.told.add(why)
            self.report.waiting.append(sentence)
