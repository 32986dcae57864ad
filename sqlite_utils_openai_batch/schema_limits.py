"""How large a strict schema may be, and that its references lead somewhere.

The numbers are those of "Supported schemas" in OpenAI's guide as of 2026
(https://platform.openai.com/docs/guides/structured-outputs). It doesn't say how nesting is
counted; here the answer itself is the first level, and only objects count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .errors import SchemaError

MAX_PROPERTIES = 5_000
MAX_NESTING = 10
MAX_ENUM_VALUES = 1_000
MAX_NAME_CHARACTERS = 120_000  # of property and definition names, enum and const values together
LARGE_ENUM = 250  # from so many values on, one enum's values together are limited too
MAX_LARGE_ENUM_CHARACTERS = 15_000


def check_limits(root: dict[str, Any]) -> None:
    """Check a strict schema against the limits of structured outputs.

    Raises:
        SchemaError: says which limit, and how far it is exceeded.
    """
    nodes = list(_nodes(root))
    enums = [node["enum"] for node in nodes if isinstance(node.get("enum"), list)]
    names = [name for node in nodes for name in _names(node)]
    _at_most(MAX_PROPERTIES, sum(len(node.get("properties", ())) for node in nodes), "properties")
    _at_most(MAX_ENUM_VALUES, sum(len(enum) for enum in enums), "enum values")
    _at_most(MAX_NAME_CHARACTERS, sum(map(len, names)), "characters in names and values")
    for enum in enums:
        if len(enum) > LARGE_ENUM:
            characters = sum(len(value) for value in enum if isinstance(value, str))
            _at_most(MAX_LARGE_ENUM_CHARACTERS, characters, f"characters in {len(enum)} values")
    for node in nodes:
        _check_circles(root, node, ())
    _at_most(MAX_NESTING, _depth(root, root, {}), "levels of objects")


def resolve(root: dict[str, Any], reference: str) -> Any:
    """Return what a reference like `#/$defs/Person` names, or None."""
    found: Any = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise SchemaError(
            f"The answer schema has {found:,} {what}; structured outputs take {limit:,}. "
            "Ask for less, or in two jobs."
        )


def _children(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("properties", {}).values()
    yield from node.get("anyOf", ())
    if "items" in node:
        yield node["items"]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for key in ("$defs", "definitions"):
        for definition in node.get(key, {}).values():
            yield from _nodes(definition)
    for child in _children(node):
        yield from _nodes(child)


def _names(node: dict[str, Any]) -> Iterator[str]:
    for key in ("$defs", "definitions", "properties"):
        yield from node.get(key, ())
    values = [*node.get("enum", ()), node.get("const")]
    yield from (value for value in values if isinstance(value, str))


def _check_circles(root: dict[str, Any], node: Any, path: tuple[str, ...]) -> None:
    """Refuse references that come back to themselves with no property or item between."""
    for variant in node.get("anyOf", ()):
        _check_circles(root, variant, path)
    if reference := node.get("$ref"):
        if reference in path:
            raise SchemaError(f"{reference} refers only to itself. Give it a type.")
        target = resolve(root, reference)
        if isinstance(target, dict):
            _check_circles(root, target, (*path, reference))


def _depth(root: dict[str, Any], node: Any, known: dict[str, int]) -> int:
    """Count levels of objects; a definition inside itself counts once."""
    if reference := node.get("$ref"):
        if reference not in known:
            known[reference] = 0
            known[reference] = _depth(root, resolve(root, reference), known)
        return known[reference]
    inner = max((_depth(root, child, known) for child in _children(node)), default=0)
    return inner + ("properties" in node)
