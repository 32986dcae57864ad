"""Every statement about parts, their sends and their leases."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..base import clock
from ..base.statuses import UNSENT, may_become
from .connection import left_at_once, transaction
from .jobs import log, rows
from .owner import is_dead, me
from .records import Part, check_id, read

LEASE_SECONDS = 15 * 60


def insert_part(conn: sqlite3.Connection, **values: Any) -> int:
    """Store a part; the keywords are its columns. Returns its id."""
    values.setdefault("created_at", clock.now())
    names = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    cursor = conn.execute(
        f"INSERT INTO openai_batch_parts ({names}) VALUES ({marks})", list(values.values())
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def update_part(conn: sqlite3.Connection, part_id: int, **values: Any) -> None:
    """Change columns of a part."""
    sets = ", ".join(f"{name} = ?" for name in values)
    conn.execute(f"UPDATE openai_batch_parts SET {sets} WHERE id = ?", [*values.values(), part_id])


def move_part(conn: sqlite3.Connection, part: Part, to: str, **values: Any) -> bool:
    """Change the status of a part that this process holds and that is still as `part` says.

    False where another process was quicker, or the lease was lost: then nothing was changed.
    """
    if not may_become(part.status, to):
        raise ValueError(f"a part can't become {to} after {part.status}")
    sets = ", ".join(["status = ?", *(f"{name} = ?" for name in values)])
    cursor = conn.execute(
        f"UPDATE openai_batch_parts SET {sets} WHERE id = ? AND status = ? AND sends = ? "
        "AND lease_owner = ?",
        [to, *values.values(), part.id, part.status, part.sends, me()],
    )
    return cursor.rowcount == 1


def get_part(conn: sqlite3.Connection, part_id: int) -> Part:
    """The part of that id, as it is now."""
    return read_part(rows(conn, "SELECT * FROM openai_batch_parts WHERE id = ?", [part_id])[0])


def list_parts(conn: sqlite3.Connection, job_id: int) -> list[Part]:
    """The parts of a job, in their order."""
    found = rows(
        conn, "SELECT * FROM openai_batch_parts WHERE job_id = ? ORDER BY number", [job_id]
    )
    return [read_part(row) for row in found]


def read_part(row: sqlite3.Row) -> Part:
    """A part from a row with all columns of its table."""
    return read(Part, row)


def overrides(conn: sqlite3.Connection, job_id: int, outcome: str) -> list[str | None]:
    """What retries changed of the body, of parts that have requests with this outcome."""
    found = [part for part in list_parts(conn, job_id) if part.counts.get(outcome)]
    return list(dict.fromkeys(part.overrides for part in found))


def make_room(conn: sqlite3.Connection, job_id: int, number: int) -> None:
    """Free a number for a part: those of that number and above move up by one.

    By way of negative numbers, since each is there once.
    """
    conn.execute(
        "UPDATE openai_batch_parts SET number = -number - 1 WHERE job_id = ? AND number >= ?",
        [job_id, number],
    )
    conn.execute(
        "UPDATE openai_batch_parts SET number = -number WHERE job_id = ? AND number < 0", [job_id]
    )


def next_number(conn: sqlite3.Connection, job_id: int) -> int:
    """The number of a job's next part."""
    (last,) = conn.execute(
        "SELECT max(number) FROM openai_batch_parts WHERE job_id = ?", [job_id]
    ).fetchone()
    return int(last or 0) + 1


def holder(conn: sqlite3.Connection, part_id: int) -> tuple[str | None, str | None]:
    """Who holds a part, and until when."""
    found: tuple[str | None, str | None] = conn.execute(
        "SELECT lease_owner, lease_until FROM openai_batch_parts WHERE id = ?", [part_id]
    ).fetchone()
    return found


def may_take(owner: str | None, until: str | None) -> bool:
    """Whether a lease is free: nobody's, ours, run out, or of a process that was killed."""
    return owner in (None, me()) or (until or "") < clock.now() or is_dead(owner)


@contextmanager
def leased(conn: sqlite3.Connection, part: Part) -> Iterator[bool]:
    """Hold a part for this process while the body runs; yields False where another holds it."""
    with transaction(conn):
        mine = may_take(*holder(conn, part.id))
        if mine:
            conn.execute(
                "UPDATE openai_batch_parts SET lease_owner = ?, lease_until = ? WHERE id = ?",
                [me(), clock.now(LEASE_SECONDS), part.id],
            )

    def leave() -> None:
        if mine:
            conn.execute(
                "UPDATE openai_batch_parts SET lease_owner = NULL, lease_until = NULL "
                "WHERE id = ? AND lease_owner = ?",
                [part.id, me()],
            )

    with left_at_once(leave, conn):
        yield mine


def renew(conn: sqlite3.Connection, part: Part) -> bool:
    """Prolong this process's lease; False where it was lost, and then nothing may be sent."""
    cursor = conn.execute(
        "UPDATE openai_batch_parts SET lease_until = ? WHERE id = ? AND lease_owner = ?",
        [clock.now(LEASE_SECONDS), part.id, me()],
    )
    return cursor.rowcount == 1


def insert_send(
    conn: sqlite3.Connection, part: Part, send: int, token: str, fingerprint: bytes
) -> None:
    """Record the intent to send a part: before anything leaves this machine."""
    conn.execute(
        "INSERT INTO openai_batch_batches (part_id, send, token, fingerprint, status, created_at) "
        "VALUES (?, ?, ?, ?, 'intended', ?)",
        [part.id, send, token, fingerprint, clock.now()],
    )


def update_send(conn: sqlite3.Connection, part_id: int, send: int, **values: Any) -> None:
    """Change columns of one send of a part."""
    sets = ", ".join(f"{name} = ?" for name in values)
    conn.execute(
        f"UPDATE openai_batch_batches SET {sets} WHERE part_id = ? AND send = ?",
        [*values.values(), part_id, send],
    )


def earlier_sends(conn: sqlite3.Connection, part: Part, fingerprint: bytes) -> list[sqlite3.Row]:
    """Sends of a part with this content whose file is not a batch's, newest first.

    Each is (token, input_file_id). A batch that failed ran nothing: its file may serve again.
    """
    found = rows(
        conn,
        "SELECT token, input_file_id FROM openai_batch_batches "
        "WHERE part_id = ? AND fingerprint = ? AND send < ? AND (status = 'intended' "
        "OR (status = 'failed' AND ifnull(errors, '') NOT LIKE '%annot find file%')) "
        "ORDER BY send DESC",
        [part.id, fingerprint, part.sends],
    )
    for row in found:
        check_id(row["input_file_id"], "openai_batch_batches.input_file_id", part.job_id)
    return found


def sent_files(conn: sqlite3.Connection, job_id: int) -> dict[str, int]:
    """Files that a job's sends have uploaded, each with the number of its part."""
    found = rows(
        conn,
        "SELECT batches.input_file_id, parts.number FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE parts.job_id = ? AND batches.input_file_id IS NOT NULL",
        [job_id],
    )
    return {str(row["input_file_id"]): int(row["number"]) for row in found}


def sent_again(conn: sqlite3.Connection, job_id: int) -> bool:
    """Whether an open part was sent once more after a send of which nothing was heard."""
    found = rows(
        conn,
        "SELECT 1 FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE parts.job_id = ? AND parts.batch_id IS NOT NULL AND parts.collected_at IS NULL "
        "AND batches.batch_id IS NULL AND batches.send < parts.sends LIMIT 1",
        [job_id],
    )
    return bool(found)


def is_recorded(conn: sqlite3.Connection, batch_id: str) -> bool:
    """Whether a batch is known here, whatever became of it."""
    return bool(
        rows(conn, "SELECT 1 FROM openai_batch_batches WHERE batch_id = ? LIMIT 1", [batch_id])
    )


def record_batch(
    conn: sqlite3.Connection,
    part: Part,
    *,
    batch_id: str,
    said: str,
    input_file_id: str | None,
    token: str,
    fingerprint: bytes,
) -> None:
    """Keep a batch that exists at the provider: in its send's row, or in one of its own."""
    send = max(part.sends, 1)
    if is_recorded(conn, batch_id):
        return
    cursor = conn.execute(
        "UPDATE openai_batch_batches SET batch_id = ?, status = ?, input_file_id = ? "
        "WHERE part_id = ? AND send = ? AND batch_id IS NULL",
        [batch_id, said, input_file_id, part.id, send],
    )
    if cursor.rowcount == 0:
        conn.execute(
            "INSERT INTO openai_batch_batches "
            "(part_id, send, token, fingerprint, input_file_id, batch_id, status, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [part.id, send, token, fingerprint, input_file_id, batch_id, said, clock.now()],
        )


def strays(conn: sqlite3.Connection, job_id: int) -> list[sqlite3.Row]:
    """Batches beside the one that their part goes by, not ended yet.

    Each is (batch_id, part_id, created_at).
    """
    found = rows(
        conn,
        "SELECT batches.batch_id, batches.part_id, batches.created_at "
        "FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE parts.job_id = ? AND batches.batch_id IS NOT NULL AND batches.ended_at IS NULL "
        "AND batches.batch_id IS NOT parts.batch_id",
        [job_id],
    )
    for row in found:
        check_id(row["batch_id"], "openai_batch_batches.batch_id", job_id)
    return found


def update_batch(conn: sqlite3.Connection, batch_id: str, **values: Any) -> None:
    """Change columns of a batch, whichever send made it."""
    sets = ", ".join(f"{name} = ?" for name in values)
    conn.execute(
        f"UPDATE openai_batch_batches SET {sets} WHERE batch_id = ?", [*values.values(), batch_id]
    )


def ended_batches(conn: sqlite3.Connection, job_id: int) -> set[str]:
    """Ids of batches of a job that are recorded as ended: never adopted for another send."""
    return {
        str(row["batch_id"])
        for row in rows(
            conn,
            "SELECT batches.batch_id FROM openai_batch_batches AS batches "
            "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
            "WHERE parts.job_id = ? AND batches.ended_at IS NOT NULL "
            "AND batches.batch_id IS NOT NULL",
            [job_id],
        )
    }


def count_outcomes(conn: sqlite3.Connection, part_id: int) -> None:
    """Bring a part's `outcomes` up to date with its requests.

    Its tokens and cost are of what its batches answered, also of requests that were asked again
    elsewhere since: they are added once, when a batch is collected (`costs.add_cost`).
    """
    found = rows(
        conn,
        "SELECT status, count(*) AS n FROM openai_batch_requests WHERE part_id = ? GROUP BY status",
        [part_id],
    )
    outcomes = json.dumps({row["status"]: row["n"] for row in found})
    update_part(conn, part_id, outcomes=outcomes)


# Every statement about which requests went out with a send: read from the log.


def log_intent(
    conn: sqlite3.Connection, part: Part, *, token: str, fingerprint: bytes, lines: int, ids: str
) -> None:
    """Record that a file is about to be sent: its hash, and that of its requests' ids in order."""
    log(
        conn,
        "intent",
        job_id=part.job_id,
        part_id=part.id,
        token=token,
        fingerprint=fingerprint.hex(),
        lines=lines,
        ids=ids,
    )


def hash_of_ids(conn: sqlite3.Connection, part: Part, fingerprint: str) -> str | None:
    """The hash of the ids in the file of that hash; None where this database didn't send it."""
    for row in rows(
        conn,
        "SELECT detail FROM openai_batch_log WHERE part_id = ? AND event = 'intent' "
        "ORDER BY id DESC",
        [part.id],
    ):
        detail = json.loads(row["detail"] or "{}")
        if detail.get("fingerprint") == fingerprint:
            return str(detail.get("ids"))
    return None


def hash_of_file(conn: sqlite3.Connection, part: Part, file_id: str | None) -> str | None:
    """The hash of what was uploaded under that id; None where that isn't known for sure."""
    found = rows(
        conn,
        "SELECT DISTINCT fingerprint FROM openai_batch_batches "
        "WHERE part_id = ? AND input_file_id = ?",
        [part.id, file_id],
    )
    return bytes(found[0]["fingerprint"]).hex() if len(found) == 1 else None


def ids_with(conn: sqlite3.Connection, part: Part, *, settled: bool) -> list[int]:
    """Requests of a part in the order of its lines: those that wait for an answer.

    With `settled` also those that have one, or another outcome that an answer brings.
    """
    left_out = ", ".join("?" for _ in UNSENT)
    which, params = ("= 'pending'", ()) if not settled else (f"NOT IN ({left_out})", UNSENT)
    found = conn.execute(
        "SELECT id FROM openai_batch_requests "
        f"WHERE part_id = ? AND status {which} AND same_as IS NULL ORDER BY id",
        [part.id, *params],
    ).fetchall()
    return [request_id for (request_id,) in found]


def times_unknown(conn: sqlite3.Connection, part: Part) -> int:
    """How often lines of a part were named, of a file that isn't known here."""
    (count,) = conn.execute(
        "SELECT count(*) FROM openai_batch_log WHERE part_id = ? AND event = 'lines unknown'",
        [part.id],
    ).fetchone()
    return int(count)
