"""What people say beside the answers: in downloads, in the view, and in the table."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.reviews import Review

SCHEMA = "mood good|bad|mixed, tags list, why"


@pytest.fixture
def data(tmp_path: Path, run: Any, journal: str) -> Path:
    """Six rows that a job answered, the last one not; people labelled four of them."""
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute(f"PRAGMA journal_mode = {journal}")
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"text, {n}") for n in range(1, 7)])
    with closing(connect(tmp_path / "data.db")) as conn:
        said = {n: {"mood": "good", "tags": ["a"], "why": f"é {n}"} for n in range(1, 6)}
        answered(conn, tmp_path, "t", said, schema=SCHEMA)
    label(tmp_path / "data.db", [(1, "mood", "bad"), (2, "mood", "good"), (6, "mood", "mixed")])
    label(tmp_path / "data.db", [(1, "tags", '["b"]')])
    label(tmp_path / "data.db", [(3, "mood", "bad"), (3, "mood", "mixed")])  # the newest counts
    return Path("data.db")


def label(path: Path, said: list[tuple[int, str, Any]], coder: str = "anna") -> None:
    with closing(connect(path)) as conn:
        for key, column, value in said:
            request = store.reviews.request_of(conn, 1, key)
            assert request is not None
            store.reviews.record(conn, 1, [Review(request, column, value, coder)])


WANTED = [
    ["id", "text", "mood", "tags", "why", "mood_reviewed", "mood_final", "tags_reviewed",
     "tags_final", "status", "error"],
    ["1", "text, 1", "good", '["a"]', "é 1", "bad", "bad", '["b"]', '["b"]', "ok", ""],
    ["2", "text, 2", "good", '["a"]', "é 2", "good", "good", "", '["a"]', "ok", ""],
    ["3", "text, 3", "good", '["a"]', "é 3", "mixed", "mixed", "", '["a"]', "ok", ""],
    ["4", "text, 4", "good", '["a"]', "é 4", "", "good", "", '["a"]', "ok", ""],
    ["5", "text, 5", "good", '["a"]', "é 5", "", "good", "", '["a"]', "ok", ""],
]  # fmt: skip


def test_every_download_has_what_people_say(run: Any, data: Path) -> None:
    for options in (("--csv",), ("--csv", "--escape-formulas")):
        found = list(csv.reader(io.StringIO(run("results", data, *options).out)))
        assert found[:6] == WANTED
        assert found[6][2:9] == ["", "", "", "mixed", "mixed", "", ""]
    lines = run("results", data, "--nl", "-c", "mood_final", "-c", "id").out.splitlines()
    first = json.loads(lines[0])
    assert first == {"mood_final": "bad", "id": 1}
    run("results", data, "--xlsx", "a.xlsx")


def test_the_view_has_what_people_say(data: Path, rows: Any) -> None:
    found = rows(data, "SELECT reviewed, final FROM openai_batch_results ORDER BY row_key")
    assert json.loads(found[0][0]) == {"mood": "bad", "tags": ["b"]}
    assert json.loads(found[0][1]) == {"mood": "bad", "tags": ["b"], "why": "é 1"}
    assert json.loads(found[2][1])["mood"] == "mixed"
    assert found[3][0] is None
    assert json.loads(found[3][1]) == {"mood": "good", "tags": ["a"], "why": "é 4"}
    assert json.loads(found[5][1]) == {"mood": "mixed"}


def test_where_coders_differ_the_answer_stays(run: Any, data: Path, rows: Any) -> None:
    label(data, [(1, "mood", "mixed")], "ben")
    (first, *_) = csv.DictReader(io.StringIO(run("results", data, "--csv").out))
    assert (first["mood_reviewed"], first["mood_final"]) == ("", "good")
    ((final,),) = rows(data, "SELECT final FROM openai_batch_results WHERE row_key = 1")
    assert json.loads(final)["mood"] == "good"


TABLE = "SELECT id, mood, mood_reviewed, mood_final, tags_final FROM t"


def test_written_beside_the_rows_and_undone(run: Any, data: Path, rows: Any) -> None:
    run("apply", data, "1", "--reviewed")
    assert rows(data, TABLE)[:4] == [
        (1, "good", "bad", "bad", '["b"]'), (2, "good", "good", "good", '["a"]'),
        (3, "good", "mixed", "mixed", '["a"]'), (4, "good", None, "good", '["a"]'),
    ]  # fmt: skip
    found = list(csv.reader(io.StringIO(run("results", data, "--csv").out)))
    assert found[:6] == WANTED, "the table's own columns aren't shown twice"
    run("revert", data, "1")
    assert [row[1] for row in rows(data, "SELECT * FROM pragma_table_info('t')")] == ["id", "text"]


def test_written_again_with_more_labels_never_over_an_edited_cell(
    run: Any, data: Path, tmp_path: Path, rows: Any
) -> None:
    run("apply", data, "1", "--reviewed")
    with closing(sqlite3.connect(tmp_path / "data.db")) as conn, conn:
        conn.execute("UPDATE t SET mood_final = 'mine' WHERE id = 2")
    label(data, [(2, "mood", "bad"), (4, "mood", "bad")])
    run("apply", data, "1", "--reviewed")
    found = {row[0]: row[1:4] for row in rows(data, TABLE)}
    assert found[4] == ("good", "bad", "bad")
    assert found[2][2] == "mine"
    assert found[1] == ("good", "bad", "bad")


def test_answers_without_a_schema(run: Any, tmp_path: Path, rows: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.executemany("INSERT INTO t VALUES (?, 'x')", [(1,), (2,)])
    with closing(connect(tmp_path / "data.db")) as conn:
        answered(conn, tmp_path, "t", {1: "yes", 2: "no"}, output="verdict")
    label(tmp_path / "data.db", [(2, "answer", "perhaps")])
    found = list(csv.DictReader(io.StringIO(run("results", "data.db", "--csv").out)))
    assert [(row["verdict"], row["verdict_final"]) for row in found] == [
        ("yes", "yes"), ("no", "perhaps"),
    ]  # fmt: skip
    run("apply", "data.db", "1", "--reviewed")
    assert rows("data.db", "SELECT verdict_final FROM t") == [("yes",), ("perhaps",)]
    assert rows("data.db", "SELECT final FROM openai_batch_results") == [("yes",), ("perhaps",)]


def test_nobody_labelled_anything(run: Any, tmp_path: Path, data: Path, rows: Any) -> None:
    with closing(connect(tmp_path / "data.db")) as conn:
        conn.execute("DELETE FROM openai_batch_reviews")
    said = run("apply", data, "1", "--reviewed", code=2).err
    assert "Nobody has labelled a row of job 1 yet" in said
    assert "mood_final" not in run("results", data, "--csv").out
