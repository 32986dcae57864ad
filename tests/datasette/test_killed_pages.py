"""Datasette is killed at each step from the form to the columns: nothing twice, the draft there.

Which points of the way are tried is another choice in each process; CHAOS=all tries them all.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import serving
from datasette.app import Datasette
from forms import Person
from live import address
from quick import without_pandas

PAGES = Path(__file__).parents[1] / "reliability" / "pages.py"
NEW = "/data/-/openai-batch/new"
SECRET = "the same after a restart"
STRIDE = 1 if os.environ.get("CHAOS") == "all" else 30
PATIENCE = 60.0
ASKED = {"prompt": "Sum up: {{ text }}", "model": "gpt-4o-mini"}


class Afar:
    """A Datasette in a process of its own, asked as a `Person` asks."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.client = self

    async def invoke_startup(self) -> None:
        """It has started already."""

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.base, timeout=PATIENCE, **options) as client:
            return await client.get(path)

    async def post(self, path: str, data: Any, **options: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.base, timeout=PATIENCE, **options) as client:
            return await client.post(path, data=data)


@contextmanager
def pages(path: Path, base_url: str, key: str, kill_at: int) -> Iterator[Any]:
    """Datasette over a database; it follows what was sent, and dies at a point."""
    who = {"openai-batch-create": {"id": "ana"}, "openai-batch-manage": {"id": "ana"}}
    plugin = {"base_url": base_url, "key": key, "sync_every": 0.05}
    config = path.with_suffix(".json")
    config.write_text(
        json.dumps({"permissions": who, "plugins": {"sqlite-utils-openai-batch": plugin}})
    )
    command = [sys.executable, str(PAGES), str(path), str(config), str(kill_at),
               str(path.with_suffix(".point"))]  # fmt: skip
    env = {**without_pandas(), "DATASETTE_SECRET": SECRET, "PYTHONUNBUFFERED": "1"}
    with path.with_suffix(".log").open("w+") as log:
        datasette = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        try:
            yield datasette, Afar(address(datasette, log))
        finally:
            datasette.kill()
            datasette.wait()


def go_on(person: Person, tried: list[str]) -> bool:
    """Do what the page that is shown is for. Returns whether it shows the job."""
    if person.page is None:
        person.go(f"{NEW}?table=t")
        return False
    buttons = person.buttons()

    def offers(what: str) -> bool:
        return any(button.startswith(what) for button in buttons)

    if offers("Send"):
        if tried:
            person.press("Send", agree="1")
        else:
            person.press("Try")
            tried.append(person.text)
    elif offers("Look"):
        person.press("Look", **(ASKED if offers("Look at it") else {}))
    else:
        person.go(person.path)
    wrong = re.findall(r'id="wrong-([^"]*)"[^>]*>([^<]+)<', person.page.text)
    assert person.page.status_code == 200, wrong or person.text
    return person.path.startswith("/data/-/openai-batch/") and person.path.split("/")[-1].isdigit()


def story(path: Path, base_url: str, key: str, kill_at: int) -> str | None:
    """From the form to the columns. Returns the point at which Datasette was killed, if it was."""
    table = "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(f"{table}; INSERT INTO t (text) VALUES ('one'), ('two'), ('three')")
    ana = Datasette(memory=True, secret=SECRET)
    cookie = ana.sign({"a": {"id": "ana"}}, "actor")
    serving.close(ana)
    killed, tried, person = None, list[str](), None
    while True:
        with pages(path, base_url, key, 0 if killed else kill_at) as (datasette, there):
            if person is None:
                person = Person(there, None)
                person.cookies["ds_actor"] = cookie
            person.datasette = there
            try:
                while not go_on(person, tried):
                    pass
                until_answered(path, datasette)
            except httpx2.TransportError:
                datasette.wait(PATIENCE)
                if person.page is not None and "location" in person.page.headers:
                    # reloaded is what the browser was led to
                    person.path = person.page.headers["location"]
            if datasette.poll() is None:
                return killed
            assert datasette.returncode == -9, path.with_suffix(".log").read_text()
            assert killed is None, path.with_suffix(".log").read_text()
            killed = path.with_suffix(".count").read_text()


def until_answered(path: Path, datasette: Any) -> None:
    """Wait until all rows have their answers, or Datasette is dead."""
    deadline = time.monotonic() + PATIENCE
    while datasette.poll() is None and value(path, "SELECT status FROM openai_batch_jobs") != (
        "completed"
    ):
        assert time.monotonic() < deadline, path.with_suffix(".log").read_text()
        time.sleep(0.02)


def value(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchone()[0]


def times_sent(base_url: str, key: str) -> Counter[str]:
    """How often each request is in a batch that ran under a key."""
    times: Counter[str] = Counter()
    with openai.OpenAI(base_url=base_url, api_key=key) as client:
        for batch in client.batches.list(limit=100).data:
            if batch.status not in ("failed", "cancelled"):
                lines = client.files.content(batch.input_file_id).read().splitlines()
                times.update(json.loads(line)["custom_id"] for line in lines)
    return times


def test_killed_at_each_step_nothing_is_twice(run: Any, tmp_path: Path) -> None:
    assert story(tmp_path / "data.db", run.base_url, "pages-whole", 0) is None
    count = int((tmp_path / "data.count").read_text().split()[0])
    stride = min(STRIDE, count)
    for point in range(1 + os.getpid() % stride, count, stride):
        folder = tmp_path / str(point)
        folder.mkdir()
        path, key = folder / "data.db", f"pages-{point}-{os.getpid()}"
        where = story(path, run.base_url, key, point)
        said = f"killed at {where}"
        assert value(path, "SELECT count(*) FROM openai_batch_jobs") == 1, said
        assert value(path, "SELECT count(*) FROM openai_batch_drafts") == 1, said
        assert value(path, "SELECT count(answer) FROM t WHERE answer LIKE '%' || text || '%'") == 3
        assert set(times_sent(run.base_url, key).values()) == {1}, said
