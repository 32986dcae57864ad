"""The provider says that a batch has ended, and its answers come in by themselves."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from live import running
from serving import run as ask

from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer, Webhook
from sqlite_utils_openai_batch.local.batches.webhooks import sign

SECRET = "whsec_" + base64.b64encode(b"a secret for the tests").decode()
PATH = "/-/openai-batch/webhook"
PATIENCE = 30


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


def status(path: Path) -> str:
    with closing(sqlite3.connect(path)) as conn:
        return str(conn.execute("SELECT status FROM openai_batch_jobs").fetchone()[0])


def test_answers_come_in_by_themselves(
    run: Any, notes: Path, rows: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    with (
        running(notes) as datasette,
        LocalServer(
            tmp_path / "server",
            answerer=SimulatedAnswerer(duration=0.3),
            webhook=Webhook(datasette + PATH, SECRET),
            faults=["webhook-twice"],
        ) as server,
    ):
        run("run", notes, "notes", "--prompt", "{{ text }}", "--base-url", server.base_url, "-y",
            "--no-wait")  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while status(notes) != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def send(datasette: Any, body: bytes, headers: dict[str, str], method: str = "POST") -> Any:
    async def sent() -> Any:
        await datasette.invoke_startup()
        return await datasette.client.request(method, PATH, content=body, headers=headers)

    return ask(sent())


def signed(body: bytes, *, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    at = int(time.time()) - age
    return {
        "webhook-id": "wh_1",
        "webhook-timestamp": str(at),
        "webhook-signature": sign(secret, "wh_1", at, body),
    }


def event(batch_id: str, kind: str = "batch.completed") -> bytes:
    data = {"id": batch_id}
    return json.dumps(
        {"id": "evt_1", "object": "event", "created_at": 1, "type": kind, "data": data}
    ).encode()


@pytest.fixture
def waiting(run: Any, held: Any, notes: Path) -> tuple[Path, Any, str]:
    """A job whose one batch isn't answered yet, what answers it, and the batch's id."""
    server, answerer = held
    run("run", notes, "notes", "--prompt", "{{ text }}", "--base-url", server.base_url, "-y",
        "--no-wait")  # fmt: skip
    with closing(sqlite3.connect(notes)) as conn:
        (batch_id,) = conn.execute("SELECT batch_id FROM openai_batch_batches").fetchone()
    return notes, answerer, batch_id


def test_a_webhook_of_each_kind_looks_after_the_job(
    serve: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    path, answerer, batch_id = waiting
    datasette = serve(path)
    answerer.release()
    deadline = time.monotonic() + PATIENCE
    while status(path) != "completed":
        assert time.monotonic() < deadline
        body = event(batch_id, "batch.expired")
        assert send(datasette, body, signed(body)).status_code == 200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"webhook-signature": "v1,AAAA"}, 400),
        ({"webhook-signature": ""}, 400),
        ({"webhook-timestamp": "yesterday"}, 400),
        ({"content-length": "999999999"}, 413),
    ],
)
def test_what_is_not_signed_is_refused(
    serve: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch, change: Any, expected: int
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    path, _, batch_id = waiting
    body = event(batch_id)
    found = send(serve(path), body, {**signed(body), **change})
    assert found.status_code == expected


def test_other_secrets_old_ones_and_none(
    serve: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, batch_id = waiting
    datasette, body = serve(path), event(batch_id)
    assert send(datasette, body, signed(body)).status_code == 404
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    other = "whsec_" + base64.b64encode(b"another").decode()
    for headers in (signed(body, secret=other), signed(body, age=600), {}):
        assert send(datasette, body, headers).status_code == 400
    assert send(datasette, b"", {}, "GET").status_code == 405


@pytest.mark.parametrize(
    "body",
    [event("batch_of_somebody_else"), event("resp_1", "response.completed"), event("")],
)
def test_what_is_no_batch_of_ours_changes_nothing(
    serve: Any, waiting: Any, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    path, answerer, _ = waiting
    answerer.release()
    assert send(serve(path), body, signed(body)).status_code == 200
    assert status(path) == "running"


def test_a_database_without_jobs_and_one_that_is_gone(
    serve: Any, waiting: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    path, answerer, batch_id = waiting
    answerer.release()
    gone = database("CREATE TABLE t (id)", "gone.db")
    datasette = serve(gone, database("CREATE TABLE t (id)", "empty.db"), path)
    body = event("")
    assert send(datasette, body, signed(body)).status_code == 200
    gone.unlink()
    body = event(batch_id)
    deadline = time.monotonic() + PATIENCE
    while status(path) != "completed":
        assert time.monotonic() < deadline
        assert send(datasette, body, signed(body)).status_code == 200


def test_what_goes_wrong_shows_no_secret(
    serve: Any, waiting: Any, told: list[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path, _, batch_id = waiting
    key, body = "sk-of-the-plugin-0123456789", event(batch_id)
    settings = {"sync_every": "often", "key": key}
    datasette = serve(path, config={"plugins": {"sqlite-utils-openai-batch": settings}})
    assert send(datasette, body, signed(body)).status_code == 404
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    assert send(datasette, body, signed(body)).status_code == 503
    assert "sync_every" in caplog.text
    monkeypatch.setattr("datasette_openai_batch.data.queries.jobs_with_batch", None)
    assert send(datasette, body, signed(body)).status_code == 500
    assert len(told) == 2
    assert not [one for one in told if key[:12] in one or SECRET[:12] in one]
