"""Every statement about votes: what several jobs say of the same rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from .jobs import update_job
from .outcomes import beside, id_range
from .parts import update_part
from .requests import AT_ONCE


def rows(conn: sqlite3.Connection, job_id: int, what: str = "DISTINCT row_key") -> int:
    """How many rows a job asked about, each counted once."""
    first, last = id_range(conn, job_id)
    (count,) = conn.execute(
        f"SELECT count({what}) FROM openai_batch_requests WHERE job_id = ? AND +id BETWEEN ? AND ?",
        [job_id, first, last],
    ).fetchone()
    return int(count)


def same_rows(conn: sqlite3.Connection, jobs: Sequence[int]) -> bool:
    """Whether jobs asked about the same rows: as many, and none that another didn't ask about.

    The first is the one that asked each row least often: else two rows might be asked once each
    where another was asked twice.
    """
    if len({rows(conn, job, "*") for job in jobs}) > 1:
        return False
    # A key that is NULL is like no other. In the order of the keys SQLite compares them side by
    # side, as both indexes have them; without it, each would go into a table first.
    keys = "SELECT row_key FROM openai_batch_requests WHERE job_id = ? AND +id BETWEEN ? AND ?"
    left = f"{keys} EXCEPT {keys} AND row_key IS NOT NULL ORDER BY row_key LIMIT 1"
    first = [jobs[0], *id_range(conn, jobs[0])]
    return not any(
        conn.execute(left, [*first, job, *id_range(conn, job)]).fetchone() for job in jobs[1:]
    )


def rows_of_both(conn: sqlite3.Connection, one: int, other: int) -> int:
    """How many rows two jobs asked about, both of them."""
    spans = [*id_range(conn, one), *id_range(conn, other)]
    (count,) = conn.execute(
        "SELECT count(DISTINCT a.row_key) "
        "FROM openai_batch_requests AS a JOIN openai_batch_requests AS b "
        "ON b.job_id = ? AND b.row_key = a.row_key "
        "WHERE a.job_id = ? AND +a.id BETWEEN ? AND ? AND +b.id BETWEEN ? AND ?",
        [other, one, *spans],
    ).fetchone()
    return int(count)


def pages(
    conn: sqlite3.Connection,
    jobs: Sequence[int],
    paths: Sequence[str | None],
    after: int,
    size: int,
) -> Iterator[list[tuple[Any, ...]]]:
    """Pages of (request of each job, row key, hash, then what each job says of each column).

    `paths` are where the columns stand in an answer, None for an answer that is text. What SQLite
    can't read as JSON comes as bytes. No cursor is open between pages.
    """
    cells, params = ["r0.row_key", "r0.source_hash"], list[Any]()
    for n in range(len(jobs)):
        for path in paths:
            if path is None:
                cells.append(f"CASE WHEN r{n}.status = 'ok' THEN trim(r{n}.answer) END")
                continue
            cells.append(
                f"CASE WHEN r{n}.status <> 'ok' THEN NULL WHEN json_valid(r{n}.answer) "
                f"THEN json_extract(r{n}.answer, ?) ELSE CAST(r{n}.answer AS BLOB) END"
            )
            params.append(path)
    return beside(conn, jobs, cells, params, size, after)


def insert(
    conn: sqlite3.Connection,
    job_id: int,
    part_id: int,
    found: Sequence[tuple[Any, bytes, str]],
    fates: Sequence[tuple[str | None, str | None]],
) -> None:
    """Store answers of a vote, (row key, hash, answer), and what became of them."""
    row = f"({job_id:d}, {part_id:d}, ?, ?, 'ok', ?, ?, ?)"
    into = (
        "openai_batch_requests "
        "(job_id, part_id, row_key, source_hash, status, answer, write_status, previous)"
    )
    values = [*chain.from_iterable(chain.from_iterable(zip(found, fates, strict=True)))]
    for count in (AT_ONCE, 1):
        width = 5 * count
        whole = len(values) - len(values) % width
        conn.executemany(
            f"INSERT INTO {into} VALUES {', '.join([row] * count)}",
            (values[start : start + width] for start in range(0, whole, width)),
        )
        values = values[whole:]


def note(
    conn: sqlite3.Connection,
    job_id: int,
    part_id: int,
    asked: int,
    silent: int,
    settings: Mapping[str, Any],
) -> None:
    """Bring the sums of a vote up to date, and how far it is, in the caller's transaction."""
    counts = json.dumps({"ok": asked} if asked else {})
    update_part(conn, part_id, requests=asked, outcomes=counts)
    update_job(conn, job_id, requests=asked, skipped=silent, options=json.dumps(dict(settings)))
