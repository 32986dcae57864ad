"""How often labels are right, by how sure the model was of them: where people labelled rows.

A confidence is worth something where it is calibrated: of the labels of which the model is 90 %
sure, nine of ten should be right.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import store
from ..answers.confidence import SUFFIX
from ..answers.schema import UNUSUAL, stored_json
from ..base.text import percent, plain
from ..store import reviews
from .again import current

#: Where a step ends: confidence up to this belongs to it. Most labels are nearly sure.
STEPS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclass
class Step:
    """Labels of about the same confidence."""

    low: float
    high: float
    rows: int = 0
    right: int = 0
    sure: float = 0.0
    """The sum of their confidence."""

    @property
    def mean(self) -> float:
        """How sure the model was of them, on the mean."""
        return self.sure / self.rows if self.rows else 0.0

    @property
    def accuracy(self) -> float | None:
        """The share of them that people say is right."""
        return self.right / self.rows if self.rows else None

    @property
    def words(self) -> str:
        """`0.60 to 0.70`."""
        return f"{self.low:.2f} to {self.high:.2f}"


@dataclass
class Calibration:
    """Confidence beside accuracy, in one column."""

    column: str
    steps: list[Step] = field(
        default_factory=lambda: [
            Step(low, high) for low, high in zip((0.0, *STEPS), STEPS, strict=False)
        ]
    )

    def add(self, sure: float, *, right: bool) -> None:
        """Take one row more."""
        step = next(one for one in self.steps if sure <= one.high or one is self.steps[-1])
        step.rows += 1
        step.right += right
        step.sure += sure

    @property
    def rows(self) -> int:
        """Rows that people labelled and whose confidence is known."""
        return sum(step.rows for step in self.steps)

    @property
    def error(self) -> float:
        """How far confidence and accuracy are apart, on the mean over all rows."""
        apart = sum(abs(step.sure - step.right) for step in self.steps)
        return apart / self.rows if self.rows else 0.0


def calibrations(conn: sqlite3.Connection, job: store.Job) -> list[Calibration]:
    """The calibration of each column with a confidence, where people labelled some rows."""
    columns = job.settings.get("confidence") or ()
    people = reviews.reviewed(reviews.of_job(conn, job.id)) if columns else {}
    if not people:
        return []
    found = {column: Calibration(column) for column in columns}
    for request, said in current(conn, list(people)).items():
        if said.status != "ok":
            continue
        for column, calibration in found.items():
            if column not in people[request]:
                continue
            label, sure = label_of(said.answer, column)
            if sure is not None:
                calibration.add(sure, right=label == people[request][column])
    return [one for one in found.values() if one.rows]


def label_of(answer: Any, column: str) -> tuple[Any, float | None]:
    """The label of an answer, and how sure the model is of it."""
    try:
        value = stored_json(answer)
        label, sure = value[column], value[f"{column}{SUFFIX}"]
        return label, None if sure is None else float(sure)
    except UNUSUAL:
        return None, None


def calibration_lines(found: Sequence[Calibration]) -> Iterator[str]:
    """The section of a report: a table for each column; nothing where there is none."""
    if not found:
        return
    yield "## Confidence and accuracy"
    yield ""
    yield (
        "How often the labels of rows that people labelled are right, by how probable the model "
        "found them among all labels of the column (by the probabilities of its tokens)."
    )
    yield ""
    for one in found:
        yield f"| confidence in {plain(one.column)} | mean | rows | right | accuracy |"
        yield "|---|---:|---:|---:|---:|"
        for step in one.steps:
            if step.rows:
                right = percent(step.right, step.rows)
                figures = f"{step.mean:.3f} | {step.rows:,} | {step.right:,} | {right}"
                yield f"| {step.words} | {figures} |"
        yield ""
        yield f"They are {one.error:.3f} apart on the mean."
        yield ""
