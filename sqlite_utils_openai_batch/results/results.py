"""The rows of a job with their answers: source columns, answer columns, status, error."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from .. import store
from ..answers.schema import AnswerSchema
from ..base.errors import SourceError, UsageError
from ..base.text import listed, meant
from ..store import reviews
from ..tables.columns import fold
from ..tables.output import Output
from ..tables.source import Source, source_of_job
from ..tables.sql import decode_key

Row = tuple[Any, ...]


class Results:
    """Which columns the rows of a job have. `headers` names them; a `Reader` reads the rows.

    Source columns come from the rows as they are now, answers from the job itself, so they are
    right also where they were not written back. A row that is gone keeps its key and its answer.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        *,
        status: Sequence[str] = (),
        columns: Sequence[str] = (),
    ):
        self.conn = conn
        self.job = job
        self.status = tuple(status)
        self.output = Output.of(job)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.source = self.open_source()
        self.source_columns = self.shown_source_columns()
        self.labels = reviews.reviewed(reviews.of_job(conn, job.id))
        """What people say, by request and column of the answer."""
        self.judged = self.judged_columns()
        self.every = self.all_headers()
        self.chosen = self.choose(columns)
        self.headers = [self.every[index] for index in self.chosen]
        shown = set(self.chosen)
        self.read = [name for n, name in enumerate(self.source_columns) if n in shown]
        left_out = len(self.source_columns) - len(self.read)
        places = [
            self.read.index(self.every[n]) if n < len(self.source_columns) else n - left_out
            for n in self.chosen
        ]
        """Places of the chosen columns among those read, the answers, status and error."""
        self.places = None if self.chosen == list(range(len(self.every))) else places

    def open_source(self) -> Source | None:
        """The source, or None where it is gone: the answers are still here."""
        job = self.job
        try:
            return source_of_job(self.conn, job)
        except SourceError:
            # Dropped or renamed since: keys and answers are in the job's own tables.
            return None

    def shown_source_columns(self) -> list[str]:
        """The key first where it is no column, then the source's columns but the answers."""
        keys = list(self.job.keys)
        if self.source is None:
            return keys
        written = set()
        if self.output.table is None and self.output.write:
            written = {fold(name) for name in self.output.names}
        columns = [name for name in self.source.columns if fold(name) not in written]
        return [key for key in keys if key not in columns] + columns

    def judged_columns(self) -> list[tuple[int, str]]:
        """The answer columns that people judged: place among the answers, and property."""
        names = [column.name for column in self.schema.columns] if self.schema else ["answer"]
        judged = {name for values in self.labels.values() for name in values}
        return [(place, name) for place, name in enumerate(names) if name in judged]

    def judgements(self, request_id: int, answer: Row) -> Row:
        """What people say of a row, and what counts, for each column that they judged."""
        said = self.labels.get(request_id, {})
        found: list[Any] = []
        for place, name in self.judged:
            found += [said.get(name), said[name] if name in said else answer[place]]
        return tuple(found)

    def all_headers(self) -> list[str]:
        """Every column, no two of one name: where the source has it, ours say whose they are."""
        headers = list(self.source_columns)
        taken = {fold(name) for name in headers}
        judged = [
            f"{self.output.answer_names[place]}_{word}"
            for place, _ in self.judged
            for word in ("reviewed", "final")
        ]
        for name in (*self.output.answer_names, *judged, "status", "error"):
            free = name
            while fold(free) in taken:
                free = f"batch_{free}"
            taken.add(fold(free))
            headers.append(free)
        return headers

    def choose(self, columns: Sequence[str]) -> list[int]:
        """Places of the columns wanted. Raises UsageError for one that isn't there."""
        if not columns:
            return list(range(len(self.every)))
        for column in columns:
            if column not in self.every:
                raise UsageError(
                    f"No column '{column}' in the results of job {self.job.id}. "
                    f"{meant(column, self.every)}Columns: {listed(self.every)}"
                )
        return [self.every.index(column) for column in columns]

    def close(self) -> None:
        """Drop what was read from a view or query."""
        if self.source is not None:
            self.source.close()

    def count(self) -> int:
        """How many rows there are, by the sums of the parts."""
        counts = store.outcome_counts(store.list_parts(self.conn, self.job.id))
        return sum(n for status, n in counts.items() if not self.status or status in self.status)

    def lists(self) -> list[str]:
        """The headers of answers that are lists, kept as JSON arrays."""
        kinds = [column.kind for column in self.schema.columns] if self.schema else []
        first = len(self.source_columns)
        return [self.every[first + n] for n, kind in enumerate(kinds) if kind == "array"]

    def only_key(self, row_key: Any) -> Row:
        """The cells of a row that is gone: its key, and nothing else."""
        key = dict(zip(self.job.keys, decode_key(row_key, len(self.job.keys)), strict=True))
        return tuple(key.get(column) for column in self.read)
