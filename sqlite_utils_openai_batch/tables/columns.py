"""The SQL that makes output columns and writes to them, and a rehearsal of it.

Tables are changed by ALTER TABLE ADD COLUMN only, never rebuilt: a rebuild loses triggers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import length_hint
from typing import NamedTuple, Protocol

from ..base.errors import OutputError
from ..store.connection import explain
from .sql import SQLiteValue, quote

_ROWIDS = ("rowid", "_rowid_", "oid")


class Column(NamedTuple):
    """A column as SQLite knows it; `key` is its place in the primary key, from 1."""

    name: str
    type: str
    key: int
    hidden: int
    """1 hidden, 2 generated when read, 3 generated and stored."""
    required: bool
    """Whether a new row has to fill it: NOT NULL without a default."""


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column that answers are written to; `property` is the schema's, None for the text.

    `judged` tells a column beside an answer's: `reviewed` holds what people say, `final` that, or
    the answer where they said nothing.
    """

    name: str
    type: str
    property: str | None = None
    judged: str | None = None


class Destination(Protocol):
    """Where answers go: a table, None for the source itself, and its columns."""

    @property
    def table(self) -> str | None:
        """The name of the output table."""

    @property
    def columns(self) -> tuple[OutputColumn, ...]:
        """The columns that are written."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""


def fold(name: str) -> str:
    """A name as SQLite compares names: without regard to the case of ASCII letters."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def table_columns(conn: sqlite3.Connection, table: str) -> dict[str, Column]:
    """Columns of a table by `fold`ed name; none where it isn't there."""
    found = conn.execute(
        'SELECT name, type, pk, hidden, "notnull" AND dflt_value IS NULL '
        "FROM pragma_table_xinfo(?)",
        [table],
    )
    return {
        fold(name): Column(name, kind, key, hidden, bool(required))
        for name, kind, key, hidden, required in found.fetchall()
    }


def key_of(columns: dict[str, Column]) -> tuple[str, ...]:
    """The primary key of a table."""
    keys = sorted((column for column in columns.values() if column.key), key=lambda one: one.key)
    return tuple(column.name for column in keys)


def output_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Names that the key columns have in an output table: a rowid can't keep its own."""
    return tuple("source_rowid" if key in _ROWIDS else key for key in keys)


def making(
    conn: sqlite3.Connection, source: str | None, keys: Sequence[str], output: Destination
) -> list[str]:
    """The statements that make the columns, or the table, that aren't there yet.

    `source` is the table or view that is asked about, None for a query; `keys` is its key.
    """
    table = output.table or str(source)
    there = table_columns(conn, table)
    if not there:
        return [_create_table(conn, source, keys, output, table)]
    return [
        f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column.name)} {column.type}"
        for column in output.columns
        if fold(column.name) not in there
    ]


def _create_table(
    conn: sqlite3.Connection,
    source: str | None,
    keys: Sequence[str],
    output: Destination,
    table: str,
) -> str:
    parent = {} if source is None else table_columns(conn, source)
    own = output_keys(keys)
    lines = []
    for name, key in zip(own, keys, strict=True):
        declared = parent[fold(key)].type if fold(key) in parent else ""
        kind = "INTEGER" if key != name else plain_type(declared)
        lines.append(f"{quote(name)} {kind}".rstrip())
    lines += [f"{quote(column.name)} {column.type}" for column in output.columns]
    names = ", ".join(map(quote, own))
    lines.append(f"PRIMARY KEY ({names})")
    # A foreign key may refer to a primary key only: a view has none.
    if list(map(fold, key_of(parent))) == list(map(fold, keys)):
        parents = ", ".join(map(quote, keys))
        lines.append(f"FOREIGN KEY ({names}) REFERENCES {quote(str(source))} ({parents})")
    return f"CREATE TABLE {quote(table)} (\n    " + ",\n    ".join(lines) + "\n)"


def plain_type(declared: str) -> str:
    """A declared type as one of SQLite's, which a STRICT table would take too.

    INTEGER PRIMARY KEY is the rowid, which takes nothing but whole numbers; INT takes any key.
    """
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER" if kind == "INTEGER" else "INT"
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if any(word in kind for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return ""


def update_sql(
    table: str, names: Sequence[str], keys: Sequence[str], texts: Collection[str] = ()
) -> str:
    """The statement that writes the answers of one row: the answers, then the key.

    Those of `texts` are given as the bytes of a text.
    """
    sets = ", ".join(
        f"{quote(name)} = {'CAST(? AS TEXT)' if name in texts else '?'}" for name in names
    )
    where = " AND ".join(f"{quote(key)} = ?" for key in keys)
    return f"UPDATE {quote(table)} SET {sets} WHERE {where}"


def insert_sql(table: str, names: Sequence[str], keys: Sequence[str]) -> str:
    """The statement that makes one row of an output table: the answers, then the key."""
    columns = ", ".join(map(quote, (*names, *keys)))
    marks = ", ".join("?" * (len(names) + len(keys)))
    return f"INSERT INTO {quote(table)} ({columns}) VALUES ({marks})"


def triggers(conn: sqlite3.Connection, table: str) -> dict[str, str]:
    """A table's triggers: their SQL by name."""
    return dict(
        conn.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' "
            "AND tbl_name = ? COLLATE NOCASE ORDER BY name",
            [table],
        ).fetchall()
    )


def rehearse(
    conn: sqlite3.Connection, source: str | None, keys: Sequence[str], output: Destination
) -> str | None:
    """Make the columns and compile the writes in an empty copy of the schema, in memory.

    Returns SQLite's words where that fails: it would fail for the first answer too, after it
    was paid for. Triggers that call unknown functions are found, columns beyond SQLite's limit,
    names that an index has.
    """
    table = output.table or str(source)
    try:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            copy_schema(conn, copy)
            for sql in making(conn, source, keys, output):
                copy.execute(sql)
            compile_writes(copy, table, keys, output)
    except sqlite3.Error as error:
        return str(error)
    return None


def compile_writes(
    conn: sqlite3.Connection, table: str, keys: Sequence[str], output: Destination
) -> None:
    """Compile what will write answers, and run none of it. Raises sqlite3.Error."""
    own = keys if output.table is None else output_keys(keys)
    writes = [update_sql(table, output.names, own)]
    if output.table is not None:
        writes.append(insert_sql(table, output.names, own))
    for sql in writes:
        conn.execute(f"EXPLAIN {sql}", [None] * (len(output.names) + len(own)))


def copy_schema(conn: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Make a database's tables, indexes, views and triggers in another one, as far as it goes."""
    found = conn.execute(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' "
        "ESCAPE '\\' ORDER BY type = 'trigger', type = 'view', type = 'index', rowid"
    ).fetchall()
    for (sql,) in found:
        try:
            copy.execute(sql)
        except sqlite3.Error:
            # Shadow tables come with their virtual table; a module may be missing here. What
            # the writes need is missed when they are compiled.
            continue


# Rows written by one statement, of which their table may refuse some.

Values = tuple[SQLiteValue, ...]


class Rows:
    """Rows for one statement, each with its place among the answers: `rows` is all of them."""

    def __init__(self, sql: str, rows: Sequence[Values] = ()) -> None:
        self.sql = sql
        self.rows = list(rows)
        self.places = list(range(len(self.rows)))

    def add(self, place: int, row: Values) -> None:
        """Take in one row."""
        self.places.append(place)
        self.rows.append(row)

    def write(self, conn: sqlite3.Connection) -> dict[int, str]:
        """Write the rows. Returns SQLite's words for those that the table refused, by place.

        Raises OutputError where a trigger undid the transaction.
        """
        refused: dict[int, str] = {}
        left = iter(self.rows)
        while length_hint(left):
            try:
                conn.executemany(self.sql, left)
            except sqlite3.Error as error:
                if explain(error, "") is not None:
                    raise  # it is about the file: locked, full, damaged
                if not conn.in_transaction:
                    raise OutputError(
                        f"A trigger undoes what is written: {error}. The answers are kept in the "
                        "job: drop the trigger, or write them elsewhere with apply and "
                        "--output-table."
                    ) from error
                # The rows before it are written, and the iterator stands behind it.
                refused[self.places[len(self.rows) - length_hint(left) - 1]] = str(error)
        return refused
