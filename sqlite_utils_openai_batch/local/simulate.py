"""Answers that are made up, at once: for tests, for load, and to see how a job looks.

They are the same for the same request and seed, have the shape that the request asks for, name
the request's custom_id, and say that they are simulated: in the text, in `model` (which gets the
ending `-simulated`) and in `system_fingerprint`.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from .answers import Answer, api_error
from .made_up import made_up

FINGERPRINT = "fp_simulated"
CREATED = 1_767_225_600
"""`created` of simulated answers: fixed, so that the same request gives the same bytes."""

EMBEDDING_SIZES = {"text-embedding-3-large": 3072}


class SimulatedAnswerer:
    """Answers at once, without a model.

    `seed` varies the choices. `rate` (lines per second) or `duration` (seconds per batch) slow
    batches down. With `echo` each text carries, word for word, the last user message of its
    request, so that a test can tell that each answer landed where it belongs.
    """

    label = "simulated answers (made up, and marked so)"
    concurrency = 1

    def __init__(
        self,
        seed: int = 0,
        rate: float | None = None,
        duration: float | None = None,
        *,
        echo: bool = False,
    ) -> None:
        self.seed = seed
        self.rate = rate
        self.duration = duration
        self.echo = echo

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request."""
        return self.answer_now(url, body, custom_id)

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        build = BUILDERS.get(url)
        if build is None:
            message = f"There are no simulated answers for {url}."
            return api_error(404, message, type="invalid_request_error", code="unknown_url")
        return Answer(200, build(self, body, custom_id))

    def pace(self, requests: int) -> float | None:
        """Lines per second for a batch of so many requests; None for no brake."""
        if self.duration:
            return max(requests, 1) / self.duration
        return self.rate

    async def models(self) -> list[str]:
        """Names for `GET /v1/models`; any other name is answered as well."""
        return ["gpt-4o-mini", "text-embedding-3-small"]

    async def close(self) -> None:
        """Nothing is held."""

    def text(self, asked: str, schema: Any, custom_id: str) -> str:
        """The text of an answer: JSON when there is a schema, else a sentence."""
        sentence = f"simulated answer to {custom_id}"
        if self.echo:
            sentence += f": {asked}"
        if schema is None:
            return sentence
        chooser = zlib.crc32(asked.encode("utf-8", "surrogatepass"), self.seed)
        return orjson.dumps(made_up(schema, sentence, chooser)).decode()


def tokens(text: str) -> int:
    """A plausible count: four characters to a token."""
    return -(-len(text) // 4)


def content_text(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def last_user_message(messages: Any) -> str:
    """The text of the last message with the role `user`."""
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list):
        return ""
    users = (m for m in reversed(messages) if isinstance(m, dict) and m.get("role") == "user")
    return content_text(next(users, {}).get("content"))


def prompt_tokens(messages: Any) -> int:
    """A plausible count for a whole conversation, with four tokens around each message."""
    if isinstance(messages, str):
        return tokens(messages) + 4
    if not isinstance(messages, list):
        return 4
    contents = (content_text(m.get("content")) for m in messages if isinstance(m, dict))
    return sum(tokens(text) + 4 for text in contents)


def cut(text: str, limit: Any) -> tuple[str, bool]:
    """Cut a text at its limit in tokens, as the service does; tells whether it was cut."""
    if isinstance(limit, int) and limit > 0 and tokens(text) > limit:
        return text[: limit * 4], True
    return text, False


def answer_id(prefix: str, custom_id: str) -> str:
    """An id that follows from the request."""
    return prefix + hashlib.md5(custom_id.encode(), usedforsecurity=False).hexdigest()[:24]


def model_name(body: Mapping[str, Any]) -> str:
    """The name of the model, marked."""
    return f"{body.get('model', 'model')}-simulated"


def chat_completion(
    simulated: SimulatedAnswerer, body: Mapping[str, Any], custom_id: str
) -> dict[str, Any]:
    """Build the body of a chat completion."""
    messages = body.get("messages")
    schema = response_schema(body.get("response_format"))
    whole = simulated.text(last_user_message(messages), schema, custom_id)
    text, was_cut = cut(whole, body.get("max_completion_tokens") or body.get("max_tokens"))
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "message": {
                "role": "assistant", "content": text, "refusal": None, "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "length" if was_cut else "stop",
        }
        for index in range(body.get("n") or 1)
    ]  # fmt: skip
    return {
        "id": answer_id("chatcmpl-", custom_id),
        "object": "chat.completion",
        "created": CREATED,
        "model": model_name(body),
        "choices": choices,
        "usage": chat_usage(prompt_tokens(messages), tokens(text) * len(choices)),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def chat_usage(prompt: int, completion: int) -> dict[str, Any]:
    """Usage as chat completions write it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def response_schema(format: Any) -> Any:
    """The schema that the answer must have: of `json_schema`, any object for `json_object`."""
    if not isinstance(format, dict):
        return None
    if format.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    if format.get("type") != "json_schema":
        return None
    return format.get("schema") or (format.get("json_schema") or {}).get("schema") or {}


def response(
    simulated: SimulatedAnswerer, body: Mapping[str, Any], custom_id: str
) -> dict[str, Any]:
    """Build the body of a response of the Responses API."""
    asked = body.get("input")
    schema = response_schema((body.get("text") or {}).get("format"))
    whole = simulated.text(last_user_message(asked), schema, custom_id)
    text, was_cut = cut(whole, body.get("max_output_tokens"))
    prompt = prompt_tokens(asked) + tokens(body.get("instructions") or "")
    message = {
        "id": answer_id("msg_", custom_id),
        "type": "message",
        "status": "incomplete" if was_cut else "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
    return {
        "id": answer_id("resp_", custom_id),
        "object": "response",
        "created_at": CREATED,
        "status": message["status"],
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if was_cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": model_name(body),
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
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens(text),
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + tokens(text),
        },
        "metadata": body.get("metadata") or {},
    }


def embeddings(
    simulated: SimulatedAnswerer, body: Mapping[str, Any], custom_id: str
) -> dict[str, Any]:
    """Build the body of an embeddings reply; the same input always has the same vector."""
    given = body.get("input")
    many = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    inputs = given if many and isinstance(given, list) else [given]
    size = body.get("dimensions") or EMBEDDING_SIZES.get(str(body.get("model")), 1536)
    used = sum(len(i) if isinstance(i, list) else tokens(str(i)) for i in inputs)
    data = [
        {"object": "embedding", "index": n, "embedding": vector(i, size, body, simulated.seed)}
        for n, i in enumerate(inputs)
    ]
    return {
        "object": "list",
        "data": data,
        "model": model_name(body),
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def vector(given: Any, size: int, body: Mapping[str, Any], seed: int) -> list[float] | str:
    """A vector of length 1 that follows from the input, as numbers or as base64 of float32."""
    source = orjson.dumps([seed, given])
    numbers = array("h", hashlib.shake_128(source).digest(size * 2))
    length = sum(n * n for n in numbers) ** 0.5 or 1.0
    unit = [n / length for n in numbers]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(array("f", unit).tobytes()).decode()
    return unit


BUILDERS: dict[str, Callable[[SimulatedAnswerer, Mapping[str, Any], str], dict[str, Any]]] = {
    "/v1/chat/completions": chat_completion,
    "/v1/responses": response,
    "/v1/embeddings": embeddings,
}
