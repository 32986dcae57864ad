"""Every kind of source: each answer lands on the row that was asked about.

The server's outputs come shuffled, and each answer repeats its prompt, which is made of the row's
own text: so an answer on a wrong row can't go unseen.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

TEXTS = [f"text {n}: “{n * 7919 % 101}” \\ \n\u2028é" for n in range(23)]


def inserts(table: str, keys: list[str]) -> str:
    """SQL that gives each key one of the texts."""
    assert len(keys) <= len(TEXTS)
    lines = (
        f"INSERT INTO {table} VALUES ({key}, {quoted(text)});"
        for key, text in zip(keys, TEXTS, strict=False)
    )
    return "\n".join(lines)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def asked(answer: str) -> str:
    """The prompt that an answer repeats."""
    return answer.partition(": ")[2]


INTEGERS = [str(n) for n in (-(2**63), -5, 0, *range(1, 12), 700, 2**53 + 1, 2**63 - 1)]
WORDS = [quoted(w) for w in ("a", "A", "", " ", "1", "01", "1.0", "x'y", '"', "é", "e\u0301", "%",
                             "[1]", "null", "😀", "a b", "a\nb", "-1", ";--")]  # fmt: skip
PAIRS = [f"'{a}', {b}" for a in ("x", "X", "x-1", '["') for b in (1, 11, -1)]
MIXED = ["1", "'1'", "1.5", "'1.5'", "x'31'", "x''", "''", "'a'", "-9", "'01'", "x'00ff'"]

TABLES = {
    "integer key": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);" + inserts("t", INTEGERS),
        ["id"],
    ),
    "text key": (
        "CREATE TABLE t (code TEXT PRIMARY KEY, text TEXT);" + inserts("t", WORDS),
        ["code"],
    ),
    "text key that ignores case": (
        "CREATE TABLE t (code TEXT PRIMARY KEY COLLATE NOCASE, text TEXT);"
        + inserts("t", ["'a'", "'B'", "'c'", "'D'"]),
        ["code"],
    ),
    "key of mixed types": (
        "CREATE TABLE t (code PRIMARY KEY, text TEXT);" + inserts("t", MIXED),
        ["code"],
    ),
    "real key": (
        "CREATE TABLE t (at REAL PRIMARY KEY, text TEXT);"
        + inserts("t", ["0.1", "1", "-2.5", "1e300", "0.30000000000000004", "9e999"]),
        ["at"],
    ),
    "compound key": (
        "CREATE TABLE t (a TEXT, b INTEGER, text TEXT, PRIMARY KEY (b, a));" + inserts("t", PAIRS),
        ["a", "b"],
    ),
    "compound key of mixed types": (
        "CREATE TABLE t (a, b BLOB, text TEXT, PRIMARY KEY (a, b));"
        + inserts("t", [f"{a}, {b}" for a in MIXED[:4] for b in MIXED[:5]]),
        ["a", "b"],
    ),
    "without rowid": (
        "CREATE TABLE t (code TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;" + inserts("t", WORDS),
        ["code"],
    ),
    "compound without rowid": (
        "CREATE TABLE t (a TEXT, b INTEGER, text TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;"
        + inserts("t", PAIRS),
        ["a", "b"],
    ),
    "strict": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT) STRICT;" + inserts("t", INTEGERS),
        ["id"],
    ),
    "names that need quotes": (
        'CREATE TABLE t ("the ""key"" [1]" TEXT PRIMARY KEY, text TEXT);' + inserts("t", WORDS),
        ['the "key" [1]'],
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables(kind: str, run: Any, database: Any, rows: Any) -> None:
    script, keys = TABLES[kind]
    db = database(script)

    said = run("run", db, "t", "--prompt", "{{ text }}", *run.there)

    answered = rows(db, "SELECT text, answer FROM t")
    assert len(answered) > 3
    assert all(asked(answer) == text for text, answer in answered)
    assert "Warning" not in said.err
    ((stored, requests),) = rows(db, "SELECT key_columns, requests FROM openai_batch_jobs")
    assert (sorted(json.loads(stored)), requests) == (keys, len(answered))
    written = rows(db, "SELECT DISTINCT status, write_status FROM openai_batch_requests")
    assert written == [("ok", "written")]


@pytest.mark.parametrize("kind", TABLES)
def test_tables_in_several_parts_to_a_table(kind: str, run: Any, database: Any, rows: Any) -> None:
    script, keys = TABLES[kind]
    db = database(script)

    run("run", db, "t", "--prompt", "{{ text }}", *run.there,
        "--part-requests", "3", "--output-table", "said")  # fmt: skip

    on = " AND ".join(f't."{key}" IS said."{key}"' for key in map(doubled, keys))
    joined = rows(db, f"SELECT text, answer FROM t LEFT JOIN said ON {on}")
    assert all(asked(answer) == text for text, answer in joined)
    ((there,),) = rows(db, "SELECT count(*) FROM t")
    assert len(joined) == there
    assert rows(db, "SELECT count(*) FROM said") == [(there,)]
    assert rows(db, "SELECT count(*) FROM openai_batch_parts") == [(-(-there // 3),)]
    primary = rows(db, "SELECT name FROM pragma_table_info('said') WHERE pk ORDER BY name")
    assert primary == [(key,) for key in sorted(keys)]


def doubled(name: str) -> str:
    return name.replace('"', '""')


def test_a_table_without_a_key_is_asked_by_rowid_with_a_warning(
    run: Any, database: Any, rows: Any
) -> None:
    script = "CREATE TABLE t (text TEXT);" + "".join(
        f"INSERT INTO t (rowid, text) VALUES ({3 * n - 4}, {quoted(text)});"
        for n, text in enumerate(TEXTS)
    )
    db = database(script)

    said = run("run", db, "t", "--prompt", "{{ text }}", *run.there)

    assert said.err.splitlines()[0] == (
        "Warning: t has no primary key; VACUUM could renumber its rows. "
        "sqlite-utils transform data.db t --pk id"
    )
    answered = rows(db, "SELECT text, answer FROM t ORDER BY rowid")
    assert [asked(answer) for _, answer in answered] == TEXTS
    assert rows(db, "SELECT key_columns FROM openai_batch_jobs") == [('["rowid"]',)]


def test_a_rowid_is_found_where_a_column_has_its_name(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE t (rowid TEXT, oid TEXT, text TEXT);"
        + inserts("t", [f"'r{n}', {n}" for n in range(9)])
    )
    run("run", db, "t", "--prompt", "{{ text }}", *run.there)
    answered = rows(db, "SELECT text, answer FROM t")
    assert [asked(answer) for _, answer in answered] == TEXTS[:9]
    assert rows(db, "SELECT key_columns FROM openai_batch_jobs") == [('["_rowid_"]',)]


def test_rowids_that_moved_are_not_written(run: Any, held: Any, database: Any, rows: Any) -> None:
    server, answerer = held
    db = database(
        "CREATE TABLE t (text TEXT);INSERT INTO t VALUES ('to go'), ('one'), ('two'), ('three');"
    )
    there = ("--base-url", server.base_url, "-y")
    run("run", db, "t", "--prompt", "{{ text }}", *there, "--no-wait")
    with closing(sqlite3.connect(db)) as conn:
        conn.execute("DELETE FROM t WHERE text = 'to go'")
        conn.commit()
        conn.execute("VACUUM")
    assert rows(db, "SELECT rowid, text FROM t") == [(1, "one"), (2, "two"), (3, "three")]

    answerer.release()
    said = run("watch", db, "--poll", "0.05")

    assert rows(db, "SELECT text, answer FROM t") == [("one", None), ("two", None), ("three", None)]
    statuses = rows(db, "SELECT row_key, write_status FROM openai_batch_requests")
    assert statuses == [(1, "stale"), (2, "stale"), (3, "stale"), (4, "row_gone")]
    assert (
        "3 rows changed after they were asked about: "
        "their answers are kept in the job, not written.\n" in said.err
    )
    assert "1 row is gone: its answer is kept in the job.\n" in said.err
    assert "Written to" not in said.err


VIEW = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
    + inserts("t", [str(n) for n in range(1, 20)])
    + "CREATE VIEW v AS SELECT 'k' || id AS code, text, id % 2 AS odd FROM t;"
)


def test_a_view_by_its_key(run: Any, database: Any, rows: Any) -> None:
    db = database(VIEW)

    said = run("run", db, "v", "--pk", "code", "--where", "odd = 1", "--prompt", "{{ text }}",
               *run.there)  # fmt: skip

    joined = rows(db, "SELECT text, answer FROM v LEFT JOIN v_answers USING (code) WHERE odd = 1")
    assert len(joined) == 10
    assert all(asked(answer) == text for text, answer in joined)
    assert rows(db, "SELECT count(*) FROM v_answers") == [(10,)]
    assert "\nWritten to v_answers.answer.\n" in said.err
    assert [name for (name,) in rows(db, "SELECT name FROM pragma_table_info('t')")] == [
        "id", "text"
    ]  # fmt: skip


JOIN = (
    "CREATE TABLE films (id INTEGER PRIMARY KEY, title TEXT);"
    "CREATE TABLE lines (film INTEGER, number INTEGER, text TEXT);"
    "INSERT INTO films VALUES (1, 'One'), (2, 'Two'), (3, 'Three');"
    + inserts("lines", [f"{film}, {number}" for film in (1, 2, 3) for number in range(1, 7)])
)


def test_a_join_by_its_key(run: Any, database: Any, rows: Any) -> None:
    db = database(JOIN)
    sql = "SELECT film, number, title, text FROM lines JOIN films ON id = film WHERE film > :n"

    said = run("run", db, "--sql", sql, "-p", "n", "1", "--pk", "film", "--pk", "number",
               "--prompt", "{{ title }}/{{ text }}", "--part-requests", "5",
               *run.there)  # fmt: skip

    joined = rows(
        db,
        "SELECT title || '/' || text, answer FROM answers JOIN films ON films.id = answers.film "
        "JOIN lines ON lines.film = answers.film AND lines.number = answers.number",
    )
    assert len(joined) == 12
    assert all(asked(answer) == prompt for prompt, answer in joined)
    assert "\nWritten to answers.answer.\n" in said.err


def test_where_order_and_limit_choose_the_rows(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", "--prompt", "{{ text }}", *run.there,
        "--where", "mark = :m", "-p", "m", "1", "--order", "id desc", "--limit", "3")  # fmt: skip

    assert rows(notes, "SELECT id FROM notes WHERE answer IS NOT NULL") == [(4,), (7,), (10,)]
    keys = rows(notes, "SELECT row_key FROM openai_batch_requests ORDER BY id")
    assert keys == [(10,), (7,), (4,)]


def test_a_pk_for_a_table_is_taken_in_place_of_its_own(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, code TEXT UNIQUE, text TEXT);"
        + inserts("t", [f"{n}, 'c{n}'" for n in range(9)])
    )
    run("run", db, "t", "--pk", "code", "--prompt", "{{ text }}", *run.there)
    answered = rows(db, "SELECT text, answer FROM t")
    assert all(asked(answer) == text for text, answer in answered)
    assert rows(db, "SELECT min(row_key) FROM openai_batch_requests") == [("c0",)]
