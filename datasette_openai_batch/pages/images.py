"""Pictures in BLOB columns: told by their first bytes, served as what they are and nothing else."""

from __future__ import annotations

from typing import Any

from ..access.job import Opened
from ..text import urls

# Kinds that a browser draws and that can't carry a script; SVG is none of them.
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def kind(value: bytes) -> str | None:
    """The media type of a picture, None for other bytes."""
    if value[:4] == b"RIFF" and value[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _KINDS if value.startswith(start)), None)


def href(opened: Opened, request_id: int, column: str, value: Any) -> str | None:
    """The address of a cell's picture; None where the cell holds none."""
    if not isinstance(value, bytes) or kind(value) is None:
        return None
    return urls.job(
        opened.datasette,
        opened.db,
        opened.job.id,
        "/image",
        _request=request_id,
        _column=column,
    )
