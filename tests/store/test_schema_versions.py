"""A database of each version of our tables is read by this one, with all its answers.

`schemas/` has a database as SQL for each migration, made when that was the newest, with a finished
job in it. Who adds a migration adds the database of the version before, and changes none.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import Batches
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.store.tables import migrations

SCHEMAS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))


def made(script: Path, folder: Path) -> Path:
    path = folder / "old.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(script.read_text())
    return path


def test_each_version_but_the_newest_has_a_database() -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        import sqlite_utils

        names = [one.name for one in migrations.pending(sqlite_utils.Database(conn))]
    assert {script.stem for script in SCHEMAS} >= {*names[:-1]} and SCHEMAS


@pytest.mark.parametrize("script", SCHEMAS, ids=lambda one: one.stem)
def test_its_answers_are_all_there(script: Path, tmp_path: Path) -> None:
    batches = Batches(made(script, tmp_path))
    [job] = batches.jobs()
    assert (job.status, job.requests, job.outcomes) == ("completed", 15, {"ok": 15})
    rows = list(job.results())
    assert len(rows) == 15 and all(row["city"] and row["status"] == "ok" for row in rows)


@pytest.mark.parametrize("script", SCHEMAS, ids=lambda one: one.stem)
def test_a_new_job_goes_on_in_it(script: Path, tmp_path: Path) -> None:
    with LocalServer() as server:
        batches = Batches(made(script, tmp_path), base_url=server.base_url, key=server.key)
        job = batches.run("movies", prompt="{{ title }}", output="said", approve=True, poll=0.05)
        assert job.outcomes == {"ok": 15}
    assert [one.id for one in batches.jobs()] == [2, 1]
