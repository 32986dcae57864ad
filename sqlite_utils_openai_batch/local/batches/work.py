"""One batch on its way: what it is told meanwhile, and what is recorded of it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from .faults import Faults
from .records import BatchRecord
from .settings import Clock
from .store import Store
from .work import Counts

TICK = 0.05
"""Seconds between looks at the clock, which tests may move."""


class Run:
    """One batch on its way; `wake` is set when its status was changed from outside."""

    def __init__(self, batch_id: str, store: Store, clock: Clock, faults: Faults) -> None:
        self.id = batch_id
        self.wake = asyncio.Event()
        self._store = store
        self._clock = clock
        self._faults = faults
        self.bound_faults = self.batch.bound_faults

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
        batch = self.batch
        if batch.status == "cancelling" and "cancel-race" in self.bound_faults:
            return False
        late = batch.deadline is not None and self._clock.time() >= batch.deadline
        return batch.status != "in_progress" or late

    def expire(self) -> None:
        """End the batch's time now."""
        self._store.update_batch(self.id, deadline=self._clock.time())

    async def until(self, time: float) -> None:
        """Wait for a time of the server's clock, but not beyond the batch's being stopped."""
        while (left := time - self._clock.time()) > 0 and not self.stopped:
            await self._tick(left)

    def now(self) -> float:
        """The time of the server's clock."""
        return self._clock.time()

    async def hold(self, status: str) -> None:
        """Stay in a status as long as the fault `stuck` wants it so."""
        while (
            self.bound_faults.get("stuck") == status
            and self._faults.is_on("stuck")
            and self.batch.status == status
            and not self.expired
        ):
            await self._tick(TICK)

    async def _tick(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.wake.wait(), min(seconds, TICK))
        except asyncio.TimeoutError:
            return
        self.wake.clear()

    def record(self, counts: Counts) -> None:
        """Record how far the batch is."""
        self._store.update_batch(self.id, **asdict(counts))
