"""Several processes, copies and restored backups, sleepers: still nothing twice."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock, waits
from sqlite_utils_openai_batch.base.errors import JobError
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare as prepare_job
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store import leases, owner
from sqlite_utils_openai_batch.store.connection import connect, transaction

from .conftest import KEY, Paid, Zygote, asking, check_all_answered, make_table

COMMAND = [sys.executable, "-m", "sqlite_utils", "openai-batch"]


def prepare(zygote: Zygote, db: Path, server: LocalServer, key: str, *more: str) -> None:
    arguments = ["prepare", *asking(db, server, *more, key=key)[1:]]
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    done = zygote.run(*arguments)
    assert done["code"] == 0, done["output"]


def finish(zygote: Zygote, db: Path, key: str) -> None:
    done = zygote.run("watch", str(db), "--key", key, "--poll", "0.05")
    assert done["code"] == 0, done["output"]


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_four_processes_on_one_job(
    zygote: Zygote, server: LocalServer, tmp_path: Path, journal: str
) -> None:
    key = f"race-{journal}"
    db = make_table(tmp_path / "race.db", rows=20, journal=journal)
    prepare(zygote, db, server, key, "--part-requests", "1")
    with closing(connect(db)) as conn:
        engine.approve(conn, store.list_jobs(conn)[0])
    watching = [
        subprocess.Popen(
            [*COMMAND, "watch", str(db), "--key", key, "--poll", "0.05"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=90)[1] for process in watching]
    assert [process.returncode for process in watching] == [0, 0, 0, 0], said
    paid = Paid(server, key)
    assert paid.twice == {}
    assert len(paid.batches) == 20
    check_all_answered(db, rows=20)


def test_copied_after_prepare(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """Two copies of a prepared job, both submitted: the second finds the first one's batches."""
    db, copy = make_table(tmp_path / "one.db"), tmp_path / "two.db"
    prepare(zygote, db, server, "copy-1")
    shutil.copyfile(db, copy)
    for path in (db, copy):
        done = zygote.run("submit", str(path), "-y", "--key", "copy-1")
        assert done["code"] == 0, done["output"]
        finish(zygote, path, "copy-1")
        check_all_answered(path)
    assert Paid(server, "copy-1").twice == {}


def test_copied_after_submit(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """A backup taken in the middle, restored after the end."""
    db, copy = make_table(tmp_path / "one.db"), tmp_path / "two.db"
    done = zygote.run(*asking(db, server, "--no-wait", key="copy-2"))
    assert done["code"] == 0, done["output"]
    shutil.copyfile(db, copy)
    for path in (db, copy):
        finish(zygote, path, "copy-2")
        check_all_answered(path)
    assert Paid(server, "copy-2").twice == {}


def test_older_backup_of_an_approved_job(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """The backup doesn't even know that anything was sent."""
    db, copy = make_table(tmp_path / "one.db"), tmp_path / "two.db"
    prepare(zygote, db, server, "copy-3")
    with closing(connect(db)) as conn:
        engine.approve(conn, store.list_jobs(conn)[0])
    shutil.copyfile(db, copy)
    for path in (db, copy):
        finish(zygote, path, "copy-3")
        check_all_answered(path)
    assert Paid(server, "copy-3").twice == {}


@pytest.mark.parametrize("file", ["there", "gone"])
def test_older_backup_in_which_rows_are_as_they_were(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """An answer to what a row became isn't written to what it was: another question."""
    db, backup = make_table(tmp_path / "notes.db", rows=4), tmp_path / "backup.db"
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        prepare(zygote, db, server, KEY)
        with closing(connect(db)) as conn:
            engine.approve(conn, store.get_job(conn, 1))
            shutil.copy(db, backup)
            conn.execute("UPDATE notes SET body = 'another note;' WHERE id = 2")
            conn.execute("DELETE FROM notes WHERE id = 3")
        zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        with closing(connect(backup)) as conn, Provider(server.base_url, KEY) as provider:
            conn.execute("UPDATE notes SET body = ' ' || body WHERE id = 4")
            conn.execute("UPDATE notes SET body = trim(body) WHERE id = 4")
            if file == "gone":
                provider.delete_file(str(next(provider.list_since(0)).input_file_id))
        finish(zygote, backup, KEY)
        if file == "there":
            assert Paid(server, KEY).twice == {}
    written = {1: "written", 2: "stale", 3: "written", 4: "written"}
    if file == "gone":
        written = {1: "stale", 2: "stale", 3: "written", 4: "stale"}
    with closing(connect(backup)) as conn:
        found = dict(conn.execute("SELECT row_key, write_status FROM openai_batch_requests"))
    assert found == written


def test_prepared_but_not_approved_is_left_alone(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "unapproved")
    for command in ("sync", "watch"):
        done = zygote.run(command, str(db), "--key", "unapproved")
        assert done["code"] == 0, done["output"]
    assert Paid(server, "unapproved").batches == []


class Sleeper(Provider):
    """A client on a laptop that sleeps in the middle of a call, for longer than its lease."""

    def __init__(self, server: LocalServer, key: str, path: Path, asleep: str):
        super().__init__(server.base_url, key)
        self.path = path
        self.asleep = asleep

    def sleep(self, where: str) -> None:
        if where != self.asleep:
            return
        self.asleep = ""
        with closing(sqlite3.connect(self.path)) as conn:
            conn.execute(
                "UPDATE openai_batch_parts SET lease_owner = 'another-machine-1', lease_until = ?"
                "WHERE lease_owner IS NOT NULL",
                [clock.now(900)],
            )
            conn.commit()

    def upload(self, path, *args):  # type: ignore[no-untyped-def]
        self.sleep("upload")
        return super().upload(path, *args)

    def create(self, *args, **options):  # type: ignore[no-untyped-def]
        made = super().create(*args, **options)
        self.sleep("create")
        return made


@pytest.mark.parametrize("asleep", ["upload", "create"])
def test_laptop_that_slept_through_its_lease(
    zygote: Zygote, server: LocalServer, tmp_path: Path, asleep: str
) -> None:
    """Another process took the part over: the sleeper stops, and its batch isn't lost."""
    key = f"sleep-{asleep}"
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, key)
    with closing(connect(db)) as conn, Sleeper(server, key, db, asleep) as provider:
        job = engine.approve(conn, store.list_jobs(conn)[0])
        engine.one_pass(conn, [job], lambda _: provider)
        part = store.list_parts(conn, job.id)[0]
        assert part.batch_id is None
        # The other machine gives up too, at last.
        with transaction(conn):
            store.update_part(conn, part.id, lease_owner=None, lease_until=None)
    finish(zygote, db, key)
    assert Paid(server, key).twice == {}
    check_all_answered(db, rows=4)


class Slow(Provider):
    """A client whose uploads and downloads take longer than a lease."""

    def __init__(self, server: LocalServer, key: str, path: Path):
        super().__init__(server.base_url, key)
        self.path = path
        self.until: list[str] = []

    def nearly_run_out(self) -> None:
        with closing(sqlite3.connect(self.path)) as conn:
            conn.execute("UPDATE openai_batch_parts SET lease_until = ? "
                         "WHERE lease_owner IS NOT NULL", [clock.now(1)])  # fmt: skip
            conn.commit()

    def note(self) -> None:
        with closing(sqlite3.connect(self.path)) as conn:
            self.until += conn.execute("SELECT max(lease_until) FROM openai_batch_parts").fetchone()

    def upload(self, *args):  # type: ignore[no-untyped-def]
        self.nearly_run_out()
        made = super().upload(*args)
        self.note()
        return made

    def download(self, *args):  # type: ignore[no-untyped-def]
        self.nearly_run_out()
        super().download(*args)
        self.note()


def test_long_calls_renew_the_lease(
    zygote: Zygote, server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.0)
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, "slow")
    with closing(connect(db)) as conn, Slow(server, "slow", db) as provider:
        job = engine.approve(conn, store.list_jobs(conn)[0])
        while (job := store.get_job(conn, job.id)).unfinished:
            engine.one_pass(conn, [job], lambda _: provider)
    assert len(provider.until) == 2
    assert all(until > clock.now(800) for until in provider.until)
    check_all_answered(db, rows=4)


def test_two_live_batches_for_one_part(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    """Sent by hand a second time: the older is kept, and both are recorded."""
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, "double")
    with closing(connect(db)) as conn, Provider(server.base_url, "double") as provider:
        job = store.list_jobs(conn)[0]
        line = b'{"custom_id":"%s-1","method":"POST","url":"/v1/chat/completions","body":'
        line += b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"x"}]}}\n'
        file = tmp_path / "sent.jsonl"
        file.write_bytes(line % job.uid.encode())
        file_id = provider.upload(file, "sent.jsonl")
        token = {"token": f"{job.uid}-1-1", "fingerprint": "00" * 16}
        batches = [provider.create(file_id, "/v1/chat/completions", token) for _ in range(2)]
        job = engine.approve(conn, job)
        engine.one_pass(conn, [job], lambda _: provider)
        part = store.list_parts(conn, job.id)[0]
        kept = conn.execute("SELECT batch_id FROM openai_batch_batches").fetchall()
    assert {batch_id for (batch_id,) in kept} == {batch.id for batch in batches}
    assert part.batch_id in {batch.id for batch in batches}


class Late(Provider):
    """A provider that lists nothing until it is told to."""

    shows = False

    def list_since(self, unix: float) -> Iterator[BatchState]:
        return super().list_since(unix) if self.shows else iter(())


def test_a_batch_that_is_listed_too_late_is_stopped(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply was lost, it wasn't listed in time, and the part was sent once more."""
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0)
    db = make_table(tmp_path / "notes.db", rows=4)
    faults = ["lost-create-reply", "stuck:in_progress"]
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=faults) as server:
        prepare(zygote, db, server, KEY)
        with closing(connect(db)) as conn, Late(server.base_url, KEY) as provider:
            job = engine.approve(conn, store.list_jobs(conn)[0])
            for _ in range(2):
                engine.one_pass(conn, [job], lambda _: provider)
            provider.shows = True
            made = {state.id for state in provider.list_since(0)}
            assert len(made) == 2
            engine.one_pass(conn, [job], lambda _: provider)
            kept = store.list_parts(conn, 1)[0].batch_id
            stopped = {one for one in made if provider.retrieve(one).status != "in_progress"}
            assert stopped == made - {kept}
        server.faults.clear()
        finish(zygote, db, KEY)
        # What it had answered by then was paid for, and is here.
        answered = sum(Paid(server, KEY).answers.values())
    with closing(sqlite3.connect(db)) as conn:
        (kept,) = conn.execute("SELECT count(*) FROM openai_batch_responses "
                               "WHERE line LIKE '%\"status_code\":200%'").fetchone()  # fmt: skip
    assert kept == answered
    check_all_answered(db, rows=4)


class Meanwhile(Provider):
    """A provider that does something else, once, right before it makes a batch."""

    def __init__(self, server: LocalServer, key: str, do: Callable[[], None]):
        super().__init__(server.base_url, key)
        self.do: Callable[[], None] | None = do

    def create(self, *args, **options):  # type: ignore[no-untyped-def]
        do, self.do = self.do, None
        if do is not None:
            do()
        return super().create(*args, **options)


def test_two_copies_that_send_at_the_same_time(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither had the other's batch in its list: both keep the older one, and stop the younger."""
    monkeypatch.setattr(waits, "LATE_FILES_SECONDS", 0.0)
    db, copy = make_table(tmp_path / "notes.db", rows=4), tmp_path / "copy.db"
    answerer = SimulatedAnswerer(echo=True)
    with LocalServer(answerer=answerer, faults=["stuck:in_progress"]) as server:
        prepare(zygote, db, server, KEY)
        with (
            closing(connect(db)) as conn,
            Provider(server.base_url, KEY) as theirs,
        ):
            job = engine.approve(conn, store.get_job(conn, 1))
            copy.write_bytes(db.read_bytes())
            with closing(connect(copy)) as other:

                def pass_of(one: sqlite3.Connection, provider: Provider) -> None:
                    engine.one_pass(one, [store.get_job(one, job.id)], lambda _: provider)

                with Meanwhile(server, KEY, lambda: pass_of(other, theirs)) as ours:
                    pass_of(conn, ours)
                    for _ in range(2):
                        pass_of(other, theirs)
                        pass_of(conn, ours)
                    made = sorted(ours.list_since(0), key=lambda one: (one.created_at, one.id))
                    kept = [store.list_parts(one, 1)[0].batch_id for one in (conn, other)]
                    assert kept == [made[0].id] * 2
                    assert made[0].status == "in_progress"
                    assert made[1].status in ("cancelling", "cancelled")
        server.faults.clear()
        for path in (db, copy):
            finish(zygote, path, KEY)
            check_all_answered(path, rows=4)


def test_a_laptop_that_slept_while_it_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process swept its job away and got the same ids: their rows were overwritten."""
    db = make_table(tmp_path / "notes.db", rows=10_001)
    with closing(connect(db)) as conn, closing(connect(db)) as other:

        def begin(one: sqlite3.Connection, progress: Callable[[int], None] | None) -> int:
            with closing(settle(one, Ask(table="notes", prompt="{{ body }}"))) as plan:
                job, _ = prepare_job(
                    one, plan, uid=store.new_uid(), provider="openai", base_url=None,
                    account=None, settings={}, progress=progress,
                )  # fmt: skip
            return job.id

        slept: list[int] = []

        def sleep(rows: int) -> None:
            if slept:
                return
            slept.append(rows)
            store.update_job(conn, 1, lease_until=clock.now(-1))
            monkeypatch.setattr(owner, "SECRET", "another")
            begin(other, None)
            monkeypatch.undo()

        with pytest.raises(JobError, match="another process has swept away what was prepared"):
            begin(conn, sleep)
        (job,) = store.list_jobs(conn)
        kept = conn.execute("SELECT count(*), count(DISTINCT row_key), min(job_id), max(job_id) "
                            "FROM openai_batch_requests").fetchone()  # fmt: skip
        assert kept == (10_001, 10_001, job.id, job.id)


def test_a_clock_that_was_fast_when_the_job_was_made(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By it the batch is older than its job: it wasn't looked for, and the part was sent again."""
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0)
    db = make_table(tmp_path / "notes.db", rows=4)
    with LocalServer(answerer=SimulatedAnswerer(echo=True), faults=["lost-create-reply"]) as server:
        prepare(zygote, db, server, KEY)
        with closing(connect(db)) as conn, Provider(server.base_url, KEY) as provider:
            store.update_job(conn, 1, created_at=clock.now(6 * 3600))
            job = engine.approve(conn, store.get_job(conn, 1))
            for _ in range(3):
                engine.one_pass(conn, [job], lambda _: provider)
        finish(zygote, db, KEY)
        assert Paid(server, KEY).twice == {}
    check_all_answered(db, rows=4)


def test_rotated_key_is_the_same_account(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Another key that can't read the job's batch is another account: it stops, nothing is sent."""
    db = make_table(tmp_path / "notes.db")
    done = zygote.run(*asking(db, server, "--no-wait", key=KEY + "-a"))
    assert done["code"] == 0
    other = zygote.run("sync", str(db), "--key", KEY + "-b")
    assert other["code"] == 1, other["output"]
    assert "--accept-account" in other["output"]
    assert Paid(server, KEY + "-b").batches == []
    finish(zygote, db, KEY + "-a")
    check_all_answered(db)
