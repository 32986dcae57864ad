"""Rows of a plan → request lines, one after another, each counted as what it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from ...base.errors import SourceError
from ...pricing.estimate import Distinct, Estimate
from ...pricing.sampling import Sample
from ...pricing.tokens import count_requests
from ...requests.chunks import Chunk, Chunks
from ...requests.limits import Planner
from ...store import history
from ...tables.sql import Row
from .plan import PAGE_BYTES, Plan


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
    first_requests: int = 0
    """Requests of the first part."""
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
    """One row, rendered. `status` is pending, unrenderable, too_large, shared (with another of
    this job) or ok (answered by an earlier one)."""

    chunk: Chunk
    at: int
    """Its index in the chunk."""
    status: str
    message: str | None = None
    starts_part: bool = False
    same_as: int | None = None
    """The request whose answer this one shares."""

    @property
    def position(self) -> int:
        """Where the row stands in the source, from 0."""
        return self.chunk.positions[self.at]

    @property
    def row_key(self) -> Any:
        """The key of the row."""
        return self.chunk.row_keys[self.at]

    @property
    def source_hash(self) -> bytes:
        """The hash of the row."""
        return self.chunk.hashes[self.at]

    @property
    def size(self) -> int:
        """Bytes of its line."""
        return self.chunk.sizes[self.at]

    @property
    def line(self) -> bytes:
        """Its line, which isn't kept elsewhere."""
        return self.chunk.line(self.at)


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that all wait for an answer, in the part of the row before them."""

    chunk: Chunk

    @property
    def bytes(self) -> int:
        """Bytes of all lines."""
        return sum(self.chunk.sizes)

    def rows(self) -> Iterator[Rendered]:
        """The rows, one after another."""
        for index in range(len(self.chunk.row_keys)):
            yield Rendered(self.chunk, index, "pending")


def rendered_rows(
    plan: Plan, tally: Tally, uid: str, first_id: int = 1, stop: int | None = None
) -> Iterator[Rendered]:
    """The rows of `rendered`, one after another."""
    for found in rendered(plan, tally, uid, first_id, stop):
        if isinstance(found, Run):
            yield from found.rows()
        else:
            yield found


def rendered(
    plan: Plan, tally: Tally, uid: str, first_id: int = 1, stop: int | None = None
) -> Iterator[Run | Rendered]:
    """Read and render the rows of a plan, at most `stop` of them, counting into `tally`.

    A row's request id is `first_id` + its position in the source, so blank rows leave gaps; they
    are counted, not yielded. Most rows come many at a time, as a `Run`. Raises SourceError for
    the first blank row where blanks are an error.
    """
    chunks = Chunks(plan.renderer, plan.hashed, f"{uid}-", first_id, plan.ask.blanks == "send")
    with _Counting(plan, tally, first_id) as counting:
        for chunk in chunks_of(plan, chunks, stop):
            yield from counting.take(chunk)


def chunks_of(plan: Plan, chunks: Chunks, stop: int | None) -> Iterator[Chunk]:
    """Yield the chunks of a plan's rows, of at most `stop` of them."""
    position = 0
    for page, stored in pages_of(plan):
        rows = page if stop is None else page[: stop - position]
        yield from chunks.of(position, rows, stored=stored)
        position += len(page)
        if stop is not None and position >= stop:
            return


def rendered_windows(
    plan: Plan, tally: Tally, windows: Sequence[tuple[int, int]]
) -> Iterator[Run | Rendered]:
    """Read and render the rows of some ranges of keys only, as `rendered` does all."""
    chunks = Chunks(plan.renderer, plan.hashed, "preview-", 1, plan.ask.blanks == "send")
    columns, stored = plan.renderer.columns, plan.renderer.takes_stored
    position = 0
    with _Counting(plan, tally, 1) as counting:
        for after, last in windows:
            pages = plan.source.stored_pages(
                columns, page_bytes=PAGE_BYTES, stored=stored, after=after, last=last
            )
            for page, as_stored in pages:
                for chunk in chunks.of(position, page, stored=as_stored):
                    yield from counting.take(chunk)
                position += len(page)


def pages_of(plan: Plan) -> Iterator[tuple[list[Row], bool]]:
    """Yield pages of the rows that a plan asks about, as `Source.stored_pages` does."""
    columns = plan.renderer.columns
    if plan.chosen is None and plan.renderer.takes_stored:
        yield from plan.source.stored_pages(columns, page_bytes=PAGE_BYTES)
    else:
        for page in plan.pages(columns):
            yield [(key, *values) for key, values in page], False


class _Counting:
    """Plans and counts the rows of one plan."""

    def __init__(self, plan: Plan, tally: Tally, first_id: int) -> None:
        self.plan = plan
        self.tally = tally
        self.first_id = first_id
        self.planner = Planner(plan.limits)
        self.inputs = plan.renderer.fixed_inputs
        self.count = token_counter(plan) if plan.limits.tokens else None
        self.seen = Seen(plan.source.conn, plan.earlier) if plan.ask.reuse else None
        self.part_bytes = 0

    def __enter__(self) -> _Counting:
        return self

    def __exit__(self, *_: object) -> None:
        if self.seen is not None:
            self.seen.close()

    def take(self, chunk: Chunk) -> Iterator[Run | Rendered]:
        """Plan a chunk: whole where all its rows go into the part that is open."""
        if chunk.blank_keys and self.plan.ask.blanks == "error":
            raise SourceError(blank_sentence(self.plan, chunk.blank_keys[0]))
        self.tally.blank += len(chunk.blank_keys)
        if not chunk.row_keys:
            return
        if self.whole(chunk):
            self.sent(chunk, range(len(chunk.row_keys)))
            yield Run(chunk)
        else:
            for index in range(len(chunk.row_keys)):
                yield self.row(chunk, index)

    def whole(self, chunk: Chunk) -> bool:
        """Whether all rows of a chunk go into the part that is open; they are planned then."""
        if self.inputs is None or self.count or self.seen is not None or chunk.problems:
            return False
        return self.planner.add_all(chunk.sizes, self.inputs)

    def row(self, chunk: Chunk, index: int) -> Rendered:
        """Plan one row."""
        digest = chunk.hashes[index]
        if self.seen is not None and (found := self.seen.find(digest)) is not None:
            return self.shared(chunk, index, *found)
        if index in chunk.problems:
            self.tally.unrenderable += 1
            return self.failed(chunk, index, "unrenderable", chunk.problems[index])
        size = chunk.sizes[index]
        inputs = self.inputs or self.plan.renderer.inputs(chunk.line(index))
        if self.planner.too_large(size, inputs):
            self.tally.too_large += 1
            message = too_large_sentence(self.plan, size, inputs)
            return self.failed(chunk, index, "too_large", message)
        tokens = self.count(chunk.line(index)) if self.count else 0
        starts = self.planner.add(size, inputs, tokens)
        self.sent(chunk, range(index, index + 1), starts)
        if self.seen is not None:
            self.seen.add(digest, self.first_id + chunk.positions[index])
        return Rendered(chunk, index, "pending", None, starts)

    def sent(self, chunk: Chunk, which: range, starts: bool = False) -> None:
        """Count those lines of a chunk that are going to be sent in one part."""
        tally = self.tally
        some = slice(which.start, which.stop)
        sizes, hashes = chunk.sizes[some], chunk.hashes[some]
        size = sum(sizes)
        tally.asked += len(sizes)
        tally.bytes += size
        tally.parts += starts
        if tally.parts == 1:
            tally.first_requests += len(sizes)
        tally.largest = max(tally.largest, *sizes)
        self.part_bytes = size if starts else self.part_bytes + size
        tally.largest_part = max(tally.largest_part, self.part_bytes)
        if tally.sample is not None:
            keys, positions = chunk.row_keys[some], chunk.positions[some]
            tally.sample.add_all(
                positions, sizes, keys, lambda index: chunk.line(which.start + index)
            )
        if tally.distinct is not None:
            tally.distinct.add_all(hashes)

    def failed(self, chunk: Chunk, index: int, status: str, message: str) -> Rendered:
        """A row that can't be asked."""
        problem = f"row {chunk.row_keys[index]!r}: {message}"
        self.tally.first_problem = self.tally.first_problem or problem
        return Rendered(chunk, index, status, message)

    def shared(self, chunk: Chunk, index: int, same_as: int, answered: bool) -> Rendered:
        """A row that asks what was asked already."""
        if answered:
            self.tally.reused += 1
        else:
            self.tally.shared += 1
        return Rendered(chunk, index, "ok" if answered else "shared", same_as=same_as)


def too_large_sentence(plan: Plan, size: int, inputs: int) -> str:
    """Why a line fits no part."""
    if size <= plan.limits.bytes:
        return f"{inputs:,} inputs; the limit is {plan.limits.embedding_inputs:,}"
    return f"one line of {size:,} bytes; the limit is {plan.limits.bytes:,}"


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


# Which requests ask the same: for --reuse.


class Seen:
    """The first request with each hash, in a private temporary database."""

    def __init__(self, conn: sqlite3.Connection, earlier: Sequence[int]) -> None:
        """Begin with the answers of `earlier` jobs."""
        self.own = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.own.execute(
            "CREATE TABLE seen (digest PRIMARY KEY, request_id, answered) WITHOUT ROWID"
        )
        if earlier:
            for page in history.answered_before(conn, earlier):
                self.own.execute("BEGIN")
                self.own.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, 1)", page)
                self.own.execute("COMMIT")
        self.own.execute("BEGIN")

    def close(self) -> None:
        """Delete the list."""
        self.own.close()

    def find(self, digest: bytes) -> tuple[int, bool] | None:
        """The request that asks the same, and whether an earlier job has its answer."""
        found = self.own.execute(
            "SELECT request_id, answered FROM seen WHERE digest = ?", [digest]
        ).fetchone()
        return None if found is None else (found[0], bool(found[1]))

    def add(self, digest: bytes, request_id: int) -> None:
        """Take in a request that is going to be asked."""
        self.own.execute("INSERT INTO seen VALUES (?, ?, 0)", [digest, request_id])
