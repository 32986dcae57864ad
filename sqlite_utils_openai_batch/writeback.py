"""Outcomes → columns of the source table, or a table of their own.

Only output columns are touched. A row that isn't what was asked about any more is left alone
(`stale`), a cell that somebody filled in the meantime too (`kept_existing`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import clock, store
from .commits import Commits
from .database import explain
from .errors import OutputError, SourceError
from .keys import SQLiteValue, decode_key
from .memory import plain, remember
from .output import Output
from .plan import hashed_columns
from .schema import AnswerSchema
from .source import Source, reopen
from .store import settling
from .target import Target, make_target
from .template import Template, source_hash

PAGE = 2_000

Values = tuple[SQLiteValue, ...]
# A `write_status`, and what `previous` has to remember.
Fate = tuple[str, "str | None"]
KEPT: Fate = ("kept_existing", None)


class Answer(NamedTuple):
    """An answer to be written: its row, the hash of what was asked about, its cells."""

    row_key: SQLiteValue
    source_hash: bytes
    values: Values


@dataclass
class Written:
    """What became of answers, by `write_status`."""

    written: int = 0
    kept_existing: int = 0
    stale: int = 0
    row_gone: int = 0

    def count(self, fates: Sequence[Fate]) -> None:
        """Add what became of some answers."""
        for status, _ in fates:
            setattr(self, status, getattr(self, status) + 1)


class Writer:
    """Writes the answers of one job. Made once per pass, closed at its end."""

    def __init__(self, conn: sqlite3.Connection, job: store.Job, *, accept_stale: bool = False):
        self.conn = conn
        self.job = job
        self.output = Output.from_json(job.output)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.accept_stale = accept_stale
        self.written = Written()
        self.source: Source | None = None
        self.rows: Source | None = None
        self.target: Target | None = None
        self.read: list[str] = []
        self.source_gone: str | None = None

    def close(self) -> None:
        """Drop what was read from a view or query."""
        for opened in (self.source, self.rows):
            if opened is not None:
                opened.close()

    def ready(self) -> None:
        """Make the columns, read a view or query: what takes no lock, or its own. Once.

        A source that is gone, or can't be read any more, has no rows left to write to. Raises
        OutputError where the columns can't be made.
        """
        if self.source is not None or self.source_gone is not None:
            return
        try:
            self.open_source().close()
            self.target = make_target(self.conn, self.job, self.output)
            # Opened anew: it may have columns now that it hadn't.
            self.source = self.open_source()
            if self.target.separate:
                self.rows = reopen(
                    self.conn,
                    name=self.target.table,
                    sql=None,
                    params={},
                    key_columns=self.target.keys,
                )
            renderer = Template.from_json(self.job.template, self.job.endpoint).bind(
                self.source.columns
            )
            self.read = [renderer.columns[n] for n in hashed_columns(renderer, self.output)]
            self.source.fetch(self.read, [])
        except SourceError as error:
            self.source_gone = str(error)
            store.log(self.conn, "source gone", job_id=self.job.id, why=str(error))

    def open_source(self) -> Source:
        """The job's source, as it is now."""
        job = self.job
        return reopen(
            self.conn,
            name=job.source,
            sql=job.source_sql,
            params=job.params,
            key_columns=job.keys,
        )

    def values(self, answer: Any) -> Values | None:
        """The cells of an answer; None where it doesn't fit the schema."""
        return (answer,) if self.schema is None else self.schema.check(answer).values

    def write_part(self, part: store.Part) -> None:
        """Write the answers of a part that aren't written yet, then mark the part written."""
        if self.output.write and part.counts.get("ok"):
            for page in self.unwritten(part):
                self.ready()
                with Commits(self.conn) as commits:
                    commits.begin()
                    self.write_requests(page)
                    commits.wrote(len(page))
        store.update_part(self.conn, part.id, written_at=clock.now())

    def unwritten(self, part: store.Part) -> Iterator[list[tuple[int, Answer]]]:
        """Pages of the answers of a part that aren't written: (request id, answer)."""
        after = 0
        while page := settling.unwritten_page(self.conn, part.id, after, PAGE):
            after = page[-1][0]
            answers = []
            for request_id, row_key, digest, answer in page:
                values = self.values(answer)
                # Checked when it was collected: only an `ok` request comes here.
                assert values is not None
                answers.append((request_id, Answer(row_key, digest, values)))
            yield answers

    def write_requests(self, page: Sequence[tuple[int, Answer]]) -> None:
        """Write answers and what became of them, in the transaction that the caller holds."""
        fates = self.write([answer for _, answer in page])
        settling.set_written(
            self.conn,
            [(*fate, request_id) for fate, (request_id, _) in zip(fates, page, strict=True)],
        )

    def write(self, answers: Sequence[Answer]) -> list[Fate]:
        """Write answers in the transaction that the caller holds; `ready` was called before.

        Returns what became of each. Raises OutputError where a trigger undid the transaction.
        """
        if not answers:
            return []
        if self.source_gone is not None:
            fates: list[Fate] = [("row_gone", None)] * len(answers)
        else:
            fates = self.write_rows(answers)
        self.written.count(fates)
        return fates

    def write_rows(self, answers: Sequence[Answer]) -> list[Fate]:
        """Judge each answer, write those that may be, and remember what that replaced."""
        target = self.target
        assert target is not None
        judged = list(self.judged(answers))
        updates, inserts = Rows(target.update), Rows(target.insert)
        width = len(target.keys)
        for n, (status, old) in enumerate(judged):
            if status == "written":
                row_key, _, values = answers[n]
                key = (row_key,) if width == 1 else decode_key(row_key, width)
                (inserts if old is None else updates).add(n, (*values, *key))
        refused = {**updates.write(self.conn), **inserts.write(self.conn)}
        if refused:
            self.tell_refused(refused)
        stored = {} if target.exact else self.stored(answers)
        return [
            fate(target, status, old, answer, stored) if n not in refused else KEPT
            for n, ((status, old), answer) in enumerate(zip(judged, answers, strict=True))
        ]

    def judged(self, answers: Sequence[Answer]) -> Iterator[tuple[str, Values | None]]:
        """What may become of each answer, and what its cells hold (None: there is no row yet)."""
        width = len(self.read)
        found, before = self.found(answers)
        for answer in answers:
            row = found.get(answer.row_key)
            if row is None:
                yield "row_gone", None
                continue
            old = before.get(answer.row_key) if self.rows is not None else row[width:]
            if source_hash(row[:width]) != answer.source_hash and not self.accept_stale:
                yield "stale", old
            elif old is None or self.output.replace or old.count(None) == len(old):
                yield "written", old
            else:
                yield "kept_existing", old

    def found(
        self, answers: Sequence[Answer]
    ) -> tuple[dict[SQLiteValue, Values], dict[SQLiteValue, Values]]:
        """The rows as they are now: what was asked about and the answers, by row key."""
        source, target = self.source, self.target
        assert source is not None
        assert target is not None
        keys = [answer.row_key for answer in answers]
        if self.rows is not None:
            return source.fetch(self.read, keys), self.rows.fetch(target.names, keys)
        return source.fetch([*self.read, *target.names], keys), {}

    def stored(self, answers: Sequence[Answer]) -> dict[SQLiteValue, Values]:
        """What the cells hold now, by row key: the table may change what it is given."""
        source, target = self.rows or self.source, self.target
        assert source is not None
        assert target is not None
        return source.fetch(target.names, [answer.row_key for answer in answers])

    def tell_refused(self, refused: dict[int, str]) -> None:
        """Log that the table itself refused rows (a CHECK, a trigger): they keep what they held."""
        why = next(iter(refused.values()))
        store.log(self.conn, "refused", job_id=self.job.id, rows=len(refused), why=why)


def fate(
    target: Target,
    status: str,
    old: Values | None,
    answer: Answer,
    stored: Mapping[SQLiteValue, Values],
) -> Fate:
    """What became of an answer, and what has to be remembered of its write."""
    if status != "written":
        return status, None
    now = stored.get(answer.row_key)
    if now is None and old is not None and old.count(None) == len(old):
        return status, plain(answer.values)
    if now is not None and now == old:
        # A trigger took the write back.
        return KEPT
    return status, remember(target.names, old, answer.values, now)


class Rows:
    """Rows for one statement, each with its place among the answers."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.places: list[int] = []
        self.rows: list[Values] = []

    def add(self, place: int, row: Values) -> None:
        """Take in one row."""
        self.places.append(place)
        self.rows.append(row)

    def write(self, conn: sqlite3.Connection) -> dict[int, str]:
        """Write the rows. Returns SQLite's words for those that the table refused, by place."""
        refused: dict[int, str] = {}
        left = iter(self.rows)
        begun = 0

        def counted() -> Iterator[Values]:
            nonlocal begun
            for row in left:
                begun += 1
                yield row

        while begun < len(self.rows):
            try:
                conn.executemany(self.sql, counted())
            except sqlite3.Error as error:
                if explain(error, "") is not None:
                    raise  # it is about the file: locked, full, damaged
                if not conn.in_transaction:
                    raise OutputError(f"A trigger undoes what is written: {error}.") from error
                # The rows before it are written, and the iterator stands behind it.
                refused[self.places[begun - 1]] = str(error)
        return refused
