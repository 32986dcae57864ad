"""A blank cell is no value: NULL, empty text and white space, wherever values are looked for."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered

from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.tables.sql import filled_sql, is_blank

BLANKS = [None, "", " ", "\t\r\n", "\u00a0", "\u3000 \u2003", b"", b" \n"]
FILLED = ["x", " x ", "0", 0, 0.0, b"x", "\u200b", "\0"]
ASK = ("--prompt", "Say: {{ text }}")


@pytest.mark.parametrize("value", [*BLANKS, *FILLED])
def test_both_ways_of_telling_agree(value: Any) -> None:
    with closing(sqlite3.connect(":memory:")) as conn:
        (filled,) = conn.execute(f"SELECT {filled_sql('?')}", [value]).fetchone()
    assert is_blank(value) is (not filled) is (value in BLANKS)


def cells(path: Path, values: Sequence[Any], *, table: str = "t") -> Path:
    """A table of rows whose column `answer` holds these values."""
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT, answer TEXT)")
        rows = [(n, f"row {n}", value) for n, value in enumerate(values, 1)]
        conn.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
    return Path(path.name)


def asked(run: Any, *arguments: Any) -> list[Any]:
    """The prompts of all requests that a preview shows."""
    out = run("preview", *arguments, "--raw", "-n", "100").out
    return [json.loads(line)["body"]["messages"][-1]["content"] for line in out.splitlines()]


def said(rows: Any, db: Path, table: str) -> list[str]:
    """The last five characters of each answer: what it was about."""
    return [value for (value,) in rows(db, f"SELECT substr(answer, -5) FROM {table} ORDER BY id")]


def test_blank_cells_are_missing(run: Any, tmp_path: Path) -> None:
    db = cells(tmp_path / "data.db", [*BLANKS, "good"])
    assert len(asked(run, db, "t", *ASK, "--missing")) == len(BLANKS)
    assert len(asked(run, db, "t", *ASK, "--name", "n", "--changed")) == len(BLANKS)


def test_blank_cells_are_written_and_restored(run: Any, tmp_path: Path, rows: Any) -> None:
    db = cells(tmp_path / "data.db", BLANKS)
    run("run", db, "t", *ASK, *run.there)
    assert said(rows, db, "t") == [f"row {n}" for n in range(1, len(BLANKS) + 1)]
    assert rows(db, "SELECT DISTINCT write_status FROM openai_batch_requests") == [("written",)]
    run("revert", db, "1")
    assert [value for (value,) in rows(db, "SELECT answer FROM t ORDER BY id")] == BLANKS


def test_a_filled_cell_is_counted_without_the_blank_ones(run: Any, tmp_path: Path) -> None:
    db = cells(tmp_path / "data.db", ["", " ", "good", None])
    refused = run("run", db, "t", *ASK, *run.there, code=1).err
    assert "Column 'answer' of t already holds values in 1 row." in refused


def test_a_table_of_its_own(run: Any, tmp_path: Path, rows: Any) -> None:
    db = cells(tmp_path / "data.db", [None, None, None])
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn, conn:
        conn.execute("CREATE TABLE said (id INTEGER PRIMARY KEY, answer TEXT)")
        conn.execute("INSERT INTO said VALUES (1, ''), (2, char(160)), (3, 'x')")
    out = ("--output-table", "said")
    assert asked(run, db, "t", *ASK, *out, "--missing") == ["Say: row 1", "Say: row 2"]
    run("run", db, "t", *ASK, *out, "--where", "id < 3", *run.there)
    assert said(rows, db, "said") == ["row 1", "row 2", "x"]


def test_answers_written_again_beside_blank_cells(run: Any, tmp_path: Path, rows: Any) -> None:
    db = cells(tmp_path / "data.db", ["", " "])
    run("run", db, "t", *ASK, "--output", "first", *run.there)
    run("apply", db, "1", "--output", "answer")
    assert said(rows, db, "t") == ["row 1", "row 2"]


def test_a_blank_answer_isnt_asked_for_each_night(run: Any, tmp_path: Path) -> None:
    db = cells(tmp_path / "data.db", [None] * 3)
    with closing(connect(tmp_path / "data.db")) as conn:
        notes = {n: {"note": note} for n, note in enumerate(["", " ", "late"], 1)}
        answered(conn, tmp_path, "t", notes, schema="note")
    arguments = (db, "t", *ASK, "--schema", "note", "--missing")
    assert asked(run, *arguments) == []
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn, conn:
        conn.execute("UPDATE t SET note = '' WHERE id = 3")
    assert asked(run, *arguments) == ["Say: row 3"]


@pytest.mark.parametrize("blank", BLANKS)
def test_gold_that_nobody_filled_in(run: Any, tmp_path: Path, blank: Any) -> None:
    db = cells(tmp_path / "data.db", ["good", "bad", blank, blank])
    with closing(connect(tmp_path / "data.db")) as conn:
        moods = {n: {"mood": "good"} for n in range(1, 5)}
        answered(conn, tmp_path, "t", moods, schema="mood good|bad")
    printed = run("compare", db, "1", "--gold", "mood=answer", "--csv").out
    (row,) = csv.DictReader(io.StringIO(printed))
    assert (row["compared"], row["same"]) == ("2", "1")
    assert "no value in gold" in run("compare", db, "1", "--gold", "mood=answer").out
