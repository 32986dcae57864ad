"""Tokens of texts, by `toktok-rs`: here, or in a process of its own that ends with its memory.

A vocabulary takes 65 MB, and Python gives them back only by ending. Where tokens are counted now
and then beside a long reading or writing of rows, another process holds them meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import orjson

#: Seconds after which the other process ends when nobody asks it anything.
IDLE = 30
#: Seconds after which an answer of it isn't waited for any more: it has a thousand texts at most.
PATIENCE = 60.0

# Nothing else is imported there, and -I keeps the current folder out of it.
_PROGRAM = """
import json, os, sys, threading
folder, encoding, idle = sys.argv[1:]
sys.path.append(folder)
from toktok import batch_count
batch_count([""], encoding)
while True:
    ends = threading.Timer(float(idle), os._exit, [0])
    ends.start()
    line = sys.stdin.buffer.readline()
    ends.cancel()
    if not line:
        break
    print(json.dumps(batch_count(json.loads(line), encoding)), flush=True)
"""


def available() -> bool:
    """Whether `toktok-rs` is installed: it has no wheel for every system."""
    return find_spec("toktok") is not None


def count(texts: Sequence[str], encoding: str) -> list[int]:
    """Return the tokens of each text by a vocabulary, like ``o200k_base``.

    Text that spells a special token is counted as the text it is.
    """
    from toktok import batch_count

    try:
        counts: list[int] = batch_count(texts, encoding)
    except UnicodeEncodeError:
        # Half of a surrogate pair: no text has one, but JSON can spell it.
        counts = batch_count([utf8(text).decode() for text in texts], encoding)
    return counts


class Apart:
    """Counts as `count` does, in a process that starts when it is needed and ends when idle."""

    def __init__(self, encoding: str, idle: float = IDLE) -> None:
        self.encoding = encoding
        self.idle = idle
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process now: it gets ready while this one does other things."""
        with suppress(OSError):
            self._process = self._process or self._start()

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text. Where no process can be had, this one counts."""
        if not texts:
            return []
        asked = orjson.dumps([utf8(text).decode() for text in texts]) + b"\n"
        # one that was there may have ended meanwhile
        for process in (self._process, None):
            try:
                self._process = process or self._start()
                return _answer(self._process, asked)
            except (OSError, ValueError):
                self._process = None
        # a program that is frozen into one file has no Python to start
        return count(texts, self.encoding)

    def _start(self) -> subprocess.Popen[bytes]:
        spec = find_spec("toktok")
        if not sys.executable or spec is None or spec.origin is None:
            raise OSError("no Python to start")
        folder = str(Path(spec.origin).parent.parent)
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM, folder, self.encoding, str(self.idle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, process)
        return process


@lru_cache
def apart(encoding: str) -> Apart:
    """The one that everybody asks: starting takes half a second."""
    return Apart(encoding)


def _answer(process: subprocess.Popen[bytes], asked: bytes) -> list[int]:
    assert process.stdin is not None and process.stdout is not None
    # Killed, it ends the pipe that is waited at: whatever holds it up, this goes on without it.
    late = threading.Timer(PATIENCE, process.kill)
    late.start()
    try:
        process.stdin.write(asked)
        process.stdin.flush()
        counts: list[int] = orjson.loads(process.stdout.readline())
    finally:
        late.cancel()
    return counts


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    # closes its pipes, and waits
    process.communicate()


def utf8(text: str) -> bytes:
    """The bytes of a text; what can't be encoded becomes a question mark."""
    return text.encode("utf-8", "replace")
