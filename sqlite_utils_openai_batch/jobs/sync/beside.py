"""One call in a thread of its own, while its caller does something else with the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

#: Seconds that a call which isn't wanted any more has to notice it: it does with its next piece.
LEAVE_SECONDS = 5.0


class Left(Exception):
    """Nobody waits for this call any more."""


class Beside(Generic[T]):
    """Makes a call in a thread; `result` is what it returned, or raises what it raised.

    The call is given a function to call now and then, which ends it where nobody waits for it any
    more: at the end of the `with`, whatever ended that. The thread keeps no process alive.
    """

    def __init__(self, call: Callable[[Callable[[], None]], T]) -> None:
        self._call = call
        self._done = threading.Event()
        self._left = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def __enter__(self) -> Beside[T]:
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C comes here too, and then nobody leaves the block.
            self._left.set()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(LEAVE_SECONDS)

    def wait(self, seconds: float = 0.0) -> bool:
        """Wait for the call so long; whether it has ended."""
        return self._done.wait(seconds)

    def result(self) -> T:
        """What the call returned, once it has ended."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None only where T is

    def _still(self) -> None:
        if self._left.is_set():
            raise Left

    def _run(self) -> None:
        try:
            self._result = self._call(self._still)
        except BaseException as error:  # noqa: BLE001  raised where the result is wanted
            self._error = error
        finally:
            self._done.set()
