"""Somebody changed our tables by hand: a sentence, or a gap on the screen, never a traceback."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from finished import answered
from sqlite_utils.cli import cli

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.jobs.sync.engine import approve, one_pass
from sqlite_utils_openai_batch.jobs.sync.lookup import look
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

TIMES = {
    "jobs": ["created_at", "approved_at", "submitted_at", "checked_at", "finished_at"],
    "parts": ["created_at", "submitted_at", "in_progress_at", "ended_at", "expires_at",
              "collected_at", "written_at", "next_try_at", "lease_until"],
    "log": ["at"],
}  # fmt: skip
TEXTS = {
    "jobs": ["source_params", "key_columns", "template", "answer_schema", "output",
             "created_columns", "options", "versions"],
    "parts": ["overrides", "outcomes", "errors"],
    "requests": ["answer", "previous"],
    "log": ["detail"],
}  # fmt: skip
NO_TIMES = ("yesterday", "2026-13-45T99:99:99.000Z", b"\xff\xfe")
NO_TEXTS = ("not json", b"\xff", "[[1]]", '{"columns": 7, "prices": 3}')
COMMANDS = ("jobs", "jobs --totals", "jobs --csv", "show 1", "show 1 --log", "results 1",
            "report 1")  # fmt: skip
NEEDED = {"source_params", "key_columns", "template", "answer_schema", "output", "options"}


SENTENCE = re.compile(
    r"Error: This database was changed by another program: job 1 has '.*' in "
    r"openai_batch_jobs\.\w+, which this one never writes\. "
    r"Put back what a backup of the database has there\.\n"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a finished job."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "data.db"
    sqlite3.connect(path).close()
    with closing(connect(path)) as conn:
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany("INSERT INTO notes (text) VALUES (?)", [("one",), ("two",)])
        answered(conn, folder, "notes", {1: {"kind": "a"}}, model="gpt-4o-mini", schema="kind")
        conn.execute("UPDATE openai_batch_jobs SET submitted_at = created_at")
        conn.execute("UPDATE openai_batch_parts SET submitted_at = created_at")
    return path


def columns(tables: dict[str, list[str]]) -> list[Any]:
    return [
        pytest.param(table, name, id=f"{table}.{name}")
        for table, names in tables.items()
        for name in names
    ]


def ask(path: Path, command: str) -> Result:
    """What a command says that reads; whatever it raises is raised."""
    name, *more = command.split()
    arguments = ["openai-batch", name, str(path), *more]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def change(path: Path, table: str, name: str, value: Any) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"UPDATE openai_batch_{table} SET {name} = ?", [value])
        conn.commit()


@pytest.mark.parametrize("value", NO_TIMES)
def test_a_time_that_is_none(finished: Path, tmp_path: Path, value: Any) -> None:
    """Screens show that it isn't known; nothing else is different."""
    path = Path(shutil.copy(finished, tmp_path / "changed.db"))
    for table, names in TIMES.items():
        for name in names:
            change(path, table, name, value)
            for command in COMMANDS:
                assert ask(path, command).exit_code == 0, (name, command)


@pytest.mark.parametrize(("table", "name"), columns(TEXTS))
def test_json_that_is_none(finished: Path, tmp_path: Path, table: str, name: str) -> None:
    """A list of jobs goes on without it; what needs it says which column can't be read."""
    folder = tmp_path / "not-checked"
    folder.mkdir()
    path = Path(shutil.copy(finished, folder / "changed"))
    for value in NO_TEXTS:
        change(path, table, name, value)
        for command in COMMANDS:
            result = ask(path, command)
            if result.exit_code:
                assert name in NEEDED and not command.startswith("jobs"), (value, command)
                assert result.stderr.startswith("Error: "), (value, command)
                assert SENTENCE.fullmatch(result.stderr) or name == "answer_schema", result.stderr


def test_the_sentence(run: Any, finished: Path) -> None:
    path = Path(shutil.copy(finished, "changed.db"))
    change(path, "jobs", "output", "not json")
    assert run("show", path, code=1).err == (
        "Error: This database was changed by another program: job 1 has 'not json' in "
        "openai_batch_jobs.output, which this one never writes. "
        "Put back what a backup of the database has there.\n"
    )


def test_a_job_that_cant_be_read_keeps_no_other_from_its_turn(
    run: Any, notes: Path, rows: Any
) -> None:
    for output in ("a", "b"):
        run("prepare", notes, "notes", "--prompt", "{{ text }}", "--base-url", run.base_url,
            "--output", output)  # fmt: skip
    with closing(connect(notes)) as conn, Provider(run.base_url, "x") as provider:
        for n in (1, 2):
            approve(conn, store.get_job(conn, n))
        conn.execute("UPDATE openai_batch_jobs SET output = '[]' WHERE id = 1")
        report = one_pass(conn, [store.get_job(conn, n) for n in (1, 2)], lambda _: provider)
    assert report.sent == 1
    assert [job.id for job in report.paused] == [1]
    assert "'[]' in openai_batch_jobs.output" in str(report.paused[0].message)


def test_a_job_of_unknown_age_is_looked_for_everywhere(run: Any, notes: Path) -> None:
    """Else its batch, listed further back, would not be found, and be paid for twice."""
    run("prepare", notes, "notes", "--prompt", "{{ text }}", "--base-url", run.base_url)
    with closing(connect(notes)) as conn, Provider(run.base_url, "older") as provider:
        job = approve(conn, store.get_job(conn, 1))
        one_pass(conn, [job], lambda _: provider)
        change(notes, "jobs", "created_at", "next year")
        conn.execute("UPDATE openai_batch_batches SET ended_at = NULL")
        job = store.get_job(conn, 1)
        assert job.created_at == clock.UNKNOWN
        assert list(look(conn, provider, job)) == [1]
