"""Output and error files → responses and outcomes.

Files are downloaded whole before a line is read. What their lines mean is taken in by `taking`;
here they are fetched, and what their batch left unanswered gets its outcome.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import clock, store
from .commits import COMMIT_ROWS
from .database import transaction
from .errors import NotFound
from .jsonl import BOM
from .settle import ask_again
from .store.leases import Renewal
from .store.money import add_cost, end_batch
from .taking import Collected, ResultFile, Taker
from .writeback import Writer

if TYPE_CHECKING:
    from .api import BatchState, Provider

__all__ = ["Collected", "ResultFile", "collect", "collect_surplus", "finish", "take_files"]

# What a request is that its batch ended without answering.
UNANSWERED = {
    "completed": ("missing", "the batch ended, and no line for this request came"),
    "expired": ("expired", "the batch expired before this request was run"),
    "cancelled": ("cancelled", "the batch was cancelled before this request was run"),
    "failed": ("missing", "the batch failed, and no line for this request came"),
}


def collect(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None = None,
    without: Sequence[str] = (),
) -> Collected:
    """Take in both files of an ended batch, then settle what it left unanswered.

    With a `writer`, answers go to their columns at once. Raises ProviderError where a file can't
    be had now: then the part is collected later. `without` names the kinds of files (`output`,
    `error`) that may be gone.
    """
    collected = take_batch(conn, provider, job, part, state, writer, without)
    finish(
        conn,
        job,
        part,
        state.status,
        collected,
        batch=state.id,
        output_file_id=state.output_file_id,
        error_file_id=state.error_file_id,
        again=True,
    )
    return collected


def finish(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    status: str,
    collected: Collected,
    *,
    batch: str | None = None,
    again: bool = False,
    **files: str | None,
) -> None:
    """Settle what a batch that ended with `status` left unanswered; mark its part collected.

    With `again`, what never ran goes into a part of its own, unless the job is being stopped.
    """
    end_unanswered(conn, part, status)
    with transaction(conn):
        count_parts(conn, part, collected)
        if store.get_part(conn, part.id).collected_at is None:
            add_cost(conn, part.id, collected.spent)
        now = clock.now()
        written = now if collected.written else None
        store.update_part(conn, part.id, collected_at=now, written_at=written, **files)
        log(conn, "collected", job, part, batch, collected)
        if again and store.get_job(conn, job.id).status in ("running", "paused"):
            ask_again(conn, job, store.get_part(conn, part.id))


def collect_surplus(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None = None,
    without: Sequence[str] = (),
) -> Collected:
    """Take in the files of a batch beside the one that its part goes by, and settle nothing."""
    collected = take_batch(conn, provider, job, part, state, writer, without)
    with transaction(conn):
        count_parts(conn, part, collected)
        if end_batch(conn, state.id, state.said, state.ended_at or clock.now()):
            add_cost(conn, part.id, collected.spent)
        if not collected.written:
            store.update_part(conn, part.id, written_at=None)
        log(conn, "surplus collected", job, part, state.id, collected)
    return collected


def take_batch(
    conn: sqlite3.Connection,
    provider: Provider,
    job: store.Job,
    part: store.Part,
    state: BatchState,
    writer: Writer | None,
    without: Sequence[str],
) -> Collected:
    """Download both files of a batch, and take in what they hold.

    Raises NotFound for one that isn't there, unless it is of a kind that may be gone.
    """
    gone = False
    alive = Renewal(conn, part)
    with tempfile.TemporaryDirectory(prefix="openai-batch-") as folder:
        files = []
        for kind, file_id in (("output", state.output_file_id), ("error", state.error_file_id)):
            if not file_id:
                continue
            path = Path(folder) / kind
            try:
                provider.download(file_id, path, alive)
                if kind == "output" and state.completed and not holds_lines(path):
                    raise NotFound(f"{file_id} came, and holds no lines")
            except NotFound as error:
                if kind not in without:
                    raise
                # Deleted or expired at the provider: what it held can't come any more.
                store.log(
                    conn,
                    "file gone",
                    job_id=job.id,
                    part_id=part.id,
                    file=file_id,
                    why=str(error),
                )
                gone = gone or kind == "output"
                continue
            files.append(ResultFile(kind, file_id, path))
        collected = take_files(conn, job, part, files, writer)
    # Answers that can't be read any more were paid for.
    collected.spent.unpriced += gone or state.hides_answers
    return collected


def holds_lines(path: Path) -> bool:
    """Whether a file that came isn't empty, nor a page of a server on the way to the provider."""
    with path.open("rb") as file:
        begins = file.read(4_096).removeprefix(BOM).lstrip()
    return bool(begins) and not begins.startswith(b"<")


def take_files(
    conn: sqlite3.Connection,
    job: store.Job,
    part: store.Part,
    files: list[ResultFile],
    writer: Writer | None = None,
) -> Collected:
    """Take in files that are here. The sums of the parts are the caller's (`count_parts`)."""
    return Taker(conn, job, part, writer).take(files)


def end_unanswered(conn: sqlite3.Connection, part: store.Part, ended: str) -> None:
    """Give what is still pending its outcome, in short transactions."""
    status, message = UNANSWERED[ended]
    while True:
        with transaction(conn):
            if store.end_pending(conn, part.id, status, None, message, COMMIT_ROWS) < COMMIT_ROWS:
                return


def count_parts(conn: sqlite3.Connection, part: store.Part, collected: Collected) -> None:
    """Bring sums up to date; a late answer may be of a request that moved to another part."""
    store.count_outcomes(conn, part.id)
    for other in sorted(collected.other_parts):
        store.count_outcomes(conn, other)
        if not collected.written:
            store.update_part(conn, other, written_at=None)


def log(
    conn: sqlite3.Connection,
    event: str,
    job: store.Job,
    part: store.Part,
    batch: str | None,
    collected: Collected,
) -> None:
    """Record what files held: lines, and of those the odd ones."""
    odd = {name: count for name in ("unknown", "surplus") if (count := getattr(collected, name))}
    store.log(
        conn, event, job_id=job.id, part_id=part.id, batch=batch, lines=collected.lines, **odd
    )
