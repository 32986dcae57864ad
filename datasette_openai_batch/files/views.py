"""A job's files over HTTP: CSV, Excel, raw responses, report."""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent

from datasette import Forbidden, NotFound, Response
from datasette.utils import add_cors_headers
from datasette.utils.asgi import BadRequest

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError, UsageError
from sqlite_utils_openai_batch.base.scratch import scratch
from sqlite_utils_openai_batch.base.statuses import outcomes_of
from sqlite_utils_openai_batch.base.text import COMMAND
from sqlite_utils_openai_batch.results.csv import harmless, pieces
from sqlite_utils_openai_batch.results.reader import Reader
from sqlite_utils_openai_batch.results.report import report
from sqlite_utils_openai_batch.results.xlsx import check_fits, write_xlsx
from sqlite_utils_openai_batch.tables.sql import decode_key

from .. import compat
from ..access.job import Opened
from ..access.labels import sees_labels
from ..access.request import opened_job
from ..pages.views import not_text
from ..text import urls
from .raw import RawLines
from .streaming import Step, in_thread, most_bytes, stream, until_gone

# Pieces of text, or cells of a sheet, that one step makes before others get a turn.
STEP_PIECES = 4
STEP_CELLS = 5_000
# Bytes of a finished file that are read and sent at once.
CHUNK = 256 * 1024
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows a file is to hold, and how."""

    statuses: tuple[str, ...]
    escape: bool


def wanted(request: Any) -> Wanted:
    """What the query string asks for. Raises BadRequest for an outcome that there isn't."""
    try:
        statuses = outcomes_of(filter(None, request.args.getlist("_status")))
    except UsageError as error:
        raise BadRequest(str(error)) from error
    formulas = request.args.get("_formulas") or "keep"
    if formulas not in ("keep", "escape"):
        raise BadRequest("_formulas is 'escape', or is left out.")
    return Wanted(statuses, formulas == "escape")


def check_settings(datasette: Any, opened: Opened) -> None:
    """Raise Forbidden where this Datasette hands out pages only, and the job is longer than one."""
    most = datasette.setting("max_returned_rows")
    if not datasette.setting("allow_csv_stream") and opened.total > most:
        raise Forbidden(
            f"This Datasette hands out at most {most:,} rows (allow_csv_stream is off), and the "
            f"job has {opened.total:,}. On the command line: sqlite-utils openai-batch results "
            f"{opened.file} {opened.job.id} --csv"
        )


def headers(opened: Opened, content_type: str, suffix: str) -> dict[str, str]:
    """Headers of a download, named after the database and the job."""
    name = f"{opened.db.name}-job-{opened.job.id}{suffix}"
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    found = {
        "content-type": content_type,
        "content-disposition": (
            f"attachment; filename=\"{plain}\"; filename*=UTF-8''{percent(name, safe='')}"
        ),
        "x-content-type-options": "nosniff",
    }
    if opened.datasette.cors:
        add_cors_headers(found)
    return found


def blob_link(request: Any, opened: Opened) -> Callable[[Any, str], str] | None:
    """Datasette's own address of a BLOB; None where source rows have no pages."""
    if not opened.has_row_pages:
        return None

    # Made once: a file may have a million links.
    table = urls.table(opened.datasette, opened.db, str(opened.job.source))
    begin = str(opened.datasette.absolute_url(request, table))
    width = len(opened.job.keys)

    def link(row_key: Any, column: str) -> str:
        return f"{begin}/{urls.key(decode_key(row_key, width))}.blob?{urls.blob_query(column)}"

    return link


async def job_csv(datasette: Any, request: Any, send: Any) -> None:
    """The rows of a job with their answers, as CSV."""
    opened = await opened_job(datasette, request)
    asked = wanted(request)
    check_settings(datasette, opened)
    people = await sees_labels(opened, request.actor)
    link = blob_link(request, opened)
    with compat.own_connection(datasette, opened.db) as conn:
        try:
            reader = await in_thread(
                datasette,
                lambda: Reader(conn, opened.job, asked.statuses, link, people=people),
            )
        except OpenAIBatchError as error:
            raise BadRequest(str(error)) from error
        try:
            step = csv_step(reader, asked.escape)
            shown = headers(opened, "text/csv; charset=utf-8", ".csv")
            await stream(datasette, request, send, shown, step)
        finally:
            reader.close()


def csv_step(reader: Reader, escape: bool) -> Callable[[], list[bytes] | None]:
    """Makes the next piece of CSV at each call: the header line first."""
    made = pieces(reader, escape)
    first = [next(made)]

    def step() -> list[bytes] | None:
        if first:
            return [first.pop()]
        return list(islice(made, STEP_PIECES)) or None

    return step


async def job_xlsx(datasette: Any, request: Any, send: Any) -> None:
    """The rows of a job with their answers, as an Excel workbook."""
    opened = await opened_job(datasette, request)
    asked = wanted(request)
    check_settings(datasette, opened)
    if compat.prints_text(datasette):
        where = f"{shlex.quote(opened.file)} {opened.job.id}"
        refusal = not_text("A workbook", f"Write it with: {COMMAND} results {where} --xlsx FILE")
        await refusal.asgi_send(send)
        return
    shown = headers(opened, XLSX, ".xlsx")
    people = await sees_labels(opened, request.actor)
    with scratch() as folder:
        path = folder / "job.xlsx"
        if not await write_workbook(datasette, request, opened, asked, path, people):
            return
        most = most_bytes(datasette)
        if most is not None and path.stat().st_size > most:
            raise Forbidden(f"The file is larger than max_csv_mb ({most // 1024**2}) allows.")
        shown["content-length"] = str(path.stat().st_size)
        with path.open("rb") as file:

            def step() -> list[bytes] | None:
                chunk = file.read(CHUNK)
                return [chunk] if chunk else None

            await stream(datasette, request, send, shown, step)


async def write_workbook(
    datasette: Any, request: Any, opened: Opened, asked: Wanted, path: Path, people: bool
) -> bool:
    """Write the workbook that `results --xlsx` writes; False where the client didn't wait for it.

    Raises BadRequest where a sheet has no room for the job.
    """
    left = threading.Event()

    def rows(reader: Reader) -> Iterator[Sequence[Any]]:
        while (found := reader.step(lambda cells: cells, STEP_CELLS)) is not None:
            if left.is_set():
                raise ClientGone
            yield from map(harmless, found) if asked.escape else found

    def write() -> None:
        with compat.own_connection(datasette, opened.db) as conn:
            link = blob_link(request, opened)
            reader = Reader(conn, opened.job, asked.statuses, link, people=people)
            try:
                check_fits(reader.results.count(), len(reader.headers))
                lists = reader.results.lists()
                write_xlsx(path, reader.headers, rows(reader), lists=lists)
            finally:
                reader.close()

    gone = asyncio.ensure_future(until_gone(request.receive))
    gone.add_done_callback(lambda _: left.set())
    try:
        await in_thread(datasette, write)
    except ClientGone:
        return False
    except OpenAIBatchError as error:
        raise BadRequest(str(error)) from error
    finally:
        gone.cancel()
    return True


class ClientGone(Exception):
    """The client has closed its connection: nobody wants the rest."""


async def job_jsonl(datasette: Any, request: Any, send: Any) -> None:
    """The lines that came back from the provider, as they came."""
    opened = await opened_job(datasette, request)
    check_settings(datasette, opened)
    with compat.own_connection(datasette, opened.db) as conn:
        lines = RawLines(conn, opened.job.id)
        step = await in_thread(datasette, lines.begin)
        if step is None:
            raise NotFound("No raw responses are kept for this job.")
        shown = headers(opened, "application/x-ndjson", ".jsonl")
        await stream(
            datasette,
            request,
            send,
            shown,
            decodable(step) if compat.prints_text(datasette) else step,
        )


def decodable(step: Step) -> Step:
    """The same pieces as text that can be decoded; each of them ends where a line does."""

    def decoded() -> list[bytes] | None:
        pieces = step()
        return pieces and [piece.decode("utf-8", "replace").encode() for piece in pieces]

    return decoded


async def job_report(datasette: Any, request: Any) -> Response:
    """The job as Markdown, for a methods section: what `report` prints."""
    opened = await opened_job(datasette, request)
    people = await sees_labels(opened, request.actor)
    with compat.own_connection(datasette, opened.db) as conn:
        text = await in_thread(datasette, lambda: report(conn, opened.job, people=people))
    return Response(
        text,
        content_type="text/markdown; charset=utf-8",
        headers={
            "content-disposition": f'inline; filename="job-{opened.job.id}-report.md"',
            "x-content-type-options": "nosniff",
        },
    )
