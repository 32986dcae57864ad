"""A job's page: all its sections, in the order of the questions that people ask."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from sqlite_utils_openai_batch.base import text
from sqlite_utils_openai_batch.base.statuses import OUTCOMES
from sqlite_utils_openai_batch.base.text import COMMAND, counted
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.store import Job

from ..access.job import Opened
from ..data import samples
from ..data.parts import PartHead
from ..data.samples import Mark
from ..text import charts, times, urls
from . import again, agreement, answers, asked, failures, history
from . import request as exact
from .answers import distributions
from .people import people

# The first lines of a job's page: where it stands, what it waits for, what to do next.

# A command in a message runs to its end, or to the full stop or bracket after which text goes on.
# None of ours has another command in it: a message may be of whoever made the database.
_COMMAND = re.compile(rf"({COMMAND}(?:[^.,;()$`|&<>\\\n]|[.,](?=\S))*[^\s.,;()$`|&<>\\])")


@dataclass(frozen=True, slots=True)
class Headline:
    """What stands above everything else. `box` is set apart: it needs somebody to act."""

    status: str
    facts: list[str]
    waits: Markup | None
    box: Markup | None
    command: str | None
    alone: Markup | None


def headline(
    job: Job, parts: Sequence[PartHead], outcomes: Mapping[str, int], *, file: str, immutable: bool
) -> Headline:
    """The headline of a job in the database file that is called `file`."""
    text = words.status_words(job, outcomes, {part.status for part in parts})
    # The reason of a job that stopped is told in full in the box.
    text = job.status if job.status in ("paused", "failed") else text
    alone = times.left_alone(job, immutable=immutable)
    return Headline(
        status=text[:1].upper() + text[1:],
        facts=facts(job, outcomes),
        waits=waits(job, parts),
        box=box(job),
        command=command(job, outcomes, file, bool(alone) and not immutable),
        alone=alone,
    )


def box(job: Job) -> Markup | None:
    """Why a job stopped, the commands in its message marked as such."""
    if job.status not in ("paused", "failed", "cancelled") or not job.message:
        return None
    pieces = _COMMAND.split(job.message)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if n % 2 else escape(piece)
        for n, piece in enumerate(pieces)
    )


def facts(job: Job, outcomes: Mapping[str, int]) -> list[str]:
    """Answered rows, cost, time: the figures of the headline."""
    total = sum(outcomes.values())
    often = job.settings.get("times")
    asked = counted(total, "request" if often else "row")
    found = [f"{outcomes.get('ok', 0):,} of {asked} answered"]
    if often:
        found.append(f"{often} for each row")
    if job.cost_nanousd is not None:
        found.append(usd(job.cost_nanousd))
    elif words.own_server(job):
        found.append("no cost (own server)")
    if job.finished_at:
        found.append(Markup("finished {}").format(times.moment(job.finished_at, zone=True)))
    elif job.checked_at:
        found.append(Markup("last checked {}").format(times.ago(job.checked_at)))
    return found


def waits(job: Job, parts: Sequence[PartHead]) -> Markup | None:
    """What a running job waits for, and for how long that may be."""
    if job.status not in ("running", "cancelling", "paused"):
        return None
    under_way = sum(part.status in words.UNDER_WAY for part in parts)
    unsent = sum(part.status == "prepared" for part in parts)
    whole = f"{under_way:,} of {counted(len(parts), 'part')}"
    pieces = []
    if under_way:
        where = "under way" if words.own_server(job) else f"with {words.host_words(job)}"
        pieces.append(f"{whole if under_way < len(parts) else counted(under_way, 'part')} {where}")
    if unsent:
        parted = f"{unsent:,}" if under_way else counted(unsent, "part")
        pieces.append(f"{parted} not sent yet")
    if not pieces:
        return None
    said = Markup("{}.").format(", ".join(pieces))
    if job.status == "paused":
        # What was sent before still answers, and is paid for.
        open_ = counted(under_way, "open batch", "open batches")
        return said + Markup(" {} will still answer.").format(open_) if under_way else said
    if words.own_server(job):
        return said
    ends = [part.expires_at for part in parts if part.expires_at and not part.ended_at]
    if not ends or unsent:
        return said + " Usually within 24 h."
    last = times.moment(max(ends), zone=True)
    return said + Markup(" Usually within 24 h, at the latest {}.").format(last)


def command(job: Job, outcomes: Mapping[str, int], file: str, alone: bool) -> str | None:
    """The command that takes this job further; None where there is nothing to do."""
    where = f"{shlex.quote(file)} {job.id}"
    if job.status == "prepared":
        return f"{COMMAND} submit {where}"
    if job.status == "paused":
        # Many messages name the command themselves; then one is enough.
        return None if COMMAND in (job.message or "") else f"{COMMAND} submit {where}"
    if job.status in ("running", "cancelling") and alone:
        return f"{COMMAND} sync {where}"
    if job.status in ("completed", "failed", "cancelled") and words.failures(outcomes):
        return f"{COMMAND} retry {where}"
    return None


@dataclass(frozen=True, slots=True)
class Choice:
    """What the address chooses on a job's page."""

    status: str
    mark: Mark
    request: int | None
    row: str | None
    people: bool = False
    """Whether what people say may be shown."""
    shares: bool = False
    """Whether the shares of a long job are counted."""
    by: str | None = None
    """The column of the source by whose values shares are told."""


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
            "agreements": agreement.agreements(conn, opened),
            "again": again.asked_again(conn, opened),
            "people": people(conn, opened, count=choice.shares, by=choice.by)
            if choice.people
            else None,
            "costs": costs(opened),
            "distributions": distributions(opened, sampled),
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

    def href(suffix: str, **query: str) -> str:
        return urls.job(opened.datasette, opened.db, opened.job.id, suffix, **query)

    return {
        "page": href(""),
        "json": href(".json"),
        "csv": href(".csv"),
        "xlsx": href(".xlsx"),
        "jsonl": href(".jsonl"),
        "report": href("/report"),
        "failed_csv": href(".csv", _status="failed"),
        "failed_xlsx": href(".xlsx", _status="failed"),
    }


def outcome_lines(opened: Opened) -> list[OutcomeLine]:
    """The outcomes of a job with their counts and shares."""
    job_id = opened.job.id
    return [
        OutcomeLine(
            status=status,
            meaning=OUTCOMES[status].meaning if status in OUTCOMES else "",
            count=f"{count:,}",
            share=text.percent(count, opened.total),
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
