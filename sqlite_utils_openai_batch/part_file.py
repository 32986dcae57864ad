"""A part's file as it is about to be sent: its lines, their requests, and what stays behind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .ceiling import PartBound
from .part_lines import PartLines

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
            else:
                ids.append(request_id)
                lines.append(line)
                size += len(line)
        return ids, lines
