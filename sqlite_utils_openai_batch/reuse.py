"""--reuse: identical requests are asked once, and answers of earlier jobs are taken again.

A request that shares another's answer names it in `same_as` and is never sent itself. Two are
identical where the template is the same and so are the values that it reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from . import store
from .database import transaction
from .settle import new_part
from .store import asking


def share(conn: sqlite3.Connection, job: store.Job) -> None:
    """Give requests the outcome of the one that was asked for them, as far as it is there.

    Where the row that was asked has changed meanwhile, or is gone, the others are asked
    themselves.
    """
    if not job.settings.get("reuse"):
        return
    after: int | None = 0
    while after is not None:
        # Looked at in the transaction: another process may have them asked, and sent, meanwhile.
        with transaction(conn):
            page = asking.shareable(conn, job.id, after)
            after = page[-1].id if page else None
            ready = [one for one in page if one.same_question]
            asking.copy_outcomes(conn, [(one.same_as, one.id) for one in ready])
            for part_id in {one.part_id for one in ready}:
                store.count_outcomes(conn, part_id)
            # Those of a job that is being cancelled end with it.
            if job.status in ("prepared", "running", "paused"):
                ask_alone(conn, job, [one for one in page if not one.same_question])
    # Their parts may count as written: what was written are the answers that came for them.
    for part_id in asking.unwritten_parts(conn, job.id):
        store.update_part(conn, part_id, written_at=None)


def ask_alone(conn: sqlite3.Connection, job: store.Job, alone: Iterable[asking.Follower]) -> None:
    """Ask requests themselves that were to share an answer, in the caller's transaction."""
    by_part: dict[int, list[int]] = {}
    for one in alone:
        by_part.setdefault(one.part_id, []).append(one.id)
    for part_id, ids in by_part.items():
        asking.set_alone(conn, ids)
        old = store.get_part(conn, part_id)
        new_part(conn, job, old, ids, old.overrides)
