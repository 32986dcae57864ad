"""Rows by their keys, in bounded memory: beside each other, images soon fill it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .keys import SQLiteValue
from .reading import Row, weight
from .rows import PAGE_BYTES, Source

#: Keys that are fetched together at first, and at most.
FEW, MANY = 16, 500


def fetch_in_turn(
    source: Source,
    columns: Sequence[str],
    row_keys: Sequence[SQLiteValue],
    *,
    page_bytes: int = PAGE_BYTES,
) -> Iterator[Row | None]:
    """Yield the row of each key as it is now, None for one that is gone, in the order of the keys.

    Not many more than `page_bytes` bytes of rows are held at a time, unless a few rows are that
    large.
    """
    for rows, _ in fetch_groups(source, columns, row_keys, page_bytes=page_bytes):
        yield from rows


def fetch_groups(
    source: Source,
    columns: Sequence[str],
    row_keys: Sequence[SQLiteValue],
    *,
    stored: bool = False,
    page_bytes: int = PAGE_BYTES,
    most: int = MANY,
) -> Iterator[tuple[list[Row | None], bool]]:
    """Yield the rows of `fetch_in_turn`, up to `most` at a time, and whether TEXT is bytes in them.

    With `stored` it mostly is, as it is stored, and there are no BLOBs among the values then.
    """
    start, step = 0, FEW
    while start < len(row_keys):
        keys = row_keys[start : start + step]
        found = source.fetch_stored(columns, keys) if stored else None
        if found is not None:
            rows, as_bytes = found, True
        else:
            by_key = source.fetch(columns, keys)
            rows, as_bytes = [by_key.get(key) for key in keys], False
        there = [row for row in rows if row is not None]
        size = weight(there) if there else 0
        yield rows, as_bytes
        start += step
        step = max(1, min(most, 2 * step, page_bytes * step // max(size, 1)))
