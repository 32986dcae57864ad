"""`try`: a few rows now, before the big run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from .bring import opened
from .click_ext import FAILED_REQUESTS, INTERRUPTED, Command, option, show, talk
from .options import (
    ask_options,
    check_may_send,
    db_argument,
    inherit,
    table_argument,
    typed_of,
    yes_option,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from ..jobs.plan.plan import Plan
    from ..jobs.trial import Tried
    from ..pricing.prices import Prices
    from ..provider.places import Place, Places


@click.command("try", cls=Command)
@db_argument
@table_argument
@ask_options
@option("-n", "--count", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
        help="Rows to ask")  # fmt: skip
@option("--save", metavar="NAME",
        help="Keep the answers, as a finished job of that name")  # fmt: skip
@yes_option
def try_command(
    db: str, table: str | None, count: int, save: str | None, yes: bool, **options: Any
) -> None:
    """Ask a few rows now, without a batch, and print what they answer.

    The same rows each time, at the price of single requests. Nothing is written, unless --save.

    \b
    Example:
      sqlite-utils openai-batch try movies.db movies -n 5 \\
        --prompt '{{ title }}: {{ overview }}' --schema 'categories list, summary'
    """
    from ..provider.places import Places

    can_ask = sys.stdin.isatty() and sys.stderr.isatty()
    with (
        opened(db, table, options, keep=save is not None, yes=yes) as (conn, db, table),
        Places(key=options.get("key")) as places,
    ):
        table = inherit(conn, db, table, options)
        check_may_send(yes, options.get("max_cost"), can_ask)
        try_rows(conn, table, count, save, options, places)


def try_rows(
    conn: sqlite3.Connection,
    table: str | None,
    count: int,
    save: str | None,
    options: dict[str, Any],
    places: Places,
) -> None:
    """Choose rows, ask them, say what they answered and what all rows would cost."""
    from ..base.scratch import sweep
    from ..jobs.new_job import settled, trying
    from ..jobs.plan.prepare import estimated
    from ..jobs.plan.words import nothing_to_ask
    from ..jobs.trial import choose, remember
    from ..tables.output import check_output
    from .screens.text import Progress
    from .screens.trial import tell

    sweep()
    if save is not None:
        options["name"] = save
    with settled(conn, table, options, typed=typed_of(options)) as asked:
        plan = asked.plan
        tally, rows = choose(plan, count)
        if not rows:
            talk(nothing_to_ask(plan))
            return
        found = estimated(conn, plan, tally)
        if save is not None:
            check_output(conn, plan.source, plan.output)
        with trying(asked, places, rows, Progress().told) as (uid, prices, answers):
            began = time.monotonic()
            tried, stopped = show_answers(plan, answers, len(rows))
            tell(tried, len(rows), plan, found, prices, time.monotonic() - began)
            remember(plan, asked.place, tried)
            if save is not None and tried:
                keep(conn, plan, tried, asked.place, uid, prices)
            else:
                talk("\nNothing was written. Next: run with the same options.")
    if stopped:
        raise click.exceptions.Exit(INTERRUPTED)
    if any(one.outcome.status != "ok" for one in tried):
        raise click.exceptions.Exit(FAILED_REQUESTS)


def show_answers(plan: Plan, answers: Iterator[Tried], count: int) -> tuple[list[Tried], bool]:
    """Print each row's answer as it comes. Returns them, and whether Ctrl-C came first."""
    from .screens.trial import answer_lines

    tried: list[Tried] = []
    try:
        for one in answers:
            tried.append(one)
            show(answer_lines(plan, one, len(tried), count))
    except KeyboardInterrupt:
        return tried, True
    return tried, False


def keep(
    conn: sqlite3.Connection,
    plan: Plan,
    tried: Sequence[Tried],
    place: Place,
    uid: str,
    prices: Prices | None,
) -> None:
    """Keep the answers as a job, and say which."""
    from ..jobs.trial import save

    job = save(
        conn,
        plan,
        tried,
        uid=uid,
        provider=place.provider,
        base_url=place.base_url,
        account=place.account,
        prices=prices,
    )
    names = ", ".join(f"{plan.output.table or plan.source.name}.{n}" for n in plan.output.names)
    written = f", written to {names}" if plan.output.write else ""
    talk(f"\nKept as job {job.id} ({job.name}){written}.")
    talk("Next: run with the same options and --missing.")
