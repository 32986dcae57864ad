"""The usual response line, read in one pass: a chat completion with one answer, ended by itself.

Nearly all lines are like that. Whatever differs in the least is left to `outcome.read_response`,
and what is read here is what that would say: typed decoders refuse any other line. They check the
answer too, where its schema is made of plain values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from ..base.outcome import Outcome
from .schema import AnswerSchema, SQLiteValue
from .wire import BUILDING, Count

Values = tuple[SQLiteValue, ...]
Check = Callable[[Any], Values]

# What SQLite stores as INTEGER.
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_SILENT = {"title", "description"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}

# A count that no other name for it can take the place of (see `extract.tokens_in`).
_Some = Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)]


# The shapes below are those of `wire`, with all that isn't usual refused.


class _Sent(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _Made(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Some
    completion_tokens: _Some
    prompt_tokens_details: _Sent | None = None
    completion_tokens_details: _Made | None = None
    input_tokens_details: None = None
    output_tokens_details: None = None


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]


class _Completion(msgspec.Struct, gc=False):
    model: str
    choices: tuple[_Choice]
    usage: _Usage
    error: None = None


class _Reply(msgspec.Struct, gc=False):
    status_code: Literal[200]
    body: _Completion


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Reply
    error: None = None


with BUILDING:
    _decode = msgspec.json.Decoder(_Line).decode


def read_usual(data: bytes) -> Outcome | None:
    """Read a usual line of chat completions; None for any other. The answer isn't checked."""
    try:
        line = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    body = line.response.body
    text = body.choices[0].message.content
    if text.isspace():
        return None
    usage = body.usage
    sent, made = usage.prompt_tokens_details, usage.completion_tokens_details
    return Outcome(
        line.custom_id,
        "ok",
        text,
        None,
        None,
        "stop",
        body.model,
        usage.prompt_tokens,
        None if sent is None else sent.cached_tokens,
        usage.completion_tokens,
        None if made is None else made.reasoning_tokens,
    )


def quick_check(schema: AnswerSchema) -> Check | None:
    """Return a function that reads an answer's columns, and raises where it isn't sure.

    None where the schema has more than plain values: strings and labels, numbers in a range,
    booleans, lists of strings; and where msgspec makes no decoder for it.
    """
    if set(schema.json) - {"type", "properties", "required", "additionalProperties", *_SILENT}:
        return None
    kinds = [_type_of(schema.json["properties"][column.name]) for column in schema.columns]
    if None in kinds:
        return None
    try:
        decode = _decoder([column.name for column in schema.columns], kinds)
    except (ValueError, TypeError):
        # Names with quotes, backslashes or control characters, bounds beyond 64 bits.
        return None
    cells = msgspec.structs.astuple
    if all(column.kind in ("string", "integer", "number") for column in schema.columns):
        return lambda text: cells(decode(text))
    return lambda text: tuple(map(_cell, cells(decode(text))))


def _decoder(names: list[str], kinds: list[Any]) -> Callable[[Any], Any]:
    """A function that reads an object of just these properties. Raises ValueError, TypeError."""
    fields = [f"f{n}" for n in range(len(names))]
    struct = msgspec.defstruct(
        "Answer",
        list(zip(fields, kinds, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )
    with BUILDING:
        return msgspec.json.Decoder(struct).decode


def unsure(text: str) -> Values:
    """The check of answers that no typed decoder can check. Raises ValueError."""
    raise ValueError(text)


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
