"""What somebody who may change jobs can do with them from their pages."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from serving import IS_1_0, fetch, press

from datasette_openai_batch.actions import background
from sqlite_utils_openai_batch.store import leases
from sqlite_utils_openai_batch.store.connection import connect

MANAGE = "openai-batch-manage"
GRANTED = {"databases": {"data": {"permissions": {MANAGE: {"id": "ana"}}}}}
JOB = "/data/-/openai-batch/1"
ASK = ("--prompt", "{{ text }}", "--model", "gpt-4o-mini")


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


def job(path: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as conn:
        conn.row_factory = sqlite3.Row
        return dict(conn.execute("SELECT * FROM openai_batch_jobs WHERE id = 1").fetchone())


def outcomes(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as conn:
        found = conn.execute("SELECT status, count(*) FROM openai_batch_requests GROUP BY status")
        return dict(found.fetchall())


def said(datasette: Any, response: Any) -> list[str]:
    """What the next page will say: its messages travel in a cookie."""
    cookie = response.cookies["ds_messages"]
    return [text for text, _ in datasette.unsign(cookie, "messages")]


def labels(html: str) -> list[str]:
    """The actions that a page offers."""
    group = re.search(r'aria-label="What to do with this job">(.*?)</div>', html, re.DOTALL)
    return re.findall(r"<(?:button|a)[^>]*>([^<]+)<", group[1]) if group else []


@pytest.fixture
def waiting(run: Any, held: Any, notes: Path) -> tuple[Path, Any]:
    """A job whose one batch isn't answered yet, and what answers it."""
    server, answerer = held
    run("run", notes, "notes", *ASK, "--base-url", server.base_url, "-y", "--no-wait")
    return notes, answerer


@pytest.fixture
def failed(run: Any, database: Any) -> Path:
    """A job of three rows, one of which was refused."""
    path: Path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('one'), ('[refuse] two'), ('three');"
    )
    run("run", path, "t", *ASK, *run.there, "-o", "max_tokens", "50", "--price-input", "1",
        "--price-output", "2", "--max-cost", "1", code=3)  # fmt: skip
    return path


# Who may


def test_nobody_may_unless_it_is_granted(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path)
    assert "ob-actions" not in page(datasette, JOB, "ana")
    for action in ("check", "pause", "cancel", "retry"):
        assert press(datasette, JOB, f"{JOB}/{action}", "ana").status_code == 403
        assert fetch(datasette, f"{JOB}/{action}", "ana").status_code == 403
    assert job(path)["status"] == "running"


def test_only_who_was_granted_it(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    assert labels(page(datasette, JOB, "ana")) == ["Check now", "Pause", "Cancel…"]
    for actor in ("ben", None):
        assert labels(page(datasette, JOB, actor)) == []
        assert press(datasette, JOB, f"{JOB}/pause", actor).status_code == 403
    assert job(path)["status"] == "running"


@pytest.mark.parametrize("where", ["database", "instance"])
def test_where_it_is_granted(serve: Any, page: Any, waiting: Any, where: str) -> None:
    path, _ = waiting
    granted = {"permissions": {MANAGE: {"id": "ana"}}}
    config = granted if where == "instance" else {"databases": {"data": granted}}
    assert labels(page(serve(path, config=config), JOB, "ana"))


def test_another_database_is_another_matter(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    config = {"databases": {"other": {"permissions": {MANAGE: {"id": "ana"}}}}}
    assert labels(page(serve(path, config=config), JOB, "ana")) == []


def test_who_may_not_see_the_source_may_not_change_the_job(serve: Any, waiting: Any) -> None:
    path, _ = waiting
    tables = {"notes": {"allow": {"id": "ben"}}}
    config = {"databases": {"data": {**GRANTED["databases"]["data"], "tables": tables}}}
    datasette = serve(path, config=config)
    assert press(datasette, "/", f"{JOB}/pause", "ana").status_code == 403
    assert job(path)["status"] == "running"


def test_a_database_that_is_immutable_is_left_alone(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = delete")
    datasette = serve(immutables=(path,), config=GRANTED)
    assert labels(page(datasette, JOB, "ana")) == []
    assert press(datasette, JOB, f"{JOB}/pause", "ana").status_code == 403


@pytest.mark.skipif(IS_1_0, reason="1.0 looks at where a request comes from, not for a token")
def test_a_form_of_another_site_is_refused(serve: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    assert press(datasette, "/", f"{JOB}/pause", "ana", csrftoken="x").status_code == 403
    assert job(path)["status"] == "running"


# What is done


def test_check(serve: Any, page: Any, waiting: Any, rows: Callable[..., Any]) -> None:
    path, answerer = waiting
    datasette = serve(path, config=GRANTED)
    found = press(datasette, JOB, f"{JOB}/check", "ana")
    assert found.status_code == 302
    assert found.headers["location"] == JOB
    assert said(datasette, found)[0].startswith("Checked job 1: waiting for 127.0.0.1")
    answerer.release()
    while job(path)["status"] == "running":
        press(datasette, JOB, f"{JOB}/check", "ana")
    assert job(path)["status"] == "completed"
    assert rows(path, "SELECT count(answer) FROM notes") == [(12,)]
    assert labels(page(datasette, JOB, "ana")) == []


def test_pause(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    found = press(datasette, JOB, f"{JOB}/pause", "ana")
    assert said(datasette, found) == ["Job 1 is paused: nothing more is sent."]
    assert job(path)["status"] == "paused"
    assert labels(page(datasette, JOB, "ana")) == ["Check now", "Cancel…"]
    # A page that was open before still has the button.
    found = press(datasette, JOB, f"{JOB}/pause", "ana")
    assert said(datasette, found)[0].startswith("Job 1 is paused")


def test_cancel_asks_first(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    asked = page(datasette, f"{JOB}/cancel", "ana")
    assert "Cancel job 1?" in asked
    assert "12 of 12 rows wait for an answer." in asked
    assert "1 batch is stopped at 127.0.0.1" in asked
    assert job(path)["status"] == "running"
    press(datasette, f"{JOB}/cancel", f"{JOB}/cancel", "ana")
    while job(path)["status"] == "cancelling":
        press(datasette, JOB, f"{JOB}/check", "ana")
    assert job(path)["status"] == "cancelled"
    assert outcomes(path) == {"cancelled": 12}


def test_retry_repeats_the_numbers(serve: Any, page: Any, failed: Path) -> None:
    datasette = serve(failed, config=GRANTED)
    assert labels(page(datasette, JOB, "ana")) == ["Retry failed…"]
    asked = page(datasette, f"{JOB}/retry", "ana")
    assert "Ask 1 row of job 1 again?" in asked
    assert "1 row without an answer: 1 refused." in asked
    assert re.search(r"At most \$0\.000\d+ \(ceiling of the whole job \$1\.00\)\.", asked)
    assert 'name="requests" value="1"' in asked
    with closing(sqlite3.connect(failed)) as conn:
        conn.execute("UPDATE t SET text = 'two' WHERE id = 2")
        conn.commit()
    found = press(datasette, f"{JOB}/retry", f"{JOB}/retry", "ana", requests="1")
    assert said(datasette, found)[0].startswith("1 row of job 1 will be asked again. Checked job 1")
    while job(failed)["status"] == "running":
        press(datasette, JOB, f"{JOB}/check", "ana")
    assert outcomes(failed) == {"ok": 3}


@pytest.mark.parametrize("requests", ["", "2", "one", "9" * 30])
def test_a_retry_of_other_numbers_is_asked_again(serve: Any, failed: Path, requests: str) -> None:
    datasette = serve(failed, config=GRANTED)
    found = press(datasette, f"{JOB}/retry", f"{JOB}/retry", "ana", requests=requests)
    assert said(datasette, found) == [
        "The figures of job 1 have changed meanwhile: look once more."
    ]
    assert job(failed)["status"] == "completed"


def test_a_button_is_no_link(serve: Any, page: Any, waiting: Any) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    page(datasette, f"{JOB}/pause", "ana", status=404)
    assert job(path)["status"] == "running"


# What goes wrong


def test_a_datasette_without_the_key_disturbs_nothing(
    serve: Any, run: Any, held: Any, notes: Path
) -> None:
    server, _ = held
    run("run", notes, "notes", *ASK, "--base-url", server.base_url, "--key", "mine", "-y",
        "--no-wait")  # fmt: skip
    datasette = serve(notes, config=GRANTED)
    before = job(notes)
    for action in ("check", "cancel"):
        found = press(datasette, JOB, f"{JOB}/{action}", "ana")
        assert said(datasette, found) == [
            "Nothing was done: this Datasette has no key of the account that job 1 began with. "
            "Go on at the command line."
        ]
    assert job(notes) == before


def test_no_key_for_openai_is_said(serve: Any, waiting: Any) -> None:
    path, _ = waiting
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE openai_batch_jobs SET base_url = 'https://api.openai.com/v1'")
        conn.commit()
    datasette = serve(path, config=GRANTED)
    found = press(datasette, JOB, f"{JOB}/check", "ana")
    assert said(datasette, found)[0].startswith("No key for OpenAI.")
    assert job(path)["status"] == "running"


def test_a_job_that_another_process_holds(serve: Any, failed: Path) -> None:
    datasette = serve(failed, config=GRANTED)
    with closing(connect(failed)) as conn, leases.job_leased(conn, 1) as mine:
        assert mine
        # The lease is this process's, as a watch's beside it would be another's.
        conn.execute("UPDATE openai_batch_jobs SET lease_owner = 'elsewhere:1:x'")
        found = press(datasette, f"{JOB}/retry", f"{JOB}/retry", "ana", requests="1")
    assert "job 1" in said(datasette, found)[0].lower()
    assert outcomes(failed) == {"ok": 2, "refused": 1}


def test_an_error_of_ours_is_in_the_log(
    serve: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = waiting
    datasette = serve(path, config=GRANTED)
    # No input is known to break a pass in a way that nobody foresaw.
    monkeypatch.setattr(background, "one_pass", lambda *_: 1 / 0)
    found = press(datasette, JOB, f"{JOB}/check", "ana")
    assert said(datasette, found) == ["It stopped with an error: the server's log has it."]
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert background._running == {}
