"""The screen of `shares`. Nothing here reads or writes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from ...base.text import counted, cut

if TYPE_CHECKING:
    from ...results.shares import Group, Share, Shares

#: What a line of `shares` has as data, behind the group's value.
HEADERS = ("label", "share", "corrected", "low", "high", "reviewed", "rows", "classical")
WIDEST = 30


def record(found: Shares, group: Group, one: Share) -> list[Any]:
    """A line of `shares` as a row of data."""
    by = one.corrected
    return [
        *([group.value] if found.by else []),
        found.question.shown(one.label) if found.question.kind == "boolean" else one.label,
        one.share,
        by and by.value,
        by and by.low,
        by and by.high,
        one.reviewed,
        group.rows,
        one.classical,
    ]


def shares_screen(found: Shares, db: str) -> str:
    """The shares of a job's column, and what must be known before they are believed."""
    job, question = found.job, found.question
    whole = found.whole
    lines = [
        f"{'Mean' if found.is_mean else 'Shares'} of {question.name}, job {job.id}: "
        f"{counted(whole.rows, 'answered row')}, {whole.reviewed:,} of them drawn at random and "
        "labelled",
        "",
    ]
    for group in found.every_group():
        if found.by:
            lines += [
                f"{found.by} {group.value if group.value is not None else '(none)'}: "
                f"{counted(group.rows, 'row')}, {group.reviewed:,} labelled"
            ]
        lines += table(found, group)
        lines.append("")
    sentences = [
        one.replace("review DB", f"sqlite-utils openai-batch review {shlex.quote(db)}")
        for one in found.sentences()
    ]
    return "\n".join([*lines, *sentences]).rstrip()


def table(found: Shares, group: Group) -> list[str]:
    """The labels of one group."""
    rows = [("", "model", "corrected", "95 % interval", "classical")]
    figure = plain if found.is_mean else percent
    for one in found.shares(group):
        by = one.corrected
        rows.append(
            (
                cut(found.question.shown(one.label), WIDEST),
                figure(one.share),
                figure(by.value if by else None),
                f"{figure(by.low)} to {figure(by.high)}" if by else "-",
                figure(one.classical),
            )
        )
    if all(row[4] == "-" for row in rows[1:]):
        rows = [(*row[:4], "") for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "-" if share is None else f"{100 * share:.1f} %"


def plain(value: float | None) -> str:
    """A mean as people read it."""
    return "-" if value is None else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.1f}"
