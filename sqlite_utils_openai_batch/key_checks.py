"""Each row needs a key of its own: NULL and duplicate keys, said before anything is sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from .choice import Choice
from .errors import SourceError
from .keys import quote
from .reading import Params, one_value, select


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
