"""A Datasette on a real socket, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quick import without_pandas


@contextmanager
def running(*files: Path, options: tuple[str, ...] = (), killed: bool = False) -> Iterator[str]:
    """Serve these databases; yields the base URL once it answers. `killed`: ends by kill -9."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "datasette", *map(str, files), "-p", "0", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**without_pandas(), "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield address(process, log)
        finally:
            process.kill() if killed else process.terminate()
            process.wait(20)


def address(process: subprocess.Popen[bytes], log: object) -> str:
    """Where the server listens, by what it says itself."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        log.seek(0)  # type: ignore[attr-defined]
        said = log.read()  # type: ignore[attr-defined]
        found = re.search(r"Uvicorn running on (http://\S+)", said)
        if found:
            return found[1]
        assert process.poll() is None, said
        time.sleep(0.02)
    raise AssertionError(f"no server after 90 seconds: {said}")
