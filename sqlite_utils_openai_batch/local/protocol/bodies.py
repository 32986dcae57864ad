"""The types of request bodies, checked before anything is read from one.

What the answerers look at must have the type that the API says; all else may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from .answers import Answer, api_error

Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
Tokens = Annotated[int, msgspec.Meta(ge=1)]
Dimensions = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class _Message(msgspec.Struct):
    role: str = "user"
    content: str | list[dict[str, Any]] | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None
    json_schema: _Schema | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Function(msgspec.Struct):
    name: str = ""
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Choice(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


class _Conversation(msgspec.Struct):
    model: str = ""
    messages: list[_Message] = []
    input: str | list[_Message] = []
    instructions: str | None = None
    n: Choices | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    max_output_tokens: Tokens | None = None
    response_format: _Format | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None


class _Embeddings(msgspec.Struct):
    input: str | list[str | int | list[int]]
    model: str = ""
    dimensions: Dimensions | None = None
    encoding_format: str | None = None


class _Completion(msgspec.Struct):
    prompt: str | list[str | int | list[int]]
    model: str = ""
    max_tokens: Tokens | None = None


class _Moderation(msgspec.Struct):
    input: str | list[str | dict[str, Any]]
    model: str = ""


TYPES: dict[str, type[msgspec.Struct]] = {
    "/v1/chat/completions": _Conversation,
    "/v1/responses": _Conversation,
    "/v1/embeddings": _Embeddings,
    "/v1/completions": _Completion,
    "/v1/moderations": _Moderation,
}


def refused(url: str, body: Mapping[str, Any]) -> Answer | None:
    """Return the error reply to a body whose parts have the wrong types; None for a good one."""
    kind = TYPES.get(url)
    if kind is None:
        return None
    try:
        msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message = f"Invalid request body: {error}."
        return api_error(400, message, type="invalid_request_error", code="invalid_type")
    return None
