"""The share of each label over all rows of a job: as the model says, and corrected by people.

The model's answers of all rows are read once and counted; people's labels count where their row was
drawn at random.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from .. import store
from ..base.errors import JobError, UsageError
from ..base.text import counted, listed, meant
from ..store import outcomes, reviews
from ..tables.columns import fold
from ..tables.source import source_of_job
from .compare import Answers, as_list
from .inference import (
    Corrected,
    Paired,
    classical_shares,
    corrected_mean,
    corrected_share,
    more_for_half,
)
from .review.columns import Question, find_question, questions

PAGE = 1_000
#: With fewer labelled rows than this an interval says little.
FEW = 30
#: More different values than this are no labels.
MOST_LABELS = 200
MEAN = "mean"


@dataclass(frozen=True)
class Share:
    """One label: its share by the model, and by the sample. Of numbers their mean."""

    label: Any
    share: float | None
    corrected: Corrected | None
    classical: float | None
    reviewed: int
    """Rows of the random sample that people labelled."""


@dataclass
class Group:
    """The rows of one group, or all rows."""

    value: Any = None
    rows: int = 0
    counts: Counter[Any] = field(default_factory=Counter)
    """How often the model gives each label."""
    pairs: Counter[tuple[Any, Any]] = field(default_factory=Counter)
    """How often people and the model gave each pair of values, in the random sample."""
    total: float = 0.0
    """The sum of the model's numbers."""

    @property
    def reviewed(self) -> int:
        """Rows of the random sample that people labelled."""
        return sum(self.pairs.values())


@dataclass
class Told:
    """What speaks for and against the labels that there are."""

    labelled: int = 0
    """Rows that people labelled, however they were chosen."""
    elsewhere: int = 0
    """Of these, rows that weren't drawn at random."""
    drawn: int = 0
    """Answered rows that were drawn at random."""
    seen: int = 0
    """Rows of the random sample that were labelled with the answer in sight."""
    unknown: int = 0
    """Rows of the random sample of which that isn't known."""
    torn: int = 0
    """Rows of the random sample on which as many coders say one thing as another."""
    failed: int = 0
    """Rows without an answer, which no share counts."""


class Shares:
    """The shares of one answer column of a job. `Shares.of` reads them."""

    def __init__(self, job: store.Job, question: Question, by: str | None) -> None:
        self.job = job
        self.question = question
        self.by = by
        self.whole = Group()
        self.groups: dict[Any, Group] = {}
        self.told = Told()
        self.is_mean = question.kind in ("integer", "number") and not question.labels
        self.labels: list[Any] = []

    @classmethod
    def of(
        cls, conn: sqlite3.Connection, job: store.Job, column: str, *, by: str | None = None
    ) -> Shares:
        """Read the shares of a column. Raises UsageError, and JobError for no answers."""
        question = find_question(questions(job), column)
        found = cls(job, question, by and source_column(conn, job, by))
        found.read(conn)
        if not found.whole.rows:
            raise JobError(f"Job {job.id} has no answer yet, so there are no shares.")
        found.labels = found.all_labels()
        return found

    # reading

    def read(self, conn: sqlite3.Connection) -> None:
        """Go through all answers once."""
        every = reviews.of_job(conn, self.job.id)
        mine = [one for one in every if one.column == self.question.column]
        said = {
            request: values[self.question.column]
            for request, values in reviews.reviewed(mine).items()
        }
        drawn = {
            request
            for sample in reviews.samples(conn, self.job.id)
            if sample.kind == "random"
            for request in sample.requests
        }
        answered: set[int] = set()
        for ids, values, groups in self.pages(conn):
            for request, value, group in zip(ids, values, groups, strict=True):
                self.count(request, value, group, said, drawn, answered)
        self.judge(mine, said, drawn & answered, answered)

    def pages(
        self, conn: sqlite3.Connection
    ) -> Iterator[tuple[list[int], list[Any], Sequence[Any]]]:
        """Pages of ids, the model's values, and the groups of their rows."""
        answers = Answers(self.job)
        place = self.question.place
        after, last = outcomes.id_range(conn, self.job.id)
        after -= 1
        with closing(source_of_job(conn, self.job)) if self.by else closing(Nothing()) as source:
            while page := outcomes.results_page(conn, self.job.id, after, last, (), PAGE):
                after = page[-1][0]
                ids, keys, values = [], [], []
                for request, key, status, answer, _ in page:
                    found = answers.values(status, answer)
                    if found is None:
                        self.told.failed += 1
                        continue
                    ids.append(request)
                    keys.append(key)
                    values.append(found[place])
                rows = source.fetch([self.by], keys) if self.by else {}
                yield ids, values, [rows.get(key, (None,))[0] for key in keys]

    def count(
        self,
        request: int,
        value: Any,
        group: Any,
        said: dict[int, Any],
        drawn: set[int],
        answered: set[int],
    ) -> None:
        """Count one row."""
        into = [self.whole]
        if self.by:
            into.append(self.groups.setdefault(group, Group(group)))
        for one in into:
            one.rows += 1
            if self.is_mean:
                one.total += value or 0
            else:
                one.counts.update(self.elements(value))
        if request in said or request in drawn:
            answered.add(request)
        if request in said and request in drawn:
            for one in into:
                one.pairs[said[request], value] += 1
        if len(self.whole.counts) > MOST_LABELS:
            raise UsageError(
                f"{self.question.name} has more than {MOST_LABELS} different values: these are no "
                "labels, and have no shares. Shares are of columns with labels or numbers."
            )

    def elements(self, value: Any) -> Sequence[Any]:
        """The labels that a value holds: one, or those of a list, each once."""
        if self.question.is_list and isinstance(value, str):
            return sorted(set(as_list(value)))
        return (value,)

    def judge(
        self,
        mine: Sequence[reviews.Review],
        said: dict[int, Any],
        drawn: set[int],
        answered: set[int],
    ) -> None:
        """Find out what speaks against the labels."""
        told = self.told
        spoken = {one.request_id for one in mine if not one.skipped} & answered
        told.labelled = len(spoken)
        told.drawn = len(drawn)
        told.elsewhere = len(spoken - drawn)
        told.torn = len((spoken & drawn) - set(said))
        ways: dict[int, set[bool | None]] = {}
        for one in mine:
            if not one.skipped and one.request_id in drawn:
                ways.setdefault(one.request_id, set()).add(one.blind)
        told.seen = sum(False in way for way in ways.values())
        told.unknown = sum(None in way and False not in way for way in ways.values())

    # results

    def all_labels(self) -> list[Any]:
        """The labels, in the schema's order, then any others; of numbers one line: the mean."""
        if self.is_mean:
            return [MEAN]
        said: Counter[Any] = Counter()
        for (people, _), count in self.whole.pairs.items():
            for label in self.elements(people):
                said[label] += count
        others = self.whole.counts + said
        named = [label for label in self.question.labels if label in others or len(others) < 50]
        rest = sorted((one for one in others if one not in named),
                      key=lambda one: (-others[one], str(one)))  # fmt: skip
        return [*named, *rest]

    def lines(self) -> Iterator[tuple[Group, Share]]:
        """Each label of each group; of all rows where no column was named."""
        for group in self.every_group():
            for share in self.shares(group):
                yield group, share

    def every_group(self) -> list[Group]:
        """The groups, in the order of their values; all rows as one where no column was named."""
        if not self.by:
            return [self.whole]
        return sorted(self.groups.values(), key=lambda group: order(group.value))

    def shares(self, group: Group) -> list[Share]:
        """The shares of one group."""
        if self.is_mean:
            return [self.mean(group)]
        classical = None
        if not self.question.is_list:
            classical = classical_shares(group.pairs, group.counts)
        return [self.share(group, label, classical) for label in self.labels]

    def share(self, group: Group, label: Any, classical: dict[Any, float] | None) -> Share:
        """The share of one label."""
        said = Counter[tuple[bool, bool]]()
        for (people, model), count in group.pairs.items():
            said[label in self.elements(people), label in self.elements(model)] += count
        share = group.counts[label] / group.rows
        paired = Paired(said[True, True], said[True, False], said[False, True], said[False, False])
        return Share(
            label,
            share,
            corrected_share(paired, share, group.rows),
            None if classical is None else classical.get(label, 0.0),
            group.reviewed,
        )

    def mean(self, group: Group) -> Share:
        """The mean of a column of numbers."""
        mean = group.total / group.rows
        pairs = [
            (float(people), float(model))
            for (people, model), count in group.pairs.items()
            if people is not None and model is not None
            for _ in range(count)
        ]
        return Share(MEAN, mean, corrected_mean(pairs, mean, group.rows), None, len(pairs))

    @property
    def more(self) -> int:
        """How many more labels would halve the intervals over all rows."""
        return more_for_half(self.whole.reviewed, self.whole.rows)

    def warnings(self) -> list[str]:
        """What must be known before these figures are believed."""
        return list(said_of(self))

    def sentences(self) -> list[str]:
        """The warnings, and how many more labels would halve the intervals."""
        more = f"{self.more:,} more labels of random rows would halve the intervals."
        return [*self.warnings(), *([more] if self.more else [])]


class Nothing:
    """Stands for a source where none is read."""

    def close(self) -> None:
        """Nothing is open."""

    def fetch(self, columns: Sequence[Any], keys: Sequence[Any]) -> dict[Any, Any]:
        """Nothing is there."""
        return {}


def source_column(conn: sqlite3.Connection, job: store.Job, name: str) -> str:
    """The column of the source, as the database spells it. Raises UsageError."""
    with closing(source_of_job(conn, job)) as source:
        names = [*source.columns, *(key for key in source.key_columns if key not in source.columns)]
    for one in names:
        if fold(one) == fold(name):
            return one
    raise UsageError(
        f"No column '{name}' in the source of job {job.id}. {meant(name, names)}"
        f"Columns: {listed(names)}"
    )


def order(value: Any) -> tuple[int, Any]:
    """Where a group stands: numbers, then text, then BLOBs, then rows without a value."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, str):
        return 1, value
    return (3, 0) if value is None else (2, value)


def said_of(found: Shares) -> Iterator[str]:
    """Sentences about a sample: too small, not random, not blind, not whole."""
    told, whole, name = found.told, found.whole, found.question.name
    reviewed = whole.reviewed
    if not told.labelled:
        yield (
            f"Nobody has labelled {name} yet, so it isn't known how far the model is right. "
            f"Label a random sample with: review DB {found.job.id} -n 100"
        )
    elif not reviewed:
        yield (
            f"The {counted(told.labelled, 'labelled row')} weren't drawn at random, so they say "
            "nothing about all rows: nothing is corrected. "
            f"Label a random sample with: review DB {found.job.id} -n 100"
        )
        return
    elif told.elsewhere:
        yield (
            f"{counted(told.elsewhere, 'labelled row')} more "
            f"{'was' if told.elsewhere == 1 else 'were'} not drawn at random, and left out."
        )
    if not reviewed:
        return
    if reviewed < min(FEW, whole.rows):
        yield (
            f"The sample is too small: {counted(reviewed, 'row')} labelled. "
            f"Take the intervals as a hint, and label {FEW} at least, better 100."
        )
    if told.seen:
        yield (
            f"{counted(told.seen, 'row')} of the sample {'was' if told.seen == 1 else 'were'} not "
            "labelled blind: who sees the model's answer tends to agree with it, so the "
            "correction may be too small."
        )
    if told.unknown:
        yield f"Of {counted(told.unknown, 'row')} it isn't known whether the answer was hidden."
    left = told.drawn - reviewed - told.torn
    if left > 0:
        yield (
            f"{counted(left, 'row')} of the sample {'has' if left == 1 else 'have'} no label: "
            "where these are the hard ones, the shares are off."
        )
    if told.torn:
        yield (
            f"On {counted(told.torn, 'row')} of the sample the coders differ, and no label has "
            f"most voices: left out. Settle them with: review DB {found.job.id} --differ people"
        )
    if told.failed:
        count = "is" if told.failed == 1 else "are"
        yield f"{counted(told.failed, 'row')} without an answer {count} in no share."
    thin = [group for group in found.groups.values() if group.reviewed < min(FEW, group.rows)]
    if thin and reviewed >= FEW:
        yield (
            f"{len(thin)} of {counted(len(found.groups), 'group')} "
            f"{'has' if len(thin) == 1 else 'have'} fewer than {FEW} labelled rows: their "
            "intervals are a hint only."
        )
