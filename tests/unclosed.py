"""Connections to SQLite that nobody closes: an error from Python 3.13 on, but for Datasette's own.

Datasette leaves some to the garbage collector: those of its internal and in-memory databases, and
of its looks at what SQLite can do. A filter of warnings can't tell them from ours, since all say
`unclosed database in <sqlite3.Connection …>`; who opened one can.
"""

from __future__ import annotations

import sqlite3
import sys
from types import FrameType
from typing import Any

_connect = sqlite3.connect


class OfDatasette(sqlite3.Connection):
    """A connection that Datasette opened for itself; SQLite closes it as it goes."""

    def __del__(self) -> None:
        """Say nothing, where `sqlite3.Connection` warns."""


def let_datasette_be() -> None:
    """From now on what Datasette opens for itself goes without a warning, and nothing else."""
    sqlite3.connect = connect  # type: ignore[assignment]


def connect(*args: Any, **options: Any) -> sqlite3.Connection:
    """Connect as `sqlite3.connect` does."""
    if opened_by_datasette(sys._getframe(1)):
        options.setdefault("factory", OfDatasette)
    return _connect(*args, **options)


def opened_by_datasette(frame: FrameType | None) -> bool:
    """Whether Datasette connects, and not because somebody else calls its `Database.connect`."""
    if not in_datasette(frame):
        return False
    assert frame is not None
    return frame.f_code.co_name != "connect" or in_datasette(frame.f_back)


def in_datasette(frame: FrameType | None) -> bool:
    """Whether a frame is of the package `datasette`."""
    return frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "datasette"
