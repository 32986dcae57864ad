"""A Datasette of whichever line is installed, over databases that hold jobs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import job_data
import pytest
from datasette import hookimpl
from datasette.app import Datasette
from datasette.plugins import pm
from jinja2 import Environment, FileSystemBytecodeCache
from serving import close, fetch, start


@pytest.fixture(scope="session", autouse=True)
def quick_pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Each template is compiled once for all Datasettes of a run, and no traceback is coloured.

    Where `rich` is installed, Datasette draws the traceback of each 403 and 404, which takes ten
    times as long as the page.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasette.handle_exception.rich", None)
        cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
        begin = Environment.__init__

        def with_cache(self: Environment, *args: Any, **options: Any) -> None:
            begin(self, *args, **{"bytecode_cache": cache, **options})

        patch.setattr(Environment, "__init__", with_cache)
        yield


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


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The traceback of each error that a page raised, with the local variables of every frame.

    So Datasette writes them to its log where `rich` is installed, also that of a plain 403.
    """
    written: list[str] = []

    class Log:
        __name__ = "log"

        @hookimpl(tryfirst=True)
        def handle_exception(self, exception: Exception) -> None:
            shown = traceback.TracebackException.from_exception(exception, capture_locals=True)
            written.append("".join(shown.format()))

    log = Log()
    pm.register(log)
    yield written
    pm.unregister(log)


@pytest.fixture
def page() -> Callable[..., str]:
    """The text of a page, asked for as an actor; fails unless the answer is 200."""

    def get(datasette: Datasette, path: str, actor: str | None = None, status: int = 200) -> str:
        response = fetch(datasette, path, actor)
        assert response.status_code == status, response.text
        return str(response.text)

    return get


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """`films.db`: jobs in several states over `movies`."""
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    keys = list(range(1, 13))
    job_data.add_job(conn, keys, {2: "refused", 5: "truncated"}, parts=2)
    job_data.add_running_job(conn, keys, name="nightly")
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Job 1 has ended, 2 runs, 3 is prepared, 4 is paused."""
    path = tmp_path_factory.mktemp("changes") / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    keys = list(range(1, 13))
    waits = dict.fromkeys(range(12), "pending")
    more: dict[str, Any] = {
        "cost_nanousd": None,
        "finished_at": None,
        "write": False,
        "base_url": job_data.AWAY,
    }
    job_data.add_job(conn, keys, {2: "refused", 5: "truncated"}, parts=2, base_url=job_data.AWAY)
    for status, part in (("running", "in_progress"), ("prepared", "prepared"),
                         ("paused", "prepared")):  # fmt: skip
        job_data.add_job(conn, keys, waits, status=status, part_status=part, **more)
    conn.close()
    return path


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The one browser of all tests, which takes its time to start."""
    with browser.chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def driver(chromium: Any) -> Any:
    """The browser, for the tests of one module; the next one finds nothing of theirs."""
    return browser.fresh(chromium)
