"""A private temporary copy of rows that can be read only once: views, queries, sorted tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from .reading import Params, Row, Stored, decoded, find, is_undecodable, one_value, select, take


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
