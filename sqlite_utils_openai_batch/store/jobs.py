"""Every statement about jobs, and the log."""

from __future__ import annotations

import json
import secrets
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from ..base import clock
from ..base.errors import DatabaseError, JobError
from .records import Job, Part, check, read
from .tables import exists

UID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def rows(conn: sqlite3.Connection, sql: str, params: Any = ()) -> list[sqlite3.Row]:
    """All rows of a statement, with names; no cursor stays open."""
    cursor = conn.cursor()
    cursor.row_factory = sqlite3.Row
    try:
        return cursor.execute(sql, params).fetchall()
    finally:
        cursor.close()


def new_uid() -> str:
    """Ten random characters of a-z0-9: the first part of each `custom_id` of a job."""
    return "".join(secrets.choice(UID_ALPHABET) for _ in range(10))


def insert_job(conn: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Store a job; `values` maps column names. Returns its id."""
    names = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    cursor = conn.execute(
        f"INSERT INTO openai_batch_jobs ({names}) VALUES ({marks})", list(values.values())
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def update_job(conn: sqlite3.Connection, job_id: int, **values: Any) -> None:
    """Change columns of a job."""
    sets = ", ".join(f"{name} = ?" for name in values)
    conn.execute(f"UPDATE openai_batch_jobs SET {sets} WHERE id = ?", [*values.values(), job_id])


def get_job(conn: sqlite3.Connection, job_id: int) -> Job:
    """The job of that id, as it is now. It isn't checked: whoever begins with it does that."""
    found = rows(conn, "SELECT * FROM openai_batch_jobs WHERE id = ?", [job_id])
    if not found:
        raise JobError(f"No job {job_id}.")
    return read(Job, found[0])


def check_whole(conn: sqlite3.Connection, job: Job) -> None:
    """Raise DatabaseError where a job, or a part of it, holds what this program never writes."""
    check(job)
    for row in rows(conn, "SELECT * FROM openai_batch_parts WHERE job_id = ?", [job.id]):
        check(read(Part, row))


def list_jobs(conn: sqlite3.Connection) -> list[Job]:
    """All jobs, newest first; none where the tables aren't there.

    Raises DatabaseError where one of them was changed by another program.
    """
    sound, changed = sorted_out(conn)
    if changed:
        raise changed[0]
    return sound


def sorted_out(conn: sqlite3.Connection) -> tuple[list[Job], list[DatabaseError]]:
    """All jobs, newest first, and what is wrong with those that another program changed."""
    sound: list[Job] = []
    changed: list[DatabaseError] = []
    for job in _read_all(conn):
        try:
            check_whole(conn, job)
        except DatabaseError as error:
            changed.append(error)
        else:
            sound.append(job)
    return sound, changed


def _read_all(conn: sqlite3.Connection) -> list[Job]:
    """All jobs as they are, newest first."""
    if not exists(conn):
        return []
    found = rows(conn, "SELECT * FROM openai_batch_jobs ORDER BY id DESC")
    return [read(Job, row) for row in found]


def unfinished_jobs(conn: sqlite3.Connection) -> list[Job]:
    """Jobs that may still be sent, polled, collected or written, oldest first."""
    return [job for job in reversed(list_jobs(conn)) if job.unfinished]


def find_job(conn: sqlite3.Connection, wanted: str | None, path: str) -> Job:
    """The job of that id or name (of several with one name the newest); None is the newest.

    Raises JobError naming the jobs that there are, DatabaseError for one that was changed.
    """
    jobs = _read_all(conn)
    if not jobs:
        raise JobError(
            f"No jobs in '{path}' yet. "
            f"Start one with: sqlite-utils openai-batch run {shlex.quote(path)} TABLE …"
        )
    for job in jobs:
        by_id = wanted is not None and wanted.isdecimal() and job.id == int(wanted)
        if wanted is None or by_id or job.name == wanted:
            check_whole(conn, job)
            return job
    there = ", ".join(f"{job.id} ({job.name})" if job.name else str(job.id) for job in jobs[:8])
    raise JobError(f"No job '{wanted}' in '{path}'. Jobs: {there}")


def log(
    conn: sqlite3.Connection,
    event: str,
    *,
    job_id: int | None = None,
    part_id: int | None = None,
    **detail: Any,
) -> None:
    """Record what happened; `detail` is stored as JSON. Never put a key or a user's data in it."""
    conn.execute(
        "INSERT INTO openai_batch_log (at, job_id, part_id, event, detail) VALUES (?, ?, ?, ?, ?)",
        [clock.now(), job_id, part_id, event, json.dumps(detail) if detail else None],
    )


def times_logged(conn: sqlite3.Connection, part_id: int, event: str) -> int:
    """How often something happened to a part."""
    found = rows(
        conn,
        "SELECT count(*) FROM openai_batch_log WHERE part_id = ? AND event = ?",
        [part_id, event],
    )
    return int(found[0][0])


def asked_again_at(conn: sqlite3.Connection, job_id: int) -> str | None:
    """When an ended job was approved once more, for a retry; None where it ended only once."""
    ends = rows(
        conn,
        "SELECT id FROM openai_batch_log WHERE job_id = ? "
        "AND event IN ('completed', 'cancelled', 'failed') ORDER BY id DESC LIMIT 2",
        [job_id],
    )
    if len(ends) < 2:
        return None
    (at,) = conn.execute(
        "SELECT min(at) FROM openai_batch_log WHERE job_id = ? AND event = 'approved' AND id > ?",
        [job_id, ends[1]["id"]],
    ).fetchone()
    return None if at is None else str(at)


def log_lines(conn: sqlite3.Connection, job_id: int) -> list[sqlite3.Row]:
    """The log of a job, oldest first: at, part number, event, detail."""
    return rows(
        conn,
        "SELECT log.at, parts.number, log.event, log.detail FROM openai_batch_log AS log "
        "LEFT JOIN openai_batch_parts AS parts ON parts.id = log.part_id "
        "WHERE log.job_id = ? ORDER BY log.id",
        [job_id],
    )


def outcome_counts(parts: list[Part]) -> dict[str, int]:
    """Requests by outcome, summed over parts: what every screen shows."""
    total: dict[str, int] = {}
    for part in parts:
        for status, count in part.counts.items():
            total[status] = total.get(status, 0) + count
    return {status: count for status, count in total.items() if count}


def table_names(conn: sqlite3.Connection) -> Iterator[str]:
    """Names of our tables and views in this database."""
    for (name,) in conn.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name LIKE 'openai\\_batch\\_%' ESCAPE '\\'"
    ).fetchall():
        yield name
