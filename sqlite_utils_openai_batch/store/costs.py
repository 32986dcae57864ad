"""Every statement about money, and about what earlier jobs tell of the next one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from ..base.statuses import ANSWERED
from .jobs import rows
from .parts import list_parts, strays
from .records import Part


@dataclass(frozen=True, slots=True)
class Committed:
    """What a job has cost, and what it may still cost by what was sent, in nano-dollars."""

    spent: int
    open: int
    """Upper bounds of what was sent and whose cost isn't known: not yet, or for good."""
    unknown: int
    """Sends of parts that have no bound."""

    @property
    def total(self) -> int:
        """The most that a job can cost if nothing more is sent."""
        return self.spent + self.open


def committed(conn: sqlite3.Connection, job_id: int, but: int | None = None) -> Committed:
    """What a job is committed to by its parts: of one, `but`, only by what is beside its send."""
    spent = open_ = unknown = 0
    beside = Counter(stray["part_id"] for stray in strays(conn, job_id))
    for part in list_parts(conn, job_id):
        spent += part.cost_nanousd or 0
        bounds = beside[part.id] + (part.id != but and is_open(part)) + is_unpriced(part)
        if part.upper_cost_nanousd is None:
            unknown += bounds
        else:
            open_ += bounds * part.upper_cost_nanousd
    return Committed(spent, open_, unknown)


def is_open(part: Part) -> bool:
    """Whether what a part's own batch costs isn't known yet."""
    return was_sent(part) and (part.collected_at is None or never_counted(part))


def is_unpriced(part: Part) -> bool:
    """Whether something of a part was paid for, and nobody can say what."""
    return part.cost_nanousd is None and part.prompt_tokens is not None


def never_counted(part: Part) -> bool:
    """Whether nothing was counted of what a part was answered."""
    return part.cost_nanousd is None and part.prompt_tokens is None


def was_sent(part: Part) -> bool:
    """Whether a part's lines may have reached the provider and not been given back."""
    return part.status != "prepared" and part.sends > 0


class Usage(Protocol):
    """Tokens that a batch reported, and what they cost."""

    prompt: int
    cached: int
    completion: int
    reasoning: int

    @property
    def nanousd(self) -> int | None:
        """Nano-dollars; None for unknown."""


def add_cost(conn: sqlite3.Connection, part_id: int, spent: Usage) -> None:
    """Add what one batch reported to its part, and bring the job's cost up to date.

    Call it in the transaction that marks the batch as collected, so that it is added once.
    A cost that is unknown once stays unknown.
    """
    conn.execute(
        "UPDATE openai_batch_parts SET "
        "prompt_tokens = coalesce(prompt_tokens, 0) + :prompt, "
        "cached_tokens = coalesce(cached_tokens, 0) + :cached, "
        "completion_tokens = coalesce(completion_tokens, 0) + :completion, "
        "reasoning_tokens = coalesce(reasoning_tokens, 0) + :reasoning, "
        "cost_nanousd = :nanousd + CASE WHEN prompt_tokens IS NULL THEN 0 ELSE cost_nanousd END "
        "WHERE id = :id",
        {
            "prompt": spent.prompt,
            "cached": spent.cached,
            "completion": spent.completion,
            "reasoning": spent.reasoning,
            "nanousd": spent.nanousd,
            "id": part_id,
        },
    )
    (job_id,) = conn.execute(
        "SELECT job_id FROM openai_batch_parts WHERE id = ?", [part_id]
    ).fetchone()
    update_cost(conn, job_id)


def lose_cost(conn: sqlite3.Connection, part_id: int) -> None:
    """A batch of a part is gone, and with it what it cost: that stays unknown.

    Call it in the transaction that marks the batch as gone.
    """
    conn.execute(
        "UPDATE openai_batch_parts SET cost_nanousd = NULL, "
        "prompt_tokens = coalesce(prompt_tokens, 0) WHERE id = ?",
        [part_id],
    )
    (job_id,) = conn.execute(
        "SELECT job_id FROM openai_batch_parts WHERE id = ?", [part_id]
    ).fetchone()
    update_cost(conn, job_id)


def end_batch(conn: sqlite3.Connection, batch_id: str, status: str, ended_at: str) -> bool:
    """Record that a batch has ended and was taken in. False where that was recorded before."""
    cursor = conn.execute(
        "UPDATE openai_batch_batches SET status = ?, ended_at = ? "
        "WHERE batch_id = ? AND ended_at IS NULL",
        [status, ended_at, batch_id],
    )
    return cursor.rowcount == 1


def update_cost(conn: sqlite3.Connection, job_id: int) -> None:
    """A job's cost is the sum of its parts'; unknown while one that was answered is unknown."""
    conn.execute(
        "UPDATE openai_batch_jobs SET cost_nanousd = (SELECT CASE "
        "WHEN sum(cost_nanousd IS NULL AND prompt_tokens IS NOT NULL) THEN NULL "
        "ELSE sum(cost_nanousd) END FROM openai_batch_parts WHERE job_id = :id) WHERE id = :id",
        {"id": job_id},
    )


@dataclass(frozen=True, slots=True)
class Earlier:
    """How long the answers of an earlier job were."""

    job_id: int
    answers: int
    tokens: int


def earlier_answers(
    conn: sqlite3.Connection, template_hash: bytes, base_url: str | None
) -> Earlier | None:
    """The newest job with this template at this server that has answers; None without one."""
    found = rows(
        conn,
        "SELECT jobs.id, sum(parts.completion_tokens) AS tokens, "
        "sum((SELECT sum(value) FROM json_each(parts.outcomes) "
        f"     WHERE key IN ({', '.join('?' * len(ANSWERED))}))) AS answers "
        "FROM openai_batch_jobs AS jobs JOIN openai_batch_parts AS parts ON parts.job_id = jobs.id "
        "WHERE jobs.template_hash = ? AND jobs.base_url IS ? AND parts.collected_at IS NOT NULL "
        "GROUP BY jobs.id HAVING answers > 0 AND tokens > 0 ORDER BY jobs.id DESC LIMIT 1",
        [*ANSWERED, template_hash, base_url],
    )
    if not found:
        return None
    return Earlier(int(found[0]["id"]), int(found[0]["answers"]), int(found[0]["tokens"]))


def pace(conn: sqlite3.Connection, base_url: str | None, model: str) -> float | None:
    """Seconds that a server took for a part of this model, on the mean; None without one."""
    (seconds,) = conn.execute(
        "SELECT avg(julianday(parts.ended_at) - julianday(parts.submitted_at)) * 86400 "
        "FROM openai_batch_parts AS parts JOIN openai_batch_jobs AS jobs ON jobs.id = parts.job_id "
        "WHERE jobs.base_url IS ? AND jobs.model = ? AND parts.status = 'completed' "
        "AND parts.submitted_at IS NOT NULL AND parts.ended_at IS NOT NULL",
        [base_url, model],
    ).fetchone()
    return None if seconds is None else float(seconds)


def queue_limit(conn: sqlite3.Connection, account: str, model: str) -> int | None:
    """Tokens that an account may have queued for a model; None while nobody said it."""
    row = conn.execute(
        "SELECT value FROM openai_batch_limits "
        "WHERE account = ? AND model = ? AND kind = 'enqueued_tokens'",
        [account, model],
    ).fetchone()
    return int(row[0]) if row else None
