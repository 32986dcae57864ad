"""Who labels a job's rows, how far each of them is, and when they may see what the others say.

As long as somebody is under way nobody who labels sees the labels of the others: what one says
would be the other's. Whoever labels in a spreadsheet sees nothing of them there, and hands in all
at once, so only labels that were given one by one (they have a time) count as under way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ... import store
from ...store import reviews
from ...store.reviews import Review, Sample


@dataclass(frozen=True)
class Progress:
    """How far coders are with the rows of one sample."""

    sample: Sample
    done: dict[str, int]
    """Rows of which a coder has said something in each column that they label, by coder."""
    under_way: frozenset[str]
    """Coders who have begun and aren't done."""

    def is_done(self, coder: str) -> bool:
        """Whether a coder has said something of all of these rows."""
        return self.done.get(coder, 0) >= len(self.sample.requests)


def progress(conn: sqlite3.Connection, job: store.Job) -> list[Progress]:
    """How far coders are with each sample of a job, the newest sample first."""
    said = reviews.of_job(conn, job.id)
    return [progress_of(sample, said) for sample in reviews.samples(conn, job.id)]


def progress_of(sample: Sample, said: Sequence[Review]) -> Progress:
    """How far coders are with one sample."""
    chosen = set(sample.requests)
    by_coder: dict[str, dict[int, set[str]]] = {}
    one_by_one: set[str] = set()
    for review in said:
        if review.request_id in chosen:
            by_row = by_coder.setdefault(review.coder, {})
            by_row.setdefault(review.request_id, set()).add(review.column)
            if review.seconds is not None:
                one_by_one.add(review.coder)
    done = {}
    for coder, by_row in by_coder.items():
        columns = set[str]().union(*by_row.values())
        done[coder] = sum(found >= columns for found in by_row.values())
    under_way = {coder for coder in one_by_one if done[coder] < len(chosen)}
    return Progress(sample, done, frozenset(under_way))


def may_see(found: Sequence[Progress], coder: str | None, *, labels: bool, manages: bool) -> bool:
    """Whether somebody may see what all coders say of a job's rows.

    `labels` tells that they may label these rows, `manages` that the job is theirs to change. Who
    has begun to label waits for all others who have; who may still begin sees nothing before.
    """
    begun = [one for one in found if coder is not None and coder in one.done]
    waits = any(one.under_way for one in found)
    if begun:
        return not waits
    if manages:
        return True
    return not waits and not (labels and any(one.done for one in found))
