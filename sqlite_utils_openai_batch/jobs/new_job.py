"""A new job: what is asked for, looked at, tried, prepared or run. No command line is needed.

The commands, the pages of Datasette and programs in Python come through here. Options are those of
`plan.options`, all of them: `complete` adds what wasn't given.

    with settled(conn, "movies", complete({"prompt": "{{ title }}"})) as asked, Places() as places:
        tally, requests = survey(conn, asked.plan, 3)               # what it would ask and cost
        answers = list(try_rows(asked, places, requests))           # a few rows, now
        job, tally = store_job(conn, "movies.db", asked, places)    # prepared, not approved
    run(conn, "movies.db", job, Places())                           # approved, sent, waited for
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from .. import store
from ..base.errors import NothingToAsk
from ..pricing.prices import Prices
from ..provider.places import (
    Place,
    Places,
    Told,
    check_model,
    check_place,
    forget_local,
    look_at_place,
    open_place,
    place_without_key,
    read_place,
)
from ..requests.images import check_named
from ..store import Job
from ..store.connection import transaction
from .plan.ask import DEFAULT_MODEL, Ask, read_ask
from .plan.conflicts import check_free
from .plan.options import keep, take_lines
from .plan.plan import Plan, settle
from .plan.prepare import prepare, survey
from .plan.render import Rendered, Tally
from .plan.words import all_blank, nothing_to_ask
from .sync.engine import approve
from .sync.watch import Followed, follow
from .sync.watch import Told as ToldOfPass
from .trial import Tried, ask_rows, check_bound, prices_now

__all__ = [
    "Asked",
    "approve",
    "discard",
    "follow",
    "run",
    "settled",
    "store_job",
    "survey",
    "try_rows",
]


@dataclass
class Asked:
    """What options ask for, checked against the database; `close` it at the end."""

    ask: Ask
    place: Place
    plan: Plan
    recipe: dict[str, Any]
    """The options as a job keeps them."""

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what was read for it."""
        self.plan.close()


def settled(
    conn: sqlite3.Connection,
    table: str | None,
    options: dict[str, Any],
    *,
    needs_key: bool = True,
    files: bool = True,
    fresh: bool = False,
    typed: Collection[str] = (),
    rows: sqlite3.Connection | None = None,
) -> Asked:
    """Check all that can be checked before a row is read. Writes nothing. Raises OpenAIBatchError.

    `options` are those of `plan.options.complete`, and are used up. A look needs no key; what a
    browser sent (`files`) is never the name of a file; `typed` are the options that were given by
    this very command. `fresh` lines of a file were just checked; they are in `rows` where they
    are only looked at.
    """
    if not files:
        check_named(options.get("image_dir"))
    recipe = keep(table, options, files=files)
    options["lines"], options["fresh"] = take_lines(options), fresh
    place = read_place(options) if needs_key else place_without_key(options)
    options.pop("key", None)
    ask = replace(read_ask(table, options, place, typed), files=files)
    store.check_version(conn)
    plan = settle(conn, ask, default_model=place.default_model or DEFAULT_MODEL, rows=rows)
    return Asked(ask, place, plan, recipe)


def store_job(
    conn: sqlite3.Connection,
    file: str,
    asked: Asked,
    places: Places,
    *,
    uid: str | None = None,
    sends: bool = True,
    told: Told | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Job, Tally]:
    """Check everything, then store a job of it: prepared, not approved. Nothing is sent.

    Where nothing `sends` it now, a server that can't be reached is only warned of, in the
    warnings of the plan. `progress` hears how many rows were read. Raises NothingToAsk, and
    OpenAIBatchError for what is wrong; then nothing is left.
    """
    plan, place = asked.plan, asked.place
    if plan.at_most() == 0:
        raise NothingToAsk(nothing_to_ask(plan))
    check_free(conn, plan, file)
    uid = uid or store.new_uid()
    if sends:
        answers, warnings = True, check_place(place, places, uid, told)
    else:
        answers, warnings = look_at_place(place, places, uid, told)
    plan.warnings += warnings
    if answers:
        plan.warnings += check_model(place, places, plan.model)
    whole = plan.whole()
    chosen = {} if whole is None else {"source_rows": whole}
    job, tally = prepare(
        conn,
        plan,
        uid=uid,
        provider=place.provider,
        base_url=place.base_url,
        account=place.account or None,
        settings={**place.settings, **chosen, "recipe": asked.recipe},
        progress=progress,
    )
    if job.requests == 0:
        discard(conn, job)
        raise NothingToAsk(all_blank(plan, tally))
    return job, tally


def discard(conn: sqlite3.Connection, job: Job) -> None:
    """Drop a job that was never approved."""
    with transaction(conn):
        store.drop_job(conn, job.id)
    forget_local(job.uid)


@contextmanager
def trying(
    asked: Asked, places: Places, rows: Sequence[Rendered], told: Told | None = None
) -> Iterator[tuple[str, Prices | None, Iterator[Tried]]]:
    """Ask some rows now, without a batch: their uid, prices, and the answers as they come.

    Raises UsageError where they might cost more than --max-cost, and OpenAIBatchError where nobody
    answers.
    """
    plan, place, uid = asked.plan, asked.place, store.new_uid()
    prices = prices_now(plan, place)
    check_bound(plan, [row.line for row in rows], prices)
    try:
        check_place(place, places, uid, told)
        plan.warnings += check_model(place, places, plan.model)
        yield uid, prices, ask_rows(open_place(place, places, uid), plan, rows)
    finally:
        places.close()
        forget_local(uid)


def try_rows(asked: Asked, places: Places, rows: Sequence[Rendered]) -> list[Tried]:
    """`trying`, and wait for all of the answers."""
    with trying(asked, places, rows) as (_, _, answers):
        return list(answers)


def run(
    conn: sqlite3.Connection,
    job: Job,
    places: Places,
    *,
    poll: float | None = None,
    wait: bool = True,
    told: ToldOfPass | None = None,
) -> Followed:
    """Approve a job (which may cost money now), send it, and wait for its answers.

    Without `wait` it is sent, as far as it fits, and left to `follow`. `told` hears of each pass.
    """
    return follow(conn, [approve(conn, job)], places, poll=poll, once=not wait, told=told)
