"""Requests in, pages out."""

from __future__ import annotations

from typing import Any

from datasette import Forbidden, NotFound, Response
from datasette.utils import tilde_decode

from . import compat, urls
from .lists import listing


async def database_of(datasette: Any, request: Any) -> Any:
    """The database that the address names, where the actor may see it.

    Raises NotFound where there is none, Forbidden where it is hidden from the actor.
    """
    route = tilde_decode(request.url_vars["database"])
    try:
        db = datasette.get_database(route=route)
    except KeyError:
        raise NotFound(f"Database not found: {route}") from None
    if not await compat.may_view_database(datasette, request.actor, db.name):
        raise Forbidden("view-database")
    return db


async def render(datasette: Any, request: Any, template: str, **context: Any) -> Response:
    """A page of this plugin, in Datasette's own look."""
    context["openai_batch_css"] = urls.static(datasette, "openai_batch.css")
    html = await datasette.render_template(f"openai_batch/{template}", context, request=request)
    return Response.html(html)


def number(request: Any, name: str) -> int | None:
    """A whole number from the query string; anything else counts as absent."""
    text = request.args.get(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def all_jobs_page(datasette: Any, request: Any) -> Response:
    """The newest jobs of every database that the actor may see."""
    if not await compat.may_view_instance(datasette, request.actor):
        raise Forbidden("view-instance")
    found = []
    for db in list(datasette.databases.values()):
        if await compat.may_view_database(datasette, request.actor, db.name):
            found.append(await listing(datasette, db, request.actor, limit=10))
    return await render(
        datasette,
        request,
        "all_jobs.html",
        listings=[shown for shown in found if shown.lines or shown.trouble],
        empty=[shown for shown in found if not shown.lines and not shown.trouble],
    )


async def jobs_page(datasette: Any, request: Any) -> Response:
    """The jobs of one database, newest first."""
    db = await database_of(datasette, request)
    status = request.args.get("_status") or None
    table = request.args.get("_table") or None
    before = number(request, "_before")
    found = await listing(datasette, db, request.actor, status=status, table=table, before=before)
    return await render(
        datasette,
        request,
        "jobs.html",
        database=db.name,
        listing=found,
        status=status,
        table=table,
        chosen=bool(status or table or before),
    )
