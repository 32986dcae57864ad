"""`apply`: stored answers, written again without a network."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, chat_line, custom_id, request_ids, sent, statuses, take, user_dump

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.errors import JobError, OutputError, SourceError, UsageError
from sqlite_utils_openai_batch.jobs.apply import Applied, Wish, apply
from sqlite_utils_openai_batch.jobs.revert import revert
from sqlite_utils_openai_batch.tables.output import Output

TABLE = """
CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, mine TEXT);
INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', 'own'), (3, 'c', NULL);
"""


def again(conn: sqlite3.Connection, job: store.Job, **wish: Any) -> Applied:
    """Apply a job as it is now."""
    return apply(conn, store.get_job(conn, job.id), Wish(**wish))


def schema(spec: str) -> AnswerSchema:
    return AnswerSchema.parse(spec)


def test_to_another_column(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {1: "x", 2: "y"})
    applied = again(conn, job, output="kind")
    assert applied.reverted is not None
    assert applied.reverted.dropped == ["answer"]
    assert applied.written.written == 2
    assert conn.execute("SELECT * FROM t").fetchall() == [
        (1, "a", None, "x"),
        (2, "b", "own", "y"),
        (3, "c", None, None),
    ]
    assert Output.from_json(store.get_job(conn, job.id).output).names == ("kind",)
    revert(conn, store.get_job(conn, job.id))
    assert user_dump(conn) == before


def test_to_a_table_and_back(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    before = user_dump(conn)
    job = answered(conn, tmp_path, "t", {1: "x", 2: "y"})
    there = user_dump(conn)
    again(conn, job, output_table="said")
    assert conn.execute("SELECT * FROM said").fetchall() == [(1, "x"), (2, "y")]
    again(conn, job, output_table="T")
    assert user_dump(conn) == there
    revert(conn, store.get_job(conn, job.id))
    assert user_dump(conn) == before


def test_by_a_schema_that_comes_later(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    answers = {1: {"mood": "good", "n": 3}, 2: "no JSON", 3: {"mood": "odd", "n": 1}}
    job = answered(conn, tmp_path, "t", answers)
    applied = again(conn, job, schema=schema("mood good|bad, n int"), prefix="my ")
    assert applied.checked == {"ok": 1, "invalid_json": 1, "schema_violation": 1}
    assert conn.execute('SELECT id, "my mood", "my n" FROM t').fetchall() == [
        (1, "good", 3),
        (2, None, None),
        (3, None, None),
    ]
    assert statuses(conn, job) == {
        1: ("ok", "written"),
        2: ("invalid_json", None),
        3: ("schema_violation", None),
    }
    # A wider schema takes in what a narrower one refused; the prefix stays.
    applied = again(conn, job, schema=schema("mood good|bad|odd, n int"))
    assert applied.checked == {"ok": 2, "invalid_json": 1}
    assert conn.execute('SELECT "my mood" FROM t').fetchall() == [("good",), (None,), ("odd",)]
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    assert counts == {"ok": 2, "invalid_json": 1}


def test_what_was_not_written_is_tried_again(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t", output="mine", where="mine IS NULL")
    ids = request_ids(conn, job)
    conn.execute("UPDATE t SET mine = 'quick' WHERE id = 1")
    conn.execute("UPDATE t SET text = 'changed' WHERE id = 3")
    take(conn, job, tmp_path, [chat_line(custom_id(job, ids[n]), f"new {n}") for n in ids])
    assert statuses(conn, job) == {1: ("ok", "kept_existing"), 3: ("ok", "stale")}
    assert again(conn, job).written.written == 0

    conn.execute("UPDATE t SET text = 'c' WHERE id = 3")
    assert again(conn, job).written.written == 1
    assert again(conn, job, replace=True).written.written == 1
    assert conn.execute("SELECT mine FROM t").fetchall() == [("new 1",), ("own",), ("new 3",)]
    revert(conn, store.get_job(conn, job.id))
    assert conn.execute("SELECT mine FROM t").fetchall() == [("quick",), ("own",), (None,)]


def test_accept_stale(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t")
    ids = request_ids(conn, job)
    conn.execute("UPDATE t SET text = 'changed' WHERE id = 1")
    conn.execute("DELETE FROM t WHERE id = 2")
    take(conn, job, tmp_path, [chat_line(custom_id(job, ids[n]), f"new {n}") for n in ids])
    assert statuses(conn, job) == {
        1: ("ok", "stale"),
        2: ("ok", "row_gone"),
        3: ("ok", "written"),
    }
    applied = again(conn, job, accept_stale=True)
    assert (applied.written.written, applied.written.row_gone) == (1, 1)
    assert conn.execute("SELECT id, answer FROM t").fetchall() == [(1, "new 1"), (3, "new 3")]


def test_a_template_column_that_is_gone_makes_rows_stale(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t")
    ids = request_ids(conn, job)
    conn.execute("ALTER TABLE t RENAME COLUMN text TO words")
    take(conn, job, tmp_path, [chat_line(custom_id(job, ids[n]), f"new {n}") for n in ids])
    assert set(statuses(conn, job).values()) == {("ok", "stale")}
    assert again(conn, job, accept_stale=True).written.written == 3


def test_row_numbers_are_never_accepted_stale(open_db: Any, tmp_path: Path) -> None:
    conn = open_db("CREATE TABLE t (text TEXT); INSERT INTO t VALUES ('a');")
    job = answered(conn, tmp_path, "t", {1: "x"})
    with pytest.raises(UsageError) as caught:
        again(conn, job, accept_stale=True)
    assert str(caught.value) == (
        "t has no primary key: a row number may name another row by now, so changed rows are "
        "never written. Leave out --accept-stale."
    )


def test_what_speaks_against_it_is_said_before_anything_is_taken_back(
    open_db: Any, tmp_path: Path
) -> None:
    conn = open_db(TABLE + "CREATE VIEW v AS SELECT * FROM t;")
    job = answered(conn, tmp_path, "t", {1: "x"})
    before = user_dump(conn)
    wishes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"output": "mine"}, OutputError, "Column 'mine' of t already holds values in 1 row."),
        ({"output_table": "v"}, OutputError, "'v' is a view"),
        ({"output": "id"}, OutputError, "Column 'id' is the key of t"),
        ({"output": " "}, OutputError, "No column can be called ' '."),
    ]
    for wish, error, words in wishes:
        with pytest.raises(error) as caught:
            again(conn, job, **wish)
        assert words in str(caught.value)
        assert user_dump(conn) == before
    again(conn, job, output="mine", replace=True)
    assert conn.execute("SELECT mine FROM t WHERE id = 1").fetchone() == ("x",)


def test_embeddings_fit_no_schema(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t", endpoint="/v1/embeddings", model="text-embedding-3-small")
    ids = request_ids(conn, job)
    body = '{"data":[{"index":0,"embedding":[1.5,-2.0]}],"usage":{"prompt_tokens":2}}'
    lines = [
        f'{{"custom_id":"{custom_id(job, ids[n])}","response":{{"status_code":200,"body":{body}}}}}'
        for n in ids
    ]
    take(conn, job, tmp_path, "\n".join(lines).encode())
    packed = bytes.fromhex("0000c03f000000c0")  # 1.5 and -2.0, little-endian float32
    assert conn.execute("SELECT DISTINCT answer, typeof(answer) FROM t").fetchall() == [
        (packed, "blob")
    ]
    with pytest.raises(UsageError, match="are embeddings"):
        again(conn, job, schema=schema("mood"))
    again(conn, job, output="vector")
    assert conn.execute(
        "SELECT type FROM pragma_table_info('t') WHERE name = 'vector'"
    ).fetchall() == [("BLOB",)]
    assert conn.execute("SELECT DISTINCT vector FROM t").fetchall() == [(packed,)]


def test_a_job_that_wrote_nothing(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = answered(conn, tmp_path, "t", {1: "x"}, write=False)
    assert [name for _, name, *_ in conn.execute("PRAGMA table_info(t)")] == ["id", "text", "mine"]
    assert again(conn, job).written.written == 1
    assert conn.execute("SELECT answer FROM t WHERE id = 1").fetchone() == ("x",)


def test_a_view_gets_its_table(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE + "CREATE VIEW v AS SELECT id, text || '!' AS text FROM t;")
    job = answered(conn, tmp_path, "v", {1: "x", 2: "y"}, pk=["id"])
    assert conn.execute("SELECT * FROM v_answers").fetchall() == [(1, "x"), (2, "y")]
    again(conn, job, output_table="said")
    assert conn.execute("SELECT * FROM said").fetchall() == [(1, "x"), (2, "y")]
    conn.execute("DROP VIEW v")
    with pytest.raises(SourceError):
        again(conn, job, output_table="other")
    assert conn.execute("SELECT count(*) FROM said").fetchone() == (2,)


def test_a_table_that_is_gone_costs_no_answer(open_db: Any, tmp_path: Path) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t")
    ids = request_ids(conn, job)
    conn.execute("ALTER TABLE t RENAME TO moved")
    take(conn, job, tmp_path, [chat_line(custom_id(job, ids[n]), f"new {n}") for n in ids])
    assert set(statuses(conn, job).values()) == {("ok", "row_gone")}
    assert store.get_job(conn, job.id).status == "completed"
    conn.execute("ALTER TABLE moved RENAME TO t")
    assert again(conn, job).written.written == 3


def test_not_while_answers_may_come(open_db: Any) -> None:
    conn = open_db(TABLE)
    job = sent(conn, "t")
    with pytest.raises(JobError, match="isn't finished"):
        again(conn, job)


class Cut(BaseException):
    """Stands for a kill: nobody catches it."""


class Cutting(sqlite3.Connection):
    """A connection that is cut at its nth commit."""

    def __init__(self, path: Path, commits: int) -> None:
        super().__init__(path, isolation_level=None)
        self.left = commits

    def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:  # type: ignore[override]
        self.left -= sql == "COMMIT"
        if self.left < 0:
            raise Cut
        return super().execute(sql, *params)


@pytest.mark.parametrize("commits", range(12))
def test_cut_anywhere_and_called_again(commits: int, open_db: Any, tmp_path: Path) -> None:
    conn = open_db(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)"
        " INSERT INTO t SELECT i, 'row ' || i FROM n;"
    )
    job = answered(conn, tmp_path, "t", {n: {"n": n} for n in range(1, 61)})
    wish = Wish(schema=schema("n int"), output_table="said")
    with closing(Cutting(tmp_path / "data.db", commits)) as victim:
        try:
            apply(victim, job, wish)
            assert commits > 4
        except Cut:
            pass
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    assert sum(counts.values()) == 60
    apply(conn, store.get_job(conn, job.id), wish)
    assert conn.execute("SELECT * FROM said").fetchall() == [(n, n) for n in range(1, 61)]
    assert conn.execute("SELECT name FROM pragma_table_info('t')").fetchall() == [
        ("id",),
        ("text",),
    ]


# The command


def test_the_commands_say_what_they_did(run: Any, notes: Path, rows: Any) -> None:
    run("run", notes, "notes", "--prompt", "{{ text }}", *run.there, "--where", "id < 4")
    said = run("apply", notes, "1", "--output-table", "said")
    assert said.out == ""
    assert said.err == (
        "Took the answers out of 3 rows of notes.\n"
        "Dropped notes.answer.\n"
        "Wrote 3 answers to said.answer.\n"
        "Undo with: sqlite-utils openai-batch revert data.db 1\n"
    )
    assert len(rows(notes, "SELECT answer FROM said")) == 3
    said = run("revert", notes, "1")
    assert said.err == (
        "Took the answers out of 3 rows of said.\n"
        "Dropped the table said.\n"
        "The answers are kept in job 1: write them again with "
        "sqlite-utils openai-batch apply data.db 1\n"
    )
    assert run("revert", notes, "1").err.startswith("Nothing of this job was written in said.\n")
    assert run("apply", notes, "1").err.startswith("Wrote 3 answers to said.answer.\n")
    assert run("apply", notes, "1").err == "There is no answer left to write to said.answer.\n"
    run("revert", notes, "1")
    # What was taken back already is no news.
    said = run("apply", notes, "1", "--output-table", "notes", "--output", "said")
    assert said.err.startswith("Wrote 3 answers to notes.said.\n")
    run("apply", notes, "1", "--output-table", "said", "--output", "answer")
    said = run("apply", notes, "1", "--schema", "mood good|bad", code=0)
    assert "Checked 3 answers: 3 invalid_json.\n" in said.err
