"""A job's page: all its sections, in the order of the questions that people ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlite_utils_openai_batch import figures, words
from sqlite_utils_openai_batch.prices import usd

from . import (
    agreements,
    answers,
    asked,
    charts,
    distribution,
    exact,
    failures,
    history,
    samples,
    urls,
)
from .headline import Headline, headline
from .jobs import Opened
from .samples import Mark


@dataclass(frozen=True, slots=True)
class Choice:
    """What the address chooses on a job's page."""

    status: str
    mark: Mark
    request: int | None
    row: str | None


@dataclass(frozen=True, slots=True)
class OutcomeLine:
    """One line of the table of outcomes."""

    status: str
    meaning: str
    count: str
    share: str
    href: str
    csv_href: str


@dataclass(frozen=True, slots=True)
class CostLine:
    """One kind of cost or token: what was expected beside what it was."""

    name: str
    estimate: str
    actual: str
    part: bool = False


def sections(opened: Opened, choice: Choice) -> Callable[[sqlite3.Connection], dict[str, Any]]:
    """What the page needs, read in one go in a thread of Datasette's."""

    def read(conn: sqlite3.Connection) -> dict[str, Any]:
        sampled = samples.answers(conn, opened.parts)
        models = samples.models(conn, opened.parts)
        return {
            "headline": top(opened),
            "bar": charts.bar(opened.outcomes, opened.total, width=640, height=22),
            "outcomes": outcome_lines(opened),
            "page": answers.page(conn, opened, choice.status, choice.mark),
            "asked": asked.asked(opened),
            "models": models,
            "caution": answers.caution(models),
            "exact": exact.exact(conn, opened, choice.request, choice.row),
            "failed": failures.failures(conn, opened) if opened.failures else None,
            "agreements": agreements.agreements(conn, opened),
            "costs": costs(opened),
            "distributions": distribution.distributions(opened, sampled),
            "sampled": len(sampled),
            "history": history.history(conn, opened),
        }

    return read


def top(opened: Opened) -> Headline:
    """The headline of a job's page."""
    return headline(
        opened.job,
        opened.parts,
        opened.outcomes,
        file=opened.file,
        immutable=not opened.db.is_mutable,
    )


def files(opened: Opened) -> dict[str, str]:
    """The addresses of a job's files, all of it and only what failed."""
    failed = [status for status in opened.outcomes if status not in ("ok", "pending")]
    only = urlencode([("_status", status) for status in failed])

    def href(suffix: str) -> str:
        return urls.job(opened.datasette, opened.db, opened.job.id, suffix)

    return {
        "page": href(""),
        "json": href(".json"),
        "csv": href(".csv"),
        "xlsx": href(".xlsx"),
        "jsonl": href(".jsonl"),
        "report": href("/report"),
        "failed_csv": f"{href('.csv')}?{only}",
        "failed_xlsx": f"{href('.xlsx')}?{only}",
    }


def outcome_lines(opened: Opened) -> list[OutcomeLine]:
    """The outcomes of a job with their counts and shares."""
    job_id = opened.job.id
    return [
        OutcomeLine(
            status=status,
            meaning=words.OUTCOMES.get(status, ""),
            count=f"{count:,}",
            share=figures.percent(count, opened.total),
            href=failures.link(opened, status),
            csv_href=urls.job(opened.datasette, opened.db, job_id, ".csv", _status=status),
        )
        for status, count in opened.outcomes.items()
    ]


# Tokens as they are named on the page, and whether they are part of the line above.
TOKENS = (
    ("prompt_tokens", "Prompt tokens", False),
    ("cached_tokens", "of them cached", True),
    ("completion_tokens", "Answer tokens", False),
    ("reasoning_tokens", "of them reasoning", True),
)


def costs(opened: Opened) -> list[CostLine]:
    """Money and tokens of a job, estimate beside actual; what nobody knows is left out."""
    job = opened.job
    actual = words.cost_words(job, "not known yet" if job.unfinished else "unknown")
    actual = "none (own server)" if actual == "none" else actual
    lines = [CostLine("Cost", money(job.estimated_cost_nanousd), actual)]
    if job.upper_cost_nanousd is not None:
        lines.append(CostLine("at most", usd(job.upper_cost_nanousd, up=True), "", part=True))
    if job.max_cost_nanousd is not None:
        lines.append(CostLine("ceiling", usd(job.max_cost_nanousd), "", part=True))
    expected = {"prompt_tokens": job.estimated_input_tokens}
    for field, name, part in TOKENS:
        about, count = expected.get(field), opened.tokens.get(field)
        if count or about or (count is not None and not part):
            lines.append(CostLine(name, figure(about), figure(count), part))
    return lines


def money(nanousd: int | None) -> str:
    """An amount; nothing where it is unknown."""
    return "" if nanousd is None else usd(nanousd)


def figure(count: int | None) -> str:
    """A number; nothing where it is unknown."""
    return "" if count is None else f"{count:,}"


def facets(opened: Opened) -> str:
    """The address of the table that was written to, with facets on the answer columns."""
    if opened.table is None or opened.job.answer_schema is None:
        return ""
    columns = [("_facet", name) for name in opened.output.names[:5]]
    return urls.table(opened.datasette, opened.db, opened.table, *columns)
