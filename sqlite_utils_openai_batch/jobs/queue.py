"""The provider's queue: how many tokens may wait there, and how many of ours do.

OpenAI limits the enqueued input tokens of each model and tells the limit only when it refuses
(`token_limit_exceeded`); all open jobs of the database that use one account and model share it.
A server on this machine has no queue.
"""

from __future__ import annotations

import re
import sqlite3

from .. import store
from ..base import clock
from ..base.statuses import ENQUEUED
from ..store.connection import transaction

# `Limit: 2,000,000 enqueued tokens`, as the service words it (openai-python issue 2084).
SAID = re.compile(r"[Ll]imit:?\s*([\d][\d,._ ]*)\s*enqueued tokens")
# A guess of bytes to a token for parts that were never estimated: low, so that it reserves enough.
BYTES_PER_TOKEN = 3
KIND = "enqueued_tokens"
WAIT_SECONDS = 60.0
LONGEST_WAIT = 3600.0


def limit_in(message: str) -> int | None:
    """The limit that a refusal names, in tokens."""
    found = SAID.search(message)
    digits = re.sub(r"\D", "", found.group(1)) if found else ""
    return int(digits) if digits else None


def known_limit(conn: sqlite3.Connection, job: store.Job) -> int | None:
    """The queue limit of a job's account and model in tokens; None while nobody said it."""
    found = store.rows(
        conn,
        "SELECT value FROM openai_batch_limits WHERE account = ? AND model = ? AND kind = ?",
        [job.account or "", job.model or "", KIND],
    )
    return int(found[0]["value"]) if found else None


def learn(conn: sqlite3.Connection, job: store.Job, value: int, source: str) -> None:
    """Keep a queue limit; the newest word counts. `source` is `refusal` or `option`."""
    conn.execute(
        "INSERT INTO openai_batch_limits (account, model, kind, value, seen_at, source) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, model, kind) DO UPDATE SET "
        "value = excluded.value, seen_at = excluded.seen_at, source = excluded.source",
        [job.account or "", job.model or "", KIND, value, clock.now(), source],
    )


def tokens_of(part: store.Part) -> int:
    """What a part takes of the queue, in tokens."""
    if part.estimated_tokens is not None:
        return part.estimated_tokens
    return max(part.requests, part.bytes // BYTES_PER_TOKEN)


def enqueued(conn: sqlite3.Connection, job: store.Job) -> list[store.Part]:
    """Parts of all jobs with this account and model that are, or may be, in the queue."""
    marks = ", ".join("?" for _ in ENQUEUED)
    found = store.rows(
        conn,
        "SELECT parts.* FROM openai_batch_parts AS parts "
        "JOIN openai_batch_jobs AS jobs ON jobs.id = parts.job_id "
        f"WHERE jobs.account IS ? AND jobs.model IS ? AND parts.status IN ({marks})",
        [job.account, job.model, *ENQUEUED],
    )
    return [store.read_part(row) for row in found]


def in_use(conn: sqlite3.Connection, job: store.Job) -> int:
    """Tokens of this account and model in the queue."""
    return sum(tokens_of(part) for part in enqueued(conn, job))


def reason_to_wait(conn: sqlite3.Connection, job: store.Job, part: store.Part) -> str | None:
    """Why a part can't go out now, as a sentence; None where it can."""
    if job.provider == "local":
        return None
    waiting = [other for other in enqueued(conn, job) if other.id != part.id]
    limit = known_limit(conn, job)
    if limit is None:
        # One goes first: the service names the limit only when it refuses.
        first = [other for other in waiting if other.status not in ("in_progress", "finalizing")]
        if not first or accepted_before(conn, job):
            return None
        return (
            f"waits to see whether part {first[0].number} of job {first[0].job_id} is accepted; "
            f"your queue limit for {job.model} isn't known yet."
        )
    used = sum(tokens_of(other) for other in waiting)
    if used + tokens_of(part) <= limit:
        return None
    if not waiting:
        # Nothing of ours is in the way: our estimate may be high, so let the service decide.
        return None
    return (
        f"waits for room in the queue of {job.model}, {used:,} of {limit:,} tokens are in use "
        f"and it needs {tokens_of(part):,}."
    )


def queue_words(conn: sqlite3.Connection, job: store.Job) -> str | None:
    """What a running job waits for in the queue, as a line of `show`; None where nothing waits."""
    parts = store.list_parts(conn, job.id)
    waiting = [part for part in parts if part.status == "prepared"]
    if job.status != "running" or job.provider == "local" or not waiting:
        return None
    limit = known_limit(conn, job)
    left = sum(tokens_of(part) for part in waiting)
    words = f"{in_use(conn, job):,} of {f'{limit:,}' if limit else 'an unknown limit of'} tokens"
    words += f" in use; part {waiting[0].number} goes next, {left:,} tokens are left"
    pace = seconds_of_a_round(conn, job)
    if limit and pace:
        words += f", about {max(1, round(left / limit * pace / 60)):,} min"
    return words


def seconds_of_a_round(conn: sqlite3.Connection, job: store.Job) -> float | None:
    """How long batches of this account and model took so far, on average."""
    found = store.rows(
        conn,
        "SELECT parts.submitted_at, parts.ended_at FROM openai_batch_parts AS parts "
        "JOIN openai_batch_jobs AS jobs ON jobs.id = parts.job_id "
        "WHERE jobs.account IS ? AND jobs.model IS ? AND parts.ended_at IS NOT NULL "
        "AND parts.submitted_at IS NOT NULL ORDER BY parts.id DESC LIMIT 20",
        [job.account, job.model],
    )
    spans = [clock.seconds_between(row["submitted_at"], row["ended_at"]) or 0 for row in found]
    return sum(spans) / len(spans) if spans else None


def accepted_before(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether this account and model ever let a batch through its queue."""
    return bool(
        store.rows(
            conn,
            "SELECT 1 FROM openai_batch_parts AS parts "
            "JOIN openai_batch_jobs AS jobs ON jobs.id = parts.job_id "
            "WHERE jobs.account IS ? AND jobs.model IS ? AND parts.in_progress_at IS NOT NULL "
            "LIMIT 1",
            [job.account, job.model],
        )
    )


def patience(sends: int) -> float:
    """Seconds to wait after that many refusals in a row of one part."""
    return float(min(WAIT_SECONDS * 2 ** max(sends - 1, 0), LONGEST_WAIT))


def recut(conn: sqlite3.Connection, job: store.Job, limit: int) -> int:
    """Cut unsent parts that take more than half of the queue. Returns how many were cut.

    Half, so that one part can be validated while another runs.
    """
    cut = 0
    for part in store.list_parts(conn, job.id):
        most = limit // 2
        if part.status == "prepared" and part.requests > 1 and tokens_of(part) > most:
            pieces = min(-(-tokens_of(part) // max(most, 1)), part.requests)
            with transaction(conn):
                split(conn, job, store.get_part(conn, part.id), pieces)
            cut += 1
    return cut


def split(conn: sqlite3.Connection, job: store.Job, part: store.Part, pieces: int) -> None:
    """Spread a prepared part's pending requests over `pieces` parts, in their order."""
    if part.status != "prepared" or pieces < 2:
        return
    ids = store.pending_ids(conn, part.id)
    if not ids:
        # All of it was answered meanwhile: there is nothing to spread.
        return
    each = -(-len(ids) // pieces)
    chunks = [ids[start : start + each] for start in range(0, len(ids), each)]
    share = {
        name: value // len(chunks) if value is not None else None
        for name, value in (
            ("bytes", part.bytes),
            ("estimated_tokens", part.estimated_tokens),
            ("upper_cost_nanousd", part.upper_cost_nanousd),
        )
    }
    for chunk in chunks[1:]:
        new = store.insert_part(
            conn,
            job_id=job.id,
            number=store.next_number(conn, job.id),
            status="prepared",
            requests=len(chunk),
            overrides=part.overrides,
            next_try_at=part.next_try_at,
            **share,
        )
        store.move_requests(conn, chunk, new)
        store.count_outcomes(conn, new)
    store.update_part(conn, part.id, requests=len(chunks[0]), **share)
    store.count_outcomes(conn, part.id)
    store.log(conn, "cut", job_id=job.id, part_id=part.id, pieces=len(chunks))
