"""Where answers go: which table, which columns, and what may not be written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base import errors
from sqlite_utils_openai_batch.tables.columns import OutputColumn
from sqlite_utils_openai_batch.tables.output import Output, check_output, plan_output
from sqlite_utils_openai_batch.tables.source import Source, open_source

ASK = ("--prompt", "{{ text }}")
TABLES = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, empty TEXT, some TEXT);
INSERT INTO notes VALUES (1, 'one', NULL, NULL), (2, 'two', NULL, 'x'), (3, 'three', NULL, NULL);
CREATE VIEW shown AS SELECT * FROM notes;
CREATE TABLE answers (id INTEGER PRIMARY KEY, other TEXT);
"""


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.executescript(TABLES)
        yield opened


@pytest.fixture
def notes(conn: sqlite3.Connection) -> Iterator[Source]:
    with open_source(conn, "notes") as source:
        yield source


def test_one_text_column_by_default(notes: Source) -> None:
    assert plan_output(notes, None) == Output(None, (OutputColumn("answer", "TEXT"),))
    assert plan_output(notes, None, output="kind", prefix="x_").names == ("x_kind",)
    assert plan_output(notes, None, answer_type="BLOB").columns[0].type == "BLOB"


def test_a_column_for_each_property(notes: Source) -> None:
    schema = AnswerSchema.parse("mood good|bad, score 0..1, n int, sure bool, tags list")
    planned = plan_output(notes, schema, prefix="x ")
    assert planned.columns == (
        OutputColumn("x mood", "TEXT", "mood"),
        OutputColumn("x score", "REAL", "score"),
        OutputColumn("x n", "INTEGER", "n"),
        OutputColumn("x sure", "INTEGER", "sure"),
        OutputColumn("x tags", "TEXT", "tags"),
    )


def test_a_view_or_query_gets_a_table(conn: sqlite3.Connection) -> None:
    with open_source(conn, "shown", pk=["id"]) as view:
        assert plan_output(view, None).table == "shown_answers"
        assert plan_output(view, None, output_table="said").table == "said"
    with open_source(conn, sql="SELECT * FROM notes", pk=["id"]) as query:
        assert plan_output(query, None).table == "answers"


@pytest.mark.parametrize("name", ["notes", "NOTES", "Notes"])
def test_the_source_itself_is_no_other_table(name: str, notes: Source) -> None:
    assert plan_output(notes, None, output_table=name).table is None


def test_it_is_stored_whole(notes: Source) -> None:
    schema = AnswerSchema.parse("mood good|bad, Überschrift")
    planned = plan_output(notes, schema, prefix="é", replace=True, write=False)
    assert Output.from_json(planned.to_json()) == planned


def test_what_may_be_written(conn: sqlite3.Connection, notes: Source) -> None:
    for fine in (
        plan_output(notes, None),
        plan_output(notes, None, output="empty"),
        plan_output(notes, None, output="EMPTY"),
        plan_output(notes, None, output="some", replace=True),
        plan_output(notes, None, output="some", write=False),
        plan_output(notes, None, output_table="new"),
        plan_output(notes, None, output_table="answers"),
    ):
        check_output(conn, notes, fine)


def test_only_the_rows_that_are_asked_count(conn: sqlite3.Connection) -> None:
    for where, fine in (("id <> 2", True), ("id = 2", False)):
        with open_source(conn, "notes", where=where) as source:
            planned = plan_output(source, None, output="some")
            if fine:
                check_output(conn, source, planned)
            else:
                with pytest.raises(errors.OutputError):
                    check_output(conn, source, planned)


def test_names_that_differ_in_case_only(conn: sqlite3.Connection, notes: Source) -> None:
    planned = Output(None, (OutputColumn("Mood", "TEXT"), OutputColumn("mood", "TEXT")))
    with pytest.raises(errors.OutputError) as caught:
        check_output(conn, notes, planned)
    assert str(caught.value) == "Two answer columns would be called 'Mood'."


# In a database


def test_only_output_columns_are_added(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT NOT NULL DEFAULT 'x' COLLATE NOCASE,"
        " CHECK (length(text) < 99));"
        "CREATE INDEX by_text ON t (text);"
        "CREATE TRIGGER watch AFTER INSERT ON t BEGIN SELECT 1; END;"
        "INSERT INTO t VALUES (1, 'one'), (2, 'two');"
    )
    before = rows(db, "SELECT type, name, sql FROM sqlite_master ORDER BY name")
    untouched = rows(db, "SELECT id, text FROM t")

    run("run", db, "t", *ASK, *run.there, "--output", "kind")

    after = rows(db, "SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 't' ORDER BY name")
    assert [row for row in after if row[1] != "t"] == [row for row in before if row[1] != "t"]
    (table,) = [sql for _, name, sql in after if name == "t"]
    (old,) = [sql for _, name, sql in before if name == "t"]
    assert table.replace(', "kind" TEXT', "") == old
    assert rows(db, "SELECT id, text FROM t") == untouched
    assert rows(db, "SELECT created_columns FROM openai_batch_jobs") == [('["kind"]',)]


def test_an_empty_column_that_is_there_is_used(run: Any, database: Any, rows: Any) -> None:
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, Kind VARCHAR(9));"
                  "INSERT INTO t (text) VALUES ('one');")  # fmt: skip
    run("run", db, "t", *ASK, *run.there, "--output", "kind")
    assert [name for (name,) in rows(db, "SELECT name FROM pragma_table_info('t')")] == [
        "id", "text", "Kind",
    ]  # fmt: skip
    assert rows(db, "SELECT count(Kind) FROM t") == [(1,)]
    assert rows(db, "SELECT created_columns FROM openai_batch_jobs") in ([("[]",)], [(None,)])


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("CREATE TABLE t (text TEXT)", '"source_rowid" INTEGER'),
        ("CREATE TABLE t (code VARCHAR(20) PRIMARY KEY, text TEXT)", '"code" TEXT'),
        ("CREATE TABLE t (at TIMESTAMP PRIMARY KEY, text TEXT)", '"at"'),
        ("CREATE TABLE t (n BIGINT PRIMARY KEY, text TEXT)", '"n" INT'),
    ],
)
def test_an_output_table_has_the_key_of_its_source(
    table: str, key: str, run: Any, database: Any, rows: Any
) -> None:
    db = database(f"{table}; INSERT INTO t (rowid, text) VALUES (7, 'one'); UPDATE t SET text = 1;")
    if "code" in table or "at" in table or "n B" in table:
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("UPDATE t SET rowid = rowid")
            column = conn.execute("SELECT name FROM pragma_table_info('t')").fetchone()[0]
            conn.execute(f"UPDATE t SET {column} = 5")
            conn.commit()
    run("run", db, "t", *ASK, *run.there, "--output-table", "said")
    ((sql,),) = rows(db, "SELECT sql FROM sqlite_master WHERE name = 'said'")
    assert f"\n    {key},\n" in sql
    assert rows(db, "SELECT count(answer) FROM said") == [(1,)]


def test_an_output_table_takes_every_key_of_its_source(run: Any, database: Any, rows: Any) -> None:
    """A primary key declared INT may be text; one declared INTEGER is the rowid, and can't."""
    db = database(
        "CREATE TABLE t (k INT PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES ('a', 'one'), (2, 'two'), (2.5, 'three'), (x'00', 'four');"
    )
    run("run", db, "t", *ASK, *run.there, "--output-table", "said")
    assert rows(db, "SELECT count(*) FROM t JOIN said USING (k) WHERE answer LIKE '%' || text") == [
        (4,)
    ]


def test_two_jobs_fill_one_output_table(run: Any, database: Any, rows: Any) -> None:
    db: Path = database(TABLES)
    there = (*run.there, "--output-table", "answers")
    run("run", db, "notes", *ASK, *there, "--output", "a", "--where", "id < 3")
    run("run", db, "notes", *ASK, *there, "--output", "b")
    assert rows(db, "SELECT id, other, a IS NULL, b IS NULL FROM answers") == [
        (1, None, 0, 0), (2, None, 0, 0), (3, None, 1, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("prompt", ["{{ text }}", "{{ lang }}: {{ text }}"])
def test_rows_without_a_key_keep_what_tells_them_apart(
    prompt: str, run: Any, database: Any, rows: Any
) -> None:
    """VACUUM moved rows to other numbers, and each got the answer of another."""
    db = database(
        "CREATE TABLE t (text TEXT, lang TEXT); INSERT INTO t VALUES ('one', 'en'), ('two', 'en');"
        "CREATE TABLE keyed (id INTEGER PRIMARY KEY, text TEXT, lang TEXT);"
        "INSERT INTO keyed SELECT rowid, * FROM t;"
    )
    for command in ("preview", "prepare"):
        said = run(command, db, "t", "--prompt", prompt, "--output", "Text", "--replace",
                   *run.there[:2], code=1)  # fmt: skip
        assert said.err.endswith(
            "t has no primary key, and the prompt reads text, which the answers replace: if VACUUM "
            "renumbers its rows, nobody can tell them apart any more. Write the answers elsewhere "
            "with --output, --prefix or --output-table, or give it a key with sqlite-utils "
            "transform and --pk.\n"
        )
    run("run", db, "t", "--prompt", prompt, *run.there)
    assert all(answer.endswith(text) for text, answer in rows(db, "SELECT text, answer FROM t"))
    run("run", db, "keyed", "--prompt", prompt, "--output", "text", "--replace", *run.there)
    found = rows(db, "SELECT text FROM keyed ORDER BY id")
    assert [text.rpartition(" ")[2] for (text,) in found] == ["one", "two"]
