"""Every statement about what was asked before: for choosing rows, and for answers shared."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

PAGE = 5_000


class Asked(NamedTuple):
    """A request of an earlier job, as far as the choice of rows has to know."""

    id: int
    job_id: int
    row_key: Any
    source_hash: bytes
    status: str
    write_status: str | None
    previous: str | None


def asked_before(conn: sqlite3.Connection, job_ids: Sequence[int]) -> Iterator[list[Asked]]:
    """Pages of the requests of some jobs, oldest first; no cursor is open between them."""
    after = 0
    marks = ", ".join("?" * len(job_ids))
    # "+": one walk along the ids, rather than a search for each job and a sort
    sql = (
        "SELECT id, job_id, row_key, source_hash, status, write_status, previous "
        f"FROM openai_batch_requests WHERE +job_id IN ({marks}) AND id > ? "
        "AND status <> 'placeholder' ORDER BY id LIMIT ?"
    )
    while page := conn.execute(sql, [*job_ids, after, PAGE]).fetchall():
        yield [Asked._make(row) for row in page]
        after = page[-1][0]


def answered_before(
    conn: sqlite3.Connection, job_ids: Sequence[int]
) -> Iterator[list[tuple[bytes, int]]]:
    """Pages of (hash, request) that some jobs have an answer to; no cursor is open between them.

    Without what a retry asked with other parameters: that was another question.
    """
    after = 0
    marks = ", ".join("?" * len(job_ids))
    sql = (
        "SELECT source_hash, id FROM openai_batch_requests "
        f"WHERE +job_id IN ({marks}) AND id > ? AND status = 'ok' AND part_id NOT IN "
        f"(SELECT id FROM openai_batch_parts WHERE job_id IN ({marks}) AND overrides IS NOT NULL) "
        "ORDER BY id LIMIT ?"
    )
    while page := conn.execute(sql, [*job_ids, after, *job_ids, PAGE]).fetchall():
        yield page
        after = page[-1][1]


def last_written(
    conn: sqlite3.Connection, job_ids: Sequence[int], row_keys: Sequence[Any]
) -> dict[Any, str]:
    """What the newest write of these jobs to a row is remembered by (`previous`), by row key."""
    marks = ", ".join("?" * len(job_ids))
    found: dict[Any, str] = {}
    for row_key in row_keys:
        row = conn.execute(
            f"SELECT previous FROM openai_batch_requests WHERE job_id IN ({marks}) "
            "AND row_key IS ? AND write_status = 'written' ORDER BY id DESC LIMIT 1",
            [*job_ids, row_key],
        ).fetchone()
        if row is not None and row[0]:
            found[row_key] = row[0]
    return found


class Follower(NamedTuple):
    """A request that shares the answer of another, whose outcome is there."""

    id: int
    part_id: int
    source_hash: bytes
    same_as: int
    leader_hash: bytes
    leader_status: str

    @property
    def same_question(self) -> bool:
        """Whether what was asked for it is still what it asks, and its row could be read."""
        return self.source_hash == self.leader_hash and self.leader_status != "unrenderable"


def shareable(conn: sqlite3.Connection, job_id: int, after: int) -> list[Follower]:
    """The next requests of a job that can take over the outcome of the one they share."""
    found = conn.execute(
        "SELECT own.id, own.part_id, own.source_hash, own.same_as, lead.source_hash, lead.status "
        "FROM openai_batch_requests AS own "
        "JOIN openai_batch_requests AS lead ON lead.id = own.same_as "
        "WHERE own.job_id = ? AND own.id > ? AND lead.job_id = own.job_id "
        "AND lead.status <> 'pending' AND own.status <> 'ok' "
        "AND (own.status = 'pending' OR lead.status = 'ok') ORDER BY own.id LIMIT ?",
        [job_id, after, PAGE],
    ).fetchall()
    return [Follower._make(row) for row in found]


def unwritten_parts(conn: sqlite3.Connection, job_id: int) -> list[int]:
    """Parts with shared answers that aren't written yet."""
    found = conn.execute(
        "SELECT DISTINCT part_id FROM openai_batch_requests WHERE job_id = ? "
        "AND status = 'ok' AND same_as IS NOT NULL AND write_status IS NULL",
        [job_id],
    ).fetchall()
    return [part_id for (part_id,) in found]


def link(conn: sqlite3.Connection, found: Sequence[tuple[int, int]]) -> None:
    """Record whose answer requests share: (the other request, this one)."""
    conn.executemany("UPDATE openai_batch_requests SET same_as = ? WHERE id = ?", found)


def copy_outcomes(conn: sqlite3.Connection, found: Sequence[tuple[int, int]]) -> None:
    """Give requests the outcome of others, without their tokens: (the other, this one)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET "
        "(status, answer, error_code, error_message, finish_reason, model) = "
        "(SELECT status, answer, error_code, error_message, finish_reason, model "
        "FROM openai_batch_requests WHERE id = ?) WHERE id = ?",
        found,
    )


def take_answers(conn: sqlite3.Connection, job_id: int) -> None:
    """Copy the answers of earlier jobs to the requests of a job that share them."""
    conn.execute(
        "UPDATE openai_batch_requests AS own SET (answer, finish_reason, model) = "
        "(SELECT answer, finish_reason, model FROM openai_batch_requests WHERE id = own.same_as) "
        "WHERE job_id = ? AND status = 'ok' AND same_as IS NOT NULL",
        [job_id],
    )


def set_alone(conn: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Let requests share nobody's answer any more."""
    conn.executemany(
        "UPDATE openai_batch_requests SET same_as = NULL WHERE id = ?", [(one,) for one in ids]
    )


def cancel_followers(conn: sqlite3.Connection, job_id: int) -> list[int]:
    """End the requests of a job that wait for another's answer. Returns their parts."""
    waiting = "job_id = ? AND status = 'pending' AND same_as IS NOT NULL"
    parts = conn.execute(
        f"SELECT DISTINCT part_id FROM openai_batch_requests WHERE {waiting}", [job_id]
    ).fetchall()
    conn.execute(
        "UPDATE openai_batch_requests SET status = 'cancelled', error_message = 'never sent' "
        f"WHERE {waiting}",
        [job_id],
    )
    return [part_id for (part_id,) in parts]


# Every statement about files of answers that were brought by hand.


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
