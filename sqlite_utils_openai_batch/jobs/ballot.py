"""Votes on labels: which one most voices give, what share of them, and what becomes of ties (pure).

A voice is what one job, or one of several requests about a row (`--times`), says of a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..answers.confidence import labels_of
from ..answers.schema import UNUSUAL, AnswerSchema, stored_json

#: What is behind the name of a column whose share of voices stands beside it.
SHARE = "_share"
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Result:
    """What a vote on one cell came to; `label` is None for a tie that nobody decides."""

    label: Any
    share: float
    voices: int
    tie: bool
    """Whether another label had as many voices."""


@dataclass
class Count:
    """What votes on one column came to, over all rows."""

    rows: int = 0
    unanimous: int = 0
    majority: int = 0
    decided: int = 0
    """Ties that a rule decided."""
    ties: int = 0
    """Ties that nobody decided."""
    silent: int = 0
    """Rows of which nobody says anything."""

    def add(self, result: Result | None, rows: int = 1) -> None:
        """Count rows that all came to this."""
        self.rows += rows
        if result is None:
            self.silent += rows
        elif result.tie and result.label is None:
            self.ties += rows
        elif result.tie:
            self.decided += rows
        elif result.share == 1:
            self.unanimous += rows
        else:
            self.majority += rows


def vote(voices: Sequence[Any], decides: int | None = None) -> Result | None:
    """The label that most voices give; None where nobody says anything.

    Those that say None have no voice. Of labels with as many voices the one counts that the voice
    at the place `decides` gives, if it is one of them.
    """
    said = Counter([one for one in voices if one is not None])
    if not said:
        return None
    cast, most = said.total(), max(said.values())
    first = [label for label in said if said[label] == most]
    share = round(most / cast, _DIGITS)
    if len(first) == 1:
        return Result(first[0], share, cast, tie=False)
    chosen = None if decides is None else voices[decides]
    return Result(chosen if chosen in first else None, share, cast, tie=True)


def first_of(voices: Sequence[Any]) -> Result | None:
    """`vote`, where the first voice that gives one of the labels of a tie decides."""
    found = vote(voices)
    if found is None or not found.tie:
        return found
    said = Counter([one for one in voices if one is not None])
    most = max(said.values())
    label = next(one for one in voices if one is not None and said[one] == most)
    return Result(label, found.share, found.voices, tie=True)


@dataclass
class Ballot:
    """Votes on the answers to one row by several requests (`--times`)."""

    schema: AnswerSchema
    columns: tuple[str, ...]
    counts: dict[str, Count] = field(default_factory=dict)

    def decide(self, answers: Sequence[tuple[str, Any]]) -> dict[str, Any] | None:
        """The answer that most requests give, by (outcome, answer) of each; None where none is ok.

        What is not a label comes of the first answer with most of the labels that won.
        """
        values = [value for status, answer in answers if (value := _value(status, answer))]
        results = {name: first_of([value.get(name) for value in values]) for name in self.columns}
        for name, result in results.items():
            self.counts.setdefault(name, Count()).add(result)
        if not values:
            return None
        won = {name: result.label for name, result in results.items() if result is not None}

        def like(value: Mapping[str, Any]) -> int:
            return sum(value.get(name) == label for name, label in won.items())

        best = max(values, key=like)
        shares = {f"{name}{SHARE}": result and result.share for name, result in results.items()}
        return {**best, **won, **shares}


def _value(status: str, answer: Any) -> dict[str, Any] | None:
    if status != "ok":
        return None
    try:
        return dict(stored_json(answer))
    except UNUSUAL:
        return None


def voters(schema: AnswerSchema | None) -> tuple[str, ...]:
    """The columns of a schema that can be voted on: its labels."""
    return () if schema is None else tuple(labels_of(schema))


Decide = Callable[[Sequence[Any]], "Result | None"]
