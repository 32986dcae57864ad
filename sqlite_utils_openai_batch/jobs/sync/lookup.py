"""Look before sending: what the provider has of a job already.

A crash, a lost reply, a restored backup and a copied database all leave a batch at the provider
that this database doesn't know. Each batch carries its part's token in its metadata, so one look
through the list answers for all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from . import clock, store
from .api import BatchState, Provider

# Look further back than the job's creation: a clock may have been fast by hours when it was made
# (a wrong time zone, a laptop long asleep), and a batch that isn't found is made once more.
SKEW_SECONDS = 86_400


def look(
    conn: sqlite3.Connection, provider: Provider, job: store.Job
) -> dict[int, list[BatchState]]:
    """Batches of a job that the provider lists, by part number, the oldest first.

    They tell whose they are by their metadata, or, at a server that keeps none, by their file.
    Batches that ended `failed` ran nothing, and those that this database knows to have ended are
    done with: neither is a match. Raises NoList.
    """
    ended = store.ended_batches(conn, job.id)
    files = store.sent_files(conn, job.id)
    found: dict[int, list[BatchState]] = {}
    for state in provider.list_since(since(job)):
        number = part_number(job.uid, state.metadata) or files.get(state.input_file_id or "")
        if number is not None and state.status != "failed" and state.id not in ended:
            found.setdefault(number, []).append(state)
    for states in found.values():
        states.sort(key=lambda state: (state.created_at, state.id))
    return found


def since(job: store.Job) -> float:
    """When the first batch or file of a job may have been made, in seconds since 1970."""
    return clock.parse(job.created_at).timestamp() - SKEW_SECONDS


def part_number(uid: str, metadata: Mapping[str, Any]) -> int | None:
    """The part that a batch's token names, where it is one of this job's."""
    pieces = str(metadata.get("token", "")).split("-")
    if len(pieces) != 3 or pieces[0] != uid or not pieces[1].isdecimal():
        return None
    return int(pieces[1])
