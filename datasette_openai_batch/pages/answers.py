"""Ten requests of one outcome, beside what was asked."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sqlite_utils_openai_batch.base.statuses import FAILED, NOT_WRITTEN
from sqlite_utils_openai_batch.base.text import cut, size
from sqlite_utils_openai_batch.results.words import DEMO_MODEL
from sqlite_utils_openai_batch.tables.undo import refusal_in

from ..access.job import Key, Opened, key_of
from ..data import rows, samples
from ..data.rows import Row
from ..data.samples import Mark, cells_of
from ..text import charts, urls
from . import attachments, images

# How often each answer was given: labels counted, numbers in a histogram.

# A column with more different values than this isn't one of labels; nor is one, unless its schema
# names them, whose values hardly ever come twice.
LABELS = 20
TIMES = 2
BINS = 12
# What binary fractions lack to the decimal ones that they stand for, in widths of a bin.
CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Distribution:
    """One answer column: its drawing, and its facet over the whole table."""

    column: str
    drawing: Markup
    note: str
    facet_href: str | None


def distributions(opened: Opened, answers: Sequence[Any]) -> list[Distribution]:
    """The output columns that hold labels or numbers; text that differs in each row is left out."""
    read = cells_of(opened.job)
    rows = [read("ok", answer) for answer in answers]
    found = []
    for index, column in enumerate(opened.output.answers):
        values = [row[index] for row in rows if row[index] is not None]
        drawn = draw(column.name, values, is_enumeration(opened, column.property))
        if drawn is not None:
            found.append(Distribution(column.name, *drawn, facet(opened, column.name)))
    return found


def facet(opened: Opened, column: str) -> str | None:
    """The table's own page with this column counted over all rows."""
    if opened.table is None:
        return None
    return urls.table(opened.datasette, opened.db, opened.table, ("_facet", column))


def is_enumeration(opened: Opened, name: str | None) -> bool:
    """Whether the schema names the labels of this property."""
    nodes = (opened.job.schema or {}).get("properties", {})
    node = nodes.get(name, {}) if isinstance(nodes, dict) else {}
    return isinstance(node, dict) and ("enum" in node or node.get("type") == "boolean")


def draw(name: str, values: Sequence[Any], labels: bool) -> tuple[Markup, str] | None:
    """The drawing of a column's values and a note; None where there is nothing to draw.

    `labels` tells that the schema names them: they are counted however rare each of them is.
    """
    if not values or any(isinstance(value, bytes) for value in values):
        return None
    numbers = all(isinstance(value, (int, float)) for value in values)
    counts = Counter(values)
    if len(counts) <= LABELS and (labels or TIMES * len(counts) <= len(values)):
        # Numbers keep their order, labels come by frequency.
        ordered = sorted(counts.items()) if numbers else counts.most_common()
        return charts.bars(name, [(str(value), n) for value, n in ordered], len(values)), ""
    return histogram(name, values) if numbers else None


def histogram(name: str, values: Sequence[float]) -> tuple[Markup, str]:
    """Numbers in bins of one round width, and their smallest, middle and largest."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    whole = all(isinstance(value, int) for value in ordered)
    step, digits = step_of(high - low + whole, whole)
    first = place(low, step, whole)
    last = place(high, step, whole)
    if not whole and last > first and abs(high / step - last) < CLOSE:
        # The largest of all ends the last bin: 1.0 is in "0.9 to 1.0".
        last -= 1
    counts = Counter(min(place(value, step, whole), last) - first for value in ordered)
    labelled = [
        (bin_label((first + n) * step, step, digits, whole), counts[n])
        for n in range(last - first + 1)
    ]
    middle = ordered[len(ordered) // 2]
    note = f"Smallest {figure(low)}, middle {figure(middle)}, largest {figure(high)}."
    return charts.bars(name, labelled, len(values)), note


def place(value: float, step: float, whole: bool) -> int:
    """Which multiple of `step` a number lies on or above; 0.3 lies on the third 0.1."""
    return int(value // step) if whole else math.floor(value / step + CLOSE)


def step_of(span: float, whole: bool) -> tuple[float, int]:
    """The narrowest round width (1, 2 or 5, tens of it) that makes at most `BINS` bins of a span.

    Returns it with the decimal digits that it needs.
    """
    power = math.floor(math.log10(span / BINS)) if span > 0 else 0
    if whole:
        power = max(power, 0)
    for exponent in (power, power + 1):
        for mantissa in (1, 2, 5):
            step = mantissa * 10**exponent if exponent >= 0 else mantissa / 10**-exponent
            if span <= step * BINS:
                return step, max(-exponent, 0)
    raise AssertionError("ten times the power is always wide enough")


def bin_label(begin: float, step: float, digits: int, whole: bool) -> str:
    """`0.2 to 0.3`, `10 to 19`, and of one number `7`."""
    if not whole:
        return f"{begin:,.{digits}f} to {begin + step:,.{digits}f}"
    last = begin + step - 1
    return f"{begin:,}" if last == begin else f"{begin:,} to {last:,}"


def figure(value: float) -> str:
    """A number in at most four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


TEN = 10
# Columns of the prompt that are shown, and how much of each.
COLUMNS = 4
WIDTH = 140


@dataclass(frozen=True, slots=True)
class Cell:
    """One value: text that was cut, and the address of its picture, or of its file."""

    text: str
    image: str | None = None
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One request: its row's key, what the prompt took from the row, and what came of it."""

    key: Key
    asked: list[Cell]
    answer: list[Cell]
    error: str | None
    notes: list[str]
    status: str = ""


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
        titles = {
            "ok": "Answers",
            "pending": "Rows without an answer yet",
            "failed": "Rows that failed",
        }
        return titles.get(self.status, f"Rows: {self.status}")


def caution(models: Collection[str]) -> str | None:
    """What to know of answers that no real model gave; the local server marks them so."""
    if any(model.endswith("(demo model)") for model in models):
        return DEMO_MODEL
    if any(model.endswith("-simulated") for model in models):
        return "These answers are simulated: made up, for tests."
    return None


def page(conn: sqlite3.Connection, opened: Opened, status: str, mark: Mark) -> Page:
    """The next ten requests with this outcome after `mark`."""
    statuses = FAILED if status == "failed" else (status,)
    found = samples.some(conn, opened.job.id, opened.parts, statuses, mark, TEN + 1)
    source = rows.open_rows(conn, opened.job)
    renderer = rows.bind(opened.job, source)
    asked = list(renderer.prompt_columns[:COLUMNS]) if renderer else []
    ten = found[:TEN]
    now: Mapping[Any, Row] = {}
    if source is not None and asked:
        now = rows.fetch(conn, source, asked, [row["row_key"] for row in ten])
    read = cells_of(opened.job)
    return Page(
        status=status,
        asked_columns=asked,
        answer_columns=answer_columns(opened) if status == "ok" else [],
        requests=[
            shown(
                opened,
                row,
                asked,
                now.get(row["row_key"]),
                read(row["status"], row["answer"]),
                columns=source.columns if source else (),
                named=status == "failed",
            )
            for row in ten
        ],
        next_href=_next(opened, status, ten) if len(found) > TEN else None,
        gone=source is None,
    )


def answer_columns(opened: Opened) -> list[AnswerColumn]:
    """The columns that answers were written to; columns of labels lead to their facets."""
    return [
        AnswerColumn(
            column.name,
            facet(opened, column.name) if is_enumeration(opened, column.property) else None,
        )
        for column in opened.output.answers
    ]


def shown(
    opened: Opened,
    row: sqlite3.Row,
    asked: Sequence[str],
    now: Row | None,
    values: Row,
    *,
    columns: Sequence[str] = (),
    named: bool = False,
) -> Shown:
    """One request as a table shows it; `now` is its row, `values` are those of its answer.

    `columns` are all of the row's.
    """
    ok = row["status"] == "ok"
    return Shown(
        key=key_of(opened, row["id"], row["row_key"]),
        asked=[
            cell(
                value,
                images.href(opened, row["id"], name, value),
                attachments.href(opened, row["id"], name, value, columns),
            )
            for name, value in zip(asked, now, strict=True)
        ]
        if now
        else [Cell("") for _ in asked],
        answer=[answer_cell(opened, value) for value in values] if ok else [],
        error=None if ok else what_happened(row, named=named),
        notes=notes(row),
        status=row["status"],
    )


def what_happened(row: sqlite3.Row, *, named: bool) -> str:
    """Why a request failed; `named` begins with its outcome, where others stand beside it."""
    why = cut(str(row["error_message"] or row["error_code"] or ""), 300)
    return ": ".join(filter(None, (row["status"] if named else "", why)))


def notes(row: sqlite3.Row) -> list[str]:
    """What is to be known beside an outcome: what was mended in an answer, why it isn't written."""
    mended = [str(row["error_message"])] if row["status"] == "ok" and row["error_message"] else []
    words = NOT_WRITTEN.get(row["write_status"] or "")
    unwritten = f"not written: {words.why}" if words else None
    if row["write_status"] == "kept_existing" and row["previous"]:
        unwritten = f"not written: refused by the database ({refusal_in(row['previous'])})"
    return mended + ([unwritten] if unwritten else [])


def answer_cell(opened: Opened, value: Any) -> Cell:
    """An answer as a cell: of a vector its beginning."""
    if not isinstance(value, bytes) or not opened.job.endpoint.endswith("/embeddings"):
        return cell(value)
    count = len(value) // 4
    begin = struct.unpack(f"<{min(count, 3)}f", value[: 4 * min(count, 3)])
    numbers = ", ".join(f"{number:.3f}" for number in begin)
    return Cell(f"{count:,} numbers: {numbers}{', …' if count > 3 else ''}")


def cell(value: Any, image: str | None = None, href: str | None = None) -> Cell:
    """A value as a cell of a table."""
    if value is None:
        return Cell("")
    if isinstance(value, bytes):
        what = images.kind(value) or (attachments.words(value) if href else None) or "BLOB"
        return Cell(f"{what}, {size(len(value))}", image, href)
    return Cell(cut(str(value), WIDTH), href=href)


def _next(opened: Opened, status: str, shown: Sequence[sqlite3.Row]) -> str:
    numbers = {part.id: part.number for part in opened.parts}
    last = shown[-1]
    mark = Mark(numbers.get(last["part_id"], 0), last["id"])
    query: dict[str, Any] = {"_after": str(mark)}
    if status != "ok":
        query = {"_status": status, **query}
    return urls.job(opened.datasette, opened.db, opened.job.id, **query) + "#rows"
