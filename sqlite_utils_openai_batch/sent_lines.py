"""Which request a line's number means: the n-th line of the very file that was sent.

Between a send and its failed validation a request may get a late answer, from a batch that a
copy of the database sent; and the batch itself may be of a copy, over other rows. So a hash of
the ids goes into the log with each send, and a number means something only where a list of
requests has that hash. Nothing is guessed: where none has it, no request is rejected.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from .api import BatchState
from .store import Part, sent

Rejected = dict[int, tuple[str, "str | None", "str | None", int]]

# Sent again so often where it isn't known which file the provider speaks of.
MOST_UNKNOWN = 2


def hash_ids(ids: Sequence[int]) -> str:
    """A hash of request ids in the order of their lines, as hex."""
    return hashlib.sha256(orjson.dumps(ids)).hexdigest()[:32]


def sent_ids(conn: sqlite3.Connection, part: Part, state: BatchState) -> list[int] | None:
    """The requests of a batch's file in the order of its lines; None where they aren't known."""
    # A batch tells by its metadata; at a server that keeps none, its file does.
    file = state.metadata.get("sha256") or sent.hash_of_file(conn, part, state.input_file_id)
    wanted = sent.hash_of_ids(conn, part, file) if file else None
    if wanted is None:
        return None
    for settled in (False, True):
        ids = sent.ids_with(conn, part, settled=settled)
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
    if sent.times_unknown(conn, part) >= MOST_UNKNOWN:
        return {}
    return None


def outcome(
    ids: Sequence[int], error: dict[str, Any]
) -> tuple[int, tuple[str, str | None, str | None, int]]:
    """The request that an error is about, and what becomes of it."""
    code, message = error.get("code"), error.get("message")
    one = ids[error["line"] - 1]
    return one, ("rejected", str(code) if code else None, str(message) if message else None, one)
