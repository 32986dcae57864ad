"""`preview`: requests as they would be sent, and what all of them would cost."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import click

from .framework import Command, option, talk
from .like import inherit
from .options import ask_options, db_argument, read_ask, table_argument
from .place import read_place

if TYPE_CHECKING:
    import sqlite3

    from ..plan import Plan
    from ..rendering import Tally
    from .place import Place


@click.command("preview", cls=Command)
@db_argument
@table_argument
@ask_options
@option("-n", "--count", type=click.IntRange(min=0), default=3, show_default=True, metavar="N",
        help="Requests to show")  # fmt: skip
@option("--raw", is_flag=True, help="Show them as the lines that are sent")
def preview_command(db: str, table: str | None, count: int, raw: bool, **options: Any) -> None:
    """Show what would be sent, and send nothing.

    \b
    Example:
      sqlite-utils openai-batch preview movies.db movies --prompt '{{ title }}'
    """
    from contextlib import closing

    from ..database import connect

    with closing(connect(db)) as conn:
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
    from ..plan import settle
    from ..prepare import survey
    from ..rivals import check_writable
    from .plan_screen import request_lines, summary_screen

    table = inherit(conn, db, table, options)
    place = place_without_key(options)
    plan = settle(conn, read_ask(table, options, place), **model_default(place))
    try:
        tally, shown = survey(conn, plan, count)
        for number, rendered in enumerate(shown, 1):
            if raw:
                click.echo(rendered.line.decode(), nl=False)
            else:
                click.echo(request_lines(plan, rendered, number, tally.asked))
        if tally.rows == 0:
            talk(nothing_to_ask(plan))
            return
        if tally.requests == 0:
            talk(all_blank(plan, tally))
            return
        if shown and not raw:
            talk()
        free = shutil.disk_usage(tempfile.gettempdir()).free
        talk(summary_screen(plan, tally, place, free, whole_source(plan), **queue(conn, plan)))
        for warning in [*all_warnings(plan, tally), *preview_warnings(plan, tally, place, free)]:
            talk(f"Warning: {warning}")
        check_writable(conn, plan)
        talk(f"\nNothing was sent. {next_words(tally, plan)}")
    finally:
        plan.close()


def next_words(tally: Tally, plan: Plan) -> str:
    """What to do next: not the same, where the ceiling would refuse it."""
    from ..ceiling import check_ceiling
    from ..errors import CeilingError

    try:
        if tally.estimate is not None:
            check_ceiling(tally.estimate, plan.model)
    except CeilingError as error:
        if error.cap is None:
            return "It can't be run below this ceiling."
        return f"Next: run with the same options and -o max_tokens {error.cap}."
    return "Next: run with the same options."


def place_without_key(options: dict[str, Any]) -> Place:
    """The place, also where no key is known yet: `preview` needs none."""
    from ..errors import ConfigurationError
    from .place import Place

    asked = dict(options)
    try:
        return read_place(options)
    except ConfigurationError:
        options.pop("key", None)
        provider = asked["provider"]
        host = "Azure" if provider == "azure" else "api.openai.com"
        return Place(provider, asked.get("base_url"), "", host, "no key yet", "", {})


def model_default(place: Place) -> dict[str, str]:
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
    from .money import queue_figures

    return queue_figures(conn, plan.ask.money, plan.model)


def all_warnings(plan: Plan, tally: Tally) -> list[str]:
    """What to say before anything is paid, about the source and about the money."""
    from .costs import estimate_warnings

    return [*plan.warnings, *(estimate_warnings(tally.estimate, plan) if tally.estimate else ())]


def preview_warnings(plan: Plan, tally: Tally, place: Place, free: int) -> list[str]:
    """What only `preview` can say: `run` asks the server itself, and tries the disk."""
    from ..figures import size

    warnings = []
    money = plan.ask.money
    if place.host == "api.openai.com" and money.prices is None and money.window is None:
        warnings.append(f"no model '{plan.model}' of OpenAI's is known here. Is it spelled so?")
    if tally.largest_part > free:
        warnings.append(
            f"a part takes {size(tally.largest_part)} while it is sent, and {size(free)} are "
            "free where temporary files go. Set TMPDIR, or make parts smaller with --part-bytes."
        )
    return warnings


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
    rows = "The only row" if tally.blank == 1 else f"All {tally.blank:,} rows"
    return (
        f"{rows} of {plan.source.name or 'the query'} {'is' if tally.blank == 1 else 'are'} blank "
        f"in {', '.join(plan.renderer.prompt_columns)}: nothing to ask. "
        "Ask all the same with --blanks send."
    )
