"""A few of a job's requests: some to look at, some to count labels in. Never all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.answers.schema import stored_cells
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.tables.output import Output

from .parts import PartHead

# Answers that distributions are counted in, where a job has more than that.
SAMPLE = 2_000
BLOCKS = 20
# Failures of one kind that are read for their messages.
MESSAGES = 500
# Up to so many failures of a kind are sorted by id; more are found by walking the parts.
FEW = 5_000

COLUMNS = (
    "id, part_id, row_key, source_hash, status, attempts, answer, error_code, error_message, "
    "finish_reason, model, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, "
    "write_status, previous"
)
# As the partial index says it: without these words SQLite doesn't use it.
FAILED = "status NOT IN ('pending', 'ok')"


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a list of requests goes on: after this request of this part."""

    part: int = 0
    request: int = 0

    @classmethod
    def read(cls, text: str | None) -> Mark:
        """From `7.1204` in an address; anything else is the beginning."""
        part, _, request = (text or "").partition(".")
        if not (part.isascii() and part.isdigit() and request.isascii() and request.isdigit()):
            return cls()
        return cls(int(part[:18]), int(request[:18]))

    def __str__(self) -> str:
        return f"{self.part}.{self.request}"


def some(
    conn: sqlite3.Connection,
    job_id: int,
    parts: Sequence[PartHead],
    statuses: Sequence[str],
    mark: Mark,
    count: int,
) -> list[sqlite3.Row]:
    """The next requests with one of these outcomes, part by part and by id within a part."""

    def holds(part: PartHead) -> int:
        return sum(part.counts.get(status, 0) for status in statuses)

    holding = [part for part in parts if holds(part) and part.number >= mark.part]
    failed = not {"ok", "pending"} & set(statuses)
    if 0 < sum(map(holds, holding)) <= FEW and failed:
        return _some_failures(conn, job_id, holding, statuses, mark, count)
    found: list[sqlite3.Row] = []
    for part in holding:
        after = mark.request if part.number == mark.part else 0
        found += store.rows(
            conn,
            f"SELECT {COLUMNS} FROM openai_batch_requests "
            f"WHERE part_id = ? AND id > ? AND {_among(statuses)} ORDER BY id LIMIT ?",
            [part.id, after, *statuses, count - len(found)],
        )
        if len(found) >= count:
            break
    return found


def _some_failures(
    conn: sqlite3.Connection,
    job_id: int,
    holding: Sequence[PartHead],
    statuses: Sequence[str],
    mark: Mark,
    count: int,
) -> list[sqlite3.Row]:
    numbers = {part.id: part.number for part in holding}
    ids = store.rows(
        conn,
        "SELECT id, part_id FROM openai_batch_requests "
        f"WHERE job_id = ? AND {_among(statuses)} AND {FAILED}",
        [job_id, *statuses],
    )
    places = sorted(
        (numbers[row["part_id"]], row["id"]) for row in ids if row["part_id"] in numbers
    )
    chosen = [place[1] for place in places if place > (mark.part, mark.request)][:count]
    rows = {row["id"]: row for row in (request(conn, one) for one in chosen) if row is not None}
    return [rows[one] for one in chosen if one in rows]


def _among(statuses: Sequence[str]) -> str:
    return f"status IN ({', '.join('?' for _ in statuses)})"


def request(conn: sqlite3.Connection, request_id: int) -> sqlite3.Row | None:
    """One request."""
    found = store.rows(
        conn, f"SELECT job_id, {COLUMNS} FROM openai_batch_requests WHERE id = ?", [request_id]
    )
    return found[0] if found else None


def request_of_row(conn: sqlite3.Connection, job_id: int, key: str) -> sqlite3.Row | None:
    """The newest request about the row with this key, typed in by a person."""
    candidates: list[Any] = [key]
    for kind in (int, float):
        try:
            candidates.append(kind(key))
        except (ValueError, OverflowError):
            continue
    for candidate in candidates:
        found = by_key(conn, job_id, candidate)
        if found is not None:
            return found
    return None


def by_key(conn: sqlite3.Connection, job_id: int, key: Any) -> sqlite3.Row | None:
    """The newest request about the row with this very key."""
    if isinstance(key, int) and not -(2**63) <= key < 2**63:
        return None
    found = store.rows(
        conn,
        f"SELECT job_id, {COLUMNS} FROM openai_batch_requests "
        "WHERE job_id = ? AND row_key = ? "
        # of several requests about a row, that with what they voted for
        "ORDER BY error_code IS 'vote' DESC, id DESC LIMIT 1",
        [job_id, key],
    )
    return found[0] if found else None


def responses(conn: sqlite3.Connection, request_id: int) -> list[sqlite3.Row]:
    """The lines that came back for a request, as they came; the newest few."""
    return store.rows(
        conn,
        "SELECT kind, file_id, line_number, line, received_at FROM openai_batch_responses "
        "WHERE request_id = ? ORDER BY id DESC LIMIT 5",
        [request_id],
    )


def answers(conn: sqlite3.Connection, parts: Sequence[PartHead]) -> list[Any]:
    """Up to `SAMPLE` answers, all where there are no more, else in blocks spread over the job."""
    holding = [part for part in parts if part.counts.get("ok")]
    total = sum(part.counts["ok"] for part in holding)
    if total <= SAMPLE:
        return [answer for part in holding for answer in _answers_of(conn, part.id, 0, SAMPLE)]
    found: list[Any] = []
    for part_id, after in _blocks(conn, holding):
        found += _answers_of(conn, part_id, after, SAMPLE // BLOCKS)
    return found


def _blocks(conn: sqlite3.Connection, holding: Sequence[PartHead]) -> Iterator[tuple[int, int]]:
    """Where `BLOCKS` blocks of answers begin, evenly over all answers: (part, after this id)."""
    total = sum(part.counts["ok"] for part in holding)
    passed = 0
    block = 0
    for part in holding:
        count = part.counts["ok"]
        first, last = ends(conn, part.id)
        while block < BLOCKS and passed + count > block * total / BLOCKS:
            share = (block * total / BLOCKS - passed) / count
            yield part.id, int(first - 1 + share * (last - first + 1))
            block += 1
        passed += count


def ends(conn: sqlite3.Connection, part_id: int) -> tuple[int, int]:
    """The first and last request id of a part; two look-ups in its index."""
    first, last = store.rows(
        conn,
        "SELECT (SELECT min(id) FROM openai_batch_requests WHERE part_id = :part), "
        "(SELECT max(id) FROM openai_batch_requests WHERE part_id = :part)",
        {"part": part_id},
    )[0]
    return first or 0, last or 0


def _answers_of(conn: sqlite3.Connection, part_id: int, after: int, count: int) -> list[Any]:
    return [
        row["answer"]
        for row in store.rows(
            conn,
            "SELECT answer FROM openai_batch_requests "
            "WHERE part_id = ? AND id > ? AND status = 'ok' ORDER BY id LIMIT ?",
            [part_id, after, count],
        )
    ]


def messages(conn: sqlite3.Connection, job_id: int, status: str) -> list[sqlite3.Row]:
    """Codes, messages and keys of failures of one kind, up to `MESSAGES` of them."""
    return store.rows(
        conn,
        "SELECT id, row_key, error_code, error_message FROM openai_batch_requests "
        f"WHERE job_id = ? AND status = ? AND {FAILED} LIMIT ?",
        [job_id, status, MESSAGES],
    )


def models(conn: sqlite3.Connection, parts: Sequence[PartHead]) -> list[str]:
    """The models that answered, as the provider names them: those of a few answers."""
    found: dict[str, None] = {}
    for part in [part for part in parts if part.counts.get("ok")][:5]:
        for row in store.rows(
            conn,
            # the limit is of answers: some servers name no model, in none of a million
            "SELECT DISTINCT model FROM (SELECT model FROM openai_batch_requests "
            "WHERE part_id = ? AND status = 'ok' LIMIT 200) WHERE model IS NOT NULL",
            [part.id],
        ):
            found[row["model"]] = None
    return list(found)


def cells_of(job: Job) -> Callable[[str | None, Any], tuple[Any, ...]]:
    """The function from (outcome, answer) to the values of a job's output columns."""
    return stored_cells(job.answer_schema, len(Output.of(job).answers))
