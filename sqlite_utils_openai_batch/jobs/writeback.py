"""Outcomes → columns of the source table, or a table of their own.

Only output columns are touched. A row that isn't what was asked about any more is left alone
(`stale`), a cell that somebody filled in the meantime too (`kept_existing`).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from .. import store
from ..answers.schema import AnswerSchema
from ..base import clock
from ..base.errors import SourceError, TemplateError
from ..base.statuses import NOT_WRITTEN
from ..base.text import counted, listed
from ..requests.template import bind_job, hashed_columns
from ..store import outcomes, reviews
from ..store.connection import Commits
from ..store.leases import Renewal
from ..tables.columns import Rows
from ..tables.output import Output
from ..tables.source import Source, open_source, source_of_job
from ..tables.sql import SQLiteValue, Stored, decode_key
from ..tables.stale import Answer, Earlier, Judge, Judged, Values
from ..tables.target import Target, make_target
from ..tables.triggers import Moves, firing
from ..tables.undo import chained, plain, refusal, refusal_in, remember_also

PAGE = 2_000

# A `write_status`, and what `previous` has to remember.
Fate = tuple[str, "str | None"]


@dataclass
class Written:
    """What became of answers, by `write_status`."""

    written: int = 0
    kept_existing: int = 0
    stale: int = 0
    row_gone: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Answers that the table itself kept out, by the database's words."""

    @property
    def total(self) -> int:
        """How many answers there were."""
        left_alone = self.kept_existing + self.stale + self.row_gone
        return self.written + left_alone + self.refused.total()

    def count(self, fates: Sequence[Fate]) -> None:
        """Add what became of some answers."""
        refused = [
            refusal_in(previous)
            for status, previous in fates
            if previous is not None and status == "kept_existing"
        ]
        self.refused.update(refused)
        self.kept_existing -= len(refused)
        for status, count in Counter(map(itemgetter(0), fates)).items():
            setattr(self, status, getattr(self, status) + count)


class Writer:
    """Writes the answers of one job. Made once per pass, closed at its end."""

    def __init__(self, conn: sqlite3.Connection, job: store.Job, *, accept_stale: bool = False):
        self.conn = conn
        self.job = job
        self.output = Output.of(job)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.accept_stale = accept_stale
        self.written = Written()
        self.earlier = Earlier(conn, job)
        self.source: Source | None = None
        self.rows: Source | None = None
        self.target: Target | None = None
        self.judge: Judge | None = None
        self.source_gone: str | None = None
        self.moved: dict[int, SQLiteValue] = {}
        """New keys that the table gave to rows as they were written last, by place."""
        self.labels = labels_by_key(conn, job) if self.output.answers != self.output.columns else {}

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
                self.rows = open_source(self.conn, self.target.table, pk=self.target.keys)
            read = read_columns(self.job, self.source, self.output)
            self.source.fetch(read or (), [])
            self.judge = Judge(
                self.target,
                self.source,
                self.rows,
                read,
                earlier=self.earlier,
                replace=self.output.replace,
                accept_stale=self.accept_stale,
            )
        except SourceError as error:
            self.source_gone = str(error)
            store.log(self.conn, "source gone", job_id=self.job.id, why=str(error))

    def open_source(self) -> Source:
        """The job's source, as it is now."""
        job = self.job
        return source_of_job(self.conn, job)

    def values(self, answer: Any) -> Values | None:
        """The cells of an answer; None where it doesn't fit the schema."""
        return (answer,) if self.schema is None else self.schema.check(answer).values

    def write_part(self, part: store.Part) -> None:
        """Write the answers of a part that aren't written yet, then mark the part written."""
        alive = Renewal(self.conn, part)
        # Of several requests about a row the first holds what they voted for.
        if self.output.write and part.counts.get("ok") and not part.marks:
            for page in self.unwritten(part):
                self.ready()
                with Commits(self.conn) as commits:
                    commits.begin()
                    self.write_requests(page)
                    commits.wrote(len(page))
                alive()
        store.update_part(self.conn, part.id, written_at=clock.now())

    def unwritten(self, part: store.Part) -> Iterator[list[tuple[int, Answer]]]:
        """Pages of the answers of a part that aren't written: (request id, answer)."""
        after = 0
        while page := outcomes.unwritten_page(self.conn, part.id, after, PAGE):
            after = page[-1][0]
            answers = []
            for request_id, row_key, digest, answer in page:
                values = self.values(answer)
                # Checked when it was collected: only an `ok` request comes here.
                assert values is not None
                answers.append((request_id, (row_key, digest, values)))
            yield answers

    def write_requests(self, page: Sequence[tuple[int, Answer]]) -> None:
        """Write answers and what became of them, in the transaction that the caller holds."""
        fates = self.write([answer for _, answer in page])
        outcomes.set_written(
            self.conn,
            [(*fate, request_id) for fate, (request_id, _) in zip(fates, page, strict=True)],
        )
        self.keep_moved([request_id for request_id, _ in page])

    def keep_moved(self, ids: Sequence[int]) -> None:
        """Let the requests that were written last follow their rows to new keys, if any."""
        outcomes.set_keys(self.conn, [(key, ids[place]) for place, key in self.moved.items()])

    def write(self, answers: Sequence[Answer]) -> list[Fate]:
        """Write answers in the transaction that the caller holds; `ready` was called before.

        Returns what became of each. Raises OutputError where a trigger undid the transaction.
        """
        self.moved = {}
        if not answers:
            return []
        if self.output.answers != self.output.columns:
            answers = [(key, digest, self.judged(key, values)) for key, digest, values in answers]
        if self.source_gone is not None:
            fates: list[Fate] = [("row_gone", None)] * len(answers)
        else:
            fates = self.write_rows(answers)
            if self.output.answers != self.output.columns:
                fates = [
                    (status, text and self.with_labels(text, values))
                    for (status, text), (_, _, values) in zip(fates, answers, strict=True)
                ]
        self.written.count(fates)
        return fates

    def judged(self, row_key: Any, values: Values) -> Values:
        """The values of an answer, and what people say of it, for the columns of both."""
        answers, said = self.output.answers, self.labels.get(row_key, {})
        model = {
            column.property or "answer": value
            for column, value in zip(answers, values, strict=True)
        }
        found = list(values)
        for column in self.output.columns[len(answers) :]:
            name = column.property or "answer"
            found.append(said.get(name, model[name] if column.judged == "final" else None))
        return tuple(found)

    def with_labels(self, memory: str, values: Values) -> str:
        """The memory of a write with what people said then: the answer doesn't tell it."""
        assert self.target is not None
        first = len(self.output.answers)
        pairs = zip(self.target.names[first:], values[first:], strict=True)
        return remember_also(memory, {name: value for name, value in pairs if value is not None})

    def write_rows(self, answers: Sequence[Answer]) -> list[Fate]:
        """Judge each answer, write those that may be, and remember what that replaced."""
        target = self.target
        assert target is not None
        assert self.judge is not None
        judged = self.judge.judge(answers)
        usual = judged.count(self.judge.usual) == len(judged)
        rows = self.rows_of(answers)
        updates, inserts = Rows(target.update, rows if usual else ()), Rows(target.insert)
        if not usual:
            for n, (status, old) in enumerate(judged):
                if status == "written":
                    (inserts if old is None else updates).add(n, rows[n])
        with Moves(self.conn, target.table, target.keys) as moves:
            refused = {**updates.write(self.conn), **inserts.write(self.conn)}
            if moves.follows:
                places = {row_key: n for n, (row_key, _, _) in enumerate(answers)}
                self.moved = {places[old]: new for old, new in moves.of(places)}
        if refused:
            self.tell_refused(refused)
        if refused or not target.exact:
            return self.look_again(answers, judged, refused)
        if usual:
            return [("written", text) for text in plain([values for _, _, values in answers])]
        return [
            (status, self.remember(row_key, old, values)) if status == "written" else (status, None)
            for (status, old), (row_key, _, values) in zip(judged, answers, strict=True)
        ]

    def remember(
        self, row_key: SQLiteValue, old: Values | None, given: Values, stored: Values | None = None
    ) -> str:
        """What has to be remembered of a write, also over what this job wrote there before."""
        assert self.target is not None
        memory = self.target.remember(old, given, stored)
        before = None if old is None else self.earlier.own(row_key, old)
        return memory if before is None else chained(memory, before)

    def rows_of(self, answers: Sequence[Answer]) -> list[Values]:
        """What the statements that write are given for each answer: its cells, then its key."""
        assert self.target is not None
        width = len(self.target.keys)
        if width == 1:
            return [(*values, row_key) for row_key, _, values in answers]
        return [(*values, *decode_key(row_key, width)) for row_key, _, values in answers]

    def look_again(
        self,
        answers: Sequence[Answer],
        judged: Sequence[Judged],
        refused: Mapping[int, str],
    ) -> list[Fate]:
        """Remember what the cells hold now: this table may change what it is given, or refuse."""
        source, target = self.rows or self.source, self.target
        assert source is not None
        assert target is not None
        keys = [self.moved.get(n, answer[0]) for n, answer in enumerate(answers)]
        stored = source.fetch(target.names, keys)
        kept_out = kept_out_by(self.conn, target)
        fates: list[Fate] = []
        for n, ((status, old), (_, _, values)) in enumerate(zip(judged, answers, strict=True)):
            now = stored.get(keys[n])
            if status != "written":
                fates.append((status, None))
            elif n in refused or now is None or (now == shown(old) and now != values):
                fates.append(("kept_existing", refusal(refused.get(n, kept_out))))
            else:
                fates.append((status, self.remember(answers[n][0], old, values, now)))
        return fates

    def tell_refused(self, refused: Mapping[int, str]) -> None:
        """Log that the table itself refused rows (a CHECK, a trigger): they keep what they held."""
        why = next(iter(refused.values()))
        store.log(self.conn, "refused", job_id=self.job.id, rows=len(refused), why=why)


def kept_out_by(conn: sqlite3.Connection, target: Target) -> str:
    """What is said of an answer that a table took, and that isn't there all the same."""
    names = firing(conn, target.table, "UPDATE") + firing(conn, target.table, "INSERT")
    if not names:
        return "it isn't there after it was written"
    several = "s" if len(set(names)) > 1 else ""
    return f"the trigger{several} {listed(list(dict.fromkeys(names)))} kept it out"


def labels_by_key(conn: sqlite3.Connection, job: store.Job) -> dict[Any, dict[str, Any]]:
    """What people say of the rows of a job, by row key and column of the answer."""
    labels = reviews.reviewed(reviews.of_job(conn, job.id))
    return {reviews.row_of(conn, job.id, request)[0]: said for request, said in labels.items()}


def read_columns(job: store.Job, source: Source, output: Output) -> list[str] | None:
    """The columns that the hash of a job's rows covers; None where one of them is gone."""
    try:
        renderer = bind_job(job, source)
    except TemplateError:
        return None
    return [renderer.columns[n] for n in hashed_columns(renderer, output)]


def shown(cells: Values | None) -> Values | None:
    """What cells hold, as it is read."""
    return cells and tuple(cell.shown if isinstance(cell, Stored) else cell for cell in cells)


def not_written_lines(
    written: Mapping[str, Any], hints: Mapping[str, str] | None = None
) -> list[str]:
    """What is said of answers that weren't written; `hints` are what could be done, by why."""
    lines = []
    for status, words in NOT_WRITTEN.items():
        if rows := written.get(status, 0):
            said = words.one if rows == 1 else words.many
            hint = (hints or {}).get(status, "")
            lines.append(f"{counted(rows, 'row')} {said}{hint and f' ({hint})'}.")
    return lines


def refused_lines(refused: Mapping[str, int]) -> list[str]:
    """What is said of answers that the table itself kept out, by the database's words."""
    lines = []
    for words, rows in refused.items():
        answers = "answer is" if rows == 1 else "answers are"
        lines.append(
            f"{counted(rows, 'row')} refused by the database ({words}): the {answers} kept in the "
            "job."
        )
    return lines
