"""The fast way to CSV and the slow one make the same bytes of whatever a table holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import job_data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.results import csv
from sqlite_utils_openai_batch.results.csv import FastLines
from sqlite_utils_openai_batch.results.reader import Reader

UGLY = ["", ",", '"', "\n", "\r", "é", "🎬", 'a,"b"\r\nc', "plain", "ok"]
TEXT = st.sampled_from(UGLY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUE = (
    st.none()
    | TEXT
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary(max_size=4)
)
RAW = st.binary(max_size=6)
ANSWER = st.one_of(
    st.builds(
        lambda category, score: json.dumps({"category": category, "score": score}),
        TEXT | st.none(),
        st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from(["", "no JSON", "{}", "[1]", '```json\n{"category":"a","score":1}\n```', None]),
)
ROW = st.tuples(VALUE, RAW, st.integers() | VALUE, ANSWER, st.sampled_from(["ok", "ok", "refused"]))


@pytest.fixture(scope="module")
def conn() -> Iterator[sqlite3.Connection]:
    """Two jobs over `things`, whose rows each example brings: with a schema, and without."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, title TEXT, raw TEXT, n REAL)")
    for schema in (job_data.SCHEMA, None):
        job_data.add_job(conn, [1], source="things", schema=schema, write=False, template=PROMPT)
    yield conn
    conn.close()


PROMPT = {"model": "m", "messages": [{"role": "user", "content": "{{ title }}"}]}


def fill(conn: sqlite3.Connection, rows: list[tuple[Any, ...]], gone: bool) -> None:
    """Rows and their requests for both jobs; the last row may be gone."""
    conn.execute("DELETE FROM things")
    conn.execute("DELETE FROM openai_batch_requests")
    for n, (title, raw, number, answer, status) in enumerate(rows, 1):
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            number = float(n)
        if not (gone and n == len(rows)):
            conn.execute(
                "INSERT INTO things VALUES (?, ?, CAST(? AS TEXT), ?)", [n, title, raw, number]
            )
        for job in (1, 2):
            conn.execute(
                "INSERT INTO openai_batch_requests "
                "(job_id, part_id, row_key, status, attempts, answer, error_message) "
                "VALUES (?, ?, ?, ?, 1, ?, ?)",
                [job, job, n, status, answer, "a note" if status == "ok" else title],
            )


def reader(conn: sqlite3.Connection, job: int) -> Reader:
    conn.text_factory = str
    return Reader(conn, store.get_job(conn, job))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(ROW, min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([1, 3, 64]),
    st.sampled_from([1, 5, 20_000]),
)
def test_the_same_bytes(
    conn: sqlite3.Connection,
    rows: list[tuple[Any, ...]],
    gone: bool,
    together: int,
    stretch: int,
) -> None:
    fill(conn, rows, gone)
    for job in (1, 2):
        slow = reader(conn, job)
        slow.blobs = []
        expected = b""
        while (lines := slow.step(csv.line, 50)) is not None:
            expected += "".join(lines).encode("utf-8", "replace")
        fast = FastLines(reader(conn, job))
        fast.rows = together
        found = b""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sqlite_utils_openai_batch.results.reader.STRETCH", stretch)
            while (piece := fast.piece(50)) is not None:
                found += piece
        assert found == expected
        assert b"a note" not in found


def test_rows_of_a_megabyte_are_formed_one_by_one(
    conn: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv, "ROWS", 4)
    fill(conn, [("x" * 1_000_000, b"", n, "{}", "refused") for n in range(12)], gone=False)
    fast = FastLines(reader(conn, 2))
    fast.piece(100)
    assert fast.rows == 1
    fast.piece(100)
    assert fast.reader.after == fast.reader.last - 7 * 2
