"""What SQLite knows of a table, view or query that is asked about: its columns and its key."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import store
from ..base.errors import SourceError, UsageError
from ..base.text import cut, listed, nearest_first
from .sql import Params, one_value, quote, select, sentences

_ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True)
class Relation:
    """A table, view or query."""

    kind: str
    """table, view or sql."""
    name: str | None
    sql: str | None
    origin: str
    """What stands after FROM."""
    columns: tuple[str, ...]
    own_key: tuple[str, ...] = ()
    """Its primary key; empty where it has none."""
    rowid: str | None = None
    """The name that reaches its rowid; None where there is none."""
    nullable_key: bool = True
    rowid_key: bool = False
    """Whether its primary key is its rowid: whole numbers, and nothing else."""
    virtual: bool = False

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return self.name if self.name is not None else "the query"


def inspect_table(conn: sqlite3.Connection, table: str) -> Relation:
    """Look up a table or view. Raises SourceError naming those that exist."""
    sql = (
        "SELECT name, type, wr FROM pragma_table_list "
        "WHERE schema = 'main' AND name = ? COLLATE NOCASE"
    )
    with select(conn, sql, (table,)) as cursor:
        found = cursor.fetchone()
    if found is None:
        raise _no_table(conn, table)
    name, kind, without_rowid = found
    if name.lower() in store.OWN or name.lower().startswith("sqlite_"):
        whose = "SQLite's" if name.lower().startswith("sqlite_") else "this program's"
        raise SourceError(
            f"{name} is {whose} own bookkeeping: it can't be asked about, since answers would be "
            f"written into it. To ask about what it holds, give --sql 'SELECT … FROM {name}' and "
            "--output-table."
        )
    origin = f"main.{quote(name)}"
    sql = 'SELECT name, pk, "notnull", type FROM pragma_table_xinfo(?) WHERE hidden != 1'
    # a view can be in the schema and be broken: this is where it shows
    with sentences(name), select(conn, f"SELECT * FROM {origin} LIMIT 0", ()):
        pass
    with select(conn, sql, (name,)) as cursor:
        info = cursor.fetchall()
    columns = tuple(row[0] for row in info)
    if kind == "view":
        return Relation("view", name, None, origin, columns)
    own = sorted((row for row in info if row[1]), key=lambda row: row[1])
    # A key that is the rowid has no index of its own. INTEGER PRIMARY KEY DESC has one.
    indexed = "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'"
    with select(conn, indexed, (name,)) as cursor:
        is_rowid = len(own) == 1 and own[0][3].upper() == "INTEGER" and not cursor.fetchall()
    return Relation(
        "table",
        name,
        None,
        origin,
        columns,
        own_key=tuple(row[0] for row in own),
        rowid=None if without_rowid else _rowid_name(columns),
        nullable_key=not (is_rowid or without_rowid or all(row[2] for row in own)),
        rowid_key=is_rowid,
        virtual=kind == "virtual",
    )


def _rowid_name(columns: Sequence[str]) -> str | None:
    """Return the name of the rowid that no column takes."""
    taken = {column.lower() for column in columns}
    return next((name for name in _ROWID_NAMES if name not in taken), None)


def inspect_query(conn: sqlite3.Connection, sql: str, params: Mapping[str, str]) -> Relation:
    """Look at a query without running it. Raises SourceError unless it is one SELECT."""
    text = sql.strip().rstrip(";").rstrip()
    if not text:
        raise SourceError("The query is empty.")
    # inside FROM ( ) nothing but one SELECT, VALUES or WITH compiles
    origin = f"(\n{text}\n)"
    described = f"SELECT * FROM {origin} LIMIT 0"
    with sentences("The query"), select(conn, described, params) as cursor:
        columns = tuple(column[0] for column in cursor.description)
    for column in columns:
        name, _, number = column.rpartition(":")
        if number.isdigit() and name in columns:  # SQLite's own way to tell them apart
            raise SourceError(f"The query gives two columns {name}; tell them apart by AS.")
    return Relation("sql", None, sql, origin, columns)


def choose_key(relation: Relation, pk: Sequence[str]) -> tuple[str, ...]:
    """Return the key columns: those asked for (--pk), else its primary key, else its rowid.

    Raises SourceError where there is none or a column isn't there, UsageError for one twice.
    """
    if not pk:
        if relation.own_key:
            return relation.own_key
        if relation.rowid is not None:
            return (relation.rowid,)
        what = {"view": f"The view {relation.name}", "sql": "The query"}.get(relation.kind)
        raise SourceError(
            f"{what or relation.name} has no primary key: name its key by --pk. "
            f"Columns: {listed(relation.columns)}."
        )
    if list(pk) == [relation.rowid]:
        return tuple(pk)
    known = {column.lower(): column for column in relation.columns}
    for column in pk:
        if column.lower() not in known:
            raise no_column(column, relation)
    key = tuple(known[column.lower()] for column in pk)
    if len(set(key)) != len(key):
        raise UsageError("--pk names a column twice.")
    return key


def check_clauses(
    conn: sqlite3.Connection,
    relation: Relation,
    params: Mapping[str, str],
    *,
    where: str | None,
    order: str | None,
) -> None:
    """Compile --where and --order without reading a row. Raises SourceError for bad SQL."""
    clauses = {
        "--where": None if where is None else f"WHERE ({where}\n)",
        "--order": None if order is None else f"ORDER BY {order}\n",
    }
    for option, clause in clauses.items():
        if clause is None:
            continue
        sql = f"EXPLAIN SELECT 1 FROM {relation.origin} {clause}"
        try:
            with sentences(option), select(conn, sql, params):
                pass
        except SourceError as error:
            if "no such column" not in str(error):
                raise
            raise SourceError(f"{error} Columns: {listed(relation.columns)}.") from error


def no_column(column: str, relation: Relation) -> SourceError:
    """Return the error of a column that isn't there, the nearest names first."""
    names = listed(nearest_first(column, relation.columns))
    return SourceError(f"No such column: {column!r} in {relation.title}. Columns: {names}.")


def _no_table(conn: sqlite3.Connection, table: str) -> SourceError:
    if "{{" in table:
        return SourceError(
            f"{cut(table, 60)!r} is a prompt where the table belongs: give it by --prompt. "
            f"{tables_there(conn)}"
        )
    return SourceError(f"No such table: {table!r}. {tables_there(conn, table)}")


def tables_there(conn: sqlite3.Connection, typed: str = "") -> str:
    """`Tables: notes, codes.`, those nearest to what was typed first."""
    sql = (
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type != 'shadow' "
        "AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'openai_batch_*' "
        "AND name NOT GLOB '_sqlite_*' ORDER BY name"
    )
    with select(conn, sql, ()) as cursor:
        names = [row[0] for row in cursor.fetchall()]
    if not names:
        return "The database holds no tables."
    return f"Tables: {listed(nearest_first(typed, names) if typed else names)}."


# The SQL of chosen rows: a source with --where, --order and --limit (pure).


@dataclass(frozen=True)
class Choice:
    """Which rows of a relation are asked about, in which order, by which key."""

    relation: Relation
    key_columns: tuple[str, ...]
    where: str | None = None
    order: str | None = None
    limit: int | None = None

    @property
    def keys(self) -> str:
        """The key columns as SQL."""
        return names(self.key_columns)

    @property
    def everything(self) -> bool:
        """Whether no row is left out."""
        return self.where is None and self.limit is None

    def rows(self, select_list: str) -> str:
        """Return the SELECT of all chosen rows, in order.

        The key settles the order of a table; a view or query has its own unless --order is
        given. Conditions end with a newline, so that a comment in them ends there too.
        """
        sql = f"SELECT {select_list} FROM {self.relation.origin}"
        if self.where is not None:
            sql += f" WHERE ({self.where}\n)"
        order = [f"{self.order}\n"] if self.order is not None else []
        if self.relation.kind == "table":
            order.append(self.keys)
        if order:
            sql += f" ORDER BY {', '.join(order)}"
        if self.limit is not None:
            sql += f" LIMIT {self.limit}"
        return sql

    def count(self) -> str:
        """Return the SELECT that counts the chosen rows."""
        if self.limit is None:
            where = "" if self.where is None else f" WHERE ({self.where}\n)"
            return f"SELECT count(*) FROM {self.relation.origin}{where}"
        return f"SELECT count(*) FROM ({self.rows('1')})"

    def ends(self) -> str:
        """Return the SELECT of the first and the last key, of one column."""
        first, last = (
            f"(SELECT {end}({self.keys}) FROM {self.relation.origin})" for end in ("min", "max")
        )
        return f"SELECT {first}, {last}"

    def total(self) -> str:
        """Return the SELECT that counts all rows."""
        return f"SELECT count(*) FROM {self.relation.origin}"

    def key_params(self) -> list[str]:
        """Return the names of the parameters that hold the last key of a page."""
        return [f"openai_batch_key{n}" for n in range(len(self.key_columns))]

    def page(
        self, columns: Sequence[str], *, after: bool, blobs: bool = False, last: str | None = None
    ) -> str:
        """Return the SELECT of key and columns along the key, from the start or after a key.

        With `blobs`, one more column says whether any of them is a BLOB. `last` is the name of
        the parameter with the last key that is wanted.
        """
        conditions = []
        if after:
            marks = ", ".join(f":{name}" for name in self.key_params())
            conditions.append(f"({self.keys}) > ({marks})")
        if last is not None:
            conditions.append(f"{self.keys} <= :{last}")
        if self.where is not None:
            conditions.append(f"({self.where}\n)")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        chosen = names([*self.key_columns, *columns])
        if blobs:
            chosen += ", " + self._blobs(columns)
        return f"SELECT {chosen} FROM {self.relation.origin}{where} ORDER BY {self.keys}"

    def between(self, columns: Sequence[str], first: str, last: str) -> str:
        """Return the SELECT of key, columns and whether any is a BLOB, for keys of a range.

        `first` and `last` are the names of its parameters.
        """
        chosen = f"{names([*self.key_columns, *columns])}, {self._blobs(columns)}"
        return (
            f"SELECT {chosen} FROM {self.relation.origin} "
            f"WHERE {self.keys} BETWEEN :{first} AND :{last} ORDER BY {self.keys}"
        )

    def _blobs(self, columns: Sequence[str]) -> str:
        """Whether any value of a row is a BLOB, as SQL: they sort after everything else."""
        return " OR ".join(f"{quote(name)} >= x''" for name in (*self.key_columns, *columns))


def names(columns: Sequence[str]) -> str:
    """Return column names as an SQL list."""
    return ", ".join(map(quote, columns))


# Each row needs a key of its own: NULL and duplicate keys, said before anything is sent.


def check_nulls(
    conn: sqlite3.Connection,
    rows: str,
    keys: Sequence[str],
    columns: Sequence[str],
    title: str,
    params: Params = (),
) -> None:
    """Raise SourceError for a NULL in a key column.

    `rows` is what stands after FROM, `keys` are the SQL names of the key columns there and
    `columns` the names that people know them by.
    """
    for key, column in zip(keys, columns, strict=True):
        count = one_value(conn, f"SELECT count(*) FROM {rows} WHERE {key} IS NULL", params)
        if count:
            raise SourceError(
                f"The key column {column} of {title} is NULL in {_counted(count)}; "
                "each row needs a key of its own."
            )


def check_duplicates(
    conn: sqlite3.Connection,
    rows: str,
    keys: Sequence[str],
    columns: Sequence[str],
    title: str,
    params: Params = (),
) -> None:
    """Raise SourceError for a key that stands in several rows (arguments as above)."""
    some = ", ".join(keys)
    sql = f"SELECT {some}, count(*) FROM {rows} GROUP BY {some} HAVING count(*) > 1 LIMIT 1"
    with select(conn, sql, params) as cursor:
        found = cursor.fetchone()
    if found is not None:
        *values, count = found
        pairs = zip(columns, values, strict=True)
        named = " and ".join(f"{column} {value!r}" for column, value in pairs)
        raise SourceError(
            f"{_counted(count)} of {title} have the key {named}; each row needs a key "
            "of its own. Name columns that are unique together by --pk."
        )


def check_own_nulls(
    conn: sqlite3.Connection, choice: Choice, title: str, params: Params = ()
) -> None:
    """Raise SourceError for a NULL in a key column of the chosen rows, read where they are."""
    aliases = [f"c{n}" for n in range(len(choice.key_columns))]
    named = zip(choice.key_columns, aliases, strict=True)
    rows = choice.rows(", ".join(f"{quote(key)} AS {alias}" for key, alias in named))
    check_nulls(conn, f"({rows})", aliases, choice.key_columns, title, params)


def check_others(conn: sqlite3.Connection, choice: Choice, title: str, params: Params = ()) -> None:
    """Raise SourceError where a row that isn't chosen has the key of one that is.

    Rows are found again by their keys alone, a table's by its own collation.
    """
    keys = list(map(quote, choice.key_columns))
    rows = f"{choice.relation.origin} WHERE ({choice.keys}) IN ({choice.rows(choice.keys)})"
    check_duplicates(conn, rows, keys, choice.key_columns, title, params)


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
