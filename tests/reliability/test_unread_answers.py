"""Answers that can't be read any more were paid for: the ceiling goes on counting their bound."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import waits
from sqlite_utils_openai_batch.base.errors import NotFound
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.costs import committed

from .conftest import (
    KEY,
    Paid,
    Zygote,
    asking,
    check_all_answered,
    client_of,
    make_table,
    outcome_sums,
)

PRICED = ("--price-input", "1", "--price-output", "4", "-o", "max_tokens", "100")


def serving(*faults: str) -> LocalServer:
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=list(faults))


def begin(zygote: Zygote, db: Path, server: LocalServer) -> int:
    """Prepare a job of one part, its ceiling one and a half times its bound, which is returned."""
    arguments = asking(db, server, *PRICED)
    arguments[0] = "prepare"
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    assert zygote.run(*arguments)["code"] == 0
    with closing(connect(db)) as conn:
        (part,) = store.list_parts(conn, 1)
        assert part.upper_cost_nanousd
        store.update_job(conn, 1, max_cost_nanousd=part.upper_cost_nanousd * 3 // 2)
        return part.upper_cost_nanousd


def check_bound_counts(db: Path, most: int) -> None:
    """Its cost is unknown, and so its bound is counted."""
    with closing(connect(db)) as conn:
        assert committed(conn, 1).total == most
        assert store.get_job(conn, 1).cost_nanousd is None


def check_ceiling_holds(zygote: Zygote, db: Path, server: LocalServer, most: int) -> None:
    """Its bound is counted, and so the same isn't bought once more."""
    check_bound_counts(db, most)
    again = zygote.run("retry", str(db), "1", "-y", "--key", KEY)
    assert "The ceiling of $" in again["output"], again["output"]
    assert "can't hold" in again["output"]
    assert again["code"] != 0
    with client_of(server, KEY) as client:
        assert len(client.batches.list().data) == 1


def test_answers_that_no_file_holds(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("null-ids") as server:
        most = begin(zygote, db, server)
        assert zygote.run("submit", str(db), "-y", "--key", KEY)["code"] in (0, 4)
        lost = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert "counts 4 answers in batch" in lost["output"]
        assert zygote.run("cancel", str(db), "1", "--key", KEY)["code"] == 3
        check_ceiling_holds(zygote, db, server, most)


def test_a_batch_that_names_no_file_and_counts_nothing(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts may be null: then nothing says that nothing was run."""
    monkeypatch.setattr(waits, "LATE_FILES_SECONDS", 0.0)

    class Silent(Provider):
        def retrieve(self, batch_id: str) -> BatchState:
            return replace(super().retrieve(batch_id), completed=None, failed=None)

    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("null-ids") as server:
        most = begin(zygote, db, server)
        with closing(connect(db)) as conn, Silent(server.base_url, KEY) as provider:
            engine.approve(conn, store.get_job(conn, 1))
            while (job := store.get_job(conn, 1)).status == "running":
                engine.one_pass(conn, [job], lambda _: provider)
        assert "The ceiling of $" in str(job.message)
        with closing(connect(db)) as conn:
            assert committed(conn, 1).total == most
        assert len(Paid(server, KEY).batches) == 1


def test_a_result_file_that_is_gone(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        most = begin(zygote, db, server)
        assert zygote.run("submit", str(db), "-y", "--key", KEY)["code"] == 0
        server.faults.clear()
        with client_of(server, KEY) as client:
            (batch,) = client.batches.list().data
            while batch.status != "completed":
                batch = client.batches.retrieve(batch.id)
            client.files.delete(str(batch.output_file_id))
        lost = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert lost["code"] == 4, lost["output"]
        assert zygote.run("cancel", str(db), "1", "--key", KEY)["code"] == 3
        check_ceiling_holds(zygote, db, server, most)


class Forgetful(Provider):
    """A provider that doesn't find its files so many times."""

    times = 1

    def download(self, file_id, *args):  # type: ignore[no-untyped-def]
        self.times -= 1
        if self.times >= 0:
            raise NotFound(f"No such File object: {file_id}")
        super().download(file_id, *args)


def end(db: Path, provider: Provider) -> store.Job:
    """Sync a job until it has ended or waits for a person."""
    with closing(connect(db)) as conn:
        job = engine.approve(conn, store.get_job(conn, 1))
        while job.status == "running":
            engine.one_pass(conn, [job], lambda _: provider)
            job = store.get_job(conn, 1)
        return job


def test_a_result_file_that_is_not_found_at_first(zygote: Zygote, tmp_path: Path) -> None:
    """It was bought again, all of it, for one answer of 404."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving() as server, Forgetful(server.base_url, KEY) as provider:
        begin(zygote, db, server)
        assert end(db, provider).status == "completed"
        assert Paid(server, KEY).twice == {}
    check_all_answered(db, rows=4)


class Elsewhere(Provider):
    """A provider behind something that answers once with a page of its own, or with nothing."""

    instead: bytes | None = b""

    def download(self, file_id, path, *args):  # type: ignore[no-untyped-def]
        super().download(file_id, path, *args)
        if self.instead is not None:
            path.write_bytes(self.instead)
            self.instead = None


@pytest.mark.parametrize("instead", [b"", b"\n", b"<!doctype html>\n<title>Sign in</title>\n"])
def test_a_page_in_place_of_the_result_file(zygote: Zygote, tmp_path: Path, instead: bytes) -> None:
    """Its rows were asked again, and paid for again."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving() as server, Elsewhere(server.base_url, KEY) as provider:
        provider.instead = instead
        begin(zygote, db, server)
        assert end(db, provider).status == "completed"
        assert Paid(server, KEY).twice == {}
    check_all_answered(db, rows=4)


def test_a_result_file_that_is_never_found_is_not_bought_again(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "LATE_FILES_SECONDS", 0.0)
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving() as server, Forgetful(server.base_url, KEY) as provider:
        provider.times = 1_000
        begin(zygote, db, server)
        job = end(db, provider)
        assert job.status == "paused"
        assert "any more, with the answers of part 1. Look for it there; cancel" in str(job.message)
        assert Paid(server, KEY).twice == {}
        with closing(connect(db)) as conn:
            manage.cancel_job(conn, job)
            engine.one_pass(conn, [store.get_job(conn, 1)], lambda _: provider)
        assert outcome_sums(db) == {"missing": 4}
        assert len(Paid(server, KEY).batches) == 1


@pytest.mark.parametrize("beside", [False, True], ids=["its-own", "beside-it"])
def test_a_batch_that_is_gone(zygote: Zygote, tmp_path: Path, beside: bool) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("stuck:in_progress") as server:
        most = begin(zygote, db, server)
        assert zygote.run("submit", str(db), "-y", "--key", KEY)["code"] == 0
        with closing(connect(db)) as conn:
            (part,) = store.list_parts(conn, 1)
            assert part.token and part.fingerprint
            if beside:
                store.record_batch(
                    conn, part, batch_id="batch_gone", said="in_progress", input_file_id=None,
                    token=part.token, fingerprint=part.fingerprint,
                )  # fmt: skip
                assert committed(conn, 1).total == 2 * most
            else:
                store.update_part(conn, part.id, batch_id="batch_gone")
                conn.execute("UPDATE openai_batch_batches SET batch_id = 'batch_gone'")
        zygote.run("cancel", str(db), "1", "--key", KEY)
        server.faults.clear()
        assert zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")["code"] in (0, 3)
    check_bound_counts(db, most)


def test_what_a_batch_beside_the_part_has_cost(zygote: Zygote, tmp_path: Path) -> None:
    """It counts beside the bound of the part's own batch, and also of one not sent yet."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving() as server:
        most = begin(zygote, db, server)
    with closing(sqlite3.connect(db)) as conn:
        for values, total in (
            ("status = 'in_progress', sends = 1, cost_nanousd = 7, prompt_tokens = 1", most + 7),
            ("status = 'prepared'", 7),
            ("cost_nanousd = NULL", most),
            ("status = 'in_progress'", 2 * most),
        ):
            conn.execute(f"UPDATE openai_batch_parts SET {values}")
            assert committed(conn, 1).total == total, values
        assert committed(conn, 1, but=1).total == most
