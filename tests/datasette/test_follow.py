"""Jobs that are brought in by themselves, and what a killed Datasette leaves."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import serving
from forms import Person

from datasette_openai_batch.actions import follow
from datasette_openai_batch.new_job import threads, work
from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store import drafts, owner

BOTH = {"openai-batch-create": {"id": "ana"}, "openai-batch-manage": {"id": "ana"}}
NEW = "/data/-/openai-batch/new"
#: A process of this machine that is gone: no process has so high a number.
DEAD = f"{owner.MACHINE}-99999999-gone"
PATIENCE = 60.0


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 120.0)


@pytest.fixture
def table(run: Any, database: Any) -> Path:
    path: Path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('one'), ('two'), ('three');"
    )
    return path.resolve()


@pytest.fixture
def site(serve: Any, run: Any) -> Iterator[Callable[..., Any]]:
    paths: list[Path] = []

    def begin(path: Path, **settings: Any) -> Any:
        paths.append(path)
        plugin = {"base_url": run.base_url, **settings}
        return serve(
            path,
            config={"permissions": BOTH, "plugins": {"sqlite-utils-openai-batch": plugin}},
        )

    yield begin
    for path in paths:
        follower = follow._followers.get(str(path))
        follow.stop(str(path))
        if follower is not None:
            follower.thread.join(PATIENCE)


def value(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchone()[0]


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_done(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute("SELECT status FROM openai_batch_jobs").fetchall()
    return bool(found) and all(status == "completed" for (status,) in found)


def looked(site: Any, path: Path, **settings: Any) -> Person:
    person = Person(site(path, **settings))
    person.go(f"{NEW}?table=t")
    person.press("Look", prompt="Sum up: {{ text }}", model="gpt-4o-mini")
    assert "3 to ask" in person.text
    return person


def test_answers_come_by_themselves(site: Any, table: Path) -> None:
    person = looked(site, table, sync_every=0.1)
    assert "Check now" not in person.text
    person.press("Send", agree="1")
    until(lambda: is_done(table), "answers")
    assert value(table, "SELECT count(answer) FROM t") == 3


def test_what_the_command_line_began_is_followed(run: Any, site: Any, table: Path) -> None:
    run("run", table, "t", "--prompt", "{{ text }}", "--base-url", run.base_url, "-y", "--no-wait")
    Person(site(table, sync_every=0.1)).go("/")
    until(lambda: is_done(table), "answers")


def test_off_by_default(run: Any, site: Any, table: Path) -> None:
    person = looked(site, table)
    assert not follow.is_followed(str(table))
    assert "somebody must press Check now" in person.text


def test_a_job_of_another_key_is_left_alone(run: Any, site: Any, table: Path, held: Any) -> None:
    server, _ = held
    run("run", table, "t", "--prompt", "{{ text }}", "--base-url", server.base_url,
        "--key", "mine", "-y", "--no-wait")  # fmt: skip
    before = value(table, "SELECT checked_at FROM openai_batch_jobs")
    person = Person(site(table, sync_every=0.1))
    person.go("/")
    follower = follow._followers[str(table)]
    until(lambda: follower.said, "a warning")
    assert "left alone" in next(iter(follower.said))
    assert value(table, "SELECT checked_at FROM openai_batch_jobs") == before
    assert value(table, "SELECT status FROM openai_batch_jobs") == "running"


def test_a_round_that_breaks_is_not_the_last(
    site: Any, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[int] = []
    passes = follow.Follower.passes

    def first_broken(self: Any, conn: Any, places: Any) -> Any:
        if len(broken) < 2:
            broken.append(1)
            raise sqlite3.OperationalError("database is locked") if len(broken) == 1 else ValueError
        return passes(self, conn, places)

    monkeypatch.setattr(follow, "AFTER_ERROR", 0.05)
    monkeypatch.setattr(follow.Follower, "passes", first_broken)
    person = looked(site, table, sync_every=0.05)
    person.press("Send", agree="1")
    until(lambda: is_done(table), "answers")


# Killed


def left_by_the_dead(path: Path, status: str, **values: Any) -> str:
    """The draft as a killed process leaves it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        token = str(conn.execute("SELECT token FROM openai_batch_drafts").fetchone()[0])
        drafts.update_draft(
            conn, token, status=status, lease_owner=DEAD, lease_until="9999", **values
        )
    return token


def draft_of(path: Path) -> Any:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        token = conn.execute("SELECT token FROM openai_batch_drafts").fetchone()[0]
        return drafts.get_draft(conn, token)


@pytest.mark.parametrize("step", ["before the job", "half a job", "the job", "approved"])
@pytest.mark.parametrize("by", ["hand", "itself"])
def test_a_send_that_was_killed_goes_on_once(
    run: Any, site: Any, table: Path, step: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = looked(site, table)
    left_by_the_dead(table, "preparing", wish="send")
    if step != "before the job":
        as_the_dead_left_it(run, table, step)
    settings = {"sync_every": 0.1} if by == "itself" else {}
    person.datasette = site(table, **settings)
    person.cookies["ds_actor"] = person.datasette.sign({"a": {"id": "ana"}}, "actor")
    person.go(person.path)
    if by == "hand":
        assert "Datasette was stopped in the middle" in person.text
        person.press("Send", agree="1")
    until(lambda: draft_of(table).status == "done", "a job")
    assert value(table, "SELECT count(*) FROM openai_batch_jobs") == 1
    if by == "hand":
        run("watch", table, "--poll", "0.05")
    until(lambda: is_done(table), "answers")
    assert value(table, "SELECT count(*) FROM openai_batch_batches") == 1
    assert value(table, "SELECT count(answer) FROM t") == 3


def as_the_dead_left_it(run: Any, path: Path, step: str) -> None:
    """What a process that was killed had written by then."""
    draft = draft_of(path)
    with closing(store.connection.connect(path)) as conn:
        from datasette_openai_batch.access.settings import Settings

        job = work.prepared(conn, draft, str(path), Settings(base_url=run.base_url), None)
        if step == "half a job":
            # as `prepare` has it before its last transaction
            store.update_job(conn, job.id, requests=None, lease_owner=DEAD, lease_until="9999")
        elif step == "approved":
            work.approve(conn, job)


def test_a_look_that_was_killed_is_looked_at_again(site: Any, table: Path) -> None:
    person = looked(site, table)
    left_by_the_dead(table, "looking")
    person.go(person.path)
    assert "Datasette was stopped in the middle" in person.text
    person.go(f"{person.path}&edit=1")
    assert "Sum up: {{ text }}" in person.page.text
    person.press("Look")
    assert "3 to ask" in person.text


def test_a_try_that_was_killed_can_be_pressed_again(site: Any, table: Path) -> None:
    person = looked(site, table)
    left_by_the_dead(table, "trying")
    person.go(person.path)
    person.press("Try")
    assert "3 of 3 rows" in person.text


@pytest.mark.parametrize("button", ["Send", "Save"])
def test_after_a_try_that_was_killed_it_can_be_sent(site: Any, table: Path, button: str) -> None:
    """The page led back to itself, however often somebody pressed."""
    person = looked(site, table)
    left_by_the_dead(table, "trying")
    person.go(person.path)
    person.press(button, agree="1")
    assert person.path.endswith("/openai-batch/1")
    assert value(table, "SELECT count(*) FROM openai_batch_jobs") == 1


def test_what_was_confirmed_before_the_kill_is_not_tried_any_more(site: Any, table: Path) -> None:
    person = looked(site, table)
    left_by_the_dead(table, "preparing", wish="save")
    person.go(person.path)
    assert [button.split()[0] for button in person.buttons()] == ["Log", "Send", "Save"]


def test_a_draft_that_somebody_works_on_is_left_to_them(site: Any, table: Path) -> None:
    person = looked(site, table)
    path, data = person.filled("Send", agree="1")
    with closing(sqlite3.connect(table, isolation_level=None)) as conn:
        conn.execute(
            "UPDATE openai_batch_drafts SET status = 'preparing', wish = 'send', "
            "lease_owner = 'elsewhere-1-x', lease_until = '9999'"
        )
    person.go(person.path)
    assert "Making the job" in person.text
    assert 'http-equiv="refresh"' in person.page.text
    response = serving.run(person.datasette.client.post(path, data=data, cookies=person.cookies))
    assert response.status_code == 302
    assert not value(table, "SELECT count(*) FROM sqlite_master WHERE name = 'openai_batch_jobs'")
