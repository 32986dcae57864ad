"""One batch on its way: what it is told meanwhile, and what is recorded of it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from operator import add
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ..faults.registry import Faults
from ..protocol.answers import Answer, AnswerForm, NoAnswer
from ..protocol.lines import CUSTOM_ID, LAST_TEXT, parse_line
from ..protocol.shapes import answer_id
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

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one output line."""
        if not is_ok(line):
            self.failed += 1
            return
        self.completed += 1
        body = line["response"]["body"]
        usage = (body.get("usage") if isinstance(body, dict) else None) or NO_USAGE
        self.input_tokens += usage.get("input_tokens") or usage.get("prompt_tokens") or 0
        self.output_tokens += usage.get("output_tokens") or usage.get("completion_tokens") or 0
        self.cached_tokens += _detail(usage, "input", "prompt", "cached_tokens")
        self.reasoning_tokens += _detail(usage, "output", "completion", "reasoning_tokens")

    def include(self, other: Counts) -> None:
        """Count what others add up to."""
        for name, number in asdict(other).items():
            setattr(self, name, getattr(self, name) + number)


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


class Results:
    """Answered lines on their way to the two files, and what they add up to."""

    def __init__(self) -> None:
        self.output: list[bytes] = []
        self.errors: list[bytes] = []
        self.counts = Counts()

    def add(self, batch_id: str, number: int, custom_id: str, answer: Answer | NoAnswer) -> None:
        """Add the answer to one line."""
        line = result_line(batch_id, number, custom_id, answer)
        self.counts.add(line)
        data = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        (self.output if is_ok(line) else self.errors).append(data)

    def shuffle(self, order: random.Random) -> None:
        """Bring lines out of the order of the input, always where there are two or more."""
        for lines in (self.output, self.errors):
            if len(lines) < 2:
                continue
            first = lines[0]
            order.shuffle(lines)
            if lines[0] is first:
                lines.append(lines.pop(0))


class ResultForm:
    """The output lines of answers of one form: those that `Results.add` makes, without the dicts.

    One is made in the usual way, with marks in its blanks, and taken apart there.
    """

    def __init__(self, batch_id: str, form: AnswerForm) -> None:
        self._batch_id = batch_id
        self._answers = form
        marks = [0x7E57ED01], [CUSTOM_ID], [LAST_TEXT], [7301938475610293], [82640571937264015]
        blanks = [blank for (blank,) in _blanks(*marks)]
        any_blank = b"(%b)" % b"|".join(map(re.escape, blanks))
        parts = re.split(any_blank, self._plain(*next(zip(*marks, strict=True))))
        self._between = parts[::2]
        self._order = [blanks.index(blank) for blank in parts[1::2]]

    @classmethod
    def of(cls, batch_id: str, form: AnswerForm) -> ResultForm | None:
        """The output lines of these answers; None where a mark stands in them as it is."""
        made = cls(batch_id, form)
        lines = list(made._lines([1], ["a"], ["b"], [2], [3]))
        return made if lines == [made._plain(1, "a", "b", 2, 3)] else None

    def _plain(self, number: int, custom_id: str, text: str, prompt: int, completion: int) -> bytes:
        results = Results()
        body = self._answers.body(custom_id, text, prompt, completion)
        results.add(self._batch_id, number, custom_id, Answer(200, body))
        return results.output[0]

    def _lines(self, *given: Any) -> Iterator[bytes]:
        # a loop over the lines would take most of the time
        blanks = _blanks(*given)
        columns: list[Iterable[bytes]] = [repeat(self._between[0])]
        for blank, between in zip(self._order, self._between[1:], strict=True):
            columns += blanks[blank], repeat(between)
        return map(b"".join, zip(*columns, strict=False))

    def add(
        self, results: Results, numbers: list[int], custom_ids: list[str], asked: list[str]
    ) -> bool:
        """Add the answers to some texts; False where one looks different, and nothing is added."""
        said = self._answers.fill(custom_ids, asked)
        if said is None:
            return False
        results.output += self._lines(numbers, custom_ids, *said)
        results.counts.completed += len(custom_ids)
        results.counts.input_tokens += sum(said[1])
        results.counts.output_tokens += sum(said[2])
        return True


def _blanks(
    numbers: list[int],
    custom_ids: list[str],
    texts: list[str],
    prompts: list[int],
    completions: list[int],
) -> list[list[bytes]]:
    """What stands in the blanks of output lines, blank by blank."""
    totals = map(add, prompts, completions)
    return [
        list(map(b"%08x".__mod__, numbers)),
        list(map(orjson.dumps, custom_ids)),
        [answer_id("", custom_id).encode() for custom_id in custom_ids],
        list(map(orjson.dumps, texts)),
        *(list(map(b"%d".__mod__, column)) for column in (prompts, completions, totals)),
    ]


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
        self.counts.add(line)
        return True

    def write(self, results: Results) -> None:
        """Append lines, each to the file where it belongs."""
        self.counts.include(results.counts)
        for file, lines in ((self._output, results.output), (self._errors, results.errors)):
            if lines:
                write_all(file, b"".join(lines))

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
