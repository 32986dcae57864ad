"""What every page reads of a request first, and how a page is answered."""

from __future__ import annotations

from typing import Any

from datasette import Forbidden, NotFound, Response
from datasette.utils import tilde_decode

from .. import compat
from ..text import urls
from .job import Opened, open_job


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
    context["openai_batch_times_js"] = urls.static(datasette, "times.js")
    context["openai_batch_folds_js"] = urls.static(datasette, "folds.js")
    context["openai_batch_lists_js"] = urls.static(datasette, "lists.js")
    html = await datasette.render_template(f"openai_batch/{template}", context, request=request)
    return Response.html(html)


def number(request: Any, name: str) -> int | None:
    """A whole number from the query string; anything else counts as absent."""
    text = request.args.get(name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


async def opened_job(datasette: Any, request: Any) -> Opened:
    """The job that the address names, where the actor may see it."""
    db = await database_of(datasette, request)
    return await open_job(datasette, db, request.actor, int(request.url_vars["job"]))
