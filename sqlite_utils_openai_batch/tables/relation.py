"""What SQLite knows of a table, view or query that is asked about: its columns and its key."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import SourceError, UsageError
from .keys import quote
from .nearest import listed, nearest_first
from .reading import select, sentences

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
    sql = (
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type != 'shadow' "
        "AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'openai_batch_*' "
        "AND name NOT GLOB '_sqlite_*' ORDER BY name"
    )
    with select(conn, sql, ()) as cursor:
        names = [row[0] for row in cursor.fetchall()]
    if not names:
        return SourceError(f"No such table: {table!r}. The database holds no tables.")
    near = listed(nearest_first(table, names))
    return SourceError(f"No such table: {table!r}. Tables: {near}.")
