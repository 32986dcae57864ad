"""Names that this program takes for its tables: as sources, and where the person has them too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlite_utils.cli import cli

ASK = ("--prompt", "Say: {{ text }}")


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


OWN = ("openai_batch_log", "openai_batch_jobs", "OpenAI_Batch_Requests", "openai_batch_results",
       "_sqlite_migrations", "sqlite_schema")  # fmt: skip


@pytest.mark.parametrize("command", ["run", "preview", "prepare", "try"])
def test_own_bookkeeping_is_no_source(
    run: Any, notes: Path, unchanged: Any, command: str, server: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    check = unchanged(notes)
    yes = ("-y",) if command in ("run", "try") else ()
    for table in OWN:
        said = run(command, notes, table, "--prompt", "{{ event }}", *run.there[:2], *yes, code=1)
        assert "own bookkeeping: it can't be asked about" in said.err
        assert table.lower() in said.err.lower()
    check()
    # What it holds can be asked about all the same.
    run("preview", notes, "--sql", "SELECT id, event FROM openai_batch_log", "--pk", "id",
        "--prompt", "{{ event }}", *run.there[:2])  # fmt: skip


@pytest.mark.parametrize("table", ["openai_batch_log", "_sqlite_migrations", "SQLITE_x"])
def test_own_bookkeeping_takes_no_answers(run: Any, notes: Path, table: str) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    said = run("run", notes, "notes", *ASK, *run.there, "--output-table", table, code=1)
    assert f"'{table}' can't be an output table" in said.err


def test_a_table_of_ones_own_with_such_a_beginning(run: Any, database: Any, rows: Any) -> None:
    mine = database("CREATE TABLE openai_batch_notes (id INTEGER PRIMARY KEY, text);"
                    "INSERT INTO openai_batch_notes VALUES (1, 'one')")  # fmt: skip
    run("run", mine, "openai_batch_notes", *ASK, *run.there)
    assert rows(mine, "SELECT count(answer) FROM openai_batch_notes") == [(1,)]


THEIRS = {
    "a table": "CREATE TABLE openai_batch_jobs (id INTEGER PRIMARY KEY, title TEXT)",
    "a view": "CREATE VIEW openai_batch_parts AS SELECT 1 AS id",
    "a table for the view": "CREATE TABLE openai_batch_results (a)",
    "other letters": "CREATE TABLE OpenAI_Batch_Log (a)",
    "an index": "CREATE INDEX openai_batch_requests_row ON notes (text)",
    "a table like an index": "CREATE TABLE openai_batch_requests_part (a)",
    "migrations": "CREATE TABLE _sqlite_migrations (version INTEGER)",
    "a view of migrations": "CREATE VIEW _sqlite_migrations AS SELECT 1 AS name",
    "a broken view": "CREATE VIEW openai_batch_jobs AS SELECT * FROM gone",
}


@pytest.mark.parametrize("kind", THEIRS)
def test_what_the_person_has_under_our_names(
    run: Any, notes: Path, unchanged: Any, kind: str
) -> None:
    # Not a name by which the jobs in it are looked at after the test: there are none.
    notes = notes.rename("data.sqlite")
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute(THEIRS[kind])
    check = unchanged(notes)
    for command in (
        ("run", notes, "notes", *ASK, *run.there),
        ("prepare", notes, "notes", *ASK, *run.there[:2]),
        ("preview", notes, "notes", *ASK, *run.there[:2]),
        ("try", notes, "notes", *ASK, *run.there[:3]),
        ("jobs", notes),
        ("show", notes),
        ("sync", notes),
        ("submit", notes, "-y"),
        ("results", notes),
    ):
        said = run(*command, code=1)
        assert said.err.startswith("Error: ") and said.err.count("\n") == 1, said.err
        assert "isn't this program's" in said.err and "Give it another name" in said.err
    check()


def test_a_set_of_migrations_without_a_note(run: Any, notes: Path) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("DROP TABLE _sqlite_migrations")
    said = run("prepare", notes, "notes", *ASK, *run.there[:2], "--output", "x", code=1)
    assert "_sqlite_migrations says nothing of them" in said.err


@pytest.mark.parametrize(
    "options",
    [
        ("--where", "length(randomblob(2000000000)) > 0"),
        ("--where", "zeroblob(2000000000) = text"),
        ("--order", "zeroblob(2000000000)"),
        ("--where", "abs(-9223372036854775808) > 0"),
        ("--where", "json_extract(text, '$') = 1"),
        ("--sql", "SELECT id, zeroblob(2000000000) AS text FROM notes", "--pk", "id"),
    ],
)
def test_a_value_that_is_too_large(run: Any, notes: Path, options: tuple[str, ...]) -> None:
    table = () if options[0] == "--sql" else ("notes",)
    said = run("preview", notes, *table, *ASK, *run.there[:2], *options, code=1)
    assert said.err.startswith("Error: ") and said.err.count("\n") == 1, said.err


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.DataError("string or blob too big"),
        sqlite3.IntegrityError("datatype mismatch"),
        sqlite3.InternalError("unknown error"),
        sqlite3.InterfaceError("bad parameter or other API misuse"),
        sqlite3.NotSupportedError("not an error"),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
        sqlite3.OperationalError(""),
        sqlite3.Warning("You can only execute one statement at a time."),
        sqlite3.DatabaseError("database disk image is malformed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_sqlite_is_a_sentence(
    run: Any, notes: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("sqlite_utils_openai_batch.store.check_version", fail)
    result = CliRunner().invoke(cli, ["openai-batch", "jobs", str(notes)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
