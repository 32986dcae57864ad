"""Every statement about files of answers that were brought by hand."""

from __future__ import annotations

import sqlite3


def was_imported(conn: sqlite3.Connection, job_id: int, file_id: str) -> bool:
    """Whether all lines of a file for a job were taken in before."""
    found = conn.execute(
        "SELECT 1 FROM openai_batch_log WHERE job_id = ? AND event = 'imported' "
        "AND json_extract(detail, '$.file') = ? LIMIT 1",
        [job_id, file_id],
    ).fetchone()
    return found is not None


def imports(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, str, int]]:
    """The files that were taken in for a job, oldest first: (when, file id, lines)."""
    return conn.execute(
        "SELECT at, json_extract(detail, '$.file'), json_extract(detail, '$.lines') "
        "FROM openai_batch_log WHERE job_id = ? AND event = 'imported' ORDER BY id",
        [job_id],
    ).fetchall()


def count_attempt(conn: sqlite3.Connection, part_id: int) -> None:
    """Count one more attempt for each settled request of a part that was run by hand."""
    conn.execute(
        "UPDATE openai_batch_requests SET attempts = attempts + 1 "
        "WHERE part_id = ? AND status <> 'pending' AND same_as IS NULL",
        [part_id],
    )
