"""The review of a job: who may, what is shown, and what was said."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from datasette import Forbidden, NotFound, Response

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError, UsageError
from sqlite_utils_openai_batch.results.review.sample import Choice, choose
from sqlite_utils_openai_batch.results.review.turns import Turns
from sqlite_utils_openai_batch.store import reviews

from .. import compat
from ..access import forgery
from ..access.job import Opened, Unavailable
from ..access.request import Typed, in_address, number, opened_job, posted, render
from ..actions import background
from ..text import urls
from .fields import read
from .row import Coder, Screen, asked_for, find_sample, href, kept_sample, place, screen, start

#: Rows that can be drawn at once.
MOST = 100_000
DAY = 86_400.0


async def review(datasette: Any, request: Any) -> Response:
    """One row to label; or which rows. What is said is posted, and kept at once."""
    opened = await opened_job(datasette, request)
    coder = await coder_of(opened, request.actor)
    typed = await posted(request) if request.method == "POST" else in_address(request)
    try:
        if request.method == "POST" and typed.one("do") == "begin":
            return await begin(opened, request, coder, typed)
        if request.method == "POST":
            return await say(opened, request, coder, typed)
        if kept := forgery.refused(request):
            return await again(opened, request, coder, kept)
        if request.args.get("_rows"):
            return await choose_rows(opened, request, coder)
        return await show(opened, request, coder, typed)
    except OpenAIBatchError as error:
        try:
            return await choose_rows(opened, request, coder, str(error))
        except OpenAIBatchError:
            # Embeddings, a locked file: there is nothing to choose from.
            raise Unavailable(str(error)) from error


async def coder_of(opened: Opened, actor: Any) -> Coder:
    """Who labels. Raises Forbidden for whoever may not, and for whom nobody knows."""
    if not await compat.may_review(opened.datasette, actor, opened.db.name):
        raise Forbidden(compat.REVIEW)
    name = compat.actor_id(actor)
    if name is None:
        raise Forbidden("Labels are kept under the name of who gives them: sign in first.")
    why = compat.unwritable(opened.db)
    if why is not None:
        raise Forbidden(f"Nothing can be labelled here. {why}")
    return Coder(name, await compat.may_manage(opened.datasette, actor, opened.db.name))


async def show(opened: Opened, request: Any, coder: Coder, typed: Typed) -> Response:
    """The row that the address names, or the next."""
    wanted = number(request, "_sample")
    row, after = number(request, "_row"), number(request, "_after")

    def look(conn: sqlite3.Connection) -> Screen | None:
        job = store.get_job(conn, opened.job.id)
        sample = find_sample(conn, job, wanted)
        if sample is None:
            return None
        asked = asked_for(conn, job, typed.all("_column"), sample)
        return screen(
            conn, opened, sample, asked, coder,
            number=row, after=after or 0, reveal=typed.ticked("_show"),
        )  # fmt: skip

    try:
        found = await background.in_database(opened.db.path, look)
    except IndexError:
        raise NotFound("No such row in this sample.") from None
    if found is None and wanted:
        raise NotFound(f"No sample {wanted} of job {opened.job.id}.")
    if found is None:
        return await choose_rows(opened, request, coder, "No row has an answer yet.")
    return await page(opened, request, found)


async def again(opened: Opened, request: Any, coder: Coder, typed: Typed) -> Response:
    """The row or the choice whose form was refused for its token, with what was typed."""
    wanted, at = whole(typed.one("sample")), whole(typed.one("row"))

    def look(conn: sqlite3.Connection) -> Screen | None:
        job = store.get_job(conn, opened.job.id)
        sample = find_sample(conn, job, wanted)
        if sample is None or at < 1:
            return None
        asked = asked_for(conn, job, typed.all("column"), sample)
        reveal = typed.ticked("reveal")
        return screen(conn, opened, sample, asked, coder, number=at, reveal=reveal, typed=typed)

    try:
        found = await background.in_database(opened.db.path, look)
    except IndexError:
        found = None
    if found is None:
        return await choose_rows(opened, request, coder, forgery.RELOAD)
    return await page(opened, request, found, trouble=forgery.PRESS)


async def page(
    opened: Opened, request: Any, found: Screen, status: int = 200, trouble: str = ""
) -> Response:
    """The page of a row, or of the end."""
    where = place(found.sample, found.columns)
    at = found.number or 0
    response = await render(
        opened.datasette,
        request,
        "review.html",
        database=opened.db.name,
        job=opened.job,
        found=found,
        trouble=trouble,
        shown_at=int(time.time() * 1000),
        action_href=href(opened),
        back_href=href(opened, *where, ("_row", at - 1)) if at > 1 else None,
        next_href=href(opened, *where, ("_row", at + 1)) if 0 < at < found.total else None,
        reveal_href=href(opened, *where, ("_row", at), ("_show", 1)),
        again_href=href(opened, *where, ("_row", 1)),
        rows_href=href(opened, ("_rows", 1)),
        job_href=urls.job(opened.datasette, opened.db, opened.job.id),
        review_js=urls.static(opened.datasette, "review.js"),
    )
    response.status = status
    response.headers["cache-control"] = "no-store"
    return response


async def say(opened: Opened, request: Any, coder: Coder, typed: Typed) -> Response:
    """Keep what a coder says of a row, and go to the next."""
    wanted, at = whole(typed.one("sample")), whole(typed.one("row"))
    skips = typed.one("do") == "skip"
    if typed.one("do") not in ("save", "skip") or at < 1:
        raise UsageError("Nothing was kept: that form isn't this page's.")
    path = str(opened.db.path)

    def keep(conn: sqlite3.Connection) -> Screen | list[tuple[str, Any]] | None:
        job = store.get_job(conn, opened.job.id)
        sample = find_sample(conn, job, wanted)
        if sample is None:
            return None
        asked = asked_for(conn, job, typed.all("column"), sample)
        reveal = typed.ticked("reveal")
        values, wrong = ({}, {}) if skips else read(asked, typed)
        if wrong:
            return screen(
                conn, opened, sample, asked, coder,
                number=at, reveal=reveal, typed=typed, wrong=wrong,
            )  # fmt: skip
        if not reviews.has_tables(conn):
            store.migrate(conn)
        sample = kept_sample(conn, job, wanted, path)
        if sample is None:
            return None
        turns = Turns(conn, job, sample, asked, coder.name)
        turns.say(
            turns.turn(at, reveal=reveal),
            values,
            note=typed.one("note") or None,
            seconds=taken(typed.one("shown")),
        )
        return place(sample, [one.column for one in asked], after=at)

    try:
        found = await background.in_database(path, keep)
    except IndexError:
        found = None
    if found is None:
        raise NotFound("No such row in this sample: nothing was kept.")
    if isinstance(found, Screen):
        return await page(opened, request, found, 400)
    return Response.redirect(href(opened, *found))


def whole(text: str) -> int:
    """A whole number of a form; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def taken(shown: str) -> float:
    """Seconds since a page was made, as it says itself."""
    seconds = time.time() - whole(shown) / 1000
    return round(min(max(seconds, 0.0), DAY), 1)


async def choose_rows(
    opened: Opened, request: Any, coder: Coder, trouble: str = "", status: int = 200
) -> Response:
    """The page that asks which rows."""
    found = await background.in_database(opened.db.path, lambda conn: start(conn, opened, coder))
    response = await render(
        opened.datasette,
        request,
        "review_rows.html",
        database=opened.db.name,
        job=opened.job,
        found=found,
        trouble=trouble,
        action_href=href(opened),
        job_href=urls.job(opened.datasette, opened.db, opened.job.id),
    )
    response.status = 400 if trouble and request.method == "POST" else status
    return response


async def begin(opened: Opened, request: Any, coder: Coder, typed: Typed) -> Response:
    """Keep which rows are to be labelled, and go to the first."""
    which = typed.one("which") or "random"
    size = whole(typed.one("size"))
    if not 1 <= size <= MOST:
        raise UsageError(f"How many rows? A whole number from 1 to {MOST:,}.")
    other = typed.one("differ")
    if which == "differ" and other != "people" and whole(other) not in opened.visible:
        raise UsageError("Which job? One that is about the same rows.")
    blind = {"": None, "yes": True, "no": False}.get(typed.one("blind"))
    seed = typed.one("seed")
    if which == "random" and not seed.isdecimal():
        raise UsageError("The seed is a whole number: the same one draws the same rows.")
    choice = Choice(
        size=size,
        seed=whole(seed) if which == "random" else None,
        status=typed.one("status") if which == "status" else None,
        least_sure=typed.one("least_sure") if which == "least_sure" else None,
        differ=other if which == "differ" else None,
        blind=blind,
    )
    path = str(opened.db.path)

    def keep(conn: sqlite3.Connection) -> list[tuple[str, Any]]:
        job = store.get_job(conn, opened.job.id)
        asked = asked_for(conn, job, typed.all("column"))
        if other == "people" and which == "differ" and not start(conn, opened, coder).people:
            raise UsageError("Nobody differs yet, or somebody is still labelling.")
        store.migrate(conn)
        sample = choose(conn, job, choice, path)
        return place(sample, [one.column for one in asked])

    return Response.redirect(href(opened, *await background.in_database(path, keep)))
