"""Reading a person's database: read-only, text that isn't UTF-8, errors as sentences."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from ..base.errors import DatabaseError, SourceError
from ..base.json import unreadable

# Row keys as one value, names as SQL identifiers, and which values are none.

SQLiteValue = int | float | str | bytes | None

_BLOB = "blob"
# What `str.strip` takes away, as SQL.
_SPACES = f"char({','.join(str(n) for n in range(0x3001) if chr(n).isspace())})"


class StrangeKey(DatabaseError, ValueError):
    """A row key in the record of a job that `encode_key` never wrote."""

    def __init__(self, row_key: object, why: str) -> None:
        found = unreadable(row_key, "openai_batch_requests.row_key")
        super().__init__(f"{found} It is {why}.")


def quote(name: str) -> str:
    """Return `name` as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def is_blank(value: object) -> bool:
    """Whether a value says nothing: NULL, or text (or a BLOB) that is empty or only white space.

    `sqlite-utils insert --csv` makes empty text of an empty cell, a spreadsheet leaves spaces.
    """
    if value is None:
        return True
    return isinstance(value, (str, bytes)) and not value.strip()


def are_blank(values: Sequence[object]) -> bool:
    """Whether all of these values say nothing."""
    return all(map(is_blank, values))


def filled_sql(expression: str) -> str:
    """Return SQL that is true of the values of which `is_blank` is false."""
    return f"(trim({expression}, {_SPACES}) <> '') IS 1"


def encode_key(values: Sequence[SQLiteValue]) -> SQLiteValue:
    """Return a row key as one value: itself, or JSON array text for a compound key.

    In the array a BLOB is ``{"blob": hex}`` and an infinite REAL is ``±9e999``, as SQLite
    itself writes it.
    """
    if len(values) == 1:
        return values[0]
    if all(value.__class__ is str or value.__class__ is int for value in values):
        return orjson.dumps(values).decode()
    return "[" + ",".join(map(_encode_one, values)) + "]"


def decode_key(row_key: SQLiteValue, n: int) -> tuple[SQLiteValue, ...]:
    """Return the `n` values of a row key, the inverse of `encode_key`."""
    if n == 1:
        return (row_key,)
    try:
        values = tuple(map(_decode_one, json.loads(str(row_key))))
    except (ValueError, TypeError, KeyError) as error:
        raise StrangeKey(row_key, "no row key") from error
    if len(values) != n:
        said = f"a key of {len(values)} values where {n} are expected"
        raise StrangeKey(row_key, said)
    return values


def _encode_one(value: SQLiteValue) -> str:
    if isinstance(value, bytes):
        return json.dumps({_BLOB: value.hex()}, separators=(",", ":"))
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    return orjson.dumps(value).decode()


def _decode_one(value: Any) -> SQLiteValue:
    if isinstance(value, dict):
        return bytes.fromhex(value[_BLOB])
    return plain_value(value)


def plain_value(value: Any) -> SQLiteValue:
    """A value from JSON that a cell can hold. Raises ValueError for any other."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, str):
        value.encode()
        return value
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise ValueError("no cell can hold that")


Row = tuple[SQLiteValue, ...]
Names = tuple[str, ...]
Params = Mapping[str, SQLiteValue] | Sequence[SQLiteValue]

#: Bytes that a row costs beside its text.
ROW_BYTES = 64

#: Keys that one statement asks for.
CHUNK = 500

SIZED = {str, bytes}

_SQLITE_ERROR = 1  # sqlite3.SQLITE_ERROR has a name only from Python 3.11 on


class Stored(bytes):
    """TEXT as its bytes, told apart from a BLOB."""

    @property
    def shown(self) -> str:
        """The text, U+FFFD where bytes are none."""
        return self.decode("utf-8", "replace")


@contextmanager
def sentences(what: str) -> Iterator[None]:
    """Turn SQLite's complaint about `what` into a SourceError.

    A database that is locked, damaged or can't be opened is another matter: those errors pass.
    """
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning) as error:
        if _is_about_the_file(error):
            raise
        raise SourceError(f"{what} can't be read: {_mended(str(error))}.") from error


def _is_about_the_file(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", _SQLITE_ERROR)
    return code & 0xFF != _SQLITE_ERROR or "locked" in str(error)


def _mended(message: str) -> str:
    """Say what to do where Python's wording leaves it open."""
    if "binding parameter" in message or message.startswith("Binding "):
        return f"{message.rstrip('.')} (parameters are named, :name, and given by -p NAME VALUE)"
    if "one statement at a time" in message:
        return "it must be one SELECT"
    return message.rstrip(".")


@contextmanager
def select(
    conn: sqlite3.Connection, sql: str, params: Params, *, text: type[bytes] | None = None
) -> Iterator[sqlite3.Cursor]:
    """Run one SELECT and give its cursor; the statement is closed after the block.

    With `text`, TEXT comes as bytes of that type, in UTF-8. A person's SQL only ever stands in
    the FROM, WHERE or ORDER BY of a SELECT, where nothing that writes compiles, and sqlite3 runs
    one statement. (PRAGMA query_only would make SQLite prepare every statement anew.)
    """
    factory = conn.text_factory
    with closing(conn.cursor()) as cursor:
        cursor.row_factory = None
        if text is not None:
            conn.text_factory = text
        try:
            yield cursor.execute(sql, params)
        finally:
            conn.text_factory = factory


def one_value(conn: sqlite3.Connection, sql: str, params: Params = ()) -> int:
    """Return the integer that `sql` gives, such as a count."""
    with select(conn, sql, params) as cursor:
        return int(cursor.fetchone()[0])


def is_undecodable(error: sqlite3.Error) -> bool:
    """Whether a read failed because TEXT isn't valid UTF-8 (SQLite stores any bytes)."""
    return "Could not decode to UTF-8" in str(error)


def decoded(row: Row, keys: int) -> Row:
    """Decode a row whose TEXT was read as stored bytes: U+FFFD stands where bytes are no text.

    The first `keys` values are the row key, which has to find the row again: SourceError if
    it isn't valid UTF-8.
    """
    try:
        key = [_text(value, "strict") for value in row[:keys]]
    except UnicodeDecodeError as error:
        raise SourceError(
            f"The key {error.object!r} isn't valid UTF-8 text, so it can't name its row."
        ) from None
    return (*key, *(_text(value, "replace") for value in row[keys:]))


def _text(value: SQLiteValue, errors: str) -> SQLiteValue:
    return value.decode("utf-8", errors) if isinstance(value, Stored) else value


def read(
    conn: sqlite3.Connection,
    sql: str,
    params: Params,
    rows_of: Callable[[sqlite3.Cursor], list[Row]],
    *,
    keys: int,
) -> list[Row]:
    """Run one SELECT and return the rows that `rows_of` takes from its cursor.

    Where TEXT isn't valid UTF-8 it is run once more to decode with replacements; its first
    `keys` columns are the row key (see `decoded`).
    """
    try:
        with select(conn, sql, params) as cursor:
            return rows_of(cursor)
    except sqlite3.OperationalError as error:
        if not is_undecodable(error):
            raise
    with select(conn, sql, params, text=Stored) as cursor:
        return [decoded(row, keys) for row in rows_of(cursor)]


def read_stored(
    conn: sqlite3.Connection,
    sql: str,
    params: Params,
    rows_of: Callable[[sqlite3.Cursor], list[Row]],
) -> list[Row] | None:
    """Run one SELECT and return its rows with TEXT as bytes, but for the first column, the key.

    The last column says whether there is a BLOB in the row: None is returned then, and where a
    key isn't valid UTF-8. What is left can only be read by `read`.
    """
    with select(conn, sql, params, text=bytes) as cursor:
        rows = rows_of(cursor)
    if any(map(itemgetter(-1), rows)):
        return None
    if {int}.issuperset(map(type, map(itemgetter(0), rows))):
        return rows
    try:
        return [(_text_of(row[0]), *row[1:]) for row in rows]
    except UnicodeDecodeError:
        return None


def fetch_all(cursor: sqlite3.Cursor) -> list[Row]:
    """Read all rows of a cursor."""
    return cursor.fetchall()


def _text_of(key: SQLiteValue) -> SQLiteValue:
    return key.decode() if isinstance(key, bytes) else key


def take(cursor: sqlite3.Cursor, page_bytes: int, most: int | None = None) -> list[Row]:
    """Read rows up to about `page_bytes` of text and BLOBs, and up to `most` rows."""
    rows: list[Row] = []
    size = 0
    step = 16
    while size < page_bytes and (most is None or len(rows) < most):
        chunk = cursor.fetchmany(step if most is None else min(step, most - len(rows)))
        if not chunk:
            break
        rows += chunk
        size += weight(chunk)
        # a chunk may overshoot the page by itself, so it stays small beside the page
        step = max(1, min(1000, page_bytes * len(rows) // (16 * size)))
    return rows


def weight(rows: Sequence[Row]) -> int:
    """Estimate the bytes of rows."""
    return columns_weight(list(zip(*rows, strict=True)), len(rows))


def columns_weight(columns: Sequence[Sequence[SQLiteValue]], rows: int) -> int:
    """Estimate the bytes of so many rows, given column by column."""
    size = ROW_BYTES * rows
    for column in columns:
        kinds = set(map(type, column))
        if kinds <= SIZED:
            size += sum(map(len, column))  # type: ignore[arg-type]
        elif kinds & SIZED:
            size += sum(len(value) for value in column if isinstance(value, (str, bytes)))
    return size


def find(
    conn: sqlite3.Connection,
    table: str,
    key_columns: Sequence[str],
    columns: Sequence[str],
    keys: Sequence[Row],
) -> list[tuple[int, Row]]:
    """Return (position in `keys`, values of `columns`) of the rows of `table` with these keys.

    Names are SQL, quoted already. Keys are compared as SQLite does for a bare parameter: the
    column's affinity and collation apply. Rows come in no particular order.
    """
    found: list[tuple[int, Row]] = []
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        sql = lookup(table, tuple(key_columns), tuple(columns), len(chunk))
        params = [value for key in chunk for value in key]
        rows: list[Any] = read(conn, sql, params, sqlite3.Cursor.fetchall, keys=0)
        found += [(start + row[0], row[1:]) for row in rows]
    return found


def are_near(keys: Sequence[SQLiteValue]) -> bool:
    """Whether keys are whole numbers so close together that one walk finds them fastest."""
    if len(keys) < 2 or set(map(type, keys)) != {int}:
        return False
    return int(max(keys)) - int(min(keys)) < 2 * len(keys)  # type: ignore[arg-type, type-var]


def find_near(
    conn: sqlite3.Connection,
    table: str,
    key_column: str,
    columns: Sequence[str],
    keys: Sequence[SQLiteValue],
) -> dict[SQLiteValue, Row]:
    """Return the rows of `table` with these keys, by key: `are_near` holds of them.

    Names are SQL, quoted already.
    """
    chosen = ", ".join((key_column, *columns))
    sql = f"SELECT {chosen} FROM {table} WHERE {key_column} BETWEEN ? AND ?"
    bounds = [min(keys), max(keys)]  # type: ignore[type-var]
    rows = read(conn, sql, bounds, sqlite3.Cursor.fetchall, keys=1)
    found = {row[0]: row[1:] for row in rows}
    if found.keys() <= set(keys):
        return found
    return {key: found[key] for key in keys if key in found}


def exactly(
    conn: sqlite3.Connection,
    table: str,
    key_columns: Sequence[str],
    columns: Sequence[str],
    key: Row,
) -> Row | None:
    """Return one row of `table`, TEXT that isn't valid UTF-8 as `Stored`; None if it is gone.

    Names are SQL, quoted already.
    """
    match = " AND ".join(f"{name} = ?" for name in key_columns)
    sql = f"SELECT {', '.join(columns)} FROM {table} WHERE {match}"
    with select(conn, sql, key, text=Stored) as cursor:
        row = cursor.fetchone()
    return None if row is None else tuple(map(_exact, row))


def _exact(value: SQLiteValue) -> SQLiteValue:
    if isinstance(value, Stored) and value.shown.encode() == value:
        return value.shown
    return value


@lru_cache(maxsize=16)
def lookup(table: str, key_columns: Names, columns: Names, count: int) -> str:
    """Return the SELECT of the rows of `table` with one of `count` keys, which are its parameters.

    Names are SQL, quoted already; the table is called `t`. A row is the place of its key (from
    0), then the columns.
    """
    marks = ", ".join("?" * len(key_columns))
    asked = ", ".join(f"({n}, {marks})" for n in range(count))
    names = ", ".join(["n", *(f"k{n}" for n in range(len(key_columns)))])
    match = " AND ".join(f"t.{name} = asked.k{n}" for n, name in enumerate(key_columns))
    chosen = ", ".join(["asked.n", *(f"t.{name}" for name in columns)])
    return (
        f"WITH asked({names}) AS (VALUES {asked}) "
        f"SELECT {chosen} FROM asked CROSS JOIN {table} AS t ON {match}"
    )
