from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    """An empty database in memory, in autocommit as the commands have it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened
