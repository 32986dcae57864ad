"""The lines of an input file with their numbers, read in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson

Line = tuple[int, bytes]
"""A line with its number."""
BLOCK_BYTES = 4_000_000
"""A block of lines gets no more lines once it holds so many bytes: pictures are long."""


def numbered_lines(path: Path) -> Iterator[Line]:
    """Yield (line number from 1, bytes) of each line that isn't blank; splits at b"\\n" only."""
    with path.open("rb", buffering=1 << 20) as file:
        yield from filter(itemgetter(1), enumerate(map(bytes.strip, file), 1))


def count_lines(path: Path) -> int:
    """Count the lines that aren't blank."""
    with path.open("rb", buffering=1 << 20) as file:
        return sum(map(bool, map(bytes.strip, file)))


def blocks(lines: Iterable[Line], size: int) -> Iterator[list[Line]]:
    """The lines in blocks of so many, and of fewer where lines are long."""
    block: list[Line] = []
    held = 0
    for line in lines:
        block.append(line)
        held += len(line[1])
        if len(block) >= size or held > BLOCK_BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the line's JSON object; None when it is something else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def batch_url(url: str) -> str:
    """Bring `/chat/completions`, as Azure writes it, to `/v1/chat/completions`."""
    return url if url.startswith("/v1/") else "/v1" + url


# Most lines of a file were written by one program, and differ in two places.

CONVERSATIONS = ("/v1/chat/completions", "/v1/responses")
"""Endpoints where lines differ in their last text only, which has no say in what is wrong."""
CUSTOM_ID = "the custom_id of a line"
LAST_TEXT = "the last text of a line"
"""What stands in the blanks of a form, where something must."""

_ID = re.compile(rb'"custom_id"\s*:\s*"([^"\\]*)"')
_TEXT = re.compile(rb'"(?:content|input)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Form:
    """A line with two blanks: its custom_id, and the last text that it asks.

    Whoever knows one line knows all lines of its form, but for what stands in the blanks.
    """

    request: dict[str, Any]
    """The line's object, CUSTOM_ID and LAST_TEXT in the blanks."""
    start: bytes
    middle: bytes
    end: bytes

    @classmethod
    def of(cls, line: bytes, request: Mapping[str, Any]) -> Form | None:
        """The form of a line, whose object is `request`; None where it can't have one."""
        blank, custom_id = _with_blanks(request), _ID.search(line)
        if blank is None or custom_id is None:
            return None
        texts = list(_TEXT.finditer(line, custom_id.end()))
        if not texts:
            return None
        text = texts[-1]
        start, end = line[: custom_id.start(1)], line[text.end(1) :]
        middle = line[custom_id.end(1) : text.start(1)]
        filled = b"%b%b%b%b%b" % (start, CUSTOM_ID.encode(), middle, LAST_TEXT.encode(), end)
        # only so is it certain that the blanks are where they should be
        return cls(blank, start, middle, end) if parse_line(filled) == blank else None

    def read(self, lines: Sequence[bytes]) -> tuple[list[str], list[str]] | None:
        """What stands in the blanks of lines: custom_ids, and texts.

        None where a line is of another form, or isn't JSON.
        """
        start, middle, end = self.start, self.middle, self.end
        first, last = len(start), -len(end)
        parts = [
            line[first:last].partition(middle)
            for line in lines
            if line.startswith(start) and line.endswith(end)
        ]
        if len(parts) < len(lines):
            return None
        ids, found, texts = zip(*parts, strict=True)
        names = b"".join(ids)
        if not all(found) or b'"' in names or b"\\" in names:
            return None
        try:
            # A line break can't be in a string. So no text swallows what is beside it, and one
            # that is none, or two, shows in their number.
            values: list[str] = orjson.loads(b'["%b"]' % b'"\n,\n"'.join(ids + texts))
        except orjson.JSONDecodeError:
            return None
        count = len(lines)
        return (values[:count], values[count:]) if len(values) == 2 * count else None


def _with_blanks(request: Mapping[str, Any]) -> dict[str, Any] | None:
    body = request["body"]
    for name in ("messages", "input"):
        given = body.get(name)
        if isinstance(given, str):
            return {**request, "custom_id": CUSTOM_ID, "body": {**body, name: LAST_TEXT}}
        last = given[-1] if isinstance(given, list) and given else None
        if isinstance(last, dict) and isinstance(last.get("content"), str):
            texts = [*given[:-1], {**last, "content": LAST_TEXT}]
            return {**request, "custom_id": CUSTOM_ID, "body": {**body, name: texts}}
    return None


class Tries:
    """Which lines of a file to try as a form: few, for where lines aren't alike none helps."""

    def __init__(self, most: int = 20) -> None:
        self._left = most
        self._odd = 0

    def fitted(self) -> None:
        """Take note that lines were of the form that is known."""
        self._odd = 0

    def wanted(self, form: object) -> bool:
        """Whether to try a line that isn't of this form: not the first odd one among others."""
        self._odd += 1
        if not self._left or (form is not None and self._odd == 1):
            return False
        self._left -= 1
        return True


def piecewise(
    block: Sequence[Line],
    together: Callable[[Sequence[Line]], bool],
    single: Callable[[int, bytes], None],
) -> None:
    """Give lines to `together`, in pieces as large as it takes; to `single` what it doesn't."""
    if together(block):
        return
    if len(block) == 1:
        single(*block[0])
        return
    half = len(block) // 2
    piecewise(block[:half], together, single)
    piecewise(block[half:], together, single)
