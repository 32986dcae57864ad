"""Byte-safe JSONL lines (no database, no JSON): what a file holds, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

BOM = b"\xef\xbb\xbf"

#: Longest line that is handed over whole, in bytes. A provider's file is at most 200 MB, and
#: the longest answers seen (embeddings, images) are far below this.
MAX_LINE = 128 * 1024 * 1024

#: Bytes that are kept of a longer line: enough to read its custom_id.
HEAD = 4096

#: Bytes that are read together: about a hundred lines of usual length. Larger blocks cost twice as
#: much: the C library gives their memory back after each, and the system clears it for the next.
BLOCK = 128 * 1024

_SKIP = 1024 * 1024


class ByteLines(Protocol):
    """A binary file, or whatever reads like one."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""

    def readline(self, size: int, /) -> bytes:
        """Return bytes up to and with the next newline, `size` bytes at most."""


class CutLine(bytes):
    """The first bytes of a line that is longer than `max_line`.

    It is not a whole JSON, so a reader that doesn't look for it meets a malformed line.
    """

    size: int
    """Bytes of the whole line, without its end."""

    def __new__(cls, head: bytes, size: int) -> CutLine:
        """Keep `head`, the first bytes of a line of `size` bytes."""
        line = super().__new__(cls, head)
        line.size = size
        return line


def iter_lines(
    file: ByteLines, *, max_line: int = MAX_LINE, block: int = BLOCK
) -> Iterator[tuple[Sequence[int], list[bytes]]]:
    r"""Yield (line numbers from 1, lines without their ends) of a binary file, a block at a time.

    Lines end at ``\n`` only: U+2028 and its like are text. A byte order mark and the CR of a
    CRLF are dropped, blank lines are counted and skipped, the last line needs no newline. At
    most `block` bytes and one line are in memory; a line longer than `max_line` bytes comes as a
    `CutLine`.
    """
    limit = len(BOM) + max_line + len(b"\r\n")
    number = 1
    while data := file.read(block):
        goes_on = False
        if not data.endswith(b"\n"):
            rest = file.readline(limit)
            goes_on = len(rest) == limit and not rest.endswith(b"\n")
            data += rest
            del rest
        if number == 1:
            data = data.removeprefix(BOM)
        lines = data.split(b"\n")
        # Nearly always one look at the whole block spares one at each line.
        has_cr, may_be_long = b"\r" in data, len(data) > max_line
        del data
        if not lines[-1]:
            lines.pop()
        numbers = range(number, number + len(lines))
        number += len(lines)
        last_size = _whole_size(file, lines[-1]) if goes_on else 0
        if has_cr:
            lines = [line.removesuffix(b"\r") for line in lines]
        if may_be_long:
            lines = _cut(lines, max_line, last_size)
        if all(lines) and not any(map(bytes.isspace, lines)):
            yield numbers, lines
        else:
            yield _filled(numbers, lines)


def _cut(lines: Sequence[bytes], max_line: int, last_size: int) -> list[bytes]:
    """Cut lines that are too long; the last one has `last_size` bytes if that isn't 0."""
    head = min(HEAD, max_line)
    sizes = [*map(len, lines[:-1]), last_size or len(lines[-1])]
    return [
        CutLine(line[:head], size) if size > max_line else line
        for line, size in zip(lines, sizes, strict=True)
    ]


def _filled(numbers: Sequence[int], lines: Sequence[bytes]) -> tuple[list[int], list[bytes]]:
    """Leave out blank lines; of one that was cut nobody knows the rest."""
    kept = [
        n
        for n, line in enumerate(lines)
        if isinstance(line, CutLine) or (line and not line.isspace())
    ]
    return [numbers[n] for n in kept], [lines[n] for n in kept]


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _whole_size(file: ByteLines, start: bytes) -> int:
    """Read to the end of the line that begins with `start`; return its bytes without the end."""
    size, tail = len(start), start[-2:]
    while rest := file.readline(_SKIP):
        size += len(rest)
        tail = (tail + rest)[-2:]
        if rest.endswith(b"\n"):
            break
    return size - len(tail) + len(_without_end(tail))
