"""`retry`, `pause`, `cancel`, `delete`, `apply` and `revert`: what changes a job that is there."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from .click_ext import Command, confirm, option, talk
from .options import (
    ANSWERS,
    check_may_send,
    db_argument,
    key_option,
    max_cost_option,
    poll_option,
    yes_option,
)

if TYPE_CHECKING:
    from ..jobs.manage import Retry
    from ..store import Job


one_job = click.argument("job", metavar="JOB")


@click.command("retry", cls=Command)
@db_argument
@one_job
@option("--status", multiple=True, metavar="STATUS", section="Request",
        help="Only requests with this outcome, repeatable  [default: all that failed]")  # fmt: skip
@option(
    "--where",
    metavar="EXPR",
    section="Request",
    help="Only rows for which this holds, answered or not: 'mood_confidence < 0.6'",
)
@option("-p", "--param", "params", nargs=2, multiple=True, metavar="NAME VALUE",
        section="Request", help="Named parameter of --where")  # fmt: skip
@option("--repair", is_flag=True, section="Request",
        help="Send wrong answers back to the model, with what was wrong with them")  # fmt: skip
@option("-m", "--model", metavar="MODEL", section="Request",
        help="Ask another model")  # fmt: skip
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
    where: str | None,
    params: Sequence[tuple[str, str]],
    repair: bool,
    model: str | None,
    changes: Sequence[str],
    no_wait: bool,
    max_cost: str | None,
    key: str | None,
    poll: float | None,
    yes: bool,
) -> None:
    """Ask the failed requests of a job once more. Good answers are left alone.

    With --where, rows that have an answer are asked again too. The old answer counts until a
    better one has come, and is always kept.

    \b
    Examples:
      sqlite-utils openai-batch retry movies.db 3 --status truncated \\
        --set max_tokens=800
      sqlite-utils openai-batch retry movies.db 3 --repair
      sqlite-utils openai-batch retry movies.db 3 --model gpt-4o \\
        --where 'mood_confidence < 0.6'
    """
    from .. import store
    from ..base.errors import UsageError
    from ..base.statuses import FAILED, outcomes_of
    from ..jobs.manage import (
        check_known,
        check_priced,
        job_ceiling,
        plan_retry,
        raise_ceiling,
        retry,
        retry_most,
    )
    from ..provider.places import Places
    from ..results.advice import in_vain
    from ..results.words import retry_words
    from ..store.connection import connect
    from .follow import follow

    chosen = outcomes_of(status)
    if where is None and not set(chosen) <= set(FAILED):
        raise UsageError(f"--status {status[0]}: failed outcomes are {', '.join(FAILED)}.")
    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        plan = plan_retry(conn, found, chosen, repair=repair, where=where, params=dict(params))
        if not plan.requests:
            failed = " such" if where is not None else " such failed" if status else " failed"
            talk(f"Job {found.id} has no{failed} requests: nothing to ask again.")
            return
        body = parse_changes(changes)
        if model is not None:
            if body.get("model", model) != model:
                raise UsageError("--model and --set model mean the same: give one of them.")
            body["model"] = model
        check_may_send(yes, max_cost, sys.stdin.isatty() and sys.stderr.isatty())
        ceiling = job_ceiling(conn, found, max_cost) if max_cost else None
        most = retry_most(conn, found, plan, body)
        check_priced(found, body, most, ceiling)
        places.of_job(found)  # where the key can't go there, nothing is planned anew
        check_known(found, body, places)
        cost = retry_words(found, most)
        question = f"{retry_question(found, plan, body)}{cost}"
        for why in in_vain(conn, found, plan.kinds, body) if not repair else ():
            talk(f"Warning: {why}")
        if not yes and not max_cost and not asked(question):
            return
        if ceiling is not None:
            found = raise_ceiling(conn, found, ceiling)
        follow(conn, db, [retry(conn, found, plan, body)], places, poll=poll, once=no_wait)


def retry_question(job: Job, plan: Retry, body: Mapping[str, object]) -> str:
    """What a retry would do: how many rows, which model, what goes back."""
    from ..base.text import counted

    rows = counted(plan.requests, "row")
    whom = f" {body['model']}" if "model" in body else ""
    if plan.repair:
        answers = "answer" if plan.requests == 1 else "answers"
        whom = f" to {body['model']}" if whom else ""
        return f"Send {plan.requests:,} wrong {answers} of job {job.id} back{whom}?"
    good = sum(count for (status, _), count in plan.kinds.items() if status == "ok")
    answered = f" ({good:,} of them answered: that counts until a better answer comes)"
    return (
        f"Ask{whom} {'about ' if whom else ''}{rows} of job {job.id} again{answered * bool(good)}?"
    )


def parse_changes(changes: Sequence[str]) -> dict[str, object]:
    """`NAME=VALUE` pairs as parameters of a body. Raises UsageError."""
    from ..base.errors import UsageError
    from ..requests.body import parse_option

    parsed = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--set {change}: write it as NAME=VALUE, such as max_tokens=800.")
        parsed[name.strip()] = parse_option(name.strip(), value)
    return parsed


def asked(question: str) -> bool:
    """Ask on the terminal. Raises UsageError where there is none."""
    from ..base.errors import UsageError

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
    """Stop sending a job until 'submit'. Answers to what was sent still come in by 'sync'.

    \b
    Example:
      sqlite-utils openai-batch pause movies.db 3
    """
    from .. import store
    from ..base.text import counted
    from ..jobs.manage import pause_job
    from ..jobs.sync.engine import open_batches
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        pause_job(conn, found)
        going = open_batches(conn, found.id)
        talk(f"Job {found.id} is paused: nothing more is sent.")
        if going:
            batches = counted(going, "open batch", "open batches")
            talk(f"{batches} will still answer; sync collects that.")
        talk(f"Go on with: sqlite-utils openai-batch submit {shlex.quote(db)} {found.id}")


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
    from ..jobs.manage import cancel_job
    from ..provider.accounts import check_key
    from ..provider.places import Places
    from ..store.connection import connect
    from .follow import follow

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        if key is not None:
            check_key(found, key)
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
    from ..base.errors import UsageError
    from ..base.text import counted
    from ..jobs.manage import check_deletable, delete_job, delete_remote, delete_responses
    from ..provider.places import Places, forget_local
    from ..store.connection import connect

    with closing(connect(db)) as conn, Places(key=key) as places:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        what = {"responses": "the raw responses", "remote": "the files at the provider"}
        if only is None:
            check_deletable(conn, found)
        if not yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise UsageError("Without a terminal to ask on, deleting needs -y.")
            labels = len(store.reviews.of_job(conn, found.id)) if only is None else 0
            lost = f", and {counted(labels, 'label')} by people" if labels else ""
            if not confirm(f"Delete {what.get(only or '', 'the record')} of job {found.id}{lost}?"):
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


# `apply` and `revert`: the answers of a job, written again and taken back.

one_job = click.argument("job", metavar="JOB")


@click.command("apply", cls=Command)
@db_argument
@one_job
@option("--output", metavar="COLUMN", section=ANSWERS, help="Column for the answer")
@option("--output-table", metavar="TABLE", section=ANSWERS,
        help="Write to this table (the source's name: to the source itself)")  # fmt: skip
@option("--prefix", metavar="TEXT", section=ANSWERS,
        help="Begin the names of answer columns with this")  # fmt: skip
@option("--schema", metavar="SPEC|FILE", section=ANSWERS,
        help="Check the answers by this schema, and take its columns")  # fmt: skip
@option("--replace", is_flag=True, section=ANSWERS, help="Overwrite columns that hold values")
@option("--accept-stale", is_flag=True, section=ANSWERS,
        help="Also write to rows that have changed since they were asked about")  # fmt: skip
@option("--reviewed", is_flag=True, section=ANSWERS,
        help="Also write people's labels (_reviewed), and labels or answers (_final)")  # fmt: skip
def apply_command(
    db: str,
    job: str,
    output: str | None,
    output_table: str | None,
    prefix: str | None,
    schema: str | None,
    replace: bool,
    accept_stale: bool,
    reviewed: bool,
) -> None:
    """Write the stored answers of a job again, to other columns or by another schema. No network.

    What the job wrote before is taken back first. Without options, only answers that are not
    written yet are written.

    \b
    Example:
      sqlite-utils openai-batch apply movies.db 3 --output-table film_labels
    """
    from .. import store
    from ..answers.schema import AnswerSchema
    from ..jobs.apply import Wish, applied_lines, apply
    from ..store.connection import connect

    wish = Wish(
        output=output,
        output_table=output_table,
        prefix=prefix,
        schema=AnswerSchema.load(schema) if schema else None,
        replace=replace,
        accept_stale=accept_stale,
        reviewed=reviewed,
    )
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        applied = apply(conn, found, wish)
    for line in applied_lines(found, applied, wish.accept_stale, db):
        talk(line)


@click.command("revert", cls=Command)
@db_argument
@one_job
def revert_command(db: str, job: str) -> None:
    """Undo the write-back of a job. Cells that somebody edited since stay as they are.

    \b
    Example:
      sqlite-utils openai-batch revert movies.db 3
    """
    from .. import store
    from ..jobs.revert import revert, reverted_lines
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        reverted = revert(conn, found)
    for line in reverted_lines(reverted):
        talk(line)
    talk(
        f"The answers are kept in job {found.id}: write them again with "
        f"sqlite-utils openai-batch apply {shlex.quote(db)} {found.id}"
    )
