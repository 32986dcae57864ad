"""What the jobs of a database asked and cost, month by month."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from .. import store
from .words import own_server


@dataclass(frozen=True, slots=True)
class Month:
    """What the jobs of one month (`2026-11`, by when they were made) asked and cost."""

    month: str
    jobs: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost_nanousd: int | None
    """None where it isn't known of any job; 0 where all that was answered was on own servers."""
    unknown: int
    """Jobs with answers whose cost isn't known."""
    paid: int
    """Jobs whose cost is known, but for those on own servers."""


def months(conn: sqlite3.Connection) -> list[Month]:
    """Totals by month, newest first. A job on an own server costs nothing, which is known."""
    found = store.rows(
        conn,
        "SELECT job_id, sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion "
        "FROM openai_batch_parts GROUP BY job_id",
    )
    sums = {row["job_id"]: (row["prompt"], row["completion"]) for row in found}
    totals: dict[str, list[int]] = {}
    for job in store.sorted_out(conn)[0]:
        if job.requests is None:
            continue
        prompt, completion = sums.get(job.id, (None, None))
        paid = job.cost_nanousd is not None
        free = not paid and own_server(job)
        unknown = prompt is not None and not (paid or free)
        figures = (1, job.requests, prompt or 0, completion or 0, job.cost_nanousd or 0,
                   unknown, paid, free)  # fmt: skip
        total = totals.setdefault(job.created_at[:7], [0] * len(figures))
        for n, figure in enumerate(figures):
            total[n] += figure
    return [
        Month(month, jobs, asked, prompt, completion, cost if paid or free else None, unknown, paid)
        for month, (jobs, asked, prompt, completion, cost, unknown, paid, free) in sorted(
            totals.items(), reverse=True
        )
    ]
