"""The provider's queue: learned from refusals, shared, and never a failure."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs import queue
from sqlite_utils_openai_batch.local import LocalServer, ServerLimits, SimulatedAnswerer
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import KEY, Paid, Zygote, asking, check_all_answered, make_table


def small_queue(tokens: int) -> LocalServer:
    return LocalServer(
        answerer=SimulatedAnswerer(echo=True), limits=ServerLimits(enqueued_tokens=tokens)
    )


def test_cut_to_fit_a_small_queue(zygote: Zygote, tmp_path: Path) -> None:
    """One part of 40 rows is refused, the limit learned, the part cut: every row is asked once."""
    db = make_table(tmp_path / "notes.db", rows=40)
    with small_queue(150) as server:
        arguments = asking(db, server)
        arguments[arguments.index("--part-requests") + 1] = "40"
        done = zygote.run(*arguments, seconds=60)
        assert done["code"] == 0, done["output"]
        assert Paid(server, KEY).twice == {}
    check_all_answered(db, rows=40)
    with closing(connect(db)) as conn:
        job = store.list_jobs(conn)[0]
        parts = store.list_parts(conn, job.id)
        assert queue.known_limit(conn, job) == 150
        assert len(parts) > 1
        assert all(queue.tokens_of(part) <= 150 for part in parts)
        attempts = conn.execute("SELECT DISTINCT attempts FROM openai_batch_requests").fetchall()
    assert attempts == [(1,)], "waiting costs no attempt"


def test_limit_given_by_hand(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """Parts are cut to half of it before anything is sent, and `show` says what waits."""
    db = make_table(tmp_path / "notes.db", rows=40)
    arguments = asking(db, server, "--enqueued-tokens", "200", "--no-wait", key="by-hand")
    arguments[arguments.index("--part-requests") + 1] = "40"
    done = zygote.run(*arguments)
    assert done["code"] == 0, done["output"]
    with closing(connect(db)) as conn:
        job = store.list_jobs(conn)[0]
        assert all(queue.tokens_of(part) <= 100 for part in store.list_parts(conn, job.id))
    shown = zygote.run("show", str(db))["output"]
    assert "of 200 tokens in use; part" in shown, shown
    done = zygote.run("watch", str(db), "--key", "by-hand", "--poll", "0.05", seconds=60)
    assert done["code"] == 0, done["output"]
    check_all_answered(db, rows=40)


def test_a_row_that_can_never_fit(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=1)
    with small_queue(3) as server:
        done = zygote.run(*asking(db, server), seconds=60)
    assert done["code"] == 4, done["output"]
    assert "can't fit" in done["output"]
