"""A JSON schema as OpenAI's structured outputs want it: closed objects, nothing optional.

The rules are those of "Supported schemas" in OpenAI's guide
(https://platform.openai.com/docs/guides/structured-outputs): the root is an object and no
union; every object says `additionalProperties: false` and requires all its properties; a
property that may be left out is one that may be null; some keywords and formats don't exist.
What the guide leaves open is taken from the official clients, which send `$ref` without
siblings and refuse remote references. Its limits are checked below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..base.errors import SchemaError
from ..base.text import cut

# How large a strict schema may be, and that its references lead somewhere.
#
# The numbers are those of "Supported schemas" in OpenAI's guide as of 2026
# (https://platform.openai.com/docs/guides/structured-outputs). It doesn't say how nesting is
# counted; here the answer itself is the first level, and only objects count.

MAX_PROPERTIES = 5_000
MAX_NESTING = 10
MAX_ENUM_VALUES = 1_000
MAX_NAME_CHARACTERS = 120_000  # of property and definition names, enum and const values together
_LONGEST_NUMBER = 25  # characters: a sign, 17 digits, a point and an exponent
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
    harmless: set[str] = set()
    for node in nodes:
        _check_circles(root, node, (), harmless)
    _at_most(MAX_NESTING, _depth(root, root, {}), "levels of objects")


def longest_answer(root: dict[str, Any]) -> int | None:
    """The characters of the longest answer that a strict schema allows, as JSON with spaces.

    None where it bounds none: a text that isn't one of some values, a list without an end,
    a definition in itself.
    """
    return _longest(root, root, {})


def _longest(
    root: dict[str, Any], node: dict[str, Any], known: dict[str, int | None]
) -> int | None:
    if reference := node.get("$ref"):
        if reference not in known:
            known[reference] = None  # what it is found to be inside of itself
            known[reference] = _longest(root, resolve(root, reference), known)
        return known[reference]
    if "anyOf" in node:
        return _most(_longest(root, variant, known) for variant in node["anyOf"])
    if "enum" in node or "const" in node:
        return max(len(json.dumps(value)) for value in node.get("enum", [node.get("const")]))
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return _most(_longest_of(root, node, kind, known) for kind in types)


def _longest_of(
    root: dict[str, Any], node: dict[str, Any], kind: str, known: dict[str, int | None]
) -> int | None:
    if kind in ("boolean", "null"):
        return len("false")
    if kind in ("integer", "number"):
        return _LONGEST_NUMBER
    if kind == "array" and "maxItems" in node:
        item = _longest(root, node["items"], known)
        return None if item is None else 2 + int(node["maxItems"]) * (item + 2)
    if kind == "object":
        inner = {name: _longest(root, one, known) for name, one in node["properties"].items()}
        sizes = [
            len(json.dumps(name)) + 2 + size + 2 for name, size in inner.items() if size is not None
        ]
        return None if None in inner.values() else sum(sizes)
    return None


def _most(sizes: Iterable[int | None]) -> int | None:
    """The largest size; None where one has no bound."""
    found = list(sizes)
    bounded = [size for size in found if size is not None]
    return max(bounded) if len(bounded) == len(found) else None


def resolve(root: dict[str, Any], reference: str) -> Any:
    """Return what a reference like `#/$defs/Person` names, or None."""
    found: Any = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found


def flattened(root: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that allows what a strict one does, with its unions of unions as one.

    It is for validators: they follow each reference anew, so unions that refer to unions twice,
    and these again, would keep them busy for ever.
    """
    return _Flat(root).schema()


class _Flat:
    """The walk that flattens unions. What several share has a place of its own, in `shared`."""

    name = "x-shared"

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.shared: list[dict[str, Any]] = []
        self.known: dict[str, list[dict[str, Any]]] = {}

    def schema(self) -> dict[str, Any]:
        whole = self.flat(self.root)
        # It grows on the way.
        shared = [self.flat(node) for node in self.shared]
        return {**whole, self.name: shared} if shared else whole

    def flat(self, node: dict[str, Any]) -> dict[str, Any]:
        node = dict(node)
        for key in ("properties", "$defs", "definitions"):
            if key in node:
                node[key] = {name: self.flat(inner) for name, inner in node[key].items()}
        if "items" in node:
            node["items"] = self.flat(node["items"])
        if "anyOf" in node:
            node["anyOf"] = [self.flat(variant) for variant in self.variants(node)]
        return node

    def variants(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        """What a union comes down to, each once."""
        found: dict[str, dict[str, Any]] = {}
        followed: set[str] = set()
        left = list(_variants(node))[::-1]
        while left:
            variant = left.pop()
            reference = variant.get("$ref", "")
            if not self.is_union(reference):
                found[repr(variant)] = variant
            elif reference not in followed:
                followed.add(reference)
                left += self.named(reference)[::-1]
        return list(found.values())

    def is_union(self, reference: str) -> bool:
        return "anyOf" in (resolve(self.root, reference) or {}) if reference else False

    def named(self, reference: str) -> list[dict[str, Any]]:
        """The variants of a union that has a name, each as a reference."""
        if reference not in self.known:
            union = resolve(self.root, reference)
            self.known[reference] = [
                variant if "$ref" in variant else self.share(variant)
                for variant in _variants(union)
            ]
        return self.known[reference]

    def share(self, node: dict[str, Any]) -> dict[str, Any]:
        self.shared.append(node)
        return {"$ref": f"#/{self.name}/{len(self.shared) - 1}"}


def _variants(union: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The variants of a union, also of those that stand in it."""
    for variant in union["anyOf"]:
        if "anyOf" in variant:
            yield from _variants(variant)
        else:
            yield variant


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


def _check_circles(
    root: dict[str, Any], node: Any, path: tuple[str, ...], harmless: set[str]
) -> None:
    """Refuse references that come back to themselves with no property or item between.

    Those that don't are `harmless`: each is followed once.
    """
    for variant in node.get("anyOf", ()):
        _check_circles(root, variant, path, harmless)
    reference = node.get("$ref")
    if reference is None or reference in harmless:
        return
    if reference in path:
        raise SchemaError(f"{reference} refers only to itself. Give it a type.")
    target = resolve(root, reference)
    if isinstance(target, dict):
        _check_circles(root, target, (*path, reference), harmless)
    harmless.add(reference)


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
# Where schemas are in a schema: by name, in a list. In `items` there is one.
_NAMED = {"properties", *_DEFINITIONS}
_LISTED = {"anyOf", "oneOf", "allOf"}
# They may differ without a contradiction: the outer one is meant.
_SAID = {*_ANNOTATIONS, "title", "description", "$defs", "definitions"}
_LIMITS = {
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "minItems", "maxItems"),
}
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
            f"An answer schema is a JSON object, not {_shown(schema)}. Write {{...}} with "
            "properties, or the short form: category, score 1..5 int"
        )
    try:
        root = _inline_root(_simplified(schema))
        _require_discriminators(root)
        _check_root(root)
        strict = _Strict(root).node(root, "")
        check_limits(strict)
    except RecursionError:
        raise SchemaError("The answer schema is nested too deeply.") from None
    return strict


def _simplified(node: Any) -> Any:
    """Return a copy in which what says the same in other words is said as structured outputs do.

    An `allOf` of one schema (Pydantic 1) is that schema, `oneOf` with a discriminator (Pydantic 2)
    is `anyOf`, a limit beyond 64 bits is a float. What is not a schema stays as it is.
    """
    if not isinstance(node, dict):
        return node
    node = {key: _simplified_value(key, value) for key, value in node.items()}
    if isinstance(node.get("discriminator"), dict) and "oneOf" in node and "anyOf" not in node:
        node["anyOf"] = node.pop("oneOf")
    return _without_all_of(node)


def _simplified_value(key: str, value: Any) -> Any:
    if key in _NAMED and isinstance(value, dict):
        return {name: _simplified(inner) for name, inner in value.items()}
    if key in _LISTED and isinstance(value, list):
        return [_simplified(inner) for inner in value]
    if key in _LIMITS and isinstance(value, int) and not -(2**63) <= value < 2**64:
        return _float(value)
    return _simplified(value) if key == "items" else value


def _without_all_of(node: Schema) -> Schema:
    """Put the only schema of an `allOf` in its place, where nothing beside it says otherwise."""
    inner = node.get("allOf")
    if not isinstance(inner, list) or len(inner) != 1 or not isinstance(inner[0], dict):
        return node
    rest = {key: value for key, value in node.items() if key != "allOf"}
    (only,) = inner
    if any(key in only and only[key] != value for key, value in rest.items() if key not in _SAID):
        return node
    return {**only, **rest}


def _require_discriminators(root: Schema) -> None:
    """Let each variant of a union have the property that tells them apart, also if by default."""
    for node in list(_inner_schemas(root)):
        discriminator, variants = node.get("discriminator"), node.get("anyOf")
        if not isinstance(discriminator, dict) or not isinstance(variants, list):
            continue
        name = discriminator.get("propertyName")
        for variant in variants:
            _require(_target(root, variant), name)


def _require(variant: Any, name: Any) -> None:
    properties = variant.get("properties") if isinstance(variant, dict) else None
    if not isinstance(properties, dict) or not isinstance(name, str) or name not in properties:
        return
    required = variant.get("required", [])
    if isinstance(required, list) and name not in required:
        variant["required"] = [*required, name]


def _target(root: Schema, node: Any) -> Any:
    """What a node is, or refers to."""
    reference = node.get("$ref") if isinstance(node, dict) else None
    return resolve(root, reference) if isinstance(reference, str) else node


def _inner_schemas(node: Any) -> Iterator[Schema]:
    """Yield a schema and all in it."""
    if not isinstance(node, dict):
        return
    yield node
    for key, value in node.items():
        inner: list[Any] = []
        if key in _NAMED and isinstance(value, dict):
            inner = list(value.values())
        elif key in _LISTED and isinstance(value, list):
            inner = value
        elif key == "items":
            inner = [value]
        for one in inner:
            yield from _inner_schemas(one)


def _inline_root(schema: Schema) -> Schema:
    """Put the definition that the root refers to in its place, as generated schemas have it."""
    passed = set()
    while isinstance(reference := schema.get("$ref"), str):
        target = resolve(schema, reference)
        if reference in passed or target is schema:
            raise SchemaError(f"{reference} refers only to itself. Give it a type.")
        passed.add(reference)
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        if not isinstance(target, dict):
            return schema
        for key in rest:
            if key in target and key not in _SAID and rest[key] != target[key]:
                raise _beside(key, reference, "")
        schema = {**target, **rest}
    return schema


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
        target = resolve(self.root, reference)
        for key in sorted(_constraints(node) - {"$ref"}):
            # What is only said again needn't be.
            if key not in target or target[key] != node[key]:
                raise _beside(key, reference, at)
        # Structured outputs know no siblings of $ref, but of anyOf.
        siblings: Schema = {key: node[key] for key in ("title", "description") if key in node}
        return {**siblings, "anyOf": [{"$ref": reference}]} if siblings else {"$ref": reference}

    def union(self, node: Schema, at: str) -> list[Schema]:
        variants = node["anyOf"]
        if not isinstance(variants, list) or not variants:
            raise SchemaError(f"{_named(at)} has an anyOf that is not a list of schemas.")
        if extra := sorted(_constraints(node) - {"anyOf"}):
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
        if properties == {}:
            raise SchemaError(
                f'{_named(at)} is an object whose "properties" are empty: nothing could be '
                "answered in it. List its properties, or leave it out."
            )
        if not isinstance(properties, dict):
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
        if self.may_be_null(node, set()):
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

    def may_be_null(self, node: Any, seen: set[str]) -> bool:
        """Whether a schema allows null; `seen` are the references that were followed already."""
        if not isinstance(node, dict):
            return False
        if reference := node.get("$ref"):
            if reference in seen:
                return False
            seen.add(reference)
            return self.may_be_null(resolve(self.root, reference), seen)
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
    _check_numbers(node, at)
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


def _check_numbers(node: Schema, at: str) -> None:
    for key in sorted(_LIMITS & node.keys()):
        if isinstance(node[key], float) and not math.isfinite(node[key]):
            raise SchemaError(f"{_named(at)} has a {key} that no number reaches. Leave it out.")
    for value in [*_as_list(node.get("enum")), node.get("const")]:
        for number in _numbers(value):
            if not -(2**63) <= number < 2**63:
                raise SchemaError(
                    f"{_named(at)} offers {_shown(number)}, a number beyond 64 bits, which SQLite "
                    "can't hold. Offer it as a text, in quotes."
                )


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)


def _float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _constraints(node: Schema) -> set[str]:
    """The keywords of a node that say something about the answer, but for its words."""
    silent = {*_ANNOTATIONS, "title", "description"}
    return {key for key in node if key not in silent and not key.startswith("x-")}


def _beside(key: str, reference: str, at: str) -> SchemaError:
    return SchemaError(f"{_named(at)} has {key} beside $ref. Write it into {reference} instead.")


def _shown(value: Any) -> str:
    """A value as JSON writes it, cut to a length for a sentence."""
    return cut(json.dumps(value, ensure_ascii=False), 40)


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
