"""Everything that a job's commands do, from its page: route × actor × method, and the effect."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from forms import Person
from serving import fetch, press

from datasette_openai_batch.actions.actions import ACTIONS

GRANTED = {"permissions": {"openai-batch-manage": {"id": "ana"}}}
JOB = "/data/-/openai-batch/1"
ASK = ("--prompt", "{{ text }}", "--model", "gpt-4o-mini")
PRICED = ("-o", "max_tokens", "50", "--price-input", "1", "--price-output", "2")


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


@pytest.fixture
def table(run: Any, database: Any) -> Path:
    path: Path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('one'), ('[refuse] two'), ('three');"
    )
    return path


@pytest.fixture
def prepared(run: Any, table: Path) -> Path:
    run("prepare", table, "t", *ASK, *PRICED, "--base-url", run.base_url, "--max-cost", "1")
    return table


@pytest.fixture
def ended(run: Any, table: Path) -> Path:
    run("run", table, "t", *ASK, *PRICED, *run.there, "--max-cost", "1", code=3)
    return table


def value(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchone()[0]


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def opened(serve: Any, path: Path, **config: Any) -> Person:
    person = Person(serve(path, config=GRANTED | config))
    person.go(JOB)
    return person


def follow(person: Person, label: str) -> Person:
    """Follow the link with this label."""
    link = re.search(rf'href="([^"]*)">{label}', person.page.text)
    assert link, f"no {label!r} in {person.text}"
    person.go(link[1])
    return person


def to_the_end(person: Person, path: Path) -> None:
    while value(path, "SELECT status FROM openai_batch_jobs") == "running":
        person.press("Check now")


@pytest.mark.parametrize("actor", ["ben", None])
@pytest.mark.parametrize("state", ["prepared", "ended"])
def test_nobody_else_may(
    request: pytest.FixtureRequest, serve: Any, state: str, actor: str | None
) -> None:
    path = request.getfixturevalue(state)
    datasette = serve(path, config=GRANTED)
    before = dump(path)
    for action in ACTIONS:
        assert fetch(datasette, f"{JOB}/{action}", actor).status_code == 403
        assert press(datasette, JOB, f"{JOB}/{action}", actor).status_code == 403
    assert dump(path) == before


@pytest.mark.parametrize("state", ["prepared", "ended"])
def test_looking_changes_nothing(request: pytest.FixtureRequest, serve: Any, state: str) -> None:
    path = request.getfixturevalue(state)
    datasette = serve(path, config=GRANTED)
    before = dump(path)
    for action in ACTIONS:
        answer = fetch(datasette, f"{JOB}/{action}?name=x&max_cost=5&only=responses", "ana")
        assert answer.status_code in (200, 302, 404), action
    assert dump(path) == before


def test_send_a_prepared_job(serve: Any, prepared: Path) -> None:
    person = follow(opened(serve, prepared), "Send it")
    assert "3 rows of t wait to be sent to gpt-4o-mini at 127.0.0.1" in person.text
    assert "ceiling $1.00" in person.text
    person.press("Send", max_cost="2.50")
    to_the_end(person, prepared)
    assert value(prepared, "SELECT status FROM openai_batch_jobs") == "completed"
    assert value(prepared, "SELECT max_cost_nanousd FROM openai_batch_jobs") == 2_500_000_000
    assert value(prepared, "SELECT answer FROM t WHERE id = 1")
    assert "submit ana" in person.text


@pytest.mark.parametrize(
    ("typed", "says"),
    [("nothing", "nothing"), ("0", "nothing could be sent"), ("0.0000001", "can't hold")],
)
def test_a_ceiling_that_cant_be(serve: Any, prepared: Path, typed: str, says: str) -> None:
    person = follow(opened(serve, prepared), "Send it")
    person.press("Send", max_cost=typed)
    assert person.page.status_code == 400
    assert says in person.wrong("max_cost")
    assert f'value="{typed}"' in person.page.text
    assert value(prepared, "SELECT status FROM openai_batch_jobs") == "prepared"


def test_the_settings_bound_the_ceiling(serve: Any, prepared: Path) -> None:
    plugins = {"sqlite-utils-openai-batch": {"max_cost": 1.5}}
    person = follow(opened(serve, prepared, plugins=plugins), "Send it")
    person.press("Send", max_cost="2")
    assert "at most $1.50" in person.wrong("max_cost")


def test_who_may_start_jobs_may_send_a_prepared_one(serve: Any, prepared: Path) -> None:
    config = {"permissions": {"openai-batch-create": {"id": "ana"}}}
    person = Person(serve(prepared, config=config))
    person.go(JOB)
    assert "Send it" in person.text and "Delete" not in person.text
    person.press("Send", max_cost="1") if "Send" in person.buttons() else None
    assert fetch(person.datasette, f"{JOB}/delete", "ana").status_code == 403
    assert fetch(person.datasette, f"{JOB}/submit", "ana").status_code == 200


def test_pause_and_resume(serve: Any, run: Any, held: Any, notes: Path) -> None:
    server, answerer = held
    run("run", notes, "notes", *ASK, "--base-url", server.base_url, "-y", "--no-wait")
    person = opened(serve, notes)
    person.press("Pause")
    assert "1 open batch will still answer" in person.text
    follow(person, "Resume")
    assert "It was paused: paused by hand" in person.text
    person.press("Send")
    assert value(notes, "SELECT status FROM openai_batch_jobs") == "running"
    answerer.release()
    to_the_end(person, notes)
    assert value(notes, "SELECT count(answer) FROM notes") == 12


def test_ask_again_for_longer_answers(serve: Any, ended: Path) -> None:
    person = follow(opened(serve, ended), "Retry failed")
    assert "as before" in person.text
    before = re.search(r"At most (\S+)", person.text)
    person.go(f"{JOB}/retry?status=refused&max_tokens=500&model=")
    after = re.search(r"At most (\S+)", person.text)
    assert "with max_tokens 500" in person.text
    assert before and after and before[1] != after[1]
    with closing(sqlite3.connect(ended)) as conn:
        conn.execute("UPDATE t SET text = 'two' WHERE id = 2")
        conn.commit()
    person.press("Ask again")
    to_the_end(person, ended)
    assert value(ended, "SELECT count(answer) FROM t") == 3
    overrides = "SELECT overrides FROM openai_batch_parts ORDER BY id DESC LIMIT 1"
    assert value(ended, overrides) == '{"max_tokens": 500}'


def test_changes_that_nobody_looked_at_are_not_sent(serve: Any, ended: Path) -> None:
    person = follow(opened(serve, ended), "Retry failed")
    person.press("Ask again", max_tokens="5000")
    assert "look once more" in person.text
    assert value(ended, "SELECT count(*) FROM openai_batch_parts") == 1
    person.go(f"{JOB}/retry?max_tokens=many")
    assert person.page.status_code == 400 and "number of tokens" in person.wrong("max_tokens")


def test_apply_revert_and_rename(serve: Any, ended: Path) -> None:
    person = follow(opened(serve, ended), "Apply")
    assert "2 answers" in person.text
    person.press("Apply", output="other")
    assert "Wrote 2 answers to t.other." in person.text
    assert value(ended, "SELECT count(other) FROM t") == 2
    follow(person, "Apply")
    person.press("Apply", output="text")
    assert person.page.status_code == 400 and person.wrong("output")
    person.press("Apply", schema="a, a", output="")
    assert "twice" in person.wrong("schema")
    person.go(JOB)
    follow(person, "Revert")
    person.press("Revert")
    assert "Took the answers out of 2 rows" in person.text
    assert [row[1] for row in rows_of(ended)] == ["id", "text"]
    follow(person, "Rename")
    person.press("Rename", name="12")
    assert "has a letter" in person.wrong("name")
    person.press("Rename", name="pilot")
    assert "Job 1: pilot" in person.text
    assert "rename ana" in person.text


def rows_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute("SELECT * FROM pragma_table_info('t')").fetchall()


def test_delete(serve: Any, ended: Path) -> None:
    person = follow(opened(serve, ended), "Delete")
    assert "3 requests" in person.text
    person.press("Delete", only="responses")
    assert value(ended, "SELECT count(*) FROM openai_batch_responses") == 0
    follow(person, "Delete")
    person.press("Delete", only="")
    assert person.path.endswith("/-/openai-batch")
    assert value(ended, "SELECT count(*) FROM openai_batch_jobs") == 0
    assert value(ended, "SELECT count(answer) FROM t") == 2


def test_who_did_it_is_shown_to_those_who_manage_only(serve: Any, ended: Path) -> None:
    person = follow(opened(serve, ended), "Rename")
    person.press("Rename", name="pilot")
    assert "rename ana" in person.text
    for actor in ("ben", None):
        assert "ana" not in re.sub(r"<[^>]*>", "", fetch(person.datasette, JOB, actor).text)


def test_a_retry_says_each_outcome_once(serve: Any, db: Path) -> None:
    config = {"permissions": {"openai-batch-manage": {"id": "ana"}}}
    person = Person(serve(db, config=config))
    person.go("/films/-/openai-batch/1/retry")
    assert "2 rows without an answer: 1 refused, 1 truncated. They" in person.text
    person.go("/films/-/openai-batch/1/retry?status=truncated")
    assert "1 row without an answer: 1 truncated. They" in person.text
    assert person.page.text.count("checked") == 1
