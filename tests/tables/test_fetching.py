"""Rows by their keys, a few at a time."""

from __future__ import annotations

import sqlite3
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.tables.source import fetch_in_turn, open_source


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 4_000))
def test_each_key_gets_its_row(keys: list[int], page_bytes: int) -> None:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    conn.executemany("INSERT INTO t (id, a) VALUES (?, ?)", [(n, "x" * n) for n in range(1, 41)])
    with open_source(conn, "t") as source:
        found = list(fetch_in_turn(source, ["a"], keys, page_bytes=page_bytes))
    conn.close()
    assert found == [("x" * key,) if key <= 40 else None for key in keys]


def test_large_rows_are_not_held_together(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    conn.executemany("INSERT INTO t (a) VALUES (zeroblob(?))", [(1_000_000,)] * 200)
    with open_source(conn, "t") as source:
        tracemalloc.start()
        for row in fetch_in_turn(source, ["a"], range(1, 201)):
            assert row is not None
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 45_000_000
