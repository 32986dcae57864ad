"""Limits, the clock and the folders of a server."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..base.endpoints import BATCH_EMBEDDING_INPUTS, BATCH_FILE_BYTES, BATCH_REQUESTS

DAY = 86_400
ORGANIZATION = "org-local"
"""The organisation that all keys belong to."""

ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
)
"""The endpoints that a batch may name, in the order of the published description."""


@dataclass(frozen=True)
class ServerLimits:
    """What the server accepts; the defaults are the service's published ones.

    `enqueued_tokens` is per model, None for no limit (the service's depend on the account).
    """

    requests: int = BATCH_REQUESTS
    batch_file_bytes: int = BATCH_FILE_BYTES
    upload_bytes: int = 512 * 1024 * 1024
    embedding_inputs: int = BATCH_EMBEDDING_INPUTS
    creates_per_hour: int = 2_000
    enqueued_tokens: int | None = None


def holds_state(root: Path) -> bool:
    """Whether a folder holds the state of a server and nothing else, so that it may go."""
    folders = {"files", "work", "incoming"}
    others = {"server.lock", "server.json", "server.new", "place.json", "state.db"}
    others |= {f"state.db-{more}" for more in ("wal", "shm", "journal")}
    return all(
        not entry.is_symlink() and entry.name in (folders if entry.is_dir() else others)
        for entry in root.iterdir()
    )


class Clock:
    """The time in Unix seconds, which tests may move forward."""

    def __init__(self) -> None:
        self._offset = 0.0

    def time(self) -> float:
        """Return the present time, with fractions."""
        return time.time() + self._offset

    def now(self) -> int:
        """Return the present time as the API writes it."""
        return int(self.time())

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._offset += seconds


@dataclass(frozen=True)
class Folders:
    """Where things lie in the state directory; `durable` if they are to survive a power cut."""

    root: Path
    durable: bool = True

    def create(self) -> Folders:
        """Make the folders, readable by their owner only, and clear what uploads left behind."""
        for folder in (self.files, self.work, self.incoming):
            folder.mkdir(mode=0o700, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()
        return self

    @property
    def files(self) -> Path:
        """Finished files, named by their id."""
        return self.root / "files"

    @property
    def work(self) -> Path:
        """Output of batches that are running."""
        return self.root / "work"

    @property
    def incoming(self) -> Path:
        """Uploads that are still arriving."""
        return self.root / "incoming"

    @property
    def database(self) -> Path:
        """Everything else."""
        return self.root / "state.db"

    def keep(self, path: Path, file_id: str) -> None:
        """Make a file the bytes of `file_id`, on the disk before it has its name."""
        if self.durable:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        path.replace(self.file(file_id))

    def file(self, file_id: str) -> Path:
        """Where the bytes of a file lie."""
        return self.files / file_id

    def output(self, batch_id: str) -> Path:
        """Where the answered lines of a running batch are kept."""
        return self.work / f"{batch_id}.output"

    def errors(self, batch_id: str) -> Path:
        """Where the failed lines of a running batch are kept."""
        return self.work / f"{batch_id}.errors"
