"""What may become of an answer, by what its row holds now."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import eq
from typing import Any

from .. import store
from ..store import earlier
from ..store.history import last_written
from .hashing import digests, packed_rows, source_hash
from .source import Source, fetch_in_turn
from .sql import (
    CHUNK,
    SQLiteValue,
    are_blank,
    are_near,
    decode_key,
    exactly,
    lookup,
    quote,
    select,
    sentences,
)
from .target import Target

# Rows that are as they were asked about and have no answer yet: nearly all, told at a glance.
#
# Their text is never made a Python string. A row that isn't told here isn't necessarily another:
# whoever asks looks at it once more.

# Rows that are hashed together, at most, and about how many bytes of them: what is read is
# hashed while it is in the processor's cache.
GROUP_ROWS = 32
GROUP_BYTES = 64_000


@dataclass(frozen=True)
class Glance:
    """Where rows are looked at: a table that SQLite looks up by these keys.

    `table` is SQL, the rest are names. The hash of a row is over `columns`; in `empty` it has to
    be NULL.
    """

    conn: sqlite3.Connection
    table: str
    key_columns: tuple[str, ...]
    columns: tuple[str, ...]
    empty: tuple[str, ...]

    def unchanged(self, asked: Mapping[SQLiteValue, bytes]) -> set[SQLiteValue]:
        """Return those row keys whose rows have the hash that was asked about, and no answer.

        Rows with a BLOB are left out. Only a few rows are held at a time.
        """
        keys = list(asked)
        with sentences(self.table):
            if len(self.key_columns) == 1 and are_near(keys):
                return self._near(keys, asked)
            return set().union(
                *(
                    self._each(keys[start : start + CHUNK], asked)
                    for start in range(0, len(keys), CHUNK)
                )
            )

    def _near(
        self, keys: Sequence[SQLiteValue], asked: Mapping[SQLiteValue, bytes]
    ) -> set[SQLiteValue]:
        """Look at keys that are whole numbers close together, in one walk."""
        key = f"t.{quote(self.key_columns[0])}"
        chosen = ", ".join([key, *self._chosen])
        sql = (
            f"SELECT {chosen} FROM {self.table} AS t WHERE {key} BETWEEN ? AND ? AND {self._usual}"
        )
        bounds = [min(keys), max(keys)]  # type: ignore[type-var]
        with select(self.conn, sql, bounds, text=bytes) as cursor:
            same = set[SQLiteValue]()
            for found, now in hashes(cursor):
                same.update(compress(found, map(eq, map(asked.get, found), now)))
            return same

    def _each(
        self, keys: Sequence[SQLiteValue], asked: Mapping[SQLiteValue, bytes]
    ) -> set[SQLiteValue]:
        """Look up keys one by one."""
        on = tuple(map(quote, self.key_columns))
        chosen = tuple(map(quote, self.columns))
        sql = f"{lookup(self.table, on, chosen, len(keys))} WHERE {self._usual}"
        params = [value for key in keys for value in decode_key(key, len(on))]
        with select(self.conn, sql, params, text=bytes) as cursor:
            # A row comes with the place of its key.
            return {
                keys[place]
                for places, found in hashes(cursor)
                for place, digest in zip(places, found, strict=True)
                if asked[keys[place]] == digest
            }

    @property
    def _chosen(self) -> list[str]:
        return [f"t.{quote(name)}" for name in self.columns]

    @property
    def _usual(self) -> str:
        """What SQLite itself can say of a usual row."""
        nothing = [f"t.{quote(name)} IS NULL" for name in self.empty]
        # SQLite sorts BLOBs behind all other values: a comparison is faster than typeof().
        no_blobs = [f"({name} >= x'') IS NOT 1" for name in self._chosen]
        return " AND ".join([*nothing, *no_blobs]) or "1"


def hashes(cursor: sqlite3.Cursor) -> Iterator[tuple[Sequence[Any], list[bytes]]]:
    """Yield the first value of many rows, and the hashes of their others. TEXT comes as bytes."""
    step = 1
    while rows := cursor.fetchmany(step):
        firsts, *columns = zip(*rows, strict=True)
        packed = list(packed_rows(columns, len(rows)))
        yield firsts, digests(packed)
        size = max(1, sum(map(len, packed)))
        step = max(1, min(GROUP_ROWS, 2 * step, GROUP_BYTES * step // size))


Values = tuple[SQLiteValue, ...]
# An answer to be written: its row key, the hash of what was asked about, its cells.
Answer = tuple[SQLiteValue, bytes, Values]
# What may become of an answer, and what its cells hold; None where there is no row yet.
Judged = tuple[str, "Values | None"]


class Judge:
    """Judges the answers of one job.

    `rows` are those of an output table beside the source. `read` names the columns that a row's
    hash covers; None where one of them is gone: then all rows are stale.
    """

    def __init__(
        self,
        target: Target,
        source: Source,
        rows: Source | None,
        read: Sequence[str] | None,
        *,
        earlier: Earlier,
        replace: bool,
        accept_stale: bool,
    ) -> None:
        self.target = target
        self.source = source
        self.rows = rows
        self.read = read
        self.earlier = earlier
        self.replace = replace
        self.accept_stale = accept_stale
        # What is said of nearly all: the row is as it was, and its cells are empty.
        self.usual: Judged = ("written", (None,) * len(target.names))
        self.glance: Glance | None = None
        table = source.looked_up
        if table is not None and rows is None and read is not None:
            names = (tuple(read), tuple(target.names))
            self.glance = Glance(source.conn, table, source.key_columns, *names)

    def judge(self, answers: Sequence[Answer]) -> list[Judged]:
        """Say what may become of each answer: a `write_status`, and what its cells hold."""
        usual: set[SQLiteValue] = set()
        if self.glance is not None:
            usual = self.glance.unchanged({row_key: digest for row_key, digest, _ in answers})
        if len(usual) == len(answers):
            return [self.usual] * len(answers)
        rest = self.look([answer for answer in answers if answer[0] not in usual])
        return [self.usual if answer[0] in usual else next(rest) for answer in answers]

    def look(self, answers: Sequence[Answer]) -> Iterator[Judged]:
        """Judge answers by their whole rows."""
        keys = [answer[0] for answer in answers]
        read = self.read or []
        width, names = len(read), self.target.names
        # One look at the row where it holds its answers itself.
        beside = None if self.rows is None else self.rows.fetch(names, keys)
        found = fetch_in_turn(self.source, read if self.rows else [*read, *names], keys)
        for (row_key, digest, _), row in zip(answers, found, strict=True):
            if row is None:
                yield "row_gone", None
                continue
            old = row[width:] if beside is None else beside.get(row_key)
            same = self.read is not None and source_hash(row[:width]) == digest
            if not same and not self.accept_stale:
                yield "stale", old
            elif old is None or self.may_overwrite(row_key, old):
                yield "written", self.kept_bytes(row_key, old)
            else:
                yield "kept_existing", old

    def may_overwrite(self, row_key: SQLiteValue, old: Values) -> bool:
        """Whether an answer may take the place of what cells hold."""
        return are_blank(old) or self.replace or self.earlier.wrote(row_key, old)

    def kept_bytes(self, row_key: SQLiteValue, old: Values | None) -> Values | None:
        """What cells hold, with the bytes of text that isn't valid UTF-8: a revert needs them."""
        if old is None or not any(isinstance(cell, str) and "\ufffd" in cell for cell in old):
            return old
        target = self.target
        on, names = ([quote(name) for name in some] for some in (target.keys, target.names))
        key = decode_key(row_key, len(on))
        return exactly(self.source.conn, f"main.{quote(target.table)}", on, names, key) or old


class Earlier:
    """What the earlier jobs of a name wrote: a job with --changed may overwrite that."""

    def __init__(self, conn: sqlite3.Connection, job: store.Job) -> None:
        self.conn = conn
        self.jobs: list[int] = []
        if job.settings.get("changed"):
            self.jobs = [
                one.id
                for one in store.list_jobs(conn)
                if one.id < job.id and one.name == job.name and one.source == job.source
            ]

        self.job = job.id
        self.again = earlier.has_any(conn, job.id, standing=True)
        """Whether rows of this very job wait for a better answer than the one in their cells."""

    def wrote(self, row_key: SQLiteValue, cells: Sequence[SQLiteValue]) -> bool:
        """Whether the cells of a row still hold exactly what such a job left there."""
        if self.own(row_key, cells) is not None:
            return True
        if not self.jobs:
            return False
        found = last_written(self.conn, self.jobs, [row_key]).get(row_key)
        return found is not None and json.loads(found)["wrote"] == source_hash(cells).hex()

    def own(self, row_key: SQLiteValue, cells: Sequence[SQLiteValue]) -> str | None:
        """The memory of what this job wrote to a row before, where the cells still hold it."""
        if not self.again:
            return None
        found = earlier.written(self.conn, self.job, [row_key]).get(row_key)
        same = found is not None and json.loads(found)["wrote"] == source_hash(cells).hex()
        return found if same else None
