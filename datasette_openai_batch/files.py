"""A job's files over HTTP: CSV, Excel, raw responses.

Text is sent as it is read, from a thread of its own, and the reading stops when the client goes.
An error after the first byte closes the connection without the end of the body, which no client
takes for a whole file.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from urllib.parse import quote as percent

from datasette import Forbidden, NotFound
from datasette.utils import add_cors_headers
from datasette.utils.asgi import BadRequest

from . import compat, csvtext, fastcsv, urls, words
from .jobs import Opened
from .raw import RawLines
from .reader import Reader
from .views import opened_job
from .xlsx import Book

T = TypeVar("T")
Step = Callable[[], "list[bytes] | None"]

# Characters of text that are written at once: about what a processor's cache holds.
PIECE_CHARACTERS = 64_000
# Pieces of text, or cells of a sheet, that one step makes before others get a turn.
STEP_PIECES = 4
STEP_CELLS = 5_000
# Bytes of a finished file that are read and sent at once.
CHUNK = 256 * 1024
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows a file is to hold, and how."""

    statuses: tuple[str, ...]
    escape: bool


def wanted(request: Any) -> Wanted:
    """What the query string asks for. Raises BadRequest for an outcome that there isn't."""
    statuses = tuple(status for status in request.args.getlist("_status") if status)
    for status in statuses:
        if status not in words.OUTCOMES:
            known = ", ".join(words.OUTCOMES)
            raise BadRequest(f"There is no outcome '{status}'. Outcomes: {known}")
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


def most_bytes(datasette: Any) -> int | None:
    """The largest file that this Datasette sends; None where there is no such limit."""
    return (datasette.setting("max_csv_mb") or 0) * 1024 * 1024 or None


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

    def link(row_key: Any, column: str) -> str:
        return str(
            opened.datasette.absolute_url(
                request, urls.blob(opened.datasette, opened.db, opened.job, row_key, column)
            )
        )

    return link


async def job_csv(datasette: Any, request: Any, send: Any) -> None:
    """The rows of a job with their answers, as CSV."""
    opened = await opened_job(datasette, request)
    asked = wanted(request)
    check_settings(datasette, opened)
    with compat.own_connection(datasette, opened.db) as conn:
        reader = await in_thread(
            datasette,
            lambda: Reader(conn, opened.job, asked.statuses, blob_link(request, opened)),
        )
        try:
            step = csv_step(reader, asked.escape)
            shown = headers(opened, "text/csv; charset=utf-8", ".csv")
            await stream(datasette, request, send, shown, step)
        finally:
            reader.close()


def csv_step(reader: Reader, escape: bool) -> Step:
    """Makes the next piece of CSV at each call: the header line first."""
    first = [csvtext.line(reader.headers).encode()]

    fast = fastcsv.suits(reader) and not escape

    def form(cells: Any) -> str:
        return csvtext.line(csvtext.harmless(cells))

    def piece() -> bytes | None:
        if fast:
            lines = reader.attempt(lambda: fastcsv.lines(reader, PIECE_CHARACTERS))
        else:
            lines = reader.step(form if escape else csvtext.line, PIECE_CHARACTERS)
        return None if lines is None else "".join(lines).encode("utf-8", "replace")

    def step() -> list[bytes] | None:
        if first:
            return [first.pop()]
        pieces = [made for made in (piece() for _ in range(STEP_PIECES)) if made is not None]
        return pieces or None

    return step


async def job_xlsx(datasette: Any, request: Any, send: Any) -> None:
    """The rows of a job with their answers, as an Excel workbook."""
    opened = await opened_job(datasette, request)
    asked = wanted(request)
    check_settings(datasette, opened)
    shown = headers(opened, XLSX, ".xlsx")
    with TemporaryDirectory(prefix="openai-batch-") as folder:
        path = Path(folder) / "job.xlsx"
        with compat.own_connection(datasette, opened.db) as conn:
            reader = await in_thread(
                datasette,
                lambda: Reader(conn, opened.job, asked.statuses, blob_link(request, opened)),
            )
            try:
                if not await fill(datasette, request, reader, Book(path, reader.headers), asked):
                    return
            finally:
                reader.close()
        most = most_bytes(datasette)
        if most is not None and path.stat().st_size > most:
            raise Forbidden(f"The file is larger than max_csv_mb ({most // 1024**2}) allows.")
        shown["content-length"] = str(path.stat().st_size)
        with path.open("rb") as file:

            def step() -> list[bytes] | None:
                chunk = file.read(CHUNK)
                return [chunk] if chunk else None

            await stream(datasette, request, send, shown, step)


async def fill(datasette: Any, request: Any, reader: Reader, book: Book, asked: Wanted) -> bool:
    """Write all rows into a workbook; False where the client didn't wait for it."""
    gone = asyncio.ensure_future(until_gone(request.receive))

    def step() -> bool:
        rows = reader.step(lambda cells: cells, STEP_CELLS)
        if rows is not None:
            book.add([csvtext.harmless(row) for row in rows] if asked.escape else rows)
        return rows is not None

    try:
        while await in_thread(datasette, step):
            if gone.done():
                return False
        await in_thread(datasette, book.close)
        return True
    finally:
        gone.cancel()
        book.drop()


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
        await stream(datasette, request, send, shown, step)


async def in_thread(datasette: Any, function: Callable[[], T]) -> T:
    """Call a function in a thread, but not one of those that Datasette runs its queries in."""
    if datasette.executor is None:
        # num_sql_threads is 0: there are no threads where this runs.
        return function()
    return await asyncio.to_thread(function)


async def stream(
    datasette: Any, request: Any, send: Any, shown: dict[str, str], step: Step
) -> None:
    """Send a body piece by piece, until it ends, the client goes or it grows too large."""
    # What fails before the first byte is an error page like any other.
    pieces = await in_thread(datasette, step)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [[k.encode("latin-1"), v.encode("latin-1")] for k, v in shown.items()],
        }
    )
    gone = asyncio.ensure_future(until_gone(request.receive))
    try:
        await send_pieces(datasette, request, send, pieces, step, gone)
    except (sqlite3.Error, OverLimit) as error:
        # Too late for an error page. The body stays without its end, and the server closes the
        # connection: the client knows that the file isn't whole.
        logger.error("%s was cut off: %s", request.path, error)
    finally:
        gone.cancel()


class OverLimit(Exception):
    """A file grew beyond Datasette's max_csv_mb."""


async def send_pieces(
    datasette: Any,
    request: Any,
    send: Any,
    pieces: list[bytes] | None,
    step: Step,
    gone: asyncio.Future[None],
) -> None:
    """Send all pieces and the end of the body; returns without the end if the client has gone."""
    left = most_bytes(datasette)
    if request.method == "HEAD":
        pieces = None
    while pieces is not None:
        for piece in pieces:
            if left is not None:
                left -= len(piece)
                if left < 0:
                    most = datasette.setting("max_csv_mb")
                    raise OverLimit(f"it is larger than max_csv_mb ({most})")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if gone.done():
            return
        pieces = await in_thread(datasette, step)
    await send({"type": "http.response.body", "body": b""})


async def until_gone(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
