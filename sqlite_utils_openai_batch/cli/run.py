"""`run`, `prepare` and `preview`: what asks."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import click

from .bring import Own, check_csv_out, is_brought, opened, requests_option, write_csv_out
from .click_ext import (
    FAILED_REQUESTS,
    INTERRUPTED,
    Command,
    confirm,
    give,
    option,
    show,
    talk,
    talk_over,
)
from .options import (
    ask_options,
    check_may_send,
    db_argument,
    inherit,
    poll_option,
    table_argument,
    typed_of,
    yes_option,
)
from .screens.text import Counting, Progress

if TYPE_CHECKING:
    import sqlite3

    from ..base.errors import CeilingError
    from ..jobs.new_job import Asked
    from ..jobs.plan.plan import Plan
    from ..jobs.plan.render import Rendered, Tally
    from ..provider.places import Place, Places
    from ..store import Job


# `preview`: requests as they would be sent, and what all of them would cost.


@click.command("preview", cls=Command)
@db_argument
@table_argument
@ask_options
@requests_option
@option("-n", "--count", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
        help="Requests to show")  # fmt: skip
@option("--raw", is_flag=True, help="Show them as the lines that are sent")
def preview_command(db: str, table: str | None, count: int, raw: bool, **options: Any) -> None:
    """Show what would be sent, and send nothing.

    \b
    Example:
      sqlite-utils openai-batch preview movies.db movies --prompt '{{ title }}'
    """
    with opened(db, table, options, keep=False) as (conn, db, table):
        preview(conn, db, table, count, raw, options)


def preview(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    count: int,
    raw: bool,
    options: dict[str, Any],
) -> None:
    """Print the first requests on stdout and the summary on stderr."""
    import sqlite3
    from contextlib import closing

    from ..jobs.new_job import settled

    table = inherit(conn, db, table, options)
    with closing(sqlite3.connect("", isolation_level=None)) as private:
        own = Own()
        table = own.take(private, table, options, there=conn)
        with settled(
            conn,
            table,
            options,
            needs_key=False,
            fresh=own.loaded is not None,
            typed=typed_of(options),
            rows=own.loaded.conn if own.loaded else None,
        ) as asked:
            show_plan(conn, asked.plan, asked.place, count, raw)


def show_plan(conn: sqlite3.Connection, plan: Plan, place: Place, count: int, raw: bool) -> None:
    """Print a plan's first requests and its summary."""
    from ..jobs.plan.conflicts import check_writable
    from ..jobs.plan.prepare import glance, survey
    from ..jobs.plan.words import all_blank, all_warnings, nothing_to_ask, preview_warnings
    from ..provider.places import unreachable
    from .screens.plan import glance_screen, request_lines, summary_screen

    counting = Counting()
    about = glance(conn, plan)

    def first_ones(shown: list[Rendered], asked: int, word: str = "") -> None:
        for number, rendered in enumerate(shown, 1):
            if raw:
                give(rendered.line.decode(), nl=False, json=True)
            else:
                show(request_lines(plan, rendered, number, asked, word))

    def at_once(shown: list[Rendered]) -> None:
        if about is not None:
            first_ones(shown, about.asked, "about ")
            tell_glance()

    def tell_glance() -> None:
        assert about is not None
        if count and not raw:
            talk()
        talk(glance_screen(plan, about, place))
        talk("Counting all rows …")

    if about is not None and not count:
        tell_glance()
    tally, shown = survey(
        conn,
        plan,
        count,
        shows=at_once,
        told=lambda rows: counting.told(f"{rows:,} rows read") if about else None,
    )
    counting.end()
    if about is None:
        first_ones(shown, tally.asked)
    if tally.rows == 0:
        talk(nothing_to_ask(plan))
        return
    if tally.requests == 0:
        talk(all_blank(plan, tally))
        return
    if shown and not raw:
        talk()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    talk(summary_screen(conn, plan, tally, place, free))
    warnings = [*all_warnings(plan, tally), *preview_warnings(plan, tally, place, free)]
    for warning in [*warnings, *unreachable(place)]:
        talk(f"Warning: {warning}")
    # A table that the lines of a file would go to may not be there yet.
    check_writable(conn if plan.output.table else plan.source.conn, plan)
    talk(f"\nNothing was sent. {next_words(tally, plan)}")


def next_words(tally: Tally, plan: Plan) -> str:
    """What to do next: not the same, where the ceiling would refuse it."""
    from ..base.errors import CeilingError
    from ..pricing.ceiling import check_ceiling

    try:
        if tally.estimate is not None:
            check_ceiling(tally.estimate, plan.model, own_lines=plan.ask.lines is not None)
    except CeilingError as error:
        if error.cap is None:
            return "It can't be run below this ceiling."
        return f"Next: run with the same options and -o max_tokens {error.cap}."
    return "Next: run with the same options."


@click.command("prepare", cls=Command)
@db_argument
@table_argument
@ask_options
@requests_option
def prepare_command(db: str, table: str | None, **options: Any) -> None:
    """Plan a job and store it, and send nothing. Prints the job's id.

    \b
    Example:
      sqlite-utils openai-batch prepare movies.db movies --prompt '{{ title }}'
      sqlite-utils openai-batch submit movies.db
    """
    from ..base.text import COMMAND
    from ..jobs.plan.words import all_warnings
    from ..provider.places import Places
    from .screens.plan import summary_screen

    with (
        opened(db, table, options, keep=True) as (conn, db, table),
        Places(key=options.get("key")) as places,
    ):
        table = inherit(conn, db, table, options)
        made = make_job(conn, db, table, options, places, Own(), sends=False)
        if made is None:
            return
        asked, job, tally = made
        with asked:
            talk(summary_screen(conn, asked.plan, tally, asked.place, None))
        for warning in all_warnings(asked.plan, tally):
            talk(f"Warning: {warning}")
        talk(f"\nNothing was sent. Next: {COMMAND} submit {shlex.quote(db)} {job.id}")
        give(str(job.id))


def make_job(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    options: dict[str, Any],
    places: Places,
    own: Own,
    *,
    sends: bool = True,
) -> tuple[Asked, Job, Tally] | None:
    """Store a job of options, with progress at a terminal. None where there is nothing to ask.

    `own` has the lines of a file, which are taken out again where there is no job.
    """
    from ..base.errors import NothingToAsk
    from ..jobs.new_job import settled, store_job

    table = own.take(conn, table, options)
    asked = None
    try:
        fresh = own.loaded is not None
        asked = settled(conn, table, options, fresh=fresh, typed=typed_of(options))
        job, tally = store_job(
            conn,
            db,
            asked,
            places,
            sends=sends,
            told=Progress().told,
            progress=Preparing().told,
        )
    except BaseException as error:
        if asked is not None:
            asked.close()
        own.undo()
        if isinstance(error, NothingToAsk):
            talk(str(error))
            return None
        raise
    return asked, job, tally


class Preparing:
    """Says how many rows were read: over the same line, without a terminal once a minute."""

    def __init__(self) -> None:
        self.counting = Counting()

    def told(self, rows: int) -> None:
        """Hear how many there are so far."""
        if sys.stderr.isatty():
            talk_over(f"Preparing {rows:,} rows", back=True)
        else:
            self.counting.told(f"Preparing {rows:,} rows")


@click.command("run", cls=Command)
@db_argument
@table_argument
@ask_options
@requests_option
@poll_option
@option("--no-wait", is_flag=True, section="Where it runs", help="Leave after the first sends")
@option("--dry-run", is_flag=True, section="Where it runs", help="The same as preview")
@option("--csv-out", metavar="FILE", section="Answers",
        help="At the end, write the rows with their answers to this CSV file")  # fmt: skip
@yes_option
def run_command(
    db: str,
    table: str | None,
    poll: float | None,
    no_wait: bool,
    dry_run: bool,
    csv_out: str | None,
    yes: bool,
    **options: Any,
) -> None:
    """Ask about each row: prepare, confirm, send, wait, write the answers back.

    Stop it at any moment; 'watch' or 'sync' goes on. In place of DB a CSV file or a
    folder of PDFs, sound, images or text may stand: a database is made beside it.

    \b
    Example:
      sqlite-utils openai-batch run movies.db movies \\
        --prompt '{{ title }}: {{ overview }}' --schema 'categories list, summary'
    """
    from ..provider.places import Places

    check_csv_out(csv_out, db, no_wait)
    if not dry_run and is_brought(db):
        # Before a database is made of it; of a database `run` itself sees to that.
        check_may_send(yes, options.get("max_cost"), at_terminal())
    with (
        opened(db, table, options, keep=not dry_run, yes=yes) as (conn, db, table),
        Places(key=options.get("key")) as places,
    ):
        if dry_run:
            preview(conn, db, table, 3, False, options)
            return
        run(conn, db, table, options, places, poll=poll, no_wait=no_wait, yes=yes, csv_out=csv_out)


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
    csv_out: str | None = None,
) -> None:
    """The whole way of a job, for `run` and `demo`."""
    from ..base.errors import CeilingError
    from ..jobs.new_job import approve, discard
    from ..jobs.plan.words import all_warnings
    from .follow import follow
    from .screens.plan import confirmation

    can_ask = at_terminal()
    table = inherit(conn, db, table, options)
    check_may_send(yes, options.get("max_cost"), can_ask)
    typed, own = dict(options), Own()
    try:
        made = make_job(conn, db, table, options, places, own)
    except CeilingError as error:
        if error.cap is None or yes or not can_ask or not capped(typed, error):
            raise
        made = make_job(conn, db, table, typed, places, own)
    if made is None:
        return
    asked, job, tally = made
    asked.close()
    plan = asked.plan
    for warning in all_warnings(plan, tally):
        talk(f"Warning: {warning}")
    if tally.asked and not yes and can_ask:
        talk(confirmation(job, plan, asked.place, tally, db))
        try:
            agreed = confirm("Send?")
        except KeyboardInterrupt:
            discard(conn, job)
            own.undo()
            talk("Nothing was sent.")
            raise click.exceptions.Exit(INTERRUPTED) from None
        if not agreed:
            discard(conn, job)
            own.undo()
            talk("Nothing was sent.")
            return
    try:
        follow(conn, db, [approve(conn, job)], places, poll=poll, once=no_wait)
    except click.exceptions.Exit as ended:
        if csv_out is not None and ended.exit_code == FAILED_REQUESTS:
            write_csv_out(conn, job.id, csv_out)
        raise
    if csv_out is not None:
        write_csv_out(conn, job.id, csv_out)


def at_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


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
