"""Who may see which job.

A job is readable by an actor who may see its database and every table that it reads or writes:
its source, or each table that its query reads, and the table that its answers go to.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch import store

from .. import compat
from ..data.queries import Head, Place, Trouble, places, trouble

Tables = frozenset[str]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Access:
    """What one actor may see of one database's jobs."""

    allowed: frozenset[Place]
    everything: bool

    def sees(self, job: Head) -> bool:
        """Whether this job may be shown, named or counted."""
        return job.place in self.allowed


# What was found during one request: a page of Datasette's asks about dozens of tables, and each
# answer takes several questions. None outside of a request, where nothing is remembered.
_found: ContextVar[Found | None] = ContextVar("openai_batch_access", default=None)


@dataclass(slots=True)
class Found:
    """What was found during a request, until it ends: what it started may outlive it."""

    access: dict[tuple[int, str, str], Access]
    troubles: dict[tuple[int, str], Trouble | None]
    labels: dict[tuple[int, str, str], bool]
    ended: bool = False


def remembering(app: Asgi) -> Asgi:
    """The application, with what an actor may see found out once in each request."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        found = Found({}, {}, {})
        token = _found.set(found)
        try:
            await app(scope, receive, send)
        finally:
            found.ended = True
            _found.reset(token)

    return serve


async def access(datasette: Any, db: Any, actor: Any) -> Access:
    """What the actor may see of the jobs in `db`."""
    found = _found.get()
    if found is None or found.ended:
        return await find_access(datasette, db, actor)
    key = (id(datasette), db.name, json.dumps(actor, sort_keys=True, default=repr))
    if key not in found.access:
        found.access[key] = await find_access(datasette, db, actor)
    return found.access[key]


async def once(
    datasette: Any, db: Any, actor: Any, ask: Callable[[Any, Any, Any], Awaitable[bool]]
) -> bool:
    """Whether the actor may see what people say in all of `db`: found out once in each request."""
    found = _found.get()
    if found is None or found.ended:
        return await ask(datasette, db, actor)
    key = (id(datasette), db.name, json.dumps(actor, sort_keys=True, default=repr))
    if key not in found.labels:
        found.labels[key] = await ask(datasette, db, actor)
    return found.labels[key]


async def trouble_of(datasette: Any, db: Any) -> Trouble | None:
    """What keeps the jobs of `db` from being shown: found out once in each request, for a lock
    is waited for."""
    found = _found.get()
    if found is None or found.ended:
        return await _trouble(db)
    key = (id(datasette), db.name)
    if key not in found.troubles:
        found.troubles[key] = await _trouble(db)
    return found.troubles[key]


async def _trouble(db: Any) -> Trouble | None:
    answer: Trouble | None = await db.execute_fn(trouble)
    return answer


async def find_access(datasette: Any, db: Any, actor: Any) -> Access:
    """The same, asked afresh."""
    found: Mapping[Place, Tables | None] = await db.execute_fn(places)
    if not found:
        return Access(frozenset(), everything=True)
    if not await compat.may_view_database(datasette, actor, db.name):
        return Access(frozenset(), everything=False)
    verdicts: dict[str, bool] = {}
    allowed = {
        place
        for place, tables in found.items()
        if await _may_read(datasette, db.name, actor, tables, verdicts)
    }
    everything = len(allowed) == len(found)
    if not everything:
        # A job about jobs shows what they hold, so it is as private as the most private of them.
        allowed = {place for place in allowed if not _reads_ours(found[place])}
    return Access(frozenset(allowed), everything)


async def _may_read(
    datasette: Any, database: str, actor: Any, tables: Tables | None, verdicts: dict[str, bool]
) -> bool:
    if tables is None:
        # A query that no longer compiles: nobody can say what it read.
        return await compat.may_execute_sql(datasette, actor, database)
    for table in sorted(tables):
        if is_ours(table):
            continue
        if table not in verdicts:
            verdicts[table] = await compat.may_view_table(datasette, actor, database, table)
        if not verdicts[table]:
            return False
    return True


def _reads_ours(tables: Tables | None) -> bool:
    return tables is None or any(is_ours(table) for table in tables)


#: The tables and the view of the core package, which hold every job. The record of migrations is
#: shared with whoever else migrates.
TABLES = tuple(sorted(store.OWN - {"_sqlite_migrations"}))

#: Those of them that hold what people say of rows.
LABELS = frozenset(
    ("openai_batch_log", "openai_batch_samples", "openai_batch_reviews", "openai_batch_reviewed",
     "openai_batch_results")
)  # fmt: skip


def is_ours(table: str) -> bool:
    """Whether a table holds jobs; SQLite's names ignore ASCII case."""
    return table.lower() in TABLES
