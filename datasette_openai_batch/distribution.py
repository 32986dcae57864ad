"""How often each answer was given: labels counted, numbers in a histogram."""

from __future__ import annotations

import math
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
