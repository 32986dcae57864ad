"""One batch on its way: what it is told meanwhile, and what is recorded of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ..faults.registry import Faults
from ..protocol.answers import Answer, NoAnswer
from ..protocol.lines import parse_line
from ..settings import Clock
from .store import BatchRecord, Store

# The answered lines of a running batch: two files that only grow, one line per answer.
#
# They are also the record of what has been answered. A line is written in one go; after a kill the
# last one may be cut, and after a power cut more may be lost: everything from the first line that
# can't be read is dropped and asked again, so each request is answered once in what remains.

NO_USAGE: Mapping[str, Any] = {}


@dataclass
class Counts:
    """What the answered lines add up to."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, ok: bool, body: Any) -> None:
        """Count one line; `body` is its reply."""
        if not ok:
            self.failed += 1
            return
        self.completed += 1
        usage = (body.get("usage") if isinstance(body, dict) else None) or NO_USAGE
        self.input_tokens += usage.get("input_tokens") or usage.get("prompt_tokens") or 0
        self.output_tokens += usage.get("output_tokens") or usage.get("completion_tokens") or 0
        self.cached_tokens += _detail(usage, "input", "prompt", "cached_tokens")
        self.reasoning_tokens += _detail(usage, "output", "completion", "reasoning_tokens")


def _detail(usage: Mapping[str, Any], name: str, older: str, what: str) -> int:
    details = usage.get(f"{name}_tokens_details") or usage.get(f"{older}_tokens_details")
    return ((details or NO_USAGE).get(what)) or 0


def request_id(batch_id: str, number: int) -> str:
    """The id of an output line, which tells its input line's number after a restart."""
    return f"batch_req_{batch_id[-24:]}{number:08x}"


def result_line(
    batch_id: str, number: int, custom_id: str, answer: Answer | NoAnswer
) -> dict[str, Any]:
    """An output line as the service writes it."""
    line_id = request_id(batch_id, number)
    reply = error = None
    if isinstance(answer, Answer):
        reply = {
            "status_code": answer.status_code,
            "request_id": "req_" + line_id[-32:],
            "body": answer.body,
        }
    else:
        error = {"code": answer.code, "message": answer.message}
    return {"id": line_id, "custom_id": custom_id, "response": reply, "error": error}


def is_ok(line: Mapping[str, Any]) -> bool:
    """Tell whether an output line goes to the output file, not to the error file."""
    reply = line.get("response")
    return not line.get("error") and reply is not None and reply["status_code"] == 200


class Work:
    """The two files of one batch, open for writing."""

    def __init__(self, output: Path, errors: Path) -> None:
        self.counts = Counts()
        self.answered: set[int] = set()
        for path in (output, errors):
            if path.exists():
                self._resume(path)
        self._output: BinaryIO = output.open("ab", buffering=0)
        self._errors: BinaryIO = errors.open("ab", buffering=0)

    def _resume(self, path: Path) -> None:
        good = 0
        with path.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n") or not self._count(line):
                    break
                good += len(line)
            file.truncate(good)

    def _count(self, data: bytes) -> bool:
        line = parse_line(data)
        if line is None or "id" not in line:
            return False
        self.answered.add(int(line["id"][-8:], 16))
        self.counts.add(is_ok(line), (line.get("response") or {}).get("body"))
        return True

    def write(self, lines: Iterable[dict[str, Any]]) -> None:
        """Append lines, each to the file where it belongs."""
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        for line in lines:
            ok = is_ok(line)
            self.counts.add(ok, (line.get("response") or {}).get("body"))
            parts[not ok].append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        for file, part in zip((self._output, self._errors), parts, strict=True):
            if part:
                write_all(file, b"".join(part))

    def close(self) -> None:
        """Close the files."""
        self._output.close()
        self._errors.close()


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of the bytes to an unbuffered file, which may take them in several goes."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


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
