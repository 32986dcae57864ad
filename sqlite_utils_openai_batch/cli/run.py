"""`run` and `prepare`."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from .framework import INTERRUPTED, Command, confirm, option, talk
from .like import inherit, recipe
from .money import check_may_send, check_model
from .options import ask_options, db_argument, poll_option, read_ask, table_argument, yes_option
from .place import check_place, read_place
from .preview import (
    all_blank,
    all_warnings,
    chosen_of,
    model_default,
    nothing_to_ask,
    preview,
    queue,
    whole_source,
)

if TYPE_CHECKING:
    import sqlite3

    from ..errors import CeilingError
    from ..places import Places
    from ..plan import Plan
    from ..rendering import Tally
    from ..store import Job
    from .place import Place


@click.command("prepare", cls=Command)
@db_argument
@table_argument
@ask_options
def prepare_command(db: str, table: str | None, **options: Any) -> None:
    """Plan a job and store it, and send nothing. Prints the job's id.

    \b
    Example:
      sqlite-utils openai-batch prepare movies.db movies --prompt '{{ title }}'
      sqlite-utils openai-batch submit movies.db
    """
    from contextlib import closing

    from ..database import connect
    from ..places import Places
    from ..words import COMMAND
    from .plan_screen import summary_screen

    with closing(connect(db)) as conn, Places(key=options.get("key")) as places:
        made = make_job(conn, db, table, options, places)
        if made is None:
            return
        job, plan, tally, place = made
        talk(summary_screen(plan, tally, place, None, whole_source(plan), **queue(conn, plan)))
        plan.close()
        for warning in all_warnings(plan, tally):
            talk(f"Warning: {warning}")
        talk(f"\nNothing was sent. Next: {COMMAND} submit {shlex.quote(db)} {job.id}")
        click.echo(job.id)


def make_job(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    options: dict[str, Any],
    places: Places,
) -> tuple[Job, Plan, Tally, Place] | None:
    """Check everything, then store the job. None where there is nothing to ask."""
    from .. import store
    from ..plan import settle
    from ..prepare import prepare
    from ..rivals import check_free

    table = inherit(conn, db, table, options)
    typed = recipe(table, options)
    place = read_place(options)
    options.pop("key")
    ask = read_ask(table, options, place)
    store.check_version(conn)
    plan = settle(conn, ask, **model_default(place))
    try:
        if plan.at_most() == 0:
            talk(nothing_to_ask(plan))
            plan.close()
            return None
        check_free(conn, plan, db)
        uid = store.new_uid()
        plan.warnings += check_place(place, places, uid)
        check_model(place, places, plan)
        job, tally = prepare(
            conn,
            plan,
            uid=uid,
            provider=place.provider,
            base_url=place.base_url,
            account=place.account,
            settings={**place.settings, **chosen_of(plan), "recipe": typed},
            progress=counting if sys.stderr.isatty() else None,
        )
    except BaseException:
        plan.close()
        raise
    if job.requests == 0:
        plan.close()
        forget(conn, job)
        talk(all_blank(plan, tally))
        return None
    return job, plan, tally, place


def counting(rows: int) -> None:
    """Say how many rows were read, over the same line."""
    if rows:
        talk(f"\rPreparing {rows:,} rows\r", nl=False)


@click.command("run", cls=Command)
@db_argument
@table_argument
@ask_options
@poll_option
@option("--no-wait", is_flag=True, section="Where it runs", help="Leave after the first sends")
@option("--dry-run", is_flag=True, section="Where it runs", help="The same as preview")
@yes_option
def run_command(
    db: str,
    table: str | None,
    poll: float | None,
    no_wait: bool,
    dry_run: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Ask about each row: prepare, confirm, send, wait, write the answers back.

    Stop it at any moment; 'watch' or 'sync' goes on.

    \b
    Example:
      sqlite-utils openai-batch run movies.db movies \\
        --prompt '{{ title }}: {{ overview }}' --schema 'categories list, summary'
    """
    from contextlib import closing

    from ..database import connect
    from ..places import Places

    with closing(connect(db)) as conn, Places(key=options.get("key")) as places:
        if dry_run:
            preview(conn, db, table, 3, False, options)
            return
        run(conn, db, table, options, places, poll=poll, no_wait=no_wait, yes=yes)


def run(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    options: dict[str, Any],
    places: Places,
    *,
    poll: float | None,
    no_wait: bool,
    yes: bool,
) -> None:
    """The whole way of a job, for `run` and `demo`."""
    from ..errors import CeilingError
    from ..sync import approve
    from .follow import follow
    from .plan_screen import confirmation

    can_ask = sys.stdin.isatty() and sys.stderr.isatty()
    table = inherit(conn, db, table, options)
    check_may_send(yes, options.get("max_cost"), can_ask)
    typed = dict(options)
    try:
        made = make_job(conn, db, table, options, places)
    except CeilingError as error:
        if error.cap is None or yes or not can_ask or not capped(typed, error):
            raise
        made = make_job(conn, db, table, typed, places)
    if made is None:
        return
    job, plan, tally, place = made
    plan.close()
    for warning in all_warnings(plan, tally):
        talk(f"Warning: {warning}")
    if tally.asked and not yes and can_ask:
        talk(confirmation(job, plan, place, tally, db))
        try:
            agreed = confirm("Send?")
        except KeyboardInterrupt:
            forget(conn, job)
            talk("Nothing was sent.")
            raise click.exceptions.Exit(INTERRUPTED) from None
        if not agreed:
            forget(conn, job)
            talk("Nothing was sent.")
            return
    follow(conn, db, [approve(conn, job)], places, poll=poll, once=no_wait)


def capped(options: dict[str, Any], error: CeilingError) -> bool:
    """Ask whether answers may be no longer than a ceiling bears; if so, put that into `options`."""
    talk(str(error))
    try:
        agreed = confirm(f"Go on with -o max_tokens {error.cap}?")
    except KeyboardInterrupt:
        talk("Nothing was sent.")
        raise click.exceptions.Exit(INTERRUPTED) from None
    options["options"] = (*options["options"], ("max_tokens", str(error.cap)))
    return agreed


def forget(conn: sqlite3.Connection, job: Job) -> None:
    """Drop a job that was never approved."""
    from .. import store
    from ..database import transaction
    from ..places import forget_local

    with transaction(conn):
        store.drop_job(conn, job.id)
    forget_local(job.uid)
