"""The JSON of a job: what its page says, for programs. Documented in docs/datasette.md."""

from __future__ import annotations

from typing import Any

from sqlite_utils_openai_batch.store import Part

from . import words
from .jobs import Opened

TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
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
    return None if nanousd is None else nanousd / words.NANO


def twin(opened: Opened) -> dict[str, Any]:
    """A job as JSON: plain values, times in UTC, money in dollars."""
    job = opened.job
    return {
        "database": opened.db.name,
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "status_words": words.status(job, opened.parts, opened.outcomes),
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
        "parts": [part(one) for one in opened.parts],
        "cost_usd": usd(job.cost_nanousd),
        "estimated_cost_usd": usd(job.estimated_cost_nanousd),
        "upper_cost_usd": usd(job.upper_cost_nanousd),
        "max_cost_usd": usd(job.max_cost_nanousd),
        "tokens": tokens(opened),
        "created_at": job.created_at,
        "approved_at": job.approved_at,
        "submitted_at": job.submitted_at,
        "checked_at": job.checked_at,
        "finished_at": job.finished_at,
    }


def part(one: Part) -> dict[str, Any]:
    """A part as JSON."""
    return {
        **{name: getattr(one, name) for name in PART_FIELDS},
        "outcomes": one.counts,
        "cost_usd": usd(one.cost_nanousd),
    }


def tokens(opened: Opened) -> dict[str, int | None]:
    """Tokens as the provider counted them, summed over parts; None where it counted none."""
    found: dict[str, int | None] = {}
    for name in TOKENS:
        counts = [getattr(one, name) for one in opened.parts if getattr(one, name) is not None]
        found[name] = sum(counts) if counts else None
    return found
