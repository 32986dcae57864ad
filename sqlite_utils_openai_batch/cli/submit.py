"""`submit`: approve a job and send what fits."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from .accounts import job_expects
from .follow import follow
from .framework import (
    Command,
    confirm,
    option,
    talk,
)
from .money import check_may_send, job_ceiling, max_cost_option, raise_ceiling
from .options import db_argument, job_argument, key_option, yes_option

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ..store import Job, Part


@click.command("submit", cls=Command)
@db_argument
@job_argument
@option("--accept-account", is_flag=True, section="Where it runs",
        help="Go on with this key's account where the job began with another")  # fmt: skip
@max_cost_option
@key_option
@yes_option
def submit_command(
    db: str,
    job: str | None,
    accept_account: bool,
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
    from ..database import connect
    from ..errors import UsageError
    from ..figures import counted
    from ..manage import doubtful, send_again
    from ..outgoing import in_doubt
    from ..places import Places
    from ..sync import approve
    from .job_screen import title

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = job_to_submit(conn, db, job)
        can_ask = sys.stdin.isatty() and sys.stderr.isatty()
        check_may_send(yes, max_cost, can_ask)
        ceiling = job_ceiling(conn, found, max_cost) if max_cost else None
        provider = places.of_job(found)
        unseen = doubtful(conn, provider, found)
        if unseen and not yes and not can_ask:
            raise UsageError(f"{in_doubt(provider.host, unseen)} Without a terminal it needs -y.")
        if not yes and can_ask:
            from ..output import Output

            talk(f"Job {found.id}: {title(found, Output.from_json(found.output))}")
            asked = counted(rows_to_send(store.list_parts(conn, found.id)), "row")
            talk(f"Ask {found.model} about {asked}? {job_expects(found, ceiling)}")
            if unseen:
                talk(in_doubt(provider.host, unseen))
            if not confirm("Send?"):
                talk("Nothing was sent.")
                return
        send_again(conn, unseen)
        if accept_account:
            store.update_job(conn, found.id, account=places.of_job(found).account)
            found = store.get_job(conn, found.id)
        if ceiling is not None:
            found = raise_ceiling(conn, found, ceiling)
        follow(conn, db, [approve(conn, found)], places, poll=None, once=True)


def rows_to_send(parts: Sequence[Part]) -> int:
    """How many rows wait to be sent: those that were answered by hand don't."""
    from ..states import CUT

    return sum(part.counts.get("pending", 0) for part in parts if part.status in ("prepared", *CUT))


def job_to_submit(conn: sqlite3.Connection, db: str, job: str | None) -> Job:
    """The job that `submit` means. Raises JobError."""
    from .. import store
    from ..errors import JobError

    if job is not None:
        found = store.find_job(conn, job, db)
        if found.status not in ("prepared", "paused") or found.requests is None:
            raise JobError(
                f"Job {found.id} is {found.status}: only a prepared or paused job can be "
                "submitted. Look at it with: "
                f"sqlite-utils openai-batch show {shlex.quote(db)} {found.id}"
            )
        return found
    waiting = [
        found
        for found in store.list_jobs(conn)
        if found.status == "prepared" and found.requests is not None
    ]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise JobError(
            f"No job in '{db}' waits to be submitted. "
            f"Prepare one with: sqlite-utils openai-batch prepare {shlex.quote(db)} TABLE …"
        )
    names = ", ".join(str(found.id) for found in waiting)
    raise JobError(f"Several jobs wait to be submitted: {names}. Name one of them.")
