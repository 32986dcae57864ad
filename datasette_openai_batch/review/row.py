"""What a coder sees: one row of a sample with its form, or which rows there are to choose from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.base.text import counted, cut, size
from sqlite_utils_openai_batch.results.review.coders import Progress, may_see, progress
from sqlite_utils_openai_batch.results.review.columns import Question, questions
from sqlite_utils_openai_batch.results.review.sample import SEED, SIZE, Choice, choose, draw
from sqlite_utils_openai_batch.results.review.turns import Turn, Turns
from sqlite_utils_openai_batch.store import Job, reviews
from sqlite_utils_openai_batch.store.reviews import KINDS, Sample

from ..access.job import Opened
from ..access.request import Typed
from ..pages import attachments, images
from ..text import urls
from .fields import Field, fields

#: A sample that nobody has drawn yet: it is kept with the first label.
NOT_KEPT = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of the row, as a coder reads it."""

    name: str
    text: str
    image: str | None
    href: str | None = None


@dataclass(frozen=True, slots=True)
class Screen:
    """One row with its form; or none, where this coder is done."""

    sample: Sample
    words: str
    columns: tuple[str, ...]
    total: int
    done: int
    number: int | None
    key: str
    first: Sequence[Cell]
    rest: Sequence[Cell]
    gone: bool
    fields: Sequence[Field]
    blind: bool
    may_reveal: bool
    note: str
    has_said: bool
    waits: bool
    """Whether others who label are under way, so that nothing of theirs is shown."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A sample in the list of those that there are."""

    id: int
    words: str
    blind: bool
    done: int
    total: int
    others: str
    href: str


@dataclass(frozen=True, slots=True)
class Start:
    """Which rows there are to choose from."""

    samples: Sequence[Rows]
    questions: Sequence[Question]
    ticked: frozenset[str]
    statuses: Sequence[str]
    numbers: Sequence[str]
    jobs: Sequence[tuple[int, str]]
    people: bool
    seed: int
    size: int
    answered: int


@dataclass(frozen=True, slots=True)
class Coder:
    """Who labels, and what else they may."""

    name: str
    manages: bool


def href(opened: Opened, *query: tuple[str, Any]) -> str:
    """The address of the review of a job."""
    address = urls.job(opened.datasette, opened.db, opened.job.id, "/review")
    return urls.with_query(address, *query)


def place(sample: Sample, columns: Sequence[str], **more: Any) -> list[tuple[str, Any]]:
    """What an address says of the sample and the columns that are labelled."""
    return [
        ("_sample", sample.id),
        *(("_column", name) for name in columns),
        *((f"_{name}", value) for name, value in more.items()),
    ]


def sample_words(sample: Sample) -> str:
    """`60 of 326 answered rows, drawn at random (seed 7)`."""
    seed = f" (seed {sample.seed})" if sample.kind == "random" else ""
    what = "row" if sample.kind == "status" else "answered row"
    kind = KINDS.get(sample.kind, sample.kind)
    return f"{len(sample.requests):,} of {counted(sample.population, what)}, {kind}{seed}"


def asked_for(
    conn: sqlite3.Connection, job: Job, wanted: Sequence[str], sample: Sample | None = None
) -> list[Question]:
    """The columns to label: those wanted, else those that others label in the sample.

    Else those with labels or numbers, else all.
    """
    every = questions(job)
    if not wanted and sample is not None:
        wanted = reviews.columns_of(conn, sample)
    if wanted:
        known = {one.column for one in every}
        chosen = [one for one in every if one.column in wanted]
        if not known.issuperset(wanted):
            raise UsageError(f"Job {job.id} has no such answer.")
        return chosen
    return usual(every) or every


def usual(every: Sequence[Question]) -> list[Question]:
    """The columns that are worth a label: those with labels, and numbers."""
    return [one for one in every if one.labels or one.kind in ("integer", "number", "boolean")]


def find_sample(conn: sqlite3.Connection, job: Job, wanted: int | None) -> Sample | None:
    """The sample of that number; without one the newest random one, else a new one, not kept yet.

    None where there is none of that number, or nothing to draw from.
    """
    kept = reviews.samples(conn, job.id)
    if wanted:
        return next((one for one in kept if one.id == wanted), None)
    found = next((one for one in kept if one.kind == "random"), kept[0] if kept else None)
    if found is not None:
        return found
    requests = draw(conn, job, SIZE, SEED)
    if not requests:
        return None
    counts = store.outcome_counts(store.list_parts(conn, job.id))
    return Sample(
        NOT_KEPT, job.id, "random", SEED, SIZE, counts.get("ok", 0), True, tuple(requests)
    )


def kept_sample(conn: sqlite3.Connection, job: Job, wanted: int | None, db: str) -> Sample | None:
    """The same, kept: for what is said of one of its rows."""
    found = find_sample(conn, job, wanted)
    return choose(conn, job, Choice(), db) if found and found.id == NOT_KEPT else found


def screen(
    conn: sqlite3.Connection,
    opened: Opened,
    sample: Sample,
    asked: Sequence[Question],
    coder: Coder,
    *,
    number: int | None = None,
    after: int = 0,
    reveal: bool = False,
    typed: Typed | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Screen:
    """A row of a sample, or the next that this coder hasn't done. Raises IndexError."""
    job = store.get_job(conn, opened.job.id)
    turns = Turns(conn, job, sample, asked, coder.name)
    done = turns.done()
    if number is None:
        number = turns.next_after(after, done)
    turn = None if number is None else turns.turn(number, reveal=reveal)
    found = progress(conn, job) if turn is None else []
    return Screen(
        sample=sample,
        words=sample_words(sample),
        columns=tuple(one.column for one in asked),
        total=len(sample.requests),
        done=len(done),
        number=number,
        key=", ".join(map(str, turn.key)) if turn else "",
        first=cells(opened, turn, 0, turn.read) if turn else (),
        rest=cells(opened, turn, turn.read, len(turn.cells)) if turn else (),
        gone=turn is not None and not turn.cells,
        fields=fields(turn, asked, typed, wrong) if turn else (),
        blind=sample.blind if turn is None else turn.blind,
        may_reveal=turn is not None and turn.blind and turn.is_done and turn.status == "ok",
        note=typed.one("note") if typed else note_of(turn),
        has_said=turn is not None and turn.is_done,
        waits=turn is None and not may_see(found, coder.name, labels=True, manages=coder.manages),
    )


def note_of(turn: Turn | None) -> str:
    """The note that this coder made of a row."""
    if turn is None:
        return ""
    return next((one.note for one in turn.said.values() if one.note), "")


def cells(opened: Opened, turn: Turn, first: int, last: int) -> list[Cell]:
    """Some columns of a row."""
    found = []
    names = [name for name, _ in turn.cells]
    for name, value in turn.cells[first:last]:
        image = images.href(opened, turn.request_id, name, value)
        file = attachments.href(opened, turn.request_id, name, value, names)
        if isinstance(value, bytes):
            text = f"{size(len(value))} of bytes"
        else:
            text = "" if value is None else str(value)
        found.append(Cell(name, text, image, file))
    return found


def start(conn: sqlite3.Connection, opened: Opened, coder: Coder) -> Start:
    """What the page offers to choose from."""
    job = store.get_job(conn, opened.job.id)
    every = questions(job)
    found = progress(conn, job)
    sees = may_see(found, coder.name, labels=True, manages=coder.manages)
    people = {name for one in found for name in one.done}
    return Start(
        samples=[rows_of(opened, one, coder) for one in found],
        questions=every,
        ticked=frozenset(one.column for one in usual(every) or every),
        statuses=[status for status in opened.outcomes if status != "pending"],
        numbers=[one.name for one in every if one.kind in ("integer", "number")],
        jobs=[
            (other.id, other.name or "")
            for other in store.sorted_out(conn)[0]
            if other.id in opened.visible
            and other.id != job.id
            and (other.source, other.source_sql) == (job.source, job.source_sql)
            and len(other.keys) == len(job.keys)
        ],
        people=sees and len(people) > 1,
        seed=SEED,
        size=SIZE,
        answered=opened.outcomes.get("ok", 0),
    )


def rows_of(opened: Opened, found: Progress, coder: Coder) -> Rows:
    """A sample as a line of the list; how far others are, for whoever manages the job."""
    sample = found.sample
    others = []
    if coder.manages:
        others = [
            f"{cut(name, 40)} {count:,}" for name, count in sorted(found.done.items())
            if name != coder.name
        ]  # fmt: skip
    return Rows(
        id=sample.id,
        words=sample_words(sample),
        blind=sample.blind,
        done=found.done.get(coder.name, 0),
        total=len(sample.requests),
        others=", ".join(others),
        href=href(opened, ("_sample", sample.id)),
    )
