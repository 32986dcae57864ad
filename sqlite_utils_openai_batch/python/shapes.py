"""What programs give for a prompt and for a schema: texts, files, classes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, is_typeddict

from ..base.errors import SchemaError
from ..base.text_files import Text

#: A text here is one; a file is a `Path`.
TEXTS = ("prompt", "system", "schema")


def as_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a program as `jobs.plan.options.complete` takes them. Raises SchemaError."""
    given = dict(options)
    if given.get("schema") is not None:
        given["schema"] = schema_of(given["schema"])
    for name in TEXTS:
        if isinstance(given.get(name), str):
            given[name] = Text(given[name])
    return given


def schema_of(value: Any) -> Any:
    """An answer schema as text: of a class, a mapping, or what is text or a file already."""
    if isinstance(value, str | Path):
        return value
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    found = _schema_of_class(value)
    if not is_typeddict(value):
        require_all(found)
    return json.dumps(unwrapped(found), ensure_ascii=False)


def _schema_of_class(value: Any) -> dict[str, Any]:
    """The JSON schema of a Pydantic model, a dataclass or a TypedDict."""
    import msgspec

    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return dict(value.model_json_schema())
    if not (is_typeddict(value) or (isinstance(value, type) and dataclasses.is_dataclass(value))):
        raise SchemaError(
            f"The schema is {value!r}. Give a text ('name, age int'), a JSON schema as a dict, a "
            "Path to a file, or a class: a Pydantic model, a dataclass or a TypedDict."
        )
    try:
        return msgspec.json.schema(value)
    except (TypeError, NameError) as error:
        raise SchemaError(f"The schema {value.__name__} can't be used: {error}") from error


def require_all(node: Any) -> None:
    """Make every property required: a default of a class is not what a model should answer."""
    if isinstance(node, dict):
        if isinstance(properties := node.get("properties"), dict):
            node["required"] = list(properties)
            for one in properties.values():
                one.pop("default", None)
        for one in node.values():
            require_all(one)
    elif isinstance(node, list):
        for one in node:
            require_all(one)


def unwrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that is only a reference to its own definition, as that definition."""
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    others = dict(schema.get("$defs", {}))
    if name not in others:
        return schema
    root = others.pop(name)
    if f'"#/$defs/{name}"' in json.dumps([root, others]):
        return schema  # it holds itself
    return {**root, "$defs": others} if others else dict(root)
