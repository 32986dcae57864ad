"""What people say of a job's rows: how far the model agrees, and the shares that follow from it.

The shares need all answers. Of long jobs they are counted when somebody asks for it, and kept until
something changes.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from markupsafe import Markup

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.base.text import counted, cut, hundredths, kappa_words, percent
from sqlite_utils_openai_batch.results.agreement import label_scores, table_of
from sqlite_utils_openai_batch.results.compare import Compared, Comparison
from sqlite_utils_openai_batch.results.shares import Shares
from sqlite_utils_openai_batch.store import reviews

from ..access.job import Key, Opened, key_of
from ..data.rows import open_rows as rows_of_source
from ..text import charts, urls
from .agreement import Table

#: Answers that are counted for a page that nobody asked to count them.
INLINE = 20_000
#: Differences that a page lists, and labels of its tables.
LISTED, LABELS = 20, 12
#: Groups whose shares a page tells.
GROUPS = 30
#: Shares that are kept, of all jobs.
KEPT = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """A row on which the model and people differ."""

    key: Key
    model: str
    people: str


@dataclass(frozen=True, slots=True)
class Groups:
    """The shares of a column in each group of rows, as `shares --by` tells them."""

    by: str
    lines: Sequence[tuple[str, Sequence[Sequence[str]]]]
    """Each group with its lines: label, share by the model, corrected, interval."""
    more: int
    """Groups that aren't listed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One column that people judged."""

    name: str
    sentence: str
    coders: str
    confusion: Table | None
    scores: Sequence[Sequence[str]]
    drawing: Markup | None
    notes: Sequence[str]
    groups: Groups | None
    differences: Sequence[Difference]
    more: int
    """Differences that aren't listed."""


@dataclass(frozen=True, slots=True)
class People:
    """The section of the page."""

    columns: Sequence[Judged]
    count_href: str | None
    """Where the shares are counted, if they aren't yet."""
    answers: int
    by: str | None
    """The column by whose values shares are told."""
    source_columns: Sequence[str]


_kept: OrderedDict[tuple[Any, ...], Shares] = OrderedDict()


def people(
    conn: sqlite3.Connection, opened: Opened, *, count: bool = False, by: str | None = None
) -> People | None:
    """What people say of a job's rows; None where nobody says anything.

    With `count` the shares of a long job are counted too, and with a column of the source also
    those of each group of rows.
    """
    said = reviews.of_job(conn, opened.job.id)
    if not any(not one.skipped for one in said):
        return None
    try:
        comparison = Comparison(conn, opened.job, people=True)
        rows = list(comparison.differences())
    except OpenAIBatchError:
        # Coders agree on none of the rows, or nothing has an answer.
        return None
    answers = opened.outcomes.get("ok", 0)
    counts = count or answers <= INLINE
    state = (str(opened.db.path), opened.job.uid, answers, len(said), hash(tuple(said)),
             len(reviews.samples(conn, opened.job.id)))  # fmt: skip
    source = rows_of_source(conn, opened.job)
    names = list(source.columns) if source is not None else []
    by = by if by in names else None
    found = []
    left = False
    for place, column in enumerate(comparison.columns):
        shares = shares_of(conn, opened, column.name, state, counts)
        left |= shares is None and not counts
        differing = [
            (row_key, pairs[place]) for row_key, pairs in rows if pairs[place][0] != pairs[place][1]
        ]
        grouped = shares_of(conn, opened, column.name, state, True, by) if by else None
        found.append(judged(conn, opened, comparison, column, shares, grouped, differing))
    href = urls.job(opened.datasette, opened.db, opened.job.id, _shares=1) + "#people"
    return People(found, href if left else None, answers, by, names)


def shares_of(
    conn: sqlite3.Connection,
    opened: Opened,
    column: str,
    state: tuple[Any, ...],
    counts: bool,
    by: str | None = None,
) -> Shares | None:
    """The shares of a column, as they were counted; None where they aren't, or it has none."""
    key = (*state, column, by)
    if key not in _kept and counts:
        try:
            _kept[key] = Shares.of(conn, opened.job, column, by=by)
        except OpenAIBatchError:
            # Text that differs in each row has no shares.
            return None
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return _kept.get(key)


def judged(
    conn: sqlite3.Connection,
    opened: Opened,
    comparison: Comparison,
    column: Compared,
    shares: Shares | None,
    grouped: Shares | None,
    differing: Sequence[tuple[Any, tuple[Any, Any]]],
) -> Judged:
    """One column as it is shown."""
    found = column.agreement
    coders, alpha = comparison.coders(column)
    who = counted(len(coders), "coder")
    if alpha is not None:
        who += f", Krippendorff's α {hundredths(alpha)}"
    labels = found.labels[:LABELS] if found.has_labels and found.kind == "label" else []
    return Judged(
        name=column.name,
        sentence=sentence(column),
        coders=who,
        confusion=confusion(column, labels) if len(labels) > 1 else None,
        scores=[
            [str(one.label), f"{one.gold:,}", *map(figure, (one.precision, one.recall, one.f1))]
            for one in label_scores(found.pairs or {})[:LABELS]
        ]
        if labels
        else [],
        drawing=drawing(shares) if shares is not None and shares.whole.reviewed else None,
        notes=shares.sentences() if shares is not None else [],
        groups=groups_of(grouped) if grouped is not None else None,
        differences=[
            Difference(key_of(opened, request, row_key), cut(str(model), 60), cut(str(people), 60))
            for row_key, (model, people) in islice(differing, LISTED)
            if (request := reviews.request_of(conn, opened.job.id, row_key)) is not None
        ],
        more=max(len(differing) - LISTED, 0),
    )


def figure(value: float | None) -> str:
    """A figure of a score."""
    return "-" if value is None else f"{value:.2f}"


def sentence(column: Compared) -> str:
    """How far the model and people agree."""
    found = column.agreement
    pieces = [f"{percent(found.same, found.n)} the same ({found.same:,} of {found.n:,})"]
    if found.kappa is not None:
        pieces.append(kappa_words(found.kappa.value, found.kappa.low, found.kappa.high))
    if found.weighted is not None:
        weighted = found.weighted
        pieces.append(f"weighted {kappa_words(weighted.value, weighted.low, weighted.high)}")
    if found.kind == "list" and found.n:
        pieces.append(f"{100 * found.overlap / found.n:.1f} % of their elements in common")
    return " · ".join(pieces)


def confusion(column: Compared, labels: Sequence[Any]) -> Table:
    """Which label of the model came with which of people's."""
    counts = table_of(column.agreement.pairs or {}, labels)
    words = [cut(str(label), 24) for label in labels]
    if any(counts[-1]) or any(line[-1] for line in counts):
        words.append("others")
    else:
        counts = [line[:-1] for line in counts[:-1]]
    rows = [
        (word, [f"{count:,}" for count in (*line, sum(line))])
        for word, line in zip(words, counts, strict=True)
    ]
    sums = [sum(line) for line in zip(*counts, strict=True)]
    rows.append(("sum", [f"{count:,}" for count in (*sums, sum(sums))]))
    return Table("model ↓ people →", [*words, "sum"], rows)


def groups_of(shares: Shares) -> Groups:
    """The shares of the largest groups, in the order of their values."""
    every = shares.every_group()
    kept = sorted(every, key=lambda group: -group.rows)[:GROUPS]
    told = share_of_mean if shares.is_mean else share_words
    return Groups(
        shares.by or "",
        [
            (
                f"{'(none)' if group.value is None else cut(str(group.value), 40)}: "
                f"{counted(group.rows, 'row')}, {group.reviewed:,} labelled",
                [
                    [
                        cut(shares.question.shown(one.label), 40),
                        told(one.share),
                        told(one.corrected.value if one.corrected else None),
                        f"{told(one.corrected.low)} to {told(one.corrected.high)}"
                        if one.corrected
                        else "-",
                    ]
                    for one in shares.shares(group)
                ],
            )
            for group in every
            if group in kept
        ],
        len(every) - len(kept),
    )


def share_words(value: float | None) -> str:
    """A share as people read it."""
    return "-" if value is None else f"{100 * value:.1f} %"


def share_of_mean(value: float | None) -> str:
    """The mean of numbers."""
    return "-" if value is None else f"{value:.2f}"


def drawing(shares: Shares) -> Markup:
    """The shares of a column as a chart."""
    lines = [
        charts.Share(
            shares.question.shown(one.label),
            one.share or 0.0,
            (by.low, by.value, by.high) if (by := one.corrected) else None,
        )
        for one in shares.shares(shares.whole)
    ]
    return charts.shares(shares.question.name, lines, is_mean=shares.is_mean)
