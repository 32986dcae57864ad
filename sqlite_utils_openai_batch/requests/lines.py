"""Lines straight from TEXT as it is stored: decoded and escaped for many rows at once (pure).

Decoding each value, and encoding what is made of it again, is most of the work of rendering.
Where a template is nothing but text and plain placeholders, the bytes of many rows are joined,
decoded once (which also tells whether they are valid), escaped once and cut again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from operator import add

import orjson

from ..tables.sql import SQLiteValue
from .placeholders import Piece
from .values import breaks, one_line

#: Stands between the texts of rows: JSON leaves it as it is, and text rarely holds it. Where it
#: does there is one piece too many, and the rows go another way.
MARK = "\x7f"
_MARK = MARK.encode()

Columns = Sequence[Sequence[SQLiteValue]]

_NUMBERS = {int, float}


class StoredSlot:
    """A string of plain placeholders, for rows as they are stored."""

    def __init__(self, texts: Sequence[str], indexes: Sequence[int]) -> None:
        """`texts` stand before, between and after the placeholders for columns `indexes`."""
        self._texts = [text.encode() for text in texts]
        self._indexes = indexes

    def strings(self, columns: Columns) -> Marked | None:
        """Return the JSON strings of rows, without their quotes.

        None where a value isn't valid UTF-8, or holds the mark between rows.
        """
        pieces: list[Iterable[bytes]] = [repeat(self._texts[0])]
        for text, index in zip(self._texts[1:], self._indexes, strict=True):
            pieces += _printed(columns[index]), repeat(text)
        pieces.append(repeat(_MARK))
        # the columns end, what is repeated doesn't
        joined = b"".join(chain.from_iterable(zip(*pieces)))  # noqa: B905
        try:
            whole = joined.decode()
        except UnicodeDecodeError:
            return None
        made = orjson.dumps(whole)
        if breaks(whole):
            made = one_line(made)
        data = made[1:-1]
        # taking marks out tells how many there were in a tenth of the time of counting them
        marks = len(data) - len(data.replace(_MARK, b""))
        return Marked(data) if marks == len(columns[0]) else None


def stored_slot(pieces: Sequence[str | Piece] | None) -> StoredSlot | None:
    """Return the slot for pieces that are text and plain placeholders, None for others.

    Placeholders must not touch: half a character at the end of one value and half at the
    beginning of the next would be taken for a whole one.
    """
    texts, indexes = [""], list[int]()
    for piece in pieces or ():
        if isinstance(piece, str):
            texts[-1] += piece
        elif not piece.plain or (indexes and not texts[-1]):
            return None
        else:
            indexes.append(piece.index)
            texts.append("")
    if not indexes or any(MARK in text for text in texts):
        return None
    return StoredSlot(texts, indexes)


def _printed(values: Sequence[SQLiteValue]) -> Iterable[bytes]:
    """Return what a placeholder makes of values."""
    kinds = set(map(type, values))
    if kinds == {bytes}:
        return values  # type: ignore[return-value]
    if kinds <= _NUMBERS:
        return map(str.encode, map(str, values))
    return [
        value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
        for value in values
    ]


def all_filled(values: Sequence[SQLiteValue]) -> bool:
    """Whether none of these values is blank; False also where that takes a closer look."""
    kinds = set(map(type, values))
    if kinds <= _NUMBERS:
        return True
    if kinds == {str}:
        return all(map(str.strip, values))  # type: ignore[arg-type]
    # Each begins with a character that is no space, and stands for itself in every encoding.
    return kinds == {bytes} and min(values) >= b"!" and max(values) < b"\x7f"  # type: ignore[type-var, operator]


def is_number(value: SQLiteValue) -> bool:
    """Whether a value is a number, which is never blank."""
    return type(value) in _NUMBERS


def decoded(columns: Columns) -> list[list[SQLiteValue]]:
    """Return columns with their TEXT decoded: U+FFFD stands where bytes are no text."""
    return [
        [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for value in column
        ]
        for column in columns
    ]


# Request lines of many rows, put together when they are wanted: their sizes are known before.


class Marked:
    """The strings of many rows one after another, with the mark behind each: cut where asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._cut: list[bytes] | None = None

    def cut(self) -> list[bytes]:
        """Return the string of each row."""
        if self._cut is None:
            self._cut = self.data.split(_MARK)
            self._cut.pop()
        return self._cut


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that consist of the same bytes but for their number and the strings of their rows."""

    start: bytes
    """What stands before the number."""
    numbers: Sequence[int]
    """They never fall from row to row."""
    strings: Sequence[tuple[bytes, Sequence[bytes] | Marked]]
    """What stands before a string, and the string of each row."""
    end: bytes

    def _each(self) -> Iterator[tuple[bytes, Sequence[bytes]]]:
        """Yield what stands before a string, and the string of each row, cut."""
        for before, strings in self.strings:
            yield before, strings.cut() if isinstance(strings, Marked) else strings

    def sizes(self) -> list[int]:
        """Return the bytes of each line."""
        same = len(self.start) + len(self.end) + sum(len(before) for before, _ in self.strings)
        least, most = len(str(self.numbers[0])), len(str(self.numbers[-1]))
        sizes: Iterable[int] = repeat(same + least)
        if most > least:
            sizes = [same + len(str(number)) for number in self.numbers]
        for _, strings in self._each():
            sizes = map(add, sizes, map(len, strings))
        return list(sizes)

    def line(self, index: int) -> bytes:
        """Return one line."""
        parts = [self.start, b"%d" % self.numbers[index]]
        for before, strings in self._each():
            parts += before, strings[index]
        return b"".join([*parts, self.end])

    def all(self) -> list[bytes]:
        """Return all lines."""
        parts: list[Iterable[bytes]] = [repeat(self.start), map(b"%d".__mod__, self.numbers)]
        for before, strings in self._each():
            parts += repeat(before), strings
        # the columns end, what is repeated doesn't
        return list(map(b"".join, zip(*parts, repeat(self.end))))

    def whole(self) -> bytes:
        """Return all lines in one piece, the same bytes as those of `all`."""
        before, strings = self.strings[0]
        if len(self.strings) > 1 or not isinstance(strings, Marked):
            return b"".join(self.all())
        # One string a row, and not cut yet: what stands between two strings takes the mark's place.
        head, end = _literal(self.start) + b"%d" + _literal(before), _literal(self.end)
        form = _literal(strings.data[: -len(_MARK)]).replace(_MARK, end + head)
        return b"".join((head, form, end)) % tuple(self.numbers)


@dataclass(frozen=True, slots=True)
class Ready:
    """Lines that are there, b"" for a row that has none."""

    lines: list[bytes]

    def sizes(self) -> list[int]:
        """Return the bytes of each line."""
        return list(map(len, self.lines))

    def line(self, index: int) -> bytes:
        """Return one line."""
        return self.lines[index]

    def all(self) -> list[bytes]:
        """Return all lines."""
        return self.lines

    def whole(self) -> bytes:
        """Return all lines in one piece."""
        return b"".join(self.lines)


def _literal(data: bytes) -> bytes:
    """Return bytes as a form for `%` prints them as they are."""
    return data.replace(b"%", b"%%")
