"""Who may see which job.

A job is readable by an actor who may see its database and every table that it reads or writes:
its source, or each table that its query reads, and the table that its answers go to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import compat, names
from .queries import Head, Place, places

Tables = frozenset[str]


@dataclass(frozen=True, slots=True)
class Access:
    """What one actor may see of one database's jobs."""

    allowed: frozenset[Place]
    everything: bool

    def sees(self, job: Head) -> bool:
        """Whether this job may be shown, named or counted."""
        return job.place in self.allowed


async def access(datasette: Any, db: Any, actor: Any) -> Access:
    """What the actor may see of the jobs in `db`."""
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
        if names.is_ours(table):
            continue
        if table not in verdicts:
            verdicts[table] = await compat.may_view_table(datasette, actor, database, table)
        if not verdicts[table]:
            return False
    return True


def _reads_ours(tables: Tables | None) -> bool:
    return tables is None or any(names.is_ours(table) for table in tables)
