"""One batch on its way: what it is told meanwhile, and what is recorded of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from .settings import Clock
from .store import BatchRecord, Store
from .work import Counts

TICK = 0.05
"""Seconds between looks at the clock, which tests may move."""


class Run:
    """One batch on its way; `wake` is set when its status was changed from outside."""

    def __init__(self, batch_id: str, store: Store, clock: Clock) -> None:
        self.id = batch_id
        self.wake = asyncio.Event()
        self._store = store
        self._clock = clock

    @property
    def batch(self) -> BatchRecord:
        """The batch as it is recorded now."""
        record = self._store.batch(self.id)
        if record is None:
            raise KeyError(self.id)
        return record

    @property
    def expired(self) -> bool:
        """Tell whether the batch's time is over."""
        deadline = self.batch.deadline
        return deadline is not None and self._clock.time() >= deadline

    @property
    def stopped(self) -> bool:
        """Tell whether no further line is to be answered."""
        return self.batch.status != "in_progress" or self.expired

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the moment when the batch is stopped."""
        until = self._clock.time() + seconds
        while (left := until - self._clock.time()) > 0 and not self.stopped:
            try:
                await asyncio.wait_for(self.wake.wait(), min(left, TICK))
            except asyncio.TimeoutError:
                continue
            self.wake.clear()

    def record(self, counts: Counts) -> None:
        """Record how far the batch is."""
        self._store.update_batch(self.id, **asdict(counts))
