"""The shapes of response lines, as far as they are read.

Field names are those of OpenAI's API description; everything else in a line is skipped without
being decoded. msgspec decodes a line of the expected shape in one pass. Lines of compatible
servers that differ (a body as JSON text, `"status_code": "200"`, a null where a list belongs)
are read a second time, field by field: what doesn't fit is left out, the rest is kept.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from ..base.json import loads

#: What SQLite stores as INTEGER.
SMALLEST, LARGEST = -(2**63), 2**63 - 1
#: Tokens of one answer: more is nobody's count, and sums of these fit into a column.
MOST_TOKENS = 10**9
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
NOTHING = msgspec.Raw(b"null")
# Two threads that build decoders of the same structs at once crash Python (msgspec 0.22).
BUILDING = threading.RLock()


class Error(msgspec.Struct, gc=False):
    """An error, at the top of a line or in a body."""

    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class Details(msgspec.Struct, gc=False):
    """What input or output tokens were spent on."""

    cached_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class Usage(msgspec.Struct, gc=False):
    """Tokens, by the names of chat completions and by those of responses."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None


class Body(msgspec.Struct, gc=False):
    """What every response body may have; `message`, `code` and `type` only where it failed."""

    model: str | None = None
    usage: Usage | None = None
    error: Error | str | None = None
    message: str | None = None
    detail: Any = None
    code: str | int | None = None
    type: str | None = None


# Text, or pieces of it; some servers send the answer itself, as an object or a list.
Content = str | list[Any] | dict[str, Any] | None


class Message(msgspec.Struct, gc=False):
    """A chat completion's message."""

    content: Content = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = NOTHING
    function_call: msgspec.Raw = NOTHING


class Choice(msgspec.Struct, gc=False):
    """One of n answers: `message` in chat completions, `text` in completions."""

    index: Count | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class Completion(Body, gc=False):
    """/v1/chat/completions and /v1/completions."""

    choices: list[Choice] = []


class Item(msgspec.Struct, gc=False, omit_defaults=True):
    """An output item of a response: a message, a tool call, reasoning."""

    type: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    input: str | dict[str, Any] | None = None
    content: Content = None


class Incomplete(msgspec.Struct, gc=False):
    """Why a response stopped early."""

    reason: str | None = None


class Response(Body, gc=False):
    """/v1/responses."""

    status: str | None = None
    incomplete_details: Incomplete | None = None
    output: list[Item] = []


class Vector(msgspec.Struct, gc=False):
    """One embedding: numbers, or base64 of little-endian float32."""

    index: Count | None = None
    embedding: list[float] | str | None = None


class Embeddings(Body, gc=False):
    """/v1/embeddings."""

    data: list[Vector] = []


class Moderations(Body, gc=False):
    """/v1/moderations."""

    results: msgspec.Raw = NOTHING


B = TypeVar("B", bound=Body)
A = TypeVar("A")
R = TypeVar("R")


class Reply(msgspec.Struct, Generic[B], gc=False):
    """The HTTP response to one request."""

    status_code: int | str | None = None
    body: B | str | None = None


class Line(msgspec.Struct, Generic[B], gc=False):
    """A line of an output or error file."""

    custom_id: str | None = None
    response: Reply[B] | None = None
    error: Error | str | None = None


def read_line(line: bytes, kind: type[B]) -> tuple[Line[B], B | None] | None:
    """Decode a line whose body is of some kind. Never raises.

    Returns:
        The line and its body, or None if this is not a JSON object.
    """
    try:
        read = line_decoder(kind)(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        salvaged = _salvage(line, kind)
        if salvaged is None:
            return None
        read = salvaged
    body = read.response.body if read.response is not None else None
    return read, _fit(body, _shape(kind)) if isinstance(body, str) else body


_decoders: dict[type, Callable[[bytes], Line[Any]]] = {}


def read_each(read: Callable[[A], R], given: Sequence[A], other: R) -> list[R]:
    """What `read` makes of each; `other` where it can't be read (ValueError, TypeError).

    As fast as `map`, where nearly all can be read.
    """
    found: list[R] = []
    rest = iter(given)
    while len(found) < len(given):
        try:
            found.extend(map(read, rest))
        except (ValueError, RecursionError, TypeError):  # msgspec's errors are ValueErrors
            # Those before it are in the list, and the iterator stands behind it.
            found.append(other)
    return found


def line_decoder(kind: type[B]) -> Callable[[bytes], Line[B]]:
    """The function that decodes a line whose body is of some kind."""
    return _decoders.get(kind) or _build(kind)


def _build(kind: type[B]) -> Callable[[bytes], Line[B]]:
    with BUILDING:
        if kind not in _decoders:
            _decoders[kind] = msgspec.json.Decoder(Line[kind]).decode  # type: ignore[valid-type]
        return _decoders[kind]


@functools.cache
def _shape(kind: Any) -> inspect.Type:
    with BUILDING:
        return inspect.type_info(kind)


def _salvage(line: bytes, kind: type[B]) -> Line[B] | None:
    try:
        value = loads(line.decode("utf-8", "replace"), nan=True)
        read = _fit(value, _shape(Line[kind]))  # type: ignore[valid-type]
    except (ValueError, RecursionError):
        return None
    return read if isinstance(value, dict) else None


def _fit(value: Any, shape: inspect.Type) -> Any:
    """Make a JSON value what a type wants, or None where it can't be."""
    match shape:
        case inspect.UnionType():
            fitted = (_fit(value, variant) for variant in shape.types)
            return next((one for one in fitted if one is not None), None)
        case inspect.StructType():
            return _fit_struct(_object(value), shape)
        case inspect.DictType():
            return value if isinstance(value, dict) else None
        case inspect.ListType():
            return _fit_list(value, shape.item_type) if isinstance(value, list) else None
        case inspect.StrType():
            is_number = isinstance(value, int) and not isinstance(value, bool)
            return str(value) if is_number or isinstance(value, str) else None
        case inspect.IntType():
            return _integer(value)
        case inspect.FloatType():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return float(value) if is_number else None
        case inspect.RawType():
            return msgspec.Raw(msgspec.json.encode(value))
    return value if isinstance(shape, inspect.AnyType) else None


def _fit_struct(value: dict[str, Any] | None, shape: inspect.StructType) -> Any:
    if value is None:
        return None
    fitted = {
        field.name: _fit(value[field.encode_name], field.type)
        for field in shape.fields
        if field.encode_name in value
    }
    return shape.cls(**{name: one for name, one in fitted.items() if one is not None})


def _fit_list(values: list[Any], shape: inspect.Type) -> list[Any] | None:
    fitted = [_fit(value, shape) for value in values]
    if isinstance(shape, inspect.FloatType) and None in fitted:
        return None  # a vector with a gap is not a vector
    return [one for one in fitted if one is not None]


def _object(value: Any) -> dict[str, Any] | None:
    """Return an object, also one that comes as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = loads(value, nan=True)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if isinstance(value, int) and 0 <= value < 2**63 else None
