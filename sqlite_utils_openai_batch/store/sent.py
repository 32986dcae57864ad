"""Every statement about which requests went out with a send: read from the log."""

from __future__ import annotations

import json
import sqlite3

from .jobs import log, rows
from .records import Part

# Outcomes of requests that no file holds, or holds no more once they have them.
LEFT_OUT = ("unrenderable", "too_large", "rejected")


def log_intent(
    conn: sqlite3.Connection, part: Part, *, token: str, sha256: bytes, lines: int, ids: str
) -> None:
    """Record that a file is about to be sent: its hash, and that of its requests' ids in order."""
    log(
        conn,
        "intent",
        job_id=part.job_id,
        part_id=part.id,
        token=token,
        sha256=sha256.hex(),
        lines=lines,
        ids=ids,
    )


def hash_of_ids(conn: sqlite3.Connection, part: Part, sha256: str) -> str | None:
    """The hash of the ids in the file of that hash; None where this database didn't send it."""
    for row in rows(
        conn,
        "SELECT detail FROM openai_batch_log WHERE part_id = ? AND event = 'intent' "
        "ORDER BY id DESC",
        [part.id],
    ):
        detail = json.loads(row["detail"] or "{}")
        if detail.get("sha256") == sha256:
            return str(detail.get("ids"))
    return None


def hash_of_file(conn: sqlite3.Connection, part: Part, file_id: str | None) -> str | None:
    """The hash of what was uploaded under that id; None where that isn't known for sure."""
    found = rows(
        conn,
        "SELECT DISTINCT sha256 FROM openai_batch_batches WHERE part_id = ? AND input_file_id = ?",
        [part.id, file_id],
    )
    return bytes(found[0]["sha256"]).hex() if len(found) == 1 else None


def ids_with(conn: sqlite3.Connection, part: Part, *, settled: bool) -> list[int]:
    """Requests of a part in the order of its lines: those that wait for an answer.

    With `settled` also those that have one, or another outcome that an answer brings.
    """
    left_out = ", ".join("?" for _ in LEFT_OUT)
    which, params = ("= 'pending'", ()) if not settled else (f"NOT IN ({left_out})", LEFT_OUT)
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
