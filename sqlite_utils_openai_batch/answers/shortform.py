"""The short form of an answer schema: `name, age int, mood good|bad|not sure, sure 0..1`.

It is the concise syntax of the `llm` tool (https://llm.datasette.io/en/stable/schemas.html):
fields separated by commas, or by newlines if there are any; each a name, a type if it isn't
text, and after a colon what to put there. Beyond llm's `str`, `int`, `float` and `bool` there
are lists, values to choose from, and ranges.
"""

from __future__ import annotations

import re
from typing import Any

from ..base.errors import SchemaError

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

_NUMBER = r"-?\d{1,15}(?:\.\d{1,15})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?: (int|float))?")
_KNOWN = "str, int, float, bool, list, a range like 0..1 or 1..5 int, or values like good|bad"


def parse_short_form(spec: str) -> dict[str, Any]:
    """Turn the short form into a JSON schema: an object of which every property is required.

    Raises:
        SchemaError: names the field and what to write instead.
    """
    properties: dict[str, Any] = {}
    for field in _split(spec):
        name, schema = _field(field)
        if name in properties:
            raise SchemaError(f'The answer schema has "{name}" twice. Give one another name.')
        properties[name] = schema
    if not properties:
        raise SchemaError("The answer schema is empty. Write fields like: category, score 1..5 int")
    return {"type": "object", "properties": properties, "required": list(properties)}


def _split(spec: str) -> list[str]:
    spec = spec.strip()
    if "\n" in spec:
        fields = [line.strip().removesuffix(",").rstrip() for line in spec.split("\n")]
    else:
        fields = [field.strip() for field in spec.split(",")]
    return [field for field in fields if field]


def _field(field: str) -> tuple[str, dict[str, Any]]:
    head, _, description = field.partition(":")
    name, _, type_ = " ".join(head.split()).partition(" ")
    description = description.strip()
    _check_name(name, field)
    if not type_ and "|" in description:
        raise SchemaError(
            f'In "{field}" the values stand where the description goes. For a choice write '
            f'"{name} {description}"; for a text with this description, '
            f'"{name} str: {description}".'
        )
    schema = _type(name, type_)
    if description:
        schema["description"] = description
    return name, schema


def _check_name(name: str, field: str) -> None:
    if not name:
        raise SchemaError(f'In "{field}" there is no name before the colon.')
    if "|" in name:
        raise SchemaError(f'In "{field}" there is no name before the values. Write: name {field}')
    if "," in name:
        raise SchemaError(f'In "{field}" there is a comma. Put each field on a line of its own.')


def _type(name: str, words: str) -> dict[str, Any]:
    """Turn the words after a name into a JSON schema; no words are a text."""
    if words.startswith("list of "):
        items = _type(name, words.removeprefix("list of "))
        if items["type"] == "array":
            raise SchemaError(f'"{name}" is a list of lists. Write it as a JSON schema.')
        return {"type": "array", "items": items}
    if words == "list":
        return {"type": "array", "items": {"type": "string"}}
    if "|" in words:
        return _enumeration(name, words)
    if match := _RANGE.fullmatch(words):
        return _range(name, *match.groups())
    if words and words not in TYPES:
        raise SchemaError(f'"{name}" has the unknown type "{words}". Types are {_KNOWN}.')
    return {"type": TYPES[words or "str"]}


def _enumeration(name: str, words: str) -> dict[str, Any]:
    values = [value.strip() for value in words.split("|")]
    if "" in values:
        raise SchemaError(f'"{name}" has an empty value in "{words}". Remove the extra |.')
    if len(set(values)) < len(values):
        raise SchemaError(f'"{name}" has the same value twice in "{words}".')
    type_, space, rest = words.partition(" ")
    if space and (type_ in TYPES or type_ == "list"):
        meant = f"list of {rest}" if type_ == "list" else rest
        raise SchemaError(f'"{name} {words}" has a type and values. Write: {name} {meant}')
    return {"type": "string", "enum": values}


def _range(name: str, low: str, high: str, type_: str | None) -> dict[str, Any]:
    decimals = "." in low or "." in high
    if type_ == "int" and decimals:
        raise SchemaError(f'"{name}" is an int, so its range {low}..{high} needs whole numbers.')
    if float(low) >= float(high):
        raise SchemaError(f'"{name}" has the empty range {low}..{high}. Put the lower end first.')
    return {
        "type": TYPES[type_ or "float"],
        "minimum": float(low) if decimals else int(low),
        "maximum": float(high) if decimals else int(high),
    }
