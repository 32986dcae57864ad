"""What Datasette's own pages say about jobs: on a table, its columns; on a row, its answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from datasette.utils import detect_primary_keys, urlsafe_components
from markupsafe import Markup

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import text
from sqlite_utils_openai_batch.store import Job, earlier
from sqlite_utils_openai_batch.tables.output import Output
from sqlite_utils_openai_batch.tables.sql import encode_key, quote

from .. import compat
from ..access import permissions
from ..access.job import is_readable
from ..access.permissions import access, trouble_of
from ..data import queries, samples
from ..data.queries import Head
from ..data.samples import cells_of
from ..text import times, urls

# Jobs that one page tells about; its link leads to all of them.
JOBS = 5

_TABLE = Markup(
    '<p class="openai-batch-note">{columns} written by <a href="{href}">batch job {job}</a>, '
    "{model}, {day}.</p>"
)
_ROW = Markup(
    '<p class="openai-batch-note"><a href="{href}">Batch job {job}</a> asked {model} about this '
    "row: <strong>{status}</strong>{said}. "
    '<a href="{request}">The exact request</a></p>{before}'
)
_BEFORE = Markup(
    '<details class="openai-batch-note"><summary>{count} of this row in batch job {job}</summary>'
    "<ol>{answers}</ol></details>"
)
_ANSWER = Markup("<li>{model}: <strong>{status}</strong>{said}. {why}</li>")
#: Why an answer is an earlier one.
WHY = {
    "retry": "Asked again {day}.",
    "repair": "Sent back {day} with what was wrong.",
    "sync": "Asked again {day}, by itself.",
    "late": "A better answer came {day}.",
    "unused": "It came {day}, and the answer of before stayed.",
    "vote": "One voice of a vote, {day}.",
}
#: Earlier answers of a row that its page shows: the newest.
BEFORE = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What one job asked about one row."""

    job: Job
    request: int
    model: str | None
    """The model that answered, where one did."""
    before: list[tuple[earlier.Answer, str]]
    """What the row was answered before, and what that says."""
    status: str
    said: str


async def table_note(datasette: Any, request: Any, database: str, table: str) -> Markup:
    """Which columns of a table a job wrote: the newest job of each column."""
    db, heads = await visible(datasette, request, database)
    written = [head.id for head in heads if table in (head.place.output_table, head.place.source)]
    if not written:
        return Markup("")
    jobs = await db.execute_fn(queries.written_jobs(written[: 4 * JOBS]))
    told: set[str] = set()
    lines: list[Markup] = []
    for job in filter(is_readable, jobs):
        output = Output.of(job)
        if (output.table or job.source) != table or not output.write:
            continue
        columns = [name for name in output.names if name.lower() not in told]
        told.update(name.lower() for name in columns)
        if columns and len(lines) < JOBS:
            lines.append(
                _TABLE.format(
                    columns=", ".join(columns),
                    href=urls.job(datasette, db, job.id),
                    job=job.id,
                    model=job.model or "",
                    day=times.day(job.finished_at or job.checked_at or job.created_at),
                )
            )
    return Markup("").join(lines)


async def row_note(datasette: Any, request: Any, database: str, table: str) -> Markup:
    """What jobs asked about a row, and what came of it."""
    db, found = await asked_about(datasette, request, database, table)
    return Markup("").join(
        _ROW.format(
            href=urls.job(datasette, db, asked.job.id),
            job=asked.job.id,
            # A row that was asked again may have its answer of another model than the job's.
            model=(asked.before and asked.model) or asked.job.model or "",
            status=asked.status,
            said=asked.said,
            request=request_href(datasette, db, asked),
            before=before(asked),
        )
        for asked in found
    )


def before(asked: Asked) -> Markup:
    """The history of a row's answers in one job; nothing where it was asked once."""
    if not asked.before:
        return Markup("")
    answers = Markup("").join(
        _ANSWER.format(
            model=one.model or asked.job.model or "",
            status=one.status,
            said=said,
            why=WHY.get(one.why, "").format(day=times.day(one.at)),
        )
        for one, said in asked.before
    )
    count = text.counted(len(asked.before), "earlier answer")
    return _BEFORE.format(count=count, job=asked.job.id, answers=answers)


async def row_links(
    datasette: Any, request: Any, database: str, table: str
) -> list[dict[str, str]]:
    """The requests about a row, as links for its menu."""
    db, found = await asked_about(datasette, request, database, table)
    return [
        {
            "href": request_href(datasette, db, asked),
            "label": f"What batch job {asked.job.id} asked about this row",
        }
        for asked in found
    ]


def request_href(datasette: Any, db: Any, asked: Asked) -> str:
    """The exact request about a row."""
    return urls.job(datasette, db, asked.job.id, _request=asked.request) + "#request"


async def asked_about(
    datasette: Any, request: Any, database: str, table: str
) -> tuple[Any, list[Asked]]:
    """The newest few requests about the row that the address names."""
    db = datasette.databases[database]
    # Who may see what takes longer than the rest of a row's page: most tables have no job.
    if not await db.execute_fn(lambda conn: queries.asked_of(conn, table)):
        return db, []
    db, heads = await visible(datasette, request, database)
    mine = [head.id for head in heads if head.place.source == table and not head.place.source_sql]
    if not mine:
        return db, []
    key = urlsafe_components(request.url_vars["pks"])
    found: list[Asked] = await db.execute_fn(_asked(table, key, mine[: 4 * JOBS]))
    return db, found[:JOBS]


async def visible(datasette: Any, request: Any, database: str) -> tuple[Any, list[Head]]:
    """The jobs of a database that the actor may see, newest first."""
    db = datasette.databases[database]
    actor = request.actor if request else None
    if not await compat.may_view_database(datasette, actor, database):
        return db, []
    if await trouble_of(datasette, db):
        return db, []
    heads = await db.execute_fn(queries.heads)
    seen = await access(datasette, db, actor) if heads else None
    return db, [head for head in heads if seen and seen.sees(head)]


def _asked(
    table: str, pks: Sequence[str], ids: Sequence[int]
) -> Callable[[sqlite3.Connection], list[Asked]]:
    def read(conn: sqlite3.Connection) -> list[Asked]:
        keys = detect_primary_keys(conn, table) or ["rowid"]
        row_key = typed_key(conn, table, keys, pks)
        if row_key is None:
            return []
        found = []
        for job in filter(is_readable, queries.jobs(conn, ids)):
            if job.requests is None:
                # It is being prepared: its requests, maybe a million, have no index yet.
                continue
            same = [key.lower() for key in job.keys] == [key.lower() for key in keys]
            row = samples.by_key(conn, job.id, row_key) if same else None
            if row is not None:
                history = [
                    (one, _told(job, one.status, one.answer, one.error_message))
                    for one in earlier.of_request(conn, row["id"])[-BEFORE:]
                ]
                said, model = _said(job, row), row["model"]
                found.append(Asked(job, row["id"], model, history, row["status"], said))
        return found

    return read


def typed_key(
    conn: sqlite3.Connection, table: str, keys: Sequence[str], pks: Sequence[str]
) -> Any | None:
    """The row key of the row that an address names: its text, as the values that the row holds."""
    if len(keys) != len(pks):
        return None
    names = ", ".join(quote(key) for key in keys)
    match = " AND ".join(f"{quote(key)} = ?" for key in keys)
    found = store.rows(conn, f"SELECT {names} FROM {quote(table)} WHERE {match} LIMIT 1", list(pks))
    return encode_key(tuple(found[0])) if found else None


def _said(job: Job, row: sqlite3.Row) -> str:
    return _told(job, row["status"], row["answer"], row["error_message"])


def _told(job: Job, status: str, answer: Any, error: Any) -> str:
    if status != "ok":
        message = text.cut(str(error or ""), 200).rstrip(".")
        return f", {message}" if message else ""
    output = Output.of(job)
    cells = cells_of(job)("ok", answer)
    if not any(cells):
        # One voice of a vote has no share of it.
        return f", {text.cut(str(answer), 200)}"
    pairs = [
        f"{name} {text.cut(str(value), 80)}"
        for name, value in zip(output.answer_names, cells, strict=True)
        if value is not None and not isinstance(value, bytes)
    ]
    return f", {' · '.join(pairs)}" if pairs else ""


# Links to the jobs from Datasette's own pages.

Link = dict[str, str]


async def instance_links(datasette: Any, actor: Any) -> list[Link]:
    """The page over all databases, which says how to start where there are no jobs yet."""
    for db in list(datasette.databases.values()):
        if await compat.may_view_database(datasette, actor, db.name):
            return [{"href": urls.all_jobs(datasette), "label": "Batch jobs"}]
    return []


async def database_links(datasette: Any, actor: Any, database: str) -> list[Link]:
    """The jobs of a database; with none, what leads to its first one."""
    db = datasette.databases[database]
    if not await compat.may_view_database(datasette, actor, db.name):
        return []
    found = []
    if await may_start(datasette, actor, db):
        found.append({"href": urls.new_job(datasette, db), "label": "New batch job"})
    count = await _count(datasette, actor, db)
    label = f"Batch jobs ({count:,})" if count else "Batch jobs"
    return [*found, {"href": urls.jobs(datasette, db), "label": label}]


async def jump_links(datasette: Any, actor: Any) -> list[Link]:
    """The jobs of each database that has some."""
    found = []
    for db in list(datasette.databases.values()):
        if await _count(datasette, actor, db):
            found.append({"href": urls.jobs(datasette, db), "label": f"Batch jobs in {db.name}"})
    return found


async def table_links(
    datasette: Any, actor: Any, database: str, table: str, query: str = ""
) -> list[Link]:
    """The jobs over a table or view, and the form of a new one over the rows that are shown."""
    db = datasette.databases[database]
    found = []
    if not permissions.is_ours(table) and await may_start(datasette, actor, db):
        pairs = [("table", table), *([("filters", query)] if query else [])]
        label = "Ask a model about these rows"
        found.append({"href": urls.new_job(datasette, db, *pairs), "label": label})
    if count := await _count(datasette, actor, db, table):
        chosen = urlencode({"_table": table})
        label = f"Batch jobs over this table ({count:,})"
        found.append({"href": f"{urls.jobs(datasette, db)}?{chosen}", "label": label})
    return found


async def query_links(datasette: Any, actor: Any, database: str, sql: str) -> list[Link]:
    """The form of a new job over the rows of a query."""
    db = datasette.databases[database]
    if not sql or not await may_start(datasette, actor, db):
        return []
    if not await compat.may_execute_sql(datasette, actor, database):
        return []
    label = "Ask a model about these rows"
    return [{"href": urls.new_job(datasette, db, ("sql", sql)), "label": label}]


async def may_start(datasette: Any, actor: Any, db: Any) -> bool:
    """Whether the actor may start jobs in a database that can be written."""
    return compat.unwritable(db) is None and await compat.may_create(datasette, actor, db.name)


async def _count(datasette: Any, actor: Any, db: Any, table: str | None = None) -> int:
    """How many jobs the actor may see: none where the tables aren't there."""
    if not await compat.may_view_database(datasette, actor, db.name):
        return 0
    if await trouble_of(datasette, db):
        return 0
    found = await db.execute_fn(queries.heads)
    if table is not None:
        found = [job for job in found if table in (job.place.source, job.place.output_table)]
    if not found:
        return 0
    seen = await access(datasette, db, actor)
    return sum(seen.sees(job) for job in found)
