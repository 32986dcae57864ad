"""`sync` and `watch`, and what is said when a job needs somebody or has ended."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from .framework import (
    FAILED_REQUESTS,
    INTERRUPTED,
    NEEDS_YOU,
    Command,
    option,
    talk,
)
from .options import db_argument, job_argument, key_option, poll_option
from .progress import Teller

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ..passes import Report
    from ..places import Places
    from ..store import Job


@click.command("sync", cls=Command)
@db_argument
@job_argument
@key_option
@option("--silent", is_flag=True, help="Say nothing unless something needs you: for cron")
def sync_command(db: str, job: str | None, key: str | None, silent: bool) -> None:
    """Do once what there is to do: send what fits, look, collect, write back.

    Sends only jobs that were approved by 'run' or 'submit'. Run it as often as you like.

    \b
    Example, every ten minutes by cron:
      */10 * * * *  sqlite-utils openai-batch sync movies.db --silent
    """
    from contextlib import closing

    from .. import store
    from ..database import connect
    from ..places import Places

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        jobs = [store.find_job(conn, job, db)] if job else store.unfinished_jobs(conn)
        if not jobs:
            if not silent:
                talk(f"Nothing to do: no unfinished job in '{db}'.")
            return
        follow(conn, db, jobs, places, poll=None, once=True, silent=silent)


@click.command("watch", cls=Command)
@db_argument
@job_argument
@key_option
@poll_option
def watch_command(db: str, job: str | None, key: str | None, poll: float | None) -> None:
    """Sync until all jobs have ended, with progress.

    \b
    Example:
      sqlite-utils openai-batch watch movies.db
    """
    from contextlib import closing

    from .. import store
    from ..database import connect
    from ..places import Places

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        jobs = [store.find_job(conn, job, db)] if job else store.unfinished_jobs(conn)
        if not jobs:
            talk(f"Nothing to do: no unfinished job in '{db}'.")
            return
        follow(conn, db, jobs, places, poll=poll, once=False)


def follow(
    conn: sqlite3.Connection,
    db: str,
    jobs: Sequence[Job],
    places: Places,
    *,
    poll: float | None,
    once: bool,
    silent: bool = False,
) -> None:
    """Sync once or until the end, say how it goes, and leave with the right exit code."""
    from .. import store
    from ..places import forget_local
    from ..settle import has_failures
    from ..sync import one_pass
    from ..watch import watch
    from .end_screen import stopped_sentence

    teller = Teller(conn, silent=silent)
    ids = [job.id for job in jobs]
    try:
        if once:
            report = one_pass(conn, list(jobs), places.of_job)
        else:
            report = watch(conn, ids, places.of_job, poll=poll, told=teller.told)
    except KeyboardInterrupt:
        teller.end()
        for job_id in ids:
            job = store.get_job(conn, job_id)
            if job.unfinished:
                talk(stopped_sentence(job, store.list_parts(conn, job_id), db))
        raise click.exceptions.Exit(INTERRUPTED) from None
    teller.end()
    tell_result(conn, db, ids, report, once=once, silent=silent)
    places.close()
    for job in report.ended:
        forget_local(job.uid)
    if report.paused:
        raise click.exceptions.Exit(NEEDS_YOU)
    if report.unreachable:
        raise click.exceptions.Exit(1)
    if any(has_failures(conn, job) for job in report.ended):
        raise click.exceptions.Exit(FAILED_REQUESTS)


def tell_result(
    conn: sqlite3.Connection,
    db: str,
    ids: Sequence[int],
    report: Report,
    *,
    once: bool,
    silent: bool,
) -> None:
    """Say what became of each job."""
    from dataclasses import asdict

    from .. import store
    from ..words import COMMAND, DEMO_MODEL, status_words
    from .end_screen import ended_screen
    from .job_screen import mend
    from .text import progress

    ended = {job.id for job in report.ended}
    for job_id in ids:
        job = store.get_job(conn, job_id)
        counts = store.outcomes(store.list_parts(conn, job_id))
        if job.needs_you:
            talk(f"Job {job.id} is {job.status}: {job.message}\n  Go on with    {mend(job, db)}")
        elif silent:
            continue
        elif job.id in ended and job.status == "failed":
            talk(f"Job {job.id} failed: {job.message}.")
            talk(f"  Look at them    {COMMAND} results {shlex.quote(db)} {job.id}")
        elif job.id in ended:
            written = report.written.get(job.id)
            again = store.asked_again_at(conn, job.id)
            talk(ended_screen(job, counts, asdict(written) if written else {}, db, again))
            if job.provider == "local" and not job.base_url and counts.get("ok"):
                talk(DEMO_MODEL)
        elif once or job.status == "prepared":
            talk(f"Job {job.id}: {progress(job, counts)} done · {status_words(job, counts)}")
            if job.status == "prepared":
                talk(f"  Send it with    {COMMAND} submit {shlex.quote(db)} {job.id}")
            if job.status == "running":
                talk(f"  Go on with    {COMMAND} watch {shlex.quote(db)} {job.id}")
    if not silent:
        for sentence in report.waiting if once else ():
            talk(sentence)
        for sentence in report.unreachable:
            talk(sentence)
