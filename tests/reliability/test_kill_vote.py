"""SIGKILL in the middle of a vote: the same command goes on, and each row has its vote once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import Zygote, asking, make_table
from .test_kill import points

SCHEMA = ("--schema", "mood good|bad|mixed")


def test_killed_while_voting(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    first = make_table(tmp_path / "first.db")
    for seed in "123":
        more = (*SCHEMA, "--prefix", f"m{seed}_", "-o", "seed", seed)
        done = zygote.run(*asking(first, server, *more, key="vote"))
        assert done["code"] == 0, done["output"]
    voting = ["1", "2", "3", "--output", "mood"]

    def votes(db: Path) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(db)) as conn:
            assert conn.execute(
                "SELECT count(*), count(DISTINCT row_key) FROM openai_batch_requests "
                "WHERE job_id = 4 AND write_status = 'written'"
            ).fetchone() == (10, 10)
            return conn.execute("SELECT id, mood, mood_share FROM notes ORDER BY id").fetchall()

    def copied(name: str) -> Path:
        db = tmp_path / name
        with closing(sqlite3.connect(first)) as old, closing(sqlite3.connect(db)) as new:
            old.backup(new)
        return db

    whole = copied("whole.db")
    done = zygote.run("vote", str(whole), *voting)
    assert done["code"] == 0, done["output"]
    for point in points(done["points"], 3):
        db = copied(f"{point}.db")
        killed = zygote.run("vote", str(db), *voting, kill_at=point)
        if killed["code"] == -9:
            again = zygote.run("vote", str(db), *voting)
            ended = "already holds values" in again["output"]
            assert again["code"] == 0 or ended, (killed["killed"], again["output"])
        assert votes(db) == votes(whole), killed["killed"]
