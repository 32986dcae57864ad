"""A job's requests as JSONL files, for the round trip by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from . import store
from .binding import bind_job
from .chunks import Chunks
from .database import transaction
from .errors import JobError
from .output import Output
from .part_lines import part_lines
from .plan import hashed_columns
from .source import Source, reopen


@dataclass
class Exported:
    """One part as a file, and how many of its rows are gone or can't be rendered."""

    path: Path
    requests: int = 0
    bytes: int = 0
    left_out: int = 0


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
    source = reopen(
        conn, name=job.source, sql=job.source_sql, params=job.params, key_columns=job.keys
    )
    with closing(source):
        for part, path in zip(parts, files, strict=True):
            yield export_part(conn, job, part, source, path)


def file_of(folder: Path, part: store.Part) -> Path:
    """The file of a part in a folder."""
    return folder / f"part-{part.number}.jsonl"


def export_part(
    conn: sqlite3.Connection, job: store.Job, part: store.Part, source: Source, path: Path
) -> Exported:
    """Write one part; a file appears under its name only when it is whole."""
    renderer = bind_job(job, source, part.overrides)
    hashed = hashed_columns(renderer, Output.from_json(job.output))
    chunks = Chunks(renderer, hashed, f"{job.uid}-")
    done = Exported(path)
    changed: list[tuple[bytes, int]] = []
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        for some in part_lines(conn, source, chunks, part.id):
            file.write(b"".join(some.lines))
            done.requests += len(some.lines)
            done.bytes += sum(map(len, some.lines))
            done.left_out += len(some.problems)
            changed += some.changed
    with transaction(conn):
        store.set_hashes(conn, changed)
        store.log(conn, "exported", job_id=job.id, part_id=part.id, requests=done.requests)
    unfinished.replace(path)
    return done
