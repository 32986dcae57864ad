"""SQLite values as templates see them, and as JSON (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any, NoReturn

import orjson

from ..base.errors import UnrenderableRow
from ..base.json import Null, without_surrogates

_OPTIONS = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_NON_STR_KEYS


NULL = Null()


class Blob:
    """A BLOB: it can be tested, and has no place in text."""

    __slots__ = ("_column", "_value")

    def __init__(self, column: str, value: bytes) -> None:
        self._column = column
        self._value = value

    def __str__(self) -> NoReturn:
        raise blob_in_text(self._column)

    __repr__ = __str__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __len__(self) -> int:
        return len(self._value)


def blob_in_text(column: str) -> UnrenderableRow:
    """Return the error of a row whose `column` holds a BLOB where text is needed."""
    return UnrenderableRow(f"{column} holds a BLOB, which cannot be put into text.")


def wrapped(column: str, value: Any) -> Any:
    """Return an SQLite value as templates see it."""
    if value is None:
        return NULL
    return Blob(column, value) if value.__class__ is bytes else value


def finalize(value: Any) -> Any:
    """Make what `{{ }}` prints: NULL as empty text; lists, objects and booleans as JSON."""
    if value is None:
        return ""
    if isinstance(value, (list, dict, tuple, bool)):
        return json_text(value)
    return value


def json_bytes(value: Any) -> bytes:
    """Return compact JSON; a lone surrogate, which UTF-8 can't hold, becomes U+FFFD."""
    try:
        return orjson.dumps(value, _plain, _OPTIONS)
    except orjson.JSONEncodeError as error:
        if "surrogates" in str(error):
            return orjson.dumps(without_surrogates(value), _plain, _OPTIONS)
        if isinstance(error.__cause__, UnrenderableRow):
            raise error.__cause__ from None
        raise


def _plain(value: Any) -> Any:
    if isinstance(value, Null):
        return None
    if isinstance(value, Blob):
        str(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} can't be JSON")


def json_text(value: Any) -> str:
    """Return the JSON of a value, for `| json`.

    TEXT that holds a JSON object or array stands for that, other TEXT for a JSON string.
    """
    if value.__class__ is str:
        value = _structure(value)
    elif value.__class__ is float:
        if not isfinite(value):
            raise UnrenderableRow(f"{value} can't be JSON.")
        return repr(value)  # the same digits whatever the version of orjson
    try:
        return json_bytes(value).decode()
    except orjson.JSONEncodeError as error:
        raise UnrenderableRow(f"This can't be JSON: {error}.") from error


def number_text(value: Any) -> str:
    """Return the JSON of a number, also of one that is text, for `| number`. NULL is null.

    Raises ValueError for what is not a number.
    """
    if isinstance(value, Null):
        return "null"
    if isinstance(value, str):
        try:
            number = orjson.loads(value.strip())
        except orjson.JSONDecodeError:
            number = value
        value = number
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{str(value)!r} is not a number")
    return json_text(value)


def _structure(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return text


def from_json(value: Any) -> Any:
    """Read JSON text, for `| fromjson`. NULL stays NULL; raises ValueError for other text."""
    if isinstance(value, Null):
        return NULL
    try:
        return _nulls(orjson.loads(without_surrogates(str(value))))
    except orjson.JSONDecodeError as error:
        raise ValueError(f"no JSON for fromjson: {error}") from error


def _nulls(value: Any) -> Any:
    if value is None:
        return NULL
    if isinstance(value, list):
        return [_nulls(one) for one in value]
    if isinstance(value, dict):
        return {key: _nulls(one) for key, one in value.items()}
    return value


# JSON strings that are one line for every reader, also for one that uses `splitlines()` (pure).


def json_string(text: str) -> bytes:
    """Return a JSON string. U+0085, U+2028 and U+2029 are escaped: for some they end a line."""
    try:
        made = orjson.dumps(text)
    except orjson.JSONEncodeError:
        made = json_bytes(text)
    return one_line(made) if breaks(text) else made


def json_strings(texts: list[str]) -> list[bytes]:
    """Return JSON strings, each as `json_string` makes it."""
    try:
        made = list(map(orjson.dumps, texts))
    except orjson.JSONEncodeError:
        return list(map(json_string, texts))
    for index, text in enumerate(texts):
        if breaks(text):
            made[index] = one_line(made[index])
    return made


def json_value(text: str) -> bytes:
    """Return text that is JSON already, as one line for every reader."""
    made = text.encode()
    return one_line(made) if breaks(text) else made


def breaks(text: str) -> bool:
    """Whether a text holds what ends a line for `splitlines()` and for nobody else."""
    # looking through str takes a tenth of the time of looking through its bytes
    return not text.isascii() and ("\u2028" in text or "\u2029" in text or "\x85" in text)


def one_line(made: bytes) -> bytes:
    """Escape what ends a line for `splitlines()`; these bytes stand only inside strings."""
    return (
        made.replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
        .replace(b"\xc2\x85", b"\\u0085")
    )
