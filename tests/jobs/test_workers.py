"""Several processes: the same requests, in the same order, and nothing left where one ends."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import JobError, SourceError, WorkerEnded
from sqlite_utils_openai_batch.jobs.files.export import export_requests
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.parallel import (
    ROWS,
    Range,
    Work,
    Workers,
    render,
    shared_chunks,
)
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.plan.render import Tally, rendered_rows
from sqlite_utils_openai_batch.pricing.estimate import Money
from sqlite_utils_openai_batch.requests.chunks import Chunks
from sqlite_utils_openai_batch.store.connection import connect

MANY = 3 * ROWS + 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of more than three ranges; some rows are blank, some hold a BLOB."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b)")
        conn.execute("CREATE TABLE named (key TEXT PRIMARY KEY, a TEXT) WITHOUT ROWID")
        rows = [(n * 3, "" if n % 97 == 0 else f"row {n} é\u2028") for n in range(MANY)]
        conn.executemany("INSERT INTO t (id, a, b) VALUES (?, ?, ?)", [
            (number, text, b"\0" if number % 5_001 == 0 else number) for number, text in rows
        ])  # fmt: skip
        conn.executemany("INSERT INTO named VALUES ('k' || ?, ?)", rows)
        conn.commit()
    return path


def made(path: Path, workers: int, **options: Any) -> Any:
    """All that a job consists of, and what was counted."""
    ask = Ask(prompt="{{ a }}", workers=workers, money=Money(own=True), **options)
    own = shutil.copy(path, path.with_name(f"{workers}.db"))
    with closing(connect(own)) as conn:
        plan = settle(conn, ask)
        with closing(plan):
            job, tally = prepare(
                conn,
                plan,
                uid=f"u{workers}",
                provider="openai",
                base_url=None,
                account=None,
                settings={},
            )
        requests = conn.execute(
            "SELECT row_key, source_hash, status, error_message, id - (SELECT min(id) FROM "
            "openai_batch_requests WHERE job_id = ?1) FROM openai_batch_requests "
            "WHERE job_id = ?1 ORDER BY id",
            [job.id],
        ).fetchall()
        parts = [
            (part.number, part.requests, part.bytes) for part in store.list_parts(conn, job.id)
        ]
    counts = (tally.asked, tally.blank, tally.unrenderable, tally.bytes, tally.largest)
    assert tally.sample is not None
    return requests, parts, counts, tally.sample.result()


@pytest.mark.parametrize(
    "options",
    [
        {"table": "t"},
        {"table": "t", "part_requests": 1_000, "where": "id % 2", "limit": ROWS + 5},
        {"table": "named"},
    ],
    ids=["all", "some", "named"],
)
def test_workers_make_the_same_job(path: Path, options: dict[str, Any]) -> None:
    assert made(path, 2, **options) == made(path, 1, **options)


def test_what_cant_be_cut_is_read_by_one(path: Path) -> None:
    options = {"table": "t", "order": "a, id", "limit": 50}
    assert made(path, 2, **options) == made(path, 1, **options)


def test_workers_write_the_same_files(path: Path, tmp_path: Path) -> None:
    made(path, 1, table="t", part_requests=4_000)
    files = []
    with closing(connect(path.with_name("1.db"))) as conn:
        job = store.get_job(conn, 1)
        conn.execute("UPDATE t SET a = 'changed' WHERE id = 3")
        for workers in (1, 2):
            folder = tmp_path / str(workers)
            done = list(export_requests(conn, job, folder, workers))
            files.append([one.path.read_bytes() for one in done])
            assert [one.path for one in done] == sorted(folder.iterdir())
        (hash_now,) = conn.execute(
            "SELECT source_hash FROM openai_batch_requests WHERE row_key = 3"
        ).fetchone()
        assert hash_now not in (None, b"")
        with pytest.raises(JobError, match="is there already"):
            list(export_requests(conn, job, tmp_path / "2", 2))
    assert files[0] == files[1]
    assert b'"content":"changed"' in files[1][0]


def work(path: Path, plan: Any) -> Work:
    return Work(
        str(path), "t", None, {}, "id", plan.template, plan.output, {}, plan.hashed, "u-", 1, False,
        False,
    )  # fmt: skip


def test_rows_that_are_added_to_a_range_have_no_place(path: Path) -> None:
    with closing(connect(path)) as conn:
        plan = settle(conn, Ask(table="t", prompt="{{ a }}", money=Money(own=True)))
        with closing(plan):
            whole = Range(0, 11, None, 30, 0.0)
            found = render(conn, work(path, plan), whole)
            assert found is not None and len(found[0].row_keys) + len(found[0].blank_keys) == 11
            conn.execute("INSERT INTO t (id, a) VALUES (1, 'new')")
            assert render(conn, work(path, plan), whole) is None


def test_rows_that_are_added_behind_the_others_wait_for_another_job(path: Path) -> None:
    with closing(connect(path)) as conn:
        conn.execute("DELETE FROM t WHERE id > 30")
        ask = Ask(table="t", prompt="{{ b }}", workers=2, money=Money(own=True))
        with closing(settle(conn, ask)) as plan:
            ids = plan.count()
            conn.execute("INSERT INTO t (id, b) VALUES (40, 'new')")
            found = list(rendered_rows(plan, Tally(), "u", stop=ids))
        assert [row.row_key for row in found] == list(range(0, 31, 3))
        # These ids are all that was reserved: one more would be another job's.
        assert max(row.position for row in found) < ids


def test_a_line_that_was_left_out_is_made_again(path: Path) -> None:
    with closing(connect(path)) as conn:
        ask = Ask(table="t", prompt="{{ a }}", workers=2, money=Money(own=True))
        with closing(settle(conn, ask)) as plan:
            chunks = Chunks(plan.renderer, plan.hashed, "u-", 1)
            shared = shared_chunks(plan, chunks, None, all_lines=False)
            first = next(shared)
            index = first.row_keys.index(9)
            assert first.line(index).startswith(b'{"custom_id":"u-4",')
            assert len(first.line(index)) == first.sizes[index]
            conn.execute("DELETE FROM t WHERE id = 9")
            with pytest.raises(SourceError, match="Row 9 of t was deleted"):
                first.line(index)
            shared.close()  # type: ignore[attr-defined]


# the processes


def doubling(fail_at: int) -> Callable[[int], int]:
    def double(number: int) -> int:
        if number == fail_at:
            raise SourceError("That one can't be doubled.")
        return 2 * number

    return double


def dying() -> Callable[[int], int]:
    def die(number: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return number

    return die


def failing() -> Callable[[int], int]:
    raise SourceError("It can't begin.")


def test_results_come_in_order_and_errors_as_they_were() -> None:
    with Workers(2, doubling, 8) as workers:
        assert list(workers.results(range(8))) == [0, 2, 4, 6, 8, 10, 12, 14]
        with pytest.raises(SourceError, match="can't be doubled"):
            list(workers.results(range(20)))


@pytest.mark.parametrize(
    ("begin", "error", "words"),
    [(dying, WorkerEnded, "without --workers"), (failing, SourceError, "can't begin")],
)
def test_a_worker_that_ends(begin: Any, error: type[Exception], words: str) -> None:
    def tasks() -> Iterator[int]:
        yield from range(100)

    with Workers(2, begin) as workers, pytest.raises(error, match=words):
        list(workers.results(tasks()))
