"""The usual response line, read in one pass: a chat completion with one answer, ended by itself.

Nearly all lines are like that. Whatever differs in the least is left to `outcome.read_response`,
and what is read here is what that would say: typed decoders check the answer too, where its
schema is made of plain values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from .answers import tokens_in
from .outcome import Outcome
from .schema import AnswerSchema
from .schema_columns import SQLiteValue
from .wire import BUILDING, Completion, line_decoder

Values = tuple[SQLiteValue, ...]
Check = Callable[[str], Values]

# What SQLite stores as INTEGER.
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_SILENT = {"title", "description"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}


def usual_reader(
    endpoint: str, schema: AnswerSchema | None
) -> Callable[[bytes], Outcome | None] | None:
    """Return a function that reads usual lines, and gives None for any other; None if none is."""
    if endpoint.removeprefix("/v1") != "/chat/completions":
        return None
    check = None if schema is None else quick_check(schema)
    if schema is not None and check is None:
        return None
    decode = line_decoder(Completion)

    def read(data: bytes) -> Outcome | None:
        try:
            line = decode(data)
            response = line.response
            if response is None or response.status_code != 200 or line.error is not None:
                return None
            body = response.body
            if body.__class__ is not Completion or body.error is not None:
                return None
            (choice,) = body.choices
            message = choice.message
            if choice.finish_reason != "stop" or message is None or message.refusal:
                return None
            text = message.content
            if text.__class__ is not str or not text or text.isspace():
                return None
            values = None if check is None else check(text)
        except (msgspec.MsgspecError, ValueError, AttributeError, RecursionError):
            return None
        return Outcome(
            line.custom_id,
            "ok",
            text,
            None,
            None,
            "stop",
            body.model,
            *tokens_in(body.usage),
            values,
        )

    return read


def quick_check(schema: AnswerSchema) -> Check | None:
    """Return a function that reads an answer's columns, and raises where it isn't sure.

    None where the schema has more than plain values: strings and labels, numbers in a range,
    booleans, lists of strings.
    """
    if set(schema.json) - {"type", "properties", "required", "additionalProperties", *_SILENT}:
        return None
    fields = []
    for n, column in enumerate(schema.columns):
        kind = _type_of(schema.json["properties"][column.name])
        if kind is None:
            return None
        fields.append((f"f{n}", kind))
    struct = msgspec.defstruct(
        "Answer",
        fields,
        rename={f"f{n}": column.name for n, column in enumerate(schema.columns)},
        forbid_unknown_fields=True,
        gc=False,
    )
    with BUILDING:
        decode, cells = msgspec.json.Decoder(struct).decode, msgspec.structs.astuple
    if all(column.kind in ("string", "integer", "number") for column in schema.columns):
        return lambda text: cells(decode(text))
    return lambda text: tuple(map(_cell, cells(decode(text))))


def _cell(value: Any) -> SQLiteValue:
    """What SQLite stores of a value: lists as JSON text, booleans as 0 or 1."""
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value


def _type_of(node: dict[str, Any]) -> Any:
    """Return the type that takes what a property's schema allows, None where that isn't plain."""
    rest = {key: value for key, value in node.items() if key not in _SILENT}
    kind = rest.pop("type", None)
    nullable = isinstance(kind, list) and len(kind) == 2 and "null" in kind
    if nullable:
        (kind,) = (one for one in kind if one != "null")
    found: Any = None
    if kind == "string" and not rest:
        found = str
    elif kind == "string" and set(rest) == {"enum"}:
        labels = tuple(label for label in rest["enum"] if label is not None)
        found = Literal[labels] if labels and all(isinstance(one, str) for one in labels) else None
    elif kind in ("integer", "number"):
        found = _number(kind, rest)
    elif kind == "boolean" and not rest:
        found = bool
    elif kind == "array" and set(rest) == {"items"} and rest["items"] == {"type": "string"}:
        found = list[str]
    return found | None if nullable and found is not None else found


def _number(kind: str, rest: dict[str, Any]) -> Any:
    whole = kind == "integer"
    bounds: dict[str, Any] = {"ge": _SMALLEST, "le": _LARGEST} if whole else {}
    for name, bound in rest.items():
        if name not in _BOUNDS or type(bound) not in ((int,) if whole else (int, float)):
            return None
        bounds[_BOUNDS[name]] = bound
    if ("ge" in bounds and "gt" in bounds) or ("le" in bounds and "lt" in bounds):
        return None
    return Annotated[int if whole else float, msgspec.Meta(**bounds)] if bounds else float
