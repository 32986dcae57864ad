"""Work beside the pages gives way to them: who reads should not notice that somebody prepares."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Seconds that work waits while pages are being made, at most; then it has a turn all the same,
#: of so many seconds: also where somebody always reads, it goes on.
MOST, TURN = 0.1, 0.02
#: Steps of SQLite between two looks: some tenths of a millisecond.
OFTEN = 5_000
#: How long Python lets a thread work while another one waits, with work beside the pages.
SWITCH = 0.001

_lock = threading.Lock()
_pages = 0
_works = 0
_turn_ends = 0.0
_quiet = threading.Event()
_quiet.set()


def began() -> None:
    """A page is being made from now on."""
    global _pages
    with _lock:
        _pages += 1
        _quiet.clear()


def ended() -> None:
    """A page is there, or waits for work itself."""
    global _pages
    with _lock:
        _pages -= 1
        if not _pages:
            _quiet.set()


@contextmanager
def waiting() -> Iterator[None]:
    """A page that waits for work is none that work has to wait for."""
    ended()
    try:
        yield
    finally:
        began()


def give_way() -> None:
    """Wait a moment where a page is being made. For `set_progress_handler`."""
    global _turn_ends
    if _quiet.is_set() or time.monotonic() < _turn_ends:
        return
    if not _quiet.wait(MOST):
        _turn_ends = time.monotonic() + TURN


@contextmanager
def working() -> Iterator[None]:
    """While this goes on, threads take turns more often."""
    global _works, _before
    with _lock:
        if not _works:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, SWITCH))
        _works += 1
    try:
        yield
    finally:
        with _lock:
            _works -= 1
            if not _works:
                sys.setswitchinterval(_before)


_before = sys.getswitchinterval()
