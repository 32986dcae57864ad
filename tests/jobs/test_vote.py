"""`vote`: what most of several jobs say, and what share of them; nothing is sent."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_data import add_job

from sqlite_utils_openai_batch.jobs.ballot import first_of, vote

ROWS = 60
MOODS = ("good", "bad", "mixed")
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": list(MOODS)},
        "sure": {"type": "boolean"},
        "note": {"type": "string"},
    },
    "required": ["mood", "sure", "note"],
    "additionalProperties": False,
}


def columns(prefix: str) -> list[dict[str, Any]]:
    return [
        {"name": f"{prefix}mood", "type": "TEXT", "property": "mood"},
        {"name": f"{prefix}sure", "type": "INTEGER", "property": "sure"},
        {"name": f"{prefix}note", "type": "TEXT", "property": "note"},
    ]


def says(job: int, n: int) -> dict[str, Any]:
    """What a job says of a row: they differ in many."""
    return {
        "mood": MOODS[n // (1 + job) % 3],
        "sure": (n + job) % 2 == 0,
        "note": f"{job} {n}",
    }


FAILED = {0: {7: "refused"}, 1: {7: "refused", 8: "truncated"}, 2: {7: "empty"}}


def voices(n: int) -> list[str | None]:
    return [None if n in FAILED[job] else says(job, n)["mood"] for job in range(3)]


@pytest.fixture
def three(tmp_path: Path, run: Any) -> Path:
    """Three jobs over sixty rows."""
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
        conn.executemany("INSERT INTO t VALUES (?, ?, 'x')", [(n, f"t {n}") for n in range(ROWS)])
        for job in range(3):
            add(conn, job)
    return Path("data.db")


def add(conn: sqlite3.Connection, job: int, rows: int = ROWS, **more: Any) -> int:
    answers = {n: json.dumps(says(job, n)) for n in range(rows)}
    values = {"source": "t", "schema": SCHEMA, "columns": columns(f"m{job}_"), **more}
    job_id = add_job(conn, list(range(rows)), FAILED[job], answers=answers, **values)
    # one answer that no tidy model wrote
    conn.execute(
        "UPDATE openai_batch_requests SET answer = ? WHERE job_id = ? AND row_key = 5",
        [f"```json\n{answers[5]}\n```", job_id],
    )
    return job_id


def by_hand(n: int) -> tuple[str | None, float | None]:
    """The vote on a row, in another way than the program counts."""
    said = [one for one in voices(n) if one]
    if not said:
        return None, None
    best = [mood for mood in MOODS if said.count(mood) == max(map(said.count, said))]
    return (best[0] if len(best) == 1 else None), max(map(said.count, said)) / len(said)


def test_a_vote_of_three_jobs(run: Any, three: Path, rows: Any) -> None:
    said = run("vote", three, "1", "2", "3", "--column", "mood", "--output", "mood_vote")
    assert said.out == "4\n"
    found = {n: cells for n, *cells in rows(three, "SELECT id, mood_vote, mood_vote_share FROM t")}
    for n in range(ROWS):
        mood, share = by_hand(n)
        assert found[n] == [mood, pytest.approx(share)], n
    ties = sum(by_hand(n)[0] is None for n in range(ROWS) if n != 7)
    unanimous = sum(by_hand(n)[1] == 1 for n in range(ROWS))
    assert f"Voted on mood of 60 rows: {unanimous} unanimous" in said.err
    assert f"{ties} ties, 1 without an answer. Nothing was sent." in said.err
    assert f"{ties} rows have no label" in said.err
    # it is a job like others
    job = rows(three, "SELECT status, requests, skipped, cost_nanousd FROM openai_batch_jobs "
               "WHERE id = 4")  # fmt: skip
    assert job == [("completed", 59, 1, 0)]
    shown = run("show", three, "4").out
    assert "vote of jobs 1, 2, 3" in shown
    assert "Cost      none (a vote sends nothing)\nTime      counted " in shown
    assert run("results", three, "4", "--csv", "-c", "id", "-c", "mood_vote").out.count("\n") == 60
    run("revert", three, "4")
    assert "mood_vote" not in run("results", three, "1", "--csv").out


def test_all_labels_in_common_by_default(run: Any, three: Path, rows: Any) -> None:
    run("vote", three, "1", "2", "3")
    names = [name for _, name, *_ in rows(three, "PRAGMA table_info(t)")]
    assert [name for name in names if "vote" in name] == [
        "mood_vote",
        "sure_vote",
        "mood_vote_share",
        "sure_vote_share",
    ]
    found = rows(three, "SELECT id, sure_vote, typeof(sure_vote), sure_vote_share FROM t")
    for n, sure, kind, share in found:
        said = [says(job, n)["sure"] for job in range(3) if n not in FAILED[job]]
        if n == 7:
            assert (sure, share) == (None, None)
        else:
            most = Counter(said).most_common(1)[0]
            if said.count(True) * 2 == len(said):
                assert sure is None
            else:
                assert (bool(sure), kind) == (most[0], "integer")
            assert share == pytest.approx(most[1] / len(said))


def test_a_named_job_decides_ties(run: Any, three: Path, rows: Any) -> None:
    said = run("vote", three, "1", "2", "3", "--column", "mood", "--ties", "2")
    found = dict(rows(three, "SELECT id, mood_vote FROM t"))
    for n in range(ROWS):
        tie = by_hand(n)[0] is None and n != 7
        assert found[n] == (voices(n)[1] if tie else by_hand(n)[0]), n
    # row 8 has no answer of job 2, and the other two differ
    assert ("1 row has no label" in said.err) == (found[8] is None)


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=7))
def test_votes_by_another_way(said: list[str | None]) -> None:
    found, first = vote(said), first_of(said)
    cast = [one for one in said if one is not None]
    if not cast:
        assert found is None
        assert first is None
        return
    assert found is not None
    assert first is not None
    most = max(cast.count(one) for one in cast)
    winners = {one for one in cast if cast.count(one) == most}
    assert found.share == first.share == pytest.approx(most / len(cast))
    assert found.label == (winners.pop() if len(winners) == 1 else None) or len(winners) > 1
    assert first.label == next(one for one in cast if cast.count(one) == most)


def test_text_that_is_the_same_wins(tmp_path: Path, run: Any, rows: Any) -> None:
    texts = [["yes", "no", " yes"], ["yes", "no", "maybe"], ["no", "yes", "yes"]]
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
        conn.executemany("INSERT INTO t VALUES (?, 't', 'x')", [(n,) for n in range(3)])
        for job, said in enumerate(texts):
            add_job(
                conn, [0, 1, 2], source="t", schema=None, answers=dict(enumerate(said)),
                columns=[{"name": f"a{job}", "type": "TEXT", "property": None}],
            )  # fmt: skip
    run("vote", "data.db", "1", "2", "3", "--output", "voted")
    found = rows("data.db", "SELECT voted, voted_share FROM t")
    assert found == [("yes", pytest.approx(2 / 3)), ("no", pytest.approx(2 / 3)),
                     ("yes", pytest.approx(2 / 3))]  # fmt: skip


def test_rows_that_changed_since_are_left_alone(run: Any, three: Path, rows: Any) -> None:
    with closing(sqlite3.connect(three)) as conn:
        conn.execute("UPDATE openai_batch_requests SET source_hash = x'00' WHERE row_key = 4")
        conn.commit()
    said = run("vote", three, "1", "2", "3", "--column", "mood")
    assert rows(three, "SELECT mood_vote FROM t WHERE id = 4") == [(None,)]
    assert "its answer is kept in the job, not written" in said.err


BAD: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "one job": (("1",), 2, ("two jobs at least",)),
    "twice the same": (("1", "1"), 2, ("is named twice",)),
    "other rows": (("1", "rows"), 2, ("different rows", "60 rows", "30 rows")),
    "another table": (("1", "table"), 2, ("different rows", "asked about t", "about u")),
    "other labels": (("1", "labels"), 2, ("different labels", "good, bad, mixed", "good, poor")),
    "no label": (("1", "2", "--column", "note"), 2, ("No label of all jobs: note", "mood, sure")),
    "no label in common": (("1", "text"), 2, ("No label in common",)),
    "ties of another": (("1", "2", "--ties", "3"), 2, ("name one of the jobs that vote",)),
    "two columns": (("1", "2", "--output", "x"), 2, ("--column",)),
    "filled column": (("1", "2", "--column", "mood", "--output", "title"), 1, ("--replace",)),
    "unknown job": (("1", "nobody"), 1, ("nobody",)),
    "a name of digits": (("1", "2", "--name", "12"), 2, ("can't be only digits",)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, run: Any, three: Path, unchanged: Any) -> None:
    args, code, words = BAD[name]
    other = {**SCHEMA, "properties": {"mood": {"type": "string", "enum": ["good", "poor"]}},
             "required": ["mood"]}  # fmt: skip
    with closing(sqlite3.connect(three, isolation_level=None)) as conn:
        conn.execute("CREATE TABLE u (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
        add(conn, 0, 30, name="rows")
        add(conn, 0, name="table", source="u")
        answers = dict.fromkeys(range(ROWS), '{"mood":"good"}')
        for called, schema in (("labels", other), ("text", None)):
            add_job(
                conn, list(range(ROWS)), source="t", answers=answers, schema=schema, name=called,
                columns=[{"name": "x", "type": "TEXT", "property": "mood" if schema else None}],
            )  # fmt: skip
    check = unchanged(three)
    said = run("vote", three, *args, code=code)
    for word in words:
        assert word in said.err
    check()


def test_as_many_requests_are_not_the_same_rows(run: Any, three: Path, unchanged: Any) -> None:
    """A row that was asked three times, beside three rows that were asked once."""
    with closing(sqlite3.connect(three, isolation_level=None)) as conn:
        for keys, options in (([5, 5, 5], {"times": 3}), ([4, 5, 6], {})):
            add_job(
                conn, keys, source="t", schema=SCHEMA, columns=columns("x_"),
                answers={n: json.dumps(says(0, n)) for n in range(3)}, options=json.dumps(options),
            )  # fmt: skip
    check = unchanged(three)
    for jobs in (("4", "5"), ("5", "4")):
        said = run("vote", three, *jobs, "--column", "mood", code=2)
        assert "are about different rows" in said.err
    check()


def test_a_vote_cant_be_retried(run: Any, three: Path) -> None:
    run("vote", three, "1", "2", "3")
    said = run("retry", three, "4", "--where", "id < 5", "-y", code=1)
    assert "is a vote, so it asked nobody" in said.err


def test_a_vote_that_was_cut_goes_on(
    run: Any, three: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after some rows, the same command votes on the rest; nothing is voted on twice."""
    from sqlite_utils_openai_batch.jobs import vote as voting

    monkeypatch.setattr(voting, "PAGE", 10)
    count = voting.votes.insert
    calls: list[int] = []

    def cut(*args: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        count(*args)

    with monkeypatch.context() as patch:
        patch.setattr(voting.store.connection, "COMMIT_ROWS", 10)
        patch.setattr(voting.votes, "insert", cut)
        run("vote", three, "1", "2", "3", "--column", "mood", code=130)
    ((status, requests),) = rows(
        three, "SELECT status, requests FROM openai_batch_jobs WHERE id = 4"
    )
    assert (status, requests) == ("paused", 29)
    assert "vote by the same command" in run("show", three, "4").out
    run("sync", three)
    said = run("vote", three, "1", "2", "3", "--column", "mood")
    assert said.out == "4\n"
    found = dict(rows(three, "SELECT id, mood_vote FROM t"))
    assert found == {n: by_hand(n)[0] for n in range(ROWS)}
    # the rows before the cut count too
    votes = [by_hand(n) for n in range(ROWS) if n != 7]
    unanimous = sum(share == 1 for _, share in votes)
    ties = sum(mood is None for mood, _ in votes)
    assert (
        f"Voted on mood of 60 rows: {unanimous} unanimous, {59 - unanimous - ties} by majority, "
        f"{ties} ties, 1 without an answer."
    ) in said.err
