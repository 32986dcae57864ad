"""Tables whose rows are the lines of a file of requests, read in the order of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from .relation import Choice, check_clauses, choose_key, inspect_table, names
from .source import PAGE_BYTES, Group, Source, grouped
from .sql import Row, SQLiteValue, fetch_all, quote, read, read_stored, sentences, take

KEY = "custom_id"


class FileOrder(Source):
    """The rows of a table with a key of text, in the order in which they were put there.

    Along their key ten would come before two, and the parts of a job would not be those that one
    expects who wrote the file.
    """

    def stored_pages(
        self,
        columns: Sequence[str],
        *,
        page_bytes: int = PAGE_BYTES,
        stored: bool = True,
        after: SQLiteValue = None,
        last: SQLiteValue = None,
    ) -> Iterator[tuple[list[Row], bool]]:
        """Yield pages of (row key, *values of `columns`) in the order of the file."""
        choice = self._choice
        if choice.order is not None:
            yield from super().stored_pages(columns, page_bytes=page_bytes, stored=stored)
            return
        self._check_columns(columns)
        left, place = choice.limit, 0
        while left is None or left > 0:
            params: dict[str, SQLiteValue] = {**self.params, "openai_batch_place": place}
            rows, as_bytes = self._page(columns, params, page_bytes, stored, left)
            if not rows:
                return
            # beside the key and the columns stands the row's place, and whether it holds a BLOB
            place = int(rows[-1][len(columns) + 1])  # type: ignore[arg-type]
            yield rows, as_bytes
            left = None if left is None else left - len(rows)

    def fetch_stored(self, columns: Sequence[str], row_keys: Sequence[SQLiteValue]) -> Group | None:
        """Return the rows of keys, TEXT as bytes; None where they aren't one run of the file."""
        if not self._direct or len(row_keys) < 2:
            return None
        relation, key = self._choice.relation, quote(self.key_columns[0])
        self._check_columns(columns)
        place = f"(SELECT {relation.rowid} FROM {relation.origin} WHERE {key} = ?)"
        blobs = " OR ".join(f"{quote(name)} >= x''" for name in columns)
        sql = (
            f"SELECT {names([*self.key_columns, *columns])}, {blobs} FROM {relation.origin} "
            f"WHERE {relation.rowid} BETWEEN {place} AND {place} ORDER BY {relation.rowid} LIMIT ?"
        )
        params = [row_keys[0], row_keys[-1], len(row_keys) + 1]
        with sentences(self._subject):
            rows = read_stored(self.conn, sql, params, fetch_all)
        if rows is None or [row[0] for row in rows] != list(row_keys):
            return None
        return grouped([row[1:-1] for row in rows], True)

    def _page(
        self,
        columns: Sequence[str],
        params: Mapping[str, SQLiteValue],
        page_bytes: int,
        stored: bool,
        most: int | None,
    ) -> tuple[list[Row], bool]:
        relation = self._choice.relation
        chosen = [*self.key_columns, *columns]
        where = "" if self._choice.where is None else f" AND ({self._choice.where}\n)"
        blobs = " OR ".join(f"{quote(name)} >= x''" for name in chosen)
        sql = (
            f"SELECT {names(chosen)}, {relation.rowid}, {blobs} FROM {relation.origin} "
            f"WHERE {relation.rowid} > :openai_batch_place{where} ORDER BY {relation.rowid}"
        )

        def some(cursor: sqlite3.Cursor) -> list[Row]:
            return take(cursor, page_bytes, most)

        with sentences(self._subject):
            if stored and (found := read_stored(self.conn, sql, params, some)) is not None:
                return found, True
            return read(self.conn, sql, params, some, keys=1), False

    @property
    def has_ranges(self) -> bool:
        """Whether rows between two keys can be read: its order isn't that of its key."""
        return False

    def _raw_pages(self, columns: Sequence[str], page_bytes: int) -> Iterator[list[Row]]:
        if self._choice.order is not None or not self._direct:
            yield from super()._raw_pages(columns, page_bytes)
            return
        width = len(columns) + 1
        for rows, _ in self.stored_pages(columns, page_bytes=page_bytes, stored=False):
            yield [row[:width] for row in rows]


def open_lines(
    conn: sqlite3.Connection,
    table: str,
    *,
    params: Mapping[str, str] | None = None,
    where: str | None = None,
    order: str | None = None,
    limit: int | None = None,
) -> Source:
    """Open a table of request lines, as `open_source` opens any. Raises SourceError."""
    relation = inspect_table(conn, table)
    choice = Choice(relation, choose_key(relation, (KEY,)), where, order, limit)
    given = dict(params or {})
    check_clauses(conn, relation, given, where=where, order=order)
    opened = Source if relation.rowid is None or relation.kind != "table" else FileOrder
    return opened(conn, choice, given)
