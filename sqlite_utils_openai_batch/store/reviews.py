"""Every statement about what people say of a job's rows, and which rows they were given."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..base import clock
from ..base.json import kept_json, unreadable
from .connection import transaction

#: Kinds of samples, and how each is told to people.
KINDS = {
    "random": "drawn at random",
    "status": "chosen by their outcome",
    "least_sure": "the least sure",
    "differ": "those that were judged differently",
}


class Sample(NamedTuple):
    """Rows that were chosen for people to label, in the order in which they are."""

    id: int
    job_id: int
    kind: str
    seed: int | None
    size: int
    population: int
    blind: bool
    requests: tuple[int, ...]


class Review(NamedTuple):
    """What one coder says of one column of one row, as the tables keep it."""

    request_id: int
    column: str
    value: Any
    coder: str
    blind: bool | None = None
    seconds: float | None = None
    note: str | None = None
    skipped: bool = False


def has_tables(conn: sqlite3.Connection) -> bool:
    """Whether this database can hold reviews: an older program's copy may not."""
    row = conn.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'openai_batch_reviews'"
    ).fetchone()
    return row is not None


def record(conn: sqlite3.Connection, job_id: int, reviews: Iterable[Review]) -> int:
    """Add what coders say, in one transaction; what the same coder said last isn't added again.

    Returns how many were added.
    """
    added = 0
    with transaction(conn):
        for review in reviews:
            if newest(conn, review) == (review.value, review.skipped, review.note):
                continue
            conn.execute(
                "INSERT INTO openai_batch_reviews (job_id, request_id, column, value, skipped, "
                "note, coder, blind, seconds, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    job_id,
                    review.request_id,
                    review.column,
                    review.value,
                    review.skipped,
                    review.note,
                    review.coder,
                    review.blind,
                    review.seconds,
                    clock.now(),
                ],
            )
            added += 1
    return added


def newest(conn: sqlite3.Connection, review: Review) -> tuple[Any, bool, str | None] | None:
    """What the coder of a review said last of the same cell: value, whether skipped, note."""
    row = conn.execute(
        "SELECT value, skipped, note FROM openai_batch_reviews "
        "WHERE request_id = ? AND column = ? AND coder = ? ORDER BY id DESC LIMIT 1",
        [review.request_id, review.column, review.coder],
    ).fetchone()
    return None if row is None else (row[0], bool(row[1]), row[2])


def of_job(conn: sqlite3.Connection, job_id: int, coder: str | None = None) -> list[Review]:
    """The newest that each coder says of each cell of a job, skipped ones too."""
    if not has_tables(conn):
        return []
    mine = "" if coder is None else " AND coder = ?"
    return newest_where(conn, f"job_id = ?{mine}", [job_id] if coder is None else [job_id, coder])


def of_request(conn: sqlite3.Connection, job_id: int, request_id: int, coder: str) -> list[Review]:
    """The newest that a coder says of each cell of one row."""
    if not has_tables(conn):
        return []
    return newest_where(
        conn, "request_id = ? AND +job_id = ? AND +coder = ?", [request_id, job_id, coder]
    )


def newest_where(conn: sqlite3.Connection, where: str, params: Sequence[Any]) -> list[Review]:
    """The newest of each coder and cell among reviews of which a condition holds."""
    found = conn.execute(
        "SELECT request_id, column, value, coder, blind, seconds, note, skipped, job_id "
        "FROM openai_batch_reviews WHERE id IN (SELECT max(id) FROM openai_batch_reviews "
        f"WHERE {where} GROUP BY request_id, column, coder) ORDER BY id",
        list(params),
    ).fetchall()
    for row in found:
        check_review(row)
    return [
        Review._make([*row[:4], None if row[4] is None else bool(row[4]), *row[5:7], bool(row[7])])
        for row in found
    ]


def columns_of(conn: sqlite3.Connection, sample: Sample) -> list[str]:
    """The columns of which somebody has said something in the first rows of a sample."""
    if not has_tables(conn):
        return []
    first = sample.requests[:100]
    found = conn.execute(
        'SELECT DISTINCT "column" FROM openai_batch_reviews '
        f"WHERE request_id IN ({', '.join('?' * len(first))}) AND +job_id = ?",
        [*first, sample.job_id],
    ).fetchall()
    return [row[0] for row in found]


def reviewed_jobs(conn: sqlite3.Connection) -> list[int]:
    """The jobs of whose rows somebody has said something."""
    if not has_tables(conn):
        return []
    found = conn.execute("SELECT DISTINCT job_id FROM openai_batch_reviews").fetchall()
    return [row[0] for row in found]


def check_review(row: Sequence[Any]) -> None:
    """Raise DatabaseError where a row of the reviews holds what this program never writes."""
    seconds, note, _, job_id = row[5:]
    for name, value, fits in (
        ("request_id", row[0], isinstance(row[0], int)),
        ("column", row[1], isinstance(row[1], str)),
        ("coder", row[3], isinstance(row[3], str)),
        ("seconds", seconds, isinstance(seconds, int | float | None)),
        ("note", note, isinstance(note, str | None)),
    ):
        if not fits:
            raise unreadable(value, f"openai_batch_reviews.{name}", job_id)


def reviewed(reviews: Iterable[Review]) -> dict[int, dict[str, Any]]:
    """The value that most coders gave, by request and column; none where as many say another."""
    voices: dict[tuple[int, str], Counter[Any]] = {}
    for review in reviews:
        if not review.skipped:
            counts = voices.setdefault((review.request_id, review.column), Counter())
            counts[review.value] += 1
    found: dict[int, dict[str, Any]] = {}
    for (request_id, column), counts in voices.items():
        (value, most), *others = counts.most_common(2)
        if not others or others[0][1] < most:
            found.setdefault(request_id, {})[column] = value
    return found


def insert_sample(
    conn: sqlite3.Connection,
    job_id: int,
    kind: str,
    requests: Sequence[int],
    *,
    seed: int | None,
    size: int,
    population: int,
    blind: bool,
) -> Sample:
    """Keep which rows were chosen; the same choice as before isn't kept twice."""
    for sample in samples(conn, job_id):
        if (sample.kind, sample.blind) == (kind, blind) and sample.requests == tuple(requests):
            return sample
    with transaction(conn):
        cursor = conn.execute(
            "INSERT INTO openai_batch_samples (job_id, kind, seed, size, population, blind, "
            "requests, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [job_id, kind, seed, size, population, blind, json.dumps(requests), clock.now()],
        )
    assert cursor.lastrowid is not None
    return Sample(cursor.lastrowid, job_id, kind, seed, size, population, blind, tuple(requests))


def samples(conn: sqlite3.Connection, job_id: int) -> list[Sample]:
    """The rows that were chosen for people to label, the newest choice first."""
    if not has_tables(conn):
        return []
    found = conn.execute(
        "SELECT id, job_id, kind, seed, size, population, blind, requests "
        "FROM openai_batch_samples WHERE job_id = ? ORDER BY id DESC",
        [job_id],
    ).fetchall()
    return [kept_sample(row) for row in found]


def kept_sample(row: Sequence[Any]) -> Sample:
    """A sample from its row. Raises DatabaseError for what this program never writes."""
    _, job_id, kind, seed, size, population, blind, requests = row
    for name, value, fits in (
        ("kind", kind, kind in KINDS),
        ("seed", seed, isinstance(seed, int | None)),
        ("size", size, isinstance(size, int)),
        ("population", population, isinstance(population, int)),
    ):
        if not fits:
            raise unreadable(value, f"openai_batch_samples.{name}", job_id)
    column = "openai_batch_samples.requests"
    ids = kept_json(requests, list, column, job_id)
    if not all(type(one) is int and abs(one) < 2**63 for one in ids):
        raise unreadable(requests, column, job_id)
    return Sample._make([*row[:6], bool(blind), tuple(ids)])


def answered_ids(
    conn: sqlite3.Connection, job_id: int, ids: Sequence[int], status: str = "ok"
) -> set[int]:
    """Those of some requests that are of a job and have an outcome."""
    found: set[int] = set()
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        found |= {
            row[0]
            for row in conn.execute(
                "SELECT id FROM openai_batch_requests "
                f"WHERE id IN ({', '.join('?' * len(some))}) AND +job_id = ? AND +status = ?",
                [*some, job_id, status],
            ).fetchall()
        }
    return found


def ids_of_status(
    conn: sqlite3.Connection, job_id: int, status: str, first: int, last: int, size: int
) -> list[int]:
    """The first requests of a job with an outcome, in the order in which they were asked."""
    found = conn.execute(
        "SELECT id FROM openai_batch_requests WHERE id BETWEEN ? AND ? AND +job_id = ? "
        "AND +status = ? ORDER BY id LIMIT ?",
        [first, last, job_id, status, size],
    ).fetchall()
    return [row[0] for row in found]


def least_first(
    conn: sqlite3.Connection, job_id: int, column: str, first: int, last: int, size: int
) -> list[int]:
    """The answered requests of a job whose answer has the smallest value in a column."""
    path = '$."' + column.replace('"', '\\"') + '"'
    found = conn.execute(
        "SELECT id FROM openai_batch_requests WHERE id BETWEEN ? AND ? AND +job_id = ? "
        "AND +status = 'ok' AND json_valid(answer) "
        "ORDER BY json_extract(answer, ?), id LIMIT ?",
        [first, last, job_id, path, size],
    ).fetchall()
    return [row[0] for row in found]


def row_of(conn: sqlite3.Connection, job_id: int, request_id: int) -> tuple[Any, str, Any]:
    """Row key, outcome and answer of a request. Raises DatabaseError where the job has no such."""
    row = conn.execute(
        "SELECT row_key, status, answer FROM openai_batch_requests "
        "WHERE id = ? AND +job_id = ? AND status <> 'placeholder'",
        [request_id, job_id],
    ).fetchone()
    if row is None:
        raise unreadable(f"request {request_id}", "what people were asked to label", job_id)
    return row[0], str(row[1]), row[2]


def request_of(conn: sqlite3.Connection, job_id: int, row_key: Any) -> int | None:
    """The request of a job about the row with a key; None where there is none."""
    row = conn.execute(
        "SELECT id FROM openai_batch_requests WHERE job_id = ? AND row_key = ? "
        "AND status <> 'placeholder' ORDER BY id LIMIT 1",
        [job_id, row_key],
    ).fetchone()
    return None if row is None else int(row[0])
