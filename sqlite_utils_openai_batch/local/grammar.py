"""Bounds for schemas: a small model writes an unbounded text until it is cut off."""

from __future__ import annotations

from typing import Any

TEXT = 160
"""Characters of a text whose schema sets no bound."""

ITEMS = 5
"""Items of a list whose schema sets no bound."""

FIXED = ("enum", "const", "maxLength", "pattern", "format")


def bounded(schema: Any) -> Any:
    """Return the schema with a `maxLength` on each open text, a `maxItems` on each open list."""
    if isinstance(schema, list):
        return [bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # under `properties` and `$defs` the keys are people's names, not keywords of JSON Schema
    result = {
        key: {name: bounded(value) for name, value in inner.items()}
        if key in ("properties", "$defs", "definitions") and isinstance(inner, dict)
        else _inner(key, inner)
        for key, inner in schema.items()
    }
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not any(name in schema for name in FIXED):
        result["maxLength"] = max(TEXT, schema.get("minLength", 0))
    if "array" in kinds and "maxItems" not in schema:
        result["maxItems"] = max(ITEMS, schema.get("minItems", 0))
    return result


def _inner(key: str, value: Any) -> Any:
    nested = ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties")
    return bounded(value) if key in nested else value
