"""Statements about the parts of jobs: where they stand, and the sums that they keep.

Nothing here counts a job's requests.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.base.json import kept_counts
from sqlite_utils_openai_batch.store.records import Part, read


@dataclass(frozen=True, slots=True)
class PartHead:
    """The few columns of a part that a page needs of all of them: there may be thousands."""

    id: int
    number: int
    status: str
    counts: Mapping[str, int]
    expires_at: str | None
    ended_at: str | None


def part_heads(conn: sqlite3.Connection, job_id: int) -> list[PartHead]:
    """The parts of a job, in their order."""
    found = store.rows(
        conn,
        "SELECT id, number, status, outcomes, expires_at, ended_at FROM openai_batch_parts "
        "WHERE job_id = ? ORDER BY number",
        [job_id],
    )
    return [
        PartHead(
            row["id"],
            row["number"],
            row["status"],
            kept_counts(row["outcomes"]),
            clock.kept(row["expires_at"]),
            clock.kept(row["ended_at"]),
        )
        for row in found
    ]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands: its parts by status, its requests by outcome."""

    parts: Mapping[str, int]
    outcomes: Mapping[str, int]


# Whoever changed them by hand: the other parts are counted all the same.
_COUNTS = (
    "CASE WHEN typeof(parts.outcomes) = 'text' AND json_valid(parts.outcomes) "
    "THEN parts.outcomes ELSE '{}' END"
)


def standings(conn: sqlite3.Connection, ids: Iterable[int]) -> Callable[[int], Standing]:
    """Where these jobs stand, by their ids."""
    wanted = json.dumps(list(ids))
    parts = _grouped(
        conn,
        "SELECT job_id, status, count(*) FROM openai_batch_parts "
        "WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY 1, 2",
        wanted,
    )
    outcomes = _grouped(
        conn,
        "SELECT job_id, counts.key, sum(counts.value) "
        f"FROM openai_batch_parts AS parts, json_each({_COUNTS}) AS counts "
        "WHERE job_id IN (SELECT value FROM json_each(?)) AND counts.type = 'integer' "
        "AND typeof(counts.key) = 'text' GROUP BY 1, 2 HAVING sum(counts.value)",
        wanted,
    )
    return lambda job_id: Standing(parts.get(job_id, {}), outcomes.get(job_id, {}))


def _grouped(conn: sqlite3.Connection, sql: str, ids: str) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for job_id, name, count in store.rows(conn, sql, [ids]):
        found.setdefault(job_id, {})[name] = count
    return found


TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def tokens(conn: sqlite3.Connection, job_id: int) -> dict[str, int | None]:
    """Tokens as the provider counted them; None where it counted none."""
    sums = ", ".join(f"sum({name}) AS {name}" for name in TOKENS)
    row = store.rows(conn, f"SELECT {sums} FROM openai_batch_parts WHERE job_id = ?", [job_id])[0]
    return {name: row[name] for name in TOKENS}


def some_parts(conn: sqlite3.Connection, job_id: int, most: int) -> list[Part]:
    """Up to `most` parts in full, those that are under way first; in their order."""
    found = store.rows(
        conn,
        "SELECT * FROM openai_batch_parts WHERE job_id = ? "
        "ORDER BY submitted_at IS NULL OR written_at IS NOT NULL, number LIMIT ?",
        [job_id, most],
    )
    return sorted((read(Part, row) for row in found), key=lambda part: part.number)
