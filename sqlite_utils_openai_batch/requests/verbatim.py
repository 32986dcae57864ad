"""Request lines that somebody else made: sent as they came, but for their custom_id (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any

import msgspec
import orjson

from ..base.errors import UnrenderableRow
from ..tables.sql import SQLiteValue
from .values import json_bytes, json_string

#: A line as nearly every program writes it: its custom_id comes first, with nothing escaped.
_FIRST = re.compile(rb'[ \t\r]*\{[ \t\r]*"custom_id"[ \t\r]*:[ \t\r]*("[^"\\]*")')
_NAME = b"custom_id"
#: A letter written as an escape. Few programs write letters so.
_HIDDEN = re.compile(rb"\\u00[4-7]")
_BODY = re.compile(rb'"body"')
_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = JSONDecoder()
#: Names in a body of what is asked, as text.
_ASKED = ("messages", "input")
_whole = msgspec.json.Decoder(msgspec.Raw)


def id_spans(lines: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where the value of each line's custom_id stands, in bytes, its quotes included.

    The lines are JSON objects. Raises ValueError for one that has no custom_id.
    """
    first = _FIRST.match(lines[0])
    if first:
        # Lines of one program begin alike, so most need no look of their own.
        start = first.start(1) + 1
        begin = lines[0][:start]
        ends = [line.find(b'"', start) for line in lines if line.startswith(begin)]
        if len(ends) == len(lines) and -1 not in ends:
            ids = b"".join([line[start:end] for line, end in zip(lines, ends, strict=True)])
            if b"\\" not in ids:
                return [(start - 1, end + 1) for end in ends]
    return list(map(id_span, lines))


def have_one_id(lines: Sequence[bytes]) -> bool:
    """Whether no line names its custom_id twice, as far as can be told at once.

    Where this is False, `id_span` tells of each.
    """
    whole = b"\n".join(lines)
    return whole.count(_NAME) == len(lines) and not is_hidden(whole)


@dataclass(frozen=True, slots=True)
class Shape:
    """A line that was found to be right, without its custom_id and the text that it asks.

    Lines of one program differ in nothing else, and so need no other look: `custom_ids`.
    """

    start: bytes
    """All before the custom_id, with the quote that opens it."""
    middle: bytes
    """All from the quote that closes it to what is asked."""
    end: bytes

    @classmethod
    def of(cls, line: bytes) -> Shape | None:
        """The shape of a JSON object; None where its parts stand in another order."""
        try:
            return cls._of(line.decode())
        except (ValueError, RecursionError):
            # Numbers of thousands of digits, or lists in lists in lists: no line of a shape.
            return None

    @classmethod
    def _of(cls, text: str) -> Shape | None:
        parts = list(members(text))
        ids = [(start, end) for name, start, end in parts if name == "custom_id"]
        bodies = [(start, end) for name, start, end in parts if name == "body"]
        if len(ids) != 1 or len(bodies) != 1 or ids[0] > bodies[0]:
            return None
        ((first, last),) = ids
        ((begin, _),) = bodies
        body = text[slice(*bodies[0])]
        asked = [(start, end) for name, start, end in members(body) if name in _ASKED]
        if len(asked) != 1 or text[first] != '"':
            return None
        start, end = _last_said(body, *asked[0])
        if body[start] != '"':
            return None
        return cls(
            text[: first + 1].encode(),
            text[last - 1 : begin + start].encode(),
            text[begin + end :].encode(),
        )

    def custom_ids(self, lines: Sequence[bytes]) -> list[str] | None:
        """The custom_ids of lines of this shape; None where one of them isn't."""
        first, before, after = len(self.start), len(self.middle), len(self.end)
        start, middle, end = self.start, self.middle, self.end
        ids = []
        try:
            for line in lines:
                last = line.index(b'"', first)
                asked = line[last + before : len(line) - after]
                if not (
                    line.startswith(start) and line.startswith(middle, last) and line.endswith(end)
                ):
                    return None
                # Of text, only an empty one may be wrong.
                if len(asked) < 3 or not asked.startswith(b'"'):
                    return None
                # It is only looked at, not read: a third of the time.
                _whole.decode(asked)
                asked.decode()
                ids.append(line[first:last])
            found = orjson.loads(b'["%b"]' % b'","'.join(ids))
        except ValueError:
            return None
        # With a backslash the custom_id may end elsewhere; without a letter it is none.
        return found if b"\\" not in b"".join(ids) and all(found) else None


def is_hidden(data: bytes) -> bool:
    """Whether a letter is written as an escape, so that a name may hide behind it."""
    # looking for one byte takes a tenth of the time
    return b"\\" in data and b"\\u00" in data and _HIDDEN.search(data) is not None


def id_span(line: bytes) -> tuple[int, int]:
    """Where the value of one line's custom_id stands. Raises ValueError for none, or two."""
    found = _FIRST.match(line)
    if found and line.find(_NAME, found.end()) < 0 and not is_hidden(line):
        return found.span(1)
    text = line.decode()
    spans = [(start, end) for name, start, end in members(text) if name == "custom_id"]
    if len(spans) != 1 or text[spans[0][0]] != '"':
        raise ValueError("custom_id is there twice" if spans else "it has no custom_id")
    (start, end) = spans[0]
    first = len(text[:start].encode())
    return first, first + len(text[start:end].encode())


def members(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each name of a JSON object, and where its value begins and ends, in characters."""
    at = _after_space(text, 0)
    while at < len(text) and text[at] in "{,":
        at = _after_space(text, at + 1)
        if text[at : at + 1] != '"':
            return
        name, at = scanstring(text, at + 1, True)
        start = _after_space(text, _after_space(text, at) + 1)
        _, end = _decoder.raw_decode(text, start)
        yield name, start, end
        at = _after_space(text, end)


def _last_said(body: str, start: int, end: int) -> tuple[int, int]:
    """Where the text of the last message begins and ends; else where all that is asked does."""
    at, last = start, None
    while body[at] in "[,":
        at = _after_space(body, at + 1)
        if body[at] == "]":
            break
        last = at
        _, at = _decoder.raw_decode(body, at)
        at = _after_space(body, at)
    if last is None or body[last] != "{":
        return start, end
    said = body[last:at]
    found = [(one, two) for name, one, two in members(said) if name == "content"]
    if len(found) != 1:
        return start, end
    return last + found[0][0], last + found[0][1]


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


@dataclass(frozen=True, slots=True)
class GivenLines:
    """Lines of many rows with an id of ours in each, put together when they are wanted."""

    prefix: bytes
    """What stands before the number in an id, as JSON, with the quote that opens it."""
    numbers: Sequence[int]
    lines: Sequence[bytes]
    spans: Sequence[tuple[int, int]]

    def sizes(self) -> list[int]:
        """Return the bytes of each line with its newline."""
        more = len(self.prefix) + len(b'"\n')
        return [
            len(line) + more + len(str(number)) - end + start
            for number, line, (start, end) in zip(self.numbers, self.lines, self.spans, strict=True)
        ]

    def line(self, index: int) -> bytes:
        """Return one line."""
        line, (start, end) = self.lines[index], self.spans[index]
        return b'%b%b%d"%b\n' % (line[:start], self.prefix, self.numbers[index], line[end:])

    def all(self) -> list[bytes]:
        """Return all lines."""
        return [self.line(index) for index in range(len(self.lines))]

    def whole(self) -> bytes:
        """Return all lines in one piece."""
        return b"".join(self.all())


def given_lines(
    prefix: str,
    numbers: Sequence[int],
    values: Sequence[SQLiteValue],
    changes: Mapping[str, Any],
    *,
    fresh: bool = False,
) -> GivenLines:
    """Take lines as they stand in a table; `changes` are a retry's, to the body of each.

    Those that are `fresh` from a file that was checked need no look of their own.

    Raises UnrenderableRow where one of them is not a request any more.
    """
    lines = as_lines(values, fresh) if not changes else None
    if lines is None:
        lines = [as_line(value, changes) for value in values]
    try:
        spans = id_spans(lines)
    except ValueError as error:
        raise UnrenderableRow(f"the request can't be sent: {error}") from error
    return GivenLines(json_string(prefix)[:-1], numbers, lines, spans)


def span_of(line: bytes) -> tuple[int, int]:
    """Where a line's custom_id stands, as `id_span`. Raises UnrenderableRow."""
    try:
        return id_span(line)
    except ValueError as error:
        raise UnrenderableRow(f"the request can't be sent: {error}") from error


def as_lines(values: Sequence[SQLiteValue], fresh: bool) -> list[bytes] | None:
    """Many lines as they stand in a table; None where each needs a look of its own."""
    kinds = set(map(type, values))
    if kinds == {str}:
        lines = [str(value).encode("utf-8", "surrogatepass") for value in values]
    elif kinds == {bytes}:
        lines = list(values)  # type: ignore[arg-type]
    else:
        return None
    if fresh:
        return lines
    try:
        for _ in map(_whole.decode, lines):
            pass
    except ValueError:
        return None
    whole = b"\n".join(lines)
    if whole.count(b"\n") >= len(lines) or not all(map(_BODY.search, lines)):
        return None
    return lines


def as_line(value: SQLiteValue, changes: Mapping[str, Any]) -> bytes:
    """One line as it stands in a table, checked to be JSON. Raises UnrenderableRow."""
    line = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    try:
        if not isinstance(line, bytes) or b"\n" in line:
            raise ValueError("not one line of text")
        _whole.decode(line)
        if b'"body"' not in line:
            raise ValueError("it has no body")
        if not changes:
            return line
        request = orjson.loads(line)
        return json_bytes({**request, "body": {**request["body"], **changes}})
    except (ValueError, TypeError, KeyError) as error:
        raise UnrenderableRow(f"the request is not JSON of a request: {error}") from error
