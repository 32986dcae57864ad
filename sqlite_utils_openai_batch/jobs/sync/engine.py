"""One pass over jobs: reconcile, send what fits, poll, collect, write back.

A pass may be cut anywhere and run again: each step looks at the database, does one thing, and
commits. What a part needs in which state is the table in `base/statuses`; only a pass (`outgoing`,
`incoming`, and `send`, their hands) changes the state of a part, and `files/import_` where its last
answer comes by hand.
"""

from __future__ import annotations

import sqlite3
import time
import traceback
from collections.abc import Callable

from ... import store
from ...base import clock
from ...base.errors import (
    DatabaseError,
    OpenAIBatchError,
    OutputError,
    ProviderError,
    QueueFull,
    SourceError,
    TemplateError,
    Transient,
    Unreachable,
    Unreadable,
)
from ...base.statuses import AT_PROVIDER, ENDED
from ...provider.accounts import check_account
from ...provider.client import Provider
from ...store.connection import explain, left_at_once, transaction
from .. import first_part
from . import incoming, outgoing
from .context import Pass, Report
from .settle import settle_job

OpenProvider = Callable[[store.Job], Provider]


def approve(conn: sqlite3.Connection, job: store.Job) -> store.Job:
    """Record that a person wants this job sent (and paid for). Nothing else approves."""
    with transaction(conn):
        first_part.release(conn, job)
        store.update_job(
            conn,
            job.id,
            status="running",
            approved_at=job.approved_at or clock.now(),
            message=None,
            finished_at=None,
        )
        store.log(conn, "approved", job_id=job.id)
    return store.get_job(conn, job.id)


#: After so many seconds of sending parts it is looked what the provider has answered meanwhile.
TURN_SECONDS = 15.0


def one_pass(
    conn: sqlite3.Connection,
    jobs: list[store.Job],
    open_provider: OpenProvider,
    told: Callable[[Report], None] = lambda report: None,
) -> Report:
    """One pass over these jobs; never asks, never waits.

    `told` hears of each part that it did something for.

    What is the matter with one job stands in `faults` of the report, and keeps no other one from
    its turn. Raises sqlite3.Error where it is about the database file.
    """
    report = Report()
    for job in jobs:
        try:
            ours = job.requests is not None and "vote" not in job.settings
            if ours and job.unfinished and was_approved(conn, job):
                sync_job(conn, job, open_provider, report, told)
        except OpenAIBatchError as error:
            # No key for one job's server, say.
            report.faults[job.id] = str(error)
        except Exception as error:  # a fault of ours in one job, which may be anything
            if isinstance(error, sqlite3.Error) and explain(error, "") is not None:
                raise
            report.faults[job.id] = unexpected(conn, job, error)
    return report


def unexpected(conn: sqlite3.Connection, job: store.Job, error: Exception) -> str:
    """Keep in the log where an error came from that nobody thought of; a sentence about it."""
    if conn.in_transaction:
        conn.execute("ROLLBACK")
    said = f"{type(error).__name__}: {error}".rstrip(".")
    store.log(
        conn, "fault", job_id=job.id, why=said, where=traceback.format_tb(error.__traceback__)
    )
    return (
        f"this program stopped at it ({said}). What was sent and paid for stays in the job. "
        "Please report this, with the newest line 'fault' of openai_batch_log."
    )


def was_approved(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether a person approved a job; one that has a batch was, whatever a restored copy says."""
    return job.approved_at is not None or any(
        part.batch_id for part in store.list_parts(conn, job.id)
    )


def sync_job(
    conn: sqlite3.Connection,
    job: store.Job,
    open_provider: OpenProvider,
    report: Report,
    told: Callable[[Report], None] = lambda report: None,
) -> None:
    """One pass over one job. What stops it is in the report, or pauses the job."""
    pass_: Pass | None = None
    try:
        provider = open_provider(job)
        check_account(conn, provider, job)
        pass_ = Pass(conn, job, provider, report, told)
        run(pass_)
    except Unreachable as error:
        report.unreachable.append(f"Job {job.id}: {error}")
    except (Transient, QueueFull) as error:
        report.waiting.append(f"Job {job.id}: {error}")
    except (ProviderError, OutputError, SourceError, TemplateError, DatabaseError) as error:
        if isinstance(error, (Unreadable, DatabaseError, TemplateError)):
            # Where the job's own record can't be read, its answers can't be either.
            report.unreadable.add(job.id)
        pause(conn, job, str(error))
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        # Another program writes for longer than we wait: every step can be taken later.
        report.waiting.append(
            f"Job {job.id}: the database is locked by another program; trying again later."
        )
        return
    finally:
        if pass_ is not None:
            pass_.close()
    settle_job(conn, job.id, report.ended, report.paused)


def run(pass_: Pass) -> None:
    """Bring in what is paid for first, then send what fits."""
    conn, job = pass_.conn, pass_.job
    if job.status == "cancelling" and job.message:
        store.update_job(conn, job.id, message=None)
    with left_at_once(lambda: wind_up(pass_), conn):
        take_in(pass_)
        incoming.take_strays(pass_)
        pass_.raise_failed()
        if job.status == "cancelling":
            pass_.step("send", outgoing.adopt_restored)
        if job.status == "paused":
            # A send that was cut may have made its batch: that one is collected all the same.
            pass_.step("reconcile", outgoing.adopt_restored)
        if job.status in ("running", "cancelling"):
            pass_.step("reconcile", outgoing.reconcile)
        if job.status == "running":
            first_part.judge(conn, job)
            pass_.step("send", outgoing.send, Turns(pass_))
        outgoing.find_surplus(pass_)
        if job.status == "cancelling":
            pass_.step("poll", incoming.cancel)
        take_in(pass_)
        pass_.raise_failed()
        first_part.judge(conn, job)


def take_in(pass_: Pass) -> None:
    """See how far batches are, and take in what those that have ended answered."""
    pass_.each("poll", incoming.poll)
    pass_.each("collect", incoming.collect)


class Turns:
    """Takes in what is there between two sends, now and then: sending many parts takes long."""

    def __init__(self, pass_: Pass) -> None:
        self.pass_ = pass_
        self.looked = time.monotonic()

    def __call__(self) -> None:
        """Have a turn, where the last one was a while ago."""
        if time.monotonic() - self.looked >= TURN_SECONDS:
            take_in(self.pass_)
            self.pass_.raise_failed()
            self.looked = time.monotonic()


def wind_up(pass_: Pass) -> None:
    """Write the answers that are in the database already, whatever the provider says."""
    incoming.write(pass_)
    store.update_job(pass_.conn, pass_.job.id, checked_at=clock.now())


def pause(conn: sqlite3.Connection, job: store.Job, why: str) -> None:
    """No new sends until a person says so; what was sent is still polled and collected.

    A job that is being cancelled stays so: nobody wants the rest of it sent any more.
    """
    with transaction(conn):
        status = store.get_job(conn, job.id).status
        if status in ("running", "paused"):
            status = "paused"
        store.update_job(conn, job.id, status=status, message=why)
        store.log(conn, "paused", job_id=job.id, why=why)


def open_batches(conn: sqlite3.Connection, job_id: int) -> int:
    """How many batches of a job the provider may still be working on."""
    return sum(
        1
        for part in store.list_parts(conn, job_id)
        if part.status in AT_PROVIDER and part.status not in ENDED
    )
