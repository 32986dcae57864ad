"""A job's requests as they are filtered: by outcome, by answer, by a text in answer or row.

Read by key, some at a time, for as long as a page may take; where that isn't enough the page says
how far it came, and goes on from there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store import outcomes
from sqlite_utils_openai_batch.tables.source import Source

from . import rows
from .rows import Row
from .samples import COLUMNS

#: Seconds that a page looks for rows.
PATIENCE = 0.05
#: Requests that are read at once; where every row of them is wanted no more than a page.
STEP = 500
#: Ids that one step passes at most.
STRETCH = 20_000

Cells = tuple[Any, ...]
Read = Callable[[str, Any], Cells]


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for."""

    statuses: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    """The value, as text, that an answer column holds."""
    text: str = ""
    """What stands in the answer or in the row, whatever its case."""

    @property
    def is_plain(self) -> bool:
        """Whether the database alone can tell what fits."""
        return not self.answers and not self.text


@dataclass(slots=True)
class Found:
    """Requests that fit, and how far was looked."""

    requests: list[sqlite3.Row]
    now: dict[Any, Row]
    """Their rows as they are now, by key, as far as columns were asked for."""
    last: int | None
    """Where to go on; None at the end."""
    looked: int = 0
    """How many requests were looked at, where not all of them fit."""


def find(
    conn: sqlite3.Connection,
    job_id: int,
    wanted: Filter,
    names: Sequence[str],
    read: Read,
    source: Source | None,
    columns: Sequence[str],
    *,
    after: int | None,
    down: bool,
    count: int,
) -> Found:
    """The next requests of a job that fit, in the order of their ids.

    `names` are those of the answer columns, whose values `read` tells; `columns` are those of the
    row that a text is looked for in, and that are shown.
    """
    walk = Walk(conn, job_id, wanted.statuses, after, down)
    found = Found([], {}, None)
    deadline = time.monotonic() + PATIENCE
    while not walk.ended and found.last is None:
        page = walk.step(count + 1 if wanted.is_plain else STEP)
        now = rows_of(conn, source, columns, page) if wanted.text else {}
        for row in page:
            found.looked += 1
            if not fits(row, wanted, names, read, now.get(row["row_key"])):
                continue
            if len(found.requests) == count:
                # there is one more: the next page begins with it
                found.last = found.requests[-1]["id"]
                break
            found.requests.append(row)
        if found.last is None and not walk.ended and time.monotonic() > deadline:
            found.last = walk.at
    found.now = dict(rows_of(conn, source, columns, found.requests))
    return found


class Walk:
    """The requests of a job by their ids, up or down, some at a time.

    No index of the job is sorted for that, and each step passes a bounded stretch of ids: few of
    them may have the outcome that is wanted.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job_id: int,
        statuses: Sequence[str] = (),
        after: int | None = None,
        down: bool = False,
    ) -> None:
        self.conn = conn
        self.job_id = job_id
        self.statuses = statuses
        self.down = down
        first, self.last = outcomes.id_range(conn, job_id)
        self.before = first - 1
        self.at = after if after is not None else (self.last + 1 if down else self.before)
        """The id that was passed last."""

    @property
    def ended(self) -> bool:
        """Whether all were passed."""
        return self.at <= self.before + 1 if self.down else self.at >= self.last

    def step(self, most: int) -> list[sqlite3.Row]:
        """The next requests, at most so many; maybe none of a stretch."""
        end = max(self.at - STRETCH, self.before + 1) if self.down else self.at + STRETCH
        end = end if self.down else min(end, self.last)
        span = "id < ? AND id >= ?" if self.down else "id > ? AND id <= ?"
        marks = ", ".join("?" for _ in self.statuses)
        chosen = f"AND +status IN ({marks}) " if self.statuses else ""
        page = store.rows(
            self.conn,
            f"SELECT {COLUMNS} FROM openai_batch_requests WHERE {span} AND +job_id = ? {chosen}"
            f"ORDER BY id {'DESC' if self.down else 'ASC'} LIMIT ?",
            [self.at, end, self.job_id, *self.statuses, most],
        )
        self.at = page[-1]["id"] if len(page) == most else end
        return page


def rows_of(
    conn: sqlite3.Connection,
    source: Source | None,
    columns: Sequence[str],
    page: Sequence[sqlite3.Row],
) -> Mapping[Any, Row]:
    """The rows that requests are about, as they are now."""
    if source is None or not columns:
        return {}
    found: dict[Any, Row] = {}
    # SQLite takes a thousand conditions in one statement.
    width = max(1, len(source.key_columns))
    step = max(1, 400 // width)
    for begin in range(0, len(page), step):
        keys = [row["row_key"] for row in page[begin : begin + step]]
        found |= rows.fetch(conn, source, columns, keys)
    return found


def fits(
    row: sqlite3.Row, wanted: Filter, names: Sequence[str], read: Read, now: Row | None
) -> bool:
    """Whether a request is what is looked for."""
    if wanted.is_plain:
        return True
    if wanted.answers:
        cells = dict(zip(names, read(row["status"], row["answer"]), strict=True))
        if any(as_text(cells.get(name)) != value for name, value in wanted.answers.items()):
            return False
    if not wanted.text:
        return True
    text = wanted.text.casefold()
    places = (row["answer"], row["error_message"], *(now or ()))
    return any(isinstance(one, str) and text in one.casefold() for one in places)


def as_text(value: Any) -> str:
    """A value of an answer as it stands in an address; nothing for none."""
    return "" if value is None else str(value)
