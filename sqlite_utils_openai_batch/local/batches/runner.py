"""Runs batches: validating → in_progress → finalizing → completed, and the other ends.

Each step is recorded before the next one begins, so that a server that was killed goes on where
it was. All batches run at once and share the answerer's `concurrency`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any

import orjson

from ...base.errors import OpenAIBatchError
from ..faults.registry import Faults
from ..protocol.answers import Answerer
from ..protocol.lines import blocks, numbered_lines
from ..settings import Clock, Folders, ServerLimits
from .answering import answer_lines
from .finish import Finisher
from .store import BatchRecord, Store
from .validate import Validator, batch_error, no_input_file, queue_error
from .work import Run, Work

logger = logging.getLogger(__name__)

SLICE = 500
"""So many lines are read before others get their turn."""


class Runner:
    """Runs the batches of one server, on the server's event loop."""

    def __init__(
        self,
        store: Store,
        folders: Folders,
        clock: Clock,
        limits: ServerLimits,
        answerer: Answerer,
        faults: Faults,
        ended: Callable[[BatchRecord], None],
    ) -> None:
        self._store = store
        self._folders = folders
        self._clock = clock
        self._limits = limits
        self._answerer = answerer
        self._faults = faults
        self._ended = ended
        self._finisher = Finisher(store, folders, clock)
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(answerer.concurrency)

    def resume(self) -> None:
        """Go on with the batches that the last server left unfinished."""
        for batch_id in self._store.open_batches():
            self.submit(batch_id)

    def submit(self, batch_id: str) -> None:
        """Begin to run a batch."""
        self._runs[batch_id] = Run(batch_id, self._store, self._clock, self._faults)
        self._spawn(self._guarded(batch_id))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self, batch_id: str) -> None:
        """Let a batch know that it is to stop; its status says so already."""
        if run := self._runs.get(batch_id):
            run.wake.set()

    async def stop(self) -> None:
        """Stop where things are; what is unfinished goes on at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, batch_id: str) -> None:
        run = self._runs[batch_id]
        try:
            await self._run(run)
        except OpenAIBatchError as error:
            self._fail(batch_id, [batch_error("server_error", str(error))])
        except Exception as error:  # noqa: BLE001  else the batch would stay open for ever
            logger.error("Batch %s failed: %s", batch_id, traceback.format_exc())
            message = f"The local server failed: {error!r}."
            self._fail(batch_id, [batch_error("server_error", message)])
        finally:
            del self._runs[batch_id]
        self._ended(run.batch)

    async def _run(self, run: Run) -> None:
        if run.batch.status == "validating":
            await run.hold("validating")
            await self._validate(run)
        if run.batch.status in ("in_progress", "cancelling"):
            await self._answer(run)
        for status in ("finalizing", "cancelling"):
            await run.hold(status)
        if run.batch.is_open:
            await asyncio.to_thread(self._finisher.finish, run)

    # validating

    async def _validate(self, run: Run) -> None:
        batch = run.batch
        if self._store.file(batch.input_file_id, batch.owner) is None:
            self._fail(batch.id, [no_input_file(batch.input_file_id)])
            return
        validator = await self._read(run)
        if run.batch.status == "cancelling":
            return
        if errors := validator.errors or self._queue_errors(run, validator):
            self._fail(batch.id, errors)
            return
        self._store.update_batch(
            batch.id,
            status="in_progress",
            in_progress_at=self._clock.now(),
            total=validator.total,
            model=validator.model,
            enqueued_tokens=validator.tokens,
        )

    async def _read(self, run: Run) -> Validator:
        batch = run.batch
        models = await self._answerer.allowed_models()
        validator = Validator(batch.endpoint, self._limits, models)
        for block in blocks(numbered_lines(self._folders.file(batch.input_file_id)), SLICE):
            validator.lines(block)
            await asyncio.sleep(0)
        validator.finish()
        return validator

    def _queue_errors(self, run: Run, validator: Validator) -> list[dict[str, Any]]:
        batch, model = run.batch, validator.model or ""
        if forced := run.bound_faults.get("token-limit"):
            return [queue_error(model, forced)]
        limit = self._limits.enqueued_tokens
        if limit is None:
            return []
        if self._store.enqueued_tokens(batch.owner, model) + validator.tokens <= limit:
            return []
        return [queue_error(model, limit)]

    def _fail(self, batch_id: str, errors: list[dict[str, Any]]) -> None:
        self._store.update_batch(
            batch_id,
            status="failed",
            failed_at=self._clock.now(),
            errors=orjson.dumps({"object": "list", "data": errors}).decode(),
        )

    # in_progress

    async def _answer(self, run: Run) -> None:
        batch = run.batch
        work = Work(self._folders.output(batch.id), self._folders.errors(batch.id))
        try:
            await self._answer_all(run, work)
        finally:
            run.record(work.counts)
            work.close()
        if run.batch.status == "in_progress" and not run.expired:
            now = self._clock.now()
            self._store.update_batch(batch.id, status="finalizing", finalizing_at=now)

    async def _answer_all(self, run: Run, work: Work) -> None:
        batch, faults = run.batch, run.bound_faults
        lines = numbered_lines(self._folders.file(batch.input_file_id))
        if "expire" in faults:
            some = islice(lines, faults["expire"] or batch.total // 2)
            await answer_lines(run, some, work, self._answerer, self._slots)
            run.expire()
        elif faults.get("stuck") == "in_progress":
            some = islice(lines, batch.total // 2)
            await answer_lines(run, some, work, self._answerer, self._slots)
            await run.hold("in_progress")
        await answer_lines(run, lines, work, self._answerer, self._slots)
