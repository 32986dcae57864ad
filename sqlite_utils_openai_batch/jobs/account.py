"""What an account holds: its batches, whoever made them, and the files that lie at the provider."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from .. import store
from ..base.errors import FileError, NotFound
from ..provider.batch import BatchState, StoredFile
from ..provider.client import Provider


def owners(conn: sqlite3.Connection | None) -> dict[str, int]:
    """The job of each batch that a database knows."""
    if conn is None or not store.exists(conn):
        return {}
    found = store.rows(
        conn,
        "SELECT batches.batch_id, parts.job_id FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE batches.batch_id IS NOT NULL UNION "
        "SELECT batch_id, job_id FROM openai_batch_parts WHERE batch_id IS NOT NULL",
        [],
    )
    return {str(batch_id): int(job_id) for batch_id, job_id in found}


def job_of(state: BatchState, known: Mapping[str, int], uids: Mapping[str, int]) -> int | None:
    """The job that a batch belongs to; one that a copy of the database sent says so itself."""
    return known.get(state.id) or uids.get(state.metadata.get("job", ""))


def uids(conn: sqlite3.Connection | None) -> dict[str, int]:
    """The jobs of a database, by the word that is in everything they send."""
    if conn is None or not store.exists(conn):
        return {}
    return {job.uid: job.id for job in store.list_jobs(conn)}


def batches(
    provider: Provider, statuses: Iterable[str] = (), limit: int | None = None
) -> Iterator[BatchState]:
    """The batches of an account as the provider lists them: mostly the newest first."""
    wanted = set(statuses)
    found = (one for one in provider.list_since(0) if not wanted or one.status in wanted)
    return islice(found, limit)


# Files at the provider.


@dataclass
class Lying:
    """A file at the provider, and what it has to do with a database."""

    file: StoredFile
    batches: list[BatchState] = field(default_factory=list)
    """Those that were made of it, or made it."""
    job: int | None = None
    is_safe: bool = False
    """Whether all that it is for has ended, and is kept in the database."""


def lying(conn: sqlite3.Connection | None, provider: Provider) -> list[Lying]:
    """All files that batches of an account have to do with."""
    # Files first: a batch that is made meanwhile of one of them is then among the batches.
    found = {file.id: Lying(file) for file in provider.files()}
    known, by_uid, taken = owners(conn), uids(conn), collected(conn)
    for state in provider.list_since(0):
        for file_id in state.files.values():
            if file_id in found:
                found[file_id].batches.append(state)
    for one in found.values():
        jobs = {job_of(state, known, by_uid) for state in one.batches}
        one.job = next(iter(jobs)) if len(jobs) == 1 else None
        one.is_safe = bool(one.batches) and all(
            state.ended and state.id in taken for state in one.batches
        )
    return list(found.values())


def collected(conn: sqlite3.Connection | None) -> set[str]:
    """Ids of the batches whose answers are all kept in a database."""
    if conn is None or not store.exists(conn):
        return set()
    found = store.rows(
        conn,
        "SELECT parts.batch_id FROM openai_batch_parts AS parts "
        "WHERE parts.batch_id IS NOT NULL AND parts.collected_at IS NOT NULL UNION "
        "SELECT batches.batch_id FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE batches.ended_at IS NOT NULL AND batches.batch_id IS NOT parts.batch_id",
        [],
    )
    return {str(batch_id) for (batch_id,) in found}


def delete_files(provider: Provider, files: Iterable[Lying]) -> int:
    """Delete files that are safe. Returns how many were there."""
    deleted = 0
    for one in files:
        try:
            provider.delete_file(one.file.id)
        except NotFound:
            # Gone already: expired, or deleted by an earlier call that was cut.
            continue
        deleted += 1
    return deleted


# Downloads.


def download(provider: Provider, state: BatchState, folder: Path) -> list[Path]:
    """Put the output and the error file of a batch into a folder. Returns their paths.

    They are there whole or not at all. Raises FileError where another file has the name.
    """
    found = []
    for kind, file_id in state.files.items():
        if kind == "input":
            continue
        path = folder / f"{state.id}_{kind}.jsonl"
        unfinished = path.with_suffix(".unfinished")
        try:
            try:
                provider.download(file_id, unfinished)
            except NotFound as error:
                raise NotFound(
                    f"The {kind} file of {state.id} isn't at {provider.host} any more: it was "
                    "deleted, or kept for its 30 days."
                ) from error
            if path.exists() and path.read_bytes() != unfinished.read_bytes():
                raise FileError(f"'{path}' is there already, and is another. Name another folder.")
            shutil.move(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        found.append(path)
    return found
