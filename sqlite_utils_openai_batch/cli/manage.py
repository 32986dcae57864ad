"""`retry`, `pause`, `cancel` and `delete`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

import click

from .accounts import retry_words
from .framework import Command, confirm, option, talk
from .money import check_may_send, job_ceiling, max_cost_option, raise_ceiling
from .options import db_argument, key_option, poll_option, yes_option

one_job = click.argument("job", metavar="JOB")


@click.command("retry", cls=Command)
@db_argument
@one_job
@option("--status", multiple=True, metavar="STATUS", section="Request",
        help="Only requests with this outcome, repeatable  [default: all that failed]")  # fmt: skip
@option("--set", "changes", multiple=True, metavar="NAME=VALUE", section="Request",
        help="Change a parameter of the request, such as --set max_tokens=800")  # fmt: skip
@option("--no-wait", is_flag=True, section="Where it runs", help="Leave after the first sends")
@max_cost_option
@key_option
@poll_option
@yes_option
def retry_command(
    db: str,
    job: str,
    status: Sequence[str],
    changes: Sequence[str],
    no_wait: bool,
    max_cost: str | None,
    key: str | None,
    poll: float | None,
    yes: bool,
) -> None:
    """Ask the failed requests of a job once more; answers that came are left alone.

    \b
    Example:
      sqlite-utils openai-batch retry movies.db 3 --status truncated \\
        --set max_tokens=800
    """
    from .. import store
    from ..database import connect
    from ..errors import UsageError
    from ..figures import counted
    from ..manage import FAILED, plan_retry, retry, retry_most
    from ..places import Places
    from .follow import follow

    for wanted in status:
        if wanted not in FAILED:
            raise UsageError(f"--status {wanted}: failed outcomes are {', '.join(FAILED)}.")
    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        plan = plan_retry(conn, found, status)
        if not plan.requests:
            talk(f"Job {found.id} has no such failed requests: nothing to ask again.")
            return
        body = parse_changes(changes)
        check_may_send(yes, max_cost, sys.stdin.isatty() and sys.stderr.isatty())
        ceiling = job_ceiling(conn, found, max_cost) if max_cost else None
        cost = retry_words(found, retry_most(conn, found, plan, body))
        question = f"Ask {counted(plan.requests, 'row')} of job {found.id} again?{cost}"
        if not yes and not max_cost and not asked(question):
            return
        if ceiling is not None:
            found = raise_ceiling(conn, found, ceiling)
        follow(conn, db, [retry(conn, found, plan, body)], places, poll=poll, once=no_wait)


def parse_changes(changes: Sequence[str]) -> dict[str, object]:
    """`NAME=VALUE` pairs as parameters of a body. Raises UsageError."""
    from ..body import parse_option
    from ..errors import UsageError

    parsed = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {change}: write it as NAME=VALUE, such as max_tokens=800.")
        parsed[name.strip()] = parse_option(name.strip(), value)
    return parsed


def asked(question: str) -> bool:
    """Ask on the terminal. Raises UsageError where there is none."""
    from ..errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("Without a terminal to ask on, this needs -y.")
    talk(question)
    if confirm("Send?"):
        return True
    talk("Nothing was sent.")
    return False


@click.command("pause", cls=Command)
@db_argument
@one_job
def pause_command(db: str, job: str) -> None:
    """Send nothing more of a job until 'submit'; what was sent still comes in by 'sync'.

    \b
    Example:
      sqlite-utils openai-batch pause movies.db 3
    """
    from .. import store
    from ..database import connect
    from ..figures import counted
    from ..manage import pause_job
    from ..sync import open_batches

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        pause_job(conn, found)
        going = open_batches(conn, found.id)
        talk(f"Job {found.id} is paused: nothing more is sent.")
        if going:
            batches = counted(going, "open batch", "open batches")
            talk(f"{batches} will still answer; sync collects that.")
        talk(f"Go on with: sqlite-utils openai-batch submit {db} {found.id}")


@click.command("cancel", cls=Command)
@db_argument
@one_job
@key_option
def cancel_command(db: str, job: str, key: str | None) -> None:
    """Stop the batches of a job. What they have answered is paid for, and still comes in.

    \b
    Example:
      sqlite-utils openai-batch cancel movies.db 3
    """
    from .. import store
    from ..database import connect
    from ..manage import cancel_job
    from ..places import Places
    from .follow import follow

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        cancel_job(conn, found)
        follow(conn, db, [store.get_job(conn, found.id)], places, poll=None, once=True)


@click.command("delete", cls=Command)
@db_argument
@one_job
@option("--only", type=click.Choice(["responses", "remote"]),
        help="Only the raw response lines, or only the files at the provider")  # fmt: skip
@key_option
@yes_option
def delete_command(db: str, job: str, only: str | None, key: str | None, yes: bool) -> None:
    """Delete the record of a job. The columns that it wrote stay.

    \b
    Example:
      sqlite-utils openai-batch delete movies.db 3 --only responses
    """
    from .. import store
    from ..database import connect
    from ..errors import UsageError
    from ..figures import counted
    from ..manage import check_deletable, delete_job, delete_remote, delete_responses
    from ..places import Places, forget_local

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        what = {"responses": "the raw responses", "remote": "the files at the provider"}
        if only is None:
            check_deletable(conn, found)
        if not yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise UsageError("Without a terminal to ask on, deleting needs -y.")
            if not confirm(f"Delete {what.get(only or '', 'the record')} of job {found.id}?"):
                return
        if only == "responses":
            talk(f"{counted(delete_responses(conn, found), 'response')} deleted; answers stay.")
        elif only == "remote":
            count = delete_remote(conn, places.of_job(found), found)
            talk(f"{counted(count, 'file')} deleted at the provider.")
        else:
            delete_job(conn, found)
            forget_local(found.uid)
            talk(f"The record of job {found.id} is deleted; the columns that it wrote stay.")
