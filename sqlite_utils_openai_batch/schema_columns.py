"""From the properties of an answer schema to columns of SQLite, and to words for people.

string → TEXT, integer and boolean → INTEGER, number → REAL, arrays and objects → TEXT as JSON.
Where a property may have several types the column is TEXT: a string as it is, anything else as
JSON. Null is NULL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from .errors import SchemaError
from .jsontext import well_formed
from .schema_limits import resolve
from .shortform import TYPES

SQLiteValue = None | int | float | str | bytes
Reader = Callable[[Any], SQLiteValue]

_SQLITE_TYPES = {"integer": "INTEGER", "boolean": "INTEGER", "number": "REAL"}
_SHORT_TYPES = {json_type: word for word, json_type in TYPES.items()}


class AnswerColumn(msgspec.Struct, frozen=True):
    """A column of an answer.

    `sqlite_type` is TEXT, INTEGER or REAL. `kind` is the JSON type it holds: string, integer,
    number, boolean, array, object, or mixed where the schema allows several.
    """

    name: str
    sqlite_type: str
    kind: str


def columns_of(schema: dict[str, Any]) -> tuple[AnswerColumn, ...]:
    """Return a column for each property of a strict schema.

    Raises:
        SchemaError: a name can't be a column, or not beside another.
    """
    columns = tuple(_column(schema, name, node) for name, node in schema["properties"].items())
    _check_names(columns)
    return columns


def reader(column: AnswerColumn) -> Reader:
    """Return the function that makes a checked value what SQLite stores.

    The function raises OverflowError for a number that doesn't fit.
    """
    return _READERS[column.kind]


def summary(node: dict[str, Any], kind: str) -> str:
    """Return what `describe` says after a property's name."""
    or_null = " or null" * ("null" in _as_list(node.get("type")))
    if "enum" in node:
        labels = len([value for value in node["enum"] if value is not None])
        return f" ({labels} label{'s' * (labels != 1)}){or_null}"
    if kind in ("integer", "number") and "minimum" in node and "maximum" in node:
        return f" {node['minimum']}..{node['maximum']}{' int' * (kind == 'integer')}{or_null}"
    if kind == "array":
        return f" {_list_summary(node)}{or_null}"
    text = {"string": "", "object": " (object)", "mixed": " (mixed)"}
    return text.get(kind, f" {_SHORT_TYPES.get(kind)}") + or_null


def _list_summary(node: dict[str, Any]) -> str:
    items = node.get("items", {})
    type_ = items.get("type")
    if type_ == "string" and "enum" not in items:
        return "list"
    return "list of" + summary(items, type_ if isinstance(type_, str) else "mixed")


def _integer(value: Any) -> SQLiteValue:
    if value is None:
        return None
    number = int(value)  # JSON schema counts 3.0 as an integer
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _real(value: Any) -> SQLiteValue:
    if value is None:
        return None
    number = float(value)
    if math.isinf(number):
        raise OverflowError
    return number


def _text(value: Any) -> SQLiteValue:
    return value  # type: ignore[no-any-return]  # the schema was checked: a string or None


def _json(value: Any) -> SQLiteValue:
    return None if value is None else msgspec.json.encode(value).decode()


def _mixed(value: Any) -> SQLiteValue:
    return value if isinstance(value, str) else _json(value)


_READERS: dict[str, Reader] = {
    "string": _text,
    "integer": _integer,
    "boolean": _integer,
    "number": _real,
    "array": _json,
    "object": _json,
    "mixed": _mixed,
}


def _column(root: dict[str, Any], name: str, node: dict[str, Any]) -> AnswerColumn:
    kinds = _kinds(root, node) - {"null"}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    kind = kinds.pop() if len(kinds) == 1 else "mixed"
    return AnswerColumn(name, _SQLITE_TYPES.get(kind, "TEXT"), kind)


def _kinds(root: dict[str, Any], node: dict[str, Any]) -> set[str]:
    """Return the JSON types that a strict schema allows."""
    if reference := node.get("$ref"):
        return _kinds(root, resolve(root, reference))
    if "anyOf" in node:
        return {kind for variant in node["anyOf"] for kind in _kinds(root, variant)}
    return {node["type"]} if isinstance(node["type"], str) else set(node["type"])


def _check_names(columns: tuple[AnswerColumn, ...]) -> None:
    """Refuse property names that can't be columns side by side."""
    seen: dict[bytes, str] = {}
    for column in columns:
        name = column.name
        if not name.strip() or "\0" in name or well_formed(name) != name:
            raise SchemaError(f"The property name {name!r} can't be a column. Rename it.")
        # SQLite folds ASCII letters only, and so does bytes.lower().
        other = seen.setdefault(name.encode().lower(), name)
        if other is not name:
            raise SchemaError(
                f'"{other}" and "{name}" differ only by case, which SQLite columns can\'t. '
                "Rename one."
            )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
