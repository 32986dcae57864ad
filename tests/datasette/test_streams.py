"""Files over a real socket: what is cut off must not look whole, who left isn't served."""

from __future__ import annotations

import asyncio
import http.client
import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import job_data
import pytest
from live import running
from serving import fetch


def get(base: str, path: str) -> tuple[int, bytes, bool]:
    """Status, body, and whether the body came to its end."""
    where = urlsplit(base)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        try:
            return response.status, response.read(), True
        except http.client.IncompleteRead as error:
            return response.status, error.partial, False
    finally:
        connection.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """`large.db`: job 1 is whole, row 600 of job 2 can't be read, job 3 is over 1 MB."""
    path = tmp_path / "large.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 700)
    conn.execute("CREATE TABLE broken (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
    conn.execute(
        "INSERT INTO broken (id, title, overview) SELECT id, "
        "iif(id = 600, 'no JSON', '{}'), printf('%.*c', 1000, 'x') FROM movies"
    )
    # SQLite computes such a column when it is read, so that row 600 is an error only then.
    conn.execute("ALTER TABLE broken ADD COLUMN parsed AS (json(title))")
    conn.execute("CREATE TABLE long (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
    conn.execute("INSERT INTO long SELECT id, title, printf('%.*c', 2000, 'y') FROM movies")
    keys = list(range(1, 701))
    job_data.add_job(conn, keys)
    for source in ("broken", "long"):
        job_data.add_job(conn, keys, source=source, output_table="out")
    conn.close()
    return path


def test_whole_and_cut_off_files(large: Path) -> None:
    with running(large, options=("--setting", "max_csv_mb", "1")) as base:
        status, body, whole = get(base, "/large/-/openai-batch/1.csv")
        assert (status, whole, body.count(b"\n")) == (200, True, 701)
        status, body, whole = get(base, "/large/-/openai-batch/2.csv")
        assert (status, whole) == (200, False)
        assert 100 < body.count(b"\n") < 600
        status, body, whole = get(base, "/large/-/openai-batch/3.csv")
        assert (status, whole) == (200, False)
        assert 500_000 < len(body) <= 1024 * 1024
        status, body, whole = get(base, "/large/-/openai-batch/2.xlsx")
        assert (status, whole) == (500, True)


def test_a_client_that_goes_stops_the_work(
    serve, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlite_utils_openai_batch.results.csv.PIECE_CHARACTERS", 100)
    monkeypatch.setattr("datasette_openai_batch.files.views.STEP_PIECES", 1)
    monkeypatch.setattr("sqlite_utils_openai_batch.results.csv.ROWS", 1)
    monkeypatch.setattr("datasette_openai_batch.files.views.STEP_CELLS", 50)
    monkeypatch.setattr("datasette_openai_batch.files.raw.STEP_BYTES", 100)
    datasette = serve(large)
    fetch(datasette, "/large/-/openai-batch/1")
    for suffix in ("csv", "jsonl", "xlsx"):
        sent = asyncio.run(visit(datasette, f"/large/-/openai-batch/1.{suffix}", leave_after=3))
        bodies = [message for message in sent if message["type"] == "http.response.body"]
        assert len(bodies) < 20
        assert all(message.get("more_body") for message in bodies)


async def visit(datasette: Any, path: str, leave_after: int) -> list[dict[str, Any]]:
    """What is sent to a client that leaves after some messages (at once for a workbook)."""
    app = datasette.app()
    left = asyncio.Event()
    if path.endswith("xlsx"):
        left.set()
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) >= leave_after:
            left.set()

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_writers_are_not_held_up_by_a_slow_client(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: str
) -> None:
    monkeypatch.setattr("sqlite_utils_openai_batch.results.csv.PIECE_CHARACTERS", 100)
    monkeypatch.setattr("datasette_openai_batch.files.views.STEP_PIECES", 1)
    monkeypatch.setattr("sqlite_utils_openai_batch.results.csv.ROWS", 1)
    path = tmp_path / "films.db"
    conn = job_data.connect(path, journal=journal)
    job_data.movies(conn, 60)
    job_data.add_job(conn, list(range(1, 61)))
    conn.close()
    datasette = serve(path)
    fetch(datasette, "/films/-/openai-batch/1")
    written = 0

    def write() -> None:
        nonlocal written
        writer = sqlite3.connect(path, timeout=0, isolation_level=None)
        writer.execute("UPDATE movies SET title = title || '!' WHERE id = 60")
        writer.close()
        written += 1

    async def download() -> list[bytes]:
        chunks: list[bytes] = []

        async def send(message: dict[str, Any]) -> None:
            # The client is slow: between any two chunks somebody else writes, without waiting.
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            chunks.append(message.get("body", b""))

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        path = "/films/-/openai-batch/1.csv"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        await datasette.app()(scope, receive, send)
        return chunks

    chunks = asyncio.run(download())
    assert written == len(chunks) > 20
    assert b"".join(chunks).count(b"\r\n") == 61
    assert b"Film 60!!!!!" in b"".join(chunks)


def test_head_sends_no_body(serve, large: Path) -> None:
    async def ask() -> Any:
        datasette = serve(large)
        await datasette.invoke_startup()
        return await datasette.client.head("/large/-/openai-batch/1.csv")

    response = asyncio.run(ask())
    assert response.status_code == 200 and response.content == b""
