"""Every statement about what became of requests, and of their answers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# A request as far as an answer to it has to know: id, part_id, status, row_key, source_hash.
Asked = tuple[int, "int | None", str, Any, bytes]

ASKED = "SELECT id, part_id, status, row_key, source_hash FROM openai_batch_requests"


def asked(conn: sqlite3.Connection, job_id: int, ids: Sequence[int]) -> dict[int, Asked]:
    """Those of these requests that are a job's, by id. `ids` ascend."""
    if not ids:
        return {}
    # The + keeps SQLite from walking the whole job by another index.
    if ids[-1] - ids[0] < 4 * len(ids):
        # Close together: one walk is cheaper than as many searches.
        found = conn.execute(
            f"{ASKED} WHERE id BETWEEN ? AND ? AND +job_id = ?", [ids[0], ids[-1], job_id]
        ).fetchall()
    else:
        found = []
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            marks = ",".join("?" * len(some))
            found += conn.execute(
                f"{ASKED} WHERE id IN ({marks}) AND +job_id = ?", [*some, job_id]
            ).fetchall()
    return {row[0]: row for row in found}


def answers_of(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What requests were settled with, from the status to the tokens, by id."""
    found: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows = conn.execute(
            "SELECT id, status, answer, error_code, error_message, finish_reason, model, "
            "prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens "
            "FROM openai_batch_requests "
            f"WHERE id IN ({','.join('?' * len(some))})",
            some,
        ).fetchall()
        found |= {row[0]: row[1:] for row in rows}
    return found


def disown_responses(conn: sqlite3.Connection, file_id: str, numbers: Iterable[int]) -> None:
    """Let kept lines of a file belong to no request: what they name isn't there."""
    conn.executemany(
        "UPDATE openai_batch_responses SET request_id = NULL WHERE file_id = ? AND line_number = ?",
        [(file_id, number) for number in numbers],
    )


def set_notes(conn: sqlite3.Connection, notes: Iterable[tuple[str, int]]) -> None:
    """Record what was forgiven in answers that are ok: (note, request id)."""
    conn.executemany("UPDATE openai_batch_requests SET error_message = ? WHERE id = ?", notes)


def set_settled(conn: sqlite3.Connection, found: Iterable[Sequence[Any]]) -> None:
    """Give requests what their lines say: (status, answer, error code, message, finish reason,
    model, prompt, cached, completion and reasoning tokens, write status, previous, request id).
    """
    conn.executemany(
        "UPDATE openai_batch_requests SET status = ?, answer = ?, error_code = ?, "
        "error_message = ?, finish_reason = ?, model = ?, prompt_tokens = ?, cached_tokens = ?, "
        "completion_tokens = ?, reasoning_tokens = ?, write_status = ?, previous = ? WHERE id = ?",
        found,
    )


def unwritten_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, Any]]:
    """The next answers of a part that aren't written: (id, row_key, source_hash, answer)."""
    return conn.execute(
        "SELECT id, row_key, source_hash, answer FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? AND status = 'ok' AND write_status IS NULL "
        "ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def set_written(
    conn: sqlite3.Connection, found: Iterable[tuple[str | None, str | None, int]]
) -> None:
    """Record what became of answers: (write status, previous, request id)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET write_status = ?, previous = ? WHERE id = ?", found
    )


def written_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, Any, str | None]]:
    """The next answers of a part that are in their columns.

    Each is (id, row_key, source_hash, answer, previous).
    """
    return conn.execute(
        "SELECT id, row_key, source_hash, answer, previous FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? AND write_status = 'written' ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def answered_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int
) -> list[tuple[int, Any, bytes, str, Any, str | None]]:
    """The next requests of a part that have an answer, whatever its outcome.

    Each is (id, row_key, source_hash, status, answer, write_status).
    """
    return conn.execute(
        "SELECT id, row_key, source_hash, status, answer, write_status "
        "FROM openai_batch_requests WHERE part_id = ? AND id > ? AND answer IS NOT NULL "
        "AND status IN ('ok', 'invalid_json', 'schema_violation') ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def forget_writes(conn: sqlite3.Connection, part_id: int, size: int) -> int:
    """Let answers of a part count as not written, so many at most. Returns how many did."""
    cursor = conn.execute(
        "UPDATE openai_batch_requests SET write_status = NULL, previous = NULL WHERE id IN "
        "(SELECT id FROM openai_batch_requests WHERE part_id = ? AND write_status IS NOT NULL "
        "LIMIT ?)",
        [part_id, size],
    )
    return cursor.rowcount


def set_checked(conn: sqlite3.Connection, found: Iterable[tuple[str, str | None, int]]) -> None:
    """Give answered requests another outcome: (status, message, request id)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET status = ?, error_message = ? WHERE id = ?", found
    )


def shift_outcomes(conn: sqlite3.Connection, part_id: int, change: Mapping[str, int]) -> None:
    """Add to a part's counts of outcomes, in the transaction that changes its requests."""
    (text,) = conn.execute(
        "SELECT outcomes FROM openai_batch_parts WHERE id = ?", [part_id]
    ).fetchone()
    counts: dict[str, int] = json.loads(text)
    for status, count in change.items():
        counts[status] = counts.get(status, 0) + count
    conn.execute(
        "UPDATE openai_batch_parts SET outcomes = ? WHERE id = ?",
        [json.dumps({status: count for status, count in counts.items() if count}), part_id],
    )
