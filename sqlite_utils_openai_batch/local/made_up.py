"""Values that a JSON schema allows, chosen by a number."""

from __future__ import annotations

import zlib
from typing import Any

DEPTH = 8
"""Deeper than this, optional things are left out, so that a recursive schema ends."""


MOST_ITEMS = 1_000
MOST_CHARACTERS = 1_000_000
"""A schema that asks for more is refused: a single line could fill the memory."""

SCHEMA_TROUBLE = (
    TypeError, KeyError, IndexError, ValueError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip
"""What reading a schema raises when its keywords hold something else than they should."""


class UnusableSchema(Exception):
    """No value can be made for a schema."""


def made_up(schema: Any, text: str, chooser: int) -> Any:
    """Return a value that fits the schema; its free texts are `text`, all else is chosen.

    `chooser` is any whole number: the same number gives the same value. Raises UnusableSchema.
    """
    try:
        return _Maker(schema, text).value(schema, chooser, 0)
    except SCHEMA_TROUBLE as error:
        raise UnusableSchema(f"{type(error).__name__}: {error}") from error


class _Maker:
    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text

    def value(self, schema: Any, chooser: int, depth: int) -> Any:
        if not isinstance(schema, dict):
            return self._text
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), chooser, depth + 1)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            return options[chooser % len(options)]
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self.value(self._option(options, chooser, depth), chooser, depth + 1)
        return self._typed(schema, chooser, depth)

    def _resolve(self, reference: str) -> Any:
        target = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step:
                target = target[step.replace("~1", "/").replace("~0", "~")]
        return target

    @staticmethod
    def _option(options: list[Any], chooser: int, depth: int) -> Any:
        nulls = [option for option in options if option == {"type": "null"}]
        return nulls[0] if nulls and depth > DEPTH else options[chooser % len(options)]

    def _typed(self, schema: dict[str, Any], chooser: int, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = "null" if "null" in kind and depth > DEPTH else kind[chooser % len(kind)]
        if kind == "object":
            return self._object(schema, chooser, depth)
        if kind == "array":
            return self._array(schema, chooser, depth)
        if kind in ("integer", "number"):
            return _number(schema, kind, chooser)
        if kind == "boolean":
            return chooser % 2 == 0
        return None if kind == "null" else self._string(schema)

    def _object(self, schema: dict[str, Any], chooser: int, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required", properties)
        names = properties if depth <= DEPTH else [n for n in properties if n in required]
        return {
            name: self.value(properties[name], zlib.crc32(name.encode(), chooser), depth + 1)
            for name in names
        }

    def _array(self, schema: dict[str, Any], chooser: int, depth: int) -> list[Any]:
        least = _few(schema.get("minItems", 0), MOST_ITEMS)
        length = max(least, min(1 + chooser % 3, schema.get("maxItems", 3)))
        length = least if depth > DEPTH else length
        items = schema.get("items", {"type": "string"})
        values = [self.value(items, zlib.crc32(bytes([n % 256]), chooser), depth + 1)
                  for n in range(length)]  # fmt: skip
        return values

    def _string(self, schema: dict[str, Any]) -> str:
        if known := FORMATS.get(schema.get("format", "")):
            return known
        text = self._text[: schema.get("maxLength", len(self._text))]
        return text.ljust(_few(schema.get("minLength", 0), MOST_CHARACTERS), ".")


def _few(number: int, most: int) -> int:
    if number > most:
        raise ValueError(f"{number} is more than {most}")
    return number


FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _number(schema: dict[str, Any], kind: str, chooser: int) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
    step = schema.get("multipleOf", 1 if kind == "integer" else (high - low) / 100 or 1)
    inner = int("exclusiveMinimum" in schema)
    steps = int((high - low) / step) - inner - int("exclusiveMaximum" in schema)
    number = low + step * (inner + chooser % (max(steps, 0) + 1))
    return int(number) if kind == "integer" else round(number, 6)
