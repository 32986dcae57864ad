"""The hash of a row: the same whether its text comes as text or as bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.tables.hashing import source_hash, stored_hashes
from sqlite_utils_openai_batch.tables.source import open_source
from sqlite_utils_openai_batch.tables.sql import SQLiteValue
from sqlite_utils_openai_batch.tables.stale import Glance

TEXT = st.text(st.characters(codec="utf-8"))
VALUE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
ROWS = st.integers(1, 20).flatmap(
    lambda width: st.lists(st.lists(VALUE, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(ROWS)
@example([["a" * 31, "b" * 32, "c" * 255, "d" * 256]])
@example([["é" * 32_767, "f" * 65_535, "g" * 65_536]])
@example([[None] * 15])
@example([[1] * 16])
@example([[1.5] * 32_767])
def test_text_and_its_bytes_have_one_hash(rows: list[list[SQLiteValue]]) -> None:
    as_bytes = [
        [value.encode() if isinstance(value, str) else value for value in row] for row in rows
    ]
    columns = list(zip(*as_bytes, strict=True))
    assert stored_hashes(columns, len(rows)) == list(map(source_hash, rows))


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as made:
        yield made


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
@pytest.mark.parametrize("keys", [("id",), ("id", "two")], ids=["one key", "two keys"])
def test_only_rows_that_are_surely_unchanged(
    encoding: str, keys: tuple[str, ...], conn: sqlite3.Connection
) -> None:
    conn.execute(f"PRAGMA encoding = '{encoding}'")
    conn.execute(f'CREATE TABLE t (id, two, "a ""b" , c, answer, PRIMARY KEY ({", ".join(keys)}))')
    rows = [
        ("same", 1.0, None),
        ("édited", 2, None),
        ("answered", 3, "already"),
        (b"blob", 4, None),
        ("", None, None),
        ("last", -5, None),
        ("empty blob", b"", None),
    ]
    for n, row in enumerate(rows, 1):
        conn.execute("INSERT INTO t VALUES (?, 'x', ?, ?, ?)", (n, *row))
    glance = Glance(conn, 'main."t"', keys, ('a "b', "c"), ("answer",))
    key_of = {n: n if len(keys) == 1 else f'[{n},"x"]' for n in range(1, 9)}
    asked: dict[SQLiteValue, bytes] = {
        key_of[n]: source_hash(row[:2]) for n, row in enumerate(rows, 1)
    }
    asked[key_of[8]] = source_hash(("gone", 8))
    conn.execute('UPDATE t SET "a ""b" = \'edited\' WHERE id = 2')
    # An answer, a BLOB, an edit, a row that is gone: each is looked at once more.
    assert glance.unchanged(asked) == {key_of[1], key_of[5], key_of[6]}
    assert conn.text_factory is str


def test_rows_of_any_size_are_told(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text, answer)")
    texts = {n: "x" * (1_000_000 if n % 50 == 0 else n) for n in range(1, 201)}
    conn.executemany("INSERT INTO t (id, text) VALUES (?, ?)", texts.items())
    glance = Glance(conn, 'main."t"', ("id",), ("text",), ("answer",))
    asked = {n: source_hash([text if n % 7 else "other"]) for n, text in texts.items()}
    assert glance.unchanged(asked) == {n for n in texts if n % 7}


@pytest.mark.parametrize(
    "columns",
    ["text", "rowid, text", "id TEXT PRIMARY KEY, text", "id INTEGER PRIMARY KEY, text"],
)
def test_whatever_the_key_is(columns: str, conn: sqlite3.Connection) -> None:
    conn.execute(f"CREATE TABLE t ({columns})")
    if columns.startswith("id TEXT"):
        conn.executemany("INSERT INTO t VALUES (?, ?)", [("a", "x"), ("b", "x")])
    else:
        conn.executemany("INSERT INTO t (text) VALUES (?)", [("x",), ("x",)])
    conn.execute("ALTER TABLE t ADD COLUMN answer")
    with open_source(conn, "t") as source:
        keys = [row_key for page in source.pages(["text"]) for row_key, _ in page]
        assert source.looked_up is not None
        glance = Glance(conn, source.looked_up, source.key_columns, ("text",), ("answer",))
        assert glance.unchanged(dict.fromkeys(keys, source_hash(["x"]))) == set(keys)
