"""Rows of a table along its key: a page at a time, from wherever the one before ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from .relation import Choice
from .sql import (
    Params,
    Row,
    SQLiteValue,
    Stored,
    decoded,
    fetch_all,
    find,
    is_undecodable,
    one_value,
    quote,
    read,
    read_stored,
    select,
    sentences,
    take,
)

_LAST = "openai_batch_last"


@dataclass(frozen=True)
class Keyset:
    """Chosen rows of a table that SQLite looks up by their key."""

    conn: sqlite3.Connection
    choice: Choice
    params: Mapping[str, str]
    subject: str
    """What an error is about."""

    def is_looked_up(self) -> bool:
        """Whether SQLite looks up a row by its key, and doesn't go through all of them.

        It can't where the key tells rows apart that its columns take for the same: a column may
        be declared COLLATE NOCASE and its primary key COLLATE BINARY. One key finds two rows then.
        """
        match = " AND ".join(f"{quote(name)} = ?" for name in self.choice.key_columns)
        plan = f"EXPLAIN QUERY PLAN SELECT 1 FROM {self.choice.relation.origin} WHERE {match}"
        values = [0] * len(self.choice.key_columns)
        with sentences(self.subject), select(self.conn, plan, values) as cursor:
            return str(cursor.fetchone()[-1]).startswith("SEARCH")

    def is_a_walk(self) -> bool:
        """Whether a page is one walk along the key, with no sort, join or subquery beside it.

        Each page would pay for those again, so such rows are better copied once.
        """
        if self.choice.order is not None:
            return False
        params: dict[str, SQLiteValue] = {**self.params}
        params |= dict.fromkeys(self.choice.key_params(), 0)
        plan = "EXPLAIN QUERY PLAN " + self.choice.page((), after=True)
        with sentences(self.subject), select(self.conn, plan, params) as cursor:
            return len(cursor.fetchall()) == 1

    def pages(
        self,
        columns: Sequence[str],
        page_bytes: int,
        *,
        stored: bool = False,
        after: SQLiteValue = None,
        last: SQLiteValue = None,
    ) -> Iterator[tuple[list[Row], bool]]:
        """Yield pages of key and columns, and whether their TEXT is bytes.

        With `stored` it mostly is, and whether there is a BLOB is in one more column then.
        `after` and `last` are keys of one column that the rows lie between.
        """
        left = self.choice.limit
        params: dict[str, SQLiteValue] = dict(self.params)
        page = partial(self.choice.page, columns, last=None if last is None else _LAST)
        if after is not None:
            params[self.choice.key_params()[0]] = after
        if last is not None:
            params[_LAST] = last
        begun = after is not None
        while left is None or left > 0:
            a_page = partial(take, page_bytes=page_bytes, most=left)
            rows, as_bytes = None, False
            with sentences(self.subject):
                if stored:
                    sql = page(after=begun, blobs=True)
                    rows, as_bytes = read_stored(self.conn, sql, params, a_page), True
                if rows is None:
                    sql = page(after=begun)
                    keys = len(self.choice.key_columns)
                    rows, as_bytes = read(self.conn, sql, params, a_page, keys=keys), False
            if not rows:
                return
            yield rows, as_bytes
            begun = True
            params |= zip(self.choice.key_params(), rows[-1], strict=False)
            if left is not None:
                left -= len(rows)

    def between(
        self, columns: Sequence[str], first: SQLiteValue, last: SQLiteValue
    ) -> list[Row] | None:
        """Return all rows from one key to another as `pages` does with `stored`.

        None where they hold a BLOB.
        """
        ends = {"openai_batch_first": first, _LAST: last}
        with sentences(self.subject):
            return read_stored(self.conn, self.choice.between(columns, *ends), ends, fetch_all)

    def ends(self) -> Row:
        """Return the first and the last key of the table, of one column."""
        with sentences(self.subject):
            ((first, last),) = read(self.conn, self.choice.ends(), (), fetch_all, keys=2)
        return first, last


# A private temporary copy of rows that can be read only once: views, queries, sorted tables.


class Snapshot:
    """Rows of one SELECT in a temporary database on its own connection, in their order.

    SQLite names the file itself and deletes it when the connection closes.
    """

    def __init__(
        self, conn: sqlite3.Connection, sql: str, params: Params, *, width: int, keys: int
    ) -> None:
        """Read `sql` once: `width` columns, the first `keys` of them the row key."""
        self.keys = keys
        self.conn = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        try:
            self._fill(conn, sql, params, width)
        except BaseException:
            self.close()
            raise

    def _fill(self, conn: sqlite3.Connection, sql: str, params: Params, width: int) -> None:
        columns = ", ".join(f"c{n}" for n in range(width))
        marks = ", ".join("?" * width)
        insert = f"INSERT INTO rows VALUES ({marks})"
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute(f"CREATE TABLE rows ({columns})")
        self.conn.execute("BEGIN")
        try:
            with select(conn, sql, params) as cursor:
                self.conn.executemany(insert, cursor)
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
            self.conn.execute("DELETE FROM rows")
            with select(conn, sql, params, text=Stored) as cursor:
                self.conn.executemany(insert, (decoded(row, self.keys) for row in cursor))
        self.conn.execute("COMMIT")

    def count(self) -> int:
        """Return the number of rows."""
        return one_value(self.conn, "SELECT count(*) FROM rows")

    def pages(self, values: Sequence[int], page_bytes: int) -> Iterator[list[Row]]:
        """Yield pages of (key values, then the columns at these positions) in order."""
        columns = ", ".join(f"c{n}" for n in (*range(self.keys), *values))
        cursor = self.conn.execute(f"SELECT {columns} FROM rows ORDER BY rowid")
        while rows := take(cursor, page_bytes):
            yield rows

    def fetch(self, values: Sequence[int], keys: Sequence[Row]) -> list[tuple[int, Row]]:
        """Return (position in `keys`, the columns at these positions) of the rows found."""
        on = [f"c{n}" for n in range(self.keys)]
        self.conn.execute(f"CREATE INDEX IF NOT EXISTS by_key ON rows ({', '.join(on)})")
        return find(self.conn, "rows", on, [f"c{n}" for n in values], keys)

    def close(self) -> None:
        """Delete the copy."""
        self.conn.close()
