"""What was asked again, and how sure the model was beside how often it was right."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlite_utils_openai_batch.base import text
from sqlite_utils_openai_batch.results import again, calibration
from sqlite_utils_openai_batch.store import earlier

from ..access.job import Opened

#: Earlier answers that a page counts: of more than that the report tells.
MOST = 20_000
#: Labels that became others, of each column.
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Change:
    """A label that became another one, in so many rows."""

    column: str
    old: str
    new: str
    rows: str


@dataclass(frozen=True, slots=True)
class Line:
    """What was asked again in one way."""

    words: str
    cost: str
    changes: list[Change]
    worth: list[str]


@dataclass(frozen=True, slots=True)
class Again:
    """The section of a job's page; `many` tells that only the report counts so much."""

    lines: list[Line]
    calibrations: list[calibration.Calibration]
    many: int


def asked_again(conn: sqlite3.Connection, opened: Opened) -> Again | None:
    """What a job's page says of it; None where nothing was asked again, and nothing is sure."""
    job = opened.job
    count = earlier.count(conn, job.id)
    sure = calibration.calibrations(conn, job)
    if not count and not sure:
        return None
    if count > MOST:
        return Again([], sure, count)
    lines = [
        Line(
            again.round_words(one),
            again.cost_words(job, one),
            [
                Change(column, text.cut(old, 40), text.cut(new, 40), f"{rows:,}")
                for column, changes in one.changed.items()
                for old, new, rows in changes[:SHOWN]
            ],
            [f"{column}: {again.worth_words(one, column)}" for column in one.worth],
        )
        for one in again.rounds(conn, job)
    ]
    return Again(lines, sure, 0) if lines or sure else None
