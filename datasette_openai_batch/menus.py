"""Links to the jobs from Datasette's own pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from . import compat, queries, urls
from .permissions import access

Link = dict[str, str]


async def instance_links(datasette: Any, actor: Any) -> list[Link]:
    """The page over all databases, where any of them holds a job that the actor may see."""
    for db in list(datasette.databases.values()):
        if await _count(datasette, actor, db):
            return [{"href": urls.all_jobs(datasette), "label": "Batch jobs"}]
    return []


async def database_links(datasette: Any, actor: Any, database: str) -> list[Link]:
    """The jobs of a database."""
    db = datasette.databases[database]
    count = await _count(datasette, actor, db)
    if not count:
        return []
    return [{"href": urls.jobs(datasette, db), "label": f"Batch jobs ({count:,})"}]


async def jump_links(datasette: Any, actor: Any) -> list[Link]:
    """The jobs of each database that has some."""
    found = []
    for db in list(datasette.databases.values()):
        if await _count(datasette, actor, db):
            found.append({"href": urls.jobs(datasette, db), "label": f"Batch jobs in {db.name}"})
    return found


async def table_links(datasette: Any, actor: Any, database: str, table: str) -> list[Link]:
    """The jobs over a table or view."""
    db = datasette.databases[database]
    count = await _count(datasette, actor, db, table)
    if not count:
        return []
    query = urlencode({"_table": table})
    label = f"Batch jobs over this table ({count:,})"
    return [{"href": f"{urls.jobs(datasette, db)}?{query}", "label": label}]


async def _count(datasette: Any, actor: Any, db: Any, table: str | None = None) -> int:
    """How many jobs the actor may see: none where the tables aren't there."""
    if not await compat.may_view_database(datasette, actor, db.name):
        return 0
    if await db.execute_fn(queries.trouble):
        return 0
    found = await db.execute_fn(queries.heads)
    if table is not None:
        found = [job for job in found if table in (job.place.source, job.place.output_table)]
    if not found:
        return 0
    seen = await access(datasette, db, actor)
    return sum(seen.sees(job) for job in found)
