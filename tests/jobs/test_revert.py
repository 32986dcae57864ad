"""`revert`: what a job wrote is taken back, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, sent, statuses, user_dump
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import JobError
from sqlite_utils_openai_batch.jobs.revert import revert
from sqlite_utils_openai_batch.store.leases import job_leased

Open = Callable[[str], sqlite3.Connection]

RICH = """
CREATE TABLE films (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    length INTEGER GENERATED ALWAYS AS (length(text)) STORED,
    note TEXT
) STRICT;
CREATE VIRTUAL TABLE films_fts USING fts5(text, note, content='films', content_rowid='id');
CREATE TRIGGER films_ai AFTER INSERT ON films BEGIN
    INSERT INTO films_fts (rowid, text, note) VALUES (new.id, new.text, new.note);
END;
CREATE TRIGGER films_au AFTER UPDATE ON films BEGIN
    INSERT INTO films_fts (films_fts, rowid, text, note)
        VALUES ('delete', old.id, old.text, old.note);
    INSERT INTO films_fts (rowid, text, note) VALUES (new.id, new.text, new.note);
END;
CREATE TABLE log (id INTEGER PRIMARY KEY, film INTEGER REFERENCES films(id));
CREATE INDEX films_note ON films (note);
INSERT INTO films (id, text, note) VALUES
    (1, 'one', 'x'), (2, 'two', NULL), (3, 'three "quoted"', ''), (4, 'four', 'y');
INSERT INTO log VALUES (1, 1), (2, 3);
"""
ANSWERS = {
    1: {"mood": "good", "score": 1, "tags": ["a", "b"]},
    2: {"mood": "bad", "score": 0.25, "tags": []},
    4: {"mood": "good", "score": 0.5, "tags": ["\u2028"]},
}
SCHEMA = "mood good|bad, score 0..1, tags list"


def full_text_is_right(conn: sqlite3.Connection) -> None:
    """Have SQLite compare a full-text index with its table."""
    conn.execute("INSERT INTO films_fts (films_fts, rank) VALUES ('integrity-check', 1)")


def test_a_rich_table_is_as_before(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(RICH)
    before = user_dump(conn)
    job = answered(conn, tmp_path, "films", ANSWERS, schema=SCHEMA)
    assert conn.execute("SELECT id, mood, score, tags FROM films ORDER BY id").fetchall() == [
        (1, "good", 1.0, '["a","b"]'),
        (2, "bad", 0.25, "[]"),
        (3, None, None, None),
        (4, "good", 0.5, '["\u2028"]'),
    ]
    full_text_is_right(conn)
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.edited) == (3, 0)
    assert reverted.dropped == ["mood", "score", "tags"]
    assert user_dump(conn) == before
    full_text_is_right(conn)
    assert statuses(conn, job)[1] == ("ok", None)


def test_edited_cells_stay(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(RICH)
    job = answered(conn, tmp_path, "films", ANSWERS, schema=SCHEMA)
    conn.execute("UPDATE films SET mood = 'fine' WHERE id = 1")
    conn.execute("UPDATE films SET score = 0.5 WHERE id = 3")
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.edited) == (3, 1)
    assert reverted.dropped == ["tags"]
    why = "it holds values that the job didn't write"
    assert reverted.kept == {"mood": why, "score": why}
    assert conn.execute("SELECT id, mood, score FROM films ORDER BY id").fetchall() == [
        (1, "fine", None),
        (2, None, None),
        (3, None, 0.5),
        (4, None, None),
    ]
    full_text_is_right(conn)


def test_again_changes_nothing(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(RICH)
    job = answered(conn, tmp_path, "films", ANSWERS, schema=SCHEMA)
    conn.execute("UPDATE films SET mood = 'fine' WHERE id = 1")
    revert(conn, job)
    before = user_dump(conn)
    assert revert(conn, store.get_job(conn, job.id)).restored == 0
    assert user_dump(conn) == before


def test_what_was_replaced_comes_back(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer);"
        "INSERT INTO t VALUES (1, 'a', 'old'), (2, 'b', NULL), (3, 'c', x'00ff'), (4, 'd', 7),"
        " (5, 'e', 1.5), (6, 'f', ''), (7, 'g', 9223372036854775807), (8, 'h', 9e999);"
    )
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {n: f"new {n}" for n in range(1, 9)}, replace=True)
    assert conn.execute("SELECT answer FROM t WHERE id = 3").fetchone() == ("new 3",)
    conn.execute("UPDATE t SET answer = 'mine' WHERE id = 2")
    revert(conn, job)
    conn.execute("UPDATE t SET answer = NULL WHERE id = 2")
    assert user_dump(conn) == before


BROKEN = b"caf\xe9 \xff\x00 \xef\xbf\xbd"


@pytest.mark.parametrize("way", ["one key", "two keys", "beside", "with a trigger"])
def test_text_that_is_not_utf_8_comes_back_byte_by_byte(
    way: str, open_db: Open, tmp_path: Path
) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER, two TEXT, text TEXT, answer TEXT, PRIMARY KEY (id"
        + (", two));" if way == "two keys" else "));")
        + "CREATE TABLE beside (id INTEGER PRIMARY KEY, answer TEXT);"
        + "INSERT INTO t VALUES (1, 'x', 'a', NULL), (2, 'x', 'b', '\ufffd'), (3, 'x', 'c', NULL);"
        + "INSERT INTO beside VALUES (1, NULL), (2, '\ufffd'), (3, NULL);"
    )
    table = "beside" if way == "beside" else "t"
    conn.execute(f"UPDATE {table} SET answer = CAST(? AS TEXT) WHERE id = 1", [BROKEN])
    if way == "with a trigger":
        conn.execute(
            "CREATE TRIGGER keeps AFTER UPDATE ON t WHEN old.id = 2 AND new.answer = 'new' BEGIN "
            "UPDATE t SET answer = old.answer WHERE id = 2; END"
        )
    raw = f"SELECT id, typeof(answer), CAST(answer AS BLOB) FROM {table} ORDER BY id"
    before = conn.execute(raw).fetchall()
    where = {"output_table": "beside"} if way == "beside" else {}
    keys = [f'[{n},"x"]' if way == "two keys" else n for n in (1, 2, 3)]
    job = answered(conn, tmp_path, "t", dict.fromkeys(keys, "new"), replace=True, **where)
    assert conn.execute(f"SELECT answer FROM {table} WHERE id = 1").fetchone() == ("new",)
    revert(conn, job)
    assert conn.execute(raw).fetchall() == before


def test_an_edit_that_is_not_utf_8_stays_byte_by_byte(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a')"
    )
    job = answered(conn, tmp_path, "t", {1: {"mood": "good", "why": "x"}}, schema="mood, why")
    conn.execute("UPDATE t SET why = CAST(? AS TEXT)", [BROKEN])
    revert(conn, job)
    found = conn.execute("SELECT typeof(why), CAST(why AS BLOB) FROM t").fetchone()
    assert found == ("text", BROKEN)


def test_the_table_may_change_what_it_is_given(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer INTEGER, other TEXT);"
        "CREATE TRIGGER tidy AFTER UPDATE OF other ON t WHEN new.other <> trim(new.other) BEGIN"
        " UPDATE t SET other = trim(new.other) WHERE id = new.id; END;"
        "INSERT INTO t (text) VALUES ('a'), ('b'), ('c');"
    )
    before = user_dump(conn)
    first = answered(conn, tmp_path, "t", {1: "7", 2: "x", 3: "8"})
    assert conn.execute("SELECT answer FROM t").fetchall() == [(7,), ("x",), (8,)]
    second = answered(conn, tmp_path, "t", {1: " a ", 2: "b", 3: " c"}, output="other")
    assert conn.execute("SELECT other FROM t").fetchall() == [("a",), ("b",), ("c",)]
    assert revert(conn, second).edited == 0
    assert revert(conn, first).edited == 0
    assert user_dump(conn) == before


def test_a_row_that_the_table_refuses_is_left_alone(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer CHECK (answer <> 'bad'));"
        "CREATE TABLE audit (id);"
        "CREATE TRIGGER watch AFTER UPDATE ON t BEGIN"
        " SELECT RAISE(ABORT, 'not 3') WHERE new.id = 3; INSERT INTO audit VALUES (new.id); END;"
        "INSERT INTO t (text) VALUES ('a'), ('b'), ('c'), ('d');"
    )
    job = answered(conn, tmp_path, "t", {1: "fine", 2: "bad", 3: "fine", 4: "fine"})
    assert statuses(conn, job) == {
        1: ("ok", "written"),
        2: ("ok", "kept_existing"),
        3: ("ok", "kept_existing"),
        4: ("ok", "written"),
    }
    assert conn.execute("SELECT answer FROM t").fetchall() == [
        ("fine",),
        (None,),
        (None,),
        ("fine",),
    ]
    # Each row was written once, also those beside the ones that were refused.
    assert conn.execute("SELECT id FROM audit").fetchall() == [(1,), (4,)]
    details = [row["detail"] for row in store.log_lines(conn, job.id) if row["event"] == "refused"]
    assert len(details) == 1
    assert '"rows": 2' in details[0]
    assert revert(conn, job).restored == 2
    assert conn.execute("SELECT count(answer) FROM t").fetchone() == (0,)


@pytest.mark.parametrize(
    ("blocker", "words"),
    [
        ("CREATE INDEX mine ON t (answer)", "mine"),
        ("CREATE VIEW mine AS SELECT answer FROM t", "mine"),
        ("CREATE TRIGGER mine AFTER INSERT ON t BEGIN SELECT new.answer; END", "mine"),
        ("CREATE VIEW broken AS SELECT * FROM nowhere", "nowhere"),
    ],
)
def test_where_sqlite_will_not_drop_the_column_it_is_emptied(
    blocker: str, words: str, open_db: Open, tmp_path: Path
) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    job = answered(conn, tmp_path, "t", {1: "x"})
    conn.execute(blocker)
    reverted = revert(conn, job)
    assert reverted.dropped == []
    assert words in reverted.kept["answer"]
    assert conn.execute("SELECT answer FROM t").fetchall() == [(None,)]
    conn.execute(f"DROP {blocker.split()[1]} {blocker.split()[2]}")
    assert revert(conn, store.get_job(conn, job.id)).dropped == ["answer"]


def test_a_broken_view_is_no_hindrance_to_writing(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
        "CREATE VIEW broken AS SELECT * FROM nowhere;"
    )
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {1: "x"})
    assert conn.execute("SELECT answer FROM t").fetchall() == [("x",)]
    assert user_dump(conn)[1]["broken"] == before[1]["broken"]
    assert "nowhere" in revert(conn, job).kept["answer"]


def test_a_column_that_was_there_is_not_dropped(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, Answer TEXT);"
        "INSERT INTO t VALUES (1, 'a', NULL);"
    )
    before = user_dump(conn)
    assert revert(conn, answered(conn, tmp_path, "t", {1: "x"})).dropped == []
    assert user_dump(conn) == before


def test_an_output_table_that_the_job_made_goes(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (a TEXT, b INTEGER, text TEXT, PRIMARY KEY (a, b));"
        "INSERT INTO t VALUES ('x', 1, 'one'), ('x', 2, 'two');"
    )
    before = user_dump(conn)
    answers = {'["x",1]': "1", '["x",2]': "2"}
    job = answered(conn, tmp_path, "t", answers, output_table="said")
    assert conn.execute("SELECT * FROM said").fetchall() == [("x", 1, "1"), ("x", 2, "2")]
    assert conn.execute('SELECT "table", "from", "to" FROM pragma_foreign_key_list(?)', ["said"])
    assert [row[2:5] for row in conn.execute("PRAGMA foreign_key_list(said)")] == [
        ("t", "a", "a"),
        ("t", "b", "b"),
    ]
    assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
    assert revert(conn, job).table_dropped
    assert user_dump(conn) == before


def test_an_output_table_that_somebody_uses_stays(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');"
    )
    job = answered(conn, tmp_path, "t", {1: "x", 2: "y", 3: "z"}, output_table="said")
    conn.execute("ALTER TABLE said ADD COLUMN mine TEXT")
    conn.execute("UPDATE said SET mine = 'note' WHERE id = 1")
    conn.execute("UPDATE said SET answer = 'Y' WHERE id = 2")
    reverted = revert(conn, job)
    assert not reverted.table_dropped
    assert conn.execute("SELECT * FROM said").fetchall() == [(1, None, "note"), (2, "Y", None)]


def test_an_output_table_that_was_there_gets_its_rows_back(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE said (n INTEGER, id INTEGER UNIQUE, answer TEXT);"
        "INSERT INTO said VALUES (7, 2, NULL), (8, 9, 'other');"
    )
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {1: "x", 2: "y"}, output_table="said")
    assert conn.execute("SELECT * FROM said ORDER BY id").fetchall() == [
        (None, 1, "x"),
        (7, 2, "y"),
        (8, 9, "other"),
    ]
    revert(conn, job)
    assert user_dump(conn) == before


def test_a_row_number_that_names_another_row_is_left_alone(open_db: Open, tmp_path: Path) -> None:
    conn = open_db("CREATE TABLE t (text TEXT); INSERT INTO t VALUES ('a'), ('b'), ('c');")
    job = answered(conn, tmp_path, "t", {1: "same", 2: "same", 3: "same"})
    conn.execute("DELETE FROM t WHERE text = 'a'")
    conn.execute("VACUUM")
    assert conn.execute("SELECT rowid, text FROM t").fetchall() == [(1, "b"), (2, "c")]
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.edited, reverted.gone) == (0, 2, 1)
    assert conn.execute("SELECT text, answer FROM t").fetchall() == [("b", "same"), ("c", "same")]


def test_of_two_jobs_over_one_column_the_later_is_undone_first(
    open_db: Open, tmp_path: Path
) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    before = user_dump(conn)
    first = answered(conn, tmp_path, "t", {1: "one"})
    second = answered(conn, tmp_path, "t", {1: "two"}, replace=True)
    reverted = revert(conn, first)
    assert (reverted.restored, reverted.edited) == (0, 1)
    assert conn.execute("SELECT answer FROM t").fetchall() == [("two",)]
    revert(conn, second)
    assert conn.execute("SELECT answer FROM t").fetchall() == [("one",)]
    revert(conn, store.get_job(conn, first.id))
    assert user_dump(conn) == before


def test_what_is_gone_is_no_trouble(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b');"
    )
    job = answered(
        conn, tmp_path, "t", {1: {"a": "x", "b": "y"}, 2: {"a": "x", "b": "y"}}, schema="a, b"
    )
    conn.execute("ALTER TABLE t DROP COLUMN b")
    conn.execute("DELETE FROM t WHERE id = 2")
    reverted = revert(conn, job)
    assert (reverted.restored, reverted.gone, reverted.dropped) == (1, 1, ["a"])
    conn.execute("DROP TABLE t")
    assert revert(conn, store.get_job(conn, job.id)).restored == 0


def test_not_while_answers_may_come(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'a'), (2, 'b');"
    )
    job = sent(conn, "t", part_requests=1)
    with pytest.raises(JobError) as caught:
        revert(conn, job)
    assert str(caught.value) == (
        "Job 1 isn't finished (running): its next answers would be written as before. "
        "Wait for it with watch, or stop it with cancel."
    )


def test_one_process_at_a_time(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    job = answered(conn, tmp_path, "t", {1: "x"})
    program = (
        "import sys; from sqlite_utils_openai_batch.store.connection import connect;"
        "from sqlite_utils_openai_batch.store.leases import job_leased\n"
        "conn = connect('data.db')\n"
        "with job_leased(conn, 1) as mine:\n"
        "    print(mine, flush=True); sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with pytest.raises(JobError, match="Another process works on job 1 right now"):
            revert(conn, job)
        other.stdin.write("\n")
    assert conn.execute("SELECT answer FROM t").fetchall() == [("x",)]
    # A process that was killed holds nothing any more.
    conn.execute("UPDATE openai_batch_jobs SET lease_owner = NULL")
    with job_leased(conn, job.id) as mine:
        assert mine
    assert revert(conn, job).restored == 1


class Cut(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.mark.parametrize("at", range(1, 5))
def test_cut_in_the_middle_and_run_again(at: int, open_db: Open, tmp_path: Path) -> None:
    rows = 2_500
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE audit (id);"
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
        " INSERT INTO t SELECT i, 'row ' || i FROM n;"
    )
    job = answered(conn, tmp_path, "t", {n: f"answer {n}" for n in range(1, rows + 1)})
    conn.execute(
        "CREATE TRIGGER watch AFTER UPDATE ON t BEGIN INSERT INTO audit VALUES (new.id); END"
    )
    left = at

    def cut(statement: str) -> None:
        nonlocal left
        if statement == "COMMIT":
            left -= 1
            if left == 0:
                raise Cut

    victim = Tracing(tmp_path / "data.db", cut)
    try:
        revert(victim, job)  # type: ignore[arg-type]
    except Cut:
        pass
    finally:
        victim.close()
    revert(conn, store.get_job(conn, job.id))
    assert conn.execute("SELECT count(*) FROM pragma_table_info('t')").fetchone() == (2,)
    assert conn.execute("SELECT count(*), count(DISTINCT id) FROM audit").fetchone() == (rows, rows)


class Tracing(sqlite3.Connection):
    """A connection that tells each statement before it runs."""

    def __init__(self, path: Path, told: Callable[[str], None]) -> None:
        super().__init__(path, isolation_level=None)
        self.told = told

    def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self.told(sql)
        return super().execute(sql, *params)


CELL = st.one_of(
    st.none(), st.text(max_size=5), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False),
    st.binary(max_size=5),
)  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_stood_there_and_whatever_was_edited(data: st.DataObject, tmp_path: Path) -> None:
    cells = data.draw(st.lists(CELL, min_size=1, max_size=6))
    answers = data.draw(
        st.lists(st.text(min_size=1).filter(str.strip), min_size=len(cells), max_size=len(cells))
    )
    edits = data.draw(st.dictionaries(st.integers(1, len(cells)), CELL))
    kind = data.draw(st.sampled_from(["", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB"]))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, answer {kind})")
        conn.executemany("INSERT INTO t VALUES (?, 'x', ?)", enumerate(cells, 1))
        expected = dict(conn.execute("SELECT id, answer FROM t").fetchall())
        job = answered(conn, tmp_path, "t", dict(enumerate(answers, 1)), replace=True)
        written = dict(conn.execute("SELECT id, answer FROM t").fetchall())
        for n, cell in edits.items():
            conn.execute("UPDATE t SET answer = ? WHERE id = ?", [cell, n])
        for n, now in conn.execute("SELECT id, answer FROM t").fetchall():
            if repr(now) != repr(written[n]):
                expected[n] = now
        revert(conn, job)
        found = dict(conn.execute("SELECT id, answer FROM t").fetchall())
        assert {n: repr(cell) for n, cell in found.items()} == {
            n: repr(cell) for n, cell in expected.items()
        }
