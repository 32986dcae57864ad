"""The provider's queue: how many tokens may wait there, and how many of ours do.

OpenAI limits the enqueued input tokens and requests of each model and tells the limit only when it
refuses; all open jobs of the database that use one account and model share it, and other programs
may too: a part that would fit by itself waits, and is not cut. A server on this machine has no
queue.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable
from typing import Any

from .. import store
from ..base import clock, waits
from ..base.statuses import ENQUEUED
from ..pricing.estimate import Money
from ..store.connection import transaction
from ..store.costs import pace, queue_limit

# `Limit: 2,000,000 enqueued tokens`, as the service words it (openai-python issue 2084).
SAID = re.compile(
    r"\b(?:limit|maximum|quota)(?: is| of)?:?\s*(\d[\d,._ ]*)\s*"
    r"(?:(?:en)?queued |pending |input |prompt )*(tokens|requests)\b",
    re.IGNORECASE,
)
# A guess of bytes to a token for parts that were never estimated: low, so that it reserves enough.
BYTES_PER_TOKEN = 3
TOKENS, REQUESTS = "enqueued_tokens", "enqueued_requests"
#: The code of a part's error while it waits because the queue was full.
FULL = "queue_full"


def limits_in(message: str) -> dict[str, int]:
    """The limits that a refusal names, by their kind: TOKENS or REQUESTS."""
    limits = {}
    for digits, unit in SAID.findall(message):
        value = int(re.sub(r"\D", "", digits))
        if value:
            limits[TOKENS if unit.lower() == "tokens" else REQUESTS] = value
    return limits


def known_limits(conn: sqlite3.Connection, job: store.Job) -> dict[str, int]:
    """The queue limits of a job's account and model by kind, as far as somebody said them."""
    found = store.rows(
        conn,
        "SELECT kind, value FROM openai_batch_limits WHERE account = ? AND model = ?",
        [job.account or "", job.model or ""],
    )
    return {row["kind"]: int(row["value"]) for row in found if row["kind"] in TAKES}


def known_limit(conn: sqlite3.Connection, job: store.Job) -> int | None:
    """The queue limit of a job's account and model in tokens; None while nobody said it."""
    return known_limits(conn, job).get(TOKENS)


def learn(
    conn: sqlite3.Connection, job: store.Job, value: int, source: str, kind: str = TOKENS
) -> None:
    """Keep a queue limit; the newest word counts. `source` is `refusal` or `option`.

    A limit that a person gave stays where the provider's is higher: it is this database's part of
    an account's limit, and other databases have the rest.
    """
    conn.execute(
        "INSERT INTO openai_batch_limits (account, model, kind, value, seen_at, source) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, model, kind) DO UPDATE SET "
        "value = excluded.value, seen_at = excluded.seen_at, source = excluded.source "
        "WHERE NOT (openai_batch_limits.source = 'option' AND excluded.source = 'refusal' "
        "AND openai_batch_limits.value <= excluded.value)",
        [job.account or "", job.model or "", kind, value, clock.now(), source],
    )


def tokens_of(part: store.Part) -> int:
    """What a part takes of the queue, in tokens."""
    if part.estimated_tokens is not None:
        return part.estimated_tokens
    return max(part.requests, part.bytes // BYTES_PER_TOKEN)


def requests_of(part: store.Part) -> int:
    """What a part takes of a queue that counts requests."""
    return part.requests


#: What a part takes of the queue, by the kind of its limit.
TAKES: dict[str, Callable[[store.Part], int]] = {TOKENS: tokens_of, REQUESTS: requests_of}


def fullest(part: store.Part, limits: dict[str, int]) -> float:
    """How much of the queue a part takes: 1.0 is all of it, by the limit that it is nearest to."""
    return max((TAKES[kind](part) / limit for kind, limit in limits.items()), default=0.0)


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
    until = full_until(conn, job, but=part.id)
    if until is not None and until > clock.now():
        return f"waits, the queue of {job.model} is full. Next try {clock.hour(until)}."
    waiting = [other for other in enqueued(conn, job) if other.id != part.id]
    limits = known_limits(conn, job)
    if not limits:
        # One goes first: the service names the limit only when it refuses.
        first = [other for other in waiting if other.status not in ("in_progress", "finalizing")]
        if not first or accepted_before(conn, job):
            return None
        return (
            f"waits to see whether part {first[0].number} of job {first[0].job_id} is accepted; "
            f"your queue limit for {job.model} isn't known yet."
        )
    if not waiting:
        # Nothing of ours is in the way: our estimate may be high, so let the service decide.
        return None
    for kind, limit in limits.items():
        used, needed = sum(map(TAKES[kind], waiting)), TAKES[kind](part)
        if used + needed > limit:
            unit = kind.removeprefix("enqueued_")
            return (
                f"waits for room in the queue of {job.model}, {used:,} of {limit:,} {unit} are "
                f"in use and it needs {needed:,}."
            )
    return None


def full_until(conn: sqlite3.Connection, job: store.Job, but: int | None = None) -> str | None:
    """When the next part is tried of those that this account and model had no room for.

    None where none of them waits for that; `but` is a part that isn't looked at.
    """
    found = store.rows(
        conn,
        "SELECT min(parts.next_try_at) FROM openai_batch_parts AS parts "
        "JOIN openai_batch_jobs AS jobs ON jobs.id = parts.job_id "
        "WHERE jobs.account IS ? AND jobs.model IS ? AND parts.status = 'prepared' "
        "AND parts.errors LIKE ? AND parts.id IS NOT ?",
        [job.account, job.model, f'%"{FULL}"%', but],
    )
    return clock.kept(found[0][0])


def waits_until(conn: sqlite3.Connection, job: store.Job) -> str | None:
    """When the next part of a job is tried that waits for a full queue; None where none does."""
    if job.status != "running" or job.provider == "local":
        return None
    statuses = {part.status for part in store.list_parts(conn, job.id) if not part.collected_at}
    return full_until(conn, job) if statuses == {"prepared"} else None


def refuse(conn: sqlite3.Connection, job: store.Job, part: store.Part, why: str) -> None:
    """Put a part back that there was no room for, in the caller's transaction.

    Its next try comes later with each refusal, at most half an hour later.
    """
    for kind, value in limits_in(why).items():
        learn(conn, job, value, "refusal", kind)
    store.log(conn, "queue full", job_id=job.id, part_id=part.id, why=why)
    store.move_part(
        conn,
        part,
        "prepared",
        next_try_at=clock.now(waits.growing(store.times_logged(conn, part.id, "queue full"))),
        errors=json.dumps([{"code": FULL, "message": why}]),
    )


def room(conn: sqlite3.Connection, job: store.Job) -> None:
    """A batch of this account and model has ended: what waits for its place is tried at once."""
    conn.execute(
        "UPDATE openai_batch_parts SET next_try_at = ? WHERE status = 'prepared' "
        "AND errors LIKE ? AND next_try_at > ? AND job_id IN "
        "(SELECT id FROM openai_batch_jobs WHERE account IS ? AND model IS ?)",
        [clock.now(), f'%"{FULL}"%', clock.now(), job.account, job.model],
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
    until = waits_until(conn, job)
    if until is not None and until > clock.now():
        words += f", next try {clock.hour(until)}"
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


def recut(conn: sqlite3.Connection, job: store.Job) -> list[int]:
    """Cut unsent parts that take more than half of the queue. Returns the ids of those.

    Half, so that one part can be validated while another runs.
    """
    limits = known_limits(conn, job)
    cut = []
    for part in store.list_parts(conn, job.id):
        share = fullest(part, limits)
        if part.status == "prepared" and part.requests > 1 and share > 0.5:
            with transaction(conn):
                split(conn, job, store.get_part(conn, part.id), math.ceil(share * 2))
            cut.append(part.id)
    return cut


def cut_by_bytes(conn: sqlite3.Connection, job: store.Job, refused: int) -> None:
    """Cut unsent parts of as many bytes as a provider refused, and more, to half of that."""
    for part in store.list_parts(conn, job.id):
        if part.status == "prepared" and part.requests > 1 and part.bytes >= refused:
            pieces = max(2, math.ceil(part.bytes / (refused / 2)))
            with transaction(conn):
                split(conn, job, store.get_part(conn, part.id), pieces)


def split(conn: sqlite3.Connection, job: store.Job, part: store.Part, pieces: int) -> None:
    """Spread a prepared part's pending requests over `pieces` parts, in their order."""
    if part.status != "prepared" or pieces < 2:
        return
    ids = store.pending_ids(conn, part.id)
    if not ids:
        # All of it was answered meanwhile: there is nothing to spread.
        return
    each = -(-len(ids) // min(pieces, len(ids)))
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


def queue_figures(conn: sqlite3.Connection, money: Money, model: str) -> dict[str, Any]:
    """The queue limit and the pace of a provider, where this database knows them."""
    if not store.exists(conn) or money.own:
        return {"limit": None, "pace": None}
    return {
        "limit": queue_limit(conn, money.account, model),
        "pace": pace(conn, money.base_url, model),
    }
