"""A new job from the browser, by somebody whose browser runs no scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from forms import Person

from datasette_openai_batch.asking import threads
from sqlite_utils_openai_batch.local import LocalServer

BOTH = {"openai-batch-create": {"id": "ana"}, "openai-batch-manage": {"id": "ana"}}
NEW = "/data/-/openai-batch/new"
PRICES = {"price_input": "1", "price_output": "2", "max_tokens": "50"}


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page waits for the end of what it began, however slow this machine is."""
    monkeypatch.setattr(threads, "PATIENCE", 120.0)


@pytest.fixture
def reviews(run: Any, database: Any) -> Path:
    path: Path = database(
        "CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT, rating INTEGER, language TEXT);"
        "INSERT INTO reviews (body, rating, language) VALUES"
        " ('Wonderful', 5, 'en'), ('Awful', 1, 'en'), ('Na ja', 3, 'de'), ('', 2, 'de'),"
        " ('Mies', 1, 'de'), ('Broken on arrival', 1, 'en');"
    )
    return path


@pytest.fixture
def site(serve: Any, server: LocalServer) -> Callable[..., Any]:
    """A Datasette whose new jobs go to the local batch server."""

    def begin(*files: Path, permissions: Any = BOTH, **settings: Any) -> Any:
        plugin = {"base_url": server.base_url, **settings}
        return serve(
            *files,
            config={"permissions": permissions, "plugins": {"sqlite-utils-openai-batch": plugin}},
        )

    return begin


def ask(person: Person, **fields: Any) -> Person:
    """Open the form on the reviews and look at a question."""
    person.go(f"{NEW}?table=reviews")
    person.press("Look", **{"prompt": "Judge: {{ body }}", "model": "gpt-4o-mini", **fields})
    return person


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchall()


def jobs(path: Path) -> list[Any]:
    if not rows(path, "SELECT 1 FROM sqlite_master WHERE name = 'openai_batch_jobs'"):
        return []
    return rows(path, "SELECT id, status FROM openai_batch_jobs")


def test_from_the_form_to_a_sent_job(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)), schema="mood good|bad")
    assert person.page.status_code == 200, person.text
    assert "5 to ask" in person.text and "1 row blank" in person.text
    assert "Judge: Wonderful" in person.text
    assert "mood" in person.text
    assert not jobs(reviews)
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1"), person.text
    assert [status for _, status in jobs(reviews)] in (["running"], ["completed"])
