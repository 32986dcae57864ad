"""SIGKILL of a Datasette in the middle of its background sync: nothing twice, nothing lost.

CI tries every 60th point, each of which starts Datasette twice; `just chaos` tries them all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from quick import without_pandas

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.sync.engine import approve
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import Paid, Zygote, asking, check_all_answered, make_table
from .test_kill import ALL, finish, points

STRIDE = 1 if ALL else 60
PATIENCE = 90


@contextmanager
def pages(
    db: Path, server: LocalServer, key: str, kill_at: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """A Datasette that follows the jobs of a database, and dies at a point of that."""
    config = db.with_suffix(".json")
    plugin = {"base_url": server.base_url, "key": key, "sync_every": 0.05}
    config.write_text(json.dumps({"plugins": {"sqlite-utils-openai-batch": plugin}}))
    with db.with_suffix(".log").open("wb") as log:
        datasette = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("pages.py")), str(db), str(config),
             str(kill_at), str(db.with_suffix(".point"))],
            stdout=log, stderr=log, env=without_pandas(),
        )  # fmt: skip
        try:
            yield datasette
        finally:
            datasette.kill()
            datasette.wait()


def approved(zygote: Zygote, server: LocalServer, db: Path, key: str) -> Path:
    """A database whose job was sent from a page, and of which nothing has gone out yet."""
    make_table(db, journal="WAL")
    arguments = [one for one in asking(db, server, key=key) if one not in ("-y", "--poll", "0.05")]
    made = zygote.run("prepare", *arguments[1:])
    assert made["code"] == 0, made["output"]
    with closing(connect(db)) as conn:
        approve(conn, store.get_job(conn, 1))
    return db


def status(db: Path) -> str:
    with closing(connect(db)) as conn:
        return str(store.get_job(conn, 1).status)


def until_done(datasette: Any, db: Path) -> None:
    """Wait until the job is done, or Datasette is dead."""
    deadline = time.monotonic() + PATIENCE
    while datasette.poll() is None and status(db) != "completed":
        assert time.monotonic() < deadline, db.with_suffix(".log").read_text()
        time.sleep(0.02)


def test_killed_at_each_point_of_its_passes(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    whole = approved(zygote, server, tmp_path / "whole.db", "pages-whole")
    with pages(whole, server, "pages-whole") as datasette:
        until_done(datasette, whole)
    check_all_answered(whole)
    count = int(whole.with_suffix(".count").read_text().split()[0])
    killed = []
    for number, point in enumerate(points(count, STRIDE)):
        key = f"pages-{point}"
        db = approved(zygote, server, tmp_path / f"{key}.db", key)
        with pages(db, server, key, point) as datasette:
            until_done(datasette, db)
            if datasette.poll() is not None:
                killed.append(point)
                assert datasette.returncode == -9, db.with_suffix(".log").read_text()
        where = db.with_suffix(".count").read_text()
        if number % 2:
            finish(zygote, db, key)
        else:
            with pages(db, server, key) as datasette:
                until_done(datasette, db)
                assert datasette.poll() is None, db.with_suffix(".log").read_text()
        check_all_answered(db)
        paid = Paid(server, key)
        assert not paid.twice and not paid.answered_twice, where
        assert not store_leftovers(db), where
    assert len(killed) > 0


def store_leftovers(db: Path) -> list[str]:
    """Parts of the job that aren't as a finished job has them."""
    with closing(connect(db)) as conn:
        return [part.status for part in store.list_parts(conn, 1) if part.status != "completed"]
