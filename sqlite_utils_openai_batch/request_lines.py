"""Request lines of many rows, put together when they are wanted: their sizes are known before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import add


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that consist of the same bytes but for their number and the strings of their rows."""

    start: bytes
    """What stands before the number."""
    numbers: Sequence[int]
    """They never fall from row to row."""
    strings: Sequence[tuple[bytes, Sequence[bytes]]]
    """What stands before a string, and the string of each row."""
    end: bytes

    def sizes(self) -> list[int]:
        """Return the bytes of each line."""
        same = len(self.start) + len(self.end) + sum(len(before) for before, _ in self.strings)
        least, most = len(str(self.numbers[0])), len(str(self.numbers[-1]))
        sizes: Iterable[int] = repeat(same + least)
        if most > least:
            sizes = [same + len(str(number)) for number in self.numbers]
        for _, strings in self.strings:
            sizes = map(add, sizes, map(len, strings))
        return list(sizes)

    def line(self, index: int) -> bytes:
        """Return one line."""
        parts = [self.start, b"%d" % self.numbers[index]]
        for before, strings in self.strings:
            parts += before, strings[index]
        return b"".join([*parts, self.end])

    def all(self) -> list[bytes]:
        """Return all lines."""
        parts: list[Iterable[bytes]] = [repeat(self.start), map(b"%d".__mod__, self.numbers)]
        for before, strings in self.strings:
            parts += repeat(before), strings
        # the columns end, what is repeated doesn't
        return list(map(b"".join, zip(*parts, repeat(self.end))))


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
