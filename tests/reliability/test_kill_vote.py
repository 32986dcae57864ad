"""SIGKILL in the middle of a vote: what comes after it goes on, and each row has its vote once."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import Paid, Zygote, asking, make_table
from .test_kill import finish, has_job, points

STRIDE = 1 if os.environ.get("CHAOS") == "all" else 48
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


def voted(db: Path) -> list[tuple[object, ...]]:
    """The cells of each row, and what its three answers make of it, by the lines that came."""
    with closing(sqlite3.connect(db)) as conn:
        lines = conn.execute(
            "SELECT row_key, line FROM openai_batch_responses JOIN openai_batch_requests AS "
            "requests ON requests.id = request_id ORDER BY request_id"
        ).fetchall()
        cells = {
            key: (mood, share)
            for key, mood, share in conn.execute("SELECT id, mood, mood_share FROM notes")
        }
    said: dict[object, list[str]] = {}
    for key, line in lines:
        text = json.loads(line)["response"]["body"]["choices"][0]["message"]["content"]
        said.setdefault(key, []).append(json.loads(text)["mood"])
    assert {len(one) for one in said.values()} == {3}
    most = {key: max(map(one.count, one)) for key, one in said.items()}
    # Of labels that are named alike often the one that was named first is taken.
    return [
        (key, *cells[key], next(a for a in one if one.count(a) == most[key]), most[key] / 3)
        for key, one in said.items()
    ]


def test_killed_while_each_row_is_asked_three_times(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    more = (*SCHEMA, "--times", "3")
    whole = make_table(tmp_path / "whole.db")
    done = zygote.run(*asking(whole, server, *more, key="times-whole"))
    assert done["code"] == 0, done["output"]
    for point in (0, *points(done["points"], STRIDE)):
        key, db = ("times-whole", whole) if not point else (f"times-{point}", tmp_path / f"{point}")
        killed = {"killed": "nowhere"}
        if point:
            make_table(db)
            killed = zygote.run(*asking(db, server, *more, key=key), kill_at=point)
            if killed["code"] == -9 and not has_job(db):
                continue
            finish(zygote, db, key)
        where = killed["killed"]
        paid = Paid(server, key)
        assert sorted(paid.times.values()) == [1] * 30, where
        rows = voted(db)
        assert len(rows) == 10, where
        for row, mood, share, by_hand, share_by_hand in rows:
            assert (mood, round(share, 6)) == (by_hand, round(share_by_hand, 6)), (where, row)
