"""SIGKILL before and after every outside call and every commit, then `sync`: nothing twice.

CI tries every eighth point of a run (every 80th of one that meets a fault), beginning at another
one each time; `just chaos` tries them all.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import LocalServer

from .conftest import (
    Paid,
    Zygote,
    answers,
    asking,
    check_all_answered,
    make_table,
    outcome_sums,
    streaming,
)

ALL = os.environ.get("CHAOS") == "all"
STRIDE = 1 if ALL else 8


def finish(zygote: Zygote, db: Path, key: str, codes: tuple[int, ...] = (0, 3)) -> None:
    """Sync until nothing is left to do, as cron would."""
    for _ in range(40):
        done = zygote.run("sync", str(db), "--key", key)
        assert done["code"] in codes, done["output"]
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


def points(count: int, stride: int) -> range:
    """The points to kill at: each one with a stride of 1, else others in each process."""
    stride = min(stride, count)
    return range(1 + os.getpid() % stride, count + 1, stride)


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_killed_at_each_point(
    zygote: Zygote, server: LocalServer, tmp_path: Path, journal: str
) -> None:
    whole = make_table(tmp_path / "whole.db", journal=journal)
    done = zygote.run(*asking(whole, server, key=f"whole-{journal}"))
    assert done["code"] == 0, done["output"]
    check_all_answered(whole)
    tried = 0
    for point in points(done["points"], STRIDE):
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
            finish(zygote, db, key)
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
        finish(zygote, db, key)
        assert Paid(server, key).twice == {}
        check_all_answered(db)


def test_sums_agree_between(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """Whatever a kill leaves, the figures on the screens are those of the requests."""
    for point in range(30, 90, 12):
        db = make_table(tmp_path / f"{point}.db")
        zygote.run(*asking(db, server, key=f"sums-{point}"), kill_at=point)
        if has_job(db):
            outcome_sums(db)


@dataclass(frozen=True)
class Case:
    """Something that goes wrong besides the kill; `ends` is what ten requests end as then."""

    name: str
    faults: tuple[str, ...] = ()
    ends: dict[str, int] = field(default_factory=lambda: {"ok": 10})
    rejected: tuple[int, ...] = ()
    retries: bool = False


CASES = (
    Case("expired", ("expire:2*1",)),
    Case("failed-lines", ("crash-lines:2*1",)),
    Case("full-queue", ("token-limit:2000000",)),
    Case("lost-create-reply", ("lost-create-reply",)),
    Case("lost-upload-reply", ("lost-upload-reply",)),
    Case("rejected", ends={"ok": 8, "rejected": 2}, rejected=(2, 3)),
    Case("retry", ("fail-lines:2*1",), retries=True),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_amid_faults(
    zygote: Zygote, server: LocalServer, tmp_path: Path, case: Case
) -> None:
    """A kill beside another mishap: it still comes out as without the kill."""

    def begin(key: str) -> tuple[Path, list[str]]:
        server.faults.clear()
        for fault in case.faults:
            server.faults.add(fault)
        db = make_table(tmp_path / f"{key}.db")
        arguments = asking(db, server, key=key)
        if case.rejected:
            at = arguments.index("--prompt")
            arguments[at : at + 2] = ["--template", str(streaming(tmp_path, case.rejected))]
        if case.retries:
            assert zygote.run(*arguments)["code"] == 3
            arguments = ["retry", str(db), "1", "-y", "--key", key, "--poll", "0.05"]
        return db, arguments

    db, arguments = begin(f"whole-{case.name}")
    done = zygote.run(*arguments)
    assert outcome_sums(db) == case.ends, done["output"]
    tried = 0
    for point in points(done["points"], 1 if ALL else 80):
        key = f"{case.name}-{point}"
        db, arguments = begin(key)
        killed = zygote.run(*arguments, kill_at=point)
        where = killed["killed"]
        if has_job(db):
            # 1: a reply was lost in this pass.
            finish(zygote, db, key, (0, 1, 3))
        if case.retries and outcome_sums(db) != case.ends:
            # Killed before it had begun: what failed still stands there as failed.
            assert zygote.run(*arguments)["code"] == 0, where
        if has_job(db):
            assert outcome_sums(db) == case.ends, where
            left = [row for row, answer in answers(db).items() if answer is None]
            assert left == list(case.rejected), where
        assert Paid(server, key).answered_twice == {}, f"paid twice after a kill {where}"
        tried += 1
    print(f"{case.name}: killed at {tried} of {done['points']} points")
    server.faults.clear()
