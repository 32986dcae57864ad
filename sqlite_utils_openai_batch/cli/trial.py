"""`try`: a few rows now, before the big run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from ..base.text import counted
from .bring import opened
from .click_ext import FAILED_REQUESTS, INTERRUPTED, Command, option, show, talk
from .destination import check_place, read_place
from .options import (
    ask_options,
    check_may_send,
    check_model,
    db_argument,
    inherit,
    read_ask,
    table_argument,
    yes_option,
)
from .run import model_default, nothing_to_ask
from .screens.trial import answer_lines, tell

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ..jobs.plan.plan import Plan
    from ..jobs.trial import Tried
    from ..pricing.prices import Prices
    from ..provider.client import Provider
    from ..provider.places import Places
    from .destination import Place


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
    from .. import store
    from ..base.scratch import sweep
    from ..jobs.plan.plan import settle
    from ..jobs.plan.prepare import estimated
    from ..jobs.trial import choose
    from ..provider.places import forget_local
    from ..tables.output import check_output

    sweep()
    place = read_place(options)
    options.pop("key")
    if save is not None:
        options["name"] = save
    store.check_version(conn)
    plan = settle(conn, read_ask(table, options, place), **model_default(place))
    uid = store.new_uid()
    try:
        tally, rows = choose(plan, count)
        if not rows:
            talk(nothing_to_ask(plan))
            return
        found = estimated(conn, plan, tally)
        if save is not None:
            check_output(conn, plan.source, plan.output)
        prices = prices_now(plan, place)
        check_bound(plan, [row.line for row in rows], prices)
        check_place(place, places, uid)
        check_model(place, places, plan)
        began = time.monotonic()
        tried, stopped = ask_and_show(open_place(place, places, uid), plan, rows)
        tell(tried, len(rows), plan, found, prices, time.monotonic() - began)
        remember(plan, place, tried)
        if save is not None and tried:
            keep(conn, plan, tried, place, uid, prices)
        else:
            talk("\nNothing was written. Next: run with the same options.")
    finally:
        plan.close()
        places.close()
        forget_local(uid)
    if stopped:
        raise click.exceptions.Exit(INTERRUPTED)
    if any(one.outcome.status != "ok" for one in tried):
        raise click.exceptions.Exit(FAILED_REQUESTS)


def remember(plan: Plan, place: Place, tried: Sequence[Tried]) -> None:
    """Keep, beside the database, whether the answers were good: then `run` needs no first part."""
    from ..jobs.first_part import remember_try
    from ..jobs.plan.prepare import question

    ok = sum(one.outcome.status == "ok" for one in tried)
    key = question(plan, place.provider, place.base_url)
    remember_try(key, plan.template.hash, ok, len(tried))


def prices_now(plan: Plan, place: Place) -> Prices | None:
    """What single requests cost; None where nothing is paid, or that isn't known."""
    from ..pricing.prices import full_prices
    from ..provider.client import OPENAI_URL

    money = plan.ask.money
    if money.own or money.prices is None or not money.prices.model:
        return None
    base_url = place.base_url or OPENAI_URL
    model = money.prices.model
    return full_prices(model, base_url) or full_prices(model, OPENAI_URL)


def check_bound(plan: Plan, lines: Sequence[bytes], prices: Prices | None) -> None:
    """Raise UsageError where the rows of this try might cost more than --max-cost."""
    from ..base.errors import UsageError
    from ..pricing.ceiling import PartBound
    from ..pricing.prices import usd

    money = plan.ask.money
    if money.max_cost is None or money.own:
        return
    # Stated prices are those of a batch. OpenAI and Azure sell single requests at twice that.
    stated = money.prices if prices is None else prices
    assert stated is not None
    factor = 2 if prices is None else 1
    models = (plan.model, *([money.price_as] if money.price_as else []))
    bound = PartBound(
        stated, money.counter(plan.model), plan.template.endpoint, models, money.window
    )
    for line in lines:
        bound.add(line)
    most = bound.count().nanousd
    if most is None or most * factor > money.max_cost:
        may = "nothing bounds" if most is None else f"up to {usd(most * factor, up=True)} is"
        raise UsageError(
            f"{may[0].upper()}{may[1:]} what {counted(len(lines), 'row')} may cost now, and the "
            f"ceiling is {usd(money.max_cost)}. Ask fewer with -n, or cap the answers "
            "with -o max_tokens."
        )


def open_place(place: Place, places: Places, uid: str) -> Provider:
    """The provider that `check_place` found in order."""
    from ..provider.accounts import LOCAL, destination

    if place.provider == LOCAL:
        return places.local(uid, place.base_url, place.settings)
    return places.remote(destination(place.base_url, places.key, place.provider))


def ask_and_show(provider: Provider, plan: Plan, rows: Sequence[Any]) -> tuple[list[Tried], bool]:
    """Print each row's answer as it comes. Returns them, and whether Ctrl-C came first."""
    from ..jobs.trial import ask_rows

    tried: list[Tried] = []
    try:
        for one in ask_rows(provider, plan, rows):
            tried.append(one)
            show(answer_lines(plan, one, len(tried), len(rows)))
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
