"""Azure: its addresses, its keys, its limits."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import ConfigurationError
from sqlite_utils_openai_batch.jobs.plan.options import command_line
from sqlite_utils_openai_batch.jobs.sync.watch import poll_seconds
from sqlite_utils_openai_batch.provider import client
from sqlite_utils_openai_batch.provider.accounts import destination
from sqlite_utils_openai_batch.provider.places import Places

ASK = ("--prompt", "{{ text }}", "-m", "my-deployment")
NONE_LISTED = {"object": "list", "data": [], "has_more": False}


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, server: Any) -> str:
    """The test server as an Azure resource, with a key in the environment."""
    endpoint = str(server.base_url).removesuffix("/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint + "/")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    return endpoint


@pytest.fixture
def resource(monkeypatch: pytest.MonkeyPatch, web: Any, reply: Any) -> Any:
    """A server that has no batches, as an Azure resource; it remembers what it was sent."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", web.base_url.removesuffix("/v1"))
    for path in ("/openai/v1", "/openai"):
        web.reply(f"GET {path}/batches", reply(200, NONE_LISTED))
    return web


def job_of(path: Path) -> store.Job:
    with closing(sqlite3.connect(path)) as conn:
        conn.row_factory = sqlite3.Row
        return store.get_job(conn, 1)


@pytest.mark.parametrize("version", [None, "2024-10-21"])
def test_a_job(
    run: Any, notes: Path, rows: Any, azure: str, monkeypatch: pytest.MonkeyPatch,
    version: str | None,
) -> None:  # fmt: skip
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    run("run", notes, "notes", *ASK, "--provider", "azure", "-y", "--poll", "0.05")
    job = job_of(notes)
    assert (job.provider, job.status) == ("azure", "completed")
    assert job.base_url == f"{azure}/openai" + ("" if version else "/v1")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    assert (
        "key from AZURE_OPENAI_API_KEY"
        in run("preview", notes, "notes", *ASK, "--provider", "azure", "--output", "x").err
    )


def test_it_goes_on_without_options(run: Any, notes: Path, rows: Any, azure: str) -> None:
    run("run", notes, "notes", *ASK, "--provider", "azure", "-y", "--no-wait")
    run("watch", notes, "--poll", "0.05")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    # The next job asks like it, and its command line says where.
    run("run", notes, "notes", "--like", "1", "--output", "again", "-y", "--poll", "0.05")
    assert rows(notes, "SELECT provider FROM openai_batch_jobs") == [("azure",), ("azure",)]
    assert "--provider azure" in str(command_line(job_of(notes), "data.db"))


@pytest.mark.parametrize(
    ("version", "path"),
    [
        (None, "/openai/v1/chat/completions"),
        ("2024-10-21", "/openai/deployments/my-deployment/chat/completions"),
    ],
)
def test_try_asks_the_deployment(
    run: Any,
    notes: Path,
    server: Any,
    azure: str,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    path: str,
) -> None:
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    said = run("try", notes, "notes", *ASK, "--provider", "azure", "-n", "1", "-y")
    assert "  answer  simulated answer" in said.out
    assert server.journal()[-1]["path"] == path


# Addresses and keys


@pytest.mark.parametrize(
    ("version", "path", "header"),
    [
        (None, "/openai/v1/batches?limit=1", ("authorization", "Bearer a-key")),
        ("2024-10-21", "/openai/batches?api-version=2024-10-21&limit=1", ("api-key", "a-key")),
    ],
)
def test_a_key_goes_out_as_the_address_wants_it(
    resource: Any,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    path: str,
    header: tuple[str, str],
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    with Places() as places:
        places.remote(destination(None, None, "azure")).check()
    (asked,) = resource.asked
    assert asked.path == path
    keys = ("authorization", "api-key")
    assert [(name, asked.headers[name]) for name in keys if name in asked.headers] == [header]
    assert "openai-organization" not in asked.headers


@pytest.mark.parametrize("version", [None, "2024-10-21"])
def test_a_token_is_read_afresh_at_each_pass(
    resource: Any, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version:
        monkeypatch.setenv("OPENAI_API_VERSION", version)
    with Places() as places:
        for token in ("first", "first", "second"):
            monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", token)
            places.remote(destination(None, None, "azure")).check()
    sent = [asked.headers["authorization"] for asked in resource.asked]
    assert sent == ["Bearer first", "Bearer first", "Bearer second"]
    assert not any("api-key" in asked.headers for asked in resource.asked)


def test_a_key_goes_to_the_endpoint_that_is_set_with_it(
    resource: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    for elsewhere in ("https://evil.example.org/openai/v1", "http://127.0.0.1:1/openai/v1"):
        with pytest.raises(ConfigurationError, match=r"No key for .* Give one with --key"):
            destination(elsewhere, None, "azure")
    assert destination("https://a.openai.azure.com", "mine", "azure").key == "mine"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "Where is Azure? Set AZURE_OPENAI_ENDPOINT to https://RESOURCE.openai.azure.com"),
        ({"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}, "No key for r.openai.azure.com"),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/openai"},
            "takes a version of the API with each request: set OPENAI_API_VERSION",
        ),
        (
            {"AZURE_OPENAI_ENDPOINT": "https://me:secret@r.openai.azure.com"},
            "AZURE_OPENAI_ENDPOINT can't hold a user name or password",
        ),
    ],
)
def test_what_is_missing_is_named(
    run: Any, notes: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    code = 2 if "password" in sentence else 1
    said = run("run", notes, "notes", *ASK, "--provider", "azure", "-y", code=code)
    assert sentence in said.err
    with closing(sqlite3.connect(notes)) as conn:
        assert conn.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_a_preview_needs_no_key(run: Any, notes: Path) -> None:
    said = run("preview", notes, "notes", *ASK, "--provider", "azure", "-n", "0")
    assert "my-deployment at Azure, no key yet" in said.err


# Limits


def test_parts_are_as_large_as_azure_takes_them(run: Any, notes: Path, azure: str) -> None:
    run("preview", notes, "notes", *ASK, "--provider", "azure", "--part-requests", "100000")
    said = run("preview", notes, "notes", *ASK, "--provider", "azure",
               "--part-requests", "100001", code=2)  # fmt: skip
    assert "--part-requests 100,001 is above the cap of azure: 100,000." in said.err


def test_azure_has_no_batches_of_embeddings(run: Any, notes: Path, azure: str) -> None:
    said = run("preview", notes, "notes", *ASK, "--provider", "azure",
               "--endpoint", "/v1/embeddings", code=2)  # fmt: skip
    assert "Azure has no batches for /v1/embeddings." in said.err


def test_a_deployment_is_priced_as_a_model(run: Any, notes: Path, azure: str) -> None:
    said = run("preview", notes, "notes", *ASK, "--provider", "azure", "--price-as",
               "gpt-4o-mini", "-o", "max_tokens", "50", "-n", "0")  # fmt: skip
    assert "priced as gpt-4o-mini" in said.err


def test_a_server_on_this_machine_is_no_azure(run: Any, notes: Path) -> None:
    said = run("run", notes, "notes", *ASK, "--provider", "azure", "--local", "-y", code=2)
    assert "give only one" in said.err


def test_azure_is_asked_once_a_minute() -> None:
    class Job:
        provider = "azure"
        base_url = "https://r.openai.azure.com/openai/v1"

    assert poll_seconds(Job(), None) == 60  # type: ignore[arg-type]
    assert poll_seconds(Job(), 5) == 5  # type: ignore[arg-type]


# Files


def test_a_file_that_is_looked_through_first(
    resource: Any, reply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def file(status: str) -> dict[str, Any]:
        return {"id": "file-1", "object": "file", "status": status, "bytes": 3,
                "created_at": 1, "filename": "a.jsonl", "purpose": "batch"}  # fmt: skip

    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key")
    monkeypatch.setattr(client, "LOOK_AGAIN", 0)
    resource.reply("POST /openai/v1/files", reply(200, file("pending")))
    resource.reply(
        "GET /openai/v1/files/file-1",
        *(reply(200, file(status)) for status in ("pending", "running", "processed")),
    )
    path = tmp_path / "a.jsonl"
    path.write_text("{}\n")
    alive: list[None] = []
    with Places() as places:
        provider = places.remote(destination(None, None, "azure"))
        assert provider.upload(path, "a.jsonl", lambda: alive.append(None)) == "file-1"
    assert [asked.method for asked in resource.asked] == ["POST", "GET", "GET", "GET"]
    assert len(alive) > 3
