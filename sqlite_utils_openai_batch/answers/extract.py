"""Response bodies → answers, by endpoint.

What an answer is:
    chat completions, completions   the text; tool calls as JSON where there is no text
    responses                       the text of all messages; function calls as JSON
    embeddings                      little-endian float32 BLOB, as `llm` stores them
    moderations                     `results` as JSON
    any other endpoint              the body as JSON
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from ..base.json import loads
from .schema import SQLiteValue
from .wire import (
    MOST_TOKENS,
    NOTHING,
    Body,
    Choice,
    Completion,
    Content,
    Embeddings,
    Message,
    Moderations,
    Response,
    Usage,
    Vector,
)

# Types of pieces of a message's content that have no field of their type's name.
_PIECES = {"text", "reasoning", "refusal", "thinking"}
# `length` is OpenAI's; the others are compatible servers' and the Responses API's.
_TOO_LONG = {"length", "max_tokens", "max_output_tokens", "model_length"}


class Found(msgspec.Struct, gc=False):
    """What one answer in a body is; `reason` is why the model stopped.

    `calls` are the tool calls that came beside a text, as JSON.
    """

    status: str
    answer: str | bytes | None = None
    message: str | None = None
    reason: str | None = None
    code: str | None = None
    values: tuple[SQLiteValue, ...] | None = None
    note: str | None = None
    calls: str | None = None


def kind_of(endpoint: str) -> type[Any]:
    """Return the shape of an endpoint's bodies; Azure's endpoints lack the `/v1`."""
    return _KINDS.get(endpoint.removeprefix("/v1"), Body)


def answers_in(body: Any, line: bytes) -> list[Found]:
    """Return what a body of a `kind_of` shape answers, in the order of their index."""
    return _READERS[type(body)](body) if type(body) in _READERS else _whole_body(line)


def tokens_in(usage: Usage | None) -> tuple[int | None, int | None, int | None, int | None]:
    """Return prompt, cached, completion and reasoning tokens.

    Some servers fill in the names of the other API with 0, so 0 gives way to a number.
    """
    if usage is None:
        return None, None, None, None
    sent = usage.prompt_tokens_details or usage.input_tokens_details
    made = usage.completion_tokens_details or usage.output_tokens_details
    return (
        _told(usage.prompt_tokens or _either(usage.input_tokens, usage.prompt_tokens)),
        _told(sent.cached_tokens if sent is not None else None),
        _told(usage.completion_tokens or _either(usage.output_tokens, usage.completion_tokens)),
        _told(made.reasoning_tokens if made is not None else None),
    )


def _told(tokens: int | None) -> int | None:
    """A number of tokens that an answer can have, else none: sums must fit into a column."""
    return tokens if tokens is not None and tokens <= MOST_TOKENS else None


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _completion(body: Completion) -> list[Found]:
    return [_choice(choice, body.usage) for choice in _in_order(body.choices)]


def _choice(choice: Choice, usage: Usage | None) -> Found:
    message = choice.message
    if message is None:
        return _judged(choice.text, None, choice.finish_reason, usage)
    text, refusal = _content(message.content)
    calls = _tool_calls(message)
    if not text or text.isspace():
        text, calls = calls, None
    found = _judged(text, message.refusal or refusal, choice.finish_reason, usage)
    found.calls = calls
    return found


def _content(content: Content) -> tuple[str | None, str | None]:
    """Return the text and the refusal of a message's content.

    Where it is neither text nor pieces of text, it is the answer itself: its JSON.
    """
    if content is None or isinstance(content, str):
        return content, None
    pieces: list[Any] = content if isinstance(content, list) else [content]
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces), None
    if not all(_is_piece(piece) for piece in pieces):
        return msgspec.json.encode(content).decode() if content else None, None
    text = "".join(_text(piece.get("text")) for piece in pieces if piece["type"] != "reasoning")
    return text, "".join(_text(piece.get("refusal")) for piece in pieces) or None


def _is_piece(piece: Any) -> bool:
    """Whether this is a piece of a message's content, of whatever type."""
    return (
        isinstance(piece, dict)
        and isinstance(kind := piece.get("type"), str)
        and (kind in _PIECES or kind in piece or kind.endswith("_text"))
    )


def _text(value: Any) -> str:
    """The text of a piece; some servers wrap it once more."""
    inner = value.get("value") if isinstance(value, dict) else value
    return inner if isinstance(inner, str) else ""


def _tool_calls(message: Message) -> str | None:
    for raw in (message.tool_calls, message.function_call):
        if raw is not NOTHING and bytes(raw) not in (b"null", b"[]"):
            return bytes(raw).decode("utf-8", "replace")
    return None


def _response(body: Response) -> list[Found]:
    texts, refusals, calls = [], [], []
    for item in body.output:
        if item.type == "message":
            text, refusal = _content(item.content)
            texts.append(text or "")
            refusals.append(refusal or "")
        elif item.type in ("function_call", "custom_tool_call"):
            calls.append(item)
    if body.status == "failed":
        return [Found("api_error", None, "the response failed", body.status)]
    if body.status == "cancelled":
        return [Found("cancelled", None, "the response was cancelled", body.status)]
    reason = body.incomplete_details.reason if body.incomplete_details is not None else None
    text, called = "".join(texts), msgspec.json.encode(calls).decode() if calls else None
    if not text:
        text, called = called or "", None
    cut = body.status == "incomplete"
    found = _judged(text, "".join(refusals), reason or body.status, body.usage, cut)
    found.calls = called
    return [found]


def _judged(
    text: str | None,
    refusal: str | None,
    reason: str | None,
    usage: Usage | None,
    cut: bool = False,
) -> Found:
    """Turn what a model said, and why it stopped, into an outcome."""
    if refusal:
        return Found("refused", None, refusal, reason)
    if reason == "content_filter":
        return Found("content_filter", text or None, "stopped by the content filter", reason)
    if cut or reason in _TOO_LONG:
        tokens = tokens_in(usage)[2]
        limit = f"{tokens} tokens" if tokens else "the token limit"
        return Found("truncated", text or None, f"stopped at {limit}", reason)
    if not text or text.isspace():
        return Found("empty", None, "the answer is empty", reason)
    return Found("ok", text, None, reason)


def _embeddings(body: Embeddings) -> list[Found]:
    return [_vector(vector) for vector in _in_order(body.data)]


def _vector(vector: Vector) -> Found:
    embedding = vector.embedding
    if not embedding:
        return Found("empty", None, "the answer is empty")
    try:
        if isinstance(embedding, str):
            packed = base64.b64decode(embedding, validate=True)
            floats = array("f", packed)  # checks that they are whole float32
        else:
            floats = array("f", embedding)
            packed = _little_endian(floats)
    except ValueError:  # binascii.Error is one
        return Found("api_error", None, "the embedding is no base64 of float32")
    return Found("ok", packed)


def _little_endian(floats: array[float]) -> bytes:
    if sys.byteorder == "big":
        floats = array("f", floats)
        floats.byteswap()
    return floats.tobytes()


def _moderations(body: Moderations) -> list[Found]:
    results = bytes(body.results).decode("utf-8", "replace")
    if results in ("null", "[]"):
        return [Found("empty", None, "the answer is empty")]
    return [Found("ok", results)]


def _whole_body(line: bytes) -> list[Found]:
    try:
        body = loads(line.decode("utf-8", "replace"), nan=True)["response"]["body"]
    except (ValueError, TypeError, KeyError):  # there is a body, but it had to be mended
        return []
    return [Found("ok", msgspec.json.encode(body).decode())]


def _in_order(answers: list[Any]) -> list[Any]:
    return answers if len(answers) < 2 else sorted(answers, key=lambda one: one.index or 0)


def listed(answer: str | bytes | None) -> str | list[float] | None:
    """Return an answer as it stands in a JSON list of several."""
    if isinstance(answer, bytes):
        floats = array("f", answer)
        return array("f", _little_endian(floats)).tolist()
    return answer


_KINDS: dict[str, type[Any]] = {
    "/chat/completions": Completion,
    "/completions": Completion,
    "/responses": Response,
    "/embeddings": Embeddings,
    "/moderations": Moderations,
}
_READERS: dict[type[Any], Callable[[Any], list[Found]]] = {
    Completion: _completion,
    Response: _response,
    Embeddings: _embeddings,
    Moderations: _moderations,
}
