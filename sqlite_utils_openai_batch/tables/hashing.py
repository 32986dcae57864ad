"""What tells the values of a row from others: XXH3-128 over them, packed.

Nobody gains by two rows with one hash, so it needs no cryptography: it is to be fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import cast

import msgspec
import xxhash

from ..base.json import without_surrogates
from .sql import SQLiteValue

_pack = msgspec.msgpack.Encoder().encode


def source_hash(values: Sequence[SQLiteValue]) -> bytes:
    """Return 16 bytes that tell these typed values from others: 1, 1.0 and '1' differ."""
    try:
        packed = _pack(values)
    except UnicodeEncodeError:
        packed = _pack(without_surrogates(list(values)))
    return xxhash.xxh3_128_digest(packed)


def source_hashes(rows: Sequence[Sequence[SQLiteValue]]) -> list[bytes]:
    """Return the hash of each of many rows."""
    try:
        return digests(map(_pack, rows))
    except UnicodeEncodeError:
        return list(map(source_hash, rows))


def stored_hashes(columns: Sequence[Sequence[SQLiteValue]], rows: int) -> list[bytes]:
    """Return the `source_hash` of each of many rows whose TEXT comes as its bytes; no BLOBs.

    Values are given column by column, TEXT in UTF-8.
    """
    return digests(packed_rows(columns, rows))


def packed_rows(columns: Sequence[Sequence[SQLiteValue]], rows: int) -> Iterator[bytes]:
    """Yield what `stored_hashes` hashes of each row."""
    packed: list[Iterable[bytes]] = [repeat(_array_head(len(columns)), rows)]
    for values in columns:
        kinds = set(map(type, values))
        if kinds == {bytes}:
            texts = cast(Sequence[bytes], values)
            packed += map(_HEADS.__getitem__, map(len, texts)), texts
        elif bytes not in kinds:
            packed.append(map(_pack, values))
        else:
            packed.append(map(_stored_value, values))
    return map(b"".join, zip(*packed, strict=True))


def digests(packed: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of what was packed."""
    return list(map(xxhash.xxh3_128_digest, packed))


def _stored_value(value: SQLiteValue) -> bytes:
    return _HEADS[len(value)] + value if isinstance(value, bytes) else _pack(value)


class _Heads(dict[int, bytes]):
    """What stands before a text in MessagePack, by its bytes; the usual sizes are kept."""

    def __missing__(self, size: int) -> bytes:
        head = _text_head(size)
        if size < KEPT_SIZES:
            self[size] = head
        return head


#: Heads of texts up to so many bytes are made once.
KEPT_SIZES = 8192
_HEADS = _Heads()


def _text_head(size: int) -> bytes:
    """What stands before a text of so many bytes in MessagePack."""
    if size < 32:
        return bytes([0xA0 | size])
    if size < 2**8:
        return b"\xd9" + size.to_bytes(1, "big")
    if size < 2**16:
        return b"\xda" + size.to_bytes(2, "big")
    return b"\xdb" + size.to_bytes(4, "big")


@lru_cache
def _array_head(length: int) -> bytes:
    """What stands before an array of so many values."""
    return bytes([0x90 | length]) if length < 16 else b"\xdc" + length.to_bytes(2, "big")
