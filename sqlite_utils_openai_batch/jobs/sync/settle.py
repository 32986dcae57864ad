"""What becomes of requests and jobs once a batch has ended."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ... import store
from ...answers.outcome import is_providers_fault
from ...answers.schema import AnswerSchema
from ...base import clock
from ...base.statuses import UNSENT
from ...pricing.ceiling import again_most
from ...pricing.prices import job_is_own
from ...requests.turns import TURN_BYTES
from ...store import ballots, earlier, history, outcomes
from ...store.connection import transaction
from ...store.costs import committed
from ...store.records import REPAIR
from ..ballot import Ballot

DEFAULT_ATTEMPTS = 3
# A batch expires after 24 hours (OpenAI's batch guide).
STRAY_SECONDS = 25 * 3600.0


def ask_again(conn: sqlite3.Connection, job: store.Job, part: store.Part) -> int:
    """What never ran, or failed by the provider's fault, goes out again as a new part.

    In the transaction that marks the old part as collected, so that it happens once. Returns how
    many requests that are.
    """
    attempts = int(job.settings.get("attempts", DEFAULT_ATTEMPTS))
    again = [
        row["id"]
        for row in store.rows(
            conn,
            "SELECT id, status, error_code, error_message FROM openai_batch_requests "
            "WHERE part_id = ? AND status NOT IN ('ok', 'pending') AND attempts < ? ORDER BY id",
            [part.id, attempts],
        )
        if is_providers_fault(row["status"], row["error_code"], row["error_message"])
    ]
    if again:
        new_part(conn, job, part, again, part.overrides)
    return len(again)


def repair_again(conn: sqlite3.Connection, job: store.Job, part: store.Part) -> int:
    """What failed by what the model wrote goes back with what was wrong (`--repair`).

    So many times as was asked for, and only while the ceiling bears it beside all that is still to
    be sent. In the transaction that marks the old part as collected. Returns how many that are.
    """
    times = int(job.settings.get("repair") or 0)
    ids = earlier.repairable(conn, part.id, times) if times else []
    if not ids:
        return 0
    most = repair_most(conn, job, part, ids, part.changes)
    left = ceiling_left(conn, job)
    if left is not None and (most is None or most > left):
        store.log(conn, "not repaired", job_id=job.id, part_id=part.id, requests=len(ids))
        return 0
    return repair_part(conn, job, part, ids, part.changes)


def repair_part(
    conn: sqlite3.Connection,
    job: store.Job,
    old: store.Part,
    ids: list[int],
    changes: Mapping[str, Any],
) -> int:
    """Put failed requests into a part with which their answers go back. Returns how many."""
    most, size = repair_most(conn, job, old, ids, changes), turn_bytes(conn, ids)
    made = new_part(
        conn, job, old, ids, json.dumps({**changes, **old.marks, REPAIR: 1}), earlier.REPAIR
    )
    part = store.get_part(conn, made)
    tokens = part.estimated_tokens
    store.update_part(
        conn,
        made,
        bytes=part.bytes + size,
        estimated_tokens=None if tokens is None else tokens + size // 4,
        upper_cost_nanousd=most,
    )
    return len(ids)


def turn_bytes(conn: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Bytes by which requests grow when their answers go back with them."""
    return earlier.sizes(conn, ids) + TURN_BYTES * len(ids)


def repair_most(
    conn: sqlite3.Connection,
    job: store.Job,
    old: store.Part,
    ids: Sequence[int],
    changes: Mapping[str, Any],
) -> int | None:
    """What a repair may cost at most, in nano-dollars; None where that isn't known."""
    # A token has at least a byte.
    return again_most(job, old, len(ids), changes, more_tokens=turn_bytes(conn, ids))


def ceiling_left(conn: sqlite3.Connection, job: store.Job) -> int | None:
    """What a job's ceiling bears beside all that was sent, or waits to be; None without one."""
    ceiling = job.max_cost_nanousd
    if ceiling is None or job_is_own(job.provider, job.base_url, job.settings):
        return None
    taken = committed(conn, job.id)
    waiting = [part for part in store.list_parts(conn, job.id) if part.status == "prepared"]
    if taken.unknown or any(part.upper_cost_nanousd is None for part in waiting):
        return 0
    return ceiling - taken.total - sum(part.upper_cost_nanousd or 0 for part in waiting)


def put_back(conn: sqlite3.Connection, part_id: int) -> None:
    """Requests that had a good answer, and were asked for a better one in vain, get it back.

    In the caller's transaction, once nothing more is to come of the part.
    """
    for changed in sorted(earlier.put_back(conn, part_id)):
        store.count_outcomes(conn, changed)


def new_part(
    conn: sqlite3.Connection,
    job: store.Job,
    old: store.Part,
    ids: list[int],
    overrides: str | None,
    why: str = earlier.SYNC,
) -> int:
    """Put requests of an old part into a new one, in the caller's transaction. Returns its id.

    `why` they are asked again is kept with what they were answered.
    """

    def share(value: int | None) -> int | None:
        return None if value is None else -(-value * len(ids) // max(old.requests, 1))

    new = store.insert_part(
        conn,
        job_id=job.id,
        number=store.next_number(conn, job.id),
        status="prepared",
        requests=len(ids),
        bytes=share(old.bytes) or 0,
        estimated_tokens=share(old.estimated_tokens),
        upper_cost_nanousd=share(old.upper_cost_nanousd),
        overrides=overrides,
    )
    store.move_requests(conn, ids, new, why)
    store.count_outcomes(conn, new)
    store.count_outcomes(conn, old.id)
    store.log(conn, "asked again", job_id=job.id, part_id=new, requests=len(ids), why=why)
    return new


VOTES_AT_ONCE = 1_000


def voted(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Have the requests about each row vote, once all are answered; whether that was done.

    True also for a job that asks each row once. Cut anywhere, it is done again by the next pass:
    rows that have voted stay as they are.
    """
    times = int(job.settings.get("times") or 1)
    if times < 2:
        return True
    parts = store.list_parts(conn, job.id)
    if any(part.collected_at is None for part in parts):
        return False
    if all(part.written_at for part in parts):
        return True
    schema = AnswerSchema.from_json(str(job.answer_schema))
    ballot = Ballot(schema, tuple(job.settings["voted"]))
    after = 0
    while page := ballots.page(
        conn, job.id, times, int(job.settings["stride"]), after, VOTES_AT_ONCE
    ):
        after = page[-1][0]
        decided = {request: ballot.decide(said) for request, said in page}
        answers = {
            request: json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
            for request, answer in decided.items()
            if answer is not None
        }
        with transaction(conn):
            now = ballots.current(conn, list(answers))
            new = [
                (answer, request)
                for request, answer in answers.items()
                if now[request] != ("ok", answer)
            ]
            for part_id in sorted(ballots.settle(conn, new)):
                store.count_outcomes(conn, part_id)
                store.update_part(conn, part_id, written_at=None)
    return True


def settle_job(
    conn: sqlite3.Connection, job_id: int, ended: list[store.Job], paused: list[store.Job]
) -> None:
    """Bring a job's own status up to date with its parts; tell it where it ended or is paused."""
    end_unsent(conn, job_id)
    if has_more(conn, job_id):
        job = store.get_job(conn, job_id)
        if job.needs_you:
            paused.append(job)
        return
    with transaction(conn):
        # Looked at again: another process may be asking again what failed.
        job = store.get_job(conn, job_id)
        if has_more(conn, job_id) or not store.may_take(job.lease_owner, job.lease_until):
            return
        stopping = job.status == "cancelling"
        if job.settings.get("reuse"):
            for part_id in history.cancel_followers(conn, job_id):
                store.count_outcomes(conn, part_id)
        status = end_status(conn, job_id, stopping)
        store.update_job(
            conn,
            job_id,
            status=status,
            finished_at=clock.now(),
            message=why_nothing_ran(conn, job_id) if status == "failed" else None,
        )
        store.log(conn, status, job_id=job_id)
    ended.append(store.get_job(conn, job_id))


def end_unsent(conn: sqlite3.Connection, job_id: int) -> None:
    """End the parts that a cancelled job never sent, once all that it sent is here.

    What is here may not be written yet, or can't be: `apply` writes it elsewhere, and to that end
    nothing more may be to come.
    """
    job = store.get_job(conn, job_id)
    if job.status != "cancelling":
        return
    with transaction(conn):
        left = unfinished_parts(conn, job_id)
        unsent = [part for part in left if part.status == "prepared"]
        if any(part.collected_at is None for part in left if part not in unsent):
            return
        for part in unsent:
            now = clock.now()
            # Some of it may have been answered late, or by hand.
            waiting = job.writes["write"] and outcomes.unwritten_page(conn, part.id, 0, 1)
            written = None if waiting else now
            store.end_pending(conn, part.id, "cancelled", None, "never sent")
            put_back(conn, part.id)
            store.update_part(
                conn, part.id,
                status="cancelled", ended_at=now, collected_at=now, written_at=written,
            )  # fmt: skip
            store.count_outcomes(conn, part.id)


def unfinished_parts(conn: sqlite3.Connection, job_id: int) -> list[store.Part]:
    """Parts whose answers aren't all here and written."""
    parts = store.list_parts(conn, job_id)
    return [part for part in parts if not (part.collected_at and part.written_at)]


def has_more(conn: sqlite3.Connection, job_id: int) -> bool:
    """Whether something of a job is still to be sent, awaited, collected or written."""
    # What else was paid for by mistake is waited for, a day and no longer.
    if any(stray["created_at"] > clock.now(-STRAY_SECONDS) for stray in store.strays(conn, job_id)):
        return True
    return bool(unfinished_parts(conn, job_id))


def end_status(conn: sqlite3.Connection, job_id: int, stopping: bool) -> str:
    """What a job with nothing left to do has become."""
    if stopping:
        return "cancelled"
    counts = store.outcome_counts(store.list_parts(conn, job_id))
    return "failed" if counts and set(counts) <= set(UNSENT) else "completed"


def why_nothing_ran(conn: sqlite3.Connection, job_id: int) -> str:
    """Why no row of a job could be asked: its outcomes, each with its commonest message."""
    counts = store.outcome_counts(store.list_parts(conn, job_id))
    examples = store.examples(conn, job_id)
    kinds = []
    for status, count in counts.items():
        message, _ = examples.get(status, (None, []))
        kinds.append(f"{count:,} {status}" + (f": {message.rstrip('.')}" if message else ""))
    rows = sum(counts.values())
    of_rows = "its only row could not" if rows == 1 else f"none of its {rows:,} rows could"
    return f"{of_rows} be asked ({'; '.join(kinds)})"


def has_failures(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether an ended job has requests without an answer."""
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    return any(status not in ("ok", "pending") for status in counts)


# --reuse: identical requests are asked once, and answers of earlier jobs are taken again.
#
# A request that shares another's answer names it in `same_as` and is never sent itself. Two are
# identical where the template is the same and so are the values that it reads.


def share(conn: sqlite3.Connection, job: store.Job) -> None:
    """Give requests the outcome of the one that was asked for them, as far as it is there.

    Where the row that was asked has changed meanwhile, or is gone, the others are asked
    themselves.
    """
    if not job.settings.get("reuse"):
        return
    after: int | None = 0
    while after is not None:
        # Looked at in the transaction: another process may have them asked, and sent, meanwhile.
        with transaction(conn):
            page = history.shareable(conn, job.id, after)
            after = page[-1].id if page else None
            ready = [one for one in page if one.same_question]
            history.copy_outcomes(conn, [(one.same_as, one.id) for one in ready])
            for part_id in {one.part_id for one in ready}:
                store.count_outcomes(conn, part_id)
            # Those of a job that is being cancelled end with it.
            if job.status in ("prepared", "running", "paused"):
                ask_alone(conn, job, [one for one in page if not one.same_question])
    # Their parts may count as written: what was written are the answers that came for them.
    for part_id in history.unwritten_parts(conn, job.id):
        store.update_part(conn, part_id, written_at=None)


def ask_alone(conn: sqlite3.Connection, job: store.Job, alone: Iterable[history.Follower]) -> None:
    """Ask requests themselves that were to share an answer, in the caller's transaction."""
    by_part: dict[int, list[int]] = {}
    for one in alone:
        by_part.setdefault(one.part_id, []).append(one.id)
    for part_id, ids in by_part.items():
        history.set_alone(conn, ids)
        old = store.get_part(conn, part_id)
        new_part(conn, job, old, ids, old.overrides)
