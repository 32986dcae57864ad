"""Uploaded files that nobody recorded: found by their name and content, or left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import ProviderError
from sqlite_utils_openai_batch.jobs.sync import engine
from sqlite_utils_openai_batch.local import LocalServer, ServerLimits, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.batch import UploadedFile
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import KEY, Zygote, answers, asking, check_all_answered, client_of, make_table


def serving(*faults: str) -> LocalServer:
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=list(faults))


def uploads(server: LocalServer) -> int:
    """How often a file was uploaded, also where the reply was lost."""
    return sum(
        entry["method"] == "POST" and entry["path"] == "/v1/files" for entry in server.journal()
    )


def change(db: Path, sql: str) -> None:
    with closing(sqlite3.connect(db)) as conn:
        conn.execute(sql)
        conn.commit()


def test_a_file_whose_reply_was_lost_is_found_by_its_name(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with serving("lost-upload-reply") as server:
        done = zygote.run(*asking(db, server))
        assert done["code"] == 0, done["output"]
        assert uploads(server) == 3
    check_all_answered(db)


def test_without_lists_it_is_uploaded_again(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("lost-upload-reply") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 1
        server.faults.add("no-list")
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert uploads(server) == 2
    check_all_answered(db, rows=4)


def test_a_full_queue_costs_no_second_upload(zygote: Zygote, tmp_path: Path) -> None:
    """A part that the queue refused goes out later with the file that is there."""
    db = make_table(tmp_path / "notes.db", rows=12)
    with LocalServer(
        answerer=SimulatedAnswerer(echo=True),
        faults=["stuck:in_progress"],
        limits=ServerLimits(enqueued_tokens=95),
    ) as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 0
        said = [zygote.run("sync", str(db), "--key", KEY)["output"] for _ in range(4)]
        assert "Limit: 95 enqueued tokens" in "".join(said)
        server.faults.clear()
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        with closing(sqlite3.connect(db)) as conn:
            sends, contents = conn.execute(
                "SELECT count(*), count(DISTINCT fingerprint) FROM openai_batch_batches"
            ).fetchone()
        assert uploads(server) == contents < sends
    check_all_answered(db, rows=12)


def test_rows_that_changed_are_uploaded_anew(zygote: Zygote, tmp_path: Path) -> None:
    """What is sent is the row as it is then: a file of other content is no use."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("lost-upload-reply") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 1
        change(db, "UPDATE notes SET body = 'note nr. changed' WHERE id = 2")
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert uploads(server) == 2
    assert "note nr. changed" in str(answers(db)[2])


def test_a_file_of_that_name_and_another_size_is_not_used(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("reset-upload") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 1
        with closing(sqlite3.connect(db)) as conn:
            (token,) = conn.execute("SELECT token FROM openai_batch_parts").fetchone()
        half = (f"{token}.jsonl", b'{"custom_id": "half of it"}\n')
        with client_of(server, KEY) as client:
            client.files.create(file=half, purpose="batch")
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
    check_all_answered(db, rows=4)


def test_files_that_nobody_recorded_are_deleted_by_hand_only(
    zygote: Zygote, tmp_path: Path
) -> None:
    """`delete --only remote` finds them by their name; others' files are left alone."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("lost-upload-reply") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 1
        change(db, "UPDATE notes SET body = 'note number 2; changed' WHERE id = 2")
        assert zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")["code"] == 0
        with client_of(server, KEY) as client:
            other = client.files.create(file=("other.jsonl", b'{"a": 1}\n'), purpose="batch")
            left = zygote.run("delete", str(db), "1", "-y", "--only", "remote", "--key", KEY)
            assert "3 files deleted" in left["output"], left["output"]
            assert [file.id for file in client.files.list().data] == [other.id]


def test_a_batch_is_found_by_its_file_too(zygote: Zygote, tmp_path: Path) -> None:
    """A server that keeps no metadata: the batch that a lost reply told of isn't made twice."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("create-error:502") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] in (0, 1)
        with closing(connect(db)) as conn, Provider(server.base_url, KEY) as provider:
            part = store.list_parts(conn, 1)[0]
            assert part.status == "creating"
            assert part.input_file_id
            made = provider.create(part.input_file_id, "/v1/chat/completions", {})
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        with closing(connect(db)) as conn:
            assert store.list_parts(conn, 1)[0].batch_id == made.id
    check_all_answered(db, rows=4)


def test_a_server_that_stumbles_over_such_questions_gets_another_upload(
    zygote: Zygote, tmp_path: Path
) -> None:
    """Asking for files is refused there, in whatever way: an upload more costs nothing."""
    db = make_table(tmp_path / "notes.db", rows=4)
    with serving("lost-upload-reply") as server:
        assert zygote.run(*asking(db, server, "--no-wait"))["code"] == 1
        with closing(connect(db)) as conn, NoFiles(server.base_url, KEY) as provider:
            while (job := store.get_job(conn, 1)).unfinished:
                engine.one_pass(conn, [job], lambda _: provider)
        assert uploads(server) == 2
    assert "files unseen" in zygote.run("show", str(db), "--log")["output"]
    check_all_answered(db, rows=4)


class NoFiles(Provider):
    """A server that refuses to list files."""

    def files_named(self, prefix: str, unix: float) -> list[UploadedFile]:
        raise ProviderError("purpose isn't supported")
