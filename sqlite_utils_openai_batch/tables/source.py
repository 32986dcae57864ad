"""Rows and their keys: a table, a view or an SQL query, opened to be read in pages.

No cursor and no transaction stays open on the person's file while a page is with the caller:
in SQLite's default journal mode an open reader would block every writer.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import SourceError, UsageError
from ..store.connection import path_of
from .pages import Keyset, Snapshot
from .relation import (
    Choice,
    check_clauses,
    check_duplicates,
    check_nulls,
    check_others,
    check_own_nulls,
    choose_key,
    inspect_query,
    inspect_table,
    names,
    no_column,
    tables_there,
)
from .sql import (
    Row,
    SQLiteValue,
    are_near,
    columns_weight,
    decode_key,
    encode_key,
    filled_sql,
    find,
    find_near,
    one_value,
    quote,
    sentences,
)

if TYPE_CHECKING:
    from ..store import Job

# The rows that a job asks about: counted, checked, read in pages, fetched by their keys.

#: Bytes of a page. By bytes, not by rows: a page of long texts must not fill the memory.
PAGE_BYTES = 8_000_000
#: Keys that lie no further apart than this bound the number of rows well enough.
DENSE = 1_000_000_000


class Source:
    """The rows that a job asks about. Build it by `open_source` or `source_of_job`, then
    close it.

    The connection stays the caller's; it is in autocommit (``isolation_level=None``).
    """

    kind: str
    """table, view or sql."""
    name: str | None
    """The table or view, as the database spells it; None for a query."""
    sql: str | None
    params: dict[str, str]
    columns: tuple[str, ...]
    key_columns: tuple[str, ...]
    """The columns of the row key; the name of the rowid where `uses_rowid`."""
    uses_rowid: bool

    def __init__(self, conn: sqlite3.Connection, choice: Choice, params: Mapping[str, str]) -> None:
        relation = choice.relation
        self.conn = conn
        self.kind = relation.kind
        self.name = relation.name
        self.sql = relation.sql
        self.params = dict(params)
        self.columns = relation.columns
        self.key_columns = choice.key_columns
        self.uses_rowid = choice.key_columns == (relation.rowid,)
        self._choice = choice
        self._title = relation.title
        self._subject = relation.name or "The query"
        # what SQLite can look up by the key is read where it is, the rest from a copy
        has_index = self.uses_rowid or choice.key_columns == relation.own_key
        self._keyset = Keyset(conn, choice, self.params, self._subject)
        self._direct = has_index and not relation.virtual and self._keyset.is_looked_up()
        self._copy: Snapshot | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the private temporary database, if there is one; the connection stays open."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person should know before asking, a sentence or two each."""
        relation = self._choice.relation
        if not self.uses_rowid or relation.virtual or relation.own_key:
            return ()
        table = shlex.quote(str(self.name))
        path = path_of(self.conn)
        file = shlex.quote(Path(path).name) if path else "DB"
        return (
            f"{self.name} has no primary key; VACUUM could renumber its rows. "
            f"sqlite-utils transform {file} {table} --pk id",
        )

    @property
    def looked_up(self) -> str | None:
        """The table, as SQL, whose rows SQLite looks up by their key; None for what is copied."""
        return self._choice.relation.origin if self._direct else None

    def describe(self) -> dict[str, Any]:
        """Return what a job stores to open this source again, and its kind."""
        return {
            "kind": self.kind,
            "name": self.name,
            "sql": self.sql,
            "params": self.params,
            "key_columns": list(self.key_columns),
        }

    def count(self) -> int:
        """Return the number of rows chosen (--where and --limit applied)."""
        if not self._direct:
            return self._snapshot().count()
        with sentences(self._subject):
            return one_value(self.conn, self._choice.count(), self.params)

    def at_most(self) -> int:
        """Return a bound of `count`, at once where the key is a dense rowid."""
        # Other keys that begin and end with whole numbers may have 1.5 between them.
        by_rowid = self.uses_rowid or self._choice.relation.rowid_key
        if self._direct and self._choice.everything and by_rowid:
            first, last = self._keyset.ends()
            if isinstance(first, int) and isinstance(last, int) and last - first < DENSE:
                return last - first + 1
        return self.count()

    def windows(self, count: int, width: int) -> list[tuple[int, int]]:
        """Return ranges of so many keys each (after, last), evenly spread over a whole table.

        Empty where keys don't say where rows stand, and where these would be many of the rows.
        """
        by_rowid = self.uses_rowid or self._choice.relation.rowid_key
        if not (by_rowid and self.has_ranges):
            return []
        first, last = self._keyset.ends()
        if not (isinstance(first, int) and isinstance(last, int)):
            return []
        keys = last - first + 1
        if keys < 4 * count * width:
            return []
        starts = (first - 1 + keys * n // count for n in range(count))
        return [(start, start + width) for start in starts]

    def total(self) -> int:
        """Return the number of rows in the source, nothing applied."""
        if not self._direct and self._choice.everything:
            return self._snapshot().count()
        with sentences(self._subject):
            return one_value(self.conn, self._choice.total(), self.params)

    def filled(self, column: str) -> int:
        """Return how many of the chosen rows hold a value in `column`, any column of the table."""
        chosen = self._choice.rows(f"{filled_sql(quote(column))} AS filled")
        with sentences(self._subject):
            return one_value(
                self.conn, f"SELECT coalesce(sum(filled), 0) FROM ({chosen})", self.params
            )

    def check_keys(self) -> None:
        """Raise SourceError naming the column and the value for a NULL or duplicate key."""
        aliases = [f"c{n}" for n in range(len(self.key_columns))]
        if not self._direct:
            conn, rows = self._snapshot().conn, "rows"
            check_nulls(conn, rows, aliases, self.key_columns, self._title)
            check_duplicates(conn, rows, aliases, self.key_columns, self._title)
            self._check_others()
        elif self._choice.relation.nullable_key:
            with sentences(self._subject):
                check_own_nulls(self.conn, self._choice, self._title, self.params)

    def _check_others(self) -> None:
        if self.uses_rowid or (self._choice.everything and self.kind != "table"):
            return
        with sentences(self._subject):
            check_others(self.conn, self._choice, self._title, self.params)

    def pages(
        self, columns: Sequence[str], *, page_bytes: int = PAGE_BYTES
    ) -> Iterator[list[tuple[SQLiteValue, Row]]]:
        """Yield pages of (row key, values of `columns`) in the order of the source.

        That is --order, else key order; a view or query has its own order. A page holds about
        `page_bytes` bytes. Raises SourceError for a column that isn't there, or a NULL key.
        """
        self._check_columns(columns)
        width = len(self.key_columns)
        nullable = not self._direct or self._choice.relation.nullable_key
        for rows in self._raw_pages(columns, page_bytes):
            if nullable and any(None in row[:width] for row in rows):
                raise SourceError(f"A row of {self._title} has a NULL key, so it can't be named.")
            if width == 1:
                yield [(row[0], row[1:]) for row in rows]
            else:
                yield [(encode_key(row[:width]), row[width:]) for row in rows]

    @property
    def has_ranges(self) -> bool:
        """Whether rows between two keys can be read: of a table, along a key of one column."""
        single = len(self.key_columns) == 1 and not self._choice.relation.nullable_key
        return single and self._walks_the_key()

    def stored_pages(
        self,
        columns: Sequence[str],
        *,
        page_bytes: int = PAGE_BYTES,
        stored: bool = True,
        after: SQLiteValue = None,
        last: SQLiteValue = None,
    ) -> Iterator[tuple[list[Row], bool]]:
        """Yield pages of (row key, *values of `columns`) in the order of `pages`.

        With each comes whether TEXT is bytes in the values, as it is stored; there may be one
        more value in each row then, which is to be left alone.

        Reading bytes takes half the time. It is so with `stored` where the rows are read along a
        key of one column and hold no BLOB in `columns`; the key itself is decoded always. Where
        it `has_ranges`, `after` and `last` are keys that the rows lie between.
        """
        self._check_columns(columns)
        if not self.has_ranges:
            for page in self.pages(columns, page_bytes=page_bytes):
                yield [(key, *values) for key, values in page], False
            return
        yield from self._keyset.pages(columns, page_bytes, stored=stored, after=after, last=last)

    def fetch(
        self, columns: Sequence[str], row_keys: Sequence[SQLiteValue]
    ) -> dict[SQLiteValue, Row]:
        """Return the rows with these keys as they are now, by the keys that were asked.

        Absent keys are absent. Rows of a view or query are those of the moment when this source
        was first read. Raises SourceError for a column that isn't there.
        """
        self._check_columns(columns)
        table = self._choice.relation.origin
        on, wanted = ([quote(name) for name in some] for some in (self.key_columns, columns))
        if self._direct and len(on) == 1 and are_near(row_keys):
            with sentences(self._subject):
                return find_near(self.conn, table, on[0], wanted, row_keys)
        keys = [decode_key(row_key, len(self.key_columns)) for row_key in row_keys]
        if not self._direct:
            found = self._snapshot().fetch(self._positions(columns), keys)
        else:
            with sentences(self._subject):
                found = find(self.conn, table, on, wanted, keys)
        return {row_keys[n]: row for n, row in found}

    def fetch_few(
        self, columns: Sequence[str], row_keys: Sequence[SQLiteValue]
    ) -> dict[SQLiteValue, Row]:
        """As `fetch`, for a few rows: a view is asked for them, and not copied as a whole."""
        if self._direct or self.kind != "view":
            return self.fetch(columns, row_keys)
        self._check_columns(columns)
        on, wanted = ([quote(name) for name in some] for some in (self.key_columns, columns))
        keys = [decode_key(row_key, len(self.key_columns)) for row_key in row_keys]
        with sentences(self._subject):
            found = find(self.conn, self._choice.relation.origin, on, wanted, keys)
        return {row_keys[n]: row for n, row in found}

    def fetch_stored(self, columns: Sequence[str], row_keys: Sequence[SQLiteValue]) -> Group | None:
        """Return the rows of keys as `fetch` finds them, TEXT as bytes as it is stored.

        None where that isn't the fastest way, and where there is a BLOB among the values.
        """
        if not self._direct or len(self.key_columns) > 1 or not are_near(row_keys):
            return None
        self._check_columns(columns)
        rows = self._keyset.between(columns, min(row_keys), max(row_keys))  # type: ignore[type-var]
        if rows is None:
            return None
        # the columns, the key before them and the note of BLOBs behind them
        keys, *by_column = zip(*rows, strict=True) if rows else ((),)
        if keys == tuple(row_keys):
            return Group(by_column[:-1], len(keys), [], True)
        found = {row[0]: row[1:-1] for row in rows}
        return grouped([found.get(key) for key in row_keys], True)

    def _raw_pages(self, columns: Sequence[str], page_bytes: int) -> Iterator[list[Row]]:
        if not self._direct:
            yield from self._snapshot().pages(self._positions(columns), page_bytes)
        elif self._walks_the_key():
            for rows, _ in self._keyset.pages(columns, page_bytes):
                yield rows
        else:
            copy = self._copied(columns)
            try:
                first = len(self.key_columns)
                yield from copy.pages(range(first, first + len(columns)), page_bytes)
            finally:
                copy.close()

    def _walks_the_key(self) -> bool:
        return self._direct and self._keyset.is_a_walk()

    # from a copy

    def _snapshot(self) -> Snapshot:
        """The copy of all columns of the chosen rows, the key columns first."""
        if self._copy is None:
            self._copy = self._copied(self.columns)
        return self._copy

    def _copied(self, columns: Sequence[str]) -> Snapshot:
        chosen = [*self.key_columns, *columns]
        sql = self._choice.rows(names(chosen))
        keys = len(self.key_columns)
        with sentences(self._subject):
            return Snapshot(self.conn, sql, self.params, width=len(chosen), keys=keys)

    def _positions(self, columns: Sequence[str]) -> list[int]:
        copied = [*self.key_columns, *self.columns]
        return [copied.index(column) for column in columns]

    def _check_columns(self, columns: Sequence[str]) -> None:
        for column in columns:
            if column not in self.columns and column not in self.key_columns:
                raise no_column(column, self._choice.relation)


__all__ = [
    "SQLiteValue",
    "Source",
    "decode_key",
    "encode_key",
    "open_source",
    "quote",
    "source_of_job",
]


def open_source(
    conn: sqlite3.Connection,
    table: str | None = None,
    *,
    sql: str | None = None,
    params: Mapping[str, str] | None = None,
    pk: Sequence[str] = (),
    where: str | None = None,
    order: str | None = None,
    limit: int | None = None,
) -> Source:
    """Open the rows of a table or view, or of an SQL query.

    `params` are named (``:name``) in `sql`, `where` and `order`. `pk` names the key columns: a
    view or query needs it, a table has its own key or its rowid. Raises SourceError for what
    isn't there or can't be read, UsageError for options that contradict each other.
    """
    if (table is None) == (sql is None):
        if table is not None:
            raise UsageError("Name a table or view, or give --sql: one of them.")
        raise UsageError(
            "Which rows? Name a table or view after the database, or give --sql. "
            f"{tables_there(conn)}"
        )
    if limit is not None and limit < 0:
        raise UsageError(f"--limit must not be negative: {limit}.")
    given = dict(params or {})
    relation = (
        inspect_table(conn, table) if table is not None else inspect_query(conn, sql or "", given)
    )
    choice = Choice(relation, choose_key(relation, pk), where, order, limit)
    check_clauses(conn, relation, given, where=where, order=order)
    return Source(conn, choice, given)


def source_of_job(conn: sqlite3.Connection, job: Job) -> Source:
    """Open the source of a stored job (see `Source.describe`), to fetch rows by their keys."""
    table = None if job.source_sql is not None else job.source
    return open_source(conn, table, sql=job.source_sql, params=job.params, pk=job.keys)


# Rows by their keys, in bounded memory: beside each other, images soon fill it.

#: Keys that are fetched together at first, and at most.
FEW, MANY = 16, 500


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that were fetched by their keys, column by column."""

    columns: Sequence[Sequence[SQLiteValue]]
    """Of the rows that are there, in the order of their keys."""
    keys: int
    """How many keys were asked for."""
    gone: Sequence[int]
    """Which of the keys have no row, from 0."""
    stored: bool
    """Whether TEXT is bytes, as it is stored."""

    def rows(self) -> Iterator[Row | None]:
        """The row of each key, None for one that is gone."""
        there = self.keys - len(self.gone)
        rows = zip(*self.columns, strict=True) if self.columns else repeat((), there)
        gone = frozenset(self.gone)
        return (None if index in gone else next(rows) for index in range(self.keys))


def grouped(rows: Sequence[Row | None], stored: bool) -> Group:
    """Put rows together, None for one that is gone."""
    there = [row for row in rows if row is not None]
    gone = [index for index, row in enumerate(rows) if row is None]
    return Group(list(zip(*there, strict=True)), len(rows), gone, stored)


def fetch_in_turn(
    source: Source,
    columns: Sequence[str],
    row_keys: Sequence[SQLiteValue],
    *,
    page_bytes: int = PAGE_BYTES,
) -> Iterator[Row | None]:
    """Yield the row of each key as it is now, None for one that is gone, in the order of the keys.

    Not many more than `page_bytes` bytes of rows are held at a time, unless a few rows are that
    large.
    """
    for group in fetch_groups(source, columns, row_keys, page_bytes=page_bytes):
        yield from group.rows()


def fetch_groups(
    source: Source,
    columns: Sequence[str],
    row_keys: Sequence[SQLiteValue],
    *,
    stored: bool = False,
    page_bytes: int = PAGE_BYTES,
    most: int = MANY,
) -> Iterator[Group]:
    """Yield the rows of `fetch_in_turn`, up to `most` at a time.

    With `stored` TEXT mostly is bytes, and there are no BLOBs among the values then.
    """
    start, step = 0, FEW
    while start < len(row_keys):
        keys = row_keys[start : start + step]
        group = source.fetch_stored(columns, keys) if stored else None
        if group is None:
            by_key = source.fetch(columns, keys)
            group = grouped([by_key.get(key) for key in keys], False)
        size = columns_weight(group.columns, group.keys - len(group.gone))
        yield group
        start += step
        step = max(1, min(most, 2 * step, page_bytes * step // max(size, 1)))
