"""The JSON of a job: what its page says, for programs. Documented in docs/datasette.md."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.base.json import kept_counts
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.store import Job

from ..access.job import Opened
from ..access.lists import Listing, ordered
from ..data.parts import Standing
from ..text import urls

PART_FIELDS = (
    "number",
    "status",
    "requests",
    "bytes",
    "sends",
    "batch_id",
    "input_file_id",
    "output_file_id",
    "error_file_id",
    "completed",
    "failed",
    "submitted_at",
    "in_progress_at",
    "finalizing_at",
    "ended_at",
    "expires_at",
    "collected_at",
    "written_at",
)


def usd(nanousd: int | None) -> float | None:
    """Dollars; None where the cost is unknown, never 0 for that."""
    return None if nanousd is None else nanousd / 1_000_000_000


def twin(opened: Opened, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """A job as JSON: plain values, times in UTC, money in dollars."""
    job = opened.job
    return {
        "database": opened.db.name,
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "status_words": opened.status_words,
        "message": job.message,
        "source": job.source,
        "source_sql": job.source_sql,
        "key_columns": list(job.keys),
        "output_table": opened.table,
        "output_columns": list(opened.output.names),
        "provider": job.provider,
        "model": job.model,
        "endpoint": job.endpoint,
        "requests": opened.total,
        "skipped": job.skipped,
        "outcomes": opened.outcomes,
        "parts": parts,
        "cost_usd": usd(job.cost_nanousd),
        "estimated_cost_usd": usd(job.estimated_cost_nanousd),
        "upper_cost_usd": usd(job.upper_cost_nanousd),
        "max_cost_usd": usd(job.max_cost_nanousd),
        "tokens": opened.tokens,
        "created_at": clock.told(job.created_at),
        "approved_at": clock.told(job.approved_at),
        "submitted_at": clock.told(job.submitted_at),
        "checked_at": clock.told(job.checked_at),
        "finished_at": clock.told(job.finished_at),
    }


def listed(datasette: Any, db: Any, found: Listing) -> dict[str, Any]:
    """A page of the list of a database's jobs as JSON; `next` is the address of the next one."""
    following = found.next_href
    return {
        "database": found.database,
        "count": found.count,
        "jobs": [short(datasette, db, *one) for one in found.loaded],
        "next": following and following.replace("/-/openai-batch?", "/-/openai-batch.json?", 1),
        "trouble": found.trouble.sentence if found.trouble else None,
    }


def short(datasette: Any, db: Any, job: Job, standing: Standing) -> dict[str, Any]:
    """A job of a list as JSON: the fields of its own JSON that a list has, and where that is."""
    outcomes = ordered(standing.outcomes)
    total = sum(outcomes.values())
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "status_words": words.status_words(job, outcomes, standing.parts),
        "message": job.message,
        "source": job.source,
        "model": job.model,
        "requests": total,
        "done": total - outcomes.get("pending", 0),
        "failed": sum(words.failures(outcomes).values()),
        "outcomes": outcomes,
        "cost_usd": usd(job.cost_nanousd),
        "created_at": clock.told(job.created_at),
        "submitted_at": clock.told(job.submitted_at),
        "checked_at": clock.told(job.checked_at),
        "finished_at": clock.told(job.finished_at),
        "href": urls.job(datasette, db, job.id),
        "json": urls.job(datasette, db, job.id, ".json"),
    }


def plain(name: str, value: Any) -> Any:
    """A column of a part for JSON: a time that isn't known is null, bytes are text."""
    if name.endswith("_at"):
        return clock.told(clock.kept(value))
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def parts(conn: sqlite3.Connection, job_id: int) -> list[dict[str, Any]]:
    """The parts of a job as JSON, in their order."""
    names = ", ".join(PART_FIELDS)
    found = store.rows(
        conn,
        f"SELECT {names}, outcomes, cost_nanousd FROM openai_batch_parts "
        "WHERE job_id = ? ORDER BY number",
        [job_id],
    )
    return [
        {
            **{name: plain(name, row[name]) for name in PART_FIELDS},
            "outcomes": kept_counts(row["outcomes"]),
            "cost_usd": usd(row["cost_nanousd"]),
        }
        for row in found
    ]
