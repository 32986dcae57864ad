"""How often each answer was given: labels counted, numbers in a histogram."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from . import charts, urls
from .jobs import Opened
from .stored import answer_reader

# A column with more different values than this isn't one of labels; nor is one, unless its schema
# names them, whose values hardly ever come twice.
LABELS = 20
TIMES = 2
BINS = 12


@dataclass(frozen=True, slots=True)
class Distribution:
    """One answer column: its drawing, and its facet over the whole table."""

    column: str
    drawing: Markup
    note: str
    facet_href: str | None


def distributions(opened: Opened, answers: Sequence[Any]) -> list[Distribution]:
    """The output columns that hold labels or numbers; text that differs in each row is left out."""
    read = answer_reader(opened.job)
    rows = [read("ok", answer) for answer in answers]
    found = []
    for index, column in enumerate(opened.output.columns):
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
    schema = json.loads(opened.job.answer_schema or "{}")
    node = schema.get("properties", {}).get(name, {})
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
    """Numbers in `BINS` bins of one width, and their smallest, middle and largest."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    whole = all(isinstance(value, int) for value in ordered)
    width = -(-(high - low + 1) // BINS) if whole else (high - low) / BINS or 1.0
    counts = [0] * BINS
    for value in ordered:
        counts[min(int((value - low) // width), BINS - 1)] += 1
    labelled = [
        (f"{figure(low + n * width)} to {figure(low + (n + 1) * width - whole)}", count)
        for n, count in enumerate(counts)
        if low + n * width <= high
    ]
    middle = ordered[len(ordered) // 2]
    note = f"Smallest {figure(low)}, middle {figure(middle)}, largest {figure(high)}."
    return charts.bars(name, labelled, len(values)), note


def figure(value: float) -> str:
    """A number in at most four significant digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
