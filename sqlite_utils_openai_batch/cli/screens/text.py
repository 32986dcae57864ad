"""What screens are made of: lines, tables, times, keys. Nothing here reads or writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .. import clock

if TYPE_CHECKING:
    from ..plan import Plan
    from ..store import Job

LABEL = 10


def row(label: str, text: str) -> str:
    """One line of a screen: a label, and what there is to say."""
    return f"{label:<{LABEL}}{text}"


def when(at: str | None) -> str:
    """A stored time in the reader's time zone: `today 03:00`, `20 Nov 14:02`, `-`."""
    if not at or clock.told(at) is None:
        return "-"
    local = clock.parse(at).astimezone()
    today = datetime.now(timezone.utc).astimezone()
    if local.date() == today.date():
        return f"today {local:%H:%M}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M}"
    return f"{local.day} {local:%b %Y}"


def when_later(at: str | None, first: str | None) -> str:
    """A time that stands after another: without the day where that is the same."""
    if not (at and first and clock.told(at) and clock.told(first)):
        return when(at)
    local = clock.parse(at).astimezone()
    same_day = local.date() == clock.parse(first).astimezone().date()
    return f"{local:%H:%M}" if same_day else when(at)


def progress(job: Job, counts: dict[str, int]) -> str:
    """How many requests have an outcome: `12,000/20,000`."""
    whole = job.requests or 0
    return f"{whole - counts.get('pending', 0):,}/{whole:,}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns under their headers, two spaces apart, no trailing spaces."""
    cells = [list(headers), *(list(line) for line in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(headers))]
    lines = [
        "  ".join(
            cell.rjust(widths[n]) if n in right else cell.ljust(widths[n])
            for n, cell in enumerate(line)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def key_words(key: Any, columns: Sequence[str]) -> str:
    """A row's key as people read it, given its columns."""
    if len(columns) > 1:
        return "/".join(str(value) for value in json.loads(key))
    return str(key)


def row_words(plan: Plan, key: Any) -> str:
    """A row and its key: `movies.title = Heat`."""
    name = ".".join(filter(None, (plan.source.name, "/".join(plan.source.key_columns))))
    return f"{name} = {key_words(key, plan.source.key_columns)}"
