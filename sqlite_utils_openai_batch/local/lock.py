"""One server to a state directory: an operating-system lock that ends with its process."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import BinaryIO

import orjson

from ..base.errors import ConfigurationError
from ..base.scratch import try_lock

WAIT = 5.0
"""Seconds to wait for the address of a server that is just starting."""


class StateInUse(ConfigurationError):
    """Another server runs on the state directory.

    `base_url` is that server's address, `key` a key that it accepts; both None when it didn't
    say where it listens.
    """

    def __init__(self, state_dir: Path, base_url: str | None, key: str | None) -> None:
        where = f" at {base_url}" if base_url else ""
        super().__init__(
            f"A local batch server{where} already uses {state_dir}. Use that one, or stop it,"
            " or name another directory."
        )
        self.base_url = base_url
        self.key = key


class StateLock:
    """Holds a state directory from `acquire` to `release`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._address = state_dir / "server.json"
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        """Take the directory; raises StateInUse when another server has it."""
        file = (self._state_dir / "server.lock").open("a+b")
        if not try_lock(file):
            file.close()
            raise StateInUse(self._state_dir, *self._running())
        self._file = file
        self._address.unlink(missing_ok=True)

    def publish(self, base_url: str, key: str) -> None:
        """Tell others where the server listens; only the directory's owner can read it."""
        fresh = self._address.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps({"base_url": base_url, "key": key, "pid": os.getpid()}))
        fresh.replace(self._address)

    def release(self) -> None:
        """Give the directory back."""
        if self._file is not None:
            self._address.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def _running(self) -> tuple[str | None, str | None]:
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                told = orjson.loads(self._address.read_bytes())
                return told["base_url"], told["key"]
            time.sleep(0.02)
        return None, None
