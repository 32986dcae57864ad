"""Rows and their keys: a table, a view or an SQL query, opened to be read in pages.

No cursor and no transaction stays open on the person's file while a page is with the caller:
in SQLite's default journal mode an open reader would block every writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from .choice import Choice
from .errors import UsageError
from .keys import SQLiteValue, decode_key, encode_key, quote
from .relation import check_clauses, choose_key, inspect_query, inspect_table
from .rows import Source

__all__ = [
    "SQLiteValue",
    "Source",
    "decode_key",
    "encode_key",
    "open_source",
    "quote",
    "reopen",
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
        raise UsageError("Name a table or view, or give --sql: one of them.")
    if limit is not None and limit < 0:
        raise UsageError(f"--limit must not be negative: {limit}.")
    given = dict(params or {})
    relation = (
        inspect_table(conn, table) if table is not None else inspect_query(conn, sql or "", given)
    )
    choice = Choice(relation, choose_key(relation, pk), where, order, limit)
    check_clauses(conn, relation, given, where=where, order=order)
    return Source(conn, choice, given)


def reopen(
    conn: sqlite3.Connection,
    *,
    name: str | None,
    sql: str | None,
    params: Mapping[str, str] | None,
    key_columns: Sequence[str],
) -> Source:
    """Open the source of a stored job (see `Source.describe`), to fetch rows by their keys."""
    table = None if sql is not None else name
    return open_source(conn, table, sql=sql, params=params, pk=key_columns)
