"""One job's fault: told, and no other job of the database waits for it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.engine import one_pass
from sqlite_utils_openai_batch.store.connection import connect

ASK = ("notes", "--prompt", "{{ text }}", "--limit", "2", "--no-wait")
# What somebody, or a fault of ours, may have left in the record of a job.
BROKEN = {
    "a part in no state": "UPDATE openai_batch_parts SET status = 'lost' WHERE job_id = 2",
    "a schema of another version": """UPDATE openai_batch_jobs SET answer_schema =
        '{"type": "object", "properties": {"a": {"oneOf": []}}}' WHERE id = 2""",
    "a template of another kind": "UPDATE openai_batch_jobs SET template = '5' WHERE id = 2",
    "settings that are none": "UPDATE openai_batch_jobs SET options = '[1]' WHERE id = 2",
}
# What only another program writes, and is told as that.
CHANGED = {"a part in no state", "a template of another kind", "settings that are none"}


def change(path: Path, sql: str) -> None:
    """Change a database as somebody else would."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(sql)


@pytest.fixture
def three(run: Any, notes: Path, held: Any) -> Path:
    """Three jobs that were sent, and aren't answered yet."""
    server, _ = held
    for n in "123":
        run("run", notes, *ASK, "--output", f"a{n}", "--base-url", server.base_url, "-y")
    return notes


@pytest.mark.parametrize("broken", BROKEN)
def test_the_other_jobs_are_watched_to_their_end(
    run: Any, three: Path, rows: Any, held: Any, broken: str
) -> None:
    change(three, BROKEN[broken])
    held[1].release()
    said = run("watch", three, "--poll", "0.05", code=1)
    changed = "Error: This database was changed by another program: job 2 has "
    told = changed if broken in CHANGED else "Error: Job 2: "
    assert said.err.count(told) == 1
    assert "Traceback" not in said.err
    assert rows(three, "SELECT id FROM openai_batch_jobs WHERE status = 'completed'") == [
        (1,),
        (3,),
    ]
    assert rows(three, "SELECT count(a1), count(a3) FROM notes") == [(2, 2)]


@pytest.mark.parametrize("silent", [(), ("--silent",)])
def test_sync_goes_on_with_the_others(
    run: Any, three: Path, rows: Any, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = engine.check_account

    def stumble(conn: sqlite3.Connection, provider: Any, job: store.Job) -> None:
        if job.id == 2:
            raise KeyError("lost")
        check(conn, provider, job)

    monkeypatch.setattr(engine, "check_account", stumble)
    change(three, "UPDATE openai_batch_jobs SET checked_at = NULL")
    said = run("sync", three, *silent, code=1)
    assert said.err.startswith("Error: Job 2: this program stopped at it (KeyError: 'lost'). ")
    checked = "SELECT id FROM openai_batch_jobs WHERE checked_at IS NOT NULL AND id <> 2"
    assert rows(three, checked) == [(1,), (3,)]
    (kept,) = rows(three, "SELECT job_id, detail FROM openai_batch_log WHERE event = 'fault'")
    assert kept[0] == 2
    assert "engine.py" in kept[1]


def test_a_job_without_a_key_keeps_no_other_from_its_turn(run: Any, three: Path, rows: Any) -> None:
    change(three, "UPDATE openai_batch_jobs SET base_url = NULL, provider = 'azure' WHERE id = 1")
    change(three, "UPDATE openai_batch_jobs SET checked_at = NULL")
    said = run("sync", three, code=1)
    assert said.err.startswith("Error: Job 1: ")
    checked = "SELECT id FROM openai_batch_jobs WHERE checked_at IS NOT NULL"
    assert rows(three, checked) == [(2,), (3,)]
    assert "Job 3: " in said.err


def test_a_fault_of_the_file_is_no_single_jobs(three: Path) -> None:
    def open_provider(job: store.Job) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    with closing(connect(three)) as conn, pytest.raises(sqlite3.OperationalError):
        one_pass(conn, store.unfinished_jobs(conn), open_provider)
