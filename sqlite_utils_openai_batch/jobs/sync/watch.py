"""`sync` repeated until everything has ended, or only a person can go on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ... import store
from ...base.errors import DatabaseError
from ...base.scratch import sweep
from ...base.statuses import AT_PROVIDER
from ...provider.accounts import check_one_host
from ...provider.places import Places, forget_local
from ..trust import sort_out
from ..writeback import Written
from .context import Report
from .engine import OpenProvider, one_pass, was_approved

REMOTE_POLL = 30.0
LOCAL_POLL = 0.5
#: The first pause between two looks on this machine; each is twice as long as the one before.
FIRST_POLL = 0.05
#: Azure's documentation asks for a minute between two looks.
AZURE_POLL = 60.0

Told = Callable[[list[store.Job], Report], None]


def poll_seconds(job: store.Job, asked: float | None) -> float:
    """Seconds between two looks: what was asked, else little on this machine, more elsewhere."""
    if asked is not None:
        return asked
    loopback = any(host in (job.base_url or "") for host in ("127.0.0.1", "localhost", "[::1]"))
    if loopback or job.provider == "local":
        return LOCAL_POLL
    return AZURE_POLL if job.provider == "azure" else REMOTE_POLL


def watch(
    conn: sqlite3.Connection,
    job_ids: Sequence[int],
    open_provider: OpenProvider,
    *,
    poll: float | None = None,
    told: Told | None = None,
    between: Told | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Sync these jobs until each has ended or waits for a person.

    `told` hears of each pass, `between` of each part in the middle of one. Returns what happened
    over all passes.
    """
    total = Report()
    pause = FIRST_POLL
    while True:
        # One that a fault has stopped would only fail again.
        able = [job_id for job_id in job_ids if job_id not in total.faults]
        report = one_pass(
            conn,
            [store.get_job(conn, job_id) for job_id in able],
            open_provider,
            in_between(conn, able, between),
        )
        total.sent += report.sent
        total.collected += report.collected
        total.ended += report.ended
        total.paused = report.paused
        total.waiting = report.waiting
        total.unreachable = report.unreachable
        total.faults |= report.faults
        for job_id, written in report.written.items():
            total.written[job_id] = added(total.written.get(job_id, Written()), written)
        jobs = [store.get_job(conn, job_id) for job_id in able]
        if told:
            told(jobs, report)
        going_on = [job for job in jobs if goes_on(conn, job, report)]
        if not going_on:
            return total
        seconds = min(poll_seconds(job, poll) for job in going_on)
        if poll is None and seconds == LOCAL_POLL:
            # a small job is over in less
            seconds, pause = min(pause, seconds), 2 * pause
        sleep(seconds)


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of jobs, and what is wrong with those that another program changed."""

    jobs: list[store.Job]
    """Those that were gone on with, as they were before."""
    report: Report
    wrong: list[DatabaseError]


def follow(
    conn: sqlite3.Connection,
    jobs: Sequence[store.Job],
    places: Places,
    *,
    poll: float | None = None,
    once: bool = False,
    told: Told | None = None,
    between: Told | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Followed:
    """Sync these jobs once, or until each has ended or waits for a person.

    Jobs that another program changed are left alone. Raises ConfigurationError where one key would
    go to several hosts.
    """
    sweep()
    sound, wrong = sort_out(jobs)
    if places.key is not None:
        check_one_host([job for job in sound if job.unfinished and was_approved(conn, job)])
    if once:
        heard = in_between(conn, [job.id for job in sound], between)
        report = one_pass(conn, sound, places.of_job, heard)
        if told:
            told([store.get_job(conn, job.id) for job in sound], report)
    else:
        ids = [job.id for job in sound]
        report = watch(conn, ids, places.of_job, poll=poll, told=told, between=between, sleep=sleep)
    places.close()
    for job in report.ended:
        forget_local(job.uid)
    return Followed(sound, report, wrong)


def in_between(
    conn: sqlite3.Connection, job_ids: Sequence[int], between: Told | None
) -> Callable[[Report], None]:
    """What hears of a pass in its middle."""
    if between is None:
        return lambda report: None
    return lambda report: between([store.get_job(conn, job_id) for job_id in job_ids], report)


def added(first: Written, second: Written) -> Written:
    """What two passes wrote."""
    return Written(
        first.written + second.written,
        first.kept_existing + second.kept_existing,
        first.stale + second.stale,
        first.row_gone + second.row_gone,
        first.refused + second.refused,
    )


def goes_on(conn: sqlite3.Connection, job: store.Job, report: Report) -> bool:
    """Whether another pass can bring a job further without a person; `report` is of the last."""
    if job.id in report.faults:
        return False
    if job.status in ("running", "cancelling"):
        return not job.needs_you
    if job.status != "paused" or job.id in report.unreadable:
        return False
    return any(
        part.status in AT_PROVIDER and not part.collected_at and part.batch_id
        for part in store.list_parts(conn, job.id)
    )
