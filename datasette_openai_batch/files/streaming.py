"""Bodies that are sent as they are made.

Each piece is made in a thread, and the making stops when the client goes. An error after the first
byte closes the connection without the end of the body, which no client takes for a whole file.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Step = Callable[[], "list[bytes] | None"]

logger = logging.getLogger(__name__)


def most_bytes(datasette: Any) -> int | None:
    """The largest file that this Datasette sends; None where there is no such limit."""
    return (datasette.setting("max_csv_mb") or 0) * 1024 * 1024 or None


async def in_thread(
    datasette: Any, function: Callable[[], T], thread: ThreadPoolExecutor | None = None
) -> T:
    """Call a function in a thread, but not one of those that Datasette runs its queries in."""
    if datasette.executor is None:
        # num_sql_threads is 0: there are no threads where this runs.
        return function()
    return await asyncio.get_running_loop().run_in_executor(thread, function)


async def stream(
    datasette: Any, request: Any, send: Any, shown: dict[str, str], step: Step
) -> None:
    """Send a body piece by piece, until it ends, the client goes or it grows too large."""
    # What fails before the first byte is an error page like any other.
    pieces = await in_thread(datasette, step)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [[k.encode("latin-1"), v.encode("latin-1")] for k, v in shown.items()],
        }
    )
    gone = asyncio.ensure_future(until_gone(request.receive))
    # One thread makes all of a file: what it works with stays in one processor's cache.
    thread = ThreadPoolExecutor(1, thread_name_prefix="openai-batch")
    try:
        await send_pieces(datasette, request, send, pieces, step, gone, thread)
    except (sqlite3.Error, OverLimit) as error:
        # Too late for an error page. The body stays without its end, and the server closes the
        # connection: the client knows that the file isn't whole.
        logger.error("%s was cut off: %s", request.path, error)
    finally:
        gone.cancel()
        thread.shutdown(wait=False)


class OverLimit(Exception):
    """A file grew beyond Datasette's max_csv_mb."""


async def send_pieces(
    datasette: Any,
    request: Any,
    send: Any,
    pieces: list[bytes] | None,
    step: Step,
    gone: asyncio.Future[None],
    thread: ThreadPoolExecutor,
) -> None:
    """Send all pieces and the end of the body; returns without the end if the client has gone."""
    left = most_bytes(datasette)
    if request.method == "HEAD":
        pieces = None
    while pieces is not None:
        for piece in pieces:
            if left is not None:
                left -= len(piece)
                if left < 0:
                    most = datasette.setting("max_csv_mb")
                    raise OverLimit(f"it is larger than max_csv_mb ({most})")
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        if gone.done():
            return
        pieces = await in_thread(datasette, step, thread)
    await send({"type": "http.response.body", "body": b""})


async def until_gone(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
