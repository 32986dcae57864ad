"""Outcomes → columns of the source table, or a table of their own.

Only output columns are touched. A row that isn't what was asked about any more is left alone
(`stale`), a cell that somebody filled in the meantime too (`kept_existing`).
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import clock, store
from .database import transaction
from .output import Output, output_keys, table_columns
from .plan import hashed_columns
from .schema import AnswerSchema
from .source import Source, decode_key, quote, reopen
from .template import Template, source_hash

PAGE = 2_000


@dataclass
class Written:
    """What one call wrote; `note` is said to the user."""

    written: int = 0
    kept_existing: int = 0
    stale: int = 0
    row_gone: int = 0


class Writer:
    """Writes the answers of one job. Made once per pass, closed at its end."""

    def __init__(self, conn: sqlite3.Connection, job: store.Job):
        self.conn = conn
        self.job = job
        self.output = Output.from_json(job.output)
        self.schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.source: Source | None = None
        self.names = self.output.names
        self.written = Written()

    def close(self) -> None:
        """Drop what was read from a view or query."""
        if self.source is not None:
            self.source.close()

    def open(self) -> Source:
        """The source, and the columns that are written: made where they aren't there."""
        if self.source is None:
            job = self.job
            self.target = self.output.table or str(job.source)
            self.keys = job.keys if self.output.table is None else output_keys(job.keys)
            self.make_columns()
            self.source = reopen(
                self.conn,
                name=job.source,
                sql=job.source_sql,
                params=job.params,
                key_columns=job.keys,
            )
            renderer = Template.from_json(job.template, job.endpoint).bind(self.source.columns)
            # Answers overwrite nothing, so what a row holds now is read with what was asked.
            self.read = [renderer.columns[index] for index in hashed_columns(renderer, self.output)]
        return self.source

    def make_columns(self) -> None:
        """Add the output columns, or the output table, that aren't there yet."""
        made: list[str] = json.loads(self.job.created_columns or "[]")
        with transaction(self.conn):
            there = table_columns(self.conn, self.target)
            if not there:
                self.conn.execute(self.create_table())
                there = table_columns(self.conn, self.target)
                made += list(self.output.names)
            for column in self.output.columns:
                if column.name.lower() not in there:
                    self.conn.execute(
                        f"ALTER TABLE {quote(self.target)} "
                        f"ADD COLUMN {quote(column.name)} {column.type}"
                    )
                    made.append(column.name)
            store.update_job(
                self.conn, self.job.id, created_columns=json.dumps(made, ensure_ascii=False)
            )
            there = table_columns(self.conn, self.target)
        # As the table spells them: SQLite takes Answer for answer, a dictionary doesn't.
        self.names = tuple(there[name.lower()][0] for name in self.output.names)

    def create_table(self) -> str:
        """The statement that makes the output table: the source's key, then the answers."""
        source_columns: dict[str, tuple[str, str, int, int]] = {}
        if self.job.source and self.job.source_sql is None:
            source_columns = table_columns(self.conn, self.job.source)
        lines = []
        for name, key in zip(output_keys(self.job.keys), self.job.keys, strict=True):
            declared = source_columns.get(key.lower(), ("", "", 0, 0))[1]
            kind = "INTEGER" if key != name else plain_type(declared)
            lines.append(f"{quote(name)} {kind}".rstrip())
        lines += [f"{quote(column.name)} {column.type}" for column in self.output.columns]
        keys = ", ".join(quote(name) for name in output_keys(self.job.keys))
        return (
            f"CREATE TABLE {quote(self.target)} (\n    "
            + ",\n    ".join(lines)
            + f",\n    PRIMARY KEY ({keys})\n)"
        )

    def write_part(self, part: store.Part) -> None:
        """Write every answer of a part that isn't written yet, then mark the part written."""
        if self.output.write and part.counts.get("ok"):
            # Reads a view or query now, before any lock is taken.
            self.open().fetch(self.read, [])
            while True:
                with transaction(self.conn):
                    page = self.conn.execute(
                        "SELECT id, row_key, source_hash, answer FROM openai_batch_requests "
                        "WHERE part_id = ? AND status = 'ok' AND write_status IS NULL "
                        "ORDER BY id LIMIT ?",
                        [part.id, PAGE],
                    ).fetchall()
                    if page:
                        self.write_page(page)
                if len(page) < PAGE:
                    break
        store.update_part(self.conn, part.id, written_at=clock.now())

    def write_page(self, page: Sequence[tuple[int, Any, bytes, Any]]) -> None:
        """Write some answers in the transaction that the caller holds."""
        source = self.open()
        keys = [row_key for _, row_key, _, _ in page]
        now = source.fetch(self.read, keys)
        before = self.existing(keys) if self.output.table else source.fetch(self.names, keys)
        empty = (None,) * len(self.names)
        updates: list[tuple[Any, ...]] = []
        settled: list[tuple[str, str | None, int]] = []
        for request_id, row_key, digest, answer in page:
            old = before.get(row_key, empty)
            status = self.judge(now.get(row_key), digest, old)
            previous = None
            if status == "written":
                values = self.values(answer)
                previous = remembered(self.names, old, values)
                updates.append((*values, *decode_key(row_key, len(self.keys))))
            settled.append((status, previous, request_id))
            setattr(self.written, status, getattr(self.written, status) + 1)
        self.conn.executemany(self.statement(), updates)
        self.conn.executemany(
            "UPDATE openai_batch_requests SET write_status = ?, previous = ? WHERE id = ?", settled
        )

    def existing(self, keys: Sequence[Any]) -> dict[Any, tuple[Any, ...]]:
        """What the output table holds for these rows now."""
        target = reopen(
            self.conn, name=self.target, sql=None, params={}, key_columns=tuple(self.keys)
        )
        try:
            return target.fetch(self.names, keys)
        finally:
            target.close()

    def judge(self, row: tuple[Any, ...] | None, digest: bytes, old: tuple[Any, ...]) -> str:
        """What becomes of one answer: a `write_status`."""
        if row is None:
            return "row_gone"
        if source_hash(row) != digest:
            return "stale"
        if not self.output.replace and any(value is not None for value in old):
            return "kept_existing"
        return "written"

    def values(self, answer: Any) -> tuple[Any, ...]:
        """The cells of one answer."""
        if self.schema is None:
            return (answer,)
        checked = self.schema.check(answer)
        # Checked when it was collected: only an `ok` request comes here.
        assert checked.values is not None
        return checked.values

    def statement(self) -> str:
        """The statement that writes one row."""
        names = [quote(name) for name in self.names]
        keys = [quote(name) for name in self.keys]
        if self.output.table is None:
            sets = ", ".join(f"{name} = ?" for name in names)
            where = " AND ".join(f"{key} = ?" for key in keys)
            return f"UPDATE {quote(self.target)} SET {sets} WHERE {where}"
        marks = ", ".join("?" for _ in [*names, *keys])
        sets = ", ".join(f"{name} = excluded.{name}" for name in names)
        return (
            f"INSERT INTO {quote(self.target)} ({', '.join([*names, *keys])}) VALUES ({marks}) "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets}"
        )


def plain_type(declared: str) -> str:
    """A declared type as one that a STRICT table would take too."""
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER"
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if any(word in kind for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return ""


def remembered(names: Sequence[str], old: Sequence[Any], new: Sequence[Any]) -> str:
    """What a write replaced and a hash of what it wrote: all that an undo needs."""
    memory: dict[str, Any] = {"wrote": source_hash(new).hex()}
    replaced = {
        name: {"$base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in zip(names, old, strict=True)
        if value is not None
    }
    if replaced:
        memory["was"] = replaced
    return json.dumps(memory, ensure_ascii=False)
