"""The signals that tests send to what they start, and how these must be set for that."""

from __future__ import annotations

import signal

# What a process does of itself at the signals that tests send.
HEEDED = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGALRM: signal.SIG_DFL,
}


def heed_signals() -> None:
    """Take the signals that tests send as at a terminal, and let what they start inherit that.

    A shell starts what is in its background with SIGINT ignored, a service manager may ignore or
    block others; all that they start would never see them.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)
    for number, handler in HEEDED.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
