"""Reply bodies as the API shapes them, and the parts of request bodies that answers depend on."""

from __future__ import annotations

import base64
import hashlib
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson


class Usage(NamedTuple):
    """Tokens of one answer."""

    prompt: int
    completion: int
    cached: int = 0


def answer_id(prefix: str, custom_id: str) -> str:
    """An id that follows from the request."""
    return prefix + hashlib.md5(custom_id.encode(), usedforsecurity=False).hexdigest()[:24]


# what is asked


def content_text(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def messages_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation of a chat completion or a response, its instructions first."""
    given = body.get("messages", body.get("input"))
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    messages = [m for m in given if isinstance(m, dict)] if isinstance(given, list) else []
    if instructions := body.get("instructions"):
        return [{"role": "system", "content": instructions}, *messages]
    return messages


def last_user_message(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text of the last message with the role `user`."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return content_text(message.get("content"))
    return ""


def asked_schema(body: Mapping[str, Any]) -> Any:
    """The schema that the answer must have; None for free text.

    It is in `response_format` of chat completions and in `text.format` of responses.
    `json_object` asks for any object.
    """
    asked = body.get("response_format") or (body.get("text") or {}).get("format")
    if not isinstance(asked, dict):
        return None
    if asked.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    if asked.get("type") != "json_schema":
        return None
    return asked.get("schema") or (asked.get("json_schema") or {}).get("schema") or {}


def asked_limit(body: Mapping[str, Any]) -> int | None:
    """The most tokens that an answer may have; None when the request doesn't say."""
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if isinstance(limit := body.get(name), int) and limit > 0:
            return limit
    return None


def asked_tokens(body: Mapping[str, Any]) -> int | None:
    """How many likely tokens are wanted for each place; None where no probabilities are."""
    include = body.get("include")
    wanted = isinstance(include, list) and "message.output_text.logprobs" in include
    if not (body.get("logprobs") is True or wanted):
        return None
    most = body.get("top_logprobs")
    return most if isinstance(most, int) else 0


def inputs_of(body: Mapping[str, Any]) -> list[Any]:
    """The inputs of an embeddings request: texts, or lists of tokens."""
    given = body.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given
    return [given]


# what is answered


def chat_completion(
    custom_id: str,
    message: Mapping[str, Any],
    *,
    model: str,
    finish_reason: str,
    usage: Usage,
    created: int,
    fingerprint: str,
    choices: int = 1,
    tokens: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Build the body of a chat completion; `message` is merged into the usual one."""
    whole = {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message}
    sure = None if tokens is None else {"content": tokens, "refusal": None}
    return {
        "id": answer_id("chatcmpl-", custom_id),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [
            {"index": index, "message": whole, "logprobs": sure, "finish_reason": finish_reason}
            for index in range(choices)
        ],
        "usage": chat_usage(usage),
        "service_tier": "default",
        "system_fingerprint": fingerprint,
    }


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Usage as chat completions write it."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def response(
    custom_id: str,
    body: Mapping[str, Any],
    content: Mapping[str, Any],
    *,
    model: str,
    finish_reason: str,
    usage: Usage,
    created: int,
) -> dict[str, Any]:
    """Build the body of a response of the Responses API; `content` is its one part."""
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(finish_reason)
    status = "incomplete" if reason else "completed"
    message = {
        "id": answer_id("msg_", custom_id),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [content],
    }
    return {
        "id": answer_id("resp_", custom_id),
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": response_usage(usage),
        "metadata": body.get("metadata") or {},
    }


def output_text(text: str, tokens: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The part of a response that holds its text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": tokens or []}


def response_usage(usage: Usage) -> dict[str, Any]:
    """Usage as responses write it."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }


def embeddings(
    vectors: Sequence[list[float] | str], *, model: str, prompt_tokens: int
) -> dict[str, Any]:
    """Build the body of an embeddings reply."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def answer_body(
    url: str,
    custom_id: str,
    body: Mapping[str, Any],
    text: str,
    *,
    model: str,
    finish_reason: str,
    usage: Usage,
    created: int,
    fingerprint: str,
    tokens: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Build the reply body of a text answer, of chat completions or of responses.

    `tokens` are its tokens with their probabilities, as the API writes them.
    """
    if url == "/v1/responses":
        return response(
            custom_id,
            body,
            output_text(text, tokens),
            model=model,
            finish_reason=finish_reason,
            usage=usage,
            created=created,
        )
    return chat_completion(
        custom_id,
        {"content": text},
        model=model,
        finish_reason=finish_reason,
        usage=usage,
        created=created,
        fingerprint=fingerprint,
        choices=body.get("n") or 1,
        tokens=tokens,
    )


# Embedding vectors as the API writes them.


def unit(numbers: Sequence[float]) -> list[float]:
    """Bring a vector to length 1; a vector of zeros stays as it is."""
    length = sum(n * n for n in numbers) ** 0.5 or 1.0
    return [n / length for n in numbers]


def made_up_vector(given: Any, size: int, seed: int) -> list[float]:
    """Return a vector of length 1 that follows from the input and the seed."""
    source = orjson.dumps([seed, given])
    numbers = array("h", hashlib.shake_128(source).digest(size * 2))
    return unit(numbers)


def encoded(vector: list[float], body: Mapping[str, Any]) -> list[float] | str:
    """The vector in the asked `encoding_format`: numbers, or base64 of little-endian float32."""
    if body.get("encoding_format") != "base64":
        return vector
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def shortened(vector: list[float], body: Mapping[str, Any]) -> list[float]:
    """The first `dimensions` numbers of a vector, at length 1 again."""
    size = body.get("dimensions")
    return unit(vector[:size]) if isinstance(size, int) and 0 < size < len(vector) else vector
