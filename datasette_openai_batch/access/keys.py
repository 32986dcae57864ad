"""Row keys as people read them, with the addresses that they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch.base.text import cut
from sqlite_utils_openai_batch.tables.sql import decode_key

from ..text import urls
from .job import Opened


@dataclass(frozen=True, slots=True)
class Key:
    """A row's key. `row_href` is its page in Datasette, where it has one."""

    text: str
    row_href: str | None
    request_href: str


def key_of(opened: Opened, request_id: int, row_key: Any) -> Key:
    """The key of a request's row, for a page of its job."""
    values = decode_key(row_key, len(opened.job.keys))
    text = ", ".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)
    href = None
    if opened.has_row_pages and not any(isinstance(value, bytes) for value in values):
        href = urls.row(opened.datasette, opened.db, str(opened.job.source), values)
    return Key(
        text=cut(text, 60),
        row_href=href,
        request_href=urls.job(opened.datasette, opened.db, opened.job.id, _request=request_id)
        + "#request",
    )
