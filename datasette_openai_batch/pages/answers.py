"""Ten requests of one outcome, beside what was asked."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch.figures import cut, size
from sqlite_utils_openai_batch.words import DEMO_MODEL

from . import images, rows, samples, urls
from .distribution import facet, is_enumeration
from .jobs import Opened
from .keys import Key, key_of
from .rows import Row
from .samples import Mark
from .stored import answer_reader

TEN = 10
# Columns of the prompt that are shown, and how much of each.
COLUMNS = 4
WIDTH = 140


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: text that was cut, or the address of a picture."""

    text: str
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One request: its row's key, what the prompt took from the row, and what came of it."""

    key: Key
    asked: list[Cell]
    answer: list[Cell]
    error: str | None
    notes: list[str]


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A column of answers; where it holds labels, the table's page that counts them."""

    name: str
    facet_href: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """Ten requests and the way to the next ten."""

    status: str
    asked_columns: list[str]
    answer_columns: list[AnswerColumn]
    requests: list[Shown]
    next_href: str | None
    gone: bool

    @property
    def failed(self) -> bool:
        """Whether these requests ended without an answer."""
        return self.status not in ("ok", "pending")

    @property
    def title(self) -> str:
        """What these rows are called above their table."""
        titles = {"ok": "Answers", "pending": "Rows without an answer yet"}
        return titles.get(self.status, f"Rows: {self.status}")


NOTES = {
    "stale": "not written: the row changed after it was asked about",
    "kept_existing": "not written: the cell held a value",
    "row_gone": "not written: the row is gone",
}


def caution(models: Collection[str]) -> str | None:
    """What to know of answers that no real model gave; the local server marks them so."""
    if any(model.endswith("(demo model)") for model in models):
        return DEMO_MODEL
    if any(model.endswith("-simulated") for model in models):
        return "These answers are simulated: made up, for tests."
    return None


def page(conn: sqlite3.Connection, opened: Opened, status: str, mark: Mark) -> Page:
    """The next ten requests with this outcome after `mark`."""
    found = samples.some(conn, opened.job.id, opened.parts, status, mark, TEN + 1)
    source = rows.open_rows(conn, opened.job)
    renderer = rows.bind(opened.job, source)
    asked = list(renderer.prompt_columns[:COLUMNS]) if renderer else []
    shown = found[:TEN]
    now: Mapping[Any, Row] = {}
    if source is not None and asked:
        now = rows.fetch(conn, source, asked, [row["row_key"] for row in shown])
    read = answer_reader(opened.job)
    return Page(
        status=status,
        asked_columns=asked,
        answer_columns=answer_columns(opened) if status == "ok" else [],
        requests=[
            _shown(opened, row, asked, now.get(row["row_key"]), read(row["status"], row["answer"]))
            for row in shown
        ],
        next_href=_next(opened, status, shown) if len(found) > TEN else None,
        gone=source is None,
    )


def answer_columns(opened: Opened) -> list[AnswerColumn]:
    """The columns that answers were written to; columns of labels lead to their facets."""
    return [
        AnswerColumn(
            column.name,
            facet(opened, column.name) if is_enumeration(opened, column.property) else None,
        )
        for column in opened.output.columns
    ]


def _shown(
    opened: Opened, row: sqlite3.Row, asked: Sequence[str], now: Row | None, values: Row
) -> Shown:
    ok = row["status"] == "ok"
    return Shown(
        key=key_of(opened, row["id"], row["row_key"]),
        asked=[
            cell(value, images.href(opened, row["id"], name, value))
            for name, value in zip(asked, now, strict=True)
        ]
        if now
        else [Cell("") for _ in asked],
        answer=[answer_cell(opened, value) for value in values] if ok else [],
        error=None if ok else cut(str(row["error_message"] or row["error_code"] or ""), 300),
        notes=notes(row),
    )


def notes(row: sqlite3.Row) -> list[str]:
    """What is to be known beside an outcome: what was mended in an answer, why it isn't written."""
    mended = [str(row["error_message"])] if row["status"] == "ok" and row["error_message"] else []
    unwritten = NOTES.get(row["write_status"] or "")
    return mended + ([unwritten] if unwritten else [])


def answer_cell(opened: Opened, value: Any) -> Cell:
    """An answer as a cell: of a vector its beginning."""
    if not isinstance(value, bytes) or not opened.job.endpoint.endswith("/embeddings"):
        return cell(value)
    count = len(value) // 4
    begin = struct.unpack(f"<{min(count, 3)}f", value[: 4 * min(count, 3)])
    numbers = ", ".join(f"{number:.3f}" for number in begin)
    return Cell(f"{count:,} numbers: {numbers}{', …' if count > 3 else ''}")


def cell(value: Any, image: str | None = None) -> Cell:
    """A value as a cell of a table."""
    if value is None:
        return Cell("")
    if isinstance(value, bytes):
        return Cell(f"{images.kind(value) or 'BLOB'}, {size(len(value))}", image)
    return Cell(cut(str(value), WIDTH))


def _next(opened: Opened, status: str, shown: Sequence[sqlite3.Row]) -> str:
    numbers = {part.id: part.number for part in opened.parts}
    last = shown[-1]
    mark = Mark(numbers.get(last["part_id"], 0), last["id"])
    query: dict[str, Any] = {"_after": str(mark)}
    if status != "ok":
        query = {"_status": status, **query}
    return urls.job(opened.datasette, opened.db, opened.job.id, **query) + "#rows"
