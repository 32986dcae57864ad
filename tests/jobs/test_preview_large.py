"""`preview` of a large table: the first requests and an estimate come before the count of all."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import glance, survey
from sqlite_utils_openai_batch.store.connection import connect

ROWS = 20_000
ASK = ("--prompt", "Say: {{ text }}", "-m", "gpt-4o-mini", "--schema", "mood good|bad")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.db"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, mark INTEGER)")
        rows = ((n, f"note {n} " * (n % 7 + 1), n % 4) for n in range(1, ROWS + 1))
        conn.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)
    return path


@pytest.mark.parametrize(("where", "asked"), [(None, ROWS), ("mark = 1", ROWS // 4)])
def test_a_glance_is_near_to_the_count(large: Path, where: str | None, asked: int) -> None:
    with closing(connect(large)) as conn:
        plan = settle(conn, Ask(table="notes", prompt="Say: {{ text }}", where=where))
        about, (exact, _) = glance(conn, plan), survey(conn, plan)
        plan.close()
    assert about is not None
    assert about.estimate is not None
    assert exact.estimate is not None
    assert exact.asked == asked
    assert about.asked == pytest.approx(asked, rel=0.05)
    assert about.bytes == pytest.approx(exact.bytes, rel=0.1)
    assert about.estimate.input.tokens == pytest.approx(exact.estimate.input.tokens, rel=0.1)
    assert about.estimate.input.most == pytest.approx(exact.estimate.input.most, rel=0.1)
    assert about.parts == exact.parts


def test_gaps_between_keys_are_no_rows(large: Path) -> None:
    with closing(connect(large)) as conn:
        conn.execute("DELETE FROM notes WHERE id % 3")
        plan = settle(conn, Ask(table="notes", prompt="Say: {{ text }}"))
        about = glance(conn, plan)
        plan.close()
    assert about is not None
    assert about.asked == pytest.approx(ROWS / 3, rel=0.05)


@pytest.mark.parametrize(
    "ask",
    [
        Ask(table="notes", prompt="{{ text }}", limit=10),
        Ask(table="notes", prompt="{{ text }}", order="mark"),
        Ask(sql="SELECT id, text FROM notes", pk=("id",), prompt="{{ text }}"),
        Ask(table="notes", prompt="{{ text }}", sample=10),
    ],
)
def test_other_choices_are_counted_at_once(large: Path, ask: Ask) -> None:
    with closing(connect(large)) as conn:
        plan = settle(conn, ask)
        assert glance(conn, plan) is None
        plan.close()


def test_a_small_table_is_counted_at_once(run: Any, notes: Any) -> None:
    assert "about 12" not in run("preview", notes, "notes", *ASK).err


def test_what_is_said_first(run: Any, large: Path) -> None:
    said = run("preview", large, "notes", *ASK)
    found = re.match("Request 1 of about ([0-9,]+)   notes.id = 1", said.out)
    assert found
    assert int(found[1].replace(",", "")) == pytest.approx(ROWS, rel=0.01)
    first, last = said.err.split("Counting all rows …\n")
    assert "by some from all over it" in first
    assert "Cost      " in first
    assert "Database  about " in first
    assert last.lstrip().startswith(f"Rows      {ROWS:,} rows in notes · {ROWS:,} to ask\n")
    raw = run("preview", large, "notes", *ASK, "--raw", "-n", "2")
    assert raw.out.count("\n") == 2
