"""Gets the lines of a batch answered, many at a time, and written down as they come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from ...base.parameters import ONLY_IN_BATCHES, outline, refusals
from ..answerers.upstream import UpstreamAnswerer
from ..faults.answers import spoil
from ..protocol.answers import (
    Answer,
    Answerer,
    BlockAnswerer,
    FormAnswerer,
    ImmediateAnswerer,
    NoAnswer,
    api_error,
)
from ..protocol.lines import Form, Line, Tries, batch_url, blocks, parse_line, piecewise
from .work import TICK, ResultForm, Results, Run, Work

CHUNK = 500
RECORD_EVERY = 0.1
"""Seconds between records of a batch's counts, at least."""
GRACE = 10.0
"""Seconds that requests in flight may still take when their batch is stopped."""

OUTLINES = 100
"""So many outlines of good bodies are kept: a batch rarely has more than one."""


async def answer_lines(
    run: Run, lines: Iterable[Line], work: Work, answerer: Answerer, slots: asyncio.Semaphore
) -> None:
    """Answer the lines that aren't answered yet, until all are or the batch is stopped."""
    done = work.answered
    todo = (line for line in lines if line[0] not in done) if done else iter(lines)
    if isinstance(answerer, ImmediateAnswerer):
        await _answer_now(run, todo, work, answerer)
        return
    # A batch that goes on has the same blocks as one that begins: small ones where it is small.
    size = answerer.block_size(run.batch.total) if isinstance(answerer, BlockAnswerer) else 1
    await _Pool(run, work, answerer, slots).answer(blocks(todo, size))


class Refusals:
    """What the service says of bodies that it refuses: a 400 in place of an answer.

    An upstream server knows itself what it takes. Bodies that differ in the texts of their messages
    only fare alike, so most of a batch need no look of their own.
    """

    def __init__(self, answerer: Answerer) -> None:
        # told once: to ask an object for its protocol takes longer than to answer a line
        self._block = answerer if isinstance(answerer, BlockAnswerer) else None
        theirs = self._block is not None and self._block.knows_bodies
        self._looks = not (theirs or isinstance(answerer, UpstreamAnswerer))
        self._good = set[bytes]()

    def of(self, url: str, body: dict[str, Any]) -> Answer | None:
        """What is said of one body, None for a good one."""
        if not self._looks:
            return None
        same = outline(url, body)
        if same is None or same not in self._good:
            for one in refusals(url, body):
                if one.code not in ONLY_IN_BATCHES:
                    return api_error(
                        400,
                        one.message + ".",
                        type="invalid_request_error",
                        param=one.param,
                        code=one.code,
                    )
            if same is not None and len(self._good) < OUTLINES:
                self._good.add(same)
        return self._block.refusal(url, body) if self._block else None


async def answer_of(
    answerer: Answerer, url: str, body: dict[str, Any], custom_id: str
) -> Answer | NoAnswer:
    """The answer to one request: a 400 where the service would refuse its body."""
    return Refusals(answerer).of(url, body) or await answerer.answer(url, body, custom_id)


def _request(data: bytes) -> dict[str, Any]:
    request = parse_line(data)
    if request is None:
        raise ValueError("the input file changed after it was validated")
    return request


# answerers that never wait


async def _answer_now(
    run: Run, todo: Iterator[Line], work: Work, answerer: ImmediateAnswerer
) -> None:
    rate = answerer.pace(run.batch.total)
    size = CHUNK if rate is None else max(1, min(CHUNK, int(rate / 20)))
    due, recorded_at = run.now(), 0.0
    order, desk, waiting = random.Random(run.id), _Desk(run, answerer), blocks(todo, size)
    while not run.stopped and (block := next(waiting, None)):
        if rate is not None:
            due += len(block) / rate
            await run.until(due)
            if run.stopped:
                return
        results = desk.answer(block)
        results.shuffle(order)
        work.write(results)
        if rate is not None or time.monotonic() - recorded_at >= RECORD_EVERY:
            run.record(work.counts)
            recorded_at = time.monotonic()
        await asyncio.sleep(0)
    run.record(work.counts)


class _Desk:
    """Answers the lines of one batch at once, those that are alike together."""

    def __init__(self, run: Run, answerer: ImmediateAnswerer) -> None:
        self._batch_id = run.id
        self._faults = run.bound_faults
        self._answerer = answerer
        self._refusals = Refusals(answerer)
        self._form: tuple[Form, ResultForm] | None = None
        # faults strike single lines
        can = isinstance(answerer, FormAnswerer) and not self._faults
        self._tries = Tries() if can else Tries(0)

    def answer(self, block: list[Line]) -> Results:
        """The answers to some lines."""
        results = Results()
        piecewise(block, partial(self._together, results), partial(self._single, results))
        return results

    def _together(self, results: Results, block: Sequence[Line]) -> bool:
        if self._form is None:
            return False
        form, answers = self._form
        found = form.read([data for _, data in block])
        if found is None or not answers.add(results, [number for number, _ in block], *found):
            return False
        self._tries.fitted()
        return True

    def _single(self, results: Results, number: int, data: bytes) -> None:
        request = _request(data)
        custom_id = request["custom_id"]
        url, body = batch_url(request["url"]), request["body"]
        refused = self._refusals.of(url, body)
        answer: Answer | NoAnswer
        answer = refused or self._answerer.answer_now(url, body, custom_id)
        if self._faults:
            answer = spoil(answer, number, self._faults, body)
        elif refused is None and answer.status_code == 200 and self._tries.wanted(self._form):
            self._form = self._form_of(url, data, request) or self._form
        results.add(self._batch_id, number, custom_id, answer)

    def _form_of(
        self, url: str, data: bytes, request: dict[str, Any]
    ) -> tuple[Form, ResultForm] | None:
        # where the service may refuse a text, each line needs a look of its own
        if outline(url, request["body"]) is None or not isinstance(self._answerer, FormAnswerer):
            return None
        if (form := Form.of(data, request)) is None:
            return None
        if (alike := self._answerer.form(url, form.request["body"])) is None:
            return None
        answers = ResultForm.of(self._batch_id, alike)
        return (form, answers) if answers else None


# answerers that take their time


class _Pool:
    """Blocks of one batch in flight; `slots` are shared with the other batches."""

    def __init__(self, run: Run, work: Work, answerer: Answerer, slots: asyncio.Semaphore) -> None:
        self._run = run
        self._work = work
        self._answerer = answerer
        self._block_answerer = answerer if isinstance(answerer, BlockAnswerer) else None
        self._refusals = Refusals(answerer)
        self._slots = slots
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._recorded_at = 0.0

    async def answer(self, todo: Iterable[list[Line]]) -> None:
        """Answer blocks; what is in flight when the batch is stopped gets a moment to finish."""
        try:
            for block in todo:
                if not await self._slot():
                    break
                self._begin(block)
            await self._drain()
        finally:
            for task in self._tasks:
                task.cancel()
        if self._error:
            raise self._error

    async def _slot(self) -> bool:
        """Wait for a free slot; False when the batch is stopped meanwhile."""
        taking = asyncio.ensure_future(self._slots.acquire())
        try:
            while not self._run.stopped and not self._error:
                await asyncio.wait({taking}, timeout=TICK)
                if taking.done():
                    return True
        except asyncio.CancelledError:
            self._give_back(taking)
            raise
        self._give_back(taking)
        return False

    def _give_back(self, taking: asyncio.Future[Any]) -> None:
        if not taking.cancel():
            self._slots.release()

    def _begin(self, block: list[Line]) -> None:
        task = asyncio.ensure_future(self._block(block))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled():
            self._error = self._error or task.exception()

    async def _block(self, block: list[Line]) -> None:
        requests = [_request(data) for _, data in block]
        answers = await self._answers(requests, block)
        faults = self._run.bound_faults
        results = Results()
        for (number, _), request, answer in zip(block, requests, answers, strict=True):
            answer = spoil(answer, number, faults, request["body"])
            results.add(self._run.id, number, request["custom_id"], answer)
        self._work.write(results)
        if time.monotonic() - self._recorded_at >= RECORD_EVERY:
            self._run.record(self._work.counts)
            self._recorded_at = time.monotonic()

    async def _answers(
        self, requests: list[dict[str, Any]], block: list[Line]
    ) -> list[Answer | NoAnswer]:
        urls = [batch_url(request["url"]) for request in requests]
        refused = [self._refusals.of(url, request["body"])
                   for url, request in zip(urls, requests, strict=True)]  # fmt: skip
        if self._block_answerer is None:
            return [
                answer or await self._answerer.answer(url, request["body"], request["custom_id"])
                for answer, url, request in zip(refused, urls, requests, strict=True)
            ]
        good = [data for (_, data), answer in zip(block, refused, strict=True) if answer is None]
        answers = iter(await self._block_answerer.answer_block(good) if good else ())
        return [answer or next(answers) for answer in refused]

    async def _drain(self) -> None:
        stopped_at: float | None = None
        while self._tasks and not self._error:
            await asyncio.wait(self._tasks, timeout=TICK)
            if stopped_at is None and self._run.stopped:
                stopped_at = time.monotonic()
            if stopped_at is not None and time.monotonic() - stopped_at > GRACE:
                return
