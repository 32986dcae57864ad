"""One job, opened for an actor who may see it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datasette import Forbidden, NotFound
from datasette.utils.asgi import Base400

from sqlite_utils_openai_batch.base.errors import DatabaseError
from sqlite_utils_openai_batch.base.text import cut
from sqlite_utils_openai_batch.jobs.trust import check_json
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.tables.output import Output
from sqlite_utils_openai_batch.tables.sql import decode_key

from ..data import queries
from ..data.parts import PartHead, part_heads, tokens
from ..text import urls
from .lists import file_name, ordered
from .permissions import access, trouble_of


@dataclass(frozen=True)
class Opened:
    """A job with its parts, as they were at one moment."""

    datasette: Any
    db: Any
    job: Job
    parts: Sequence[PartHead]
    tokens: dict[str, int | None]
    """As the provider counted them, summed over parts; None where it counted none."""
    has_row_pages: bool
    """Whether a row key leads to a page of Datasette: not for views, nor for keys of one's own."""

    visible: frozenset[int]
    """The jobs that the actor may see: what is made of another one is shown only with it."""

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Requests by outcome: the sums of the parts."""
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(part.counts)
        return ordered({status: count for status, count in total.items() if count})

    @cached_property
    def total(self) -> int:
        """All requests; outcomes add up to it."""
        return sum(self.outcomes.values())

    @cached_property
    def failures(self) -> int:
        """Requests that ended without an answer."""
        return sum(words.failures(self.outcomes).values())

    @cached_property
    def output(self) -> Output:
        """Where the answers go."""
        return Output.of(self.job)

    @property
    def file(self) -> str:
        """The database file, as a command would name it."""
        return file_name(self.db)

    @property
    def table(self) -> str | None:
        """The table that answers were written to; None where they weren't written."""
        if not self.output.write:
            return None
        return self.output.table or self.job.source

    @property
    def status_words(self) -> str:
        """Where the job stands, in words."""
        return words.status_words(self.job, self.outcomes, {part.status for part in self.parts})


def is_readable(job: Job) -> bool:
    """Whether nobody changed what is said of a job on pages that aren't its own."""
    try:
        check_json(job)
    except DatabaseError:
        return False
    return True


class Unavailable(Base400):  # type: ignore[misc]
    """The database can't be read as it is now; the message says why."""

    status = 503


async def open_job(datasette: Any, db: Any, actor: Any, job_id: int) -> Opened:
    """The job of that id.

    Raises NotFound where there is none, Forbidden where the actor may not see a table that it
    reads or writes, Unavailable where the database, or the job, can't be read as it is.
    """
    if trouble := await trouble_of(datasette, db):
        raise Unavailable(trouble.sentence)
    heads = {head.id: head for head in await db.execute_fn(queries.heads)}
    if job_id not in heads:
        raise NotFound(f"No job {job_id} in {db.name}.")
    seen = await access(datasette, db, actor)
    if not seen.sees(heads[job_id]):
        raise Forbidden("view-table")

    def load(conn: sqlite3.Connection) -> Opened:
        found = queries.jobs(conn, [job_id])
        if not found:
            raise NotFound(f"No job {job_id} in {db.name}.")
        try:
            check_json(found[0])
        except DatabaseError as error:
            raise Unavailable(f"Job {job_id} of {db.name}: {error}") from error
        return Opened(
            datasette,
            db,
            found[0],
            part_heads(conn, job_id),
            tokens(conn, job_id),
            queries.has_row_pages(conn, found[0]),
            frozenset(head.id for head in heads.values() if seen.sees(head)),
        )

    opened: Opened = await db.execute_fn(load)
    return opened


# Row keys as people read them, with the addresses that they lead to.


@dataclass(frozen=True, slots=True)
class Key:
    """A row's key. `row_href` is its page in Datasette, where it has one."""

    text: str
    row_href: str | None
    request_href: str


def key_of(opened: Opened, request_id: int, row_key: Any) -> Key:
    """The key of a request's row, for a page of its job."""
    values = decode_key(row_key, len(opened.job.keys))
    text = ", ".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)
    href = None
    if opened.has_row_pages and not any(isinstance(value, bytes) for value in values):
        href = urls.row(opened.datasette, opened.db, str(opened.job.source), values)
    return Key(
        text=cut(text, 60),
        row_href=href,
        request_href=urls.job(opened.datasette, opened.db, opened.job.id, _request=request_id)
        + "#request",
    )
