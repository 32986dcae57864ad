"""SIGKILL before and after every outside call and every commit, then `sync`: nothing twice.

CI tries every eighth point, beginning at another one each time; `just chaos` tries them all.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import Paid, Zygote, asking, check_all_answered, make_table, outcome_sums

STRIDE = 1 if os.environ.get("CHAOS") == "all" else 8


def finish(zygote: Zygote, db: Path, server: LocalServer, key: str) -> None:
    """Sync until nothing is left to do, as cron would."""
    for _ in range(40):
        done = zygote.run("sync", str(db), "--key", key)
        assert done["code"] in (0, 3), done["output"]
        if "no unfinished job" in done["output"]:
            return
    raise AssertionError(f"never ends: {done['output']}")


def has_job(db: Path) -> bool:
    with closing(sqlite3.connect(db)) as conn:
        try:
            found = conn.execute(
                "SELECT 1 FROM openai_batch_jobs WHERE approved_at IS NOT NULL"
            ).fetchone()
        except sqlite3.OperationalError:
            return False
    return found is not None


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_killed_at_each_point(
    zygote: Zygote, server: LocalServer, tmp_path: Path, journal: str
) -> None:
    whole = make_table(tmp_path / "whole.db", journal=journal)
    done = zygote.run(*asking(whole, server, key=f"whole-{journal}"))
    assert done["code"] == 0, done["output"]
    check_all_answered(whole)
    tried = 0
    first = 1 if STRIDE == 1 else 1 + (os.getpid() % STRIDE)
    for point in range(first, done["points"] + 1, STRIDE):
        key = f"{journal}-{point}"
        db = make_table(tmp_path / f"{key}.db", journal=journal)
        killed = zygote.run(*asking(db, server, key=key), kill_at=point)
        where = killed["killed"]
        if killed["code"] != -9:
            # A poll fewer than in the counted run: it had ended before that point.
            assert killed["code"] == 0, killed["output"]
        elif not has_job(db):
            # Killed before anybody approved it: nothing may have gone out, and it can be run.
            assert not Paid(server, key).batches, where
            again = zygote.run(*asking(db, server, "--new", key=key))
            assert again["code"] == 0, (where, again["output"])
        else:
            finish(zygote, db, server, key)
        assert Paid(server, key).twice == {}, f"paid twice after a kill {where}"
        check_all_answered(db)
        tried += 1
    print(f"{journal}: killed at {tried} of {done['points']} points")
    assert tried >= done["points"] // STRIDE


def test_killed_twice_in_a_row(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """The recovery itself may be killed."""
    for point in range(40, 60, 4):
        key = f"double-{point}"
        db = make_table(tmp_path / f"{key}.db")
        zygote.run(*asking(db, server, key=key), kill_at=point)
        if not has_job(db):
            continue
        for second in (3, 7, 12):
            zygote.run("sync", str(db), "--key", key, kill_at=second)
        finish(zygote, db, server, key)
        assert Paid(server, key).twice == {}
        check_all_answered(db)


def test_sums_agree_between(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """Whatever a kill leaves, the figures on the screens are those of the requests."""
    for point in range(30, 90, 12):
        db = make_table(tmp_path / f"{point}.db")
        zygote.run(*asking(db, server, key=f"sums-{point}"), kill_at=point)
        if has_job(db):
            outcome_sums(db)
