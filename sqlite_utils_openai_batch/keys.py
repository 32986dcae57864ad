"""Row keys as one value, and names as SQL identifiers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

SQLiteValue = int | float | str | bytes | None

_BLOB = "blob"


def quote(name: str) -> str:
    """Return `name` as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


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
    values = tuple(map(_decode_one, json.loads(str(row_key))))
    if len(values) != n:
        raise ValueError(f"a key of {len(values)} values where {n} are expected: {row_key!r}")
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
    return value  # type: ignore[no-any-return]
