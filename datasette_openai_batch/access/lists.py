"""What the lists of jobs show: one line a job."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from sqlite_utils_openai_batch.base.statuses import OUTCOMES
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.store import Job

from ..data import queries
from ..data.parts import Standing, standings
from ..data.queries import Head, Trouble
from ..text import charts, times, urls
from .permissions import access, trouble_of

PAGE = 50


@dataclass(frozen=True, slots=True)
class Line:
    """One job in a list, in words."""

    id: int
    name: str | None
    href: str
    source: str
    source_href: str | None
    model: str
    status: str
    message: str | None
    done: str
    bar: Markup
    cost: str
    started: str
    ended: str
    open: bool = False
    """Whether it may still change."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a database's jobs, or the sentence that says why there is none."""

    database: str
    file: str
    href: str
    trouble: Trouble | None
    loaded: list[tuple[Job, Standing]]
    lines: list[Line]
    count: int
    statuses: list[str]
    tables: list[str]
    next_href: str | None


def ordered(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Outcomes in the order in which they are shown; what nobody knows comes last."""
    known = {status: outcomes[status] for status in OUTCOMES if status in outcomes}
    return known | dict(outcomes)


def line(datasette: Any, db: Any, job: Job, standing: Standing) -> Line:
    """A job as its line in a list."""
    outcomes = ordered(standing.outcomes)
    total = sum(outcomes.values())
    done = total - outcomes.get("pending", 0)
    return Line(
        id=job.id,
        name=job.name,
        href=urls.job(datasette, db, job.id),
        source=job.source or "a query",
        source_href=urls.table(datasette, db, job.source) if job.source else None,
        model=job.model or "",
        status=words.status_words(job, outcomes, standing.parts),
        message=job.message,
        done=f"{done:,} of {total:,}",
        bar=charts.bar(outcomes, total),
        cost=words.cost_words(job, ""),
        started=times.moment(job.submitted_at),
        ended=times.moment(job.finished_at),
        open=job.unfinished,
    )


def file_name(db: Any) -> str:
    """The database as a command would name it, without the server's folders."""
    return Path(db.path).name if db.path else f"{db.name}.db"


async def listing(
    datasette: Any,
    db: Any,
    actor: Any,
    *,
    status: str | None = None,
    table: str | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> Listing:
    """The newest jobs of a database that the actor may see, chosen by status and table."""
    trouble = await trouble_of(datasette, db)
    found: list[Head] = [] if trouble else await db.execute_fn(queries.heads)
    seen = await access(datasette, db, actor) if found else None
    mine = [job for job in found if seen and seen.sees(job)]
    chosen = [job for job in mine if _matches(job, status, table)]
    page = [job for job in chosen if before is None or job.id < before][: limit + 1]
    more = len(page) > limit
    page = page[:limit]
    loaded = await db.execute_fn(_load([job.id for job in page])) if page else []
    href = urls.jobs(datasette, db)
    return Listing(
        database=db.name,
        file=file_name(db),
        href=href,
        trouble=trouble,
        loaded=loaded,
        lines=[line(datasette, db, job, standing) for job, standing in loaded],
        count=len(chosen),
        statuses=sorted({job.status for job in mine}),
        tables=sorted({job.place.source for job in mine if job.place.source}),
        next_href=_next(href, status, table, page[-1].id) if more else None,
    )


def _matches(job: Head, status: str | None, table: str | None) -> bool:
    if status and job.status != status:
        return False
    return not table or table in (job.place.source, job.place.output_table)


def _next(href: str, status: str | None, table: str | None, last: int) -> str:
    given = {"_status": status, "_table": table, "_before": last}
    return f"{href}?{urlencode({name: value for name, value in given.items() if value})}"


def _load(ids: list[int]) -> Callable[[sqlite3.Connection], list[tuple[Job, Standing]]]:
    def load(conn: sqlite3.Connection) -> list[tuple[Job, Standing]]:
        standing = standings(conn, ids)
        return [(job, standing(job.id)) for job in queries.jobs(conn, ids)]

    return load
