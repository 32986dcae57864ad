"""A disk that is full: each page that changes something says so, and nothing is sent."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import openai
import pytest
from forms import Person
from serving import fetch
from test_changes import CHANGES, GRANTED, NOTHING_KEPT, ask, dump

from datasette_openai_batch.actions import background
from datasette_openai_batch.new_job import threads
from sqlite_utils_openai_batch.local import LocalServer

FULL = "The disk is full or failing while writing"
SIZE = 3_000_000
KEY = "disk-full"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page waits for the end of what it began, however slow this machine is."""
    monkeypatch.setattr(threads, "PATIENCE", 120.0)
    monkeypatch.setattr(background, "PATIENCE", 120.0)
    yield
    # the first pass over a job that was sent goes on by itself
    deadline = time.monotonic() + 60
    while background._running and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write until nothing more fits."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            return


def free(disk: Path) -> None:
    (disk / "filler").unlink()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_every_change_says_that_the_disk_is_full(
    serve: Callable[..., Any], made: Path, disk: Path, journal: str
) -> None:
    films = Path(shutil.copy(made, disk / "films.db"))
    with closing(sqlite3.connect(films)) as conn:
        conn.execute(f"PRAGMA journal_mode = {journal}")
    datasette = serve(films, config=GRANTED)
    assert fetch(datasette, "/films/movies", "root").status_code == 200
    before = dump(films)
    # in WAL mode its files are there while anybody has the database open
    with closing(sqlite3.connect(films)) as conn:
        conn.execute("SELECT count(*) FROM movies").fetchone()
        fill(disk)
        said = {}
        for name, (path, fields, may) in CHANGES.items():
            if "root" not in may or name in NOTHING_KEPT or name == "new: the first requests":
                continue
            answer = ask(datasette, "POST", path, "root", fields)
            assert answer.status_code < 500, f"{name}: {answer.text}"
            said[name] = words(datasette, answer)
        free(disk)
    assert {name: text for name, text in said.items() if FULL not in unescape(text)} == {}
    assert dump(films) == before


def words(datasette: Any, answer: Any) -> str:
    """What a page says, or the message that it leaves for the next."""
    if answer.status_code != 302:
        return str(answer.text)
    kept = answer.cookies.get("ds_messages")
    return str(datasette.unsign(kept.strip('"'), "messages")) if kept else "nothing"


def test_a_send_while_the_disk_is_full_sends_nothing_and_then_once(
    serve: Callable[..., Any], server: LocalServer, disk: Path
) -> None:
    reviews = disk / "data.db"
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute("CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT)")
        conn.executemany(
            "INSERT INTO reviews (body) VALUES (?)", [(f"text {n}",) for n in range(300)]
        )
        conn.commit()
    plugin = {"base_url": server.base_url, "key": KEY}
    permissions = {f"openai-batch-{what}": {"id": "ana"} for what in ("create", "manage")}
    person = Person(
        serve(
            reviews,
            config={"permissions": permissions, "plugins": {"sqlite-utils-openai-batch": plugin}},
        )
    )
    new = "/data/-/openai-batch/new?table=reviews"
    person.go(new)
    fill(disk)
    person.press("Look", prompt="Judge: {{ body }}")
    assert person.page.status_code == 400 and FULL in person.text
    assert "Judge: {{ body }}" in person.page.text
    free(disk)
    person.press("Look")
    assert "300 to ask" in person.text
    for button in ("Try", "Send", "Save"):
        fill(disk)
        person.press(button, agree="1")
        assert FULL in person.text, button
        assert "Send 300 rows" in person.buttons()
        free(disk)
    with openai.OpenAI(base_url=server.base_url, api_key=KEY) as client:
        assert not client.batches.list().data
        assert not client.files.list().data
    person.press("Send", agree="1")
    assert "Job 1" in person.text
    with openai.OpenAI(base_url=server.base_url, api_key=KEY) as client:
        while background._running:
            time.sleep(0.01)
        assert len(client.batches.list().data) == 1
