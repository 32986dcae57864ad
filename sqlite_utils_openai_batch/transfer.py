"""Files on their way out, which tell that they are: a lease is renewed meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

Alive = Callable[[], None]


def idle() -> None:
    """Do nothing."""


class Watched(io.FileIO):
    """A file that tells whenever it is read from."""

    def __init__(self, path: Path, alive: Alive) -> None:
        super().__init__(path)
        self.alive = alive

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next bytes."""
        self.alive()
        return super().read(size) or b""
