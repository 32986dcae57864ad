"""The tables, their migration, and the statements that fence processes from each other."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock, errors
from sqlite_utils_openai_batch.store.leases import job_leased

# Section 4 of the design, column by column.
COLUMNS = {
    "jobs": "id uid name status source source_sql source_params key_columns endpoint model "
    "template template_hash answer_schema output created_columns provider base_url account options "
    "requests skipped estimated_input_tokens estimated_cost_nanousd upper_cost_nanousd "
    "max_cost_nanousd cost_nanousd created_at approved_at submitted_at checked_at finished_at "
    "message lease_owner lease_until versions",
    "parts": "id job_id number status requests bytes estimated_tokens upper_cost_nanousd "
    "cost_nanousd sends overrides fingerprint token intent_at next_try_at input_file_id batch_id "
    "output_file_id error_file_id completed failed outcomes prompt_tokens cached_tokens "
    "completion_tokens reasoning_tokens errors created_at submitted_at in_progress_at "
    "finalizing_at ended_at expires_at collected_at written_at lease_owner lease_until",
    "batches": "id part_id send token fingerprint input_file_id batch_id status errors created_at "
    "ended_at",
    "requests": "id job_id part_id row_key source_hash status attempts same_as answer error_code "
    "error_message finish_reason model prompt_tokens cached_tokens completion_tokens "
    "reasoning_tokens write_status previous",
    "responses": "id request_id part_id kind file_id line_number line received_at",
    "limits": "account model kind value seen_at source",
    "log": "id at job_id part_id event detail",
}


@pytest.fixture
def path(tmp_path: Path, journal: str) -> Path:
    file = tmp_path / "data.db"
    with closing(sqlite3.connect(file)) as made:
        made.execute(f"PRAGMA journal_mode = {journal}")
        made.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    return file


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        store.migrate(opened)
        yield opened


@pytest.fixture
def other(path: Path, conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A second connection to the same file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def add_job(conn: sqlite3.Connection, **values: Any) -> int:
    """A job of the least that a job has."""
    needed: dict[str, Any] = {
        "uid": store.new_uid(), "status": "prepared", "source": "notes", "key_columns": '["id"]',
        "endpoint": "/v1/chat/completions", "template": "{}", "template_hash": b"0" * 16,
        "output": '{"table": null, "columns": []}', "provider": "openai",
        "created_at": clock.now(), "requests": 0,
    }  # fmt: skip
    return store.insert_job(conn, needed | values)


def add_part(conn: sqlite3.Connection, job_id: int, **values: Any) -> store.Part:
    needed = {"number": 1, "status": "prepared", "requests": 0, "bytes": 0}
    return store.get_part(conn, store.insert_part(conn, job_id=job_id, **(needed | values)))


# Tables


def test_all_columns_are_there_from_the_start(conn: sqlite3.Connection) -> None:
    for table, columns in COLUMNS.items():
        found = conn.execute(f"SELECT name FROM pragma_table_info('openai_batch_{table}')")
        # Later versions may add columns, never take one away.
        assert set(columns.split()) <= {name for (name,) in found.fetchall()}, table
    names = set(store.table_names(conn))
    assert names >= {f"openai_batch_{table}" for table in COLUMNS} | {"openai_batch_results"}


def test_a_row_key_keeps_its_type(conn: sqlite3.Connection) -> None:
    job = add_job(conn, requests=None)
    part = add_part(conn, job)
    keys: list[Any] = [1, "1", 1.5, "1.5", b"1", "01", -(2**63)]
    store.insert_requests(
        conn, [(n, job, part.id, key, None, "pending", None) for n, key in enumerate(keys, 1)]
    )
    found = conn.execute("SELECT row_key FROM openai_batch_requests ORDER BY id").fetchall()
    assert [(key, type(key)) for (key,) in found] == [(key, type(key)) for key in keys]


def test_migrating_again_changes_nothing(conn: sqlite3.Connection) -> None:
    before = list(conn.iterdump())
    store.migrate(conn)
    store.build_indexes(conn)
    store.build_indexes(conn)
    indexed = list(conn.iterdump())
    store.migrate(conn)
    assert list(conn.iterdump()) == indexed
    assert [line for line in indexed if "CREATE INDEX openai_batch_re" not in line] == before


def test_a_newer_database_is_refused(conn: sqlite3.Connection) -> None:
    conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
        ["openai_batch", "m999_later", "2030-01-01"],
    )
    for call in (store.check_version, store.migrate):
        with pytest.raises(errors.DatabaseError) as caught:
            call(conn)
        assert str(caught.value) == (
            "This database was written by a newer sqlite-utils-openai-batch (it has m999_later). "
            "Upgrade with: pip install -U sqlite-utils-openai-batch"
        )


def test_other_migrations_are_none_of_ours(conn: sqlite3.Connection) -> None:
    conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)",
        ["somebody_else", "m999_later", "2030-01-01"],
    )
    store.check_version(conn)
    store.migrate(conn)


def test_a_database_without_our_tables_has_no_jobs(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        store.check_version(conn)
        assert store.list_jobs(conn) == []
        assert store.unfinished_jobs(conn) == []
        assert not store.exists(conn)


# Jobs


def test_uids() -> None:
    uids = {store.new_uid() for _ in range(1_000)}
    assert len(uids) == 1_000
    assert all(re.fullmatch(r"[a-z0-9]{6,12}", uid) for uid in uids)


def test_a_job_is_found_by_id_by_name_or_as_the_newest(conn: sqlite3.Connection) -> None:
    with pytest.raises(errors.JobError) as caught:
        store.find_job(conn, None, "my data.db")
    assert str(caught.value) == (
        "No jobs in 'my data.db' yet. "
        "Start one with: sqlite-utils openai-batch run 'my data.db' TABLE …"
    )
    for name in ("nightly", None, "nightly", "pilot"):
        add_job(conn, name=name)
    assert store.find_job(conn, None, "data.db").id == 4
    assert store.find_job(conn, "2", "data.db").id == 2
    # Of several with one name the newest is meant.
    assert store.find_job(conn, "nightly", "data.db").id == 3
    for wanted in ("5", "weekly", "", "²", "1.0", "-1", "9" * 30):
        with pytest.raises(errors.JobError) as caught:
            store.find_job(conn, wanted, "data.db")
        assert str(caught.value) == (
            f"No job '{wanted}' in 'data.db'. Jobs: 4 (pilot), 3 (nightly), 2, 1 (nightly)"
        )


def test_a_dropped_job_leaves_nothing(conn: sqlite3.Connection) -> None:
    kept, dropped = add_job(conn), add_job(conn)
    before = list(conn.iterdump())
    part = add_part(conn, dropped)
    first = store.reserve_ids(conn, dropped, 5)
    store.insert_requests(conn, [(first, dropped, part.id, 1, b"", "pending", None)])
    store.insert_responses(conn, [(first, part.id, "output", "file-1", 1, "{}")])
    store.insert_send(conn, part, 1, "a-1-1", b"0" * 16)
    store.log(conn, "prepared", job_id=dropped)
    store.drop_job(conn, dropped)
    gone = [line for line in before if f"VALUES({dropped}," not in line]
    assert list(conn.iterdump()) == gone
    assert [job.id for job in store.list_jobs(conn)] == [kept]


def test_two_jobs_never_share_request_ids(
    conn: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    one, two = add_job(conn), add_job(conn)
    first = store.reserve_ids(conn, one, 1_000)
    second = store.reserve_ids(other, two, 10)
    assert second >= first + 1_000
    store.drop_placeholder(conn, first, 1_000)
    store.drop_placeholder(conn, second, 10)
    assert not conn.execute("SELECT * FROM openai_batch_requests").fetchall()
    for job_id in (one, two):
        conn.execute("DELETE FROM openai_batch_jobs WHERE id = ?", [job_id])


WHOLE = st.integers(-(2**63), 2**63 - 1)


@settings(deadline=None)
@given(
    st.lists(WHOLE, max_size=40) | st.lists(WHOLE | st.text() | st.floats(allow_nan=False)),
    st.integers(1, 10**12),
    st.integers(0, 2),
)
@example([-(2**63), 2**63 - 1, 0], 1, 0)
def test_requests_that_wait_are_stored_as_they_are(keys: list[Any], first: int, gap: int) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        store.migrate(conn)
        ids = [first + n + gap * (n > 1) for n in range(len(keys))]
        hashes = [n.to_bytes(16, "big") for n in range(len(keys))]
        store.insert_pending(conn, 7, 8, ids, tuple(keys), hashes)
        found = conn.execute(
            "SELECT id, job_id, part_id, typeof(row_key), row_key, typeof(source_hash), "
            "source_hash, status, attempts, answer FROM openai_batch_requests ORDER BY id"
        ).fetchall()
    kinds = {int: "integer", float: "real", str: "text"}
    assert found == [
        (one, 7, 8, kinds[type(key)], key, "blob", digest, "pending", 0, None)
        for one, key, digest in zip(ids, keys, hashes, strict=True)
    ]


def test_a_response_is_kept_once(conn: sqlite3.Connection) -> None:
    lines = [(1, 1, "output", "file-1", number, f"line {number}") for number in (1, 2)]
    store.insert_responses(conn, lines)
    store.insert_responses(conn, [(*lines[0][:5], "something else"), *lines])
    found = conn.execute("SELECT line_number, line FROM openai_batch_responses").fetchall()
    assert found == [(1, "line 1"), (2, "line 2")]


def test_times_compare_as_text() -> None:
    now, later = clock.now(), clock.now(0.002)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now)
    assert len(now) == 24
    assert now < later
    assert clock.timestamp(clock.parse(now)) == now


# Leases


SOMEBODY = "elsewhere-1-abcd"


def take(conn: sqlite3.Connection, part: store.Part, owner: str, until: str) -> None:
    conn.execute(
        "UPDATE openai_batch_parts SET lease_owner = ?, lease_until = ? WHERE id = ?",
        [owner, until, part.id],
    )


def lease_of(conn: sqlite3.Connection, part: store.Part) -> tuple[Any, Any]:
    found = store.get_part(conn, part.id)
    return found.lease_owner, found.lease_until


def test_a_lease_is_given_back(conn: sqlite3.Connection, other: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    with store.leased(conn, part) as mine:
        assert mine
        owner, until = lease_of(other, part)
        assert owner is not None
        assert clock.now(14 * 60) < until <= clock.now(15 * 60)
    assert lease_of(other, part) == (None, None)


def test_a_lease_is_given_back_after_an_error(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    with pytest.raises(ZeroDivisionError), store.leased(conn, part):
        raise ZeroDivisionError
    assert lease_of(conn, part) == (None, None)


def test_somebody_elses_lease_is_respected(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    until = clock.now(60)
    take(conn, part, SOMEBODY, until)
    with store.leased(conn, part) as mine:
        assert not mine
    assert lease_of(conn, part) == (SOMEBODY, until)
    assert not store.renew(conn, part)
    assert not store.move_part(conn, part, "uploading")
    assert store.get_part(conn, part.id).status == "prepared"


def test_a_lease_that_ran_out_is_taken(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    take(conn, part, SOMEBODY, clock.now(-1))
    with store.leased(conn, part) as mine:
        assert mine
        assert store.renew(conn, part)


def test_a_lease_lost_meanwhile_is_not_given_back(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    until = clock.now(60)
    with store.leased(conn, part):
        take(conn, part, SOMEBODY, until)
        assert not store.renew(conn, part)
        assert not store.move_part(conn, part, "uploading")
    assert lease_of(conn, part) == (SOMEBODY, until)


def test_a_lease_of_a_killed_process_is_taken(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with store.leased(conn, part):
        ours = str(lease_of(conn, part)[0])
    take(conn, part, ours.replace(f"-{os.getpid()}-", f"-{child}-"), clock.now(60))
    with store.leased(conn, part) as mine:
        assert mine


def test_a_part_moves_only_from_where_it_was_seen(conn: sqlite3.Connection) -> None:
    part = add_part(conn, add_job(conn))
    assert not store.move_part(conn, part, "uploading", sends=1)  # nobody holds it
    with store.leased(conn, part):
        assert store.move_part(conn, part, "uploading", sends=1)
        assert not store.move_part(conn, part, "uploading", sends=1)
        now = store.get_part(conn, part.id)
        assert (now.status, now.sends) == ("uploading", 1)
        assert store.move_part(conn, now, "uploaded")
    with pytest.raises(ValueError, match="can't become prepared after completed"):
        store.move_part(conn, add_part(conn, 1, number=2, status="completed"), "prepared")


@pytest.mark.parametrize("lease", ["part", "job"])
def test_a_lease_in_a_locked_database_is_left_at_once(
    conn: sqlite3.Connection, other: sqlite3.Connection, lease: str
) -> None:
    """What the body waited for in vain isn't waited for once more: that took twice as long."""
    part = add_part(conn, add_job(conn))

    def hold() -> AbstractContextManager[bool]:
        return store.leased(conn, part) if lease == "part" else job_leased(conn, part.job_id)

    conn.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(sqlite3.OperationalError) as raised, hold():
        other.execute("BEGIN IMMEDIATE")
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            locked = error
            raise
    assert raised.value is locked
    assert conn.execute("PRAGMA busy_timeout").fetchone() == (50,)
    other.execute("ROLLBACK")
    # It is this process's still, so it can be taken again.
    with hold() as mine:
        assert mine


def test_each_column_says_what_it_holds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(lines) > 100
    assert [line for line in lines if line.split("|")[-2].strip() == ""] == []
