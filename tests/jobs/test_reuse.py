"""--reuse: identical requests once, answers of earlier jobs, and rows that change meanwhile."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.sync.settle import share
from sqlite_utils_openai_batch.store.connection import connect

ASK = ("--prompt", "Say: {{ text }}", "--reuse")
SAME = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
    "INSERT INTO t (text) VALUES ('a'), ('b'), ('a'), ('c'), ('b'), ('a'), (NULL);"
)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(statement)


def sent(server: Any, since: int) -> list[str]:
    """What the server's batches asked since then, in order."""
    return [entry["path"] for entry in server.journal()[since:] if entry["method"] == "POST"]


def prompts(answers: list[tuple[Any, ...]]) -> list[str | None]:
    return [answer and answer.rpartition(": ")[2] for (answer,) in answers]


ANSWERS = "SELECT answer FROM t ORDER BY id"
SHARES = "SELECT row_key, status, same_as, write_status FROM openai_batch_requests ORDER BY id"


@pytest.mark.parametrize("size", ["50", "2", "1"])
def test_identical_requests_are_asked_once(run: Any, database: Any, rows: Any, size: str) -> None:
    db = database(SAME)

    said = run("run", db, "t", *ASK, *run.there, "--part-requests", size)

    assert "6 of 6 rows answered" in said.err
    assert prompts(rows(db, ANSWERS)) == ["a", "b", "a", "c", "b", "a", None]
    assert rows(db, SHARES) == [
        (1, "ok", None, "written"),
        (2, "ok", None, "written"),
        (3, "ok", 1, "written"),
        (4, "ok", None, "written"),
        (5, "ok", 2, "written"),
        (6, "ok", 1, "written"),
    ]
    assert rows(db, "SELECT sum(requests) FROM openai_batch_parts") == [(3,)]
    tokens = rows(db, "SELECT count(prompt_tokens) FROM openai_batch_requests")
    assert tokens == [(3,)]
    assert rows(db, "SELECT status, requests, skipped FROM openai_batch_jobs") == [
        ("completed", 6, 1)
    ]


def test_the_screen_says_so(run: Any, database: Any) -> None:
    db = database(SAME)
    without = run("preview", db, "t", *ASK[:2]).err
    said = run("preview", db, "t", *ASK).err
    assert "Same      3 identical requests (--reuse would send them once)\n" in without
    assert "Rows      7 rows in t · 3 to ask · 1 blank, skipped\n" in said
    assert "Same      3 identical requests not sent twice\n" in said


def test_answers_of_earlier_jobs_are_taken(run: Any, database: Any, rows: Any, server: Any) -> None:
    db = database(SAME)
    run("run", db, "t", *ASK, "--where", "text = 'a'", *run.there)
    change(db, "CREATE TABLE other (id INTEGER PRIMARY KEY, text TEXT)")
    change(db, "INSERT INTO other (text) VALUES ('b'), ('a'), ('a')")

    run("run", db, "other", *ASK, *run.there)

    assert prompts(rows(db, "SELECT answer FROM other")) == ["b", "a", "a"]
    shared = rows(db, "SELECT same_as FROM openai_batch_requests WHERE job_id = 2 ORDER BY id")
    assert shared == [(None,), (1,), (1,)]
    # everything is known by now: nothing is sent, and all is written
    before = len(server.journal())
    run("run", db, "other", *ASK, "--output", "again", *run.there)
    assert sent(server, before) == []
    assert prompts(rows(db, "SELECT again FROM other")) == ["b", "a", "a"]
    assert rows(db, "SELECT status FROM openai_batch_jobs") == [("completed",)] * 3


def test_another_prompt_or_without_the_option_asks(run: Any, database: Any, rows: Any) -> None:
    db = database(SAME)
    run("run", db, "t", *ASK, *run.there)
    run("run", db, "t", *ASK[:2], "--output", "second", *run.there)
    run("run", db, "t", "--prompt", "Sing: {{ text }}", "--reuse", "--output", "third", *run.there)
    sums = rows(db, "SELECT job_id, sum(requests) FROM openai_batch_parts GROUP BY job_id")
    assert sums == [(1, 3), (2, 6), (3, 3)]


def test_columns_in_another_order_are_another_question(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE ab (id INTEGER PRIMARY KEY, a TEXT, b TEXT);"
        "INSERT INTO ab VALUES (1, 'x', 'y');"
        "CREATE TABLE ba (id INTEGER PRIMARY KEY, b TEXT, a TEXT);"
        "INSERT INTO ba VALUES (1, 'x', 'y');"
    )
    ask = ("--prompt", "{{ a }} before {{ b }}", "--reuse")
    run("run", db, "ab", *ask, *run.there)
    run("run", db, "ba", *ask, *run.there)
    (answer,) = rows(db, "SELECT answer FROM ba")
    assert answer[0].endswith("y before x")


def test_a_failure_is_shared_and_retried_together(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('[refuse]'), ('[refuse]'), ('x');"
    )
    run("run", db, "t", *ASK, *run.there, code=3)
    statuses = "SELECT status FROM openai_batch_requests ORDER BY id"
    assert rows(db, statuses) == [("refused",), ("refused",), ("ok",)]

    run("retry", db, "1", "-y", "--poll", "0.05", code=3)

    assert rows(db, statuses) == [("refused",), ("refused",), ("ok",)]
    assert rows(db, "SELECT requests FROM openai_batch_parts") == [(2,), (1,)]


def test_when_the_row_that_is_asked_changes_the_others_are_asked_themselves(
    run: Any, database: Any, rows: Any
) -> None:
    db = database(SAME)
    run("prepare", db, "t", *ASK, *run.there[:2])
    change(db, "UPDATE t SET text = 'new' WHERE id = 1")
    change(db, "DELETE FROM t WHERE id = 2")

    run("submit", db, "-y")
    run("watch", db, "--poll", "0.05", code=3)

    assert prompts(rows(db, ANSWERS)) == ["new", "a", "c", "b", "a", None]
    found = rows(db, SHARES)
    assert [(key, status) for key, status, _, _ in found if status != "ok"] == [(2, "unrenderable")]


def test_a_cancelled_job_leaves_nothing_pending(
    run: Any, database: Any, rows: Any, held: Any
) -> None:
    db = database(SAME)
    run("prepare", db, "t", *ASK, "--base-url", held[0].base_url)
    run("cancel", db, "1", code=3)
    statuses = rows(db, "SELECT DISTINCT status FROM openai_batch_requests")
    assert statuses == [("cancelled",)]
    assert rows(db, "SELECT status FROM openai_batch_jobs") == [("cancelled",)]


def test_what_can_not_be_told_apart(run: Any, database: Any) -> None:
    db = database(SAME)
    change(db, "ALTER TABLE t ADD COLUMN answer TEXT")
    said = run("preview", db, "t", "--prompt", "{{ text }} {{ answer }}", "--reuse", code=2)
    assert said.err == (
        "Error: --reuse: the prompt reads a column that the answers go to. Leave it out.\n"
    )


def test_it_works_with_a_schema(run: Any, database: Any, rows: Any) -> None:
    db = database(SAME)
    ask = ("--prompt", "{{ text }}", "--reuse")
    run("run", db, "t", *ask, "--schema", "mood good|bad, note", *run.there)
    found = rows(db, "SELECT text, mood, note FROM t WHERE text IS NOT NULL")
    assert len({(mood, note) for text, mood, note in found if text == "a"}) == 1
    assert all(mood in ("good", "bad") for _, mood, _ in found)
    (options,) = rows(db, "SELECT options FROM openai_batch_jobs")
    assert json.loads(options[0])["reads"] == ["text"]


def test_answers_to_other_parameters_are_not_taken(
    run: Any, database: Any, rows: Any, server: Any
) -> None:
    """A retry asked with another parameter: what answered that is an answer to something else."""
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    run("run", db, "t", *ASK, *run.there)
    change(db, "UPDATE openai_batch_requests SET status = 'truncated', answer = NULL")
    run("retry", db, "1", "-y", "--poll", "0.05", "--set", "max_tokens=50")
    assert rows(db, "SELECT status FROM openai_batch_requests") == [("ok",)]

    before = len(server.journal())
    run("run", db, "t", *ASK, "--output", "second", *run.there)

    assert len(sent(server, before)) == 2
    assert rows(db, "SELECT same_as FROM openai_batch_requests WHERE job_id = 2") == [(None,)]


def test_answers_by_another_schema_are_not_taken(run: Any, database: Any, rows: Any) -> None:
    """`apply` may have made an answer ok that the schema of the question refuses."""
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    ask = ("--prompt", "{{ text }}", "--reuse", "--schema", "mood good|bad")
    run("run", db, "t", *ask, *run.there)
    change(
        db,
        """UPDATE openai_batch_requests SET status = 'schema_violation',
           answer = '{"mood": "odd"}', write_status = NULL""",
    )
    change(db, """UPDATE openai_batch_parts SET outcomes = '{"schema_violation": 1}'""")
    run("apply", db, "1", "--schema", "mood", "--prefix", "first_")
    assert rows(db, "SELECT status FROM openai_batch_requests") == [("ok",)]

    run("run", db, "t", *ask, "--prefix", "second_", *run.there)

    ((mood, same_as),) = rows(db, "SELECT second_mood, same_as FROM t JOIN openai_batch_requests "
                                  "ON job_id = 2")  # fmt: skip
    assert mood in ("good", "bad")
    assert same_as is None


def test_an_answer_that_was_taken_can_be_asked_for_again(
    run: Any, database: Any, rows: Any, server: Any
) -> None:
    """By another schema it is none: `retry` asks for it, though it was an earlier job's."""
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t VALUES (1, 'a');"
    )
    run("run", db, "t", *ASK, *run.there)
    run("run", db, "t", *ASK, "--output", "second", *run.there)
    change(db, "UPDATE openai_batch_requests SET status = 'schema_violation' WHERE job_id = 2")
    change(
        db,
        """UPDATE openai_batch_parts SET outcomes = '{"schema_violation": 1}', written_at = NULL
           WHERE job_id = 2""",
    )

    before = len(server.journal())
    run("retry", db, "2", "-y", "--poll", "0.05")

    assert len(sent(server, before)) == 2
    assert rows(db, "SELECT status FROM openai_batch_requests") == [("ok",), ("ok",)]


def test_two_processes_share_once(run: Any, database: Any) -> None:
    """Between one's look and its turn to write, the other has done it, and its part is sent."""
    db = database(SAME)
    run("prepare", db, "t", *ASK, *run.there[:2])
    change(db, "UPDATE openai_batch_requests SET status = 'ok', source_hash = x'00' WHERE id = 1")
    change(db, "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at")
    with closing(connect(db)) as one, closing(connect(db)) as other:
        job = store.get_job(one, 1)

        def first(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":
                one.set_trace_callback(None)
                share(other, job)

        one.set_trace_callback(first)
        share(one, job)
        parts = [part.counts for part in store.list_parts(one, 1)]
    # Rows 3 and 6 shared with row 1, and are asked together.
    assert parts[1:] == [{"pending": 2}]
