"""What a pass over one job works with, and what it tells."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from ... import store
from ...base.errors import NeedsAttention, ProviderError, Transient, Unreachable, Unreadable
from ...base.statuses import STATES
from ...provider.batch import BatchState
from ...provider.client import Provider
from ..writeback import Writer, Written
from .send import Sender


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
    faults: dict[int, str] = field(default_factory=dict)
    """What kept single jobs from their pass, by the id of the job."""


class Pass:
    """One pass over the parts of one job. Closed at its end."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        provider: Provider,
        report: Report,
        told: Callable[[Report], None] = lambda report: None,
    ):
        self.conn = conn
        self.job = job
        self.provider = provider
        self.report = report
        self.hears = told
        self.sender = Sender(conn, provider, job)
        self.writer = Writer(conn, job)
        self.found: dict[int, list[BatchState]] | None = None
        self.blind = False
        """Whether the provider has no list to look for batches in."""
        self.sent = 0
        """Batches that it made."""
        self.told: set[str] = set()
        self.failed: list[ProviderError] = []
        """What stopped single parts."""

    def close(self) -> None:
        """Free what the pass held."""
        self.sender.close()
        self.writer.close()

    def step(
        self,
        needs: str,
        do: Callable[[Pass, store.Part], None],
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Do one thing for each part whose state needs it and that nobody else holds.

        `then` has its turn after each, while no part is held.
        """
        for listed in store.list_parts(self.conn, self.job.id):
            if STATES[listed.status].needs != needs or listed.collected_at:
                continue
            with store.leased(self.conn, listed) as mine:
                part = store.get_part(self.conn, listed.id)
                does = mine and STATES[part.status].needs == needs and not part.collected_at
                if does:
                    do(self, part)
            if does:
                self.hears(self.report)
                then()

    def each(self, needs: str, do: Callable[[Pass, store.Part], None]) -> None:
        """`step`, in which a part that fails keeps no other one from its turn.

        `raise_failed` raises it later. What concerns them all is raised at once.
        """
        self.step(needs, lambda pass_, part: pass_.attempt(do, part))

    def attempt(self, do: Callable[[Pass, store.Part], None], part: store.Part) -> None:
        """Do one thing for one part; keep the error for later where it is the part's own."""
        try:
            do(self, part)
        except ProviderError as error:
            if self.concerns_all(error):
                raise
            self.failed.append(error)

    def concerns_all(self, error: ProviderError) -> bool:
        """Whether other parts would fare no better than the one that failed."""
        if isinstance(error, Unreadable):
            return isinstance(error.__cause__, NeedsAttention)
        if isinstance(error, Transient):
            # Of two that fail for the moment the provider itself is the reason.
            return any(isinstance(one, Transient) for one in self.failed)
        return isinstance(error, (Unreachable, NeedsAttention))

    def raise_failed(self) -> None:
        """Raise what stopped a part: first what only a person can mend."""
        if self.failed:
            raise min(self.failed, key=lambda error: isinstance(error, Transient))

    def say(self, part: store.Part, why: str) -> None:
        """Report why a part waits, once in a pass."""
        sentence = f"Part {part.number} of job {self.job.id}: {why}"
        if why not in self.told:
            self.told.add(why)
            self.report.waiting.append(sentence)
