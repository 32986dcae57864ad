"""Output and error files → responses and outcomes.

Files are downloaded whole before a line is read, and lines are stored in short transactions.
Collecting the same file again changes nothing, so a kill in the middle costs no answer.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from . import clock, store
from .api import BatchState, Provider
from .database import transaction
from .errors import NotFound
from .jsonl import iter_lines
from .outcome import Outcome, read_response
from .schema import AnswerSchema

CHUNK_LINES = 2_000

# The first `ok` wins; a later `ok` replaces anything else; anything else replaces only `pending`,
# and only in the part that the request belongs to now.
APPLY = """
UPDATE openai_batch_requests SET
    status = :status, answer = :answer, error_code = :error_code, error_message = :error_message,
    finish_reason = :finish_reason, model = :model, prompt_tokens = :prompt_tokens,
    cached_tokens = :cached_tokens, completion_tokens = :completion_tokens,
    reasoning_tokens = :reasoning_tokens, write_status = NULL
WHERE id = :id AND job_id = :job_id AND (
    (:status = 'ok' AND status <> 'ok')
    OR (status = 'pending' AND part_id = :part_id)
)
"""

# What a request is that its batch ended without answering.
UNANSWERED = {
    "completed": ("missing", "the batch ended, and no line for this request came"),
    "expired": ("expired", "the batch expired before this request was run"),
    "cancelled": ("cancelled", "the batch was cancelled before this request was run"),
    "failed": ("missing", "the batch failed, and no line for this request came"),
}


@dataclass
class Collected:
    """What the files of one batch held."""

    lines: int = 0
    applied: int = 0
    unknown: int = 0


def collect(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
) -> Collected:
    """Take in both files of an ended batch, then settle what it left unanswered.

    Raises ProviderError where a file can't be had now: then the part is collected later.
    """
    collected = take_files(conn, provider, job, part, state)
    finish(conn, job, part, state, collected)
    return collected


def collect_surplus(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
) -> Collected:
    """Take in the files of a batch beside the one that its part goes by, and settle nothing."""
    collected = take_files(conn, provider, job, part, state)
    with transaction(conn):
        store.count_outcomes(conn, part.id)
        count_earlier_parts(conn, job, part)
        store.log(
            conn,
            "surplus collected",
            job_id=job.id,
            part_id=part.id,
            batch=state.id,
            lines=collected.lines,
        )
    return collected


def take_files(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
) -> Collected:
    """Download both files of a batch and store what they hold."""
    collected = Collected()
    with tempfile.TemporaryDirectory(prefix="openai-batch-") as folder:
        for kind, file_id in (("output", state.output_file_id), ("error", state.error_file_id)):
            if not file_id:
                continue
            path = Path(folder) / kind
            try:
                provider.download(file_id, path)
            except NotFound as error:
                # Deleted or expired at the provider: what it held can't come any more.
                with transaction(conn):
                    store.log(
                        conn,
                        "file gone",
                        job_id=job.id,
                        part_id=part.id,
                        file=file_id,
                        why=str(error),
                    )
                continue
            take_file(conn, job, part, kind, file_id, path, collected)
    return collected


def take_file(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    kind: str,
    file_id: str,
    path: Path,
    collected: Collected,
) -> None:
    """Store the lines of one downloaded file and what they mean."""
    schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
    keep = job.writes.get("responses", "all")
    with path.open("rb") as file:
        lines = iter_lines(file)
        while chunk := list(islice(lines, CHUNK_LINES)):
            read = [
                (number, line, read_response(line, endpoint=job.endpoint, schema=schema))
                for number, line in chunk
            ]
            with transaction(conn):
                take_lines(conn, job, part, kind, file_id, keep, read, collected)


def take_lines(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    kind: str,
    file_id: str,
    keep: str,
    read: list[tuple[int, bytes, Outcome]],
    collected: Collected,
) -> None:
    """Store some lines in the transaction that the caller holds."""
    ours = known_requests(conn, job, (outcome.custom_id for _, _, outcome in read))
    kept = []
    for number, line, outcome in read:
        request_id = ours.get(outcome.custom_id or "")
        collected.lines += 1
        if request_id is None:
            collected.unknown += 1
        else:
            collected.applied += conn.execute(
                APPLY, outcome_values(outcome, request_id, job, part)
            ).rowcount
        # A line that belongs to nobody is always kept: it may be the only trace of an answer.
        if keep == "all" or request_id is None or (keep == "failed" and outcome.status != "ok"):
            kept.append((request_id, part.id, kind, file_id, number, as_stored(line)))
    store.insert_responses(conn, kept)


def known_requests(
    conn: sqlite3.Connection, job: store.Job, custom_ids: Iterator[str | None]
) -> dict[str, int]:
    """The request ids behind those custom ids that are this job's: never guessed."""
    prefix = f"{job.uid}-"
    wanted = {
        custom_id: int(custom_id[len(prefix) :])
        for custom_id in custom_ids
        if custom_id
        and custom_id.startswith(prefix)
        # ASCII digits in their plain form only: other spellings of a number are not our ids.
        and custom_id[len(prefix) :].isascii()
        and custom_id[len(prefix) :].isdecimal()
        and len(custom_id) < 64
        and not custom_id.startswith(prefix + "0")
    }
    there: set[int] = set()
    numbers = [number for number in wanted.values() if number < 1 << 63]
    for start in range(0, len(numbers), 500):
        some = numbers[start : start + 500]
        marks = ",".join("?" * len(some))
        there.update(
            row[0]
            for row in conn.execute(
                f"SELECT id FROM openai_batch_requests WHERE job_id = ? AND id IN ({marks})",
                [job.id, *some],
            ).fetchall()
        )
    return {custom_id: number for custom_id, number in wanted.items() if number in there}


def outcome_values(
    outcome: Outcome, request_id: int, job: store.Job, part: store.Part
) -> dict[str, Any]:
    """The parameters of APPLY."""
    return {
        "id": request_id,
        "job_id": job.id,
        "part_id": part.id,
        "status": outcome.status,
        "answer": outcome.answer,
        "error_code": outcome.error_code,
        "error_message": outcome.error_message,
        "finish_reason": outcome.finish_reason,
        "model": outcome.model,
        "prompt_tokens": outcome.prompt_tokens,
        "cached_tokens": outcome.cached_tokens,
        "completion_tokens": outcome.completion_tokens,
        "reasoning_tokens": outcome.reasoning_tokens,
    }


def as_stored(line: bytes) -> str | bytes:
    """The bytes as received: TEXT when valid UTF-8, else BLOB."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line


def finish(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    collected: Collected,
) -> None:
    """Give what is still pending its outcome, bring the sums up to date, mark the part collected."""
    status, message = UNANSWERED[state.status]
    with transaction(conn):
        left = store.end_pending(conn, part.id, status, None, message)
        store.count_outcomes(conn, part.id)
        count_earlier_parts(conn, job, part)
        store.update_part(
            conn,
            part.id,
            collected_at=clock.now(),
            output_file_id=state.output_file_id,
            error_file_id=state.error_file_id,
        )
        store.log(
            conn,
            "collected",
            job_id=job.id,
            part_id=part.id,
            lines=collected.lines,
            unanswered=left,
            unknown_ids=collected.unknown,
        )


def count_earlier_parts(conn: sqlite3.Connection, job: store.Job, part: store.Part) -> None:
    """A late answer may belong to a request that has moved on to another part."""
    for other in store.list_parts(conn, job.id):
        if other.id != part.id and other.collected_at:
            store.count_outcomes(conn, other.id)
