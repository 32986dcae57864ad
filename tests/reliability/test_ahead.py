"""The next part is rendered while this one is uploaded: whatever happens meanwhile, as ever.

Each upload here lasts until the file of the next part is whole, and somebody has had a turn.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import waits
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.jobs.sync.context import Report
from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import Paid, Zygote, answers, asking, check_all_answered, client_of, make_table

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of one's own, and no waiting for lists."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0)
    monkeypatch.setattr(waits, "RETRY_SECONDS", 0.0)
    return folder


def files(folder: Path) -> dict[str, int]:
    """Files of parts that are there, with their sizes."""
    return {file.name: file.stat().st_size for file in folder.glob("*/part-*.jsonl")}


class Slow(Provider):
    """One whose first upload lasts until the next part's file is whole, and `then` is done."""

    then: Callable[[], None]
    uploads = 0

    def upload(self, path: Path, name: str, alive: Any = lambda: None) -> str:
        self.uploads += 1
        if self.uploads == 1:
            deadline = time.monotonic() + PATIENCE
            folder = path.parent.parent
            # It is written out when it is closed.
            while not files(folder).get("part-2.jsonl"):
                assert time.monotonic() < deadline, files(folder)
                alive()
            assert set(files(folder)) == {"part-1.jsonl", "part-2.jsonl"}
            assert threading.current_thread() is not threading.main_thread()
            self.then()
        return super().upload(path, name, alive)


def prepare(zygote: Zygote, db: Path, server: LocalServer, key: str, *more: str) -> None:
    arguments = [
        "prepare",
        *asking(db, server, "--enqueued-tokens", "1000000", *more, key=key)[1:],
    ]
    for name in ("-y", "--poll", "0.05"):
        arguments.remove(name)
    done = zygote.run(*arguments)
    assert done["code"] == 0, done["output"]


def one_pass(
    db: Path, server: LocalServer, key: str, then: Callable[[], None] = lambda: None
) -> tuple[Report, int]:
    """A pass of the approved job; what it tells, and how many files it uploaded."""
    with closing(connect(db)) as conn, Slow(server.base_url, key) as provider:
        provider.then = then
        job = store.get_job(conn, 1)
        if job.approved_at is None:
            job = engine.approve(conn, job)
        report = engine.one_pass(conn, [job], lambda _: provider)
        assert report.faults == {}
        return report, provider.uploads


def finish(zygote: Zygote, db: Path, key: str) -> None:
    done = zygote.run("watch", str(db), "--key", key, "--poll", "0.05")
    assert done["code"] == 0, done["output"]


def asked(server: LocalServer, key: str) -> dict[int, str]:
    """What was asked, by the number that ends a custom_id."""
    found = {}
    with client_of(server, key) as client:
        for batch in client.batches.list(limit=100).data:
            for line in client.files.content(batch.input_file_id).read().splitlines():
                one = json.loads(line)
                found[int(one["custom_id"].rpartition("-")[2])] = one["body"]["messages"][-1][
                    "content"
                ]
    return found


def change(db: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(db, timeout=10)) as conn:
        conn.execute(statement, values)
        conn.commit()


def test_nothing_is_rendered_twice_and_nothing_left(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path
) -> None:
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "ahead")
    report, uploads = one_pass(db, server, "ahead")
    assert (report.sent, uploads) == (3, 3)
    assert list(temporary.iterdir()) == []
    finish(zygote, db, "ahead")
    assert Paid(server, "ahead").twice == {}
    check_all_answered(db)


def test_a_row_that_is_edited_after_it_was_rendered(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """It was asked about as it was: the answer is kept, and not written beside what is there."""
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "edited")
    one_pass(
        db,
        server,
        "edited",
        lambda: change(db, "UPDATE notes SET body = 'another text;' WHERE id = 5"),
    )
    finish(zygote, db, "edited")
    assert asked(server, "edited")[5] == "Echo note number 5;"
    found = answers(db)
    assert found.pop(5) is None
    assert all(f"note number {number};" in str(answer) for number, answer in found.items())
    assert Paid(server, "edited").twice == {}


def test_a_row_that_an_export_looked_at_meanwhile(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """The database holds the hash of another text than the file has: the file isn't sent."""
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "exported")

    def export() -> None:
        change(db, "UPDATE notes SET body = 'another text;' WHERE id = 5")
        done = zygote.run("export-requests", str(db), "1", str(tmp_path / "out"))
        assert done["code"] == 0, done["output"]

    report, _ = one_pass(db, server, "exported", export)
    assert report.sent == 2
    finish(zygote, db, "exported")
    assert asked(server, "exported")[5] == "Echo another text;"
    assert "another text;" in str(answers(db)[5])
    assert Paid(server, "exported").twice == {}


@pytest.mark.parametrize("command", [("pause",), ("cancel", "--key", "stopped-by-cancel")])
def test_a_job_that_is_stopped_meanwhile(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path, command: tuple[str, ...]
) -> None:
    db, key = make_table(tmp_path / "notes.db"), f"stopped-by-{command[0]}"
    prepare(zygote, db, server, key)

    def stop() -> None:
        done = zygote.run(command[0], str(db), "1", *command[1:])
        assert done["code"] == 0, done["output"]

    report, uploads = one_pass(db, server, key, stop)
    assert (report.sent, uploads) == (1, 1)
    assert list(temporary.iterdir()) == []
    assert len(Paid(server, key).batches) == 1


def test_a_ceiling_that_is_set_meanwhile(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """What was rendered without one was never counted: it is, before it goes out."""
    db = make_table(tmp_path / "notes.db")
    priced = ("--price-input", "1", "--price-output", "4", "-o", "max_tokens", "100")
    prepare(zygote, db, server, "ceiling", *priced)
    report, _ = one_pass(
        db,
        server,
        "ceiling",
        lambda: change(db, "UPDATE openai_batch_jobs SET max_cost_nanousd = 1000"),
    )
    assert report.sent == 1
    with closing(connect(db)) as conn:
        job = store.get_job(conn, 1)
    assert job.status == "paused"
    assert "can't hold" in str(job.message)
    assert "part 2 may cost up to $0.00" in str(job.message)


@pytest.mark.parametrize(
    "fault",
    ["upload-error", "reset-upload", "lost-upload-reply", "create-error", "token-limit-create:50"],
)
def test_an_upload_or_a_batch_that_fails_with_the_next_part_rendered(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path, fault: str
) -> None:
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, fault)
    server.faults.add(f"{fault}*1")
    one_pass(db, server, fault)
    server.faults.clear()
    assert list(temporary.iterdir()) == []
    finish(zygote, db, fault)
    assert Paid(server, fault).twice == {}
    check_all_answered(db)


def test_a_next_part_that_cannot_be_rendered(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path
) -> None:
    """What is wrong with it is said in its own turn: the one before goes out."""
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "gone")
    renamed: list[str] = []

    def rename(statement: str) -> None:
        """Take the table away as soon as the first part is on its way."""
        if renamed or not statement.startswith("SELECT * FROM openai_batch_parts WHERE job_id"):
            return
        with closing(sqlite3.connect(db)) as other:
            if other.execute(
                "SELECT 1 FROM openai_batch_parts WHERE status = 'uploading'"
            ).fetchone():
                other.execute("ALTER TABLE notes RENAME TO elsewhere")
                renamed.append(statement)

    with closing(connect(db)) as conn, Provider(server.base_url, "gone") as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        conn.set_trace_callback(rename)
        report = engine.one_pass(conn, [job], lambda _: provider)
        conn.set_trace_callback(None)
        assert renamed
        assert (report.sent, report.faults) == (1, {})
        assert "notes" in str(store.get_job(conn, 1).message)
    assert list(temporary.iterdir()) == []
    change(db, "ALTER TABLE elsewhere RENAME TO notes")
    done = zygote.run("submit", str(db), "1", "-y", "--key", "gone")
    assert done["code"] == 0, done["output"]
    finish(zygote, db, "gone")
    assert Paid(server, "gone").twice == {}
    check_all_answered(db)


def test_no_room_on_the_disk_for_the_next_part(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path
) -> None:
    db = make_table(tmp_path / "notes.db")
    times = "range(1 if id < 5 else 20000)"
    prompt = f"Echo {{{{ body }}}} {{% for n in {times} %}}note {{{{ n }}}} {{% endfor %}}"
    prepare(zygote, db, server, "full", "--prompt", prompt)
    done = zygote.run(
        "submit", str(db), "1", "-y", "--key", "full",
        disk=db.stat().st_size + 300_000, env={"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done["code"] == 1, done["output"]
    assert "Traceback" not in done["output"]
    assert "disk" in done["output"] or "large" in done["output"], done["output"]
    assert len(Paid(server, "full").batches) == 1
    assert list(temporary.iterdir()) == []
    finish(zygote, db, "full")
    assert Paid(server, "full").twice == {}
    check_all_answered(db)


def test_ctrl_c_while_a_part_is_uploaded(
    zygote: Zygote, server: LocalServer, tmp_path: Path, temporary: Path
) -> None:
    db = make_table(tmp_path / "notes.db")
    prepare(zygote, db, server, "stopped")

    class Stuck(Slow):
        ended = threading.Event()

        def upload(self, path: Path, name: str, alive: Any = lambda: None) -> str:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                while True:
                    alive()
            finally:
                self.ended.set()

    with closing(connect(db)) as conn, Stuck(server.base_url, "stopped") as provider:
        job = engine.approve(conn, store.get_job(conn, 1))
        with pytest.raises(KeyboardInterrupt):
            engine.one_pass(conn, [job], lambda _: provider)
    assert Stuck.ended.wait(PATIENCE)
    assert list(temporary.iterdir()) == []
    assert Paid(server, "stopped").batches == []
    finish(zygote, db, "stopped")
    assert Paid(server, "stopped").twice == {}
    check_all_answered(db)
