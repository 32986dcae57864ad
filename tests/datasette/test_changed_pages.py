"""Somebody changed our tables by hand: pages show a gap or a sentence, and never break."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving import fetch

TIMES = {
    "jobs": ["created_at", "approved_at", "submitted_at", "checked_at", "finished_at"],
    "parts": ["submitted_at", "in_progress_at", "finalizing_at", "ended_at", "expires_at",
              "collected_at", "written_at"],
    "log": ["at"],
}  # fmt: skip
TEXTS = {
    "jobs": ["source_params", "key_columns", "template", "answer_schema", "output",
             "created_columns", "options", "versions"],
    "parts": ["overrides", "outcomes", "errors"],
    "requests": ["previous"],
    "log": ["detail"],
}  # fmt: skip
JOBS = "/films/-/openai-batch"
ANYWHERE = ("/", "/films", "/films/movies", "/films/movies/1", "/-/openai-batch", JOBS)
PAGES = (f"{JOBS}/1", f"{JOBS}/2", f"{JOBS}/1.json", f"{JOBS}/1.csv", f"{JOBS}/1.xlsx",
         f"{JOBS}/1/report")  # fmt: skip


def change(path: Path, table: str, name: str, value: Any) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"UPDATE openai_batch_{table} SET {name} = ?", [value])
        conn.commit()


def each(tables: dict[str, list[str]]) -> list[Any]:
    return [
        pytest.param(table, name, id=f"{table}.{name}")
        for table, names in tables.items()
        for name in names
    ]


@pytest.mark.parametrize("value", ["yesterday", b"\xff\xfe"])
def test_times_that_are_none(serve: Callable[..., Any], db: Path, value: Any) -> None:
    for table, names in TIMES.items():
        for name in names:
            change(db, table, name, value)
    datasette = serve(db)
    for path in (*ANYWHERE, *PAGES):
        assert fetch(datasette, path, "root").status_code == 200, path


@pytest.mark.parametrize(("table", "name"), each(TEXTS))
def test_json_that_is_none(serve: Callable[..., Any], db: Path, table: str, name: str) -> None:
    """The pages of other things go on; the job's own say which column can't be read."""
    datasette = serve(db)
    for value in ("not json", '{"columns": 7, "prices": 3}'):
        change(db, table, name, value)
        for path in ANYWHERE:
            assert fetch(datasette, path, "root").status_code == 200, (value, path)
        for path in PAGES:
            page = fetch(datasette, path, "root")
            if page.status_code != 200:
                assert page.status_code in (400, 503), (value, path)
                said = f" in openai_batch_jobs.{name}, which this one never writes"
                assert said in page.text or page.status_code == 400
    # The sums that are checked after each test can't be right.
    db.unlink()


def test_a_job_whose_table_cant_be_read_is_shown_to_nobody(
    serve: Callable[..., Any], db: Path
) -> None:
    """Nobody can say whether it writes to a table that the reader may not see."""
    change(db, "jobs", "output", "not json")
    hidden = {"databases": {"films": {"allow_sql": False}}}
    datasette = serve(db, config=hidden)
    assert fetch(datasette, f"{JOBS}/1").status_code == 403
    assert "gpt-4o-mini</td>" not in fetch(datasette, JOBS).text
