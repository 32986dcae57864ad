"""Databases as people have them: copies, in use by others, without threads, under a prefix."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import job_data
import pytest
from serving import IS_1_0, fetch

from datasette_openai_batch.data import queries

ADDRESSES = ("", "/1", "/1.json", "/1.csv", "/1.xlsx", "/1.jsonl", "/1/report", "/2", "/3")


def all_answer(datasette, prefix: str = "/films/-/openai-batch") -> None:
    for address in ADDRESSES:
        assert fetch(datasette, prefix + address).status_code == 200, address


def test_immutable(serve, db: Path) -> None:
    all_answer(serve(immutables=(db,)))


def test_without_threads(serve, db: Path) -> None:
    all_answer(serve(db, settings={"num_sql_threads": 0}))


def test_read_only_file(serve, db: Path) -> None:
    db.chmod(0o444)
    db.parent.chmod(0o555)
    try:
        all_answer(serve(db))
    finally:
        db.parent.chmod(0o755)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Another process's work: a commit after the other, as `sync` makes them."""
    stop = threading.Event()

    def work() -> None:
        conn = sqlite3.connect(path, timeout=30, isolation_level=None)
        while not stop.wait(0.002):
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("UPDATE openai_batch_jobs SET checked_at = '2026-11-21T00:00:00.000Z'")
            conn.execute("UPDATE movies SET overview = overview || '.' WHERE id = 1")
            conn.execute("COMMIT")
        conn.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_while_others_write(serve, db: Path, journal: str) -> None:
    conn = job_data.connect(db, journal=journal)
    conn.close()
    datasette = serve(db)
    with writing(db):
        for _ in range(3):
            all_answer(datasette)


def test_every_address_has_the_prefix(serve, page, db: Path) -> None:
    datasette = serve(db, settings={"base_url": "/data/"})
    all_answer(datasette)
    for address in (
        "/-/openai-batch",
        "/films/-/openai-batch",
        "/films/-/openai-batch/1?_request=1",
    ):
        html = unescape(page(datasette, address))
        for piece in (
            html.split('href="')[1:] + html.split('src="')[1:] + html.split('action="')[1:]
        ):
            link = piece[: piece.index('"')]
            assert link.startswith(("/data/", "https://datasette.io", "#")), link


def test_memory_database_says_how_to_start(serve, page, db: Path) -> None:
    datasette = serve(db, memory=True)
    assert "No batch jobs in this database yet." in page(datasette, "/_memory/-/openai-batch")


def test_two_databases_of_one_name(serve, page, db: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "films.db"
    other.parent.mkdir()
    other.write_bytes(db.read_bytes())
    datasette = serve(db, other)
    html = page(datasette, "/-/openai-batch")
    assert '"/films/-/openai-batch/1"' in html and '"/films_2/-/openai-batch/1"' in html


def test_a_job_that_is_being_prepared(serve, page, db: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("UPDATE openai_batch_jobs SET requests = NULL, skipped = NULL WHERE id = 3")
    conn.execute("DELETE FROM openai_batch_parts WHERE job_id = 3")
    conn.execute("DROP INDEX openai_batch_requests_part")
    conn.execute("DROP INDEX openai_batch_requests_status")
    conn.close()
    datasette = serve(db)
    assert "being prepared" in page(datasette, "/films/-/openai-batch")
    all_answer(datasette)


@pytest.mark.skipif(IS_1_0, reason="Datasette 1.0 itself doesn't start over such a file")
def test_a_write_that_was_cut_off(serve, page, db: Path, tmp_path: Path) -> None:
    conn = job_data.connect(db)
    conn.execute("PRAGMA cache_size = 1")
    conn.execute("BEGIN IMMEDIATE")
    conn.execute("UPDATE movies SET overview = hex(zeroblob(20000))")
    killed = tmp_path / "killed" / "films.db"
    killed.parent.mkdir()
    for suffix in ("", "-journal"):
        killed.with_name(f"films.db{suffix}").write_bytes(
            db.with_name(f"films.db{suffix}").read_bytes()
        )
    conn.execute("ROLLBACK")
    conn.close()
    datasette = serve(killed)
    for address in ("", "/1"):
        html = page(datasette, f"/films/-/openai-batch{address}")
        assert "stopped in the middle of a write" in html
        assert "sqlite-utils openai-batch sync films.db" in html
    for address in ("/1.json", "/1.csv"):
        assert fetch(datasette, f"/films/-/openai-batch{address}").status_code == 503
    sqlite3.connect(killed).execute("SELECT 1 FROM movies").connection.close()
    all_answer(datasette)


def test_a_file_that_is_locked_for_long(serve, page, db: Path, monkeypatch) -> None:
    datasette = serve(db)
    page(datasette, "/films/-/openai-batch/1")
    conn = job_data.connect(db)
    conn.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(
        "datasette_openai_batch.data.queries.store.exists", impatient(queries.store.exists)
    )
    html = page(datasette, "/films/-/openai-batch/1")
    conn.execute("ROLLBACK")
    conn.close()
    assert "Another program has been writing to this database" in html


def impatient(function):
    """The same function, for those who don't want to wait five seconds for a lock."""

    def call(conn: sqlite3.Connection):
        conn.execute("PRAGMA busy_timeout = 10")
        return function(conn)

    return call


def test_tables_that_nobody_understands_are_denied_and_the_rest_is_not(serve, page, db) -> None:
    conn = job_data.connect(db)
    conn.execute("DROP VIEW openai_batch_results")
    conn.execute("ALTER TABLE openai_batch_jobs RENAME COLUMN output TO destination")
    conn.close()
    datasette = serve(db)
    page(datasette, "/films/openai_batch_requests", status=403)
    for address in ("/", "/films", "/films/movies", "/films/movies/1"):
        page(datasette, address)
    html = page(datasette, "/films/-/openai-batch/1")
    assert "The table openai_batch_jobs lacks the column output" in html
