"""All that differs between Datasette 0.65 and 1.0, and nothing else.

0.65 asks plugins with `permission_allowed`; 1.0 has actions and resources as classes. Hooks that
only one line has are in `hooks`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import click
from datasette import hookspecs

# Plugins are imported while Datasette itself is: its hooks are what can be looked at by then.
IS_1_0 = hasattr(hookspecs, "permission_resources_sql")

MANAGE = "openai-batch-manage"
CREATE = "openai-batch-create"
REVIEW = "openai-batch-review"

#: Each permission, with what it lets somebody do.
PERMISSIONS = {
    CREATE: "Start batch jobs, which cost money",
    MANAGE: "Submit, pause, cancel, retry, apply, revert and delete batch jobs",
    REVIEW: "Label rows of batch jobs by hand",
}


# Datasettes whose answers the command line prints.
_printing: WeakSet[Any] = WeakSet()


async def may_view_instance(datasette: Any, actor: Any) -> bool:
    """Whether the actor may see this Datasette at all."""
    if IS_1_0:
        return bool(await datasette.allowed(action="view-instance", actor=actor))
    visible, _ = await datasette.check_visibility(actor, permissions=["view-instance"])
    return bool(visible)


async def may_view_database(datasette: Any, actor: Any, database: str) -> bool:
    """Whether the actor may see a database."""
    if IS_1_0:
        from datasette.resources import DatabaseResource

        return bool(
            await datasette.allowed(
                action="view-database", resource=DatabaseResource(database), actor=actor
            )
        )
    visible, _ = await datasette.check_visibility(
        actor, permissions=[("view-database", database), "view-instance"]
    )
    return bool(visible)


async def may_view_table(datasette: Any, actor: Any, database: str, table: str) -> bool:
    """Whether the actor may see a table or view."""
    if IS_1_0:
        from datasette.resources import TableResource

        return bool(
            await datasette.allowed(
                action="view-table", resource=TableResource(database, table), actor=actor
            )
        )
    visible, _ = await datasette.check_visibility(
        actor,
        permissions=[
            ("view-table", (database, table)),
            ("view-database", database),
            "view-instance",
        ],
    )
    return bool(visible)


async def may_execute_sql(datasette: Any, actor: Any, database: str) -> bool:
    """Whether the actor may run SQL of their own on a database."""
    if IS_1_0:
        from datasette.resources import DatabaseResource

        return bool(
            await datasette.allowed(
                action="execute-sql", resource=DatabaseResource(database), actor=actor
            )
        )
    return bool(
        await datasette.permission_allowed(actor, "execute-sql", resource=database, default=True)
    )


async def may_manage(datasette: Any, actor: Any, database: str) -> bool:
    """Whether the actor may change the jobs of a database: nobody, unless it is granted."""
    return await _granted(datasette, actor, database, MANAGE)


async def may_create(datasette: Any, actor: Any, database: str) -> bool:
    """Whether the actor may start jobs, which spend money: nobody, unless it is granted."""
    return await _granted(datasette, actor, database, CREATE)


async def may_review(datasette: Any, actor: Any, database: str) -> bool:
    """Whether the actor may label rows of the jobs of a database: nobody, unless it is granted."""
    return await _granted(datasette, actor, database, REVIEW)


def actor_id(actor: Any) -> str | None:
    """The name under which what an actor says is kept; None for whoever isn't signed in."""
    found = actor.get("id") if isinstance(actor, dict) else None
    return None if found is None or not str(found).strip() else str(found).strip()


async def _granted(datasette: Any, actor: Any, database: str, action: str) -> bool:
    if IS_1_0:
        from datasette.resources import DatabaseResource

        return bool(
            await datasette.allowed(action=action, resource=DatabaseResource(database), actor=actor)
        )
    return bool(await datasette.permission_allowed(actor, action, resource=database, default=False))


def unwritable(db: Any) -> str | None:
    """Why nothing can be written to a database; None where it can."""
    if not db.is_mutable:
        return "This database is opened as a copy that doesn't change (immutable)."
    if not db.path:
        return "This database is in memory only, so a job has no place to be kept."
    folder = Path(db.path).resolve().parent
    if not (os.access(db.path, os.W_OK) and os.access(folder, os.W_OK)):
        return "This database, or its folder, is read-only for the server."
    return None


def note_printing(datasette: Any) -> None:
    """Remember of a Datasette that was started by `datasette … --get` that it prints text.

    That command decodes whatever comes as UTF-8: other bytes end in a traceback.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("get"):
        _printing.add(datasette)


def prints_text(datasette: Any) -> bool:
    """Whether answers are printed as text, and nothing else can be taken."""
    return datasette in _printing


@contextmanager
def own_connection(datasette: Any, db: Any) -> Iterator[sqlite3.Connection]:
    """A read connection to `db` for one file, opened as Datasette opens its own."""
    conn = db.connect()
    try:
        datasette._prepare_connection(conn, db.name)
        conn.row_factory = None
        conn.text_factory = str
        yield conn
    finally:
        conn.close()
        # Datasette lists every connection that it opened, to close them at its end.
        opened = db._all_connections if IS_1_0 else db._all_file_connections
        if conn in opened:
            opened.remove(conn)
