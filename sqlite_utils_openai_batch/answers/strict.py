"""A JSON schema as OpenAI's structured outputs want it: closed objects, nothing optional.

The rules are those of "Supported schemas" in OpenAI's guide
(https://platform.openai.com/docs/guides/structured-outputs): the root is an object and no
union; every object says `additionalProperties: false` and requires all its properties; a
property that may be left out is one that may be null; some keywords and formats don't exist.
What the guide leaves open is taken from the official clients, which send `$ref` without
siblings and refuse remote references. Its limits are checked below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..base.errors import SchemaError

# How large a strict schema may be, and that its references lead somewhere.
#
# The numbers are those of "Supported schemas" in OpenAI's guide as of 2026
# (https://platform.openai.com/docs/guides/structured-outputs). It doesn't say how nesting is
# counted; here the answer itself is the first level, and only objects count.

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


Schema = dict[str, Any]

_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
# They say nothing about the answer, so they needn't be sent.
_ANNOTATIONS = {
    *("$schema", "$id", "$comment", "$anchor", "default", "example", "examples"),
    *("deprecated", "readOnly", "writeOnly", "discriminator"),
}
_DEFINITIONS = ("$defs", "definitions")
_KEPT = {
    *("title", "description", "enum", "const", "pattern", "format", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems"),
}
_HANDLED = {*_DEFINITIONS, "$ref", "type", "properties", "required"}
_HANDLED |= {"additionalProperties", "items", "anyOf"}
_INSTEAD = {
    "oneOf": 'Write "anyOf" instead.',
    "allOf": "Write all of its keywords in one schema instead.",
    "nullable": 'Write "type": ["string", "null"] instead.',
    "patternProperties": "List the properties by name instead.",
    "prefixItems": "Write an object with a property for each item instead.",
    "uniqueItems": "Say in the description that items must differ.",
}


def make_strict(schema: Any) -> Schema:
    """Return a strict copy of a JSON schema; strict ones come back as they are.

    Raises:
        SchemaError: says which property can't be expressed, and what to write instead.
    """
    if not isinstance(schema, dict):
        raise SchemaError(
            "An answer schema is a JSON object. Write {...} with properties, or the short form: "
            "category, score 1..5 int"
        )
    root = _inline_root(schema)
    _check_root(root)
    try:
        strict = _Strict(root).node(root, "")
        check_limits(strict)
    except RecursionError:
        raise SchemaError("The answer schema is nested too deeply.") from None
    return strict


def _inline_root(schema: Schema) -> Schema:
    """Put the definition that the root refers to in its place, as generated schemas have it."""
    reference = schema.get("$ref")
    target = resolve(schema, reference) if isinstance(reference, str) else None
    if not isinstance(target, dict) or target is schema:
        return schema
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}


def _check_root(root: Schema) -> None:
    if "schema" in root or "json_schema" in root:
        raise SchemaError(
            'This is a whole response_format. Give only the JSON schema: the value of its "schema".'
        )
    if "anyOf" in root or "oneOf" in root:
        raise SchemaError("An answer is one object, no union. Put the anyOf into a property.")
    type_ = root.get("type", "object" if "properties" in root else None)
    if type_ == "array":
        raise SchemaError(
            'An answer is an object, not a list. Put the list into a property: {"type": "object", '
            '"properties": {"items": {"type": "array", …}}}'
        )
    if type_ != "object":
        raise SchemaError('An answer is an object. Write {"type": "object", "properties": {…}}.')


class _Strict:
    """The walk over one schema; `at` is where it is, as a person would name it."""

    def __init__(self, root: Schema):
        self.root = root

    def node(self, node: Any, at: str) -> Schema:
        if not isinstance(node, dict):
            raise SchemaError(f"{_named(at)} is {node!r} where a schema is needed, like {{…}}.")
        _check_keywords(node, at)
        if "$ref" in node:
            return self.reference(node, at)
        strict = {key: value for key, value in node.items() if key in _KEPT}
        if "anyOf" in node:
            strict["anyOf"] = self.union(node, at)
        else:
            strict = {"type": _type(node, at), **strict}
        types = _as_list(strict.get("type", []))
        if "object" in types:
            strict.update(self.object(node, at))
        if "array" in types:
            strict["items"] = self.items(node, at)
        for key in _DEFINITIONS:
            if key in node:
                strict[key] = self.definitions(node[key], key)
        return strict

    def reference(self, node: Schema, at: str) -> Schema:
        reference = node["$ref"]
        if not isinstance(reference, str) or not f"{reference}/".startswith("#/"):
            raise SchemaError(f'{_named(at)} refers to {reference!r}. Put it under "$defs".')
        if not isinstance(resolve(self.root, reference), dict):
            raise SchemaError(f"{_named(at)} refers to {reference}, which isn't in the schema.")
        extra = sorted(node.keys() - _ANNOTATIONS - {"$ref", "title", "description"})
        if extra:
            raise SchemaError(
                f"{_named(at)} has {extra[0]} beside $ref. Write it into {reference} instead."
            )
        # Structured outputs know no siblings of $ref, but of anyOf.
        siblings: Schema = {key: node[key] for key in ("title", "description") if key in node}
        return {**siblings, "anyOf": [{"$ref": reference}]} if siblings else {"$ref": reference}

    def union(self, node: Schema, at: str) -> list[Schema]:
        variants = node["anyOf"]
        if not isinstance(variants, list) or not variants:
            raise SchemaError(f"{_named(at)} has an anyOf that is no list of schemas.")
        extra = sorted(node.keys() - _ANNOTATIONS - {"anyOf", "title", "description"})
        if extra:
            raise SchemaError(
                f"{_named(at)} has {extra[0]} beside anyOf. Write it into each variant instead."
            )
        return [self.node(variant, at) for variant in variants]

    def object(self, node: Schema, at: str) -> Schema:
        if node.get("additionalProperties", False) is not False:
            raise SchemaError(
                f"{_named(at)} allows additionalProperties, which strict answers can't have. "
                "List the properties, or ask for a list of objects with a name and a value."
            )
        properties = node.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise SchemaError(f'{_named(at)} is an object without "properties". List them.')
        required = node.get("required", [])
        if not isinstance(required, list) or any(name not in list(properties) for name in required):
            raise SchemaError(f'{_named(at)} has a "required" that isn\'t a list of properties.')
        strict = {}
        for name, value in properties.items():
            inner = self.node(value, f"{at}.{name}" if at else name)
            strict[name] = inner if name in required else self.nullable(inner)
        return {"properties": strict, "required": list(strict), "additionalProperties": False}

    def items(self, node: Schema, at: str) -> Schema:
        if "items" not in node:
            raise SchemaError(
                f"{_named(at)} is a list of what? Write for example "
                '"items": {"type": "string"} in it.'
            )
        return self.node(node["items"], f"{at}[]")

    def definitions(self, definitions: Any, key: str) -> Schema:
        if not isinstance(definitions, dict):
            raise SchemaError(f'"{key}" is not an object of schemas.')
        return {name: self.node(value, name) for name, value in definitions.items()}

    def nullable(self, node: Schema) -> Schema:
        """Let a property be null: how strict answers leave one out."""
        if self.may_be_null(node, frozenset()):
            return node
        if "$ref" in node:
            return {"anyOf": [node, {"type": "null"}]}
        if "anyOf" in node:
            return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
        node = {**node, "type": list(dict.fromkeys([*_as_list(node["type"]), "null"]))}
        if "const" in node:
            node["enum"] = [node.pop("const"), None]
        elif "enum" in node:
            node["enum"] = [*node["enum"], None]
        return node

    def may_be_null(self, node: Any, seen: frozenset[str]) -> bool:
        if not isinstance(node, dict):
            return False
        if reference := node.get("$ref"):
            target = resolve(self.root, reference)
            return reference not in seen and self.may_be_null(target, seen | {reference})
        if "anyOf" in node:
            return any(self.may_be_null(variant, seen) for variant in _as_list(node["anyOf"]))
        if "enum" in node or "const" in node:
            return None in node.get("enum", [node.get("const", "")])
        return "null" in _as_list(node.get("type", []))


def _check_keywords(node: Schema, at: str) -> None:
    for key in node:
        if key in _KEPT or key in _HANDLED or key in _ANNOTATIONS or key.startswith("x-"):
            continue
        instead = _INSTEAD.get(key, "Leave it out.")
        raise SchemaError(
            f"{_named(at)} uses {key}, which OpenAI's structured outputs don't know. {instead}"
        )
    if "enum" in node and not (isinstance(node["enum"], list) and node["enum"]):
        raise SchemaError(f"{_named(at)} has an enum without values. List those to choose from.")
    if node.get("format", "date") not in _FORMATS:
        raise SchemaError(
            f"{_named(at)} has the format {node['format']!r}. Structured outputs know "
            f"{', '.join(_FORMATS)}. Use one of these, or say it in the description."
        )
    if any(group in str(node.get("pattern")) for group in ("(?=", "(?!", "(?<=", "(?<!")):
        raise SchemaError(
            f"{_named(at)} has a pattern that looks ahead or behind, which structured outputs "
            "can't. Write one without (?=, (?!, (?<= and (?<!."
        )


def _type(node: Schema, at: str) -> str | list[str]:
    """Return the type of a node, told from its other keywords where it doesn't say."""
    given = node.get("type") or _implied_type(node)
    types = _as_list(given)
    if not types:
        raise SchemaError(f'{_named(at)} has no type. Write for example "type": "string" in it.')
    if unknown := [type_ for type_ in types if type_ not in _TYPES]:
        raise SchemaError(
            f"{_named(at)} has the unknown type {unknown[0]!r}. Types are {', '.join(_TYPES)}."
        )
    return types[0] if len(types) == 1 else types


def _implied_type(node: Schema) -> list[str]:
    if "properties" in node:
        return ["object"]
    if "items" in node:
        return ["array"]
    values = node.get("enum", [node["const"]] if "const" in node else [])
    return list(dict.fromkeys(_type_of(value) for value in _as_list(values)))


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array"}
    return names.get(type(value), "object")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _named(at: str) -> str:
    return f'"{at}"' if at else "The answer schema"
