"""Undo a write-back: cells that still hold what the job wrote get back what they held.

It may be cut anywhere and run again: what is restored is no longer marked as written. Columns
that the job made are dropped where nothing else is in them and SQLite lets them go.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import store
from ..answers.schema import AnswerSchema
from ..base.errors import JobError
from ..base.text import counted
from ..store import outcomes
from ..store.connection import Commits, explain, transaction
from ..store.leases import job_leased, renew_job
from ..tables.columns import Rows, Values, fold, key_of, output_keys, table_columns, update_sql
from ..tables.hashing import source_hash
from ..tables.output import Output
from ..tables.source import Source, open_source
from ..tables.sql import SQLiteValue, Stored, decode_key, quote
from ..tables.target import created, made_table
from ..tables.triggers import Moves
from ..tables.undo import Memory, recall, still_written
from .trust import check_job
from .writeback import read_columns

PAGE = 2_000


@dataclass
class Reverted:
    """What a revert did: rows restored, left because of edits, gone; columns dropped and not."""

    table: str
    restored: int = 0
    edited: int = 0
    gone: int = 0
    dropped: list[str] = field(default_factory=list)
    table_dropped: bool = False
    refused: Counter[str] = field(default_factory=Counter)
    """Rows that the table itself keeps as they are, by the database's words."""
    kept: dict[str, str] = field(default_factory=dict)
    """Columns that the job made and that stay, with the reason."""

    @property
    def did_something(self) -> bool:
        """Whether there was anything to take back."""
        rows = self.restored + self.edited + self.gone + self.refused.total()
        return bool(rows or self.dropped or self.table_dropped or self.kept)


def check_settled(conn: sqlite3.Connection, job: store.Job) -> None:
    """Raise JobError while answers of a job may still come in and be written."""
    if any(part.collected_at is None for part in store.list_parts(conn, job.id)):
        raise JobError(
            f"Job {job.id} isn't finished ({job.status}): its next answers would be written as "
            "before. Wait for it with watch, or stop it with cancel."
        )


def revert(conn: sqlite3.Connection, job: store.Job) -> Reverted:
    """Take a job's answers out of their columns again.

    Raises JobError while the job isn't finished, or another process works on it.
    """
    check_job(job)
    check_settled(conn, job)
    with job_leased(conn, job.id) as mine:
        if not mine:
            raise busy(job)
        return revert_held(conn, job)


def busy(job: store.Job) -> JobError:
    """The error for a job that another process reverts or applies."""
    return JobError(f"Another process works on job {job.id} right now. Try again when it is done.")


def revert_held(conn: sqlite3.Connection, job: store.Job) -> Reverted:
    """`revert` for a caller that holds the job's lease."""
    output = Output.of(job)
    reverted = Reverted(output.table or str(job.source))
    if not output.write or not table_columns(conn, reverted.table):
        return reverted
    reverter = Reverter(conn, job, output, reverted)
    try:
        for part in store.list_parts(conn, job.id):
            reverter.revert_part(part)
    finally:
        reverter.close()
    drop_made(conn, store.get_job(conn, job.id), output, reverted)
    store.log(conn, "reverted", job_id=job.id, restored=reverted.restored, edited=reverted.edited)
    return reverted


class Reverter:
    """Restores the cells of one job's table."""

    def __init__(
        self, conn: sqlite3.Connection, job: store.Job, output: Output, reverted: Reverted
    ):
        there = table_columns(conn, reverted.table)
        present = [n for n, name in enumerate(output.names) if fold(name) in there]
        keys = job.keys if output.table is None else output_keys(job.keys)
        self.conn = conn
        self.job = job
        self.reverted = reverted
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.present = present
        self.judged = len(output.columns) - len(output.answers)
        self.names = [there[fold(output.names[n])].name for n in present]
        self.rows: Source = open_source(conn, reverted.table, pk=keys)
        # A row number may name another row since: only a row that is the same is restored.
        by_number = output.table is None and self.rows.uses_rowid
        self.check = read_columns(job, self.rows, output) if by_number else []
        mine = {fold(name) for name in (*keys, *output.names)}
        self.others = [one.name for folded, one in there.items() if folded not in mine]
        self.keys = keys
        where = " AND ".join(f"{quote(key)} = ?" for key in keys)
        self.delete = f"DELETE FROM {quote(reverted.table)} WHERE {where}"

    def close(self) -> None:
        """Close the table's source."""
        self.rows.close()

    def revert_part(self, part: store.Part) -> None:
        """Restore what the answers of one part replaced."""
        if not self.names:
            return
        after = 0
        with Commits(self.conn) as commits:
            while page := outcomes.written_page(self.conn, part.id, after, PAGE):
                after = page[-1][0]
                commits.begin()
                self.revert_page(page)
                if not renew_job(self.conn, self.job.id):
                    raise busy(self.job)
                commits.wrote(len(page))

    def revert_page(self, page: Sequence[tuple[int, Any, bytes, Any, str | None]]) -> None:
        """Restore some rows in the transaction that the caller holds."""
        check = self.check or []
        columns = [*check, *self.names, *self.others]
        found = self.rows.fetch(columns, [row_key for _, row_key, _, _, _ in page])
        updates: dict[str, Rows] = {}
        deletes = Rows(self.delete)
        undone: list[tuple[None, None, int]] = []
        for n, (request_id, row_key, digest, answer, previous) in enumerate(page):
            row = found.get(row_key)
            if row is None:
                self.reverted.gone += 1
                undone.append((None, None, request_id))
                continue
            asked, now = row[: len(check)], row[len(check) : len(check) + len(self.names)]
            memory = recall(previous or "{}")
            ours = self.ours(memory, answer, now)
            if self.check is None or (check and source_hash(asked) != digest):
                ours = [False] * len(now)
            if not all(ours):
                self.reverted.edited += 1
            else:
                undone.append((None, None, request_id))
            if not any(ours):
                continue
            key = decode_key(row_key, len(self.keys))
            rest = row[len(check) + len(self.names) :]
            if memory.new and all(ours) and rest.count(None) == len(rest):
                deletes.add(n, key)
            else:
                was = self.before(memory, ours)
                sql = self.update(was)
                updates.setdefault(sql, Rows(sql)).add(n, (*was.values(), *key))
        self.put_back([*updates.values(), deletes], undone, page)

    def ours(self, memory: Memory, answer: Any, now: Values) -> list[bool]:
        """Which cells still hold what was written."""
        if source_hash(now).hex() == memory.wrote:
            return [True] * len(now)
        values: Values | None = (answer,)
        if self.schema is not None:
            values = self.schema.check(answer).values if isinstance(answer, str) else None
        if values is None:
            return [False] * len(now)
        # What people said when it was written is in the memory itself.
        values = (*values, *([None] * self.judged))
        return still_written(memory, self.names, [values[n] for n in self.present], now)

    def before(self, memory: Memory, ours: Sequence[bool]) -> dict[str, SQLiteValue]:
        """What stood in the cells that are ours, by column; others are left as they are."""
        return {
            name: memory.was.get(name) for name, mine in zip(self.names, ours, strict=True) if mine
        }

    def update(self, was: Mapping[str, SQLiteValue]) -> str:
        """The statement that puts values back, then takes the key."""
        texts = [name for name, value in was.items() if isinstance(value, Stored)]
        return update_sql(self.reverted.table, list(was), self.keys, texts)

    def put_back(
        self,
        groups: Sequence[Rows],
        undone: list[tuple[None, None, int]],
        page: Sequence[tuple[Any, ...]],
    ) -> None:
        """Write the rows; what the table refuses stays marked as written."""
        refused: dict[int, str] = {}
        with Moves(self.conn, self.reverted.table, self.keys) as moves:
            for group in groups:
                refused |= group.write(self.conn)
            ids = {row_key: request_id for request_id, row_key, *_ in page}
            outcomes.set_keys(self.conn, [(new, ids[old]) for old, new in moves.of(ids)])
        stays = {page[n][0] for n in refused}
        self.reverted.refused.update(refused.values())
        self.reverted.restored += sum(len(group.rows) for group in groups) - len(refused)
        outcomes.set_written(self.conn, [one for one in undone if one[2] not in stays])


def drop_made(conn: sqlite3.Connection, job: store.Job, output: Output, reverted: Reverted) -> None:
    """Drop the columns, or the table, that the job made and that hold nothing now."""
    left = created(job)
    if made_table(job, output) and drop_table(conn, job, output, reverted):
        left = []
    there = table_columns(conn, reverted.table)
    for name in [name for name in left if name in output.names]:
        if fold(name) not in there or drop_column(conn, reverted, there[fold(name)].name):
            left.remove(name)
    store.update_job(conn, job.id, created_columns=json.dumps(left, ensure_ascii=False))


def drop_table(
    conn: sqlite3.Connection, job: store.Job, output: Output, reverted: Reverted
) -> bool:
    """Drop an output table that the job made, if it is empty and nobody added a column."""
    table = reverted.table
    there = table_columns(conn, table)
    ours = {fold(name) for name in (*output_keys(job.keys), *output.names)}
    with transaction(conn):
        used = conn.execute(f"SELECT 1 FROM {quote(table)} LIMIT 1").fetchone()
        if used is not None or set(there) - ours:
            return False
        conn.execute(f"DROP TABLE {quote(table)}")
    reverted.table_dropped = True
    return True


def drop_column(conn: sqlite3.Connection, reverted: Reverted, name: str) -> bool:
    """Drop a column that is empty; False, with the reason kept, where that can't be done."""
    table = reverted.table
    if fold(name) in map(fold, key_of(table_columns(conn, table))):
        return False
    try:
        with transaction(conn):
            filled = conn.execute(
                f"SELECT 1 FROM {quote(table)} WHERE {quote(name)} IS NOT NULL LIMIT 1"
            ).fetchone()
            if filled is not None:
                reverted.kept[name] = "it holds values that the job didn't write"
                return False
            conn.execute(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(name)}")
    except sqlite3.OperationalError as error:
        if explain(error, "") is not None:
            raise
        # An index, view or trigger names it, or an unrelated view is broken: it is empty at least.
        reverted.kept[name] = str(error)
        return False
    reverted.dropped.append(name)
    return True


def reverted_lines(reverted: Reverted) -> list[str]:
    """What `revert` says."""
    table = reverted.table
    if not (reverted.restored or reverted.edited or reverted.gone or reverted.refused):
        lines = [f"Nothing of this job was written in {table}."]
    else:
        lines = [f"Took the answers out of {counted(reverted.restored, 'row')} of {table}."]
    if reverted.edited:
        keep = "keeps" if reverted.edited == 1 else "keep"
        lines.append(f"{counted(reverted.edited, 'row')} edited since {keep} what was edited.")
    for words, rows in reverted.refused.items():
        keep = "keeps" if rows == 1 else "keep"
        lines.append(f"{counted(rows, 'row')} {keep} the answer: {table} refuses ({words}).")
    if reverted.gone:
        lines.append(
            f"{counted(reverted.gone, 'row')} {'is' if reverted.gone == 1 else 'are'} gone."
        )
    if reverted.table_dropped:
        lines.append(f"Dropped the table {table}.")
    if reverted.dropped:
        lines.append(f"Dropped {', '.join(f'{table}.{name}' for name in reverted.dropped)}.")
    lines += [f"{table}.{name} stays: {why}." for name, why in reverted.kept.items()]
    return lines
