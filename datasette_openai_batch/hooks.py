"""The hooks that Datasette calls, those of its 0.65 line and those of 1.0.

0.65 asks plugins with `permission_allowed` and gets metadata from a hook; 1.0 asks for SQL that
describes permissions, and has actions and resources as classes. Each line ignores hooks that it
doesn't know, but only those that exist are defined, so that `datasette plugins` tells the truth.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from datasette import hookimpl

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError

from . import compat
from .access import permissions
from .compat import IS_1_0, PERMISSIONS, note_printing

# True while the permissions of sources are being asked for: the rule about our tables, which
# needs those answers, must not ask again.
_asking = ContextVar("openai_batch_asking", default=False)

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
    """What an actor may see is found out once in a request; forms have a size, and aren't lost."""
    from .access import courtesy, forgery, limits
    from .access.permissions import remembering

    def wrap(app: Any) -> Any:
        inner = remembering(app)

        async def serve(scope: Any, receive: Any, send: Any) -> None:
            most = limits.largest(scope)
            if most is not None:
                read = await limits.bounded(scope, receive, most)
                if read is None:
                    await limits.refuse(send, most)
                    return
                receive = read
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            courtesy.began()
            try:
                if most is None:
                    await inner(scope, receive, send)
                else:
                    await forgery.shown_again(inner, scope, receive, send)
            finally:
                courtesy.ended()

        return serve

    return wrap


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
def table_actions(datasette: Any, actor: Any, database: str, table: str, request: Any) -> Links:
    """The jobs over a table, and a new one, in the menu of its page."""
    from .pages.on_datasette import table_links

    query = request.query_string if request is not None else ""
    return lambda: table_links(datasette, actor, database, table, query)


async def _follow_all(datasette: Any) -> None:
    """Have the jobs brought in by themselves, where the settings say so."""
    from .access.settings import settings_of
    from .actions.follow import follow
    from .new_job.views import resume

    for db in list(datasette.databases.values()):
        try:
            settings = await settings_of(datasette, db.name)
        except OpenAIBatchError:
            # Each page that needs the settings says what is wrong with them.
            continue
        if settings.sync_every is not None and compat.unwritable(db) is None:
            follow(datasette, str(db.path), settings, resume)


# Names and implementations of all hooks; `__init__` publishes them.
HOOKS: dict[str, Any] = {
    "register_routes": register_routes,
    "skip_csrf": skip_csrf,
    "asgi_wrapper": asgi_wrapper,
    "menu_links": menu_links,
    "database_actions": database_actions,
    "table_actions": table_actions,
}


async def _sees_table(datasette: Any, actor: Any, database: str, table: str) -> bool:
    """Whether one of our tables may be shown to an actor, as far as it is for us to say."""
    if not await _sees_all_sources(datasette, actor, database):
        return False
    return table not in permissions.LABELS or await _sees_all_labels(datasette, actor, database)


async def _sees_all_labels(datasette: Any, actor: Any, database: str) -> bool:
    from .access.labels import sees_all_labels

    token = _asking.set(True)
    try:
        return await sees_all_labels(datasette, datasette.databases[database], actor)
    except sqlite3.Error:
        # As above: who can't be shown to be done with labelling isn't.
        return False
    finally:
        _asking.reset(token)


async def _sees_all_sources(datasette: Any, actor: Any, database: str) -> bool:
    from .access.permissions import access, trouble_of

    found = await trouble_of(datasette, datasette.databases[database])
    if found is not None and found.locked:
        return False
    token = _asking.set(True)
    try:
        return (await access(datasette, datasette.databases[database], actor)).everything
    except sqlite3.Error:
        # Locked, damaged, or of a later version: who can't be shown to see all sources doesn't,
        # and every other table of this Datasette stays as it is.
        return False
    finally:
        _asking.reset(token)


if IS_1_0:
    from datasette.permissions import Action, PermissionSQL
    from datasette.resources import DatabaseResource

    @hookimpl  # type: ignore[untyped-decorator]
    def register_actions() -> list[Any]:
        """The permissions to start, to change and to review jobs: denied unless granted."""
        return [
            Action(
                name=name,
                description=description,
                resource_class=DatabaseResource,
                also_requires="view-database",
            )
            for name, description in PERMISSIONS.items()
        ]

    @hookimpl  # type: ignore[untyped-decorator]
    def permission_resources_sql(datasette: Any, actor: Any, action: str) -> Any:
        """Deny our tables to an actor who may not see all the sources."""
        if action != "view-table" or _asking.get():
            return None

        async def inner() -> Any:
            denied = [
                [database, table]
                for database in list(datasette.databases)
                for table in permissions.TABLES
                if not await _sees_table(datasette, actor, database, table)
            ]
            if not denied:
                return None
            return PermissionSQL(
                sql="SELECT json_extract(value, '$[0]') AS parent, "
                "json_extract(value, '$[1]') AS child, 0 AS allow, "
                "'a batch job has a source that this actor may not see' AS reason "
                "FROM json_each(:openai_batch_denied)",
                params={"openai_batch_denied": json.dumps(denied)},
            )

        return inner

    @hookimpl  # type: ignore[untyped-decorator]
    def startup(datasette: Any) -> Any:
        """Keep our tables out of listings, unless the configuration shows them; follow jobs."""
        note_printing(datasette)
        databases = datasette.config.setdefault("databases", {})
        for database in datasette.databases:
            tables = databases.setdefault(database, {}).setdefault("tables", {})
            for table in permissions.TABLES:
                tables.setdefault(table, {}).setdefault("hidden", True)
        return lambda: _follow_all(datasette)

    @hookimpl  # type: ignore[untyped-decorator]
    def top_table(datasette: Any, request: Any, database: str, table: str) -> Any:
        """Above a table: which of its columns a job wrote."""
        from .pages.on_datasette import table_note

        return lambda: table_note(datasette, request, database, table)

    @hookimpl  # type: ignore[untyped-decorator]
    def top_row(datasette: Any, request: Any, database: str, table: str) -> Any:
        """Above a row: what jobs asked about it."""
        from .pages.on_datasette import row_note

        return lambda: row_note(datasette, request, database, table)

    @hookimpl  # type: ignore[untyped-decorator]
    def row_actions(datasette: Any, request: Any, database: str, table: str) -> Any:
        """The jobs that asked about a row, in the menu of its page."""
        from .pages.on_datasette import row_links

        return lambda: row_links(datasette, request, database, table)

    @hookimpl  # type: ignore[untyped-decorator]
    def view_actions(datasette: Any, actor: Any, database: str, view: str, request: Any) -> Any:
        """The jobs over a view, and a new one, in the menu of its page."""
        from .pages.on_datasette import table_links

        query = request.query_string if request is not None else ""
        return lambda: table_links(datasette, actor, database, view, query)

    @hookimpl  # type: ignore[untyped-decorator]
    def query_actions(datasette: Any, actor: Any, database: str, sql: str) -> Any:
        """A new job over the rows of a query, in the menu of its page."""
        from .pages.on_datasette import query_links

        return lambda: query_links(datasette, actor, database, sql)

    @hookimpl  # type: ignore[untyped-decorator]
    def jump_items_sql(datasette: Any, actor: Any) -> Any:
        """The jobs of each database, in the jump menu."""
        from datasette.jump import JumpSQL

        from .pages.on_datasette import jump_links

        async def inner() -> Any:
            return [
                JumpSQL.menu_item(label=link["label"], url=link["href"], description="Batch jobs")
                for link in await jump_links(datasette, actor)
            ]

        return inner

    HOOKS.update(
        register_actions=register_actions,
        permission_resources_sql=permission_resources_sql,
        startup=startup,
        top_table=top_table,
        top_row=top_row,
        row_actions=row_actions,
        view_actions=view_actions,
        query_actions=query_actions,
        jump_items_sql=jump_items_sql,
    )
else:
    from datasette.utils import actor_matches_allow

    def _granted(datasette: Any, actor: Any, action: str, database: str | None) -> bool | None:
        """Whether `permissions` blocks grant the right to start, change or review jobs, as on 1.0.

        0.65 itself reads no such blocks. None where none of them speaks of it.
        """
        blocks = [datasette.metadata("permissions", fallback=False)]
        if database is not None:
            blocks.append(datasette.metadata("permissions", database=database, fallback=False))
        allows = [block[action] for block in blocks if isinstance(block, dict) and action in block]
        return any(actor_matches_allow(actor, allow) for allow in allows) if allows else None

    @hookimpl  # type: ignore[untyped-decorator]
    def startup(datasette: Any) -> Any:
        """Follow the jobs of databases whose settings say so."""
        note_printing(datasette)
        return lambda: _follow_all(datasette)

    @hookimpl(trylast=True)  # type: ignore[untyped-decorator]
    def permission_allowed(datasette: Any, actor: Any, action: str, resource: Any) -> Any:
        """Deny our tables to an actor who may not see all the sources.

        0.65 lets the last hook that has an opinion decide, hence `trylast`.
        """
        if action in PERMISSIONS:
            return _granted(datasette, actor, action, resource)
        if action != "view-table" or _asking.get() or not resource:
            return None
        database, table = resource
        if not permissions.is_ours(table):
            return None

        async def inner() -> bool | None:
            sees = await _sees_table(datasette, actor, database, table.lower())
            return None if sees else False

        return inner

    @hookimpl  # type: ignore[untyped-decorator]
    def get_metadata(datasette: Any) -> dict[str, Any]:
        """Keep our tables out of listings; metadata of the instance's own wins over this."""
        hidden = {"tables": {table: {"hidden": True} for table in permissions.TABLES}}
        return {"databases": dict.fromkeys(datasette.databases, hidden)}

    @hookimpl  # type: ignore[untyped-decorator]
    def prepare_jinja2_environment(env: Any) -> None:
        """Make room for notes on table and row pages, below everybody else's templates.

        0.65 has no hooks for that, but a block that each of these pages includes.
        """
        ours = Path(__file__).parent / "templates" / "openai_batch" / "line_0_65"
        env.loader.loaders[0].searchpath.insert(-1, str(ours))

    @hookimpl  # type: ignore[untyped-decorator]
    def extra_template_vars(
        datasette: Any, request: Any, database: Any, table: Any, view_name: Any
    ) -> Any:
        """The note that a table or row page shows."""
        if request is None or table is None or view_name not in ("table", "row"):
            return {}
        from .pages.on_datasette import row_note, table_note

        async def inner() -> dict[str, Any]:
            note = row_note if view_name == "row" else table_note
            return {"openai_batch_note": await note(datasette, request, database, table)}

        return inner

    HOOKS.update(
        startup=startup,
        permission_allowed=permission_allowed,
        get_metadata=get_metadata,
        prepare_jinja2_environment=prepare_jinja2_environment,
        extra_template_vars=extra_template_vars,
    )
