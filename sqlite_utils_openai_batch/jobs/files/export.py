"""A job's requests as JSONL files, for the round trip by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ... import store
from ...base.errors import JobError
from ...requests.chunks import Chunks
from ...requests.images import check_folder
from ...requests.template import bind_job, hashed_columns
from ...store.connection import transaction
from ...store.leases import job_leased
from ...tables.output import Output
from ...tables.source import Source, source_of_job
from ..manage import failed_requests, into_new_parts
from ..revert import busy
from ..sync.send import part_lines

Hash = bytes


@dataclass
class Exported:
    """One part as a file, and how many of its rows are gone or can't be rendered."""

    path: Path
    requests: int = 0
    bytes: int = 0
    left_out: int = 0
    changed: list[tuple[Hash, int]] = field(default_factory=list)
    """The hashes of rows that have changed since they were planned, and their requests."""


def export_requests(conn: sqlite3.Connection, job: store.Job, folder: Path) -> Iterator[Exported]:
    """Write each part that waits to be sent as `part-N.jsonl`, from the rows as they are now.

    What is remembered of the rows is brought up to date, as when a part is sent. Raises JobError
    where nothing waits, and where a file of that name is there.
    """
    parts = [part for part in store.list_parts(conn, job.id) if part.status == "prepared"]
    if not parts:
        raise JobError(
            f"Job {job.id} has no requests that wait to be sent: it is {job.status}. "
            "Prepare a new one with prepare."
        )
    files = [file_of(folder, part) for part in parts]
    there = next((path for path in files if path.exists()), None)
    if there is not None:
        raise JobError(f"'{there}' is there already. Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for part, done in zip(parts, written(conn, job, parts, folder), strict=True):
        with transaction(conn):
            store.set_hashes(conn, done.changed)
            store.log(conn, "exported", job_id=job.id, part_id=part.id, requests=done.requests)
        done.path.with_suffix(".unfinished").replace(done.path)
        yield done


def put_back(conn: sqlite3.Connection, job: store.Job) -> store.Job:
    """Let the failed requests of a job wait again, in parts of their own. Returns the job.

    Nothing of them is sent before somebody says `submit`: a job that was approved is paused.
    Raises JobError while the job goes on, or another process works on it.
    """
    if job.status in ("running", "cancelling") or job.requests is None:
        raise JobError(
            f"Job {job.id} is {job.status}: its failed requests may be asked again by itself. "
            "Wait for its end with watch, or stop that with pause."
        )
    with job_leased(conn, job.id) as mine:
        if not mine:
            raise busy(job)
        plan = failed_requests(conn, job, ())
        if plan.requests:
            approved = job.approved_at is not None
            store.update_job(
                conn,
                job.id,
                status="paused" if approved else "prepared",
                message="its failed requests wait for answers by hand" if approved else None,
                finished_at=None,
            )
            into_new_parts(conn, job, plan, {})
    return store.get_job(conn, job.id)


def written(
    conn: sqlite3.Connection, job: store.Job, parts: list[store.Part], folder: Path
) -> Iterator[Exported]:
    """Yield each part once its file is written, under the name that it has until it is whole."""
    with closing(source_of_job(conn, job)) as source:
        for part in parts:
            yield write_part(conn, job, part, source, folder)


def file_of(folder: Path, part: store.Part) -> Path:
    """The file of a part in a folder."""
    return folder / f"part-{part.number}.jsonl"


def write_part(
    conn: sqlite3.Connection, job: store.Job, part: store.Part, source: Source, folder: Path
) -> Exported:
    """Write one part, under the name that a file has until it is whole."""
    check_folder(job)
    renderer = bind_job(job, source, part.overrides)
    hashed = hashed_columns(renderer, Output.of(job))
    chunks = Chunks(renderer, hashed, f"{job.uid}-")
    done = Exported(file_of(folder, part))
    with done.path.with_suffix(".unfinished").open("wb") as file:
        for some in part_lines(conn, source, chunks, part, job.endpoint):
            done.bytes += file.write(some.lines.whole())
            done.requests += len(some.ids)
            done.left_out += len(some.problems)
            done.changed += some.changed
    return done
