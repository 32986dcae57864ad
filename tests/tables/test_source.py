from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import SourceError, UsageError
from sqlite_utils_openai_batch.tables.source import Source, open_source
from sqlite_utils_openai_batch.tables.sql import SQLiteValue, decode_key, encode_key, quote

TABLES = """
CREATE TABLE films (id INTEGER PRIMARY KEY, title TEXT, year INTEGER, director INTEGER);
INSERT INTO films VALUES (3, 'Solaris', 1972, 1), (1, 'Stalker', 1979, 1), (2, 'Ran', 1985, 2),
    (9, NULL, 2000, NULL);
CREATE TABLE people (name TEXT PRIMARY KEY, born INTEGER);
INSERT INTO people VALUES ('Tarkovsky', 1932), ('Kurosawa', 1910);
CREATE TABLE shown (cinema TEXT, day INTEGER, film TEXT, PRIMARY KEY (cinema, day));
INSERT INTO shown VALUES ('Rex', 2, 'b'), ('Rex', 1, 'a'), ('Apollo', 2, 'c');
CREATE TABLE notes (text TEXT);
INSERT INTO notes VALUES ('one'), ('two'), ('one');
CREATE TABLE words (word TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
INSERT INTO words VALUES ('b', 2), ('a', 1);
CREATE TABLE strict_one (id TEXT PRIMARY KEY NOT NULL, n REAL, twice REAL AS (n * 2)) STRICT;
INSERT INTO strict_one (id, n) VALUES ('x', 1.5), ('y', NULL);
CREATE TABLE "my ""odd"" table" ("the key" INTEGER PRIMARY KEY, "a ""b""; --" TEXT, "select" TEXT);
INSERT INTO "my ""odd"" table" VALUES (1, 'p', 'q');
CREATE TABLE taken (rowid TEXT, "_ROWID_" TEXT);
INSERT INTO taken VALUES ('x', 'y'), ('x', 'z');
CREATE VIRTUAL TABLE found USING fts5(body);
INSERT INTO found VALUES ('first'), ('second');
CREATE VIEW old_films AS SELECT id, title, year FROM films WHERE year < 1990 ORDER BY year DESC;
"""


@pytest.fixture(params=["delete", "wal"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "cinema.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA journal_mode = {request.param}")
        conn.executescript(TABLES)
    return path


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        yield conn


def rows(source: Source, page_bytes: int = 8_000_000) -> list[tuple[SQLiteValue, Any]]:
    pages = source.pages(source.columns, page_bytes=page_bytes)
    return [row for page in pages for row in page]


SOURCES: list[tuple[str | None, dict[str, Any], list[SQLiteValue]]] = [
    ("films", {}, [1, 2, 3, 9]),
    ("FILMS", {"limit": 2}, [1, 2]),
    ("films", {"limit": 0}, []),
    ("films", {"where": "year < 1980"}, [1, 3]),
    (
        "films",
        {"where": "year > :y OR title = :t -- or", "params": {"y": "1979", "t": "Ran"}},
        [2, 9],
    ),
    ("films", {"where": "director IN (SELECT 1)", "limit": 1}, [1]),
    ("films", {"order": "year DESC"}, [9, 2, 1, 3]),
    ("films", {"order": "director -- why not", "limit": 3}, [9, 1, 3]),
    ("films", {"pk": ["title"], "where": "title IS NOT NULL"}, ["Ran", "Solaris", "Stalker"]),
    ("films", {"pk": ["rowid"]}, [1, 2, 3, 9]),
    ("people", {}, ["Kurosawa", "Tarkovsky"]),
    ("shown", {}, ['["Apollo",2]', '["Rex",1]', '["Rex",2]']),
    ("shown", {"order": "film DESC"}, ['["Apollo",2]', '["Rex",2]', '["Rex",1]']),
    ("shown", {"pk": ["film"], "limit": 2}, ["a", "b"]),
    ("notes", {}, [1, 2, 3]),
    ("words", {}, ["a", "b"]),
    ("strict_one", {}, ["x", "y"]),
    ('my "odd" table', {}, [1]),
    ('my "odd" table', {"pk": ['a "b"; --']}, ["p"]),
    ("taken", {}, [1, 2]),
    ("found", {}, [1, 2]),
    ("found", {"where": "found MATCH 'second'"}, [2]),
    ("old_films", {"pk": ["id"]}, [2, 1, 3]),
    ("old_films", {"pk": ["ID"], "order": "title", "limit": 2}, [2, 3]),
    ("old_films", {"pk": ["id", "year"], "where": "id > 2"}, ["[3,1972]"]),
    (
        None,
        {
            "sql": "SELECT f.id, p.name || ': ' || title AS line FROM films f "
            "JOIN people p ON p.name LIKE :who ORDER BY f.id DESC; ",
            "params": {"who": "T%"},
            "pk": ["id"],
        },
        [9, 3, 2, 1],
    ),
    (None, {"sql": "VALUES (1, 'a'), (2, 'b') -- two", "pk": ["column1"]}, [1, 2]),
    (
        None,
        {"sql": "WITH x AS (SELECT 7 AS n) SELECT n FROM x", "pk": ["n"], "where": "n > 6"},
        [7],
    ),
]


@pytest.mark.parametrize(("table", "options", "keys"), SOURCES)
@pytest.mark.parametrize("page_bytes", [1, 8_000_000])
def test_all_kinds_of_sources(
    conn: sqlite3.Connection,
    table: str | None,
    options: dict[str, Any],
    keys: list[SQLiteValue],
    page_bytes: int,
) -> None:
    with open_source(conn, table, **options) as source:
        source.check_keys()
        found = rows(source, page_bytes)
        assert [key for key, _ in found] == keys
        assert source.count() == len(keys)
        assert source.fetch(source.columns, keys) == dict(found)
        for key, values in found:
            parts = decode_key(key, len(source.key_columns))
            for column, part in zip(source.key_columns, parts, strict=True):
                if column in source.columns:
                    assert values[source.columns.index(column)] == part
        stored = json.loads(json.dumps(source.describe()))
        assert stored.pop("kind") == source.kind
    asked = None if stored["sql"] is not None else stored["name"]
    how = {"sql": stored["sql"], "params": stored["params"], "pk": stored["key_columns"]}
    with open_source(conn, asked, **how) as again:
        assert again.key_columns == source.key_columns
        assert again.fetch(again.columns, keys) == dict(found)


def test_what_a_source_knows(conn: sqlite3.Connection) -> None:
    with open_source(conn, "FILMS", where="year > 1975", limit=2) as source:
        assert (source.kind, source.name, source.sql) == ("table", "films", None)
        assert source.columns == ("id", "title", "year", "director")
        assert source.key_columns == ("id",)
        assert not source.uses_rowid
        assert source.warnings == ()
        assert (source.count(), source.total()) == (2, 4)
    with open_source(conn, "strict_one") as source:
        assert source.columns == ("id", "n", "twice")
    with open_source(conn, "taken") as source:
        assert (source.key_columns, source.uses_rowid) == (("oid",), True)
    with open_source(conn, "old_films", pk=["id"], where="id = 1") as source:
        assert (source.kind, source.count(), source.total()) == ("view", 1, 3)


@pytest.mark.parametrize(
    "key",
    ["NUMERIC PRIMARY KEY NOT NULL", "INT PRIMARY KEY", "INTEGER PRIMARY KEY DESC"],
)
def test_keys_between_whole_numbers_are_counted(key: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.execute(f"CREATE TABLE chapters (number {key}, text)")
        conn.executemany("INSERT INTO chapters VALUES (?, 'x')", [(1,), (1.1,), (1.2,), (2,)])
        with open_source(conn, "chapters") as source:
            assert source.at_most() == source.count() == 4


def test_the_bound_of_a_dense_rowid_is_its_span(conn: sqlite3.Connection) -> None:
    with open_source(conn, "films") as source:
        assert (source.at_most(), source.count()) == (9, 4)
    with open_source(conn, "notes") as source:
        assert source.at_most() == 3


def test_a_key_in_descending_order_is_no_rowid_and_can_be_null() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY DESC, a TEXT)")
        conn.execute("INSERT INTO t VALUES (NULL, 'x')")
        with open_source(conn, "t") as source, pytest.raises(SourceError, match="id of t is NULL"):
            source.check_keys()


def test_a_table_without_a_key_is_warned_about_with_a_command_that_works(
    conn: sqlite3.Connection, path: Path
) -> None:
    with open_source(conn, "notes") as source:
        assert source.uses_rowid
        (warning,) = source.warnings
    assert warning == (
        "notes has no primary key; VACUUM could renumber its rows. "
        "sqlite-utils transform cinema.db notes --pk id"
    )
    command = warning.split(". ", 1)[1].split()
    assert command.pop(0) == "sqlite-utils"
    subprocess.run([sys.executable, "-m", "sqlite_utils", *command], cwd=path.parent, check=True)
    with open_source(conn, "notes") as source:
        assert source.warnings == ()
        assert rows(source) == [(1, (1, "one")), (2, (2, "two")), (3, (3, "one"))]


def test_how_many_rows_hold_a_value(conn: sqlite3.Connection) -> None:
    with open_source(conn, "films", where="year > 1975") as source:
        assert (source.filled("id"), source.filled("title")) == (3, 2)
    with open_source(conn, "old_films", pk=["id"], limit=1) as source:
        assert source.filled("title") == 1


def test_columns_come_as_asked(conn: sqlite3.Connection) -> None:
    with open_source(conn, "films") as source:
        (page,) = source.pages(["year", "title", "year"])
        assert page[0] == (1, (1979, "Stalker", 1979))
        assert list(source.pages([])) == [[(1, ()), (2, ()), (3, ()), (9, ())]]
        assert source.fetch(["title"], [2, 77, 1]) == {1: ("Stalker",), 2: ("Ran",)}
        assert source.fetch(["title"], []) == {}
    with open_source(conn, "notes") as source:
        assert source.fetch(["rowid", "text"], [2]) == {2: (2, "two")}


def test_fetch_follows_the_affinity_and_collation_of_the_key(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE TABLE c (k TEXT COLLATE NOCASE PRIMARY KEY, v)")
    conn.execute("INSERT INTO c VALUES ('a', 1), ('12', 2)")
    conn.execute("CREATE TABLE bare (k PRIMARY KEY, v)")
    conn.execute("INSERT INTO bare VALUES (1, 'integer'), ('1', 'text'), (x'31', 'blob')")
    with open_source(conn, "films") as source:
        found = source.fetch(["title"], ["1", 2.0, b"3", "x"])
        assert found == {"1": ("Stalker",), 2: ("Ran",)}
    with open_source(conn, "c") as source:
        assert source.fetch(["v"], ["A", 12]) == {"A": (1,), 12: (2,)}
    with open_source(conn, "bare") as source:
        found = source.fetch(["v"], [1, "1", b"1", "2"])
        assert found == {1: ("integer",), "1": ("text",), b"1": ("blob",)}
        assert [key for key, _ in rows(source)] == [1, "1", b"1"]


@pytest.mark.parametrize("rows_of_megabyte", [1, 7])
def test_pages_are_cut_by_bytes(conn: sqlite3.Connection, rows_of_megabyte: int) -> None:
    conn.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, body)")
    bodies = ["small"] * 3000 + [b"x" * 1_000_000] * rows_of_megabyte + ["é" * 500] * 3000
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO big (body) VALUES (?)", [(body,) for body in bodies])
    conn.execute("COMMIT")
    with open_source(conn, "big") as source:
        pages = list(source.pages(["body"], page_bytes=500_000))
    assert sum(map(len, pages)) == 6000 + rows_of_megabyte
    for page in pages:
        assert sum(len(values[0]) + 64 for _, values in page[:-1000]) < 500_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("films", {}),
        ("films", {"order": "title"}),
        ("notes", {}),
        ("shown", {}),
        ("old_films", {"pk": ["id"]}),
        (None, {"sql": "SELECT * FROM films", "pk": ["id"]}),
    ],
)
def test_others_can_write_while_a_page_is_read(
    conn: sqlite3.Connection, path: Path, table: str | None, options: dict[str, Any]
) -> None:
    with (
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
        open_source(conn, table, **options) as source,
    ):
        source.check_keys()
        keys = []
        for page in source.pages(source.columns, page_bytes=1):
            keys += [key for key, _ in page]
            other.execute("INSERT INTO people VALUES (random(), 1)")
            conn.execute("INSERT INTO people VALUES (random(), 1)")
            assert not conn.in_transaction
        assert len(source.fetch(source.columns, keys)) == len(keys) > 0
        other.execute("DROP TABLE people")


def test_rows_that_come_and_go_while_reading(conn: sqlite3.Connection) -> None:
    conn.execute("DELETE FROM films")
    conn.executemany("INSERT INTO films (id) VALUES (?)", [(n,) for n in range(1, 101)])
    with open_source(conn, "films") as source:
        pages = source.pages(["id"], page_bytes=1)
        first = next(pages)
        assert [key for key, _ in first] == list(range(1, 17))
        conn.execute("DELETE FROM films WHERE id BETWEEN 10 AND 30")
        conn.execute("INSERT INTO films (id) VALUES (1000)")
        assert [key for page in pages for key, _ in page] == [*range(31, 101), 1000]


def test_text_that_is_not_utf8_is_read_with_replacements(conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO films VALUES (4, CAST(x'41ff42' AS TEXT), 1, x'ff')")
    conn.execute("INSERT INTO films VALUES (5, CAST(x'eda080' AS TEXT), 1, 'é')")
    expected = {4: ("A\ufffdB", b"\xff"), 5: ("\ufffd\ufffd\ufffd", "é")}
    columns = ["title", "director"]
    everything: list[tuple[str | None, dict[str, Any]]] = [
        ("films", {}),
        ("films", {"order": "id"}),
        (None, {"sql": "SELECT * FROM films", "pk": ["id"]}),
    ]
    for table, options in everything:
        with open_source(conn, table, **options) as source:
            source.check_keys()
            found = {key: row for page in source.pages(columns) for key, row in page}
            assert len(found) == 6
            assert {key: found[key] for key in (4, 5)} == expected
            assert found[1] == ("Stalker", 1)
            assert source.fetch(columns, [1, 4, 5]) == {1: ("Stalker", 1), **expected}
    assert conn.text_factory is str


def test_a_key_that_is_not_utf8_is_an_error(conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO people VALUES (CAST(x'ff' AS TEXT), 1)")
    with (
        open_source(conn, "people") as source,
        pytest.raises(SourceError, match=r"The key b'\\xff' isn't valid UTF-8 text"),
    ):
        rows(source)


# keys

values = (
    st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=3))
def test_keys_come_back_with_their_types(key: list[SQLiteValue]) -> None:
    again = decode_key(encode_key(key), len(key))
    assert again == tuple(key)
    assert [type(value) for value in again] == [type(value) for value in key]


def test_compound_keys_are_readable_json() -> None:
    assert encode_key(["Rex", 1]) == '["Rex",1]'
    assert encode_key(["é\n", 1.5, b"\x01", float("inf")]) == '["é\\n",1.5,{"blob":"01"},9e999]'
    assert encode_key(["x"]) == "x"
    assert encode_key([b"\x01"]) == b"\x01"
    with pytest.raises(ValueError, match="a key of 2 values where 3 are expected"):
        decode_key("[1,2]", 3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    data=st.dictionaries(st.tuples(values, values), st.text("ab\u2028", max_size=3), max_size=40),
    page_bytes=st.integers(1, 3000),
    without_rowid=st.booleans(),
)
def test_pages_give_every_row_once_in_the_order_of_the_key(
    data: dict[tuple[SQLiteValue, SQLiteValue], str], page_bytes: int, without_rowid: bool
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.execute(
            "CREATE TABLE t (a, b, v, PRIMARY KEY (a, b)) "
            + ("WITHOUT ROWID" if without_rowid else "")
        )
        conn.executemany(
            "INSERT OR IGNORE INTO t VALUES (?, ?, ?)", [(*key, v) for key, v in data.items()]
        )
        expected = [
            (encode_key(row[:2]), row)
            for row in conn.execute("SELECT * FROM t ORDER BY a, b").fetchall()
        ]
        with open_source(conn, "t") as source:
            source.check_keys()
            found = rows(source, page_bytes)
            assert found == expected
            assert source.fetch(["a", "b", "v"], [key for key, _ in found]) == dict(expected)


# what can't be asked


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            "filsm",
            {},
            "No such table: 'filsm'. Tables: films, old_films, found, notes, shown, words, people, "
            'strict_one, my "odd" table, taken.',
        ),
        (
            "old_films",
            {},
            "The view old_films has no primary key: name its key by --pk. "
            "Columns: id, title, year.",
        ),
        (
            None,
            {"sql": "SELECT 1 AS n"},
            "The query has no primary key: name its key by --pk. Columns: n.",
        ),
        (
            "old_films",
            {"pk": ["yaer"]},
            "No such column: 'yaer' in old_films. Columns: year, title, id.",
        ),
        (
            "films",
            {"where": "yaer > 1"},
            "--where can't be read: no such column: yaer. Columns: id, title, year, director.",
        ),
        (
            "films",
            {"where": "1); DELETE FROM films; --"},
            "--where can't be read: it must be one SELECT.",
        ),
        ("films", {"where": "year >"}, '--where can\'t be read: near ")": syntax error.'),
        (
            "films",
            {"order": "yaer"},
            "--order can't be read: no such column: yaer. Columns: id, title, year, director.",
        ),
        (
            "films",
            {"order": "id; DROP TABLE films"},
            "--order can't be read: it must be one SELECT.",
        ),
        (None, {"sql": " ; "}, "The query is empty."),
        (
            None,
            {"sql": "DELETE FROM films RETURNING id", "pk": ["id"]},
            'The query can\'t be read: near "DELETE": syntax error.',
        ),
        (
            None,
            {"sql": "SELECT 1; DELETE FROM films", "pk": ["id"]},
            'The query can\'t be read: near ";": syntax error.',
        ),
        (
            None,
            {"sql": "SELECT 1); DELETE FROM films; --", "pk": ["id"]},
            "The query can't be read: it must be one SELECT.",
        ),
        (
            None,
            {"sql": "SELECT * FROM nowhere", "pk": ["id"]},
            "The query can't be read: no such table: nowhere.",
        ),
        (
            None,
            {"sql": "SELECT * FROM films a JOIN films b USING (year)", "pk": ["id"]},
            "The query gives two columns id; tell them apart by AS.",
        ),
    ],
)
def test_errors_name_the_thing_and_what_exists(
    conn: sqlite3.Connection, table: str | None, options: dict[str, Any], message: str
) -> None:
    before = list(conn.iterdump())
    with pytest.raises(SourceError) as caught:
        open_source(conn, table, **options)
    assert str(caught.value) == message
    assert list(conn.iterdump()) == before


def test_a_parameter_that_was_not_given(conn: sqlite3.Connection) -> None:
    with pytest.raises(SourceError, match=r"--where can't be read: .*:y.*-p NAME VALUE"):
        open_source(conn, "films", where="year > :y")
    with pytest.raises(SourceError, match=r"The query can't be read: .*:y.*-p NAME VALUE"):
        open_source(conn, sql="SELECT * FROM films WHERE year > :y", pk=["id"])


def test_options_that_contradict_each_other(conn: sqlite3.Connection) -> None:
    with pytest.raises(UsageError, match="Name a table or view after the database, or give --sql"):
        open_source(conn)
    with pytest.raises(UsageError, match="one of them"):
        open_source(conn, "films", sql="SELECT 1")
    with pytest.raises(UsageError, match="--limit must not be negative: -1"):
        open_source(conn, "films", limit=-1)
    with pytest.raises(UsageError, match="--pk names a column twice"):
        open_source(conn, "old_films", pk=["id", "ID"])


def test_a_database_without_tables() -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute("CREATE TABLE openai_batch_jobs (id INTEGER PRIMARY KEY)")
        with pytest.raises(SourceError) as caught:
            open_source(conn, "films")
    assert str(caught.value) == "No such table: 'films'. The database holds no tables."


def test_null_and_duplicate_keys(conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO people VALUES (NULL, 1), (NULL, 2)")
    conn.execute("INSERT INTO shown VALUES ('Rex', NULL, 'd')")
    cases: list[tuple[str, dict[str, Any], str]] = [
        (
            "people",
            {},
            "The key column name of people is NULL in 2 rows; each row needs a key of its own.",
        ),
        (
            "shown",
            {},
            "The key column day of shown is NULL in 1 row; each row needs a key of its own.",
        ),
        (
            "films",
            {"pk": ["director"]},
            "The key column director of films is NULL in 1 row; each row needs a key of its own.",
        ),
        (
            "films",
            {"pk": ["director"], "where": "director = 1"},
            "2 rows of films have the key director 1; each row needs a key of its own. "
            "Name columns that are unique together by --pk.",
        ),
        (
            "notes",
            {"pk": ["text"]},
            "2 rows of notes have the key text 'one'; each row needs a key of its own. "
            "Name columns that are unique together by --pk.",
        ),
    ]
    for table, options, message in cases:
        with open_source(conn, table, **options) as source, pytest.raises(SourceError) as caught:
            source.check_keys()
        assert str(caught.value) == message
    with open_source(conn, "people", where="name IS NOT NULL") as source:
        source.check_keys()
        assert len(rows(source)) == 2
    for table, order in [("people", None), ("people", "born"), ("shown", None), ("shown", "film")]:
        with (
            open_source(conn, table, order=order) as source,
            pytest.raises(SourceError, match="a NULL key"),
        ):
            rows(source)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("remakes", {"where": "year > :since", "params": {"since": "2000"}}),
        ("remakes", {"order": "year DESC -- newest", "limit": 2}),
        ("shown_remakes", {"where": "year > 2000"}),
        ("spelled", {}),
    ],
)
def test_a_key_that_a_row_beside_the_chosen_ones_has_too(
    conn: sqlite3.Connection, name: str, options: dict[str, Any]
) -> None:
    """Rows are found again by their keys alone: an answer would be written to both."""
    conn.executescript("""
        CREATE TABLE remakes (title TEXT, year INTEGER);
        INSERT INTO remakes VALUES ('Solaris', 1972), ('Solaris', 2002), ('Alien', 2003);
        CREATE VIEW shown_remakes AS SELECT * FROM remakes;
        CREATE TABLE spelled (title TEXT COLLATE NOCASE);
        INSERT INTO spelled VALUES ('Solaris'), ('SOLARIS');
    """)
    with (
        open_source(conn, name, pk=["title"], **options) as source,
        pytest.raises(SourceError, match=f"2 rows of {name} have the key title 'S"),
    ):
        source.check_keys()


def test_keys_that_only_other_rows_share_do_no_harm(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE TABLE remakes (title TEXT, year INTEGER, n INTEGER)")
    conn.execute("INSERT INTO remakes VALUES ('Solaris', 1, 1), ('Solaris', 2, 1), ('Ran', 3, 1)")
    for pk in (["title"], ["title", "n"]):
        with open_source(conn, "remakes", pk=pk, where="year > 2") as source:
            source.check_keys()


def test_a_broken_view_and_a_query_that_stops(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE VIEW broken AS SELECT * FROM gone")
    with pytest.raises(SourceError, match=r"broken can't be read: no such table: main\.gone"):
        open_source(conn, "broken", pk=["id"])
    with open_source(conn, sql="SELECT id, json(title) AS j FROM films", pk=["id"]) as source:
        with pytest.raises(SourceError) as caught:
            rows(source)
        assert str(caught.value) == "The query can't be read: malformed JSON."
    with pytest.raises(SourceError, match=r"No such column: 'titel' in films. Columns: title, "):
        list(open_source(conn, "films").pages(["titel"]))
    with pytest.raises(SourceError, match="No such column: 'titel'"):
        open_source(conn, "films").fetch(["titel"], [1])


def test_a_locked_database_is_not_called_a_bad_source(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    with (
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as conn,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.executescript(TABLES)
        source = open_source(conn, "films")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rows(source)
        other.execute("ROLLBACK")
        assert len(rows(source)) == 4


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_name_can_be_quoted(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {quote(name + '_')} TEXT)")
        assert conn.execute("SELECT name FROM pragma_table_info('t')").fetchall() == [
            ("id",),
            (name + "_",),
        ]


@pytest.mark.parametrize("collation", ["NOCASE", "RTRIM"])
@pytest.mark.parametrize("rest", ["", " WITHOUT ROWID"])
def test_a_key_that_its_column_takes_for_another(
    collation: str, rest: str, conn: sqlite3.Connection
) -> None:
    conn.execute(
        f"CREATE TABLE names (name TEXT NOT NULL COLLATE {collation}, text TEXT, "
        f"PRIMARY KEY (name COLLATE BINARY)){rest}"
    )
    same = {"NOCASE": "A", "RTRIM": "a "}[collation]
    conn.executemany("INSERT INTO names VALUES (?, ?)", [("a", "lower"), ("b", "bee")])
    with open_source(conn, "names") as source:
        source.check_keys()
        assert source.fetch(["text"], ["a"]) == {"a": ("lower",)}
    conn.execute("INSERT INTO names VALUES (?, 'other')", [same])
    with open_source(conn, "names") as source, pytest.raises(SourceError, match="names"):
        source.check_keys()
