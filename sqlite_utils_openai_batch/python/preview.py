"""What `preview` and `try_` give: requests as they would be sent, what they cost, answers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ..jobs.new_job import Asked, survey
from ..jobs.plan.words import all_warnings
from ..jobs.trial import Tried
from ..pricing.words import cost_words
from ..tables.sql import decode_key


@dataclass(frozen=True)
class Preview:
    """What a job would ask, cost and write. Nothing was sent."""

    rows: int
    """Rows that were read."""
    to_ask: int
    """Requests that would be sent."""
    blank: int
    """Rows that are left out, since nothing is in the columns that the prompt names."""
    model: str
    host: str
    """Where the rows would go."""
    columns: dict[str, str]
    """The columns that would be written, with their types."""
    requests: list[dict[str, Any]]
    """The bodies of the first requests."""
    input_tokens: int | None
    cost: float | None
    """About what it would cost, in US dollars; None where that isn't known."""
    at_most: float | None
    """What it can cost at most; None where nothing bounds it."""
    cost_words: str
    """The same in a sentence."""
    warnings: list[str]

    def __str__(self) -> str:
        lines = [
            f"Asks      {self.model} at {self.host} about {self.to_ask:,} of {self.rows:,} rows",
            f"Cost      {self.cost_words}",
            "Writes    " + ", ".join(f"{name} {kind}" for name, kind in self.columns.items()),
            *(f"Warning: {warning}" for warning in self.warnings),
            "Nothing was sent.",
        ]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows."""
        printer.text(str(self))


def look(conn: sqlite3.Connection, asked: Asked, count: int) -> Preview:
    """Read and render all rows, keep the first requests, and say what all would cost."""
    plan = asked.plan
    tally, shown = survey(conn, plan, count)
    found = tally.estimate
    assert found is not None
    return Preview(
        rows=tally.rows,
        to_ask=tally.asked,
        blank=tally.blank,
        model=plan.model,
        host=asked.place.host,
        columns={one.name: one.type for one in plan.output.columns} if plan.output.write else {},
        requests=[orjson.loads(one.line)["body"] for one in shown],
        input_tokens=found.input.tokens,
        cost=dollars(found.about),
        at_most=dollars(found.most),
        cost_words=cost_words(found, plan.model, asked.place.host),
        warnings=all_warnings(plan, tally),
    )


def dollars(nanousd: int | None) -> float | None:
    """An amount as a program wants it."""
    return None if nanousd is None else nanousd / 1e9


def tried_rows(asked: Asked, tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """Answers of single rows: the key, the answer's columns, status, error."""
    plan = asked.plan
    keys = plan.source.key_columns
    names = plan.output.answer_names
    rows = []
    for one in tried:
        outcome = one.outcome
        cells = outcome.values if outcome.values is not None else (outcome.answer,)
        answers = cells if outcome.status == "ok" else [None] * len(names)
        rows.append(
            dict(zip(keys, decode_key(one.row.row_key, len(keys)), strict=True))
            | dict(zip(names, answers, strict=True))
            | {"status": outcome.status, "error": outcome.error_message}
        )
    return rows
