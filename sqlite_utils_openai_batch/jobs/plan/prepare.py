"""Source → template → planner → job, parts and request rows. Nothing is sent here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from . import capacity, clock, store
from .ceiling import check_ceiling
from .database import transaction
from .errors import SourceError
from .estimate import Distinct, Estimate, estimate
from .new_job import job_values
from .plan import Plan
from .recording import Recorder
from .rendering import Rendered, Run, Tally, blank_sentence, rendered
from .sampling import Sample
from .store import asking


def refuse_blanks(plan: Plan) -> None:
    """Raise SourceError for the first blank row, before anything is written."""
    is_blank = plan.renderer.is_blank
    for page in plan.pages(plan.renderer.columns):
        for row_key, values in page:
            if is_blank(values):
                raise SourceError(blank_sentence(plan, row_key))


def new_tally(plan: Plan) -> Tally:
    """A tally that counts tokens and identical requests too."""
    money = plan.ask.money
    sample = Sample(money.counter(plan.model).apart(), plan.template.endpoint, money.window)
    # Where a row's hash doesn't cover all that is rendered, it can't tell what is identical.
    whole = len(plan.hashed) == len(plan.renderer.columns)
    count = whole and not plan.ask.reuse
    return Tally(sample=sample, distinct=Distinct() if count else None)


def estimated(conn: sqlite3.Connection, plan: Plan, tally: Tally) -> Estimate:
    """What the rows in a tally of `new_tally` will cost, kept there as well."""
    assert tally.sample is not None
    tally.estimate = estimate(
        conn if store.exists(conn) else None,
        tally.sample,
        plan.ask.money,
        body=plan.template.body,
        template_hash=plan.template.hash,
        model=plan.model,
        same=tally.distinct.repeated() if tally.distinct else 0,
    )
    return tally.estimate


def survey(conn: sqlite3.Connection, plan: Plan, examples: int = 0) -> tuple[Tally, list[Rendered]]:
    """Read and render all rows without keeping them: the counts, and the first few requests."""
    tally = new_tally(plan)
    shown: list[Rendered] = []
    for found in rendered(plan, tally, "preview"):
        if len(shown) < examples:
            rows = found.rows() if isinstance(found, Run) else [found]
            shown += [row for row in rows if row.status == "pending"][: examples - len(shown)]
    estimated(conn, plan, tally)
    return tally, shown


def prepare(
    conn: sqlite3.Connection,
    plan: Plan,
    *,
    uid: str,
    provider: str,
    base_url: str | None,
    account: str | None,
    settings: dict[str, Any],
    progress: Callable[[int], None] | None = None,
) -> tuple[store.Job, Tally]:
    """Store a job with its parts and requests; status `prepared`, not approved.

    Until all is stored the job has no `requests`: what a kill leaves is swept by the next call.
    `progress` is told the number of rows read. Raises OpenAIBatchError; then nothing is left.
    """
    if plan.ask.blanks == "error":
        refuse_blanks(plan)
    store.migrate(conn)
    sweep(conn)
    total = plan.at_most()
    with transaction(conn):
        job_id = store.insert_job(
            conn, job_values(plan, uid, provider, base_url, account, settings)
        )
        first_id = store.reserve_ids(conn, job_id, max(total, 1))
    tally = new_tally(plan)
    try:
        fill(conn, plan, job_id, uid, first_id, total, tally, progress)
    except BaseException:
        with transaction(conn):
            # Where it was swept away, its id may be another job's by now.
            for job in store.list_jobs(conn):
                if job.uid == uid:
                    store.drop_job(conn, job.id)
        raise
    job = store.get_job(conn, job_id)
    fit_queue(conn, job, plan.ask.enqueued_tokens)
    return job, tally


def fit_queue(conn: sqlite3.Connection, job: store.Job, asked: int | None) -> None:
    """Keep the queue limit that was given, and cut parts that take more than half of it."""
    if asked is not None:
        with transaction(conn):
            capacity.learn(conn, job, asked, "option")
    limit = capacity.known_limit(conn, job)
    if limit is not None and job.provider != "local":
        capacity.recut(conn, job, limit)


def fill(
    conn: sqlite3.Connection,
    plan: Plan,
    job_id: int,
    uid: str,
    first_id: int,
    total: int,
    tally: Tally,
    progress: Callable[[int], None] | None,
) -> None:
    """Write the parts and requests of a job that was just stored, then complete its record."""
    writer = Recorder(conn, job_id)
    told = 0
    # Rows that come while we read have no ids reserved: they wait for another job.
    for made in rendered(plan, tally, uid, first_id, stop=total):
        if isinstance(made, Run):
            writer.add_run(made, first_id)
        else:
            writer.add(made, first_id + made.position)
        if progress and tally.rows >= told + 10_000:
            told = tally.rows
            progress(told)
    writer.commit()
    found = estimated(conn, plan, tally)
    check_ceiling(found, plan.model)
    with transaction(conn):
        writer.renew()
        store.drop_placeholder(conn, job_id)
        if tally.reused:
            asking.take_answers(conn, job_id)
        finish_empty_parts(conn, job_id)
        share_estimate(conn, job_id, found, tally.bytes)
        store.update_job(
            conn,
            job_id,
            requests=tally.requests,
            skipped=tally.blank,
            **estimate_values(store.get_job(conn, job_id), found),
            lease_owner=None,
            lease_until=None,
        )
        store.log(conn, "prepared", job_id=job_id, requests=tally.asked, parts=tally.parts)
    store.build_indexes(conn)


def estimate_values(job: store.Job, found: Estimate) -> dict[str, Any]:
    """The columns of a job that hold its estimate."""
    return {
        "estimated_input_tokens": found.input.tokens,
        "estimated_cost_nanousd": found.about,
        "upper_cost_nanousd": found.most,
        "options": json.dumps({**job.settings, "estimate": found.to_data()}),
    }


def share_estimate(
    conn: sqlite3.Connection, job_id: int, found: Estimate, whole_bytes: int
) -> None:
    """Give each part its share of the estimate, by its bytes and requests."""
    for part in store.list_parts(conn, job_id):
        store.update_part(
            conn,
            part.id,
            estimated_tokens=found.share(part.bytes, whole_bytes),
            upper_cost_nanousd=found.share_of_most(part.bytes, part.requests, whole_bytes),
        )


def finish_empty_parts(conn: sqlite3.Connection, job_id: int) -> None:
    """A part none of whose rows can be asked has nothing to send: it is completed as it is."""
    for part in store.list_parts(conn, job_id):
        if part.requests == 0:
            now = clock.now()
            # Answers of earlier jobs are still to be written.
            written_at = None if part.counts.get("ok") else now
            store.update_part(
                conn,
                part.id,
                status="completed",
                ended_at=now,
                collected_at=now,
                written_at=written_at,
            )


def sweep(conn: sqlite3.Connection) -> None:
    """Remove what a killed `prepare` left behind: a job that never got its `requests`."""
    if not any(map(is_abandoned, store.list_jobs(conn))):
        return
    with transaction(conn):
        # Looked at again: it may have gone on meanwhile.
        for job in filter(is_abandoned, store.list_jobs(conn)):
            store.drop_job(conn, job.id)


def is_abandoned(job: store.Job) -> bool:
    """Whether a job was begun by a process that is gone, or that hasn't gone on for long."""
    free = store.may_take(job.lease_owner, job.lease_until)
    return job.requests is None and job.lease_owner != store.me() and free
