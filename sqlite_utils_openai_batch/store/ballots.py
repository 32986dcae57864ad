"""Every statement about several requests for a row, which vote on its answer (`--times`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from . import earlier
from .outcomes import id_range

#: Why an answer of a single request stands among the earlier ones: the vote took its place.
VOTE = "vote"


def copy_requests(
    conn: sqlite3.Connection, part_id: int, made: int, by: int, after: int, size: int
) -> int | None:
    """Copy the next requests of a part into another, with ids that are larger by `by`.

    In the caller's transaction. Returns the last id, None where there was none left.
    """
    last = conn.execute(
        "SELECT max(id) FROM (SELECT id FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? ORDER BY id LIMIT ?)",
        [part_id, after, size],
    ).fetchone()[0]
    if last is None:
        return None
    conn.execute(
        "INSERT OR REPLACE INTO openai_batch_requests "
        "(id, job_id, part_id, row_key, source_hash, status, error_message) "
        "SELECT id + ?, job_id, ?, row_key, source_hash, status, error_message "
        "FROM openai_batch_requests WHERE part_id = ? AND id > ? AND id <= ?",
        [by, made, part_id, after, last],
    )
    return int(last)


Voices = list[tuple[int, list[tuple[str, Any]]]]


def page(
    conn: sqlite3.Connection, job_id: int, times: int, stride: int, after: int, size: int
) -> Voices:
    """The next rows of a job: the first request about each, and (outcome, answer) of all of them.

    That of the first is its own, not what a vote before made of it.
    """
    first, last = id_range(conn, job_id)
    joins = " ".join(
        f"LEFT JOIN openai_batch_requests AS r{n} ON r{n}.id = r0.id + {n * stride:d}"
        for n in range(1, times)
    )
    cells = ", ".join(f"r{n}.status, r{n}.answer" for n in range(times))
    found = conn.execute(
        f"SELECT r0.id, r0.error_code IS '{VOTE}', {cells} "
        f"FROM openai_batch_requests AS r0 {joins} "
        "WHERE r0.id > ? AND r0.id <= ? AND +r0.job_id = ? ORDER BY r0.id LIMIT ?",
        [max(after, first - 1), last, job_id, size],
    ).fetchall()
    own = own_answers(conn, [row[0] for row in found if row[1]])
    voices: Voices = []
    for request_id, has_voted, *said in found:
        pairs = list(zip(said[::2], said[1::2], strict=True))
        if has_voted:
            pairs[0] = own.get(request_id, ("missing", None))
        voices.append((request_id, pairs))
    return voices


def own_answers(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[str, Any]]:
    """What requests that hold the answer of a vote were answered themselves, last of all."""
    if not earlier.has_table(conn):
        return {}
    found: dict[int, tuple[str, Any]] = {}
    for some in earlier.chunks(ids):
        marks = ", ".join("?" * len(some))
        for request_id, status, answer in conn.execute(
            "SELECT request_id, status, answer FROM openai_batch_answers "
            f"WHERE request_id IN ({marks}) AND why = '{VOTE}' AND error_code IS NOT '{VOTE}' "
            "ORDER BY id",
            some,
        ).fetchall():
            found[request_id] = (status, answer)
    return found


def current(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[str, Any]]:
    """The outcome and answer that requests hold."""
    found: dict[int, tuple[str, Any]] = {}
    for some in earlier.chunks(ids):
        marks = ", ".join("?" * len(some))
        found |= {
            row[0]: (row[1], row[2])
            for row in conn.execute(
                f"SELECT id, status, answer FROM openai_batch_requests WHERE id IN ({marks})", some
            ).fetchall()
        }
    return found


def settle(conn: sqlite3.Connection, found: Iterable[tuple[str, int]]) -> set[int]:
    """Give the first requests about rows the answer of a vote: (answer, request id).

    What they held is kept first. In the caller's transaction. Returns their parts.
    """
    every = list(found)
    ids = [request_id for _, request_id in every]
    earlier.keep(conn, ids, VOTE)
    # A cell that holds what a vote before wrote there may be overwritten; others wait for nothing.
    conn.executemany(
        "UPDATE openai_batch_answers SET standing = (write_status IS 'written') "
        "WHERE id = (SELECT max(id) FROM openai_batch_answers WHERE request_id = ?)",
        [(one,) for one in ids],
    )
    conn.executemany(
        "UPDATE openai_batch_requests SET status = 'ok', answer = ?, "
        f"error_code = '{VOTE}', "
        "error_message = NULL, write_status = NULL, previous = NULL WHERE id = ?",
        every,
    )
    parts: set[int] = set()
    for some in earlier.chunks(ids):
        marks = ", ".join("?" * len(some))
        parts |= {
            row[0]
            for row in conn.execute(
                f"SELECT DISTINCT part_id FROM openai_batch_requests WHERE id IN ({marks})", some
            ).fetchall()
        }
    return parts


def end(conn: sqlite3.Connection, job_id: int) -> None:
    """All votes of a job are written: none waits for another any more."""
    if earlier.has_table(conn):
        conn.execute(
            "UPDATE openai_batch_answers SET standing = 0 "
            f"WHERE job_id = ? AND why = '{VOTE}' AND standing",
            [job_id],
        )
