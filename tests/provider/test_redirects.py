"""Redirects: rows and keys go to the host that a person named, and to no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NONE_LISTED = {"object": "list", "data": [], "has_more": False}
ASK = ("--prompt", "Say: {{ text }}")
KEY = "sk-test-of-mine-0001"


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


@pytest.fixture
def there(web: Any) -> Iterator[Any]:
    """Another server of the same kind."""
    other = type(web)()
    yield other
    other.close()


@pytest.fixture
def here(web: Any, reply: Any) -> Any:
    """A server that takes what it is sent."""
    web.reply("GET /batches", reply(200, NONE_LISTED))
    web.reply("GET /models", reply(200, {"object": "list", "data": []}))
    web.reply("POST /files", reply(200, {"id": "file-1", "object": "file"}))
    return web


def host(web: Any) -> str:
    return str(web.base_url.removeprefix("http://").removesuffix("/v1"))


def moved(reply: Any, status: int, to: str) -> Any:
    return reply(status, {}, {"location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", ["POST /files", "POST /batches", "GET /batches"])
def test_nothing_goes_to_another_host(
    run: Any, notes: Path, here: Any, there: Any, reply: Any, rows: Any, status: int, call: str
) -> None:
    place = call.partition(" ")[2]
    if call != "GET /batches":
        run("prepare", notes, "notes", *ASK, "--base-url", here.base_url, "--key", KEY)
    here.reply(call, moved(reply, status, there.base_url + place))
    if call == "GET /batches":
        said = run("prepare", notes, "notes", *ASK, "--base-url", here.base_url, "--key", KEY,
                   code=1)  # fmt: skip
    else:
        said = run("submit", notes, "-y", "--key", KEY, code=4)
        assert rows(notes, "SELECT status FROM openai_batch_parts") == [("prepared",)]
    assert f"{host(here)} answers that the request is to go to {there.base_url}{place}" in said.err
    assert there.asked == []


@pytest.mark.parametrize("to", ["//{}/v1/files", "http://user:pass@{}/v1/files?x=1", "http://["])
def test_other_ways_to_say_another_host(
    run: Any, notes: Path, here: Any, there: Any, reply: Any, to: str
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", here.base_url, "--key", KEY)
    here.reply("POST /files", moved(reply, 307, to.format(host(there))))
    said = run("submit", notes, "-y", "--key", KEY, code=4)
    assert there.asked == []
    assert "pass" not in said.err
    assert host(here) in said.err


def test_try_goes_to_no_other_host(
    run: Any, notes: Path, here: Any, there: Any, reply: Any
) -> None:
    here.reply("POST /chat/completions", moved(reply, 308, f"{there.base_url}/chat/completions"))
    said = run("try", notes, "notes", *ASK, "-y", "-n", "1", "--base-url", here.base_url, code=1)
    assert host(here) in said.err and host(there) in said.err
    assert there.asked == []


def test_an_upstream_goes_to_no_other_host(
    run: Any, notes: Path, here: Any, there: Any, reply: Any
) -> None:
    here.reply("POST /chat/completions", moved(reply, 307, f"{there.base_url}/chat/completions"))
    run("run", notes, "notes", *ASK, "-y", "--upstream", here.base_url, "-m", "x", "--limit", "1",
        "--poll", "0.05", code=3)  # fmt: skip
    assert there.asked == []


def test_a_redirect_on_the_same_host_is_followed(
    run: Any, notes: Path, here: Any, reply: Any
) -> None:
    here.reply("POST /files", moved(reply, 307, "/v1/more/files"))
    here.reply("POST /more/files", reply(200, {"id": "file-1", "object": "file"}))
    batch = {"id": "batch_1", "object": "batch", "status": "in_progress", "created_at": 1700000000,
             "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}  # fmt: skip
    here.reply("POST /batches", reply(200, batch))
    here.reply("GET /batches/batch_1", reply(200, batch))
    run("run", notes, "notes", *ASK, "-y", "--no-wait", "--base-url", here.base_url)
    sent = [asked for asked in here.asked if asked.path == "/v1/more/files"]
    assert len(sent) == 1 and b"note 12" in sent[0].body


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_answers_may_lie_elsewhere_and_the_key_stays(
    run: Any, notes: Path, here: Any, there: Any, reply: Any, rows: Any, provider: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base = "/openai" if provider == "azure" else ""
    if provider == "azure":
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", here.base_url.removesuffix("/v1"))
    batch = {"id": "batch_1", "object": "batch", "status": "completed", "created_at": 1700000000,
             "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
             "output_file_id": "file-2", "completed_at": 1700000001,
             "request_counts": {"total": 12, "completed": 0, "failed": 1}}  # fmt: skip
    here.reply(f"GET {base}/batches", reply(200, NONE_LISTED))
    here.reply(f"POST {base}/files", reply(200, {"id": "file-1", "object": "file"}))
    here.reply(f"POST {base}/batches", reply(200, batch))
    here.reply(f"GET {base}/batches/batch_1", reply(200, batch))
    here.reply(
        f"GET {base}/files/file-2/content", moved(reply, 302, f"{there.base_url}/bucket/file-2")
    )
    there.reply("GET /bucket/file-2", reply(200, b'{"custom_id": "x"}\n'))
    where = ("--provider", "azure") if base else ("--base-url", here.base_url)
    run("run", notes, "notes", *ASK, "-m", "d", "-y", "--no-wait", *where, "--key", KEY,
        "--attempts", "1", code=3)  # fmt: skip
    assert [asked.path for asked in there.asked] == ["/v1/bucket/file-2"]
    assert KEY not in str(there.asked[0].headers)
