"""What people said of a job's rows, as a section of its report."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from .. import store
from ..base.errors import OpenAIBatchError
from ..base.text import code, counted, percent, plain
from ..store import reviews
from ..store.reviews import Sample
from .compare import Compared, Comparison
from .shares import Shares

METHOD = (
    "Shares were corrected for the model's errors by prediction-powered inference (Angelopoulos et "
    "al., Science 382, 2023) with a tuned weight (PPI++, 2023): the model's answers of all rows, "
    "and people's labels of a random sample of them. Intervals are of 95 %."
)


@dataclass(frozen=True)
class Judged:
    """What people said of one column."""

    compared: Compared
    shares: Shares | None
    """None where the column has no shares: text, objects."""
    coders: int
    alpha: float | None


def judged(conn: sqlite3.Connection, job: store.Job) -> list[Judged]:
    """What people said of each column of a job that they judged; reads all answers for each."""
    if not any(not review.skipped for review in reviews.of_job(conn, job.id)):
        return []
    try:
        comparison = Comparison(conn, job, people=True)
    except OpenAIBatchError:
        # No answer yet, or coders agree on none of the rows: there is nothing to tell.
        return []
    for _ in comparison.differences():
        pass
    found = []
    for column in comparison.columns:
        coders, alpha = comparison.coders(column)
        found.append(Judged(column, shares_of(conn, job, column.name), len(coders), alpha))
    return found


def shares_of(conn: sqlite3.Connection, job: store.Job, column: str) -> Shares | None:
    """The shares of a column; None where it has none."""
    try:
        return Shares.of(conn, job, column)
    except OpenAIBatchError:
        # Text that differs in each row has no shares; the agreement is told all the same.
        return None


def judged_lines(found: list[Judged], samples: list[Sample]) -> Iterator[str]:
    """The section, line by line; nothing where nobody judged anything."""
    if not found:
        return
    yield "## Labels by people"
    yield ""
    yield drawn_words(samples)
    yield ""
    for one in found:
        yield agreed_words(one)
        yield ""
        if one.shares is not None:
            yield from share_lines(one.shares)
    if any(one.shares is not None and one.shares.whole.reviewed for one in found):
        yield METHOD
        yield ""


def drawn_words(samples: list[Sample]) -> str:
    """How the rows were chosen that people labelled."""
    random = [sample for sample in samples if sample.kind == "random"]
    if not random:
        return "The rows that people labelled were not drawn at random."
    rows = len({request for sample in random for request in sample.requests})
    seeds = ", ".join(sorted({str(sample.seed) for sample in random}))
    hidden = "without sight of" if all(sample.blind for sample in random) else "in sight of"
    return (
        f"A random sample of {counted(rows, 'answered row')} (seed {seeds}) was given to people to "
        f"label, {hidden} the model's answers."
    )


def agreed_words(one: Judged) -> str:
    """How far the model and people agree in a column, and people among themselves."""
    found = one.compared.agreement
    kappa = found.kappa
    said = (
        f"{code(one.compared.name)}: {counted(found.n, 'row')} labelled by "
        f"{counted(one.coders, 'person', 'people')}; the model says the same in "
        f"{percent(found.same, found.n)}"
    )
    if kappa is not None:
        said += f" (Cohen's κ {kappa.value:.2f}, 95 %: {kappa.low:.2f} to {kappa.high:.2f})"
    if one.alpha is not None:
        said += f"; Krippendorff's α among people is {one.alpha:.2f}"
    return f"{said}."


def share_lines(shares: Shares) -> Iterator[str]:
    """The shares of a column as a table, and what must be known of them."""
    if shares.whole.reviewed:
        yield f"| {plain(shares.question.name)} | by the model | corrected | 95 % interval |"
        yield "|---|---:|---:|---:|"
        scale, unit = (1.0, "") if shares.is_mean else (100.0, " %")
        for one in shares.shares(shares.whole):
            by = one.corrected
            cells = [plain(shares.question.shown(one.label))]
            cells.append("-" if one.share is None else f"{scale * one.share:.1f}{unit}")
            cells.append(f"{scale * by.value:.1f}{unit}" if by else "-")
            low, high = (scale * by.low, scale * by.high) if by else (0.0, 0.0)
            cells.append(f"{low:.1f} to {high:.1f}{unit}" if by else "-")
            yield f"| {' | '.join(cells)} |"
        yield ""
    for sentence in shares.warnings():
        yield sentence
        yield ""
