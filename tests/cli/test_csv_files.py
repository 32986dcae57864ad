"""`run survey.csv`: a CSV file in place of a database."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ASK = ("--prompt", "Say: {{ comment }}")
SURVEY = "id,zip,comment\n1,01234,Warm\n2,90210,Cold\n"


def table(path: str, name: str = "survey") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(f'SELECT * FROM "{name}"').fetchall()


def test_a_csv_file_becomes_a_database_beside_it_and_answers_a_csv(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    said = run("run", "survey.csv", *ASK, "--csv-out", "answers.csv", *run.there)
    assert "Made survey.db of survey.csv: table survey, 2 rows." in said.err
    rows = table("survey.db")
    assert [row[:3] for row in rows] == [(1, "01234", "Warm"), (2, "90210", "Cold")]
    assert [row[3].partition(": ")[2] for row in rows] == ["Say: Warm", "Say: Cold"]
    with open("answers.csv", newline="", encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    assert [row["zip"] for row in told] == ["01234", "90210"]
    assert [row["answer"] for row in told] == [row[3] for row in rows]
    assert Path("answers.csv").read_text() == run("results", "survey.db", "--csv").out
    assert sorted(path.name for path in Path().iterdir() if path.suffix) == [
        "answers.csv", "survey.csv", "survey.db",
    ]  # fmt: skip


def test_the_second_time_the_database_is_there(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    run("run", "survey.csv", *ASK, *run.there)
    said = run("run", "survey.csv", *ASK, "--missing", *run.there)
    assert "was made of survey.csv before" in said.err and "nothing to ask" in said.err
    Path("survey.csv").write_text(SURVEY + "3,11111,New\n")
    before = Path("survey.db").read_bytes()
    said = run("run", "survey.csv", *ASK, "--missing", *run.there, code=1)
    assert "the file has changed since" in said.err
    assert Path("survey.db").read_bytes() == before


def test_a_database_of_something_else_is_left_alone(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    with closing(sqlite3.connect("survey.db")) as conn:
        conn.execute("CREATE TABLE survey (comment)")
    before = Path("survey.db").read_bytes()
    said = run("run", "survey.csv", *ASK, *run.there, code=1)
    assert "wasn't made of 'survey.csv'" in said.err
    assert Path("survey.db").read_bytes() == before


def test_a_preview_leaves_no_database(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    for command in (("preview", "survey.csv"), ("run", "survey.csv", "--dry-run")):
        said = run(*command, *ASK)
        assert "Say: Warm" in said.out
    assert [path.name for path in Path().iterdir() if path.suffix] == ["survey.csv"]


def test_nothing_is_made_where_nothing_may_be_sent(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    said = run("run", "survey.csv", *ASK, code=2)
    assert "needs -y or --max-cost" in said.err
    assert not Path("survey.db").exists()


def test_it_is_asked_first(run: Any, terminal: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    there = terminal("run", "survey.csv", *ASK, "--base-url", run.base_url)
    there.answer("Make survey.db of survey.csv? [y/N]", "n\n")
    assert "Nothing was made" in there.end(0)
    assert not Path("survey.db").exists()


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"id;zip;comment\n1;007;a,b\n2;12;c\n", [(1, "007", "a,b"), (2, "12", "c")]),
        ("id\tcomment\n1\tx\n".encode("utf-16"), [(1, "x")]),
        ("id,comment\n1,Größe\n".encode("cp1252"), [(1, "Größe")]),
        ("\ufeffid|comment\n1.5|x\n2|y\n".encode(), [(1.5, "x"), (2.0, "y")]),
        (b'comment\n"two\nlines"\n\nthree\n', [("two\nlines",), ("three",)]),
        (b"id, comment\n1, No\n2, \"a, b\"\n", [(1, "No"), (2, "a, b")]),
        (b",comment\n0,a\n1,b\n", [(0, "a"), (1, "b")]),
        (b"phone,comment,comment\n+49123,a,b\n", [("+49123", "a", "b")]),
        (b"tweet,comment\n12345678901234567890,a\n1,b\n",
         [("12345678901234567890", "a"), ("1", "b")]),
    ],
)  # fmt: skip
def test_types_encodings_and_delimiters(run: Any, data: bytes, rows: list[Any]) -> None:
    Path("survey.csv").write_bytes(data)
    run("prepare", "survey.csv", *ASK, "--base-url", run.base_url)
    assert table("survey.db") == rows


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"id,comment\n", "no rows"),
        (b"id,comment\n1,a\n2,b,c\n", "line 3: 3 fields, and the header has 2"),
        (b'id,comment\n1,a\n2,"cut off\nin the mid', "ends inside a text in quotes"),
        (b"id,comment\n1,\x81\xff\n", "neither UTF-8 nor Windows-1252"),
    ],
)
def test_a_file_that_is_wrong(run: Any, data: bytes, said: str) -> None:
    Path("survey.csv").write_bytes(data)
    assert said in run("run", "survey.csv", *ASK, *run.there, code=1).err
    assert [path.name for path in Path().iterdir() if path.suffix] == ["survey.csv"]


def test_the_csv_of_answers_never_takes_the_place_of_what_is_asked(run: Any) -> None:
    Path("survey.csv").write_text(SURVEY)
    said = run("run", "survey.csv", *ASK, "--csv-out", "./survey.csv", *run.there, code=2)
    assert "would overwrite" in said.err
    said = run("run", "survey.csv", *ASK, "--csv-out", "a.csv", "--no-wait", *run.there, code=2)
    assert "--no-wait" in said.err
    assert Path("survey.csv").read_text() == SURVEY
    assert not Path("survey.db").exists()
