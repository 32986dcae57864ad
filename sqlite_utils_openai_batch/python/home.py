"""The file that a program works with, and the key that it does it with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .. import store
from ..provider.places import Places
from ..store.connection import connect


@dataclass(frozen=True)
class Home:
    """Where jobs are kept."""

    path: Path
    key: str | None = field(default=None, repr=False)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own: closed at the end, and shared with nobody."""
        with closing(connect(self.path)) as conn:
            store.check_version(conn)
            yield conn

    def places(self) -> Places:
        """Where jobs run, with the key."""
        return Places(key=self.key)
