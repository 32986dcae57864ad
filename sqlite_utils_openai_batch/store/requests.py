"""Every statement about requests and responses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import orjson

from ..base import clock
from . import earlier
from .jobs import rows

#: Rows of one INSERT: beginning and ending a statement takes as long as a row does.
AT_ONCE = 32
#: Bytes of a row's hash.
HASH_BYTES = 16

RequestRow = tuple[int, int, "int | None", Any, "bytes | None", str, "str | None"]


def reserve_ids(conn: sqlite3.Connection, job_id: int, count: int) -> int:
    """The first of `count` free request ids, kept free by a placeholder at the last of them."""
    (last,) = conn.execute("SELECT max(id) FROM openai_batch_requests").fetchone()
    first = int(last or 0) + 1
    conn.execute(
        "INSERT INTO openai_batch_requests (id, job_id, status) VALUES (?, ?, 'placeholder')",
        [first + count - 1, job_id],
    )
    return first


def insert_requests(conn: sqlite3.Connection, found: Iterable[RequestRow]) -> None:
    """Store requests: (id, job_id, part_id, row_key, source_hash, status, error_message)."""
    conn.executemany(
        "INSERT OR REPLACE INTO openai_batch_requests "
        "(id, job_id, part_id, row_key, source_hash, status, error_message) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        found,
    )


def insert_pending(
    conn: sqlite3.Connection,
    job_id: int,
    part_id: int,
    ids: Sequence[int],
    row_keys: Sequence[Any],
    hashes: Sequence[bytes],
) -> None:
    """Store requests of one part that wait for an answer; ids ascend."""
    into = "openai_batch_requests (id, job_id, part_id, row_key, source_hash, status)"
    # numbers of our own stand in the statement itself: binding them for each row takes longer
    ours = f"{job_id:d}, {part_id:d}"
    if ids and ids[-1] - ids[0] == len(ids) - 1 and set(map(type, row_keys)) == {int}:
        # Keys and hashes of all rows go over in one piece each: two thirds of the time.
        conn.execute(
            f"INSERT OR REPLACE INTO {into} SELECT ? + key, {ours}, value, "
            f"substr(?, {HASH_BYTES} * key + 1, {HASH_BYTES}), 'pending' FROM json_each(?)",
            [ids[0], b"".join(hashes), orjson.dumps(row_keys).decode()],
        )
        return
    row = f"(?, {ours}, ?, ?, 'pending')"
    found = list(zip(ids, row_keys, hashes, strict=True))
    whole = len(found) - len(found) % AT_ONCE
    some = ", ".join([row] * AT_ONCE)
    conn.executemany(
        f"INSERT OR REPLACE INTO {into} VALUES {some}",
        (
            tuple(chain.from_iterable(found[start : start + AT_ONCE]))
            for start in range(0, whole, AT_ONCE)
        ),
    )
    conn.executemany(f"INSERT OR REPLACE INTO {into} VALUES {row}", found[whole:])


def drop_placeholder(conn: sqlite3.Connection, first: int, count: int) -> None:
    """Free the ids that `reserve_ids` kept and nobody took: `count` of them from the first."""
    conn.execute(
        "DELETE FROM openai_batch_requests WHERE id = ? AND status = 'placeholder'",
        [first + count - 1],
    )


def drop_job(conn: sqlite3.Connection, job_id: int) -> None:
    """Remove a job and all that belongs to it. The user's columns are left as they are."""
    of_parts = "(SELECT id FROM openai_batch_parts WHERE job_id = ?)"
    conn.execute(f"DELETE FROM openai_batch_responses WHERE part_id IN {of_parts}", [job_id])
    conn.execute(f"DELETE FROM openai_batch_batches WHERE part_id IN {of_parts}", [job_id])
    conn.execute("DELETE FROM openai_batch_requests WHERE job_id = ?", [job_id])
    conn.execute("DELETE FROM openai_batch_parts WHERE job_id = ?", [job_id])
    if earlier.has_table(conn):
        conn.execute("DELETE FROM openai_batch_answers WHERE job_id = ?", [job_id])
    conn.execute("DELETE FROM openai_batch_reviews WHERE job_id = ?", [job_id])
    conn.execute("DELETE FROM openai_batch_samples WHERE job_id = ?", [job_id])
    conn.execute("DELETE FROM openai_batch_log WHERE job_id = ?", [job_id])
    conn.execute("DELETE FROM openai_batch_jobs WHERE id = ?", [job_id])


def pending_page(
    conn: sqlite3.Connection, part_id: int, after: int, size: int = 2_000
) -> list[tuple[int, Any, bytes | None]]:
    """The next requests of a part that wait for an answer: (id, row_key, source_hash)."""
    return conn.execute(
        "SELECT id, row_key, source_hash FROM openai_batch_requests "
        "WHERE part_id = ? AND id > ? AND status = 'pending' AND same_as IS NULL "
        "ORDER BY id LIMIT ?",
        [part_id, after, size],
    ).fetchall()


def pending_ids(conn: sqlite3.Connection, part_id: int) -> list[int]:
    """All requests of a part that wait for an answer, in the order of its lines."""
    found = conn.execute(
        "SELECT id FROM openai_batch_requests "
        "WHERE part_id = ? AND status = 'pending' AND same_as IS NULL ORDER BY id",
        [part_id],
    ).fetchall()
    return [request_id for (request_id,) in found]


def pending_hashes(conn: sqlite3.Connection, part_id: int) -> list[tuple[int, bytes | None]]:
    """The same requests, each with the hash of its row as it was last looked at."""
    return conn.execute(
        "SELECT id, source_hash FROM openai_batch_requests "
        "WHERE part_id = ? AND status = 'pending' AND same_as IS NULL ORDER BY id",
        [part_id],
    ).fetchall()


def set_hashes(conn: sqlite3.Connection, changed: Iterable[tuple[bytes, int]]) -> None:
    """Bring `source_hash` up to what was rendered: (hash, request id)."""
    conn.executemany("UPDATE openai_batch_requests SET source_hash = ? WHERE id = ?", changed)


def set_outcome(
    conn: sqlite3.Connection, found: Iterable[tuple[str, str | None, str | None, int]]
) -> None:
    """Give pending requests an outcome without a response: (status, error code, message, id)."""
    conn.executemany(
        "UPDATE openai_batch_requests SET status = ?, error_code = ?, error_message = ? "
        "WHERE id = ? AND status = 'pending'",
        found,
    )


def end_pending(
    conn: sqlite3.Connection,
    part_id: int,
    status: str,
    code: str | None,
    message: str,
    most: int = -1,
) -> int:
    """Give the requests of a part that are still pending this outcome. Returns how many.

    With `most`, only so many of them.
    """
    cursor = conn.execute(
        "UPDATE openai_batch_requests SET status = ?, error_code = ?, error_message = ? "
        "WHERE id IN (SELECT id FROM openai_batch_requests "
        "WHERE part_id = ? AND status = 'pending' AND same_as IS NULL LIMIT ?)",
        [status, code, message, part_id, most],
    )
    return cursor.rowcount


def begin_attempt(conn: sqlite3.Connection, part_id: int) -> None:
    """Count one more attempt for each pending request of a part: its batch exists now."""
    conn.execute(
        "UPDATE openai_batch_requests SET attempts = attempts + 1 "
        "WHERE part_id = ? AND status = 'pending'",
        [part_id],
    )


def in_flight(conn: sqlite3.Connection, job_id: int, row_keys: Sequence[Any]) -> int:
    """How many of these rows have an answer of a job to come, or to be written."""
    marks = ", ".join("?" * len(row_keys))
    (count,) = conn.execute(
        f"SELECT count(*) FROM openai_batch_requests WHERE job_id = ? AND row_key IN ({marks}) "
        "AND (status = 'pending' OR (status = 'ok' AND write_status IS NULL))",
        [job_id, *row_keys],
    ).fetchone()
    return int(count)


def still_settled(
    conn: sqlite3.Connection, part_id: int, ids: Sequence[int], statuses: Sequence[str]
) -> list[int]:
    """Those of these requests that are in that part still, and have one of these outcomes."""
    marks = ", ".join("?" * len(statuses))
    found = conn.execute(
        "SELECT id FROM openai_batch_requests WHERE part_id = ? AND id BETWEEN ? AND ? "
        f"AND +status IN ({marks}) ORDER BY id",
        [part_id, ids[0], ids[-1], *statuses],
    ).fetchall()
    wanted = set(ids)
    return [request_id for (request_id,) in found if request_id in wanted]


def move_requests(
    conn: sqlite3.Connection, ids: Sequence[int], part_id: int, why: str = earlier.SYNC
) -> None:
    """Put requests into another part, to be asked again; what they were answered is kept.

    One that shared the answer of an earlier job is asked itself: no other comes from there.
    """
    earlier.keep(conn, ids, why)
    conn.executemany(
        "UPDATE openai_batch_requests AS own SET part_id = ?, status = 'pending', "
        "error_code = NULL, error_message = NULL, finish_reason = NULL, write_status = NULL, "
        "same_as = (SELECT id FROM openai_batch_requests AS lead "
        "WHERE lead.id = own.same_as AND lead.job_id = own.job_id) WHERE id = ?",
        ((part_id, request_id) for request_id in ids),
    )


def insert_responses(
    conn: sqlite3.Connection,
    found: Iterable[tuple[int | None, int | None, str, str, int, bytes | str]],
) -> None:
    """Keep response lines: (request_id, part_id, kind, file_id, line number, line).

    A line that is kept already is left alone, so that collecting again changes nothing.
    """
    received = clock.now()
    conn.executemany(
        "INSERT OR IGNORE INTO openai_batch_responses "
        "(request_id, part_id, kind, file_id, line_number, line, received_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        ((*line, received) for line in found),
    )


def examples(
    conn: sqlite3.Connection, job_id: int, limit: int = 3
) -> dict[str, tuple[str | None, list[Any]]]:
    """For each outcome but `ok` and `pending`: its commonest message, and row keys to look at."""
    shown: dict[str, tuple[str | None, list[Any]]] = {}
    statuses = rows(
        conn,
        "SELECT DISTINCT status FROM openai_batch_requests "
        "WHERE job_id = ? AND status NOT IN ('pending', 'ok')",
        [job_id],
    )
    for (status,) in statuses:
        (message,) = conn.execute(
            "SELECT error_message FROM openai_batch_requests WHERE job_id = ? AND status = ? "
            "AND status NOT IN ('pending', 'ok') "
            "GROUP BY error_message ORDER BY count(*) DESC, min(id) LIMIT 1",
            [job_id, status],
        ).fetchone()
        keys = conn.execute(
            "SELECT row_key FROM openai_batch_requests WHERE job_id = ? AND status = ? "
            "AND status NOT IN ('pending', 'ok') ORDER BY id LIMIT ?",
            [job_id, status, limit],
        ).fetchall()
        shown[status] = (message, [key for (key,) in keys])
    return shown


def codes(
    conn: sqlite3.Connection, job_id: int, status: str, most: int = 10_000
) -> list[tuple[str | None, int]]:
    """Error codes of failed requests with this outcome, each with its count among `most`."""
    return conn.execute(
        "SELECT error_code, count(*) FROM (SELECT error_code FROM openai_batch_requests "
        "WHERE job_id = ? AND status = ? AND status NOT IN ('pending', 'ok') LIMIT ?) "
        "GROUP BY error_code",
        [job_id, status, most],
    ).fetchall()


def outcomes_since(
    conn: sqlite3.Connection, job_id: int, at: str
) -> list[tuple[str, str | None, int]]:
    """Requests of parts that were collected since then: (outcome, error code, how many)."""
    return conn.execute(
        "SELECT requests.status, error_code, count(*) FROM openai_batch_requests AS requests "
        "JOIN openai_batch_parts AS parts ON parts.id = requests.part_id "
        "WHERE parts.job_id = ? AND parts.collected_at >= ? GROUP BY 1, 2",
        [job_id, at],
    ).fetchall()


def failed_sample(conn: sqlite3.Connection, job_id: int, status: str) -> str | None:
    """What came to one of the requests with this outcome: its answer, else the error's message."""
    found = conn.execute(
        "SELECT coalesce(nullif(answer, ''), error_message) FROM openai_batch_requests "
        "WHERE job_id = ? AND status = ? AND status NOT IN ('pending', 'ok') "
        "ORDER BY id LIMIT 1",
        [job_id, status],
    ).fetchone()
    return str(found[0]) if found and found[0] is not None else None


def answered_models(conn: sqlite3.Connection, job_id: int) -> list[str]:
    """The models that answered the first thousand requests of a job, as the provider names them."""
    found = conn.execute(
        "SELECT DISTINCT model FROM (SELECT model FROM openai_batch_requests "
        "WHERE job_id = ? AND model IS NOT NULL LIMIT 1000)",
        [job_id],
    ).fetchall()
    return [model for (model,) in found]
