"""Work in several processes, its results in order.

Each worker has a pipe of its own. Whatever becomes of this process, theirs end: a pipe whose
other end is gone says so.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from .errors import WorkerEnded

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
