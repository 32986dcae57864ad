"""Look before sending: what the provider has of a job already.

A crash, a lost reply, a restored backup and a copied database all leave a batch at the provider
that this database doesn't know. Each batch carries its part's token in its metadata, so one look
through the list answers for all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import xxhash

from ... import store
from ...base import clock
from ...provider.batch import BatchState
from ...provider.client import Provider
from ...store import Part, parts

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


# Which request a line's number means: the n-th line of the very file that was sent.
#
# Between a send and its failed validation a request may get a late answer, from a batch that a
# copy of the database sent; and the batch itself may be of a copy, over other rows. So a hash of
# the ids goes into the log with each send, and a number means something only where a list of
# requests has that hash. Nothing is guessed: where none has it, no request is rejected.

Rejected = dict[int, tuple[str, "str | None", "str | None", int]]

# Sent again so often where it isn't known which file the provider speaks of.
MOST_UNKNOWN = 2


def hash_ids(ids: Sequence[int]) -> str:
    """A hash of request ids in the order of their lines, as hex."""
    return xxhash.xxh3_128_hexdigest(orjson.dumps(ids))


def sent_ids(conn: sqlite3.Connection, part: Part, state: BatchState) -> list[int] | None:
    """The requests of a batch's file in the order of its lines; None where they aren't known."""
    # A batch tells by its metadata; at a server that keeps none, its file does.
    file = state.metadata.get("fingerprint") or parts.hash_of_file(conn, part, state.input_file_id)
    wanted = parts.hash_of_ids(conn, part, file) if file else None
    if wanted is None:
        return None
    for settled in (False, True):
        ids = parts.ids_with(conn, part, settled=settled)
        if hash_ids(ids) == wanted:
            return ids
    return None


def rejected_lines(conn: sqlite3.Connection, part: Part, state: BatchState) -> Rejected | None:
    """The requests whose lines validation named, with the provider's words, as outcomes.

    None where it named lines of a file that isn't known here: then the part is sent again, with
    a file that is. Empty where it named none that there is, or that was done before.
    """
    named = [error for error in state.errors if isinstance(error.get("line"), int)]
    if not named:
        return {}
    ids = sent_ids(conn, part, state)
    if ids is not None:
        return dict(outcome(ids, error) for error in named if 1 <= error["line"] <= len(ids))
    if parts.times_unknown(conn, part) >= MOST_UNKNOWN:
        return {}
    return None


def outcome(
    ids: Sequence[int], error: dict[str, Any]
) -> tuple[int, tuple[str, str | None, str | None, int]]:
    """The request that an error is about, and what becomes of it."""
    code, message = error.get("code"), error.get("message")
    one = ids[error["line"] - 1]
    return one, ("rejected", str(code) if code else None, str(message) if message else None, one)
