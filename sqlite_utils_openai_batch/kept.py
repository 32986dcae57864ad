"""JSON that this program keeps in its own tables, read back: anybody may have changed it since."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from .errors import DatabaseError
from .figures import cut

T = TypeVar("T", dict[str, Any], list[Any])


def kept_json(text: object, kind: type[T], column: str) -> T:
    """The object or list that a column holds. Raises DatabaseError where it holds none."""
    try:
        value = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise unreadable(text, column)
    return value


def unreadable(text: object, column: str) -> DatabaseError:
    """The error of a column that holds what this program never wrote."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return DatabaseError(
        f"{column} holds '{cut(said, 40)}', which can't be read: was it changed by hand? "
        "Put back what a backup of the database has there."
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
