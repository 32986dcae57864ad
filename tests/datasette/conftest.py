"""A Datasette of whichever line is installed, over databases that hold jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import job_data
import pytest
from datasette.app import Datasette

IS_1_0 = hasattr(Datasette, "allowed")


def start(*files: Path, immutables: tuple[Path, ...] = (), **options: Any) -> Datasette:
    """A Datasette; `config` is metadata on the line that keeps permissions there."""
    config = options.pop("config", None)
    if config:
        options["config" if IS_1_0 else "metadata"] = config
    return Datasette([str(file) for file in files], [str(file) for file in immutables], **options)


@pytest.fixture
def serve() -> Iterator[Callable[..., Datasette]]:
    """Start Datasettes; all are closed at the end of the test."""
    running: list[Datasette] = []

    def begin(*files: Path, **options: Any) -> Datasette:
        datasette = start(*files, **options)
        running.append(datasette)
        return datasette

    yield begin
    for datasette in running:
        close(datasette)


def close(datasette: Datasette) -> None:
    if IS_1_0:
        datasette.close()
        return
    if datasette.executor is not None:
        datasette.executor.shutdown()
    for db in datasette.databases.values():
        db.close()


@pytest.fixture
def page() -> Callable[..., str]:
    """The text of a page, asked for as an actor; fails unless the answer is 200."""

    def get(datasette: Datasette, path: str, actor: str | None = None, status: int = 200) -> str:
        response = fetch(datasette, path, actor)
        assert response.status_code == status, response.text
        return str(response.text)

    return get


def fetch(datasette: Datasette, path: str, actor: str | None = None) -> Any:
    async def ask() -> Any:
        await datasette.invoke_startup()
        cookies = {"ds_actor": datasette.sign({"a": {"id": actor}}, "actor")} if actor else None
        return await datasette.client.get(path, cookies=cookies)

    return run(ask())


def run(awaitable: Awaitable[Any]) -> Any:
    async def inner() -> Any:
        return await awaitable

    return asyncio.run(inner())


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """`films.db`: jobs in several states over `movies`."""
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    keys = list(range(1, 13))
    job_data.add_job(conn, keys, {2: "refused", 5: "truncated"}, parts=2)
    job_data.add_job(
        conn,
        keys,
        dict.fromkeys(range(12), "pending"),
        name="nightly",
        status="running",
        part_status="in_progress",
        cost_nanousd=None,
        finished_at=None,
        checked_at=job_data.recently(),
    )
    job_data.add_job(
        conn,
        keys,
        dict.fromkeys(range(12), "pending"),
        status="paused",
        part_status="prepared",
        cost_nanousd=None,
        finished_at=None,
        message="Out of credit. Top up, then: sqlite-utils openai-batch submit films.db 3",
    )
    conn.close()
    return path


def cells(html: str) -> list[list[str]]:
    """The rows of the first table of a page, as text."""
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.rows: list[list[str]] = []
            self.depth = 0

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag == "tr":
                self.rows.append([])
            elif tag in ("td", "th"):
                self.rows[-1].append("")
                self.depth = 1
            elif tag == "title":
                self.depth = 0

        def handle_endtag(self, tag: str) -> None:
            if tag in ("td", "th"):
                self.depth = 0

        def handle_data(self, data: str) -> None:
            if self.depth and self.rows:
                self.rows[-1][-1] += data

    reader = Reader()
    reader.feed(html[html.index("<table") : html.index("</table>")])
    return [[" ".join(cell.split()) for cell in row] for row in reader.rows]
