"""Ranges of a table's rows, each rendered by a worker (--workers): the same requests, sooner."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from ...base.errors import SourceError, WorkerEnded
from ...pricing.sampling import Sample, is_placed
from ...requests.chunks import Chunk, Chunks
from ...requests.template import Template, bind
from ...store.connection import connect, path_of
from ...tables.output import Output
from ...tables.source import open_source
from ...tables.sql import SQLiteValue
from .plan import PAGE_BYTES, Plan

# Work in several processes, its results in order.
#
# Each worker has a pipe of its own. Whatever becomes of this process, theirs end: a pipe whose
# other end is gone says so.

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Tasks that wait in each worker beside the one that it does.
AHEAD = 1


class Workers(Generic[Task, Result]):
    """Processes that do the same kind of work. Close them."""

    def __init__(
        self, count: int, begin: Callable[..., Callable[[Task], Result]], *given: Any
    ) -> None:
        """Start `count` processes; in each, `begin(*given)` returns what does one task.

        `begin` is a function of a module; it, what it is given, tasks and results are pickled.
        """
        # a process that is forked would share the person's database file with this one
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, begin, given), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Workers[Task, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, also in the middle of their work."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()
            process.close()
        self._pipes.clear()
        self._processes.clear()

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Yield the result of each task, in their order; tasks are taken as workers are free.

        Raises what a task raised, and WorkerEnded where a worker ended.
        """
        waiting: deque[Connection] = deque()
        for turn, task in enumerate(tasks):
            if len(waiting) >= len(self._pipes) * (AHEAD + 1):
                yield self._receive(waiting.popleft())
            pipe = self._pipes[turn % len(self._pipes)]
            with suppress(BrokenPipeError):  # told when its result is received
                pipe.send(task)
            waiting.append(pipe)
        while waiting:
            yield self._receive(waiting.popleft())

    def _receive(self, pipe: Connection) -> Result:
        try:
            result, error = pipe.recv()
        except (EOFError, ConnectionResetError) as ended:
            raise WorkerEnded(
                "A worker process ended before its work was done: was there enough memory? "
                "Run this again without --workers."
            ) from ended
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


def _work(pipe: Connection, begin: Callable[..., Callable[[Any], Any]], given: Any) -> None:
    """What runs in a worker: tasks come and results go through the pipe until it is closed."""
    # Ctrl-C is for the process that started this one, which ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            work = begin(*given)
        except Exception as error:  # noqa: BLE001 - it is raised in the other process
            pipe.recv()
            pipe.send((None, error))
            return
        while True:
            task = pipe.recv()
            try:
                pipe.send((work(task), None))
            except Exception as error:  # noqa: BLE001 - it is raised in the other process
                pipe.send((None, error))


#: Rows of a range: enough to make the pipe between processes cheap, few enough to share out.
ROWS = 4_096


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has to know of a plan."""

    path: str
    table: str
    where: str | None
    params: Mapping[str, str]
    key: str
    template: Template
    output: Output
    images: Mapping[str, Any]
    hashed: tuple[int, ...]
    prefix: str
    first_id: int
    keep_blank: bool
    all_lines: bool
    """Whether each line is wanted, and not only those for a sample."""


@dataclass(frozen=True, slots=True)
class Range:
    """Rows from one key to another."""

    position: int
    """Where its first row stands in the source."""
    rows: int
    """How many rows it had at most when it was cut."""
    after: SQLiteValue
    """The key before its first row; None where it is the first of all."""
    last: SQLiteValue
    share: float
    """The share of lines that a sample takes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A chunk on its way between processes, with those of its lines that may be wanted."""

    positions: list[int]
    row_keys: list[SQLiteValue]
    hashes: list[bytes]
    sizes: list[int]
    lines: dict[int, bytes]
    problems: dict[int, str]
    blank_keys: list[SQLiteValue]


def can_share(plan: Plan) -> bool:
    """Whether the rows of a plan can be read in ranges: those of a table, along its key."""
    return plan.chosen is None and plan.source.has_ranges and bool(path_of(plan.source.conn))


def shared_chunks(
    plan: Plan,
    chunks: Chunks,
    sample: Sample | None,
    *,
    all_lines: bool,
    stop: int | None = None,
) -> Iterator[Chunk]:
    """Yield the chunks of a plan's rows, in order, rendered by as many workers as it asks for.

    At most `stop` rows are read: what is added behind them meanwhile has no ids. `can_share`
    holds of the plan. Raises SourceError where rows are added meanwhile to a range that was cut
    already: there is no place for them among the ids of the others.
    """
    ask, source = plan.ask, plan.source
    work = Work(
        path=path_of(source.conn),
        table=str(source.name),
        where=ask.where,
        params=source.params,
        key=source.key_columns[0],
        template=plan.template,
        output=plan.output,
        images=ask.image_settings,
        hashed=plan.hashed,
        prefix=chunks.prefix,
        first_id=chunks.first_id,
        keep_blank=chunks.keep_blank,
        all_lines=all_lines,
    )
    workers: Workers[Range, list[Made] | None]
    with Workers(ask.workers, begin, work) as workers:
        for made in workers.results(cut(plan, sample, stop)):
            if made is None:
                raise SourceError(
                    f"Rows were added to {source.name} while it was read. "
                    "Run this again, or without --workers."
                )
            for one in made:
                yield one_chunk(plan, chunks, one)


def cut(plan: Plan, sample: Sample | None, stop: int | None) -> Iterator[Range]:
    """Yield the ranges of a plan's rows, of at most `stop` of them, cut when they are asked for."""
    position, after = 0, None
    for last, rows in plan.source.ranges(ROWS, stop):
        yield Range(position, rows, after, last, sample.share if sample else 0.0)
        position, after = position + rows, last


def one_chunk(plan: Plan, chunks: Chunks, made: Made) -> Chunk:
    """The chunk that another process made; lines that it left out are made here."""

    def line(index: int) -> bytes:
        found = made.lines.get(index)
        if found is None:
            key = made.row_keys[index]
            values = plan.source.fetch(plan.renderer.columns, [key]).get(key)
            if values is None:
                raise SourceError(
                    f"Row {key!r} of {plan.source.name} was deleted while it was read. "
                    "Run this again."
                )
            request_id = chunks.first_id + made.positions[index]
            found = plan.renderer.line(f"{chunks.prefix}{request_id}", values)
        return found

    return Chunk(
        made.positions,
        made.row_keys,
        made.hashes,
        made.sizes,
        line,
        made.problems,
        made.blank_keys,
    )


# in a worker


def begin(work: Work) -> Callable[[Range], list[Made] | None]:
    """Open the database, for a worker. Returns what renders a range."""
    conn = connect(work.path)
    conn.execute("PRAGMA query_only = ON")
    return partial(render, conn, work)


def render(conn: sqlite3.Connection, work: Work, some: Range) -> list[Made] | None:
    """Render the rows of a range; None where there are more of them than there were."""
    source = open_source(conn, work.table, params=work.params, pk=[work.key], where=work.where)
    with closing(source):
        renderer = bind(work.template, source, work.output, work.images)
        chunks = Chunks(renderer, work.hashed, work.prefix, work.first_id, work.keep_blank)
        made: list[Made] = []
        position, stop = some.position, some.position + some.rows
        pages = source.stored_pages(
            renderer.columns,
            page_bytes=PAGE_BYTES,
            stored=renderer.takes_stored,
            after=some.after,
            last=some.last,
        )
        for page, stored in pages:
            if position + len(page) > stop:
                return None
            for chunk in chunks.of(position, page, stored=stored):
                made.append(packed(chunk, work, some.share))
            position += len(page)
        return made


def packed(chunk: Chunk, work: Work, share: float) -> Made:
    """A chunk for the other process, without the lines that it has no use for."""
    lines = {
        index: chunk.line(index)
        for index, position in enumerate(chunk.positions)
        if work.all_lines or is_placed(position, share)
    }
    return Made(
        list(chunk.positions),
        list(chunk.row_keys),
        list(chunk.hashes),
        list(chunk.sizes),
        lines,
        dict(chunk.problems),
        list(chunk.blank_keys),
    )
