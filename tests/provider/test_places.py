"""Which server and which key: `destination`, and the servers that a command opens."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base import errors
from sqlite_utils_openai_batch.local.server import listen
from sqlite_utils_openai_batch.provider.accounts import destination
from sqlite_utils_openai_batch.provider.places import Places

OPENAI = "https://api.openai.com/v1"
ELSEWHERE = "http://127.0.0.1:8000/v1"
KEY = "sk-test-1234567890abcdef"
ASK = ("--prompt", "Say: {{ text }}")

# What is tested doesn't depend on how SQLite keeps its journal.
only_delete = pytest.mark.parametrize("journal", ["delete"], indirect=True)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set variables as their owner might have: `environment(api_key=…, base_url=…)`."""

    def have(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"OPENAI_{name.upper()}", value)

    return have


# Which key goes where


def test_the_key_of_the_environment_goes_to_openai(environment: Any) -> None:
    environment(api_key=KEY)
    for url in (None, OPENAI, OPENAI + "/", "https://API.openai.com/v1"):
        there = destination(url, None)
        assert (there.key, there.key_from, there.host) == (KEY, "OPENAI_API_KEY", "api.openai.com")


def test_the_key_of_the_environment_goes_to_the_address_set_with_it(environment: Any) -> None:
    environment(api_key=KEY, base_url=ELSEWHERE + "/")
    for url in (None, ELSEWHERE):
        there = destination(url, None)
        assert (there.base_url, there.key) == (ELSEWHERE, KEY)
    # It isn't OpenAI's then.
    with pytest.raises(errors.ConfigurationError):
        destination(OPENAI, None)


@pytest.mark.parametrize(
    "url",
    [
        ELSEWHERE,
        "https://api.openai.com.example.com/v1",
        "https://example.com/api.openai.com/v1",
        "https://openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://xapi.openai.com/v1",
    ],
)
def test_the_key_of_the_environment_goes_nowhere_else(url: str, environment: Any) -> None:
    environment(api_key=KEY)
    there = destination(url, None)
    assert (there.key, there.key_from) == ("none", "no key")


def test_the_key_of_the_environment_is_not_sent_in_the_clear(environment: Any) -> None:
    environment(api_key=KEY)
    with pytest.raises(errors.ConfigurationError):
        destination("http://api.openai.com/v1", None)


def test_a_key_that_is_given_goes_where_it_is_told(environment: Any) -> None:
    environment(api_key="another")
    there = destination(ELSEWHERE, KEY)
    assert (there.key, there.key_from) == (KEY, "--key")


def test_a_key_stored_by_llm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    assert destination(None, "work").key == "work"
    (tmp_path / "keys.json").write_text(json.dumps({"// Note": "secrets", "work": KEY}))
    there = destination(None, "work")
    assert (there.key, there.key_from) == (KEY, "llm's key 'work'")
    assert destination(None, "home").key == "home"
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(errors.ConfigurationError, match="llm's file of keys can't be read"):
        destination(None, "work")


def test_an_account_tells_keys_apart_and_gives_nothing_away() -> None:
    accounts = {destination(ELSEWHERE, key).account for key in ("one-key", "two-key")}
    assert len(accounts) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:8000:[0-9a-f]{10}", account) for account in accounts)
    assert destination(ELSEWHERE, "one-key").account == destination(ELSEWHERE, "one-key").account


def test_passwords_in_addresses_are_refused(environment: Any) -> None:
    with pytest.raises(errors.UsageError, match=r"^--base-url can't hold a user name"):
        destination("https://me:secret@example.com/v1", None)
    environment(base_url="https://me@example.com/v1")
    with pytest.raises(errors.UsageError, match=r"^OPENAI_BASE_URL can't hold a user name"):
        destination(None, KEY)


# The key on its way


@only_delete
def test_a_key_is_kept_nowhere(run: Any, notes: Path, tmp_path: Path, environment: Any) -> None:
    environment(api_key=KEY, base_url=run.base_url)
    said = [
        run("preview", notes, "notes", *ASK),
        run("run", notes, "notes", *ASK, "-y", "--poll", "0.05"),
        run("show", notes), run("show", notes, "--log"), run("jobs", notes, "--nl"),
        run("results", notes),
    ]  # fmt: skip
    assert "key from OPENAI_API_KEY" in said[0].err
    assert not [one for one in said if KEY in one.out + one.err]
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert tmp_path / notes in kept
    assert not [file for file in kept if KEY.encode() in file.read_bytes()]


@only_delete
def test_a_key_in_an_error_is_kept_nowhere(
    run: Any, notes: Path, tmp_path: Path, web: Any, reply: Any
) -> None:
    web.reply("GET /batches", reply(200, {"data": []}))
    web.reply("POST /files", reply(403, {"error": {"message": f"The key {KEY} may not."}}))
    said = run("run", notes, "notes", *ASK, "-y", "--base-url", web.base_url, "--key", KEY, code=4)
    assert "The key (the key) may not." in said.err
    assert KEY not in said.err + run("show", notes).out + run("show", notes, "--log").out
    assert KEY.encode() not in notes.read_bytes()
    assert web.asked[-1].headers["authorization"] == f"Bearer {KEY}"


@only_delete
def test_a_key_of_openai_reaches_no_other_server(
    run: Any, notes: Path, web: Any, reply: Any, environment: Any
) -> None:
    environment(api_key=KEY, org_id="org-secret", project_id="proj-secret")
    web.reply("GET /batches", reply(200, {"data": []}))
    web.reply("POST /files", reply(400, {"error": {"message": "No."}}))
    run("run", notes, "notes", *ASK, "-y", "--base-url", web.base_url, code=4)
    run("sync", notes, code=4)
    assert len(web.asked) >= 3
    for asked in web.asked:
        assert asked.headers["authorization"] == "Bearer none"
        whole = json.dumps([asked.path, *asked.headers.items()]).encode() + asked.body
        assert not re.search(rb"sk-test|secret", whole)


# Servers


def test_a_server_is_opened_once() -> None:
    with Places(key=KEY) as places:
        one = places.remote(destination(ELSEWHERE, KEY))
        assert places.remote(destination(ELSEWHERE, KEY)) is one
        assert places.remote(destination("http://127.0.0.1:8001/v1", KEY)) is not one


def local_files(tmp_path: Path) -> list[Path]:
    """What the batch servers of jobs keep."""
    return list((tmp_path / "home").rglob("local/*"))


def answered(rows: Any, db: Path) -> None:
    """Each row of `notes` has the answer to its own question."""
    found = rows(db, "SELECT text, answer FROM notes")
    assert len(found) == 12
    assert all(answer.partition(": ")[2] == f"Say: {text}" for text, answer in found)


def test_an_upstream_server_is_asked_through_a_server_of_ours(
    run: Any, notes: Path, rows: Any, server: Any, tmp_path: Path
) -> None:
    before = len(server.journal())

    said = run("run", notes, "notes", *ASK, "--upstream", run.base_url, "-m", "gpt-4o-mini", "-y",
               "--poll", "0.05", "--part-requests", "5", "--key", "any")  # fmt: skip

    assert "12 of 12 rows answered." in said.err
    answered(rows, notes)
    paths = {entry["path"] for entry in server.journal()[before:] if entry["method"] == "POST"}
    assert paths == {"/v1/chat/completions"}
    # What its server kept is gone with the job.
    assert local_files(tmp_path) == []
    assert rows(notes, "SELECT provider, base_url FROM openai_batch_jobs") == [
        ("local", run.base_url)
    ]


@only_delete
def test_a_batch_of_ours_goes_on_in_another_process(
    run: Any, notes: Path, rows: Any, tmp_path: Path
) -> None:
    there = ("--upstream", run.base_url, "-m", "gpt-4o-mini", "--key", "any")
    run("prepare", notes, "notes", *ASK, *there)
    run.process("submit", notes, "-y", "--key", "any")
    run.process("watch", notes, "--poll", "0.05", "--key", "any")
    answered(rows, notes)
    assert local_files(tmp_path) == []


@only_delete
def test_a_declined_local_job_keeps_no_files(
    run: Any, notes: Path, terminal: Any, tmp_path: Path
) -> None:
    screen = terminal("run", notes, "notes", *ASK, "--upstream", run.base_url, "-m", "x")
    screen.answer("Send? [y/N]", "n\n")
    assert screen.end(0).endswith("Nothing was sent.\n")
    assert local_files(tmp_path) == []


@only_delete
def test_an_upstream_that_nobody_runs(
    run: Any, notes: Path, unchanged: Any, web: Any, tmp_path: Path
) -> None:
    check = unchanged(notes)
    url = web.base_url
    web.http.server_close()
    said = run("run", notes, "notes", *ASK, "-y", "--upstream", url, "-m", "x", code=1)
    assert said.err.startswith(f"Error: The upstream at {url} can't be reached: ")
    check()
    assert local_files(tmp_path) == []
    # What sends nothing only warns.
    said = run("prepare", notes, "notes", *ASK, "--upstream", url, "-m", "x")
    assert f"Warning: The upstream at {url} can't be reached: " in said.err


@only_delete
def test_an_upstream_gets_the_key_that_was_named_and_no_other(
    run: Any, notes: Path, web: Any, reply: Any, environment: Any, tmp_path: Path, rows: Any
) -> None:
    environment(api_key="sk-of-openai")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "keys.json").write_text(json.dumps({"work": KEY}))
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "yes"}}
    web.reply("POST /chat/completions", reply(200, {"choices": [choice]}))
    there = ("--upstream", web.base_url, "-m", "x", "-y", "--poll", "0.05")
    for options, expected in (((), None), (("--key", "work"), f"Bearer {KEY}")):
        web.asked.clear()
        run("run", notes, "notes", *ASK, *there, *options, "--output", f"a{len(options)}")
        assert len(web.asked) > 12
        assert {asked.headers.get("authorization") for asked in web.asked} == {expected}
    assert rows(notes, "SELECT DISTINCT a0, a2 FROM notes") == [("yes", "yes")]


@only_delete
def test_upstream_needs_a_model(run: Any, notes: Path, unchanged: Any) -> None:
    check = unchanged(notes)
    said = run("run", notes, "notes", *ASK, "--upstream", run.base_url, "-y", code=2)
    assert said.err == f"Error: Which model of {run.base_url} is to answer? Name it with -m.\n"
    check()


@only_delete
def test_a_failed_start_keeps_no_files(run: Any, notes: Path, tmp_path: Path, web: Any) -> None:
    there = ("--upstream", web.base_url, "-m", "x")
    for args in (("nothere", *ASK), ("notes", "--prompt", "no placeholder")):
        run("run", notes, *args, *there, "-y", code=1)
    assert local_files(tmp_path) == []


def test_the_local_server_sends_small_packets_at_once() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        # asyncio sets TCP_NODELAY on what this socket accepts only where the protocol is named.
        assert listener.proto == socket.IPPROTO_TCP
