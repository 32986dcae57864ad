"""Screens: what jobs did cost, beside what was expected of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...base.text import counted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ...results.months import Month
    from ...store import Job


def job_cost_line(job: Job) -> str:
    """What a job cost, beside what was expected of it: `$1.07 (estimate $1.09, ceiling $10.00)`."""
    from ...pricing.prices import job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return "none (own server)"
    expected = []
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if about is not None and about != most:
        expected.append(f"estimate {usd(about)}")
    elif most is not None:
        expected.append(f"estimate at most {usd(most, up=True)}")
    if job.max_cost_nanousd is not None:
        expected.append(f"ceiling {usd(job.max_cost_nanousd)}")
    known = "not known" if job.cost_nanousd is None else usd(job.cost_nanousd)
    return known + (f" ({', '.join(expected)})" if expected else "")


def job_expects(job: Job, ceiling: int | None) -> str:
    """What a stored job is expected to cost, for the question before sending."""
    from ...pricing.prices import about_usd, job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return "It costs nothing (own server)."
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if most is None:
        return "What it costs isn't known."
    words = f"at most {usd(most, up=True)}"
    if about is not None and about != most:
        words = f"{about_usd(about)}, {words}"
    ceiling = job.max_cost_nanousd if ceiling is None else ceiling
    held = f" (ceiling {usd(ceiling)})" if ceiling is not None else ""
    return f"{words[0].upper()}{words[1:]}{held}."


def retry_words(job: Job, most: int | None) -> str:
    """What a retry may cost, after its question; nothing where nothing is paid."""
    from ...pricing.prices import job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return ""
    if most is None:
        return " What it costs isn't known."
    ceiling = job.max_cost_nanousd
    held = f" (ceiling of the whole job {usd(ceiling)})" if ceiling is not None else ""
    return f" At most {usd(most, up=True)}{held}."


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
