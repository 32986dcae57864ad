"""Bodies are counted as they come, whatever their headers say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datasette_openai_batch.access import limits
from datasette_openai_batch.hooks import asgi_wrapper

WEBHOOK = "/-/openai-batch/webhook"
FORM = "/data/-/openai-batch/new"


@pytest.fixture
def journal() -> str:
    """No database is needed here."""
    return "wal"


class Sender:
    """Somebody who sends pieces of a body for as long as they are taken."""

    def __init__(self, size: int, piece: int = 10_000, length: int | None = None) -> None:
        self.left = size
        self.piece = piece
        self.taken = 0
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.headers = headers
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        now = min(self.piece, self.left)
        self.left -= now
        self.taken += now
        return {"type": "http.request", "body": b"x" * now, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def served(sender: Sender, path: str, method: str = "POST") -> list[bytes]:
    """What reaches the application behind the plugin: the bodies that it reads."""
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        seen.append(body)

    scope = {"type": "http", "method": method, "path": path, "headers": sender.headers}
    asyncio.run(asgi_wrapper()(app)(scope, sender.receive, sender.send))
    return seen


@pytest.mark.parametrize(("path", "most"), [(WEBHOOK, limits.WEBHOOK), (FORM, limits.FORM)])
def test_a_chunked_body_is_not_read_whole(path: str, most: int) -> None:
    sender = Sender(400_000_000)
    assert served(sender, path) == []
    assert sender.sent[0]["status"] == 413
    assert sender.taken <= most + sender.piece


@pytest.mark.parametrize("path", [WEBHOOK, FORM])
def test_a_length_that_says_too_much_is_enough(path: str) -> None:
    sender = Sender(10, length=50_000_000)
    assert served(sender, path) == []
    assert sender.taken == 0


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000])
def test_what_is_small_enough_comes_as_it_is(size: int) -> None:
    assert served(Sender(size), WEBHOOK) == [b"x" * size]
    assert served(Sender(size, length=5), FORM) == [b"x" * size]


def test_other_pages_are_none_of_ours() -> None:
    sender = Sender(3_000_000)
    assert [len(body) for body in served(sender, "/data/-/upload")] == [3_000_000]
