"""How jobs end, and what others do meanwhile: lost batches, two retries, a cancel that fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock, waits
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.settle import settle_job
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.leases import job_leased

from .conftest import (
    KEY,
    Paid,
    Zygote,
    answers,
    asking,
    check_all_answered,
    client_of,
    make_table,
    streaming,
)
from .conftest import outcome_sums as sums


def serving(*faults: str) -> LocalServer:
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=list(faults))


def change(db: Path, sql: str) -> None:
    with closing(sqlite3.connect(db)) as conn:
        conn.execute(sql)
        conn.commit()


def status(db: Path) -> str:
    with closing(connect(db)) as conn:
        return store.get_job(conn, 1).status


def test_two_retries_at_once_ask_once(zygote: Zygote, tmp_path: Path) -> None:
    """Both saw the same failed requests; the second finds them asked again already."""
    db = make_table(tmp_path / "notes.db")
    with serving("fail-lines:2*1") as server:
        assert zygote.run(*asking(db, server))["code"] == 3
        with closing(connect(db)) as conn:
            job = store.get_job(conn, 1)
            plans = [manage.plan_retry(conn, job, ()) for _ in range(2)]
            for plan in plans:
                manage.retry(conn, job, plan, {})
            parts = store.list_parts(conn, 1)
        assert [part.requests for part in parts] == [4, 4, 2, 2]
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert sorted(Paid(server, KEY).times.values()) == [1] * 8 + [2] * 2
    check_all_answered(db)


def test_another_process_settles_no_job_that_is_being_retried(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Between the approval of a retry and its first part nothing seems left to do."""
    db = make_table(tmp_path / "notes.db", rows=2)
    assert zygote.run(*asking(db, server, key="settle"))["code"] == 0
    with closing(connect(db)) as conn:
        with job_leased(conn, 1):
            engine.approve(conn, store.get_job(conn, 1))
            conn.execute(
                "UPDATE openai_batch_jobs SET lease_owner = 'another-machine-1' WHERE id = 1"
            )
            settle_job(conn, 1, [], [])
            assert store.get_job(conn, 1).status == "running"
        conn.execute("UPDATE openai_batch_jobs SET lease_owner = NULL, lease_until = NULL")
        settle_job(conn, 1, [], [])
        assert store.get_job(conn, 1).status == "completed"


def test_retry_waits_for_whoever_holds_the_job(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("fail-lines:2*1") as server:
        assert zygote.run(*asking(db, server))["code"] == 3
        change(
            db,
            "UPDATE openai_batch_jobs SET lease_owner = 'another-machine-1', "
            "lease_until = '9999-01-01T00:00:00.000Z'",
        )
        held = zygote.run("retry", str(db), "1", "-y", "--key", KEY)
        assert held["code"] == 1, held["output"]
        assert "Another process works on job 1" in held["output"]
        assert len(Paid(server, KEY).batches) == 1


def test_a_batch_that_is_gone_can_be_given_up(zygote: Zygote, tmp_path: Path) -> None:
    """The provider knows the batch no more: pause, say what to do, and let `cancel` end it."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        for name in ("parts", "batches"):
            change(db, f"UPDATE openai_batch_{name} SET batch_id = 'batch_gone'")
        lost = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert lost["code"] == 4, lost["output"]
        assert "Batch batch_gone of part 1 can't be found with this key" in lost["output"]
        assert "cancel gives its answers up" in lost["output"]
        assert sums(db) == {"pending": 4}
        ended = zygote.run("cancel", str(db), "1", "--key", KEY)
        assert ended["code"] == 3, ended["output"]
    assert sums(db) == {"missing": 4}
    assert status(db) == "cancelled"


@pytest.mark.parametrize("ended", ["completed", "expired", "failed"])
def test_a_batch_that_is_gone_after_it_ended_can_be_given_up(
    zygote: Zygote, tmp_path: Path, ended: str
) -> None:
    """It was seen to end, and then the provider knows nothing of it: no file can be had."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        for name in ("parts", "batches"):
            change(db, f"UPDATE openai_batch_{name} SET batch_id = 'batch_gone'")
        change(db, f"UPDATE openai_batch_parts SET status = '{ended}'")
        lost = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert lost["code"] == 4, lost["output"]
        assert "cancel gives its answers up" in lost["output"]
        given_up = zygote.run("cancel", str(db), "1", "--key", KEY)
        assert given_up["code"] == 3, given_up["output"]
    assert sums(db) == {"missing": 4}
    assert status(db) == "cancelled"


def test_a_surplus_batch_is_stopped_later_too(zygote: Zygote, tmp_path: Path) -> None:
    """Killed after it was recorded and before it was cancelled: the next pass cancels it."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        with closing(connect(db)) as conn, Provider(server.base_url, KEY) as provider:
            part = store.list_parts(conn, 1)[0]
            assert part.input_file_id and part.token and part.fingerprint
            surplus = provider.create(part.input_file_id, "/v1/chat/completions", {})
            store.record_batch(
                conn,
                part,
                batch_id=surplus.id,
                said=surplus.said,
                input_file_id=part.input_file_id,
                token=part.token,
                fingerprint=part.fingerprint,
            )
        zygote.run("sync", str(db), "--key", KEY)
        with client_of(server, KEY) as client:
            assert client.batches.retrieve(surplus.id).status in ("cancelling", "cancelled")
            assert client.batches.retrieve(str(part.batch_id)).status == "in_progress"


def test_a_surplus_batch_is_waited_for(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """What it had answered when it was stopped was paid for; but none is waited for for ever."""
    db = make_table(tmp_path / "notes.db", rows=2)
    assert zygote.run(*asking(db, server, key="surplus"))["code"] == 0
    with closing(connect(db)) as conn:
        part = store.list_parts(conn, 1)[0]
        assert part.token and part.fingerprint
        store.record_batch(
            conn,
            part,
            batch_id="batch_surplus",
            said="cancelling",
            input_file_id=None,
            token=part.token,
            fingerprint=part.fingerprint,
        )
        engine.approve(conn, store.get_job(conn, 1))
        settle_job(conn, 1, [], [])
        assert store.get_job(conn, 1).status == "running"
        store.update_batch(conn, "batch_surplus", created_at=clock.now(-26 * 3600))
        settle_job(conn, 1, [], [])
        assert store.get_job(conn, 1).status == "completed"


def test_a_stray_that_is_gone_holds_nothing_up(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        with closing(connect(db)) as conn:
            part = store.list_parts(conn, 1)[0]
            assert part.token and part.fingerprint
            store.record_batch(
                conn,
                part,
                batch_id="batch_gone",
                said="validating",
                input_file_id=None,
                token=part.token,
                fingerprint=part.fingerprint,
            )
        server.faults.clear()
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
    check_all_answered(db, rows=4)


def test_a_cancel_that_fails_is_no_pause(zygote: Zygote, tmp_path: Path) -> None:
    """`submit` would send the rest: a job that was to be cancelled is never taken up by it."""
    db = make_table(tmp_path / "notes.db")
    with serving("stuck:in_progress") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        held = zygote.run("cancel", str(db), "1", "--key", "another-key")
        assert held["code"] == 1, held["output"]
        assert "never had it there" in held["output"]
        assert status(db) == "running", "a key that is refused changes nothing"
        killed: str | None = None
        for point in range(1, 40):
            killed = zygote.run("cancel", str(db), "1", "--key", KEY, kill_at=point)["killed"]
            if killed and "before POST" in killed:
                break
        assert killed and killed.endswith("/cancel"), killed
        assert status(db) == "cancelling"
        assert zygote.run("watch", str(db), "--key", "another-key")["code"] == 1
        assert status(db) == "cancelling"
        again = zygote.run("retry", str(db), "1", "-y", "--key", KEY)
        assert "is being cancelled: wait for that" in again["output"]
        assert zygote.run("submit", str(db), "1", "-y", "--key", KEY)["code"] == 1
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 3, done["output"]
    assert status(db) == "cancelled"
    assert sum(sums(db).values()) == 10


def test_answers_that_no_file_holds_are_not_bought_again(zygote: Zygote, tmp_path: Path) -> None:
    """The provider counts them and never names their file: somebody has to say what then."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("null-ids") as server:
        # As if the hour of waiting for the file were over.
        lost = zygote.run(*asking(db, server), late=0.0)
        assert lost["code"] == 4, lost["output"]
        assert "counts 4 answers in batch" in lost["output"]
        assert zygote.run("sync", str(db), "--key", KEY, late=0.0)["code"] == 4
        assert len(Paid(server, KEY).batches) == 1
        assert zygote.run("cancel", str(db), "1", "--key", KEY, late=0.0)["code"] == 3
        assert sums(db) == {"missing": 4}
        server.faults.clear()
        again = zygote.run("retry", str(db), "1", "-y", "--key", KEY, "--poll", "0.05")
        assert again["code"] == 0, again["output"]
    check_all_answered(db, rows=4)


class Lagging(Provider):
    """A provider whose list is behind: what has failed is still being validated there."""

    def list_since(self, unix: float) -> Iterator[BatchState]:
        for state in super().list_since(unix):
            lags = state.status == "failed"
            yield replace(state, status="validating", ended_at=None) if lags else state


def test_a_failed_batch_is_not_taken_on_twice(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found, seen to have failed, its lines rejected: then the rest is sent, not found again."""
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0)
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("lost-create-reply") as server:
        arguments = asking(db, server, "--template", str(streaming(tmp_path, (1, 2))), "--no-wait")
        at = arguments.index("--prompt")
        assert zygote.run(*arguments[:at], *arguments[at + 2 :])["code"] == 1
        with closing(connect(db)) as conn, Lagging(server.base_url, KEY) as provider:
            while (job := store.get_job(conn, 1)).unfinished:
                engine.one_pass(conn, [job], lambda _: provider)
        assert Paid(server, KEY).answered_twice == {}
    assert sums(db) == {"ok": 2, "rejected": 2}
    assert [row for row, answer in answers(db).items() if answer is None] == [1, 2]


class Failing(Lagging):
    """A provider where a batch fails in the middle of a pass: after the list was asked for."""

    passes = 0
    listed = False

    def list_since(self, unix: float) -> Iterator[BatchState]:
        self.listed = self.passes > 1
        return super().list_since(unix)

    def retrieve(self, batch_id: str) -> BatchState:
        state = super().retrieve(batch_id)
        lags = state.status == "failed" and not self.listed
        return replace(state, status="validating", ended_at=None, errors=[]) if lags else state


def test_a_batch_that_fails_in_the_middle_of_a_pass_is_not_taken_on_again(
    zygote: Zygote, tmp_path: Path
) -> None:
    """The list, asked for to send another part, still had it: other lines would be rejected."""
    db = make_table(tmp_path / "notes.db", rows=8)
    with serving() as server:
        arguments = asking(db, server, "--template", str(streaming(tmp_path, (1, 2))))
        at = arguments.index("--prompt")
        arguments = ["prepare", *arguments[1:at], *arguments[at + 2 :]]
        for name in ("-y", "--poll", "0.05"):
            arguments.remove(name)
        assert zygote.run(*arguments)["code"] == 0
        with closing(connect(db)) as conn, Failing(server.base_url, KEY) as provider:
            engine.approve(conn, store.get_job(conn, 1))
            while (job := store.get_job(conn, 1)).unfinished:
                provider.listed = False
                provider.passes += 1
                engine.one_pass(conn, [job], lambda _: provider)
        assert Paid(server, KEY).answered_twice == {}
    assert sums(db) == {"ok": 6, "rejected": 2}
    assert [row for row, answer in answers(db).items() if answer is None] == [1, 2]


def test_answers_that_cannot_be_written_are_written_elsewhere(
    zygote: Zygote, tmp_path: Path
) -> None:
    """What was never sent kept `apply` waiting, and the unwritten answers kept `cancel` waiting."""
    db = make_table(tmp_path / "notes.db", rows=8)
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        arguments = ["prepare", *asking(db, server)[1:]]
        for name in ("-y", "--poll", "0.05"):
            arguments.remove(name)
        assert zygote.run(*arguments)["code"] == 0
        change(db, "CREATE TRIGGER undo BEFORE UPDATE ON notes "
                   "BEGIN SELECT RAISE(ROLLBACK, 'no'); END")  # fmt: skip
        zygote.run("submit", str(db), "1", "-y", "--key", KEY)
        stopped = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert stopped["code"] == 4, stopped["output"]
        assert "A trigger undoes what is written: no. The answers are kept" in stopped["output"]
        elsewhere = ("apply", str(db), "1", "--output-table", "elsewhere")
        assert "stop it with cancel" in zygote.run(*elsewhere)["output"]
        assert zygote.run("cancel", str(db), "1", "--key", KEY)["code"] == 4
        assert zygote.run(*elsewhere)["code"] == 0
    with closing(sqlite3.connect(db)) as conn:
        rows = conn.execute("SELECT id, answer FROM elsewhere").fetchall()
    assert status(db) == "cancelled"
    assert sums(db) == {"ok": 4, "cancelled": 4}
    assert all(f"note number {number};" in answer for number, answer in rows)
    assert len(rows) == 4
