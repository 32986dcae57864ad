"""A part's file as it is about to be sent: its lines, their requests, and what stays behind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .ceiling import PartBound
from .part_lines import PartLines
from .store import Part

if TYPE_CHECKING:
    from hashlib import _Hash as Hash


@dataclass
class RenderedPart:
    """A part's file as it is about to be sent."""

    path: Path
    most: int
    """Bytes that the provider takes in one file."""
    bound: PartBound | None
    size: int = 0
    ids: list[int] = field(default_factory=list)
    """The request of each line."""
    hashes: list[tuple[bytes, int]] = field(default_factory=list)
    gone: list[tuple[str, str | None, str | None, int]] = field(default_factory=list)
    overflow: list[int] = field(default_factory=list)
    """Requests that don't fit any more: rows can have grown since they were planned."""
    overflow_size: int = 0
    """Bytes of their lines."""
    _digest: Hash = field(default_factory=hashlib.sha256)

    @property
    def lines(self) -> int:
        """How many lines the file has."""
        return len(self.ids)

    @property
    def sha256(self) -> bytes:
        """The first half of the hash of the file."""
        return self._digest.digest()[:16]

    @property
    def requests(self) -> list[int]:
        """All requests of the part that were looked at, in their order."""
        return sorted([*self.ids, *self.overflow, *(gone[-1] for gone in self.gone)])

    def add(self, some: PartLines, file: BinaryIO) -> None:
        """Write the next lines of the part."""
        self.gone += [("unrenderable", None, why, one) for one, why in some.problems]
        ids, lines = some.ids, some.lines
        if self.overflow or self.size + sum(map(len, lines)) > self.most:
            ids, lines = self.fitting(some)
        kept = frozenset(ids)
        self.hashes += [(now, one) for now, one in some.changed if one in kept]
        written = b"".join(lines)
        self._digest.update(written)
        file.write(written)
        self.size += len(written)
        self.ids += ids
        if self.bound is not None:
            for line in lines:
                self.bound.add(line)

    def fitting(self, some: PartLines) -> tuple[list[int], list[bytes]]:
        """Sort out what fits no file at all, and what is left for another part."""
        ids, lines, size = [], [], self.size
        for request_id, line in zip(some.ids, some.lines, strict=True):
            if len(line) > self.most:
                message = f"one line of {len(line):,} bytes; the limit is {self.most:,}"
                self.gone.append(("too_large", None, message, request_id))
            elif self.overflow or size + len(line) > self.most:
                self.overflow.append(request_id)
                self.overflow_size += len(line)
            else:
                ids.append(request_id)
                lines.append(line)
                size += len(line)
        return ids, lines


def resized(part: Part, size: int, requests: int) -> Part:
    """A part over some of another's requests: their bytes, and its share of what was estimated.

    Tokens follow the bytes. So does the bound of the cost, but answers may be as long in short
    lines: it never falls behind the share of the requests.
    """

    def share(value: int | None, some: int, whole: int) -> int | None:
        return value if value is None or not whole else -(-value * some // whole)

    by_size = share(part.upper_cost_nanousd, size, part.bytes)
    by_number = share(part.upper_cost_nanousd, requests, part.requests)
    return replace(
        part,
        requests=requests,
        bytes=size,
        estimated_tokens=share(part.estimated_tokens, size, part.bytes),
        upper_cost_nanousd=None if by_size is None else max(by_size, by_number or 0),
    )


def figures(part: Part) -> dict[str, int | None]:
    """The columns that tell how much a part is."""
    return {
        "requests": part.requests,
        "bytes": part.bytes,
        "estimated_tokens": part.estimated_tokens,
        "upper_cost_nanousd": part.upper_cost_nanousd,
    }
