"""Rows into parts, by properties: nothing lost, none twice, order kept, no limit passed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.sync.send import Sender
from sqlite_utils_openai_batch.pricing.estimate import Money
from sqlite_utils_openai_batch.store import list_parts

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=30),
    st.sampled_from(["a", "b", " ", "{{ a }}", "\u2028", '"', "x" * 900]),
    st.binary(max_size=4),
)


def prepared(conn: sqlite3.Connection, rows: Sequence[Any], **options: Any) -> Any:
    """Store a job over these rows."""
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
    conn.executemany("INSERT INTO t (a) VALUES (?)", [(value,) for value in rows])
    plan = settle(conn, Ask(table="t", prompt="{{ a }}", money=Money(own=True), **options))
    try:
        return prepare(
            conn, plan, uid="u", provider="openai", base_url=None, account=None, settings={}
        )
    finally:
        plan.close()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(VALUES, min_size=1, max_size=25),
    st.integers(1, 7),
    st.integers(300, 3_000),
    st.booleans(),
)
def test_parts_hold_each_row_once_and_stay_below_their_limits(
    tmp_path_factory: Any, rows: Sequence[Any], most: int, size: int, reuse: bool
) -> None:
    limits = {"part_requests": most, "part_bytes": size, "reuse": reuse}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        job, tally = prepared(conn, rows, **limits)
        found = conn.execute(
            "SELECT id, part_id, row_key, status, same_as FROM openai_batch_requests ORDER BY id"
        ).fetchall()
        parts = list_parts(conn, job.id)
        sender = Sender(conn, None, job)  # type: ignore[arg-type]
        folder = tmp_path_factory.mktemp("parts")
        lines: list[bytes] = []
        for part in parts:
            rendered = sender.render(part, folder)
            written = rendered.path.read_bytes().splitlines(keepends=True)
            assert len(written) == rendered.lines == part.requests <= most
            assert rendered.size == part.bytes <= size
            lines += written
        sender.close()

    assert tally.rows == len(rows) == len(found) + tally.blank
    assert job.requests == len(found) == tally.requests
    # the id is the first one plus the place in the source, and a part's lines are in id order
    assert [row[0] for row in found] == [row[2] for row in found]
    asked = [row[0] for row in found if row[3] == "pending" and row[4] is None]
    assert [json.loads(line)["custom_id"] for line in lines] == [f"u-{n}" for n in asked]
    by_part = [row[1] for row in found if row[3] == "pending" and row[4] is None]
    assert by_part == sorted(by_part)
    # what shares an answer shares it with one that is asked, and asks the same
    for number, _, _, _, same_as in found:
        if same_as is not None:
            assert reuse
            assert same_as in asked
            assert rows[same_as - 1] == rows[number - 1]


@settings(deadline=None, max_examples=20)
@given(st.lists(VALUES, min_size=1, max_size=15), st.integers(1, 5))
def test_the_same_rows_make_the_same_parts(rows: Sequence[Any], most: int) -> None:
    stored = []
    for _ in range(2):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
            prepared(conn, rows, part_requests=most)
            stored.append(
                conn.execute(
                    "SELECT id, part_id, row_key, source_hash, status FROM openai_batch_requests"
                ).fetchall()
            )
    assert stored[0] == stored[1]
