"""How much may be sent to our pages: counted as it comes, whatever its headers say."""

from __future__ import annotations

import re
from typing import Any

#: Bytes at most: the provider's webhooks have a few hundred, a form holds prompts.
WEBHOOK, FORM = 100_000, 1_000_000
_OURS = re.compile(r"/-/openai-batch(/|$)")


def largest(scope: Any) -> int | None:
    """The bytes that a request may send; None where that isn't our matter."""
    path = str(scope.get("path") or "")
    if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or not _OURS.search(path):
        return None
    return WEBHOOK if path.endswith("/-/openai-batch/webhook") else FORM


def declared(scope: Any) -> int:
    """The bytes that the headers speak of, 0 where they don't: they need not be true."""
    length = dict(scope.get("headers") or ()).get(b"content-length", b"")
    return int(length[:18]) if length.isdigit() else 0


async def bounded(scope: Any, receive: Any, most: int) -> Any | None:
    """What receives the same body, read whole; None where it is larger than `most` bytes.

    Datasette 0.65 reads any body before it asks a plugin, so this is read before Datasette does.
    """
    if declared(scope) > most:
        return None
    pieces: list[bytes] = []
    size = 0
    more = True
    last: dict[str, Any] | None = None
    while more:
        message = await receive()
        if message["type"] != "http.request":
            last = message
            break
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            return None
        more = message.get("more_body", False)
    waiting = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]
    if last is not None:
        waiting = [last]

    async def again() -> Any:
        return waiting.pop(0) if waiting else await receive()

    return again


async def refuse(send: Any, most: int) -> None:
    """Answer that this is too large."""
    said = f"That is too large: at most {most:,} bytes. Nothing was done.".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": said})
