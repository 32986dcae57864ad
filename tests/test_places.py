"""Which server and which key: `destination`, and the servers that a command opens."""

from __future__ import annotations

import json
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import errors
from sqlite_utils_openai_batch.account import destination
from sqlite_utils_openai_batch.local.server import listen
from sqlite_utils_openai_batch.places import Places

OPENAI = "https://api.openai.com/v1"
ELSEWHERE = "http://127.0.0.1:8000/v1"
KEY = "sk-test-1234567890abcdef"
ASK = ("--prompt", "Say: {{ text }}")


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


def test_the_local_server_sends_small_packets_at_once() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        # asyncio sets TCP_NODELAY on what this socket accepts only where the protocol is named.
        assert listener.proto == socket.IPPROTO_TCP
