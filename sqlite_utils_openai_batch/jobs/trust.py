"""Whether what a job keeps is what this program writes, before anything is done by it."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.errors import DatabaseError
from ..pricing.prices import stored_prices
from ..store import Job, check
from ..tables.output import Output


def check_job(job: Job) -> None:
    """Raise DatabaseError where somebody changed what a job goes by."""
    check(job)
    check_json(job)


def check_json(job: Job) -> None:
    """The same of what it keeps as JSON: pages are made of that."""
    Output.of(job)
    stored_prices(job.settings)
    # Reading them raises.
    _ = job.keys, job.params, job.body, job.schema, job.made_columns


def sort_out(jobs: Sequence[Job]) -> tuple[list[Job], list[DatabaseError]]:
    """Jobs that can be gone on with, and what is wrong with the others."""
    sound: list[Job] = []
    changed: list[DatabaseError] = []
    for job in jobs:
        try:
            check_job(job)
        except DatabaseError as error:
            changed.append(error)
        else:
            sound.append(job)
    return sound, changed
