"""SIGKILL in the middle of repairs and of better answers: nothing twice, nothing lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

from .conftest import Paid, Zygote, asking, make_table, outcome_sums
from .test_kill import finish, has_job, points

STRIDE = 1 if os.environ.get("CHAOS") == "all" else 48
SCHEMA = ("--schema", "mood good|bad|mixed, note")


@pytest.fixture(scope="module")
def wrong() -> Iterator[LocalServer]:
    """Every second answer of a batch is wrong until it is told so."""
    faults = ["wrong-until-told:2"]
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=faults) as running:
        yield running


def kept(db: Path) -> list[tuple[str, str, int]]:
    with closing(sqlite3.connect(db)) as conn:
        return conn.execute(
            "SELECT status, why, count(*) FROM openai_batch_answers GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()


def moods(db: Path) -> int:
    with closing(sqlite3.connect(db)) as conn:
        (count,) = conn.execute(
            "SELECT count(*) FROM notes JOIN openai_batch_requests AS requests "
            "ON row_key = notes.id WHERE mood = json_extract(requests.answer, '$.mood') "
            "AND note LIKE '%-' || requests.id || ': %'"
        ).fetchone()
    return int(count)


def test_killed_while_answers_are_repaired(
    zygote: Zygote, wrong: LocalServer, tmp_path: Path
) -> None:
    more = (*SCHEMA, "--repair", "1")
    whole = make_table(tmp_path / "whole.db")
    done = zygote.run(*asking(whole, wrong, *more, key="repair-whole"))
    assert done["code"] == 0, done["output"]
    # ten rows in parts of four: 2, 2 and 1 of them are wrong at first
    assert kept(whole) == [("schema_violation", "repair", 5)]
    for point in points(done["points"], STRIDE):
        key = f"repair-{point}"
        db = make_table(tmp_path / f"{key}.db")
        killed = zygote.run(*asking(db, wrong, *more, key=key), kill_at=point)
        if killed["code"] == -9 and not has_job(db):
            continue
        finish(zygote, db, key)
        where = killed["killed"]
        assert outcome_sums(db) == {"ok": 10}, where
        paid = Paid(wrong, key)
        assert sorted(paid.times.values()) == [1] * 5 + [2] * 5, where
        assert kept(db) == [("schema_violation", "repair", 5)], where
        assert moods(db) == 10, where


def test_killed_while_better_answers_are_asked_for(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Wherever it is cut: each row has one answer that counts, in its cell, and the old ones."""

    def prepared(name: str) -> Path:
        db = make_table(tmp_path / f"{name}.db")
        done = zygote.run(*asking(db, server, *SCHEMA, key=name))
        assert done["code"] == 0, done["output"]
        return db

    def again(db: Path, key: str) -> list[str]:
        return ["retry", str(db), "1", "--model", "gpt-4o", "--where", "id > 2", "-y", "--key", key,
                "--poll", "0.05"]  # fmt: skip

    whole = prepared("better-whole")
    done = zygote.run(*again(whole, "better-whole"))
    assert done["code"] == 0, done["output"]
    assert kept(whole) == [("ok", "retry", 8)]
    for point in points(done["points"], STRIDE):
        key = f"better-{point}"
        db = prepared(key)
        killed = zygote.run(*again(db, key), kill_at=point)
        finish(zygote, db, key)
        where = killed["killed"]
        assert outcome_sums(db) == {"ok": 10}, where
        assert moods(db) == 10, where
        paid = Paid(server, key)
        assert set(paid.times.values()) <= {1, 2}, where
        with closing(sqlite3.connect(db)) as conn:
            assert conn.execute(
                "SELECT count(*) FROM openai_batch_requests AS requests WHERE "
                "attempts <> 1 + (SELECT count(*) FROM openai_batch_answers "
                "WHERE request_id = requests.id)"
            ).fetchone() == (0,), where
            assert conn.execute(
                "SELECT count(*) FROM openai_batch_answers WHERE standing"
            ).fetchone() == (0,), where
