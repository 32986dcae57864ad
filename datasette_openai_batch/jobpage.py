"""A job's page: all its sections, in the order of the questions that people ask."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlite_utils_openai_batch import figures, words
from sqlite_utils_openai_batch.prices import usd

from . import answers, asked, charts, distribution, exact, failures, history, samples, urls
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
class Costs:
    """Money and tokens, estimated beside actual."""

    money: list[tuple[str, str]]
    tokens: list[tuple[str, str]]


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


def costs(opened: Opened) -> Costs:
    """Money and tokens of a job; what nobody knows is left out, but for the actual cost."""
    job = opened.job
    actual = words.cost_words(job, "unknown")
    money = [("Actual", "none (own server)" if actual == "none" else actual)]
    for name, nanousd in (
        ("Estimate", job.estimated_cost_nanousd),
        ("At most", job.upper_cost_nanousd),
        ("Ceiling", job.max_cost_nanousd),
    ):
        if nanousd is not None:
            money.append((name, usd(nanousd)))
    names = {
        "prompt_tokens": "Prompt",
        "cached_tokens": "of it cached",
        "completion_tokens": "Answers",
        "reasoning_tokens": "of it reasoning",
    }
    tokens = [
        (names[name], f"{count:,}") for name, count in opened.tokens.items() if count is not None
    ]
    if job.estimated_input_tokens is not None:
        tokens.insert(0, ("Prompt, estimated", f"{job.estimated_input_tokens:,}"))
    return Costs(money, tokens)


def facets(opened: Opened) -> str:
    """The address of the table that was written to, with facets on the answer columns."""
    if opened.table is None or opened.job.answer_schema is None:
        return ""
    columns = [("_facet", name) for name in opened.output.names[:5]]
    return urls.table(opened.datasette, opened.db, opened.table, *columns)
