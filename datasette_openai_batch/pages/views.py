"""Requests in, pages out."""

from __future__ import annotations

import asyncio
import json
import shlex
import sqlite3
from typing import Any

import orjson
from datasette import Forbidden, NotFound, Response
from datasette.utils import add_cors_headers, tilde_decode

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.statuses import OUTCOMES
from sqlite_utils_openai_batch.base.text import COMMAND
from sqlite_utils_openai_batch.provider.accounts import LOCAL

from .. import compat
from ..access.job import Opened
from ..access.labels import sees_labels
from ..access.lists import listing
from ..access.permissions import trouble_of
from ..access.request import database_of, in_address, number, opened_job, render
from ..actions import follow
from ..actions.actions import may_act, offers
from ..data import rows, samples
from ..data.samples import Mark
from ..text import urls
from . import all_answers, attachments, images, job
from . import job_json as twin
from .answers import caution
from .history import by_whom
from .on_datasette import may_start


def not_text(what: str, instead: str) -> Response:
    """The answer to `datasette --get` for what isn't text: it can print nothing else."""
    return Response.text(f"{what} is not text, and text is all that --get prints. {instead}", 400)


def as_json(datasette: Any, content: dict[str, Any], status: int = 200) -> Response:
    """Data for programs."""
    headers: dict[str, str] = {}
    if datasette.cors:
        add_cors_headers(headers)
    return Response(
        orjson.dumps(content),
        status=status,
        headers=headers,
        content_type="application/json; charset=utf-8",
    )


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
        first_command=command(found[0].file if found else "data.db", *TABLE),
    )


async def all_jobs_json(datasette: Any, request: Any) -> Response:
    """The newest jobs of every database that the actor may see, as JSON."""
    if not await compat.may_view_instance(datasette, request.actor):
        raise Forbidden("view-instance")
    found = []
    for db in list(datasette.databases.values()):
        if await compat.may_view_database(datasette, request.actor, db.name):
            shown = await listing(datasette, db, request.actor, limit=10)
            found.append(twin.listed(datasette, db, shown))
    return as_json(datasette, {"databases": found})


async def jobs_json(datasette: Any, request: Any) -> Response:
    """A page of the jobs of one database, as JSON; chosen as on the page for people."""
    db = await database_of(datasette, request)
    found = await listing(
        datasette,
        db,
        request.actor,
        status=request.args.get("_status") or None,
        table=request.args.get("_table") or None,
        before=number(request, "_before"),
    )
    status = 503 if found.trouble else 200
    return as_json(datasette, twin.listed(datasette, db, found), status)


async def jobs_page(datasette: Any, request: Any) -> Response:
    """The jobs of one database, newest first."""
    db = await database_of(datasette, request)
    status = request.args.get("_status") or None
    table = request.args.get("_table") or None
    before = number(request, "_before")
    found = await listing(datasette, db, request.actor, status=status, table=table, before=before)
    start = None
    if not (found.lines or found.trouble):
        start = await first_command(datasette, db, request.actor, found.file)
    return await render(
        datasette,
        request,
        "jobs.html",
        database=db.name,
        listing=found,
        status=status,
        table=table,
        chosen=bool(status or table or before),
        new_href=await new_href(datasette, db, request.actor),
        first_command=start,
    )


async def new_href(datasette: Any, db: Any, actor: Any) -> str | None:
    """The form of a new job, where the actor may start one."""
    return urls.new_job(datasette, db) if await may_start(datasette, actor, db) else None


async def job_page(datasette: Any, request: Any) -> Response:
    """Everything about one job."""
    db = await database_of(datasette, request)
    if await trouble_of(datasette, db):
        return await jobs_page(datasette, request)
    opened = await opened_job(datasette, request)
    status = request.args.get("_status")
    if status != "failed" and status not in OUTCOMES:
        status = "ok" if opened.outcomes.get("ok") else next(iter(opened.outcomes), "pending")
    choice = job.Choice(
        status=status,
        mark=Mark.read(request.args.get("_after")),
        request=number(request, "_request"),
        row=request.args.get("_row") or None,
        people=await sees_labels(opened, request.actor),
        shares=bool(request.args.get("_shares")),
        by=request.args.get("_by") or None,
    )
    context = await db.execute_fn(job.sections(opened, choice))
    if await may_act(opened, request.actor):
        alone = not follow.comes_by_itself(str(db.path), local=opened.job.provider == LOCAL)
        context["nobody"] = follow.NOBODY if alone and opened.job.status == "running" else None
        context["by_whom"] = await db.execute_fn(lambda conn: by_whom(conn, opened.job.id))
    return await render(
        datasette,
        request,
        "job.html",
        database=db.name,
        job=opened.job,
        opened=opened,
        choice=choice,
        files=job.files(opened),
        offers=await offers(opened, request.actor),
        again_href=await again_href(opened, request.actor),
        review_href=await review_href(opened, request.actor),
        jobs_href=urls.jobs(datasette, db),
        facets_href=job.facets(opened),
        answers_href=urls.job(datasette, db, opened.job.id, "/answers"),
        table_href=urls.table(datasette, db, opened.table) if opened.table else None,
        source_href=urls.table(datasette, db, opened.job.source) if opened.job.source else None,
        progress_js=urls.static(datasette, "progress.js") if opened.job.unfinished else None,
        **context,
    )


async def again_href(opened: Opened, actor: Any) -> str | None:
    """The form that asks the same as a job, to be changed; where the job kept what was asked."""
    if not opened.job.settings.get("recipe"):
        return None
    if not await may_start(opened.datasette, actor, opened.db):
        return None
    return urls.new_job(opened.datasette, opened.db, ("like", opened.job.id))


async def review_href(opened: Opened, actor: Any) -> str | None:
    """Where rows of a job are labelled by hand, for whoever may."""
    if not opened.outcomes.get("ok") or compat.unwritable(opened.db) is not None:
        return None
    if compat.actor_id(actor) is None or opened.output.columns[0].type == "BLOB":
        return None
    if not await compat.may_review(opened.datasette, actor, opened.db.name):
        return None
    return urls.job(opened.datasette, opened.db, opened.job.id, "/review")


async def answers_page(datasette: Any, request: Any) -> Response:
    """All rows of a job as a table."""
    opened = await opened_job(datasette, request)
    typed = in_address(request)
    table = await opened.db.execute_fn(all_answers.table(opened, typed))
    models = await opened.db.execute_fn(lambda conn: samples.models(conn, opened.parts))
    return await render(
        datasette,
        request,
        "answers.html",
        database=opened.db.name,
        job=opened.job,
        opened=opened,
        table=table,
        wanted=all_answers.filter_of(opened, typed),
        caution=caution(models),
        job_href=urls.job(datasette, opened.db, opened.job.id),
    )


async def job_json(datasette: Any, request: Any) -> Response:
    """The job as JSON."""
    opened = await opened_job(datasette, request)
    parts = await opened.db.execute_fn(lambda conn: twin.parts(conn, opened.job.id))
    return as_json(datasette, twin.twin(opened, parts))


async def row_values(opened: Opened, request: Any, *names: str) -> list[Any]:
    """Values of the row of the request that an address names; None where there are none."""
    wanted = number(request, "_request")

    def read(conn: Any) -> list[Any]:
        row = samples.request(conn, wanted) if wanted is not None else None
        source = rows.open_rows(conn, opened.job)
        if row is None or row["job_id"] != opened.job.id or source is None:
            return [None for _ in names]
        there = [name for name in names if name in source.columns]
        found = rows.fetch(conn, source, there, [row["row_key"]]) if there else {}
        values = dict(zip(there, found.get(row["row_key"], ()), strict=False))
        return [values.get(name) for name in names]

    values: list[Any] = await opened.db.execute_fn(read)
    return values


async def job_attachment(datasette: Any, request: Any) -> Response:
    """One file that a row attaches: a PDF, sound or text, for keeping."""
    opened = await opened_job(datasette, request)
    column = request.args.get("_column") or ""
    if compat.prints_text(datasette):
        return not_text("A file", "Open the address in a browser.")
    value, fingerprint = await row_values(opened, request, column, attachments.HASH)
    folder = opened.job.settings.get("image_dir") if column == attachments.PATH else None
    data = await asyncio.to_thread(attachments.read, folder, value, fingerprint)
    found = images.kind(data) if data else None
    kind = attachments.kind(data) if data and found is None else None
    if data is None or (found is None and kind is None):
        raise NotFound("No file there.")
    media, ending = attachments.TYPES[kind] if kind else (str(found), "")
    name = attachments.name(value, column, number(request, "_request") or 0, ending)
    return Response(
        data,
        content_type=media,
        headers={
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )


async def job_image(datasette: Any, request: Any) -> Response:
    """One picture of a source row, for the thumbnails of a job's page."""
    opened = await opened_job(datasette, request)
    column = request.args.get("_column") or ""
    if compat.prints_text(datasette):
        return not_text("A picture", "Open the address in a browser.")
    (value,) = await row_values(opened, request, column)
    kind = images.kind(value) if isinstance(value, bytes) else None
    if kind is None:
        raise NotFound("No picture there.")
    return Response(
        value,
        content_type=kind,
        headers={
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )


# How to start: a command for a database that has no jobs yet.

# Where there is no table with text that the actor may see.
TABLE = ("TABLE", "title")


async def first_command(datasette: Any, db: Any, actor: Any, file: str) -> str:
    """A command that would work here: it asks about the first column of text that one may see."""
    hidden = set(await db.hidden_table_names())
    for table, column in await db.execute_fn(texts):
        if table not in hidden and await compat.may_view_table(datasette, actor, db.name, table):
            return command(file, table, column)
    return command(file, *TABLE)


def texts(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables with the first column of text that is not a key, in their order."""
    found = store.rows(
        conn,
        "SELECT tables.name AS name, min(columns.cid), columns.name AS first "
        "FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND upper(columns.type) = 'TEXT' AND columns.pk = 0 "
        "AND tables.sql NOT LIKE 'CREATE VIRTUAL%' GROUP BY 1 ORDER BY tables.rootpage LIMIT 50",
    )
    return [(row["name"], row["first"]) for row in found]


def command(file: str, table: str, column: str) -> str:
    """The command about one column, quoted for a shell."""
    name = column if column.isidentifier() else f"row[{json.dumps(column, ensure_ascii=False)}]"
    asked = shlex.join(["--prompt", f"Summarise in one sentence: {{{{ {name} }}}}"])
    return (
        f"{COMMAND} run {shlex.join([file, table])} \\\n"
        f"    {asked} \\\n    --model gpt-4o-mini --output summary"
    )


async def nowhere(datasette: Any, request: Any) -> Response:
    """An address below the jobs that leads nowhere: a job's name in place of its number, say.

    Without a view Datasette 0.65 answers 500 where `rich` is installed. Raises NotFound.
    """
    db = await database_of(datasette, request)
    raise NotFound(
        f"There is no page {tilde_decode(request.url_vars['rest'])!r} here. A job's page has its "
        f"number in the address: see {urls.jobs(datasette, db)}."
    )
