from __future__ import annotations

import hashlib
import os
import socket
import time
from typing import Any

import openai
import pytest

from sqlite_utils_openai_batch.local import LocalServer, ServerLimits

from .bench import Bench, Serve, chat, request_lines

LINE = request_lines([chat()]).encode()
DAY = 86_400


def test_content_comes_back_byte_for_byte(bench: Bench) -> None:
    content = b'{"a": "\xe2\x80\xa8 \xc3\xa9"}\r\n\r\n' + os.urandom(300_000)
    file = bench.client.files.create(file=("süß.jsonl", content), purpose="batch")
    assert (file.object, file.purpose, file.status) == ("file", "batch", "processed")
    assert (file.filename, file.bytes) == ("süß.jsonl", len(content))
    assert file.id.startswith("file-")
    assert bench.client.files.content(file.id).content == content
    assert bench.client.files.retrieve(file.id) == file


def test_batch_files_expire_after_thirty_days_and_others_never(bench: Bench) -> None:
    batch = bench.client.files.create(file=("a.jsonl", LINE), purpose="batch")
    other = bench.client.files.create(file=("a.txt", b"text"), purpose="user_data")
    assert batch.expires_at == batch.created_at + 30 * DAY
    assert other.expires_at is None


def test_expires_after(bench: Bench) -> None:
    file = bench.client.files.create(
        file=("a.jsonl", LINE),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600


@pytest.mark.parametrize("seconds", [3599, 30 * DAY + 1])
def test_expires_after_out_of_range(bench: Bench, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        bench.client.files.create(
            file=("a.jsonl", LINE),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )
    assert caught.value.param == "expires_after.seconds"


def test_expired_file_is_gone(bench: Bench) -> None:
    file = bench.upload(LINE)
    bench.server.clock.advance(30 * DAY)
    for call in (bench.client.files.retrieve, bench.client.files.content):
        with pytest.raises(openai.NotFoundError):
            call(file.id)
    assert list(bench.client.files.list()) == []


def test_delete(bench: Bench) -> None:
    file = bench.upload(LINE)
    deleted = bench.client.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    for call in (
        bench.client.files.retrieve,
        bench.client.files.content,
        bench.client.files.delete,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call(file.id)
        assert file.id in caught.value.message


def test_list_pages_filters_and_orders(bench: Bench) -> None:
    ids = [bench.upload(LINE, f"{n}.jsonl").id for n in range(5)]
    other = bench.client.files.create(file=("x.txt", b"x"), purpose="user_data").id
    assert [f.id for f in bench.client.files.list()] == [other, *reversed(ids)]
    assert [f.id for f in bench.client.files.list(order="asc", limit=2)] == [*ids, other]
    assert [f.id for f in bench.client.files.list(purpose="batch", limit=1)] == ids[::-1]
    page = bench.client.files.list(limit=2, after=ids[3])
    assert [f.id for f in page.data] == [ids[2], ids[1]]
    assert page.has_more


def test_bad_list_parameters(bench: Bench) -> None:
    for query in ({"limit": 0}, {"limit": 10_001}, {"order": "up"}, {"limit": "x"}):
        with pytest.raises(openai.BadRequestError) as caught:
            bench.client.files.list(extra_query=query)
        assert caught.value.param == next(iter(query))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "File is empty."),
        (b"no json\n", "Invalid file format"),
        (b"[1]\n", "Invalid file format"),
        (b"\xef\xbb\xbf" + LINE, "Invalid file format"),
    ],
)
def test_upload_of_something_else(bench: Bench, content: bytes, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        bench.upload(content)
    assert list(bench.client.files.list()) == []


def test_unknown_purpose_and_missing_parts(bench: Bench) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        bench.client.files.create(file=("a", LINE), purpose="fun")  # type: ignore[arg-type]
    assert (caught.value.param, caught.value.code) == ("purpose", "invalid_value")
    assert list(bench.client.files.list()) == []


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart form with the boundary `x`, of (disposition, content)."""
    head = "--x\r\ncontent-disposition: form-data; {}\r\n\r\n"
    return b"".join(head.format(what).encode() + data + b"\r\n" for what, data in parts) + b"--x--"


def post_form(bench: Bench, content: bytes) -> Any:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return bench.raw("POST", "/files", content=content, headers=headers).json()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (form(('name="file"; filename="a"', LINE)), "Missing required parameter: 'purpose'."),
        (form(('name="purpose"', b"batch")), "Missing required parameter: 'file'."),
        (b"--y\r\n", "The form could not be read"),
        (b"", "Missing required parameter: 'file'."),
    ],
)
def test_incomplete_forms(bench: Bench, content: bytes, message: str) -> None:
    assert message in post_form(bench, content)["error"]["message"]
    assert list(bench.client.files.list()) == []


def test_something_else_than_a_form(bench: Bench) -> None:
    with pytest.raises(openai.BadRequestError, match="multipart/form-data"):
        bench.client.post("/files", cast_to=object, body={"purpose": "batch"})


def test_control_characters_leave_file_names(bench: Bench) -> None:
    content = form(('name="purpose"', b"batch"), ('name="file"; filename="a\tb\x1b.jsonl"', LINE))
    assert post_form(bench, content)["filename"] == "ab.jsonl"


def test_too_large_file_leaves_nothing_behind(serve_with: Serve, tmp_path: object) -> None:
    bench = serve_with(limits=ServerLimits(batch_file_bytes=2000, upload_bytes=100_000))
    for size in (3000, 200_000):
        with pytest.raises(openai.APIStatusError, match="File is too large") as caught:
            bench.upload(LINE + b" " * size)
        assert caught.value.status_code == 413
    assert list(bench.client.files.list()) == []
    root = bench.server.state_dir
    assert root
    assert [p for folder in ("files", "incoming") for p in (root / folder).iterdir()] == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/var/x.jsonl", "x.jsonl"),
        ("..", ".."),
    ],
)
def test_file_names_are_only_names(bench: Bench, name: str, kept: str) -> None:
    file = bench.upload(LINE, name)
    assert file.filename == kept
    root = bench.server.state_dir
    assert root
    assert [p.name for p in (root / "files").iterdir()] == [file.id]
    assert bench.client.files.content(file.id).content == LINE


@pytest.mark.parametrize(
    "file_id", ["..%2fstate.db", "%2e%2e", "file-x%00", "..%2f..%2fetc%2fpasswd"]
)
def test_ids_are_no_paths(bench: Bench, file_id: str) -> None:
    with pytest.raises(openai.NotFoundError):
        bench.client.get(f"/files/{file_id}/content", cast_to=object)


def test_a_key_sees_its_own_files_only(batch_server: LocalServer) -> None:
    mine = openai.OpenAI(base_url=batch_server.base_url, api_key="mine", max_retries=0)
    other = openai.OpenAI(base_url=batch_server.base_url, api_key="other", max_retries=0)
    with mine, other:
        file = mine.files.create(file=("a.jsonl", LINE), purpose="batch")
        calls = (other.files.retrieve, other.files.content, other.files.delete)
        for call in calls:
            with pytest.raises(openai.NotFoundError):
                call(file.id)
        assert list(other.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            other.files.list(after=file.id)
        batch = other.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert batch_server.wait_for(batch.id) == "failed"
        [error] = (other.batches.retrieve(batch.id).errors or 0).data  # type: ignore[union-attr]
        assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
        assert (error.message or "").startswith(f"Cannot find file {file.id}")
        assert [f.id for f in mine.files.list()] == [file.id]


def test_replies_name_the_request(bench: Bench) -> None:
    raw = bench.client.files.with_raw_response.list()
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["openai-organization"] == "org-local"


def test_large_upload_is_streamed_to_disk(bench: Bench) -> None:
    content = LINE + os.urandom(1 << 20) * 40
    file = bench.client.files.create(file=("big.bin", content), purpose="user_data")
    digest = hashlib.sha256()
    with bench.client.files.with_streaming_response.content(file.id) as reply:
        assert reply.headers["content-length"] == str(len(content))
        for chunk in reply.iter_bytes():
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(content).digest()


def test_upload_that_its_sender_breaks_off(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    host, port = bench.server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    whole = form(('name="purpose"', b"batch"), ('name="file"; filename="a.jsonl"', LINE * 1000))
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {bench.server.key}\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(whole)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + whole[: len(whole) // 2])
    deadline = time.monotonic() + 30
    while not bench.server.journal():
        assert time.monotonic() < deadline
    [entry] = bench.server.journal()
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", "/v1/files", None)
    root = bench.server.state_dir
    assert root and list((root / "incoming").iterdir()) == []
    assert list(bench.client.files.list()) == []
    assert capfd.readouterr() == ("", "")
