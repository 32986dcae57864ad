"""Tests get the signals that they send, however whoever runs the tests has set them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from signals import HEEDED, heed_signals

WAITS = "import signal, sys; print(flush=True); signal.pause()"


@pytest.fixture(params=HEEDED, ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal, as it was before afterwards."""
    before = signal.getsignal(request.param)
    yield request.param
    signal.signal(request.param, before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [request.param])


def ends_by(number: int) -> bool:
    """Whether a process that is started now ends by a signal."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", WAITS],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        try:
            return process.wait(5) == -number
        except subprocess.TimeoutExpired:
            process.kill()
            return False


def test_an_ignored_signal_is_heeded(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    heed_signals()
    assert ends_by(number)


def test_a_blocked_signal_is_heeded(number: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    heed_signals()
    assert ends_by(number)
