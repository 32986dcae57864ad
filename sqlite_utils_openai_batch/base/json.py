r"""JSON that did not come out of a tidy encoder, read without surprises.

msgspec reads what is well formed, fast. What it refuses is read here: lone surrogate escapes
(`"\ud83d"`, from text cut in the middle of an emoji), control characters in strings, `NaN`,
numbers of thousands of digits. SQLite stores neither lone surrogates nor NaN, so neither
comes out.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

from .errors import DatabaseError
from .text import cut

# Python refuses integers of more than 4,300 digits; what is longer than any that SQLite
# stores can as well be a float.
_LONGEST_INTEGER = 40


def loads(text: str, *, nan: bool = False) -> Any:
    """Read one JSON value, forgiving about what is inside strings and numbers.

    Args:
        text: the JSON text; a byte order mark and white space around it don't matter.
        nan: read `NaN` and `Infinity`, which Python's json module writes, as null. Otherwise
            they are an error, as in the JSON standard.

    Raises:
        ValueError: this is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            strict=False,
            parse_int=_integer,
            parse_constant=_null if nan else _refuse,
        )
        return _well_formed_value(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def well_formed(text: str) -> str:
    """Return `text` with each lone surrogate replaced by U+FFFD, so that it encodes as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _well_formed_value(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed_value(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(key): _well_formed_value(item) for key, item in value.items()}
    return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _null(_name: str) -> None:
    return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# JSON that this program keeps in its own tables, read back: anybody may have changed it since.

T = TypeVar("T", dict[str, Any], list[Any])


def kept_json(text: object, kind: type[T], column: str, job: int | None = None) -> T:
    """The object or list that a column of a job holds. Raises DatabaseError where it holds none."""
    try:
        value = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise unreadable(text, column, job)
    return value


def unreadable(value: object, column: str, job: int | None = None) -> DatabaseError:
    """The error of a column that holds what this program never wrote there."""
    said = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    # Whoever wrote it may have meant to write to the terminal.
    shown = cut("".join(letter if letter.isprintable() else "?" for letter in said), 60)
    where = f"{column} holds" if job is None else f"job {job} has"
    what = "" if job is None else f" in {column}"
    return DatabaseError(
        f"This database was changed by another program: {where} '{shown}'{what}, which this one "
        "never writes. Put back what a backup of the database has there."
    )


def kept_counts(text: object) -> dict[str, int]:
    """Numbers by name; what is none is left out, since a list of jobs goes on without it."""
    try:
        found = kept_json(text, dict, "")
    except DatabaseError:
        return {}
    return {name: n for name, n in found.items() if isinstance(n, int)}


def kept_words(text: object) -> dict[str, str]:
    """Words by name, for people to read; nothing where they can't be read."""
    try:
        found = kept_json(text or "{}", dict, "")
    except DatabaseError:
        return {}
    return {name: str(value) for name, value in found.items()}


_SURROGATES = re.compile("[\ud800-\udfff]")


class Null(str):
    """SQL NULL: empty text that `is none` and `default` know. It never says None."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def without_surrogates(value: Any) -> Any:
    """Return text or JSON data with U+FFFD for each lone surrogate."""
    if isinstance(value, Null):
        return value
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(one) for one in value]
    return value
