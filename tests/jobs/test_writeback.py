"""Answers into columns: what may be written, where, and what is left alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, chat_line, custom_id, request_ids, sent, statuses, take, user_dump
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OutputError
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.conflicts import check_free
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.revert import revert
from sqlite_utils_openai_batch.tables.hashing import source_hash
from sqlite_utils_openai_batch.tables.sql import quote
from sqlite_utils_openai_batch.tables.undo import recall, remember, still_written

Open = Callable[[str], sqlite3.Connection]


T = "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, own TEXT);"
ROWS = "INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL), (4, 'd', NULL);"


def answer_all(conn: sqlite3.Connection, job: store.Job, folder: Path) -> None:
    """Answer each request by its row's key."""
    ids = request_ids(conn, job)
    take(conn, job, folder, [chat_line(custom_id(job, ids[n]), f"new {n}") for n in reversed(ids)])


# What becomes of each answer


def test_each_write_status(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    job = sent(conn, "t", output="own")
    conn.execute("UPDATE t SET text = 'other' WHERE id = 1")
    conn.execute("UPDATE t SET own = 'mine' WHERE id = 2")
    conn.execute("DELETE FROM t WHERE id = 3")
    answer_all(conn, job, tmp_path)
    assert statuses(conn, job) == {
        1: ("ok", "stale"),
        2: ("ok", "kept_existing"),
        3: ("ok", "row_gone"),
        4: ("ok", "written"),
    }
    assert conn.execute("SELECT * FROM t").fetchall() == [
        (1, "other", None),
        (2, "b", "mine"),
        (4, "d", "new 4"),
    ]
    remembered = conn.execute("SELECT previous FROM openai_batch_requests ORDER BY id").fetchall()
    wrote = source_hash(["new 4"]).hex()
    assert remembered == [(None,), (None,), (None,), (f'{{"wrote": "{wrote}"}}',)]


def test_a_change_of_type_alone_is_a_change(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text); INSERT INTO t VALUES (1, 1), (2, 2);"
    )
    job = sent(conn, "t")
    conn.execute("UPDATE t SET text = '1' WHERE id = 1")
    answer_all(conn, job, tmp_path)
    assert statuses(conn, job) == {1: ("ok", "stale"), 2: ("ok", "written")}


def test_columns_that_the_template_does_not_read_may_change(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    job = sent(conn, "t")
    conn.execute("UPDATE t SET own = 'changed'")
    answer_all(conn, job, tmp_path)
    assert set(statuses(conn, job).values()) == {("ok", "written")}


def test_replace_remembers_what_it_replaced(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    conn.execute("UPDATE t SET own = x'00ff' WHERE id = 1")
    job = answered(conn, tmp_path, "t", {1: "x", 2: "y"}, output="own", replace=True)
    (first,), (second,) = conn.execute(
        "SELECT previous FROM openai_batch_requests WHERE id < 3 ORDER BY id"
    ).fetchall()
    assert json.loads(first) == {
        "wrote": source_hash(["x"]).hex(),
        "was": {"own": {"$base64": "AP8="}},
    }
    assert "was" not in json.loads(second)
    assert job.created_columns is None


@pytest.mark.parametrize(
    ("script", "ask"),
    [
        ("CREATE TABLE t (text TEXT)", {}),
        ("CREATE TABLE t (a TEXT, b REAL, text TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID", {}),
        ("CREATE TABLE t (text TEXT, code BLOB PRIMARY KEY)", {}),
        ("CREATE TABLE t (text TEXT, code TEXT COLLATE NOCASE PRIMARY KEY)", {}),
        ("CREATE TABLE t (text TEXT, n INTEGER)", {"pk": ["n"]}),
        ("CREATE TABLE t (text TEXT, 'order by' TEXT)", {"pk": ["order by"]}),
        ("CREATE TABLE t (text TEXT, rowid TEXT)", {}),
    ],
)
def test_every_kind_of_key(script: str, ask: dict[str, Any], open_db: Open, tmp_path: Path) -> None:
    conn = open_db(script)
    columns = [row[1] for row in conn.execute("PRAGMA table_info(t)")]
    for n, letter in enumerate("xyz"):
        cells: dict[str, Any] = {
            "text": f"text {n}",
            "a": letter,
            "b": n / 2,
            "code": letter.encode(),
        }
        if "NOCASE" in script:
            cells["code"] = letter.upper()
        row = [cells.get(column, n + 10) for column in columns]
        conn.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(row))})", row)
    job = sent(conn, "t", **ask)
    texts = [text for (text,) in conn.execute("SELECT text FROM t ORDER BY text").fetchall()]
    asked = zip(sorted(request_ids(conn, job).values()), texts, strict=True)
    lines = [chat_line(custom_id(job, n), f"about {text}") for n, text in asked]
    take(conn, job, tmp_path, reversed(lines))
    assert conn.execute("SELECT answer = 'about ' || text FROM t").fetchall() == [(1,)] * 3
    assert revert(conn, store.get_job(conn, job.id)).restored == 3


def test_part_by_part_as_they_come(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    job = sent(conn, "t", part_requests=2)
    first, second = store.list_parts(conn, job.id)
    ids = request_ids(conn, job)
    take(conn, job, tmp_path, [chat_line(custom_id(job, ids[1]), "one")], part=first)
    assert conn.execute("SELECT id, answer FROM t WHERE answer IS NOT NULL").fetchall() == [
        (1, "one")
    ]
    assert store.get_job(conn, job.id).status == "running"
    take(
        conn, job, tmp_path, [chat_line(custom_id(job, ids[3]), "three")], part=second, file_id="f2"
    )
    assert conn.execute("SELECT count(answer) FROM t").fetchone() == (2,)
    assert store.get_job(conn, job.id).status == "completed"


def test_a_trigger_that_undoes_everything_stops_only_the_writing(
    open_db: Open, tmp_path: Path
) -> None:
    conn = open_db(
        T + ROWS + "CREATE TRIGGER no BEFORE UPDATE ON t WHEN old.id = 3 BEGIN"
        " SELECT RAISE(ROLLBACK, 'out of the question'); END;"
    )
    job = sent(conn, "t")
    answer_all(conn, job, tmp_path)
    assert set(statuses(conn, job).values()) == {("ok", None)}
    part = store.list_parts(conn, job.id)[0]
    assert (part.collected_at is None, part.written_at) == (False, None)


def test_a_trigger_that_ignores_keeps_what_was_there(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        T + ROWS + "CREATE TRIGGER no BEFORE UPDATE ON t WHEN old.id = 3 BEGIN"
        " SELECT RAISE(IGNORE); END;"
    )
    job = sent(conn, "t", output="own")
    answer_all(conn, job, tmp_path)
    assert statuses(conn, job)[3] == ("ok", "kept_existing")
    assert statuses(conn, job)[2] == ("ok", "written")


def test_foreign_keys_go_on_working(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE g (id INTEGER PRIMARY KEY);"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, g INTEGER REFERENCES g(id));"
        "CREATE TABLE child (t INTEGER REFERENCES t(id) ON DELETE CASCADE);"
        "INSERT INTO g VALUES (1); INSERT INTO t VALUES (1, 'a', 1); INSERT INTO child VALUES (1);"
    )
    conn.execute("PRAGMA foreign_keys = ON")
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {1: "x"})
    assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
    revert(conn, job)
    assert user_dump(conn) == before


# Names

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=NAMES.filter(str.strip), table=NAMES.filter(str.strip))
@example(name='"; DROP TABLE t; --', table="t")
@example(name="select", table="order")
@example(name="É", table="é")
@example(name="[x]", table="a`b'c\"d")
@example(name="rowid", table="t")
@example(name="?1 :x {{ x }}", table="%s")
def test_names_with_anything_in_them(name: str, table: str, tmp_path: Path) -> None:
    if table.lower().startswith(("sqlite_", "openai_batch_", "_sqlite")):
        return
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.execute(f"CREATE TABLE {quote(table)} (id INTEGER PRIMARY KEY, text TEXT, é TEXT)")
        conn.execute(f"INSERT INTO {quote(table)} VALUES (1, 'a', NULL), (2, 'b', NULL)")
        before = user_dump(conn)
        try:
            job = answered(conn, tmp_path, table, {1: "x", 2: "y"}, output=name)
        except OutputError as error:
            assert name.lower() in ("id", "text") or "é" in name.lower(), error
            return
        found = conn.execute(f"SELECT id, {quote(name)} FROM {quote(table)}").fetchall()
        assert found == [(1, "x"), (2, "y")]
        revert(conn, job)
        assert user_dump(conn) == before


# Conflicts, before anything is sent


def refused(conn: sqlite3.Connection, table: str | None = "t", **ask: Any) -> str:
    """The sentence that refuses a place for answers."""
    ask.setdefault("prompt", "{{ text }}")
    plan = settle(conn, Ask(table=table, **ask))
    try:
        with pytest.raises(OutputError) as caught:
            check_free(conn, plan, "data.db")
    finally:
        plan.close()
    return str(caught.value)


@pytest.mark.parametrize(
    ("script", "ask", "words"),
    [
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT,"
            " answer TEXT GENERATED ALWAYS AS (upper(text)) VIRTUAL)",
            {},
            "Column 'answer' of t is generated: answers can't be written there. "
            "Give them another name with --prefix or --output.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, n INTEGER) STRICT",
            {"output": "N"},
            "Column 'n' of t is INTEGER in a STRICT table, and answers are TEXT. "
            "Give them another name with --prefix or --output.",
        ),
        (
            "CREATE VIRTUAL TABLE t USING fts5(text)",
            {},
            "t is a virtual table: columns can't be added to it. "
            "Write the answers to a table of their own with --output-table t_answers",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE TRIGGER bad AFTER UPDATE ON t BEGIN SELECT my_function(new.text); END",
            {},
            "Answers can't be written to t: no such function: my_function. "
            "Write them to a table of their own with --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE TRIGGER bad AFTER UPDATE ON t BEGIN INSERT INTO nowhere VALUES (1); END",
            {},
            "Answers can't be written to t: no such table: main.nowhere. "
            "Write them to a table of their own with --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX said ON t (text)",
            {"output_table": "said"},
            "Answers can't be written to said: there is already an index named said. "
            "Write them to a table of their own with --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE TABLE said (id INTEGER PRIMARY KEY, who TEXT NOT NULL)",
            {"output_table": "said"},
            "Table 'said' wants a value in 'who' of each row (NOT NULL, no default), "
            "which answers don't have. Give another --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE said (id INTEGER)",
            {"output_table": "said"},
            "Table 'said' exists, and its key is not declared, not 'id': answers couldn't be "
            "matched. Give another --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
            "CREATE VIRTUAL TABLE said USING fts5(text)",
            {"output_table": "said"},
            "'said' is a virtual table: give another name with --output-table.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
            {"output_table": "SQLITE_x"},
            "'SQLITE_x' can't be an output table: that prefix is taken.",
        ),
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)",
            {"output": "a\0b"},
            "No column can be called 'a\\x00b'. Give them another name with --prefix or --output.",
        ),
    ],
)
def test_what_can_not_be_written_is_said_before_anything_is_sent(
    script: str, ask: dict[str, Any], words: str, open_db: Open
) -> None:
    conn = open_db(script + ";")
    with closing(sqlite3.connect(":memory:")):
        before = list(conn.execute("SELECT * FROM sqlite_master"))
        assert refused(conn, **ask) == words
        assert list(conn.execute("SELECT * FROM sqlite_master")) == before


def test_a_view_is_never_written_to(open_db: Open) -> None:
    conn = open_db(T + ROWS + "CREATE VIEW v AS SELECT * FROM t;")
    said = refused(conn, "v", pk=["id"], output_table="v")
    assert said == "'v' is a view: give another name with --output-table."


def test_only_rows_that_are_asked_count_in_an_output_table(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    answered(conn, tmp_path, "t", {1: "x", 2: "y"}, output_table="said", where="id < 3")
    said = refused(conn, output_table="said", where="id > 1")
    assert said.startswith("Column 'answer' of said already holds values in 1 row.")
    answered(conn, tmp_path, "t", {3: "z"}, output_table="said", where="id > 2")
    assert conn.execute("SELECT * FROM said").fetchall() == [(1, "x"), (2, "y"), (3, "z")]


def test_more_columns_than_sqlite_has(open_db: Open) -> None:
    columns = ", ".join(f"c{n}" for n in range(1998))
    conn = open_db(f"CREATE TABLE t (id INTEGER PRIMARY KEY, text, {columns}); ")
    assert "too many columns" in refused(conn)


def test_a_rehearsal_writes_nothing(open_db: Open, tmp_path: Path) -> None:
    conn = open_db(T + ROWS)
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / "data.db").read_bytes()
    plan = settle(conn, Ask(table="t", prompt="{{ text }}"))
    check_free(conn, plan, "data.db")
    plan.close()
    assert (tmp_path / "data.db").read_bytes() == before


# What is remembered

VALUE = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8), st.binary(max_size=8),
)  # fmt: skip


@settings(deadline=None)
@given(data=st.data(), width=st.integers(1, 4))
def test_memory_tells_what_was_written_from_what_came_since(
    data: st.DataObject, width: int
) -> None:
    names = [f"c{n}" for n in range(width)]
    cells = st.lists(VALUE, min_size=width, max_size=width)
    old, given_, stored, now = (data.draw(cells) for _ in range(4))
    old_or_none = data.draw(st.sampled_from([old, None]))
    memory = recall(
        remember(names, old_or_none, given_, data.draw(st.sampled_from([None, stored])))
    )
    was = [memory.was.get(name) for name in names]
    if old_or_none is not None:
        assert source_hash(was) == source_hash(old)
    assert memory.new == (old_or_none is None)
    left = [memory.became.get(name, value) for name, value in zip(names, given_, strict=True)]
    assert still_written(memory, names, given_, left) == [True] * width
    assert still_written(memory, names, given_, now) == [
        source_hash([one]) == source_hash([other]) for one, other in zip(left, now, strict=True)
    ]
