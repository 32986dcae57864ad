"""A Datasette of whichever line is installed, over databases that hold jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import job_data
import pytest
from datasette.app import Datasette
from serving import close, fetch, start


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
