"""`export-requests`: the rows as they are now, and a line for no row that was added since."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import JobError
from sqlite_utils_openai_batch.jobs.files.export import export_requests
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.plan.render import Tally, rendered_rows
from sqlite_utils_openai_batch.pricing.estimate import Money
from sqlite_utils_openai_batch.store.connection import connect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
        rows = ((n * 3, f"row {n} é\u2028") for n in range(1, 2_001))
        conn.executemany("INSERT INTO t VALUES (?, ?)", rows)
    return path


def test_files_hold_the_rows_as_they_are_now(path: Path, tmp_path: Path) -> None:
    with closing(connect(path)) as conn:
        ask = Ask(table="t", prompt="{{ a }}", part_requests=800, money=Money(own=True))
        with closing(settle(conn, ask)) as plan:
            job, _ = prepare(
                conn, plan, uid="u", provider="openai", base_url=None, account=None, settings={}
            )
        by_key = "SELECT source_hash FROM openai_batch_requests WHERE row_key = 3"
        before = conn.execute(by_key).fetchone()
        conn.execute("UPDATE t SET a = 'changed' WHERE id = 3")
        folder = tmp_path / "out"
        done = list(export_requests(conn, store.get_job(conn, 1), folder))
        assert [one.path for one in done] == sorted(folder.iterdir())
        assert [one.requests for one in done] == [100, 700, 800, 400]
        assert b'"content":"changed"' in done[0].path.read_bytes()
        assert conn.execute(by_key).fetchone() != before
        with pytest.raises(JobError, match="is there already"):
            list(export_requests(conn, job, folder))


def test_rows_that_are_added_behind_the_others_wait_for_another_job(path: Path) -> None:
    with closing(connect(path)) as conn:
        conn.execute("DELETE FROM t WHERE id > 30")
        with closing(settle(conn, Ask(table="t", prompt="{{ a }}", money=Money(own=True)))) as plan:
            ids = plan.count()
            conn.execute("INSERT INTO t (id, a) VALUES (40, 'new')")
            found = list(rendered_rows(plan, Tally(), "u", stop=ids))
        assert [row.row_key for row in found] == list(range(3, 31, 3))
        # These ids are all that was reserved: one more would be another job's.
        assert max(row.position for row in found) < ids
