"""Byte-safe JSONL lines (no database, no JSON): what a file holds, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

BOM = b"\xef\xbb\xbf"

#: Longest line that is handed over whole, in bytes. A provider's file is at most 200 MB, and
#: the longest answers seen (embeddings, images) are far below this.
MAX_LINE = 128 * 1024 * 1024

#: Bytes that are kept of a longer line: enough to read its custom_id.
HEAD = 4096

_SKIP = 1024 * 1024


class ByteLines(Protocol):
    """A binary file, or whatever reads like one."""

    def readline(self, size: int = -1, /) -> bytes:
        """Return bytes up to and with the next newline, `size` bytes at most."""


class CutLine(bytes):
    """The first bytes of a line that is longer than `max_line`.

    It is no whole JSON, so a reader that doesn't look for it meets a malformed line.
    """

    size: int
    """Bytes of the whole line, without its end."""

    def __new__(cls, head: bytes, size: int) -> CutLine:
        """Keep `head`, the first bytes of a line of `size` bytes."""
        line = super().__new__(cls, head)
        line.size = size
        return line


def iter_lines(file: ByteLines, *, max_line: int = MAX_LINE) -> Iterator[tuple[int, bytes]]:
    r"""Yield (line number from 1, bytes without the line end) of a binary file.

    Lines end at ``\n`` only: U+2028 and its like are text. A byte order mark and the CR of a
    CRLF are dropped, blank lines are counted and skipped, the last line needs no newline. At
    most one line is in memory; one longer than `max_line` bytes comes as a `CutLine`.
    """
    limit = len(BOM) + max_line + len(b"\r\n")
    head = min(HEAD, max_line)
    number = 0
    while line := file.readline(limit):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM)
        if line.endswith(b"\n"):
            line = line[:-1]
        elif len(line) >= limit - len(BOM):
            yield number, CutLine(line[:head], _whole_size(file, line))
            continue
        if line.endswith(b"\r"):
            line = line[:-1]
        if len(line) > max_line:
            yield number, CutLine(line[:head], len(line))
        elif line and not line.isspace():
            yield number, line


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
