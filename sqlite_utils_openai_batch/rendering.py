"""Rows of a plan → request lines, one after another, each counted as what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from .errors import SourceError, UnrenderableRow
from .estimate import Distinct, Estimate
from .limits import Planner
from .plan import Plan
from .sampling import Sample
from .seen import Seen
from .template import source_hash
from .tokens import count_requests


@dataclass
class Tally:
    """What reading all rows of a plan found; every row is in exactly one of the counts."""

    asked: int = 0
    blank: int = 0
    unrenderable: int = 0
    too_large: int = 0
    bytes: int = 0
    shared: int = 0
    """Requests that share the answer of another one of this job (--reuse)."""
    reused: int = 0
    """Requests that an earlier job has answered (--reuse)."""
    parts: int = 0
    largest: int = 0
    """Bytes of the longest line."""
    largest_part: int = 0
    """Bytes of the largest part: what its temporary file takes."""
    first_problem: str | None = None
    sample: Sample | None = None
    distinct: Distinct | None = None
    estimate: Estimate | None = None

    @property
    def rows(self) -> int:
        """All rows read."""
        return self.requests + self.blank

    @property
    def requests(self) -> int:
        """Rows that get an outcome."""
        return self.asked + self.shared + self.reused + self.unrenderable + self.too_large


class Rendered(NamedTuple):
    """One row, rendered. `status` is pending, blank, unrenderable, too_large,
    shared (with another of this job) or ok (answered by an earlier one)."""

    position: int
    row_key: Any
    source_hash: bytes
    status: str
    line: bytes = b""
    message: str | None = None
    starts_part: bool = False
    same_as: int | None = None
    """The request whose answer this one shares."""


def rendered_rows(
    plan: Plan, tally: Tally, uid: str, first_id: int = 1, stop: int | None = None
) -> Iterator[Rendered]:
    """Read and render the rows of a plan, at most `stop` of them, counting into `tally`.

    A row's request id is `first_id` + its position in the source, so blank rows leave gaps.
    Raises SourceError for the first blank row where blanks are an error.
    """
    position = -1
    with _Rendering(plan, tally, uid, first_id) as rendering:
        one = rendering.row
        for page in plan.pages(plan.renderer.columns):
            for row_key, values in page:
                position += 1
                if position == stop:
                    return
                yield one(position, row_key, values)


class _Rendering:
    """Renders the rows of one plan."""

    def __init__(self, plan: Plan, tally: Tally, uid: str, first_id: int) -> None:
        self.plan = plan
        self.tally = tally
        self.prefix = f"{uid}-"
        self.first_id = first_id
        self.planner = Planner(plan.limits)
        self.renderer = plan.renderer
        self.count = token_counter(plan) if plan.limits.tokens else None
        self.whole = len(plan.hashed) == len(plan.renderer.columns)
        self.seen = Seen(plan.source.conn, plan.earlier) if plan.ask.reuse else None
        self.part_bytes = 0

    def __enter__(self) -> _Rendering:
        return self

    def __exit__(self, *_: object) -> None:
        if self.seen is not None:
            self.seen.close()

    def row(self, position: int, row_key: Any, values: tuple[Any, ...]) -> Rendered:
        """Render one row."""
        hashed = values if self.whole else [values[index] for index in self.plan.hashed]
        digest = source_hash(hashed)
        blanks = self.plan.ask.blanks
        if blanks != "send" and self.renderer.is_blank(values):
            if blanks == "error":
                raise SourceError(blank_sentence(self.plan, row_key))
            self.tally.blank += 1
            return Rendered(position, row_key, digest, "blank")
        if self.seen is not None and (found := self.seen.find(digest)) is not None:
            return self.shared(position, row_key, digest, *found)
        try:
            line = self.renderer.line(f"{self.prefix}{self.first_id + position}", values)
        except UnrenderableRow as error:
            self.tally.unrenderable += 1
            return self.failed(position, row_key, digest, "unrenderable", str(error))
        inputs = self.renderer.inputs(line)
        if self.planner.too_large(len(line), inputs):
            self.tally.too_large += 1
            message = too_large_sentence(self.plan, line, inputs)
            return self.failed(position, row_key, digest, "too_large", message)
        tokens = self.count(line) if self.count else 0
        starts = self.planner.add(len(line), inputs, tokens)
        self.take(line, row_key, digest, starts)
        if self.seen is not None:
            self.seen.add(digest, self.first_id + position)
        return Rendered(position, row_key, digest, "pending", line, None, starts)

    def take(self, line: bytes, row_key: Any, digest: bytes, starts: bool) -> None:
        """Count a line that is going to be sent."""
        tally, size = self.tally, len(line)
        tally.asked += 1
        tally.bytes += size
        tally.parts += starts
        if size > tally.largest:
            tally.largest = size
        self.part_bytes = size if starts else self.part_bytes + size
        if self.part_bytes > tally.largest_part:
            tally.largest_part = self.part_bytes
        if tally.sample is not None:
            tally.sample.add(line, row_key)
        if tally.distinct is not None:
            tally.distinct.add(digest)

    def failed(
        self, position: int, row_key: Any, digest: bytes, status: str, message: str
    ) -> Rendered:
        """A row that can't be asked."""
        self.tally.first_problem = self.tally.first_problem or f"row {row_key!r}: {message}"
        return Rendered(position, row_key, digest, status, message=message)

    def shared(
        self, position: int, row_key: Any, digest: bytes, same_as: int, answered: bool
    ) -> Rendered:
        """A row that asks what was asked already."""
        if answered:
            self.tally.reused += 1
        else:
            self.tally.shared += 1
        status = "ok" if answered else "shared"
        return Rendered(position, row_key, digest, status, same_as=same_as)


def too_large_sentence(plan: Plan, line: bytes, inputs: int) -> str:
    """Why a line fits no part."""
    if len(line) <= plan.limits.bytes:
        return f"{inputs:,} inputs; the limit is {plan.limits.embedding_inputs:,}"
    return f"one line of {len(line):,} bytes; the limit is {plan.limits.bytes:,}"


def token_counter(plan: Plan) -> Callable[[bytes], int]:
    """Count the input tokens of a line, for --part-tokens."""
    counter = plan.ask.money.counter(plan.model)
    endpoint = plan.template.endpoint

    def count(line: bytes) -> int:
        (found,) = count_requests(counter, [orjson.loads(line)["body"]], endpoint)
        # of images whose tokens aren't published only the bytes are known
        return len(line) // 4 if found.tokens is None else found.tokens

    return count


def blank_sentence(plan: Plan, row_key: Any) -> str:
    """What to say of a blank row where blanks are an error."""
    columns = ", ".join(plan.renderer.prompt_columns)
    return (
        f"Row {row_key} of {plan.source.name or 'the query'} has nothing in {columns}. "
        "Leave such rows out with --blanks skip, or ask all the same with --blanks send."
    )
