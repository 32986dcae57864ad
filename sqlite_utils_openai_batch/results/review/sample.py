"""Which rows people are given: drawn at random by a seed, or chosen for what they show.

Only a random sample supports a claim about all rows. It is drawn among the answered rows, in an
order that only the seed and the job decide: a larger sample of the same seed begins with the
smaller one. What was drawn is kept, since a later retry may answer more rows.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ... import store
from ...base.errors import JobError, UsageError
from ...base.statuses import OUTCOMES
from ...base.text import listed, meant
from ...store import outcomes, reviews
from ...store.reviews import Sample
from .columns import questions

SIZE = 100
SEED = 0
#: Ids that are looked up together: more than are wanted, since some rows have no answer.
CHUNK = 500


@dataclass(frozen=True)
class Choice:
    """Which rows are wished for. Without anything: so many at random."""

    size: int | None = None
    seed: int | None = None
    status: str | None = None
    least_sure: str | None = None
    differ: str | None = None
    """Another job, or `people`."""
    blind: bool | None = None
    """Whether the answer is hidden; None: it is for a random sample."""

    @property
    def kind(self) -> str:
        """How the rows are chosen, as the table of samples says it. Raises UsageError."""
        named = {"status": self.status, "least_sure": self.least_sure, "differ": self.differ}
        given = [kind for kind, value in named.items() if value is not None]
        if len(given) > 1 or (given and self.seed is not None):
            raise UsageError(
                "Which rows? A random sample (--seed), --status, --least-sure or --differ: "
                "one of them."
            )
        return given[0] if given else "random"


def choose(conn: sqlite3.Connection, job: store.Job, choice: Choice, db: str) -> Sample:
    """The rows that are wished for, kept in the table of samples.

    Raises JobError where there are none, UsageError for wishes that can't be.
    """
    kind = choice.kind
    if kind == "random" and choice.size is None and choice.seed is None:
        for sample in reviews.samples(conn, job.id):
            if sample.kind == "random" and choice.blind in (None, sample.blind):
                return sample
    size = SIZE if choice.size is None else choice.size
    seed = None
    if kind == "random":
        seed = SEED if choice.seed is None else choice.seed
        found = draw(conn, job, size, seed)
    elif kind == "status":
        found = of_status(conn, job, str(choice.status), size)
    elif kind == "least_sure":
        found = least_sure(conn, job, str(choice.least_sure), size)
    else:
        found = list(islice(differing(conn, job, str(choice.differ), db), size))
    if not found:
        raise JobError(f"Job {job.id} has no such rows to review.")
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    population = counts.get(choice.status or "ok", 0)
    blind = kind == "random" if choice.blind is None else choice.blind
    return reviews.insert_sample(
        conn, job.id, kind, found, seed=seed, size=size, population=population, blind=blind
    )


def draw(conn: sqlite3.Connection, job: store.Job, size: int, seed: int) -> list[int]:
    """The requests of a random sample of the answered rows, in the order drawn."""
    first, last = outcomes.id_range(conn, job.id)
    order = shuffled(first, last, seed)
    found: list[int] = []
    while len(found) < size and (some := list(islice(order, CHUNK))):
        answered = reviews.answered_ids(conn, job.id, some)
        found += [one for one in some if one in answered]
    return found[:size]


def shuffled(first: int, last: int, seed: int) -> Iterator[int]:
    """The numbers from `first` to `last` in random order, one at a time.

    Fisher and Yates's shuffle, of which only what was moved is kept: each number comes once, each
    order is as likely as any other, and a beginning costs no more than its own length.
    """
    source = random.Random(seed)
    moved: dict[int, int] = {}
    for place in range(first, last + 1):
        other = source.randrange(place, last + 1)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)


def of_status(conn: sqlite3.Connection, job: store.Job, status: str, size: int) -> list[int]:
    """Rows of one outcome."""
    if status not in OUTCOMES:
        raise UsageError(f"No outcome is called '{status}'. There are: {', '.join(OUTCOMES)}")
    return reviews.ids_of_status(conn, job.id, status, *outcomes.id_range(conn, job.id), size)


def least_sure(conn: sqlite3.Connection, job: store.Job, column: str, size: int) -> list[int]:
    """Rows whose answer has the smallest number in a column, such as `confidence`."""
    (question,) = questions(job, [column])
    if question.kind not in ("integer", "number"):
        raise UsageError(
            f"{question.name} holds no numbers: --least-sure wants the answer that says how sure "
            "the model is, such as confidence 0..1 in the schema."
        )
    span = outcomes.id_range(conn, job.id)
    return reviews.least_first(conn, job.id, question.column, *span, size)


def differing(conn: sqlite3.Connection, job: store.Job, other: str, db: str) -> Iterator[int]:
    """Rows that another job answers differently, or of which people say different things."""
    if other == "people":
        yield from people_differ(conn, job)
        return
    from ..compare import Comparison

    second = store.find_job(conn, other, db)
    for row_key, _ in Comparison(conn, job, second).differences():
        request = reviews.request_of(conn, job.id, row_key)
        if request is not None:
            yield request


def people_differ(conn: sqlite3.Connection, job: store.Job) -> list[int]:
    """Rows of which two coders say different things."""
    said: dict[tuple[int, str], set[object]] = {}
    for review in reviews.of_job(conn, job.id):
        if not review.skipped:
            said.setdefault((review.request_id, review.column), set()).add(review.value)
    return sorted({request for (request, _), values in said.items() if len(values) > 1})


def find_coder(conn: sqlite3.Connection, job: store.Job, name: str) -> str:
    """The coder of that name. Raises UsageError that names those that there are."""
    coders = sorted({review.coder for review in reviews.of_job(conn, job.id)})
    if name in coders:
        return name
    raise UsageError(f"No coder '{name}'. {meant(name, coders)}Coders: {listed(coders) or 'none'}")
