"""Screens: what the jobs of each month did cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...base.text import counted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ...results.months import Month


def months_of(conn: sqlite3.Connection) -> list[Month]:
    """What the jobs of each month asked and cost, newest first."""
    from ... import store
    from ...results.months import months

    return months(conn) if store.exists(conn) else []


def month_record(month: Month) -> list[Any]:
    """A month as a row of data."""
    return [
        month.month,
        month.jobs,
        month.requests,
        month.prompt_tokens,
        month.completion_tokens,
        None if month.cost_nanousd is None else month.cost_nanousd / 1e9,
        month.unknown,
    ]


def months_screen(months: Sequence[Month]) -> str:
    """The table of `jobs --totals`."""
    from ...base import clock
    from .text import table

    return table(
        ["month", "jobs", "requests", "tokens in", "tokens out", "cost", ""],
        (
            [
                month.month if clock.told(f"{month.month}{clock.UNKNOWN[7:]}") else "-",
                f"{month.jobs:,}",
                f"{month.requests:,}",
                f"{month.prompt_tokens:,}",
                f"{month.completion_tokens:,}",
                month_cost(month),
                f"and {counted(month.unknown, 'job')} of unknown cost" if month.unknown else "",
            ]
            for month in months
        ),
        right=(1, 2, 3, 4, 5),
    )


def month_cost(month: Month) -> str:
    """What a month cost, in the words of the list of jobs: `none` on own servers only."""
    from ...pricing.prices import usd

    if month.cost_nanousd is None:
        return "-"
    return usd(month.cost_nanousd) if month.paid else "none"


def month_sentence(month: Month) -> str:
    """What the newest month cost, where anything was paid: for the end of the list of jobs."""
    from datetime import datetime

    from ...pricing.prices import usd

    if not month.cost_nanousd:
        return ""
    name = datetime.strptime(month.month, "%Y-%m").strftime("%B")
    unknown = f" and {month.unknown} an unknown amount" if month.unknown else ""
    return (
        f"{counted(month.jobs, 'job')} in {name} cost {usd(month.cost_nanousd)}{unknown} "
        "(--totals).   "
    )
