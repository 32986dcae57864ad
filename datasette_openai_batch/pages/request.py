"""One request in full: what would be sent for its row now, and what came back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.requests.template import Renderer, hashed_columns
from sqlite_utils_openai_batch.tables.hashing import source_hash
from sqlite_utils_openai_batch.tables.source import Source

from ..access.job import Key, Opened, key_of
from ..data import rows, samples
from .answers import notes

# A rendered request with pictures in it may be megabytes; a page shows its beginning.
LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Exact:
    """A request for its page. `body` is the request's line, made readable; `None` if `problem`."""

    key: Key
    status: str
    attempts: int
    error: str | None
    notes: list[str]
    tokens: list[tuple[str, int | str]]
    body: str | None
    problem: str | None
    changed: bool
    answer: str | None
    lines: list[tuple[str, str]]


def exact(
    conn: sqlite3.Connection, opened: Opened, request_id: int | None, key: str | None
) -> Exact | None:
    """The request of that id, else the newest about the row with that key, else None."""
    row = samples.request(conn, request_id) if request_id is not None else None
    if row is None and key:
        row = samples.request_of_row(conn, opened.job.id, key)
    # An id in an address may belong to another job, whose source the actor may not see.
    if row is None or row["job_id"] != opened.job.id:
        return None
    body, problem, changed = render(conn, opened, row)
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    answer = row["answer"]
    return Exact(
        key=key_of(opened, row["id"], row["row_key"]),
        status=row["status"],
        attempts=row["attempts"],
        error=None if row["status"] == "ok" else row["error_message"] or row["error_code"],
        notes=notes(row),
        tokens=[
            *[(name.removesuffix("_tokens"), row[name]) for name in names if row[name] is not None],
            *[("cost", cost) for cost in cost_of(conn, row["id"])],
        ],
        body=body,
        problem=problem,
        changed=changed,
        answer=None if answer is None else pretty(answer),
        lines=[
            (
                f"{line['kind']} line {line['line_number']:,} of {line['file_id']}",
                pretty(line["line"]),
            )
            for line in samples.responses(conn, row["id"])
        ],
    )


def cost_of(conn: sqlite3.Connection, request_id: int) -> list[str]:
    """What a request cost, as one amount; none where that isn't known."""
    found = store.rows(
        conn, "SELECT cost_usd FROM openai_batch_results WHERE request_id = ?", [request_id]
    )
    return [usd(round(row["cost_usd"] * 1e9)) for row in found if row["cost_usd"] is not None]


def render(
    conn: sqlite3.Connection, opened: Opened, row: sqlite3.Row
) -> tuple[str | None, str | None, bool]:
    """The request of a row as it is now: (text, why there is none, whether the row has changed)."""
    source = rows.open_rows(conn, opened.job)
    renderer = rows.bind(opened.job, source)
    if source is None or renderer is None:
        return None, "The source is gone or no longer fits the template.", False
    now = rows.fetch(conn, source, renderer.columns, [row["row_key"]]).get(row["row_key"])
    if now is None:
        return None, "The row is gone, or its view takes too long to read.", False
    try:
        line = renderer.line(f"{opened.job.uid}-{row['id']}", now)
    except OpenAIBatchError as error:
        return None, str(error), False
    return pretty(line), None, is_changed(opened, source, renderer, now, row["source_hash"])


def is_changed(
    opened: Opened, source: Source, renderer: Renderer, now: Sequence[Any], asked: bytes | None
) -> bool:
    """Whether a row differs from the one that was asked about."""
    values = [now[index] for index in hashed_columns(renderer, opened.output)]
    return asked is not None and source_hash(values) != asked


def pretty(value: Any) -> str:
    """JSON with line breaks, other text as it is, cut where a page has no room for more."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(text) <= LONGEST and text.lstrip().startswith(("{", "[")):
        try:
            text = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
        except (ValueError, RecursionError):
            return text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
