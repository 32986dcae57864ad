"""What every page reads of a request first, and how a page is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

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


# The fields of a form, as they came.

#: Fields that a form may have.
MOST = 2_000


class Typed:
    """The fields of a form as they came."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self.values = {name: list(found) for name, found in values.items()}

    def one(self, name: str) -> str:
        """The text of a field, without the spaces around it; empty where it wasn't there."""
        found = self.values.get(name)
        return found[-1].replace("\r\n", "\n").strip() if found else ""

    def all(self, name: str) -> list[str]:
        """The texts of a field that may come several times."""
        return [value.strip() for value in self.values.get(name, [])]

    def ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.one(name).lower() not in ("", "0", "off", "false", "no")


async def posted(request: Any) -> Typed:
    """The form that a request posts."""
    return read_fields(await request.post_body())


def read_fields(body: bytes) -> Typed:
    """The fields in the body of a form. Raises ValueError where there are too many."""
    text = body.decode("utf-8", "replace")
    return Typed(parse_qs(text, keep_blank_values=True, max_num_fields=MOST))


def in_address(request: Any) -> Typed:
    """The same of its address, for forms that only look."""
    return Typed({name: request.args.getlist(name) for name in request.args})
