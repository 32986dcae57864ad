"""The provider's client over a real socket: what is repeated, what isn't, and each sentence."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base import errors
from sqlite_utils_openai_batch.provider import client
from sqlite_utils_openai_batch.provider.batch import normalised
from sqlite_utils_openai_batch.provider.client import OPENAI_URL, Provider
from sqlite_utils_openai_batch.provider.errors import host_of

KEY = "sk-test-1234567890"
# The client waits so long before it repeats a read.
SOON = {"retry-after-ms": "1"}


@pytest.fixture
def provider(web: Any) -> Any:
    with Provider(web.base_url, KEY) as opened:
        yield opened


@pytest.fixture
def host(web: Any) -> str:
    return host_of(web.base_url)


def failure(message: str, code: str | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": kind}}


def batch(number: int, **values: Any) -> dict[str, Any]:
    """A batch as a server shows it."""
    return {
        "id": f"batch_{number}", "object": "batch", "status": "in_progress",
        "endpoint": "/v1/chat/completions", "input_file_id": f"file-{number}",
        "completion_window": "24h", "created_at": 1_700_000_000 + number, **values,
    }  # fmt: skip


# What is read of a batch


def test_a_batch_is_read_whatever_is_missing(provider: Any, web: Any, reply: Any) -> None:
    web.reply("GET /batches/batch_1", reply(200, {"id": "batch_1", "status": "completed"}))
    state = provider.retrieve("batch_1")
    assert (state.id, state.status, state.ended) == ("batch_1", "completed", True)
    assert (state.output_file_id, state.error_file_id, state.input_file_id) == (None, None, None)
    assert (state.completed, state.failed, state.errors, state.metadata) == (None, None, [], {})
    assert state.created_at == 0


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_file_ids_are_none(empty: Any, provider: Any, web: Any, reply: Any) -> None:
    shown = batch(1, output_file_id=empty, error_file_id=empty, request_counts=None)
    web.reply("GET /batches/batch_1", reply(200, shown))
    state = provider.retrieve("batch_1")
    assert (state.output_file_id, state.error_file_id) == (None, None)


def test_a_whole_batch(provider: Any, web: Any, reply: Any) -> None:
    shown = batch(
        1, status="expired", output_file_id="file-o", error_file_id="file-e",
        in_progress_at=1_700_000_100, finalizing_at=1_700_000_200, expired_at=1_700_000_300,
        expires_at=1_700_086_400, request_counts={"total": 3, "completed": 2, "failed": 1},
        errors={"object": "list", "data": [{"code": "c", "line": 2, "message": "m"}]},
        metadata={"token": "abc-1-1"},
    )  # fmt: skip
    web.reply("GET /batches/batch_1", reply(200, shown))
    state = provider.retrieve("batch_1")
    assert (state.status, state.said, state.ended) == ("expired", "expired", True)
    assert (state.output_file_id, state.error_file_id) == ("file-o", "file-e")
    assert (state.completed, state.failed) == (2, 1)
    assert state.in_progress_at == "2023-11-14T22:15:00.000Z"
    assert state.finalizing_at == "2023-11-14T22:16:40.000Z"
    assert state.ended_at == "2023-11-14T22:18:20.000Z"
    assert state.expires_at == "2023-11-15T22:13:20.000Z"
    assert [(error["line"], error["message"]) for error in state.errors] == [(2, "m")]
    assert state.metadata == {"token": "abc-1-1"}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("COMPLETED", "completed"), ("SUCCEEDED", "completed"), ("running", "in_progress"),
        ("PROGRESS", "in_progress"), ("queued", "validating"), ("canceled", "cancelled"),
        ("brand_new", "brand_new"),
    ],
)  # fmt: skip
def test_other_servers_words(said: str, status: str) -> None:
    assert normalised(said) == status


SHOWN = "2025-11-22T08:26:40.000Z"


@pytest.mark.parametrize(
    "at",
    [
        1_763_800_000, 1_763_800_000.0, "1763800000", 1_763_800_000_000, "2025-11-22T08:26:40Z",
        "2025-11-22T09:26:40.000+01:00", "2025-11-22 08:26:40",
    ],
)  # fmt: skip
def test_times_of_other_servers(at: Any, provider: Any, web: Any, reply: Any) -> None:
    """Words that nobody read were an error for ever, of a batch that was paid for."""
    shown = batch(1, created_at=at, completed_at=at, expires_at=at, status="completed")
    web.reply("GET /batches/batch_1", reply(200, shown))
    state = provider.retrieve("batch_1")
    assert (state.created_at, state.ended_at, state.expires_at) == (1_763_800_000.0, SHOWN, SHOWN)


@pytest.mark.parametrize("at", ["soon", "", 1e300, -1, [], {"at": 1}, "nan", "inf"])
def test_times_that_are_none(at: Any, provider: Any, web: Any, reply: Any) -> None:
    web.reply("GET /batches/batch_1", reply(200, batch(1, created_at=at, expires_at=at)))
    state = provider.retrieve("batch_1")
    assert (state.created_at, state.expires_at) == (0.0, None)


def test_numbers_as_text(provider: Any, web: Any, reply: Any) -> None:
    counts = {"total": "4", "completed": "3", "failed": 1.0}
    said = {"code": "invalid_json_line", "line": "2", "message": "bad"}
    shown = batch(1, request_counts=counts, errors={"data": [said]})
    web.reply("GET /batches/batch_1", reply(200, shown))
    state = provider.retrieve("batch_1")
    assert (state.completed, state.failed) == (3, 1)
    assert [error["line"] for error in state.errors] == [2]


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ({"data": ["bad", None]}, ["bad", "None"]), (["bad"], ["bad"]), ("bad", ["bad"]),
        ([{"message": "bad"}], ["bad"]), ({"data": "bad"}, ["bad"]), ({"data": {}}, []), ([], []),
    ],
)  # fmt: skip
def test_errors_of_other_shapes(
    errors: Any, words: list[str], provider: Any, web: Any, reply: Any
) -> None:
    web.reply("GET /batches/batch_1", reply(200, batch(1, errors=errors, metadata="none")))
    state = provider.retrieve("batch_1")
    assert [error["message"] for error in state.errors] == words
    assert state.metadata == {}


# Lists


def test_a_list_that_is_oldest_first_is_read_to_its_end(
    provider: Any, web: Any, reply: Any
) -> None:
    """It was given up at its first batch, and so a batch that was there was made once more."""
    web.reply(
        "GET /batches",
        reply(200, {"object": "list", "data": [batch(1), batch(2)], "has_more": True}),
        reply(200, {"object": "list", "data": [batch(3), batch(4)], "has_more": False}),
    )
    found = [state.id for state in provider.list_since(1_700_000_003)]
    assert found == ["batch_3", "batch_4"]


def test_a_list_without_times(provider: Any, web: Any, reply: Any) -> None:
    shown = [batch(2, created_at=None), batch(1, created_at=0)]
    web.reply("GET /batches", reply(200, {"object": "list", "data": shown, "has_more": False}))
    assert [state.id for state in provider.list_since(1_700_000_003)] == ["batch_2", "batch_1"]


@pytest.mark.parametrize("odd", [{"object": "batch"}, None, "batch_1"])
def test_a_list_with_something_that_is_no_batch(
    odd: Any, provider: Any, web: Any, reply: Any
) -> None:
    web.reply("GET /batches", reply(200, {"object": "list", "data": [batch(2), odd]}))
    with pytest.raises(errors.Garbled):
        list(provider.list_since(0))


def test_a_list_is_read_page_by_page_until_the_time(provider: Any, web: Any, reply: Any) -> None:
    web.reply(
        "GET /batches",
        reply(200, {"object": "list", "data": [batch(5), batch(4)], "has_more": True}),
        reply(200, {"object": "list", "data": [batch(3), batch(2)], "has_more": True}),
        reply(500, failure("not reached")),
    )
    found = [state.id for state in provider.list_since(1_700_000_003)]
    assert found == ["batch_5", "batch_4", "batch_3"]
    assert [asked.path for asked in web.asked] == [
        "/v1/batches?limit=100",
        "/v1/batches?after=batch_4&limit=100",
    ]


@pytest.mark.parametrize("more", [{}, {"has_more": True}, {"has_more": None}])
def test_a_list_that_never_ends(more: dict[str, Any], provider: Any, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(200, {"object": "list", "data": [batch(2), batch(1)], **more}))
    assert [state.id for state in provider.list_since(0)] == ["batch_2", "batch_1"]
    assert len(web.asked) == 2


@pytest.mark.parametrize("body", [{"data": []}, {"data": None, "has_more": False}])
def test_an_empty_list(body: dict[str, Any], provider: Any, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(200, body))
    assert list(provider.list_since(0)) == []


# What is repeated


def test_a_read_is_repeated(provider: Any, web: Any, reply: Any) -> None:
    busy = reply(503, failure("busy"), SOON)
    web.reply("GET /batches/batch_1", busy, busy, reply(200, batch(1)))
    assert provider.retrieve("batch_1").id == "batch_1"
    assert len(web.asked) == 3


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_send_is_never_repeated(
    status: int, provider: Any, web: Any, reply: Any, tmp_path: Path, host: str
) -> None:
    file = tmp_path / "part.jsonl"
    file.write_bytes(b"{}\n")
    web.reply("POST /files", reply(status, failure("busy"), SOON))
    web.reply("POST /batches", reply(status, failure("busy"), SOON))
    for send in (
        lambda: provider.upload(file, "a-1-1.jsonl"),
        lambda: provider.create("file-1", "/v1/chat/completions", {"token": "a-1-1"}),
    ):
        with pytest.raises(errors.Transient) as caught:
            send()
        assert str(caught.value) == f"{host} answered {status}: busy"
        # Only for "too many requests" is it sure that nothing was done.
        assert caught.value.refused is (status == 429)
    assert [asked.path for asked in web.asked] == ["/v1/files", "/v1/batches"]


def test_a_cut_send_is_never_repeated(provider: Any, web: Any, reply: Any, tmp_path: Path) -> None:
    web.reply("POST /batches", reply(200, batch(1), cut=5))
    with pytest.raises(errors.Unreachable):
        provider.create("file-1", "/v1/chat/completions", {})
    assert len(web.asked) == 1


def test_an_upload_as_it_goes_out(provider: Any, web: Any, reply: Any, tmp_path: Path) -> None:
    file = tmp_path / "part.jsonl"
    file.write_bytes('{"custom_id":"a-1","body":"ü\u2028"}\n'.encode())
    web.reply("POST /files", reply(200, {"id": "file-1", "object": "file"}))
    assert provider.upload(file, "abc-1-1.jsonl") == "file-1"
    (asked,) = web.asked
    assert file.read_bytes() in asked.body
    assert b'filename="abc-1-1.jsonl"' in asked.body
    assert b'name="purpose"\r\n\r\nbatch\r\n' in asked.body


def test_a_server_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and the file, and says nothing: no pass waits for that for ever."""
    monkeypatch.setattr(client, "UPLOAD_SECONDS", 0.2)
    file = tmp_path / "part.jsonl"
    file.write_bytes(b"{}\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with Provider(url, KEY, max_retries=0, timeout=0.2) as provider:
            for call in (
                lambda: provider.upload(file, "part.jsonl"),
                lambda: provider.retrieve("batch_1"),
            ):
                with pytest.raises(errors.Unreachable, match="did not answer in time"):
                    call()


def test_a_create_as_it_goes_out(provider: Any, web: Any, reply: Any) -> None:
    web.reply("POST /batches", reply(200, batch(1, status="validating")))
    provider.create("file-1", "/v1/embeddings", {"token": "abc-1-1"})
    (asked,) = web.asked
    assert json.loads(asked.body) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/embeddings",
        "completion_window": "24h",
        "metadata": {"token": "abc-1-1"},
    }


# Downloads


def test_a_download_that_is_cut_begins_again(
    provider: Any, web: Any, reply: Any, tmp_path: Path
) -> None:
    data = b'{"custom_id":"a-1"}\n' * 20_000
    web.reply(
        "GET /files/file-1/content",
        reply(200, data, cut=0), reply(200, data, cut=1_000), reply(200, data, cut=399_999),
        reply(200, data),
    )  # fmt: skip
    provider.download("file-1", tmp_path / "output")
    assert (tmp_path / "output").read_bytes() == data


def test_a_download_that_is_always_cut(
    provider: Any, web: Any, reply: Any, tmp_path: Path, host: str
) -> None:
    web.reply("GET /files/file-1/content", reply(200, b"x" * 1_000, cut=500))
    with pytest.raises(errors.Transient) as caught:
        provider.download("file-1", tmp_path / "output")
    assert str(caught.value) == (
        f"The download of file-1 from {host} was cut 4 times. Nothing is lost: sync again later."
    )


def test_a_cut_that_only_the_files_size_tells(
    provider: Any, web: Any, reply: Any, tmp_path: Path, host: str
) -> None:
    data = b'{"custom_id":"a-1"}\n' * 100
    web.reply("GET /files/file-1", reply(200, {"id": "file-1", "bytes": len(data)}))
    web.reply(
        "GET /files/file-1/content",
        reply(200, data, cut=1_000, announced=False), reply(200, data, announced=False),
        reply(200, data, cut=1_000, announced=False),
    )  # fmt: skip
    provider.download("file-1", tmp_path / "output")
    assert (tmp_path / "output").read_bytes() == data
    with pytest.raises(errors.Transient, match="was cut 4 times"):
        provider.download("file-1", tmp_path / "output")


@pytest.mark.parametrize("size", [None, 0, 7])
def test_a_size_that_a_server_does_not_know(
    provider: Any, web: Any, reply: Any, tmp_path: Path, size: int | None
) -> None:
    web.reply("GET /files/file-1", reply(200, {"id": "file-1", "bytes": size}))
    web.reply("GET /files/file-1/content", reply(200, b"x" * 1_000, announced=False))
    provider.download("file-1", tmp_path / "output")
    assert (tmp_path / "output").read_bytes() == b"x" * 1_000


def test_a_file_that_is_gone(provider: Any, web: Any, tmp_path: Path, host: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        provider.download("file-1", tmp_path / "output")
    assert str(caught.value) == f"{host} knows nothing of it: Not Found"


# Sentences

JUDGED: dict[str, tuple[int, dict[str, Any], type[Exception], str]] = {
    "a wrong key": (
        401, failure("Incorrect API key.", "invalid_api_key"), errors.Unreadable,
        "HOST does not accept the key: Incorrect API key. "
        "Give another with --key or OPENAI_API_KEY.",
    ),
    "a key in the words": (
        401, failure(f"Incorrect API key provided: {KEY}.", "invalid_api_key"),
        errors.Unreadable,
        "HOST does not accept the key: Incorrect API key provided: (the key). "
        "Give another with --key or OPENAI_API_KEY.",
    ),
    "not permitted": (
        403, failure("Project archived."), errors.NeedsAttention,
        "HOST does not permit it: Project archived.",
    ),
    "no credit": (
        429, failure("You exceeded your quota.", "insufficient_quota"), errors.NeedsAttention,
        "HOST is out of credit: You exceeded your quota.",
    ),
    "a hard limit": (
        400, failure("Billing hard limit.", "billing_hard_limit_reached"), errors.NeedsAttention,
        "HOST is out of credit: Billing hard limit.",
    ),
    "a full queue": (
        400, failure("Enqueued token limit reached for x. Limit: 9", "token_limit_exceeded"),
        errors.QueueFull, "Enqueued token limit reached for x. Limit: 9",
    ),
    "a file that isn't there yet": (
        400, failure("Cannot find file file-1, or project p does not have access to it."),
        errors.Transient,
        "Cannot find file file-1, or project p does not have access to it.",
    ),
    "too many requests": (
        429, failure("Slow down."), errors.Transient, "HOST answered 429: Slow down.",
    ),
    "a refusal": (
        400, failure("Invalid value: 'x'."), errors.ProviderError,
        "HOST refused: Invalid value: 'x'.",
    ),
    "an unknown shape": (
        418, {"detail": "teapot"}, errors.ProviderError, "HOST refused: HTTP 418",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", JUDGED)
def test_each_error_has_its_sentence(
    case: str, provider: Any, web: Any, reply: Any, host: str
) -> None:
    status, body, kind, sentence = JUDGED[case]
    web.reply("POST /batches", reply(status, body))
    with pytest.raises(errors.ProviderError) as caught:
        provider.create("file-1", "/v1/chat/completions", {})
    assert type(caught.value) is kind
    assert str(caught.value) == sentence.replace("HOST", host)


@pytest.mark.parametrize("body", [b"<html>Log in</html>", b"{}", b"[]", b"", b"null"])
def test_a_page_that_is_no_reply(
    body: bytes, provider: Any, web: Any, reply: Any, host: str, tmp_path: Path
) -> None:
    page = reply(200, body, {"content-type": "text/html" if b"<" in body else "application/json"})
    for path in ("GET /batches/batch_1", "POST /batches", "POST /files"):
        web.reply(path, page)
    (tmp_path / "part.jsonl").write_bytes(b"{}\n")
    for call in (
        lambda: provider.retrieve("batch_1"),
        lambda: provider.create("file-1", "/v1/chat/completions", {}),
        lambda: provider.upload(tmp_path / "part.jsonl", "a-1-1.jsonl"),
    ):
        with pytest.raises(errors.Garbled) as caught:
            call()
        assert str(caught.value) == f"{host} answered with something that is no reply of its API."
        # It may have done what it was asked to.
        assert not caught.value.refused


def test_a_cancel_of_what_has_ended(provider: Any, web: Any, reply: Any) -> None:
    conflict = failure("Cannot cancel a batch with status 'completed'.")
    web.reply("POST /batches/batch_1/cancel", reply(409, conflict))
    assert provider.cancel("batch_1") is None
    assert len(web.asked) == 1


# Keys and addresses


def test_only_the_key_goes_along(web: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, f"secret-of-{name.lower()}")
    headers = "x-one: secret-of-header\nAuthorization: Bearer secret-of-another-key"
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    web.reply("GET /batches", reply(200, {"data": []}))
    with Provider(web.base_url, "none") as opened:
        opened.check()
    (asked,) = web.asked
    assert asked.headers["authorization"] == "Bearer none"
    assert not [value for value in asked.headers.values() if "secret" in value]


def test_hosts_are_named_without_passwords() -> None:
    assert host_of(OPENAI_URL) == "api.openai.com"
    assert host_of("http://me:secret@example.com:8000/v1") == "example.com:8000"
    assert host_of("http://[::1]:8000/v1") == "::1:8000"
