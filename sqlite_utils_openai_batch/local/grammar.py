"""What a small model needs beside a schema: bounds, and to be told what is wanted.

An unbounded text runs until it is cut off. And a grammar only forbids: told nothing of the keys,
the model fills them with whatever the grammar leaves possible.
"""

from __future__ import annotations

from typing import Any

TEXT = 160
"""Characters of a text whose schema sets no bound."""

ITEMS = 5
"""Items of a list whose schema sets no bound."""

FIXED = ("enum", "const", "maxLength", "pattern", "format")
NAMED = ("properties", "$defs", "definitions")
NESTED = ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties")
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
}


def bounded(schema: Any) -> Any:
    """Return the schema with a `maxLength` on each open text, a `maxItems` on each open list."""
    if isinstance(schema, list):
        return [bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _inner(key, value) for key, value in schema.items()}
    kinds = _kinds(schema)
    if "string" in kinds and not any(name in schema for name in FIXED):
        result["maxLength"] = max(TEXT, schema.get("minLength", 0))
    if "array" in kinds and "maxItems" not in schema:
        result["maxItems"] = max(ITEMS, schema.get("minItems", 0))
    return result


def _inner(key: str, value: Any) -> Any:
    if key in NAMED and isinstance(value, dict):
        return {name: bounded(inner) for name, inner in value.items()}
    return bounded(value) if key in NESTED else value


def _kinds(schema: dict[str, Any]) -> list[Any]:
    kinds = schema.get("type")
    return kinds if isinstance(kinds, list) else [kinds]


def in_words(schema: Any) -> str:
    """Say what a schema asks for: `Answer with a JSON object with the keys mood (good or bad).`

    Empty for a schema without properties.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties:
        return ""
    keys = [f"{name} ({_meaning(inner)})" for name, inner in properties.items()]
    noun = "key" if len(keys) == 1 else "keys"
    return f"Answer with a JSON object with the {noun} {listed(keys, 'and')}."


def _meaning(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "text"
    if options := schema.get("enum") or (schema.get("items") or {}).get("enum"):
        return listed([str(option) for option in options], "or")
    if description := schema.get("description"):
        return str(description)
    words = [WORDS[kind] for kind in _kinds(schema) if kind in WORDS]
    return words[0] if words else "text"


def listed(words: list[str], last: str) -> str:
    """Join words as a sentence does: `a, b or c`."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0]
