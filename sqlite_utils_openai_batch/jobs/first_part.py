"""The small part that goes ahead of a job of several: where its answers fail, no more is sent.

A fault that the first answers prove would be paid for again by all others. So the others wait
until the first are back and good, or a while, and the job pauses where nearly all of them failed by
what was asked: the schema, a parameter, the prompt, the length of answers. What failed by the
provider's fault proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import store
from ..answers.outcome import is_providers_fault
from ..base import clock
from ..base.errors import NeedsAttention
from ..base.text import counted, cut
from ..store.connection import transaction

#: Requests that go ahead, and minutes until the rest follows in any case, unless asked otherwise.
REQUESTS, MINUTES = 100, 15.0
#: So many answers prove something, and so large a share of them is nearly all.
ENOUGH, NEARLY_ALL = 20, 0.9
#: What `try` showed counts for a day, what an earlier job showed for a week.
TRIED_SECONDS, JOB_SECONDS = 86_400.0, 7 * 86_400.0
#: Where answers to a question are good, so many of them are, at least.
GOOD = 0.8
#: Outcomes that say nothing of what was asked.
SILENT = ("pending", "expired", "missing", "cancelled", "unrenderable", "too_large")

Key = tuple["str | None", "str | None", str, "str | None"]


@dataclass(frozen=True, slots=True)
class First:
    """The part that goes ahead of a job, as the job keeps it."""

    part: int
    requests: int
    at: str
    """When that was planned: older answers are those of another round."""
    minutes: float
    good: bool = False

    @classmethod
    def of(cls, job: store.Job) -> First | None:
        """The one that a job waits for; None where there is none, or its answers were good."""
        kept = job.settings.get("first")
        try:
            first = cls(**kept) if isinstance(kept, dict) else None
            usable = first and clock.told(clock.kept(first.at)) and first.minutes > 0
            return first if usable and first and first.requests > 0 and not first.good else None
        except TypeError:
            # Changed by hand: then nothing goes ahead.
            return None


def plan_first(
    conn: sqlite3.Connection, job: store.Job, *, among: list[store.Part] | None = None
) -> None:
    """Have a few requests go ahead of a job of several parts, unless told or known otherwise.

    They are the first of its unsent parts, or of those in `among`. Nothing changes for a job of
    one part.
    """
    requests, minutes = wanted(job.settings)
    unsent = [part for part in store.list_parts(conn, job.id) if waiting(part)]
    if not requests or not minutes or len(unsent) < 2:
        return
    with transaction(conn):
        first = (among or unsent)[0]
        part_id = cut_ahead(conn, first, requests) if first.requests > requests else first.id
        size = store.get_part(conn, part_id).requests
        keep(conn, job.id, First(part_id, size, clock.now(), minutes))


def waiting(part: store.Part) -> bool:
    """Whether a part has requests that wait to be sent."""
    return part.status == "prepared" and bool(part.requests)


def words(
    asked: tuple[int, float], parts: int, first_requests: int, shown: str | None
) -> str | None:
    """What `preview` says of the part that goes ahead; None for a job of one part, or for none.

    `asked` is as `wanted` returns it, `shown` as `shown_good` does.
    """
    requests, minutes = asked
    if parts < 2 or not requests or not minutes:
        return None
    if shown:
        return f"no part goes ahead: {shown} has just shown good answers to the same question"
    size = min(requests, first_requests)
    return (
        f"{counted(size, 'request')} {'goes' if size == 1 else 'go'} ahead; the rest follows when "
        f"the answers are good, or after {minutes:g} min"
    )


def wanted(settings: Mapping[str, object]) -> tuple[int, float]:
    """How many requests go ahead, and for how many minutes the rest waits; 0 for none."""
    requests, minutes = settings.get("first_part"), settings.get("first_wait")
    return (
        REQUESTS if not isinstance(requests, int) else requests,
        MINUTES if not isinstance(minutes, int | float) else float(minutes),
    )


def keep(conn: sqlite3.Connection, job_id: int, first: First | None) -> None:
    """Store which part goes ahead of a job, in the caller's transaction; None for no part."""
    settings = {**store.get_job(conn, job_id).settings, "first": first and asdict(first)}
    store.update_job(conn, job_id, options=json.dumps(settings))


def cut_ahead(conn: sqlite3.Connection, part: store.Part, requests: int) -> int:
    """Put the first requests of an unsent part into one before it. Returns the id of that.

    Parts behind it are numbered anew: none of them was sent.
    """
    ids = store.pending_ids(conn, part.id)[:requests]

    def share(value: int | None) -> tuple[int | None, int | None]:
        if value is None:
            return None, None
        ahead = -(-value * len(ids) // part.requests)
        return ahead, value - ahead

    names = ("bytes", "estimated_tokens", "upper_cost_nanousd")
    shares = {name: share(getattr(part, name)) for name in names}
    store.make_room(conn, part.job_id, part.number)
    new = store.insert_part(
        conn,
        job_id=part.job_id,
        number=part.number,
        status="prepared",
        requests=len(ids),
        overrides=part.overrides,
        next_try_at=part.next_try_at,
        **{name: ahead for name, (ahead, _) in shares.items()},
    )
    store.move_requests(conn, ids, new)
    store.update_part(
        conn,
        part.id,
        requests=part.requests - len(ids),
        **{name: rest for name, (_, rest) in shares.items()},
    )
    store.count_outcomes(conn, new)
    store.count_outcomes(conn, part.id)
    store.log(conn, "goes ahead", job_id=part.job_id, part_id=new, requests=len(ids))
    return new


# Before: is it known already?


def shown_good(conn: sqlite3.Connection, key: Key, template_hash: bytes) -> str | None:
    """Who has just shown good answers to the same question: a sentence's begin; None for nobody.

    `key` is (provider, base URL, endpoint, schema).
    """
    if tried_well(key, template_hash):
        return "try"
    since = clock.now(-JOB_SECONDS)
    for job in store.list_jobs(conn):
        same = job.template_hash == template_hash and key_of(job) == key
        if same and (job.finished_at or "") > since and is_good(conn, job):
            return f"job {job.id}"
    return None


def key_of(job: store.Job) -> Key:
    """What beside its template decides how a job is answered."""
    return job.provider, job.base_url, job.endpoint, job.answer_schema


def is_good(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether the answers of a job are good, by the sums of its parts."""
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    answers = sum(count for status, count in counts.items() if status not in SILENT)
    return answers > 0 and counts.get("ok", 0) >= GOOD * answers


def tried_file(key: Key, template_hash: bytes) -> Path:
    """The file that remembers a `try` of this question: empty, its time is what counts."""
    import platformdirs

    name = hashlib.sha256(template_hash + json.dumps(key).encode()).hexdigest()[:32]
    return platformdirs.user_data_path("sqlite-utils-openai-batch") / "tried" / name


def remember_try(key: Key, template_hash: bytes, ok: int, asked: int) -> None:
    """Keep that a `try` has shown good answers, or forget that an earlier one had."""
    file = tried_file(key, template_hash)
    # Without a folder to write to, a part goes ahead: nothing else depends on it.
    with suppress(OSError):
        if asked and ok >= GOOD * asked:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        else:
            file.unlink(missing_ok=True)


def tried_well(key: Key, template_hash: bytes) -> bool:
    """Whether a `try` of the last day has shown good answers to this question."""
    try:
        return time.time() - tried_file(key, template_hash).stat().st_mtime < TRIED_SECONDS
    except OSError:
        return False


# While it runs


def reason_to_wait(conn: sqlite3.Connection, job: store.Job, part: store.Part) -> str | None:
    """Why a part waits for the one that goes ahead; None where it doesn't."""
    first = First.of(job)
    ahead = part_of(conn, job, first)
    if first is None or ahead is None or part.id == ahead.id or part.repairs:
        return None
    began = ahead.submitted_at or max(first.at, job.approved_at or "")
    until = clock.later(began, 60 * first.minutes)
    if until <= clock.now():
        return None
    answers = counted(first.requests, "answer")
    return f"waits for the first {answers} (part {ahead.number}), or until {clock.hour(until)}."


def part_of(conn: sqlite3.Connection, job: store.Job, first: First | None) -> store.Part | None:
    """The part that goes ahead."""
    parts = store.list_parts(conn, job.id) if first else []
    return next((part for part in parts if first and part.id == first.part), None)


def judge(conn: sqlite3.Connection, job: store.Job) -> None:
    """Pause a job whose first answers nearly all failed, while there is more to send.

    Raises NeedsAttention with what failed, an answer as it came, and the likely cause.
    """
    job = store.get_job(conn, job.id)
    first = First.of(job)
    failed = verdict(conn, job, first) if first and job.status == "running" else None
    if first is None or failed is None:
        return
    if failed < NEARLY_ALL:
        with transaction(conn):
            keep(conn, job.id, replace(first, good=True))
            store.log(conn, "first answers good", job_id=job.id)
    elif any(unsent(conn, job)):
        raise NeedsAttention(sentence(conn, job, first))


def unsent(conn: sqlite3.Connection, job: store.Job) -> Iterator[store.Part]:
    """Parts whose requests wait to be sent."""
    for part in store.list_parts(conn, job.id):
        if part.status == "prepared" and part.counts.get("pending"):
            yield part


def is_bad(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether a job was stopped by its first answers."""
    first = First.of(job)
    return first is not None and (verdict(conn, job, first) or 0) >= NEARLY_ALL


def release(conn: sqlite3.Connection, job: store.Job) -> None:
    """Somebody goes on regardless: in the caller's transaction, the rest waits no longer."""
    if is_bad(conn, job):
        keep(conn, job.id, None)
        store.log(conn, "goes on regardless", job_id=job.id)


def verdict(conn: sqlite3.Connection, job: store.Job, first: First) -> float | None:
    """The share of the first answers that failed by what was asked; None while it isn't known."""
    kinds = answers_since(conn, job, first.at)
    ok = kinds.pop(("ok", None), 0)
    failed = sum(kinds.values())
    ahead = part_of(conn, job, first)
    half = ahead is not None and ahead.collected_at and 2 * (ok + failed) >= first.requests
    if ok + failed >= min(ENOUGH, first.requests) or half:
        return failed / (ok + failed)
    return None


def answers_since(
    conn: sqlite3.Connection, job: store.Job, at: str
) -> dict[tuple[str, str | None], int]:
    """Requests of parts collected since then, by outcome and error code: those that tell."""
    return {
        (status, None if status == "ok" else code): count
        for status, code, count in store.outcomes_since(conn, job.id, at)
        if status not in SILENT and not is_providers_fault(status, code)
    }


#: What may be behind outcomes of which there are that many.
CAUSES = {
    "invalid_json": "The server seems to ignore the schema, or the model can't keep to JSON.",
    "schema_violation": "The server seems to ignore the schema, or it asks for what can't be said.",
    "truncated": "Answers are longer than they may be.",
    "refused": "The model declines what the prompt asks.",
    "content_filter": "The provider's filter holds back what the prompt asks.",
    "empty": "The model says nothing: its reasoning may take all the tokens that it has.",
    "http_error": "The provider refuses the request itself.",
    "api_error": "The provider refuses the request itself.",
    "rejected": "The provider refuses the request itself.",
}


def sentence(conn: sqlite3.Connection, job: store.Job, first: First) -> str:
    """Why a job was stopped: what failed, the likely cause, an answer as it came."""
    kinds = answers_since(conn, job, first.at)
    whole = sum(kinds.values())
    failed: dict[str, int] = {}
    for (status, _), count in kinds.items():
        if status != "ok":
            failed[status] = failed.get(status, 0) + count
    worst = max(failed, key=lambda status: failed[status])
    told = ", ".join(f"{count:,} {status}" for status, count in failed.items())
    sample = store.failed_sample(conn, job.id, worst)
    came = f" One of them: {cut(' '.join(sample.split()), 160)}" if sample else ""
    return (
        f"{sum(failed.values()):,} of the first {counted(whole, 'answer')} failed ({told}), so "
        f"nothing more was sent. {CAUSES.get(worst, 'What was asked fails.')}{came}"
    )
