"""Triggers and CHECKs of the user's table: what was written is known, what was refused is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, statuses

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.apply import Wish, apply
from sqlite_utils_openai_batch.jobs.revert import revert

Open = Callable[[str], sqlite3.Connection]


@pytest.fixture
def open_db(database: Any, tmp_path: Path) -> Any:
    """Make a database and open it."""
    opened: list[sqlite3.Connection] = []

    def make(script: str) -> sqlite3.Connection:
        conn = sqlite3.connect(tmp_path / database(script), isolation_level=None)
        opened.append(conn)
        return conn

    yield make
    for conn in opened:
        with closing(conn):
            assert conn.execute("SELECT * FROM sqlite_temp_master").fetchall() == []


ROWS = "INSERT INTO t VALUES {};"
MOVED = {
    "a number": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL);"
        "CREATE TRIGGER m AFTER UPDATE OF answer ON t WHEN NEW.answer IS NOT NULL BEGIN"
        " UPDATE t SET id = id + 1000 WHERE id = NEW.id; END;",
        [1, 2, 3],
        [1001, 1002, 1003],
    ),
    "a code": (
        "CREATE TABLE t (code TEXT PRIMARY KEY, text TEXT, answer TEXT);"
        "INSERT INTO t VALUES ('a', 'a', NULL), ('b', 'b', NULL), ('C', 'c', NULL);"
        "CREATE TRIGGER m AFTER UPDATE ON t BEGIN"
        " UPDATE t SET code = upper(code) WHERE rowid = NEW.rowid; END;",
        ["a", "b", "C"],
        ["A", "B", "C"],
    ),
    "two columns": (
        "CREATE TABLE t (id INTEGER, version INTEGER, text TEXT, answer TEXT,"
        " PRIMARY KEY (id, version)) WITHOUT ROWID;"
        "INSERT INTO t VALUES (1, 1, 'a', NULL), (2, 1, 'b', NULL), (3, 7, 'c', NULL);"
        "CREATE TRIGGER m AFTER UPDATE OF answer ON t WHEN NEW.answer IS NOT NULL BEGIN"
        " UPDATE t SET version = version + 1 WHERE id = NEW.id AND version = NEW.version; END;",
        ["[1,1]", "[2,1]", "[3,7]"],
        ["[1,2]", "[2,2]", "[3,8]"],
    ),
    "one after the other": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL);"
        "CREATE TRIGGER m AFTER UPDATE OF answer ON t WHEN NEW.answer IS NOT NULL BEGIN"
        " UPDATE t SET id = id - 1 WHERE id = NEW.id; END;",
        [1, 2, 3],
        [0, 1, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", MOVED)
def test_a_row_whose_key_changes_is_written_and_known(
    open_db: Open, tmp_path: Path, way: str
) -> None:
    script, before, after = MOVED[way]
    conn = open_db(script)
    job = answered(conn, tmp_path, "t", {key: f"is {key}" for key in before})
    assert statuses(conn, job) == dict.fromkeys(after, ("ok", "written"))
    texts = conn.execute("SELECT text, answer FROM t ORDER BY text").fetchall()
    said = [f"is {key}" for key in before]
    assert texts == list(zip("abc", said, strict=True))
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.gone, reverted.edited) == (3, 0, 0)
    assert conn.execute("SELECT count(answer) FROM t").fetchone() == (0,)
    applied = apply(conn, store.get_job(conn, job.id), Wish())
    assert applied.written.written == 3
    assert conn.execute("SELECT text, answer FROM t ORDER BY text").fetchall() == texts


REFUSED = {
    "a CHECK": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT CHECK (answer <> 'no'));",
        "CHECK constraint failed: answer <> 'no'",
    ),
    "a trigger that raises": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "CREATE TRIGGER r BEFORE UPDATE OF answer ON t WHEN NEW.answer = 'no' BEGIN"
        " SELECT RAISE(ABORT, 'not that word'); END;",
        "not that word",
    ),
    "a trigger that ignores": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "CREATE TRIGGER quiet BEFORE UPDATE ON t WHEN NEW.answer = 'no' BEGIN"
        " SELECT RAISE(IGNORE); END;",
        "the trigger quiet kept it out",
    ),
    "a trigger that empties": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "CREATE TRIGGER clean AFTER UPDATE OF answer ON t WHEN NEW.answer = 'no' BEGIN"
        " UPDATE t SET answer = NULL WHERE id = NEW.id; END;",
        "the trigger clean kept it out",
    ),
    "a NOT NULL of another table": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "CREATE TABLE log (what TEXT NOT NULL);"
        "CREATE TRIGGER logs AFTER UPDATE OF answer ON t BEGIN"
        " INSERT INTO log VALUES (nullif(NEW.answer, 'no')); END;",
        "NOT NULL constraint failed: log.what",
    ),
}
FILL = "INSERT INTO t (id, text) VALUES (1, 'one'), (2, 'say no'), (3, 'three');"


@pytest.mark.parametrize("way", REFUSED)
def test_what_the_table_refuses_is_said_in_its_words(
    open_db: Open, tmp_path: Path, way: str
) -> None:
    script, words = REFUSED[way]
    conn = open_db(script + FILL)
    job = answered(conn, tmp_path, "t", {1: "yes", 2: "no", 3: "yes"})
    assert statuses(conn, job)[2] == ("ok", "kept_existing")
    assert conn.execute("SELECT answer FROM t").fetchall() == [("yes",), (None,), ("yes",)]
    applied = apply(conn, job, Wish(replace=True))
    assert dict(applied.written.refused) == {words: 1}
    assert (applied.written.kept_existing, applied.written.total) == (0, 1)
    reverted = revert(conn, store.get_job(conn, job.id))
    assert reverted.restored + reverted.refused.total() == 2


def test_the_screens_say_it(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT,"
        " answer TEXT CHECK (answer NOT LIKE '%say no'));" + FILL
    )
    words = "(CHECK constraint failed: answer NOT LIKE '%say no')"
    said = run("run", path, "t", "--prompt", "{{ text }}", *run.there)
    assert f"1 row refused by the database {words}: the answer is kept in the job." in said.err
    assert "held a value" not in said.err
    again = run("apply", path, "1")
    assert f"1 row refused by the database {words}" in again.err
    report = run("report", path)
    assert (
        "- Not written, because a rule of the table (CHECK, trigger) kept it out: 1" in report.out
    )


def test_what_a_revert_is_refused_is_said(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer TEXT);"
        "CREATE TRIGGER keep BEFORE UPDATE OF answer ON t WHEN OLD.answer = 'for ever' BEGIN"
        " SELECT RAISE(ABORT, 'it stays'); END;" + FILL
    )
    job = answered(conn, tmp_path, "t", {1: "x", 2: "for ever", 3: "z"})
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.edited) == (2, 0)
    assert dict(reverted.refused) == {"it stays": 1}
    assert statuses(conn, job)[2] == ("ok", "written")
