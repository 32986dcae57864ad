"""Several jobs about the same rows, side by side: what they cost, how far they agree.

Each job is set beside what people say of its rows, or beside a column that they filled in; all
together have Krippendorff's α. Rows are those of the first job.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import store
from ..base.errors import OpenAIBatchError, UsageError
from ..base.text import listed
from ..store import outcomes, reviews
from .agreement import Agreement, Alpha, interval, macro_f1, nominal
from .compare import KINDS, PAGE, Answers, Comparison, as_list, check_has_answers
from .words import failures


@dataclass(frozen=True)
class Beside:
    """One job among several, in one column."""

    job: store.Job
    answered: int
    failed: int
    column: str
    judged: Agreement | None
    """How far it agrees with people or gold; None where there is neither."""


@dataclass(frozen=True)
class Several:
    """Several jobs side by side."""

    jobs: list[store.Job]
    columns: list[str]
    lines: list[Beside]
    alphas: dict[str, float | None]
    """Krippendorff's α of all jobs, by column."""


def several(
    conn: sqlite3.Connection,
    jobs: Sequence[store.Job],
    *,
    gold: Mapping[str, str],
    wanted: Sequence[str],
    fold_case: bool,
) -> Several:
    """Set jobs side by side. Raises UsageError and JobError, as a comparison of two does."""
    if len({job.id for job in jobs}) < len(jobs):
        raise UsageError("A job is named twice. Name each job once.")
    for job in jobs:
        check_has_answers(conn, job)
    columns = common_columns(jobs, wanted)
    lines = []
    for column in columns:
        for job in jobs:
            counts = store.outcome_counts(store.list_parts(conn, job.id))
            found = beside_people(conn, job, column, gold, fold_case)
            lines.append(
                Beside(job, counts.get("ok", 0), sum(failures(counts).values()), column, found)
            )
    return Several(list(jobs), columns, lines, alphas(conn, jobs, columns))


def common_columns(jobs: Sequence[store.Job], wanted: Sequence[str]) -> list[str]:
    """The answers that all jobs have, or those of them that are wanted. Raises UsageError."""
    names = [Answers(job).names for job in jobs]
    common = [name for name in names[0] if all(name in others for others in names)]
    found = [name for name in common if not wanted or name in wanted]
    if not found or len(found) < len(set(wanted)):
        raise UsageError(
            f"Not an answer of all jobs: {listed(wanted) or 'none is'}. "
            f"What they have in common: {listed(common) or 'nothing'}"
        )
    return found


def beside_people(
    conn: sqlite3.Connection,
    job: store.Job,
    column: str,
    gold: Mapping[str, str],
    fold_case: bool,
) -> Agreement | None:
    """How far one job agrees with gold, or with what people say of its rows."""
    mine = {name: other for name, other in gold.items() if name in ("", column)}
    if not mine and not any(one.column == column for one in reviews.of_job(conn, job.id)):
        return None
    try:
        comparison = Comparison(
            conn, job, gold=mine, people=not mine, wanted=[column], fold_case=fold_case
        )
    except OpenAIBatchError:
        if mine:
            raise
        return None  # coders agree on none of the rows
    for _ in comparison.differences():
        pass
    return comparison.columns[0].agreement


def alphas(
    conn: sqlite3.Connection, jobs: Sequence[store.Job], columns: Sequence[str]
) -> dict[str, float | None]:
    """Krippendorff's α of all jobs for each column, over the rows of the first."""
    readers = [Answers(job) for job in jobs]
    places = {column: [reader.names.index(column) for reader in readers] for column in columns}
    kinds = {column: KINDS.get(readers[0].kinds[places[column][0]], "label") for column in columns}
    found = {
        column: Alpha(interval if kinds[column] == "number" else nominal) for column in columns
    }
    width = len(jobs)
    read = [f"r{n}.{name}" for n in range(width) for name in ("status", "answer")]
    for page in outcomes.beside(conn, [job.id for job in jobs], read, (), PAGE):
        for row in page:
            cells = row[width:]
            said = [
                reader.values(status, answer)
                for reader, status, answer in zip(readers, cells[::2], cells[1::2], strict=True)
            ]
            for column in columns:
                unit = [
                    frozenset(as_list(values[place])) if kinds[column] == "list" else values[place]
                    for values, place in zip(said, places[column], strict=True)
                    if values is not None and values[place] is not None
                ]
                found[column].add(unit)
    return {column: one.value for column, one in found.items()}


# What a line of several jobs has as data.
FIGURES = ("job", "name", "model", "answered", "failed", "cost_usd", "column", "compared", "same",
           "agreement", "kappa", "kappa_low", "kappa_high", "macro_f1", "alpha")  # fmt: skip


def figures(one: Beside, alpha: float | None) -> dict[str, Any]:
    """One job among several, in one column, by the names of FIGURES."""
    job, found = one.job, one.judged
    kappa = found and found.kappa
    values = [
        job.id, job.name, job.model, one.answered, one.failed,
        None if job.cost_nanousd is None else job.cost_nanousd / 1e9,
        one.column, found and found.n, found and found.same, found and found.share,
        kappa and kappa.value, kappa and kappa.low, kappa and kappa.high,
        macro_f1(found.pairs) if found and found.pairs and found.kind == "label" else None,
        alpha,
    ]  # fmt: skip
    return dict(zip(FIGURES, values, strict=True))
