"""Files on their way: those that go out tell that they do, and those that come where they end."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
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


def tells_its_end(headers: Mapping[str, str]) -> bool:
    """Whether a reply says where it ends: the transport notices then when it is cut."""
    return "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
