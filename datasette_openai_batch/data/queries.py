"""Every statement of the pages: short, with no cursor left open, run in Datasette's read threads.

Nothing here counts a job's requests: sums come from its parts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import NamedTuple

from datasette.utils import detect_primary_keys

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import DatabaseError
from sqlite_utils_openai_batch.base.json import kept_json
from sqlite_utils_openai_batch.store.records import Job, Part, read

#: How long a page waits for a database that another program has locked. Commits take less.
PATIENCE_MS = 1_000


class Place(NamedTuple):
    """Where a job reads and where it writes: what permissions are asked about."""

    source: str | None
    source_sql: str | None
    source_params: str | None
    output_table: str | None
    known: bool = True
    """Whether where it writes can be read: somebody may have changed it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The few columns of a job that lists, filters and permissions need."""

    id: int
    name: str | None
    status: str
    model: str | None
    created_at: str
    place: Place


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the jobs of a database can't be shown; `outdated` where a command mends it."""

    sentence: str
    outdated: bool = False
    locked: bool = False


@contextmanager
def impatient(conn: sqlite3.Connection) -> Iterator[None]:
    """Wait for another program's lock for a moment, not for SQLite's usual five seconds."""
    (before,) = conn.execute("PRAGMA busy_timeout").fetchone()
    conn.execute(f"PRAGMA busy_timeout = {min(before, PATIENCE_MS)}")
    try:
        yield
    finally:
        conn.execute(f"PRAGMA busy_timeout = {before}")


def trouble(conn: sqlite3.Connection) -> Trouble | None:
    """What keeps the jobs of this database from being shown; None where nothing does."""
    with impatient(conn):
        return _trouble(conn)


def _trouble(conn: sqlite3.Connection) -> Trouble | None:
    try:
        if not store.exists(conn):
            return None
        store.check_version(conn)
        outdated = store.is_outdated(conn)
    except DatabaseError as error:
        return Trouble(str(error))
    except sqlite3.OperationalError as error:
        return _trouble_of_file(error)
    if outdated:
        return Trouble(
            "The jobs in this database were written by an older sqlite-utils-openai-batch. "
            "Any command that writes brings them up to date:",
            outdated=True,
        )
    return _missing_columns(conn)


def _missing_columns(conn: sqlite3.Connection) -> Trouble | None:
    """That tables lack what their version has: somebody changed them by hand."""
    for table, record in (("openai_batch_jobs", Job), ("openai_batch_parts", Part)):
        there = {
            row["name"]
            for row in store.rows(conn, "SELECT name FROM pragma_table_info(?)", [table])
        }
        for field in fields(record):
            if field.name not in there:
                return Trouble(
                    f"The table {table} lacks the column {field.name}, so jobs can't be shown."
                )
    return None


def _trouble_of_file(error: sqlite3.OperationalError) -> Trouble:
    """What it means that a file can't be read just now. Raises what is another matter."""
    if "readonly" in str(error):
        # A journal that a killed writer left can only be rolled back by one who may write.
        return Trouble(
            "A program was stopped in the middle of a write to this database. "
            "Any command that writes puts it right:",
            outdated=True,
        )
    if "locked" in str(error):
        return Trouble(
            "Another program has been writing to this database for a while. Try again in a moment.",
            locked=True,
        )
    raise error


_KNOWN = (
    "CASE WHEN typeof(output) = 'text' AND json_valid(output) THEN json_type(output) = 'object' "
    "AND coalesce(json_type(output, '$.table'), 'null') IN ('text', 'null') ELSE 0 END"
)


def asked_of(conn: sqlite3.Connection, table: str) -> bool:
    """Whether a job may have asked about rows of a table; one that is being prepared hasn't yet.

    True as well where the jobs can't be read: `trouble` says why.
    """
    asked = (
        "SELECT 1 FROM openai_batch_jobs "
        "WHERE source = ? AND source_sql IS NULL AND requests IS NOT NULL LIMIT 1"
    )
    try:
        with impatient(conn):
            return store.exists(conn) and conn.execute(asked, [table]).fetchone() is not None
    except sqlite3.Error:
        return True


def heads(conn: sqlite3.Connection) -> list[Head]:
    """All jobs, newest first; none where the tables aren't there."""
    if not store.exists(conn):
        return []
    found = store.rows(
        conn,
        "SELECT id, name, status, model, created_at, source, source_sql, source_params, "
        f"CASE WHEN {_KNOWN} THEN json_extract(output, '$.table') END AS output_table, "
        f"{_KNOWN} AS known FROM openai_batch_jobs ORDER BY id DESC",
    )
    return [
        Head(
            row["id"],
            row["name"],
            row["status"],
            row["model"],
            row["created_at"],
            Place(
                row["source"],
                row["source_sql"],
                row["source_params"],
                row["output_table"],
                bool(row["known"]),
            ),
        )
        for row in found
    ]


def places(conn: sqlite3.Connection) -> dict[Place, frozenset[str] | None]:
    """The tables that each kind of job reads and writes; None where nobody can say."""
    return {place: _tables(conn, place) for place in {head.place for head in heads(conn)}}


def _tables(conn: sqlite3.Connection, place: Place) -> frozenset[str] | None:
    if not place.known:
        return None
    found = {table for table in (place.source, place.output_table) if table}
    if place.source_sql:
        read = _tables_of_query(conn, place.source_sql, place.source_params)
        if read is None:
            return None
        found |= read
    return frozenset(found)


def _tables_of_query(conn: sqlite3.Connection, sql: str, params: str | None) -> set[str] | None:
    """The tables that a query opens, by the program that SQLite compiles it to."""
    try:
        named = kept_json(params or "{}", dict, "openai_batch_jobs.source_params")
        program = store.rows(conn, f"EXPLAIN {sql}", named)
    except (sqlite3.Error, DatabaseError):
        return None
    roots = {row["p2"] for row in program if row["opcode"] == "OpenRead" and row["p3"] == 0}
    virtual = any(row["opcode"] == "VOpen" for row in program)
    schema = store.rows(conn, "SELECT tbl_name, rootpage FROM sqlite_master")
    if virtual:
        return None
    return {row["tbl_name"] for row in schema if row["rootpage"] in roots}


def has_row_pages(conn: sqlite3.Connection, job: Job) -> bool:
    """Whether a job's row keys are the keys by which Datasette finds rows."""
    if not job.source or job.source_sql:
        return False
    found = store.rows(
        conn,
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
        [job.source],
    )
    if not found:
        return False
    own = tuple(detect_primary_keys(conn, job.source))
    return job.keys == own or (not own and job.keys[0] in ("rowid", "_rowid_", "oid"))


def jobs(conn: sqlite3.Connection, ids: Iterable[int]) -> list[Job]:
    """These jobs, in this order; those that were deleted meanwhile are left out."""
    wanted = list(ids)
    found = store.rows(
        conn,
        "SELECT * FROM openai_batch_jobs WHERE id IN (SELECT value FROM json_each(?))",
        [json.dumps(wanted)],
    )
    by_id = {row["id"]: read(Job, row) for row in found}
    return [by_id[job_id] for job_id in wanted if job_id in by_id]


def written_jobs(ids: Iterable[int]) -> Callable[[sqlite3.Connection], list[Job]]:
    """Those of these jobs that wrote answers back, in this order."""
    wanted = list(ids)

    def read_jobs(conn: sqlite3.Connection) -> list[Job]:
        found = store.rows(
            conn,
            "SELECT DISTINCT job_id FROM openai_batch_parts WHERE written_at IS NOT NULL "
            "AND job_id IN (SELECT value FROM json_each(?))",
            [json.dumps(wanted)],
        )
        written = {row["job_id"] for row in found}
        return jobs(conn, [job_id for job_id in wanted if job_id in written])

    return read_jobs


def jobs_with_batch(batch_id: str) -> Callable[[sqlite3.Connection], list[int]]:
    """What finds the ids of the jobs that a batch of the provider's belongs to."""

    def find(conn: sqlite3.Connection) -> list[int]:
        if trouble(conn) or not store.exists(conn):
            return []
        found = conn.execute(
            "SELECT DISTINCT parts.job_id FROM openai_batch_batches AS batches "
            "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
            "WHERE batches.batch_id = ?",
            [batch_id],
        )
        return [row[0] for row in found]

    return find
