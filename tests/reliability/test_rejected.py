"""A line's number means the n-th line of the file that was sent, whatever came in meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.send import Sender
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.provider.batch import BatchState
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect, transaction

from .conftest import KEY, Paid, Zygote, answers, asking, make_table, streaming
from .conftest import outcome_sums as sums


def prepare(zygote: Zygote, db: Path, server: LocalServer, folder: Path, bad: int) -> None:
    """A prepared job over four rows, of which one has a line that is refused."""
    arguments = asking(db, server, "--template", str(streaming(folder, (bad,))))
    at = arguments.index("--prompt")
    arguments = ["prepare", *arguments[1:at], *arguments[at + 2 :]]
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    done = zygote.run(*arguments)
    assert done["code"] == 0, done["output"]


class Slow(Provider):
    """A provider whose validation takes its time: nothing has failed before it is told so."""

    told = False

    def list_since(self, unix: float) -> Iterator[BatchState]:
        return map(self.shown, super().list_since(unix))

    def retrieve(self, batch_id: str) -> BatchState:
        return self.shown(super().retrieve(batch_id))

    def shown(self, state: BatchState) -> BatchState:
        if self.told or state.status != "failed":
            return state
        return replace(state, status="validating", ended_at=None, errors=[])


def send_beside(conn: sqlite3.Connection, provider: Provider, folder: Path) -> None:
    """One more batch, of the first row only, as some copy of the database may have sent it."""
    job, part = store.get_job(conn, 1), store.list_parts(conn, 1)[0]
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "note number 1;"}]}
    line = {"custom_id": f"{job.uid}-1", "method": "POST", "url": job.endpoint, "body": body}
    file = folder / "beside.jsonl"
    file.write_text(json.dumps(line) + "\n")
    state = provider.create(provider.upload(file, file.name), job.endpoint, {})
    store.record_batch(
        conn,
        part,
        batch_id=state.id,
        said=state.said,
        input_file_id=state.input_file_id,
        token="beside",
        fingerprint=bytes(16),
    )


def status_of(conn: sqlite3.Connection, request_id: int) -> str:
    (status,) = conn.execute(
        "SELECT status FROM openai_batch_requests WHERE id = ?", [request_id]
    ).fetchone()
    return str(status)


def end(conn: sqlite3.Connection, provider: Provider) -> None:
    """Sync until the job has ended."""
    while (job := store.get_job(conn, 1)).unfinished:
        assert not job.needs_you, job.message
        engine.one_pass(conn, [job], lambda _: provider)


@pytest.mark.parametrize("metadata", [True, False])
def test_a_late_answer_shifts_no_line(
    zygote: Zygote, server: LocalServer, tmp_path: Path, metadata: bool
) -> None:
    """The first row is answered by another batch while the part's own is being validated."""
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, tmp_path, bad=3)

    class Bare(Slow):
        """A server that may keep no metadata."""

        def shown(self, state: BatchState) -> BatchState:
            state = super().shown(state)
            return state if metadata else replace(state, metadata={})

    with closing(connect(db)) as conn, Bare(server.base_url, KEY) as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        engine.one_pass(conn, [job], lambda _: provider)
        send_beside(conn, provider, tmp_path)
        while status_of(conn, 1) != "ok":
            engine.one_pass(conn, [job], lambda _: provider)
        assert store.list_parts(conn, 1)[0].status == "validating"
        provider.told = True
        end(conn, provider)
        assert store.list_parts(conn, 1)[0].sends == 2
    assert sums(db) == {"ok": 3, "rejected": 1}
    assert [row for row, answer in answers(db).items() if answer is None] == [3]


def test_lines_of_a_copys_file_are_nobodys_here(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """A copy sent the part without a row that it had lost: its second line is our third row."""
    key = "copy"
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, tmp_path, bad=3)
    copy = Path(shutil.copy(db, tmp_path / "copy.db"))
    with closing(connect(copy)) as conn, Slow(server.base_url, key) as provider:
        conn.execute("DELETE FROM notes WHERE id = 1")
        job = engine.approve(conn, store.get_job(conn, 1))
        engine.one_pass(conn, [job], lambda _: provider)
        sent = store.list_parts(conn, 1)[0].batch_id
    with closing(connect(db)) as conn, Slow(server.base_url, key) as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        engine.one_pass(conn, [job], lambda _: provider)
        assert store.list_parts(conn, 1)[0].batch_id == sent
        provider.told = True
        end(conn, provider)
    assert Paid(server, key).twice == {}
    assert sums(db) == {"ok": 3, "rejected": 1}
    assert [row for row, answer in answers(db).items() if answer is None] == [3]


def test_a_server_whose_lines_never_fit_is_not_asked_for_ever(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """It gives another hash than it was given: which file it speaks of stays unknown."""
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, tmp_path, bad=3)

    class Forgetful(Provider):
        def retrieve(self, batch_id: str) -> BatchState:
            return replace(super().retrieve(batch_id), metadata={"fingerprint": "00" * 16})

    with closing(connect(db)) as conn, Forgetful(server.base_url, "forgetful") as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        while (job := store.get_job(conn, 1)).status == "running":
            engine.one_pass(conn, [job], lambda _: provider)
        assert job.status == "paused"
        assert "refused part 1: " in str(job.message)
    assert sums(db) == {"pending": 4}
    assert len(Paid(server, "forgetful").batches) <= 4


def test_a_row_that_was_answered_while_its_part_was_rendered(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Its line is in the file already: the file isn't sent, since it would be paid for twice."""
    db = make_table(tmp_path / "notes.db", rows=4)
    prepare(zygote, db, server, tmp_path, bad=5)
    with closing(connect(db)) as conn, Provider(server.base_url, "rendered") as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        part = store.list_parts(conn, 1)[0]
        sender = Sender(conn, provider, job)
        with store.leased(conn, part):
            rendered = sender.render(part, tmp_path)
            with transaction(conn):
                conn.execute(
                    "UPDATE openai_batch_requests SET status = 'ok', answer = 'early' WHERE id = 1"
                )
                store.count_outcomes(conn, part.id)
            assert sender.intend(part, rendered) is None
        sender.close()
        end(conn, provider)
    assert len(Paid(server, "rendered").times) == 3
    assert sums(db) == {"ok": 4}
