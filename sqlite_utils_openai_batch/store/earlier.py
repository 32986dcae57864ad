"""Every statement about earlier answers: what rows were answered before they were asked again.

A request holds the answer that counts. When it is asked again, what it held goes here first, in the
same transaction, with who gave it and what was written. An answer that was good stays `standing`
until a better one has come: where asking again fails, it is put back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..base import clock
from ..base.statuses import in_stages
from .tables import TABLES

#: What is kept of a request, as both tables call it.
KEPT = (
    "status, answer, error_code, error_message, finish_reason, model, prompt_tokens, "
    "cached_tokens, completion_tokens, reasoning_tokens, write_status, previous"
)
#: Outcomes that somebody answered: others leave nothing to keep.
ANSWERED = in_stages("answered", "refused")
#: Outcomes whose answer can go back to the model with what was wrong with it.
REPAIRABLE = ("invalid_json", "schema_violation", "truncated")
#: Why a request was asked again: by `retry`, with what was wrong, or by a pass itself.
RETRY, REPAIR, SYNC = "retry", "repair", "sync"
#: Why else an answer stands here: a better one came late; it came, and the one before it stays.
LATE, UNUSED = "late", "unused"
AT_ONCE = 500

_ANSWERED = ", ".join(f"'{one}'" for one in ANSWERED)
_REPAIRABLE = ", ".join(f"'{one}'" for one in REPAIRABLE)


class Answer(NamedTuple):
    """An earlier answer to a request."""

    id: int
    request_id: int
    part_id: int | None
    status: str
    answer: Any
    error_message: str | None
    model: str | None
    why: str
    standing: bool
    at: str


def has_table(conn: sqlite3.Connection) -> bool:
    """Whether this database can hold earlier answers: one of an older program may not."""
    row = conn.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_answers'"
    ).fetchone()
    return row is not None


def make(conn: sqlite3.Connection) -> None:
    """Make the table where an older program made the others."""
    if not has_table(conn):
        for statement in TABLES.split(";\n"):
            if "openai_batch_answers" in statement:
                conn.execute(statement)


def holds_answers(conn: sqlite3.Connection) -> bool:
    """Whether anything was asked again in this database, of whatever job."""
    return conn.execute("SELECT 1 FROM openai_batch_answers LIMIT 1").fetchone() is not None


def has_any(conn: sqlite3.Connection, job_id: int, *, standing: bool = False) -> bool:
    """Whether something of a job was asked again; `standing`: and an answer of before counts."""
    if not has_table(conn):
        return False
    more = " AND standing" if standing else ""
    row = conn.execute(
        f"SELECT 1 FROM openai_batch_answers WHERE job_id = ?{more} LIMIT 1", [job_id]
    ).fetchone()
    return row is not None


def keep(conn: sqlite3.Connection, ids: Iterable[int], why: str) -> int:
    """Keep what requests hold now, as far as somebody answered them. Returns how many that are.

    In the transaction of the caller, who changes them.
    """
    found: list[int] = []
    for some in chunks(ids):
        marks = ", ".join("?" * len(some))
        found += [
            row[0]
            for row in conn.execute(
                "SELECT id FROM openai_batch_requests "
                f"WHERE id IN ({marks}) AND +status IN ({_ANSWERED})",
                some,
            ).fetchall()
        ]
    if found:
        make(conn)
        conn.executemany(
            "INSERT INTO openai_batch_answers "
            f"(request_id, job_id, part_id, {KEPT}, why, standing, at) "
            f"SELECT id, job_id, part_id, {KEPT}, ?, status = 'ok' AND ? <> '{UNUSED}', ? "
            "FROM openai_batch_requests WHERE id = ?",
            [(why, why, clock.now(), one) for one in found],
        )
    return len(found)


def standing(conn: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    """Those of these requests that wait for a better answer than they have."""
    found: set[int] = set()
    for some in chunks(ids):
        marks = ", ".join("?" * len(some))
        found |= {
            row[0]
            for row in conn.execute(
                "SELECT request_id FROM openai_batch_answers "
                f"WHERE request_id IN ({marks}) AND standing",
                some,
            ).fetchall()
        }
    return found


def replace(conn: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Better answers came to these requests: those of before count no more."""
    conn.executemany(
        "UPDATE openai_batch_answers SET standing = 0 WHERE request_id = ? AND standing",
        [(one,) for one in ids],
    )


def put_back(conn: sqlite3.Connection, part_id: int) -> set[int]:
    """Give requests of a part that failed the good answer back that they had before.

    What came instead is kept. In the caller's transaction. Returns the parts whose sums change.
    """
    # Few databases hold any: then the requests of the part needn't be read.
    if not has_table(conn) or not holds_answers(conn):
        return set()
    found = conn.execute(
        "SELECT requests.id, answers.id, answers.part_id FROM openai_batch_requests AS requests "
        "JOIN openai_batch_answers AS answers "
        "ON answers.request_id = requests.id AND answers.standing "
        "WHERE requests.part_id = ? AND requests.status NOT IN ('pending', 'ok')",
        [part_id],
    ).fetchall()
    if not found:
        return set()
    keep(conn, [request for request, _, _ in found], UNUSED)
    conn.executemany(
        f"UPDATE openai_batch_requests SET (part_id, {KEPT}) = "
        f"(SELECT part_id, {KEPT} FROM openai_batch_answers WHERE id = ?) WHERE id = ?",
        [(answer, request) for request, answer, _ in found],
    )
    conn.executemany(
        "DELETE FROM openai_batch_answers WHERE id = ?", [(answer,) for _, answer, _ in found]
    )
    return {part_id, *(part for _, _, part in found if part is not None)}


def said_before(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, set[tuple[Any, ...]]]:
    """What requests were answered before, from the status to the tokens, by id."""
    columns = KEPT.removesuffix(", write_status, previous")
    found: dict[int, set[tuple[Any, ...]]] = {}
    for some in chunks(ids):
        marks = ", ".join("?" * len(some))
        for row in conn.execute(
            f"SELECT request_id, {columns} FROM openai_batch_answers WHERE request_id IN ({marks})",
            some,
        ).fetchall():
            found.setdefault(row[0], set()).add(row[1:])
    return found


def written(conn: sqlite3.Connection, job_id: int, row_keys: Sequence[Any]) -> dict[Any, str]:
    """What a job wrote to rows that wait for a better answer (`previous`), by row key."""
    found: dict[Any, str] = {}
    for row_key in row_keys:
        row = conn.execute(
            "SELECT answers.previous FROM openai_batch_requests AS requests "
            "JOIN openai_batch_answers AS answers ON answers.request_id = requests.id "
            "WHERE requests.job_id = ? AND requests.row_key IS ? AND answers.standing "
            "AND answers.write_status = 'written' ORDER BY answers.id DESC LIMIT 1",
            [job_id, row_key],
        ).fetchone()
        if row is not None and row[0]:
            found[row_key] = row[0]
    return found


# What goes back to the model.


def turns(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[str, str | None, Any]]:
    """What was wrong with the newest answer of requests that can be repaired, by id.

    Each is (outcome, message, answer).
    """
    found: dict[int, tuple[str, str | None, Any]] = {}
    for some in chunks(ids):
        marks = ", ".join("?" * len(some))
        for request_id, *turn in conn.execute(
            "SELECT request_id, status, error_message, answer FROM openai_batch_answers "
            f"WHERE request_id IN ({marks}) AND status IN ({_REPAIRABLE}) "
            "AND answer IS NOT NULL ORDER BY id",
            some,
        ).fetchall():
            found[request_id] = (turn[0], turn[1], turn[2])
    return found


def repairable(conn: sqlite3.Connection, part_id: int, times: int) -> list[int]:
    """The requests of a part that failed, can be repaired, and weren't so many times before."""
    repairs = "0"
    if has_table(conn):
        repairs = (
            "(SELECT count(*) FROM openai_batch_answers WHERE request_id = requests.id "
            f"AND why = '{REPAIR}')"
        )
    found = conn.execute(
        "SELECT id FROM openai_batch_requests AS requests "
        f"WHERE part_id = ? AND status IN ({_REPAIRABLE}) AND answer IS NOT NULL "
        f"AND {repairs} < ? ORDER BY id",
        [part_id, times],
    ).fetchall()
    return [one for (one,) in found]


def repaired(conn: sqlite3.Connection, part_id: int, times: int) -> list[int]:
    """The requests of a part that are wrong still, after so many repairs."""
    found = conn.execute(
        "SELECT id FROM openai_batch_requests AS requests "
        f"WHERE part_id = ? AND status IN ({_REPAIRABLE}) "
        "AND (SELECT count(*) FROM openai_batch_answers WHERE request_id = requests.id "
        f"AND why = '{REPAIR}') >= ?",
        [part_id, times],
    ).fetchall()
    return [one for (one,) in found]


def sizes(conn: sqlite3.Connection, ids: Sequence[int]) -> int:
    """The bytes of the answers of requests, and of what was wrong with them."""
    total = 0
    for some in chunks(ids):
        (found,) = conn.execute(
            "SELECT sum(length(CAST(ifnull(answer, '') AS BLOB)) "
            "+ length(CAST(ifnull(error_message, '') AS BLOB))) FROM openai_batch_requests "
            f"WHERE id IN ({', '.join('?' * len(some))})",
            some,
        ).fetchone()
        total += found or 0
    return total


# What people see of it.


def of_job(conn: sqlite3.Connection, job_id: int) -> list[Answer]:
    """All earlier answers of a job, oldest first."""
    return _read(conn, "job_id = ?", job_id)


def count(conn: sqlite3.Connection, job_id: int) -> int:
    """How many earlier answers a job has."""
    if not has_table(conn):
        return 0
    (found,) = conn.execute(
        "SELECT count(*) FROM openai_batch_answers WHERE job_id = ?", [job_id]
    ).fetchone()
    return int(found)


def of_request(conn: sqlite3.Connection, request_id: int) -> list[Answer]:
    """The earlier answers to a request, oldest first."""
    return _read(conn, "request_id = ?", request_id)


def _read(conn: sqlite3.Connection, where: str, value: int) -> list[Answer]:
    if not has_table(conn):
        return []
    found = conn.execute(
        "SELECT id, request_id, part_id, status, answer, error_message, model, why, standing, at "
        f"FROM openai_batch_answers WHERE {where} ORDER BY id",
        [value],
    ).fetchall()
    return [Answer._make([*row[:8], bool(row[8]), row[9]]) for row in found]


def chunks(ids: Iterable[int]) -> Iterable[list[int]]:
    """Ids, so many at a time as one statement takes."""
    every = list(ids)
    return (every[start : start + AT_ONCE] for start in range(0, len(every), AT_ONCE))
