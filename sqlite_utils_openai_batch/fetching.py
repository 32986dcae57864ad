"""Rows by their keys, in bounded memory: beside each other, images soon fill it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .keys import SQLiteValue
from .reading import Row, weight
from .source import PAGE_BYTES, Source

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
    start, step = 0, FEW
    while start < len(row_keys):
        keys = row_keys[start : start + step]
        found = source.fetch(columns, keys)
        size = weight(list(found.values())) if found else 0
        for key in keys:
            yield found.get(key)
        start += step
        step = max(1, min(MANY, 2 * step, page_bytes * step // max(size, 1)))
