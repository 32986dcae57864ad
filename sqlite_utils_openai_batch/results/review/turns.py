"""One row at a time: which is next for a coder, what they see of it, and what they said."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ... import store
from ...answers.schema import stored_cells
from ...store import reviews
from ...store.reviews import Review, Sample
from ...tables.columns import fold
from ...tables.output import Output
from ...tables.source import source_of_job
from ...tables.sql import decode_key
from .columns import Question
from .sheet import read_columns, shown_columns


@dataclass(frozen=True)
class Turn:
    """A row as it is put before a coder."""

    request_id: int
    number: int
    """Its place in the sample, from 1."""
    key: tuple[Any, ...]
    cells: list[tuple[str, Any]]
    """What the prompt reads of the row, by column, then the rest; none where the row is gone."""
    read: int
    """How many of them, from the beginning, the prompt reads."""
    answer: tuple[Any, ...] | None
    """What the model says, by question; None while it is hidden."""
    status: str
    said: dict[str, Review]
    """What this coder said before, by column of the answer."""
    blind: bool
    """Whether the model's answer is hidden."""

    @property
    def is_done(self) -> bool:
        """Whether this coder has said anything of the row."""
        return bool(self.said)


class Turns:
    """The rows of a sample as one coder goes through them."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        sample: Sample,
        asked: Sequence[Question],
        coder: str,
    ) -> None:
        self.conn = conn
        self.job = job
        self.sample = sample
        self.asked = list(asked)
        self.coder = coder

    def done(self) -> set[int]:
        """Places, from 1, of the rows of which this coder has said something in each column."""
        columns = {question.column for question in self.asked}
        said: dict[int, set[str]] = {}
        for review in reviews.of_job(self.conn, self.job.id, self.coder):
            said.setdefault(review.request_id, set()).add(review.column)
        return {
            number
            for number, request in enumerate(self.sample.requests, start=1)
            if columns <= said.get(request, set())
        }

    def next_number(self, after: int = 0) -> int | None:
        """The place of the next row that isn't done, from the beginning again at the end."""
        return self.next_after(after, self.done())

    def next_after(self, after: int, done: Set[int]) -> int | None:
        """The same, where it is known which are done."""
        total = len(self.sample.requests)
        order = chain(range(after + 1, total + 1), range(1, min(after, total) + 1))
        return next((number for number in order if number not in done), None)

    def turn(self, number: int, *, reveal: bool = False) -> Turn:
        """The row at a place of the sample. Raises IndexError where there is none.

        With `reveal` a row of which the coder has said something is no longer blind: what they say
        from then on isn't either.
        """
        if number < 1:
            raise IndexError(number)
        request = self.sample.requests[number - 1]
        key, status, answer = reviews.row_of(self.conn, self.job.id, request)
        said = {
            review.column: review
            for review in reviews.of_request(self.conn, self.job.id, request, self.coder)
        }
        blind = self.sample.blind and not (reveal and said)
        cells, read = self.cells(key)
        return Turn(
            request_id=request,
            number=number,
            key=decode_key(key, len(self.job.keys)),
            cells=cells,
            read=read,
            answer=None if blind else self.answer(status, answer),
            status=status,
            said=said,
            blind=blind,
        )

    def cells(self, key: Any) -> tuple[list[tuple[str, Any]], int]:
        """What a coder sees of a row: first what the prompt reads, and how many that are."""
        with closing(source_of_job(self.conn, self.job)) as source:
            shown = shown_columns(self.conn, self.job, source, blind=self.sample.blind)
            read = {fold(name) for name in read_columns(self.job, source.columns)}
            first = [name for name in shown if fold(name) in read]
            names = first + [name for name in shown if fold(name) not in read]
            row = source.fetch_few(names, [key]).get(key)
        return ([] if row is None else list(zip(names, row, strict=True))), len(first)

    def answer(self, status: str, answer: Any) -> tuple[Any, ...] | None:
        """What the model says in each column that is asked for; None where it gave no answer."""
        if status != "ok":
            return None
        width = len(Output.from_json(self.job.output).answers)
        cells = stored_cells(self.job.answer_schema, width)(status, answer)
        return tuple(cells[question.place] for question in self.asked)

    def say(
        self,
        turn: Turn,
        values: dict[str, Any],
        *,
        note: str | None = None,
        seconds: float | None = None,
    ) -> None:
        """Record what the coder says, by column of the answer; a column left out is skipped."""
        said = [
            Review(
                request_id=turn.request_id,
                column=question.column,
                value=values.get(question.column),
                coder=self.coder,
                blind=turn.blind,
                seconds=seconds,
                note=note,
                skipped=question.column not in values,
            )
            for question in self.asked
        ]
        reviews.record(self.conn, self.job.id, said)
