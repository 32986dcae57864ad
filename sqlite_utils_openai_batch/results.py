"""The rows of a job with their answers: source columns, answer columns, status, error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from . import store
from .errors import SourceError, UsageError
from .nearest import listed, meant
from .output import Output
from .schema import AnswerSchema
from .source import Source, decode_key, reopen

PAGE = 2_000
STATUS_COLUMNS = ("status", "error")


class Results:
    """What `results` prints. `headers` names the columns, `rows` reads them page by page.

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
        self.output = Output.from_json(job.output)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.source = self.open_source()
        self.source_columns = self.shown_source_columns()
        every = [*self.source_columns, *self.output.names, *STATUS_COLUMNS]
        self.chosen = self.choose(every, columns)
        self.headers = [every[index] for index in self.chosen]

    def open_source(self) -> Source | None:
        """The source, or None where it is gone: the answers are still here."""
        job = self.job
        try:
            return reopen(
                self.conn,
                name=job.source,
                sql=job.source_sql,
                params=job.params,
                key_columns=job.keys,
            )
        except SourceError:
            # Dropped or renamed since: keys and answers are in the job's own tables.
            return None

    def shown_source_columns(self) -> list[str]:
        """The key first where it is no column, then the source's columns but the answers."""
        keys = list(self.job.keys)
        if self.source is None:
            return keys
        written = {name.lower() for name in self.output.names}
        columns = [name for name in self.source.columns if name.lower() not in written]
        return [key for key in keys if key not in columns] + columns

    def choose(self, every: list[str], columns: Sequence[str]) -> list[int]:
        """Places of the columns wanted. Raises UsageError for one that isn't there."""
        if not columns:
            return list(range(len(every)))
        for column in columns:
            if column not in every:
                raise UsageError(
                    f"No column '{column}' in the results of job {self.job.id}. "
                    f"{meant(column, every)}Columns: {listed(every)}"
                )
        return [every.index(column) for column in columns]

    def close(self) -> None:
        """Drop what was read from a view or query."""
        if self.source is not None:
            self.source.close()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All rows, in the order in which they were asked."""
        after = 0
        while page := self.page(after):
            after = page[-1][0]
            yield from self.joined(page)

    def page(self, after: int) -> list[tuple[Any, ...]]:
        """The next requests: (id, row_key, status, answer, error)."""
        condition, params = "", list(self.status)
        if self.status:
            condition = f" AND status IN ({', '.join('?' for _ in self.status)})"
        return self.conn.execute(
            "SELECT id, row_key, status, answer, coalesce(error_message, error_code) "
            f"FROM openai_batch_requests WHERE job_id = ? AND id > ?{condition} "
            "ORDER BY id LIMIT ?",
            [self.job.id, after, *params, PAGE],
        ).fetchall()

    def joined(self, page: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """A page of requests beside their source rows."""
        keys = [row[1] for row in page]
        found = self.source.fetch(self.source_columns, keys) if self.source else {}
        for _, row_key, status, answer, error in page:
            row = found.get(row_key) or self.only_key(row_key)
            whole = (*row, *self.answers(status, answer), status, error)
            yield tuple(whole[index] for index in self.chosen)

    def only_key(self, row_key: Any) -> tuple[Any, ...]:
        """The cells of a row that is gone: its key, and nothing else."""
        key = dict(zip(self.job.keys, decode_key(row_key, len(self.job.keys)), strict=True))
        return tuple(key.get(column) for column in self.source_columns)

    def answers(self, status: str, answer: Any) -> tuple[Any, ...]:
        """The answer cells of one request."""
        if status != "ok":
            return (None,) * len(self.output.names)
        if self.schema is None:
            return (answer,)
        checked = self.schema.check(answer)
        return checked.values or (None,) * len(self.output.names)
