"""What was asked about rows before, and what became of it: for --missing and --changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import store
from .hashing import source_hash
from .keys import SQLiteValue
from .output import Output
from .store.asking import Asked, asked_before, last_written

if TYPE_CHECKING:
    from .ask import Ask
    from .source import Source

#: Outcomes of requests that no model has seen.
NEVER_RAN = ("cancelled", "expired")
CHUNK = 500


class Last(NamedTuple):
    """The newest request about a row, and a hash of what was last written to its cells."""

    source_hash: bytes
    status: str
    in_flight: bool
    wrote: bytes | None

    @property
    def never_ran(self) -> bool:
        """Whether it ended without having been asked."""
        return self.status in NEVER_RAN

    @property
    def may_ask(self) -> bool:
        """Whether the row may be asked again: not in flight, and not failed for good."""
        return not self.in_flight and (self.status == "ok" or self.never_ran)


class Before:
    """The newest request about each row, in a private temporary database."""

    def __init__(self) -> None:
        self.conn = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.conn.execute(
            "CREATE TABLE last (row_key PRIMARY KEY, source_hash, status, in_flight, wrote) "
            "WITHOUT ROWID"
        )

    def close(self) -> None:
        """Delete it."""
        self.conn.close()

    def add(self, page: Sequence[Asked], unfinished: set[int], writing: set[int]) -> None:
        """Take in requests, older ones first."""
        self.conn.execute("BEGIN")
        self.conn.executemany(
            "INSERT INTO last VALUES (?, ?, ?, ?, ?) ON CONFLICT (row_key) DO UPDATE SET "
            "source_hash = excluded.source_hash, status = excluded.status, "
            "in_flight = excluded.in_flight, wrote = coalesce(excluded.wrote, wrote)",
            [
                (
                    one.row_key,
                    one.source_hash,
                    one.status,
                    is_in_flight(one, unfinished, writing),
                    wrote(one),
                )
                for one in page
            ],
        )
        self.conn.execute("COMMIT")

    def of(self, keys: Sequence[SQLiteValue]) -> dict[SQLiteValue, Last]:
        """Return what is known of these rows, by key."""
        found: dict[SQLiteValue, Last] = {}
        for start in range(0, len(keys), CHUNK):
            some = keys[start : start + CHUNK]
            rows = self.conn.execute(
                f"SELECT * FROM last WHERE row_key IN ({', '.join('?' * len(some))})", some
            )
            found |= {row[0]: Last(row[1], row[2], bool(row[3]), row[4]) for row in rows}
        return found


def is_in_flight(one: Asked, unfinished: set[int], writing: set[int]) -> bool:
    """Whether an answer to a request may still come, or be written."""
    if one.job_id not in unfinished:
        return False
    waits = one.status == "ok" and one.write_status is None and one.job_id in writing
    return one.status == "pending" or waits


def wrote(one: Asked) -> bytes | None:
    """The hash of the cells that a request's answer left, None where it wrote none."""
    if one.write_status != "written" or not one.previous:
        return None
    return bytes.fromhex(json.loads(one.previous)["wrote"])


class Earlier:
    """What the earlier jobs of a name wrote: a job with --changed may overwrite that."""

    def __init__(self, conn: sqlite3.Connection, job: store.Job) -> None:
        self.conn = conn
        self.jobs: list[int] = []
        if job.settings.get("changed"):
            self.jobs = [
                one.id
                for one in store.list_jobs(conn)
                if one.id < job.id and one.name == job.name and one.source == job.source
            ]

    def wrote(self, row_key: SQLiteValue, cells: Sequence[SQLiteValue]) -> bool:
        """Whether the cells of a row still hold exactly what such a job left there."""
        if not self.jobs:
            return False
        found = last_written(self.conn, self.jobs, [row_key]).get(row_key)
        return found is not None and json.loads(found)["wrote"] == source_hash(cells).hex()


def before(conn: sqlite3.Connection, ask: Ask, source: Source, output: Output) -> Before:
    """Read what earlier jobs asked about the rows of a source.

    For --changed those are the jobs of the same name, else those that write the same columns.
    """
    jobs = [job for job in store.list_jobs(conn) if is_over(job, source)]
    if ask.changed:
        jobs = [job for job in jobs if job.name == ask.name]
    else:
        jobs = [job for job in jobs if writes_same(Output.from_json(job.output), output)]
    known = Before()
    try:
        unfinished = {job.id for job in jobs if job.unfinished}
        writing = {job.id for job in jobs if job.writes["write"]}
        if jobs:
            for page in asked_before(conn, [job.id for job in jobs]):
                known.add(page, unfinished, writing)
    except BaseException:
        known.close()
        raise
    return known


def is_over(job: store.Job, source: Source) -> bool:
    """Whether a job asks about the rows of this source, by the same key."""
    same = job.source == source.name and job.source_sql == source.sql
    return same and job.keys == source.key_columns


def writes_same(one: Output, other: Output) -> bool:
    """Whether two jobs write to a column of the same table."""
    names = {name.lower() for name in one.names} & {name.lower() for name in other.names}
    return one.write and one.table == other.table and bool(names)
