"""Downloads: whole, slow, or cut off in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

CHUNK = 65_536
MEDIA_TYPE = "application/octet-stream"


def whole(path: Path, filename: str) -> Response:
    """Return a file as it is."""
    return FileResponse(path, media_type=MEDIA_TYPE, filename=filename)


def slow(path: Path, filename: str, pause: float) -> Response:
    """Return a file with a pause of so many seconds after each 64 KB."""
    return _streamed(path, filename, _slow_chunks(path, pause))


def half(path: Path, filename: str, cut: Callable[[], Awaitable[None]]) -> Response:
    """Promise the whole file, send half of it, then `cut` the connection."""
    return _streamed(path, filename, _half(path, cut))


def _streamed(path: Path, filename: str, chunks: AsyncIterator[bytes]) -> Response:
    headers = {
        "content-length": str(path.stat().st_size),
        "content-disposition": f"attachment; filename*=utf-8''{quote(filename)}",
    }
    return StreamingResponse(chunks, media_type=MEDIA_TYPE, headers=headers)


async def _slow_chunks(path: Path, pause: float) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            await asyncio.sleep(pause)


async def _half(path: Path, cut: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    left = path.stat().st_size // 2
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
    await cut()
