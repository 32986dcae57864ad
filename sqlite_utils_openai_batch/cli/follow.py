"""`submit`, `sync` and `watch`, and what is said when a job needs somebody or has ended."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from .click_ext import FAILED_REQUESTS, INTERRUPTED, NEEDS_YOU, Command, confirm, option, talk
from .options import (
    check_may_send,
    db_argument,
    job_argument,
    key_option,
    max_cost_option,
    poll_option,
    yes_option,
)
from .screens.text import Teller

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ..base.errors import DatabaseError
    from ..jobs.sync.context import Report
    from ..provider.places import Places
    from ..store import Job


@click.command("sync", cls=Command)
@db_argument
@job_argument
@key_option
@option("--silent", is_flag=True, help="Say nothing unless something needs you: for cron")
def sync_command(db: str, job: str | None, key: str | None, silent: bool) -> None:
    """Do one round: send what fits, look at batches, collect answers, write them back.

    Sends only jobs that were approved by 'run' or 'submit'. Run it as often as you like.

    \b
    Example, every ten minutes by cron:
      */10 * * * *  sqlite-utils openai-batch sync movies.db --silent
    """
    from contextlib import closing

    from .. import store
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        jobs, changed = wanted(conn, db, job)
        if nothing_to_do(db, jobs, silent=silent) and not changed:
            return
        from ..provider.places import Places

        with Places(key=key) as places:
            follow(conn, db, jobs, places, poll=None, once=True, silent=silent, changed=changed)


@click.command("watch", cls=Command)
@db_argument
@job_argument
@key_option
@poll_option
def watch_command(db: str, job: str | None, key: str | None, poll: float | None) -> None:
    """Repeat 'sync' until all jobs have ended, and show progress.

    \b
    Example:
      sqlite-utils openai-batch watch movies.db
    """
    from contextlib import closing

    from .. import store
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        jobs, changed = wanted(conn, db, job)
        if nothing_to_do(db, jobs, silent=False) and not changed:
            return
        from ..provider.places import Places

        with Places(key=key) as places:
            follow(conn, db, jobs, places, poll=poll, once=False, changed=changed)


def nothing_to_do(db: str, jobs: Sequence[Job], *, silent: bool) -> bool:
    """Whether no job goes on. Said so, and what killed processes left is removed all the same.

    What follows jobs takes as long to load as all the rest: cron calls this every few minutes.
    """
    if jobs:
        return False
    from ..base.scratch import sweep

    if not silent:
        talk(f"Nothing to do: no unfinished job in '{db}'.")
    sweep()
    return True


def wanted(
    conn: sqlite3.Connection, db: str, job: str | None
) -> tuple[list[Job], list[DatabaseError]]:
    """The job of that name, or all unfinished ones; and what is wrong with those left out."""
    from .. import store

    if job is not None:
        return [store.find_job(conn, job, db)], []
    sound, changed = store.sorted_out(conn)
    return [one for one in reversed(sound) if one.unfinished], changed


def follow(
    conn: sqlite3.Connection,
    db: str,
    jobs: Sequence[Job],
    places: Places,
    *,
    poll: float | None,
    once: bool,
    silent: bool = False,
    changed: Sequence[DatabaseError] = (),
) -> None:
    """Sync once or until the end, say how it goes, and leave with the right exit code.

    Jobs that another program changed are left alone, and told at the end with what `changed` says.
    """
    from .. import store
    from ..jobs.sync.settle import has_failures
    from ..jobs.sync.watch import follow as sync
    from ..jobs.trust import sort_out
    from .screens.end import stopped_sentence

    teller = Teller(conn, silent=silent)
    told = teller.of_one_pass if once else teller.told
    try:
        found = sync(conn, jobs, places, poll=poll, once=once, told=told, between=teller.between)
    except KeyboardInterrupt:
        teller.end()
        for one in sort_out(jobs)[0]:
            job = store.get_job(conn, one.id)
            if job.unfinished:
                talk(stopped_sentence(job, store.list_parts(conn, job.id), db))
        raise click.exceptions.Exit(INTERRUPTED) from None
    teller.end()
    report, wrong = found.report, [*found.wrong, *changed]
    tell_result(conn, db, [job.id for job in found.jobs], report, once=once, silent=silent)
    for error in wrong:
        talk(f"Error: {error}")
    if wrong or report.faults:
        raise click.exceptions.Exit(1)
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
    from .. import store
    from ..base.text import COMMAND
    from ..jobs.queue import waits_until
    from ..results.advice import advise
    from ..results.advice import lines as advice_lines
    from ..results.again import again_lines, repair_sentences
    from ..results.words import DEMO_MODEL, failures, status_words
    from .screens.end import ended_screen
    from .screens.job import mend
    from .screens.text import progress

    ended = {job.id for job in report.ended}
    for job_id in ids:
        if job_id in report.faults:
            continue
        job = store.get_job(conn, job_id)
        counts = store.outcome_counts(store.list_parts(conn, job_id))
        if job.needs_you:
            talk(f"Job {job.id} is {job.status}: {job.message}")
            for label, helps in advice_lines(advise(conn, job, failures(counts), db), job, db):
                talk(f"  {label:<12}  {helps}")
            talk(f"  Go on with    {mend(job, db)}")
        elif silent:
            continue
        elif job.id in ended and job.status == "failed":
            talk(f"Job {job.id} failed: {job.message}.")
            talk(f"  Look at them    {COMMAND} results {shlex.quote(db)} {job.id}")
        elif job.id in ended:
            written = report.written.get(job.id)
            again = store.asked_again_at(conn, job.id)
            advice = advise(conn, job, failures(counts), db)
            failed = sum(failures(counts).values())
            tells = [*again_lines(conn, job), *repair_sentences(conn, job, failed)]
            done = vars(written) if written else {}
            talk(ended_screen(job, counts, done, db, again, advice, tells))
            if job.provider == "local" and not job.base_url and counts.get("ok"):
                talk(DEMO_MODEL)
        elif once or job.status == "prepared":
            words = status_words(job, counts, full=waits_until(conn, job))
            talk(f"Job {job.id}: {progress(job, counts)} done · {words}")
            if job.status == "prepared":
                talk(f"  Send it with    {COMMAND} submit {shlex.quote(db)} {job.id}")
            if job.status == "running":
                talk(f"  Go on with    {COMMAND} watch {shlex.quote(db)} {job.id}")
    if not silent:
        for sentence in report.waiting if once else ():
            talk(sentence)
        for sentence in report.unreachable:
            talk(sentence)


# `submit`: approve a job and send what fits.


@click.command("submit", cls=Command)
@db_argument
@job_argument
@option("--accept-account", is_flag=True, section="Where it runs",
        help="Go on with this key's account where the job began with another")  # fmt: skip
@option("--image-dir", metavar="DIR", section="Where it runs",
        type=click.Path(exists=True, file_okay=False),
        help="Where the files that the rows name are on this machine")  # fmt: skip
@max_cost_option
@key_option
@yes_option
def submit_command(
    db: str,
    job: str | None,
    accept_account: bool,
    image_dir: str | None,
    max_cost: str | None,
    key: str | None,
    yes: bool,
) -> None:
    """Send a prepared job, or go on with a paused one.

    \b
    Example:
      sqlite-utils openai-batch submit movies.db 3
    """
    from contextlib import closing

    from .. import store
    from ..base.errors import UsageError
    from ..base.text import counted
    from ..jobs.manage import (
        doubtful,
        job_ceiling,
        job_to_submit,
        name_folder,
        raise_ceiling,
        rows_to_send,
        send_again,
    )
    from ..jobs.sync.engine import approve
    from ..jobs.sync.outgoing import in_doubt
    from ..provider.places import Places
    from ..results.words import job_expects
    from ..store.connection import connect
    from .screens.job import title

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = job_to_submit(conn, db, job, accept_account or bool(image_dir))
        places.accepted = accept_account
        can_ask = sys.stdin.isatty() and sys.stderr.isatty()
        check_may_send(yes, max_cost, can_ask)
        ceiling = job_ceiling(conn, found, max_cost) if max_cost else None
        provider = places.of_job(found)
        unseen = doubtful(conn, provider, found)
        if unseen and not yes and not can_ask:
            raise UsageError(f"{in_doubt(provider.host, unseen)} Without a terminal it needs -y.")
        if not yes and can_ask:
            from ..tables.output import Output

            talk(f"Job {found.id}: {title(found, Output.of(found))}")
            asked = counted(rows_to_send(store.list_parts(conn, found.id)), "row")
            talk(f"Ask {found.model} about {asked}? {job_expects(found, ceiling)}")
            if unseen:
                talk(in_doubt(provider.host, unseen))
            if not confirm("Send?"):
                talk("Nothing was sent.")
                return
        send_again(conn, unseen)
        if accept_account:
            store.update_job(conn, found.id, account=places.account_of(found))
            found = store.get_job(conn, found.id)
            talk(f"Job {found.id} goes on with this key's account from now on.")
        if image_dir is not None:
            found = name_folder(conn, found, image_dir)
        if ceiling is not None:
            found = raise_ceiling(conn, found, ceiling)
        if found.status in ("prepared", "paused"):
            found = approve(conn, found)
        follow(conn, db, [found], places, poll=None, once=True)
