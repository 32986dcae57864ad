"""`run`, `prepare` and `preview`: what asks."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import click

from .bring import check_csv_out, is_brought, opened, write_csv_out
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
from .destination import check_place, look_at_place, read_place
from .options import (
    ask_options,
    check_may_send,
    check_model,
    db_argument,
    inherit,
    poll_option,
    read_ask,
    recipe,
    table_argument,
    yes_option,
)
from .own import Own, requests_option, take_lines

if TYPE_CHECKING:
    import sqlite3

    from ..base.errors import CeilingError
    from ..jobs.plan.plan import Plan
    from ..jobs.plan.render import Tally
    from ..provider.places import Places
    from ..store import Job
    from .destination import Place


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

    from ..jobs.plan.plan import settle

    table = inherit(conn, db, table, options)
    with closing(sqlite3.connect("", isolation_level=None)) as private:
        own = Own()
        table = own.take(private, table, options, there=conn)
        rows = own.loaded.conn if own.loaded else None
        options["fresh"] = own.loaded is not None
        options["lines"] = take_lines(options)
        place = place_without_key(options)
        ask = read_ask(table, options, place)
        plan = settle(conn, ask, **model_default(place), rows=rows)
        show_plan(conn, plan, place, count, raw)


def show_plan(conn: sqlite3.Connection, plan: Plan, place: Place, count: int, raw: bool) -> None:
    """Print a plan's first requests and its summary."""
    from ..jobs.plan.conflicts import check_writable
    from ..jobs.plan.prepare import survey
    from .screens.plan import request_lines, summary_screen

    try:
        tally, shown = survey(conn, plan, count)
        for number, rendered in enumerate(shown, 1):
            if raw:
                give(rendered.line.decode(), nl=False, json=True)
            else:
                show(request_lines(plan, rendered, number, tally.asked))
        if tally.rows == 0:
            talk(nothing_to_ask(plan))
            return
        if tally.requests == 0:
            talk(all_blank(plan, tally))
            return
        if shown and not raw:
            talk()
        free = shutil.disk_usage(tempfile.gettempdir()).free
        figures = {**queue(conn, plan), "first": first_words(conn, plan, tally, place)}
        talk(summary_screen(plan, tally, place, free, whole_source(plan), **figures))
        nobody = unreachable(place)
        warnings = [*all_warnings(plan, tally), *preview_warnings(plan, tally, place, free)]
        for warning in [*warnings, *nobody]:
            talk(f"Warning: {warning}")
        # A table that the lines of a file would go to may not be there yet.
        check_writable(conn if plan.output.table else plan.source.conn, plan)
        talk(f"\nNothing was sent. {next_words(tally, plan)}")
    finally:
        plan.close()


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


def place_without_key(options: dict[str, Any]) -> Place:
    """The place, also where no key is known yet: `preview` needs none."""
    from ..base.errors import ConfigurationError
    from .destination import Place

    asked = dict(options)
    try:
        return read_place(options)
    except ConfigurationError as error:
        options.pop("key", None)
        provider = asked["provider"]
        host = "Azure" if provider == "azure" else "api.openai.com"
        lacks = str(error) if provider == "azure" else ""
        return Place(provider, asked.get("base_url"), "", host, "no key yet", "", {}, lacks)


def model_default(place: Place) -> dict[str, Any]:
    """The model where none is named: the local server's, else the package's default."""
    return {"default_model": place.default_model} if place.default_model else {}


def whole_source(plan: Plan) -> int | None:
    """The number of all rows of the source, where only some of them were chosen."""
    ask = plan.ask
    chosen = ask.where is not None or ask.limit is not None or plan.chosen is not None
    return plan.source.total() if chosen else None


def chosen_of(plan: Plan) -> dict[str, int]:
    """What a job keeps of how many rows there were to choose from, where some were chosen."""
    rows = whole_source(plan)
    return {} if rows is None else {"source_rows": rows}


def queue(conn: sqlite3.Connection, plan: Plan) -> dict[str, Any]:
    """The queue limit and the pace of the provider, where this database knows them."""
    from .options import queue_figures

    return queue_figures(conn, plan.ask.money, plan.model)


def first_words(conn: sqlite3.Connection, plan: Plan, tally: Tally, place: Place) -> str | None:
    """What there is to say of the part that goes ahead; None where none does."""
    from ..jobs.first_part import wanted, words
    from ..jobs.plan.prepare import is_shown

    asked = wanted({"first_part": plan.ask.first_part, "first_wait": plan.ask.first_wait})
    limit, found = queue(conn, plan)["limit"], tally.estimate
    cut = bool(limit and found and (found.input.tokens or 0) * 2 > limit)
    parts = 2 if cut else tally.parts
    shown = is_shown(conn, plan, place.provider, place.base_url) if parts > 1 else None
    return words(asked, parts, tally.first_requests, shown)


def all_warnings(plan: Plan, tally: Tally) -> list[str]:
    """What to say before anything is paid, about the source and about the money."""
    from .screens.estimate import estimate_warnings

    estimated = estimate_warnings(tally.estimate, plan) if tally.estimate else ()
    return [*plan.warnings, *capital_warnings(plan), *estimated]


def capital_warnings(plan: Plan) -> list[str]:
    """What to say of a model's name with capitals, which OpenAI's models haven't.

    Prices are found all the same, so nothing else tells.
    """
    from ..requests.body import elsewhere

    ask, model = plan.ask, plan.model
    small = model.lower()
    if (
        model == small
        or model.startswith("ft:")
        or ask.provider != "openai"
        or elsewhere(ask.provider, ask.money.base_url)
    ):
        return []
    return [f"OpenAI has no model '{model}', its names have no capitals. Did you mean {small}?"]


def preview_warnings(plan: Plan, tally: Tally, place: Place, free: int) -> list[str]:
    """What only `preview` can say: `run` asks the server itself, and tries the disk."""
    from ..base.text import meant, size
    from ..pricing.prices import known_models

    warnings = []
    money = plan.ask.money
    if place.host == "api.openai.com" and money.prices is None and money.window is None:
        near = meant(plan.model, known_models()) or "Is it spelled so?"
        warnings.append(f"no model '{plan.model}' of OpenAI's is known here. {near.strip()}")
    if tally.largest_part > free:
        warnings.append(
            f"a part takes {size(tally.largest_part)} while it is sent, and {size(free)} are "
            "free where temporary files go. Set TMPDIR, or make parts smaller with --part-bytes."
        )
    return warnings


def unreachable(place: Place) -> list[str]:
    """What to warn of where nobody can be reached at the place, or it isn't known where that is."""
    from ..provider.client import OPENAI_URL, why_unreachable

    if place.lacks:
        return [place.lacks]
    if not place.account or (place.provider == "local" and place.base_url is None):
        return []
    why = why_unreachable(place.base_url or OPENAI_URL)
    return [] if why is None else [why]


def nothing_to_ask(plan: Plan) -> str:
    """The sentence for a source without rows."""
    name = plan.source.name or "the query"
    if plan.ask.changed:
        return f"Nothing in {name} has changed since it was asked: nothing to ask."
    if plan.ask.missing:
        return f"No row of {name} lacks an answer that it could still get: nothing to ask."
    if plan.ask.where or plan.ask.limit is not None:
        return f"No rows of {name} match: nothing to ask."
    return f"{name} has no rows: nothing to ask."


def all_blank(plan: Plan, tally: Tally) -> str:
    """The sentence for a source none of whose rows has anything to ask about."""
    one = tally.blank == 1
    if whole_source(plan) not in (None, tally.blank):
        rows = "The one chosen row" if one else f"All {tally.blank:,} chosen rows"
    else:
        rows = "The only row" if one else f"All {tally.blank:,} rows"
    return (
        f"{rows} of {plan.source.name or 'the query'} {'is' if one else 'are'} blank "
        f"in {', '.join(plan.renderer.prompt_columns)}: nothing to ask. "
        "Ask all the same with --blanks send."
    )


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
    from ..provider.places import Places
    from ..results.words import COMMAND
    from .screens.plan import summary_screen

    with (
        opened(db, table, options, keep=True) as (conn, db, table),
        Places(key=options.get("key")) as places,
    ):
        made = make_job(conn, db, table, options, places, sends=False)
        if made is None:
            return
        job, plan, tally, place = made
        figures = {**queue(conn, plan), "first": first_words(conn, plan, tally, place)}
        talk(summary_screen(plan, tally, place, None, whole_source(plan), **figures))
        plan.close()
        for warning in all_warnings(plan, tally):
            talk(f"Warning: {warning}")
        talk(f"\nNothing was sent. Next: {COMMAND} submit {shlex.quote(db)} {job.id}")
        give(str(job.id))


def make_job(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    options: dict[str, Any],
    places: Places,
    own: Own | None = None,
    *,
    sends: bool = True,
) -> tuple[Job, Plan, Tally, Place] | None:
    """Check everything, then store the job. None where there is nothing to ask.

    Where nothing `sends` it now, a server that can't be reached is only warned of. `own` has the
    lines of a file, in case the job is dropped again.
    """
    table = inherit(conn, db, table, options)
    own = own or Own()
    table = own.take(conn, table, options)
    made = None
    try:
        made = store_job(
            conn, db, table, options, places, sends=sends, fresh=own.loaded is not None
        )
    finally:
        if made is None:
            own.undo()
    return made


def store_job(
    conn: sqlite3.Connection,
    db: str,
    table: str | None,
    options: dict[str, Any],
    places: Places,
    *,
    sends: bool,
    fresh: bool,
) -> tuple[Job, Plan, Tally, Place] | None:
    """The rest of `make_job`, once there is a table; `fresh` lines of a file were just checked."""
    from .. import store
    from ..jobs.plan.conflicts import check_free
    from ..jobs.plan.plan import settle
    from ..jobs.plan.prepare import prepare

    typed = recipe(table, options)
    options["lines"], options["fresh"] = take_lines(options), fresh
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
        if sends:
            answers, warnings = True, check_place(place, places, uid)
        else:
            answers, warnings = look_at_place(place, places, uid)
        plan.warnings += warnings
        if answers:
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
        talk_over(f"Preparing {rows:,} rows", back=True)


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
    from ..jobs.sync.engine import approve
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
            own.undo()
            talk("Nothing was sent.")
            raise click.exceptions.Exit(INTERRUPTED) from None
        if not agreed:
            forget(conn, job)
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


def forget(conn: sqlite3.Connection, job: Job) -> None:
    """Drop a job that was never approved."""
    from .. import store
    from ..provider.places import forget_local
    from ..store.connection import transaction

    with transaction(conn):
        store.drop_job(conn, job.id)
    forget_local(job.uid)
