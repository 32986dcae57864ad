"""What stops one part, or one job, keeps no other one from its turn."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import NotFound, Transient
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import KEY, Zygote, asking, make_table


def change(db: Path, *statements: str) -> None:
    with closing(sqlite3.connect(db)) as conn, conn:
        for statement in statements:
            conn.execute(statement)


def prepared(zygote: Zygote, db: Path, server: LocalServer, table: str = "notes") -> None:
    arguments = asking(db, server)
    arguments[0], arguments[2] = "prepare", table
    arguments += ["--new"]
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    assert zygote.run(*arguments)["code"] == 0


def jobs(db: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(db)) as conn:
        return conn.execute("SELECT status, message FROM openai_batch_jobs ORDER BY id").fetchall()


class Broken(Provider):
    """A provider that has trouble with one batch, or with one file."""

    batch: str | None = None
    file: str | None = None
    error: Exception = NotFound("gone")

    def retrieve(self, batch_id: str) -> BatchState:
        if batch_id == self.batch:
            raise self.error
        return super().retrieve(batch_id)

    def download(self, file_id, *args):  # type: ignore[no-untyped-def]
        if file_id == self.file:
            raise self.error
        super().download(file_id, *args)


def all_sent(zygote: Zygote, db: Path, server: LocalServer) -> list[store.Part]:
    """A job of three parts whose batches are all at work."""
    server.faults.add("stuck:in_progress")
    prepared(zygote, db, server)
    with closing(connect(db)) as conn, Provider(server.base_url, KEY) as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        while not all(part.batch_id for part in store.list_parts(conn, 1)):
            engine.one_pass(conn, [job], lambda _: provider)
        server.faults.clear()
        parts = store.list_parts(conn, 1)
        for part in parts:
            while not provider.retrieve(str(part.batch_id)).ended:
                pass
        return parts


def collected(db: Path, provider: Provider, passes: int = 1) -> list[bool]:
    with closing(connect(db)) as conn:
        for _ in range(passes):
            engine.one_pass(conn, [store.get_job(conn, 1)], lambda _: provider)
        return [part.collected_at is not None for part in store.list_parts(conn, 1)]


def test_a_batch_that_is_gone_keeps_no_other_waiting(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        parts = all_sent(zygote, db, server)
        with Broken(server.base_url, KEY) as provider:
            provider.batch = parts[0].batch_id
            assert collected(db, provider) == [False, True, True]
            ((status, message),) = jobs(db)
            assert status == "paused"
            assert f"Batch {provider.batch} of part 1 can't be found" in str(message)


def test_a_file_that_cannot_be_had_now_keeps_no_other_waiting(
    zygote: Zygote, tmp_path: Path
) -> None:
    db = make_table(tmp_path / "notes.db")
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        parts = all_sent(zygote, db, server)
        with Broken(server.base_url, KEY) as provider:
            provider.file = provider.retrieve(str(parts[0].batch_id)).output_file_id
            provider.error = Transient("503")
            assert collected(db, provider, 2) == [False, True, True]
            assert jobs(db) == [("running", None)]
            provider.file = None
            assert collected(db, provider) == [True, True, True]


def test_a_table_that_is_gone_pauses_its_job_only(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    change(db, "CREATE TABLE others (id INTEGER PRIMARY KEY, body TEXT)",
           "INSERT INTO others SELECT * FROM notes")  # fmt: skip
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        prepared(zygote, db, server)
        prepared(zygote, db, server, "others")
        change(db, "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at",
               "ALTER TABLE notes RENAME TO letters")  # fmt: skip
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 4, done["output"]
        paused, other = jobs(db)
        assert paused[0] == "paused"
        assert str(paused[1]).startswith("No such table: 'notes'. Tables: ")
        assert other == ("completed", None)
        change(db, "ALTER TABLE letters RENAME TO notes")
        assert zygote.run("submit", str(db), "1", "-y", "--key", KEY)["code"] in (0, 3)
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert jobs(db)[0] == ("completed", None)


def test_a_column_that_is_gone_pauses_its_job(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        prepared(zygote, db, server)
        change(db, "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at",
               "ALTER TABLE notes RENAME COLUMN body TO text")  # fmt: skip
        done = zygote.run("sync", str(db), "--key", KEY)
        assert done["code"] == 4, done["output"]
        ((status, message),) = jobs(db)
        assert status == "paused"
        assert "body" in str(message)


def test_a_missing_key_keeps_no_other_job_waiting(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as server:
        prepared(zygote, db, server)
        prepared(zygote, db, server)
        change(db, "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at",
               "UPDATE openai_batch_jobs SET account = NULL",
               "UPDATE openai_batch_jobs SET base_url = NULL WHERE id = 1")  # fmt: skip
        while jobs(db)[1][0] == "running":
            done = zygote.run("sync", str(db))
            assert done["code"] == 1, done["output"]
            assert "No key for OpenAI" in done["output"]
        assert [status for status, _ in jobs(db)] == ["running", "completed"]
