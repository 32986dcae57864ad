"""Rows and their keys: a table, a view or an SQL query, read in pages.

No cursor and no transaction stays open on the person's file while a page is with the caller:
in SQLite's default journal mode an open reader would block every writer.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SourceError, UsageError
from .keys import SQLiteValue, decode_key, encode_key, quote
from .nearest import listed, nearest_first
from .reading import Row, decoded, is_undecodable, one_value, select, sentences, take
from .snapshot import Snapshot, find

__all__ = [
    "SQLiteValue",
    "Source",
    "decode_key",
    "encode_key",
    "open_source",
    "quote",
    "reopen",
]

Page = list[tuple[SQLiteValue, Row]]

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True)
class _Relation:
    """What SQLite knows of the table, view or query that is asked about."""

    kind: str
    name: str | None
    sql: str | None
    origin: str
    """What stands after FROM."""
    columns: tuple[str, ...]
    own_key: tuple[str, ...] = ()
    rowid: str | None = None
    """The name by which its rowid can be reached; None where there is none."""
    nullable_key: bool = True
    virtual: bool = False

    @property
    def title(self) -> str:
        return self.name if self.name is not None else "the query"


class Source:
    """The rows that a job asks about. Build it by `open_source` or `reopen`, then close it.

    The connection stays the caller's; it is in autocommit (``isolation_level=None``).
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        relation: _Relation,
        key_columns: tuple[str, ...],
        *,
        params: Mapping[str, str],
        where: str | None,
        order: str | None,
        limit: int | None,
    ) -> None:
        self.conn = conn
        self.kind = relation.kind
        self.name = relation.name
        self.sql = relation.sql
        self.params = dict(params)
        self.columns = relation.columns
        self.key_columns = key_columns
        self.uses_rowid = key_columns == (relation.rowid,)
        self._relation = relation
        self._where = where
        self._order = order
        self._limit = limit
        self._by_own_key = self.uses_rowid or key_columns == relation.own_key
        self._direct = self._by_own_key and not relation.virtual
        self._copy: Snapshot | None = None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the person should know before asking, one sentence or two each."""
        if not self.uses_rowid or self._relation.virtual or self._relation.own_key:
            return ()
        table = shlex.quote(str(self.name))
        return (
            f"{self.name} has no primary key; VACUUM could renumber its rows. "
            f"sqlite-utils transform {_file_name(self.conn)} {table} --pk id",
        )

    def describe(self) -> dict[str, Any]:
        """Return what a job stores to `reopen` this source: names, SQL, parameters, key."""
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
        with sentences(self._title):
            return one_value(self.conn, f"SELECT count(*) FROM ({self._chosen('1')})", self.params)

    def total(self) -> int:
        """Return the number of rows in the source, nothing applied."""
        if not self._direct and self._where is None and self._limit is None:
            return self._snapshot().count()
        with sentences(self._title):
            return one_value(
                self.conn, f"SELECT count(*) FROM {self._relation.origin}", self.params
            )

    def filled(self, column: str) -> int:
        """Return how many of the chosen rows hold a value in `column`, any column of the table."""
        chosen = self._chosen(f"{quote(column)} AS filled")
        with sentences(self._title):
            return one_value(self.conn, f"SELECT count(filled) FROM ({chosen})", self.params)

    def check_keys(self) -> None:
        """Raise SourceError naming the column and the value for a NULL or duplicate key."""
        if self._direct and not self._relation.nullable_key:
            return
        names = [f"c{n}" for n in range(len(self.key_columns))]
        if self._direct:
            inner, conn, params = self._chosen(self._key_sql(names)), self.conn, self.params
        else:
            inner, conn, params = (
                f"SELECT {', '.join(names)} FROM rows",
                self._snapshot().conn,
                {},
            )
        with sentences(self._title):
            self._check_nulls(conn, inner, names, params)
            if not self._direct:
                self._check_duplicates(conn, inner, names)

    def pages(
        self, columns: Sequence[str], *, page_bytes: int = 8_000_000
    ) -> Iterator[list[tuple[SQLiteValue, Row]]]:
        """Yield pages of (row key, values of `columns`) in the order of the source.

        That is --order, else key order; a view or query has its own order. A page holds about
        `page_bytes` bytes. Raises SourceError for a column that isn't there, or a NULL key.
        """
        self._check_columns(columns)
        width = len(self.key_columns)
        for rows in self._raw_pages(columns, page_bytes):
            if width == 1:
                page: Page = [(row[0], row[1:]) for row in rows]
                missing = page[0][0] is None
            else:
                page = [(encode_key(row[:width]), row[width:]) for row in rows]
                missing = any(None in row[:width] for row in rows)
            if missing:
                raise SourceError(f"A row of {self._title} has a NULL key, so it can't be named.")
            yield page

    def fetch(
        self, columns: Sequence[str], row_keys: Sequence[SQLiteValue]
    ) -> dict[SQLiteValue, Row]:
        """Return the rows with these keys as they are now, by the keys that were asked.

        Absent keys are absent. Rows of a view or query are those of the moment when this source
        was first read. Raises SourceError for a column that isn't there.
        """
        self._check_columns(columns)
        keys = [decode_key(row_key, len(self.key_columns)) for row_key in row_keys]
        with sentences(self._title):
            if not self._direct:
                found = self._snapshot().fetch(self._positions(columns), keys)
                return {row_keys[n]: row for n, row in found}
            try:
                return {row_keys[n]: row for n, row in self._find(columns, keys)}
            except sqlite3.OperationalError as error:
                if not is_undecodable(error):
                    raise
                return {row_keys[n]: row for n, row in self._find(columns, keys, stored=True)}

    def close(self) -> None:
        """Delete the private temporary database, if there is one; the connection stays open."""
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    # how it is done

    @property
    def _title(self) -> str:
        return self._relation.title

    def _key_sql(self, names: Sequence[str] = ()) -> str:
        keys = [quote(key) for key in self.key_columns]
        return (
            ", ".join(f"{key} AS {name}" for key, name in zip(keys, names, strict=True))
            if names
            else ", ".join(keys)
        )

    def _chosen(self, select_list: str) -> str:
        """SQL of the chosen rows: --where, --order and --limit applied."""
        sql = f"SELECT {select_list} FROM {self._relation.origin}"
        if self._where is not None:
            sql += f" WHERE ({self._where}\n)"
        if self._order is not None:
            sql += f" ORDER BY {self._order}\n"
            if self.kind == "table":
                sql += f", {self._key_sql()}"
        elif self.kind == "table" and self._limit is not None:
            sql += f" ORDER BY {self._key_sql()}"
        if self._limit is not None:
            sql += f" LIMIT {self._limit}"
        return sql

    def _snapshot(self) -> Snapshot:
        """The copy of all columns of the chosen rows, the key columns first."""
        if self._copy is None:
            self._copy = self._copied(self.columns)
        return self._copy

    def _copied(self, columns: Sequence[str]) -> Snapshot:
        names = [*self.key_columns, *columns]
        sql = self._chosen(", ".join(map(quote, names)))
        if self._order is None and self.kind == "table" and self._limit is None:
            sql += f" ORDER BY {self._key_sql()}"
        with sentences(self._title):
            return Snapshot(
                self.conn, sql, self.params, width=len(names), keys=len(self.key_columns)
            )

    def _positions(self, columns: Sequence[str]) -> list[int]:
        names = [*self.key_columns, *self.columns]
        return [names.index(column) for column in columns]

    def _find(
        self, columns: Sequence[str], keys: Sequence[Row], *, stored: bool = False
    ) -> Iterator[tuple[int, Row]]:
        return find(
            self.conn,
            self._relation.origin,
            [quote(key) for key in self.key_columns],
            [quote(column) for column in columns],
            keys,
            stored=stored,
        )

    def _raw_pages(self, columns: Sequence[str], page_bytes: int) -> Iterator[list[Row]]:
        if not self._direct:
            yield from self._snapshot().pages(self._positions(columns), page_bytes)
        elif self._order is not None or self._needs_more_than_the_key():
            copy = self._copied(columns)
            try:
                first = len(self.key_columns)
                yield from copy.pages(range(first, first + len(columns)), page_bytes)
            finally:
                copy.close()
        else:
            yield from self._keyset_pages(columns, page_bytes)

    def _needs_more_than_the_key(self) -> bool:
        """Whether a page by key is more than one walk along the key: a sort, a join, a subquery.

        Each page would pay for it again, so such rows are copied once instead.
        """
        sql = "EXPLAIN QUERY PLAN " + self._keyset_sql((), after=True)
        keys = dict.fromkeys(self._key_params(), 0)
        with sentences(self._title), select(self.conn, sql, {**self.params, **keys}) as cursor:
            return len(cursor.fetchall()) > 1

    def _keyset_pages(self, columns: Sequence[str], page_bytes: int) -> Iterator[list[Row]]:
        left = self._limit
        params: dict[str, SQLiteValue] = dict(self.params)
        after = False
        while left is None or left > 0:
            sql = self._keyset_sql(columns, after=after)
            with sentences(self._title):
                rows = self._page(sql, params, page_bytes, left)
            if not rows:
                return
            yield rows
            after = True
            params |= zip(self._key_params(), rows[-1], strict=False)
            if left is not None:
                left -= len(rows)

    def _page(
        self, sql: str, params: dict[str, SQLiteValue], page_bytes: int, most: int | None
    ) -> list[Row]:
        try:
            with select(self.conn, sql, params) as cursor:
                return take(cursor, page_bytes, most)
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
        with select(self.conn, sql, params, stored=True) as cursor:
            rows = take(cursor, page_bytes, most)
        return [decoded(row, len(self.key_columns)) for row in rows]

    def _keyset_sql(self, columns: Sequence[str], *, after: bool) -> str:
        keys = self._key_sql()
        names = ", ".join(map(quote, (*self.key_columns, *columns)))
        conditions = []
        if after:
            marks = ", ".join(f":{name}" for name in self._key_params())
            conditions.append(f"({keys}) > ({marks})")
        if self._where is not None:
            conditions.append(f"({self._where}\n)")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {names} FROM {self._relation.origin}{where} ORDER BY {keys}"

    def _key_params(self) -> list[str]:
        return [f"openai_batch_key{n}" for n in range(len(self.key_columns))]

    def _check_columns(self, columns: Sequence[str]) -> None:
        for column in columns:
            if column not in self.columns and column not in self.key_columns:
                raise _no_column(column, self._title, self.columns)

    def _check_nulls(
        self, conn: sqlite3.Connection, inner: str, names: Sequence[str], params: Mapping[str, str]
    ) -> None:
        for name, column in zip(names, self.key_columns, strict=True):
            rows = one_value(conn, f"SELECT count(*) FROM ({inner}) WHERE {name} IS NULL", params)
            if rows:
                raise SourceError(
                    f"The key column {column} of {self._title} is NULL in {_rows(rows)}; "
                    "each row needs a key of its own."
                )

    def _check_duplicates(self, conn: sqlite3.Connection, inner: str, names: Sequence[str]) -> None:
        keys = ", ".join(names)
        sql = f"SELECT {keys}, count(*) FROM ({inner}) GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
        with select(conn, sql, ()) as cursor:
            row = cursor.fetchone()
        if row is not None:
            values = ", ".join(
                f"{column} = {value!r}"
                for column, value in zip(self.key_columns, row, strict=False)
            )
            raise SourceError(
                f"{values} stands in {_rows(row[-1])} of {self._title}; "
                "each row needs a key of its own. Name columns that are unique together by --pk."
            )


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
        raise UsageError("Name a table or view, or give --sql: one of them.")
    if limit is not None and limit < 0:
        raise UsageError(f"--limit must not be negative: {limit}.")
    given = dict(params or {})
    relation = _inspect(conn, table) if table is not None else _query(conn, str(sql), given)
    source = Source(
        conn,
        relation,
        _key(relation, tuple(pk)),
        params=given,
        where=where,
        order=order,
        limit=limit,
    )
    _check_sql(source, where, order)
    return source


def reopen(
    conn: sqlite3.Connection,
    *,
    name: str | None,
    sql: str | None,
    params: Mapping[str, str] | None,
    key_columns: Sequence[str],
) -> Source:
    """Open the source of a stored job (see `Source.describe`) to fetch rows by their keys."""
    table = None if sql is not None else name
    return open_source(conn, table, sql=sql, params=params, pk=key_columns)


def _check_sql(source: Source, where: str | None, order: str | None) -> None:
    """Compile --where and --order without reading a row."""
    for option, text in (("--where", where), ("--order", order)):
        if text is not None:
            part = f"WHERE ({text}\n)" if option == "--where" else f"ORDER BY {text}\n"
            explain = f"EXPLAIN SELECT 1 FROM {source._relation.origin} {part}"
            try:
                with sentences(option), select(source.conn, explain, source.params):
                    pass
            except SourceError as error:
                if "no such column" not in str(error):
                    raise
                raise SourceError(f"{error} Columns: {listed(source.columns)}.") from error


def _inspect(conn: sqlite3.Connection, table: str) -> _Relation:
    with select(
        conn,
        "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' "
        "AND name = ? COLLATE NOCASE",
        (table,),
    ) as cursor:
        found = cursor.fetchone()
    if found is None:
        raise _no_table(conn, table)
    name, kind, without_rowid = found
    origin = f"main.{quote(name)}"
    with (
        sentences(name),
        select(
            conn,
            'SELECT name, pk, "notnull", type FROM pragma_table_xinfo(?) WHERE hidden != 1',
            (name,),
        ) as cursor,
    ):
        info = cursor.fetchall()
    columns = tuple(str(row[0]) for row in info)
    if kind == "view":
        _readable(conn, name, origin)
        return _Relation("view", name, None, origin, columns)
    own = sorted((row for row in info if row[1]), key=lambda row: int(str(row[1])))
    alias = len(own) == 1 and str(own[0][3]).upper() == "INTEGER"
    lower = {column.lower() for column in columns}
    rowid = next((alias for alias in _ROWID_NAMES if alias not in lower), None)
    return _Relation(
        "table",
        name,
        None,
        origin,
        columns,
        own_key=tuple(str(row[0]) for row in own),
        rowid=None if without_rowid else rowid,
        nullable_key=not (alias or without_rowid or all(row[2] for row in own)),
        virtual=kind == "virtual",
    )


def _readable(conn: sqlite3.Connection, title: str, origin: str) -> None:
    with sentences(title), select(conn, f"SELECT * FROM {origin} LIMIT 0", ()):
        pass


def _query(conn: sqlite3.Connection, sql: str, params: Mapping[str, str]) -> _Relation:
    text = sql.strip().rstrip(";").rstrip()
    if not text:
        raise SourceError("The query is empty.")
    # inside FROM ( ) nothing but one SELECT, VALUES or WITH compiles
    origin = f"(\n{text}\n)"
    with sentences("The query"), select(conn, f"SELECT * FROM {origin} LIMIT 0", params) as cursor:
        columns = tuple(str(column[0]) for column in cursor.description)
    for column in columns:
        name, colon, number = column.rpartition(":")
        if colon and number.isdigit() and name in columns:
            raise SourceError(f"The query gives two columns {name}; tell them apart by AS.")
    return _Relation("sql", None, sql, origin, columns)


def _key(relation: _Relation, pk: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the key columns: those asked for, the table's own, or its rowid."""
    if not pk:
        if relation.own_key:
            return relation.own_key
        if relation.rowid is not None and relation.kind == "table":
            return (relation.rowid,)
        what = {"view": f"The view {relation.name}", "sql": "The query"}.get(
            relation.kind, str(relation.name)
        )
        raise SourceError(
            f"{what} has no primary key: name its key by --pk. Columns: {listed(relation.columns)}."
        )
    if pk == (relation.rowid,):
        return pk
    known = {column.lower(): column for column in relation.columns}
    for column in pk:
        if column.lower() not in known:
            raise _no_column(column, relation.title, relation.columns)
    key = tuple(known[column.lower()] for column in pk)
    if len(set(key)) != len(key):
        raise UsageError("--pk names a column twice.")
    return key


def _no_table(conn: sqlite3.Connection, table: str) -> SourceError:
    with select(
        conn,
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type != 'shadow' "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND name NOT LIKE 'openai\\_batch\\_%' ESCAPE '\\' "
        "AND name NOT LIKE '\\_sqlite\\_%' ESCAPE '\\' ORDER BY name",
        (),
    ) as cursor:
        names = [str(row[0]) for row in cursor.fetchall()]
    if not names:
        return SourceError(f"No such table: {table!r}. The database holds no tables.")
    return SourceError(f"No such table: {table!r}. Tables: {listed(nearest_first(table, names))}.")


def _no_column(column: str, title: str, columns: Sequence[str]) -> SourceError:
    return SourceError(
        f"No such column: {column!r} in {title}. Columns: {listed(nearest_first(column, columns))}."
    )


def _file_name(conn: sqlite3.Connection) -> str:
    with select(conn, "SELECT file FROM pragma_database_list WHERE name = 'main'", ()) as cursor:
        (file,) = cursor.fetchone()
    return shlex.quote(Path(str(file)).name) if file else "DB"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
