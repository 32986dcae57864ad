"""See the jobs of sqlite-utils-openai-batch in Datasette, take their results away, mend them.

Datasette imports this module for each of its commands, so it holds the hooks and nothing else;
hooks that only one line of Datasette has are in `compat`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from datasette import hookimpl

from .compat import LINE_HOOKS

# Datasette finds hooks by name in this module.
globals().update(LINE_HOOKS)

Links = Callable[[], Awaitable[list[dict[str, str]]]]


@hookimpl  # type: ignore[untyped-decorator]
def register_routes() -> list[tuple[str, Callable[..., Any]]]:
    """Every page and file of this plugin."""
    from .routes import ROUTES

    return ROUTES


@hookimpl  # type: ignore[untyped-decorator]
def skip_csrf(scope: Any) -> bool:
    """Webhooks carry a signature instead of a token."""
    return bool(scope["path"].endswith("/-/openai-batch/webhook"))


@hookimpl  # type: ignore[untyped-decorator]
def asgi_wrapper() -> Callable[[Any], Any]:
    """What an actor may see is found out once in each request."""
    from .access.permissions import remembering

    return remembering


@hookimpl  # type: ignore[untyped-decorator]
def menu_links(datasette: Any, actor: Any) -> Links:
    """The page over all databases, in Datasette's menu."""
    from .pages.on_datasette import instance_links

    return lambda: instance_links(datasette, actor)


@hookimpl  # type: ignore[untyped-decorator]
def database_actions(datasette: Any, actor: Any, database: str) -> Links:
    """A database's jobs, in the menu of its page."""
    from .pages.on_datasette import database_links

    return lambda: database_links(datasette, actor, database)


@hookimpl  # type: ignore[untyped-decorator]
def table_actions(datasette: Any, actor: Any, database: str, table: str) -> Links:
    """The jobs over a table, in the menu of its page."""
    from .pages.on_datasette import table_links

    return lambda: table_links(datasette, actor, database, table)
