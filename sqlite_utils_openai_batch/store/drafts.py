"""Drafts of jobs, as the browser's pages keep them: what was asked for, looked at and tried.

A draft has a token of its own, and becomes one job at most, however often it is submitted: its
job takes the draft's `uid`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from ..base import clock
from .connection import transaction
from .jobs import new_uid, rows
from .owner import me
from .parts import LEASE_SECONDS, may_take
from .tables import DRAFTS

#: Drafts that nobody touched for so many days are removed.
KEPT_DAYS = 30

#: asked: typed, not looked at · looking: rows are being read · looked · trying: a few rows are
#: being asked · preparing: it becomes a job · done: it is one
BUSY = ("looking", "trying", "preparing")


@dataclass(frozen=True, slots=True)
class Draft:
    """One draft, as it is stored."""

    token: str
    uid: str
    actor: str | None
    status: str
    options: dict[str, Any]
    """As the command line takes them, by the names of `jobs.plan.options.OPTIONS`."""
    form: dict[str, Any]
    """The fields as they were typed."""
    rows: int | None
    cost_nanousd: int | None
    hash: bytes | None
    """Over the template and every row's hash."""
    look: dict[str, Any]
    """What its page shows of the last look."""
    tried: dict[str, Any]
    """What its page shows of the rows that were tried."""
    wish: str | None
    """`send` or `save`, once that was confirmed."""
    message: str | None
    job_id: int | None
    lease_owner: str | None
    lease_until: str | None

    def left(self, running: bool) -> bool:
        """Whether whoever worked on it is gone; `running` says whether this process does."""
        free = not running and may_take(self.lease_owner, self.lease_until)
        return self.status in BUSY and free


def make_table(conn: sqlite3.Connection) -> None:
    """Create the table of drafts where it isn't there: older databases lack it."""
    conn.execute(DRAFTS)


def get_draft(conn: sqlite3.Connection, token: str) -> Draft | None:
    """The draft with this token; None where there is none."""
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_drafts'"
    if conn.execute(there).fetchone() is None:
        return None
    found = rows(conn, "SELECT * FROM openai_batch_drafts WHERE token = ?", [token])
    return read_draft(found[0]) if found else None


def unfinished_drafts(conn: sqlite3.Connection) -> list[Draft]:
    """Drafts that were confirmed and aren't jobs yet."""
    there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_drafts'"
    if conn.execute(there).fetchone() is None:
        return []
    found = rows(conn, "SELECT * FROM openai_batch_drafts WHERE status = 'preparing'", [])
    return [read_draft(row) for row in found]


def read_draft(row: sqlite3.Row) -> Draft:
    """A row of the table as a draft."""
    return Draft(
        token=row["token"],
        uid=row["uid"],
        actor=row["actor"],
        status=row["status"],
        options=json.loads(row["options"]),
        form=json.loads(row["form"] or "{}"),
        rows=row["rows"],
        cost_nanousd=row["cost_nanousd"],
        hash=row["hash"],
        look=json.loads(row["look"] or "{}"),
        tried=json.loads(row["tried"] or "{}"),
        wish=row["wish"],
        message=row["message"],
        job_id=row["job_id"],
        lease_owner=row["lease_owner"],
        lease_until=row["lease_until"],
    )


def put_draft(
    conn: sqlite3.Connection,
    token: str,
    actor: str | None,
    options: dict[str, Any],
    form: dict[str, Any],
    running: bool = False,
) -> Draft | None:
    """Store what was typed, to be looked at. None where it is being worked on or is a job already.

    What was tried stays where nothing was changed.
    """
    make_table(conn)
    text = json.dumps(options, ensure_ascii=False, sort_keys=True)
    typed = json.dumps(form, ensure_ascii=False)
    now = clock.now()
    with transaction(conn):
        conn.execute(
            "DELETE FROM openai_batch_drafts WHERE changed_at < ? AND status != 'preparing'",
            [clock.now(-KEPT_DAYS * 86_400)],
        )
        old = get_draft(conn, token)
        if old is not None and (
            old.actor != actor
            or old.status == "done"
            or (old.status in BUSY and not old.left(running))
            or old.status == "preparing"
        ):
            return None
        if old is None:
            conn.execute(
                "INSERT INTO openai_batch_drafts (token, uid, actor, status, options, form, "
                "created_at, changed_at) VALUES (?, ?, ?, 'asked', ?, ?, ?, ?)",
                [token, new_uid(), actor, text, typed, now, now],
            )
        else:
            same = json.dumps(old.options, ensure_ascii=False, sort_keys=True) == text
            conn.execute(
                "UPDATE openai_batch_drafts SET status = 'asked', options = ?, form = ?, "
                "changed_at = ?, tried = CASE WHEN ? THEN tried END, wish = NULL, message = NULL "
                "WHERE token = ?",
                [text, typed, now, same, token],
            )
    return get_draft(conn, token)


def take_draft(
    conn: sqlite3.Connection,
    token: str,
    status: str,
    after: tuple[str, ...],
    running: bool = False,
    **values: Any,
) -> Draft | None:
    """Begin to work on a draft whose status is one of `after`, or that somebody left at this.

    What was left while it was tried had been looked at, so all that follows may begin. None where
    that isn't so any more: of several who try, one succeeds.
    """
    with transaction(conn):
        draft = get_draft(conn, token)
        if draft is None:
            return None
        resumed = draft.status in (status, "trying") and draft.left(running)
        if draft.status not in after and not resumed:
            return None
        update_draft(
            conn,
            token,
            status=status,
            lease_owner=me(),
            lease_until=clock.now(LEASE_SECONDS),
            message=None,
            **values,
        )
    return get_draft(conn, token)


def update_draft(conn: sqlite3.Connection, token: str, **values: Any) -> None:
    """Change columns of a draft."""
    values["changed_at"] = clock.now()
    sets = ", ".join(f"{name} = ?" for name in values)
    conn.execute(
        f"UPDATE openai_batch_drafts SET {sets} WHERE token = ?", [*values.values(), token]
    )


def leave_draft(conn: sqlite3.Connection, token: str, status: str, **values: Any) -> None:
    """End the work on a draft."""
    update_draft(conn, token, status=status, lease_owner=None, lease_until=None, **values)
