"""The small real model: SmolLM2-135M-Instruct, run by llama.cpp inside this process.

135 million parameters are enough to show how everything works, and too few to believe: its
answers carry `MODEL_NAME`, which says that it is a demo model.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..protocol.answers import Answer, NoAnswer, api_error
from ..protocol.bodies import refused
from ..protocol.shapes import (
    answer_body,
    asked_limit,
    asked_schema,
    asked_tokens,
    content_text,
    embeddings,
    encoded,
    inputs_of,
    messages_of,
    shortened,
)
from .llama import CONTEXT_TOKENS, TOGETHER, Reply, grammar, load, require
from .weights import Progress, ensure_weights

# What a small model needs beside a schema: bounds, and to be told what is wanted.
#
# An unbounded text runs until it is cut off. And a grammar only forbids: told nothing of the keys,
# the model fills them with whatever the grammar leaves possible.

TEXT = 160
"""Characters of a text whose schema sets no bound."""

ITEMS = 5
"""Items of a list whose schema sets no bound."""

FIXED = ("enum", "const", "maxLength", "pattern", "format")
NAMED = ("properties", "$defs", "definitions")
NESTED = ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties")
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
}


def bounded(schema: Any) -> Any:
    """Return the schema with a `maxLength` on each open text, a `maxItems` on each open list."""
    if isinstance(schema, list):
        return [bounded(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _inner(key, value) for key, value in schema.items()}
    kinds = _kinds(schema)
    if "string" in kinds and not any(name in schema for name in FIXED):
        result["maxLength"] = max(TEXT, schema.get("minLength", 0))
    if "array" in kinds and "maxItems" not in schema:
        result["maxItems"] = max(ITEMS, schema.get("minItems", 0))
    return result


def _inner(key: str, value: Any) -> Any:
    if key in NAMED and isinstance(value, dict):
        return {name: bounded(inner) for name, inner in value.items()}
    return bounded(value) if key in NESTED else value


def _kinds(schema: dict[str, Any]) -> list[Any]:
    kinds = schema.get("type")
    return kinds if isinstance(kinds, list) else [kinds]


def in_words(schema: Any) -> str:
    """Say what a schema asks for: `Answer with a JSON object with the keys mood (good or bad).`

    Empty for a schema without properties.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties:
        return ""
    keys = [f"{name} ({_meaning(inner)})" for name, inner in properties.items()]
    noun = "key" if len(keys) == 1 else "keys"
    return f"Answer with a JSON object with the {noun} {listed(keys, 'and')}."


def _meaning(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "text"
    if options := schema.get("enum") or (schema.get("items") or {}).get("enum"):
        return listed([str(option) for option in options], "or")
    if description := schema.get("description"):
        return str(description)
    words = [WORDS[kind] for kind in _kinds(schema) if kind in WORDS]
    return words[0] if words else "text"


def listed(words: list[str], last: str) -> str:
    """Join words as a sentence does: `a, b or c`."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0]


MODEL_NAME = "SmolLM2-135M-Instruct (demo model)"
"""`model` of each answer."""

FINGERPRINT = "fp_demo_model"
SYSTEM = "You are a helpful assistant. Answer briefly."
"""Sent when a request has no system message: without one the model rambles."""

ANSWER_TOKENS = 256
"""The limit of an answer whose request names none."""

SAMPLING = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")


class ModelAnswerer:
    """Answers with the small model, two requests at a time.

    Weights and model load at the first request. `progress` hears of the download. Raises
    ConfigurationError at once without the extra `local`, and from `load` (which `answer` calls as
    well) when the weights can't be had.
    """

    label = f"{MODEL_NAME} on this machine"
    concurrency = TOGETHER

    def __init__(self, progress: Progress | None = None) -> None:
        require()
        self._progress = progress
        self._loading = threading.Lock()
        self._servers: dict[bool, Any] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._stops: set[threading.Event] = set()

    def load(self) -> ModelAnswerer:
        """Fetch the weights if need be and load the model now."""
        self._server(for_embeddings=False)
        return self

    def _server(self, *, for_embeddings: bool) -> Any:
        with self._loading:
            if for_embeddings not in self._servers:
                weights = ensure_weights(self._progress)
                self._servers[for_embeddings] = load(weights, for_embeddings=for_embeddings)
            return self._servers[for_embeddings]

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Answer one request; what the model can't do is an error reply that says so."""
        stop = threading.Event()
        tasks: dict[str, Callable[[], Answer | NoAnswer]] = {
            "/v1/chat/completions": partial(self._converse, url, body, custom_id, stop),
            "/v1/responses": partial(self._converse, url, body, custom_id, stop),
            "/v1/embeddings": partial(self._embed, url, body),
        }
        task = tasks.get(url)
        if task is None:
            return _refusal(f"The demo model doesn't answer {url}.")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(TOGETHER, thread_name_prefix="demo model")
        self._stops.add(stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, task)
        finally:
            # nobody waits for the answer any more: if it is still being written, break it off
            stop.set()
            self._stops.discard(stop)

    def _converse(
        self, url: str, body: Mapping[str, Any], custom_id: str, stop: threading.Event
    ) -> Answer | NoAnswer:
        if refusal := refused(url, body):
            return refusal
        if reason := _unable(body):
            return _refusal(reason)
        reply = Reply(stop)
        server = self._server(for_embeddings=False)
        try:
            failed = server.handle_chat_completions(_chat_request(body), reply)
        except (ValueError, RuntimeError) as error:  # how the binding reports a bad request
            return _refusal(f"The demo model can't read this request: {error}")
        if stop.is_set():
            return NoAnswer("stopped", "The server stopped before the answer was complete.")
        if trouble := reply.error or (failed or {}).get("error"):
            return _llama_error(trouble)
        created = int(time.time())
        answer = answer_body(
            url, custom_id, body, reply.text,
            model=MODEL_NAME, finish_reason=reply.finish_reason, usage=reply.usage,
            created=created, fingerprint=FINGERPRINT, tokens=reply.tokens or None,
        )  # fmt: skip
        return Answer(200, answer)

    def _embed(self, url: str, body: Mapping[str, Any]) -> Answer:
        if refusal := refused(url, body):
            return refusal
        request = {"input": inputs_of(body), "model": MODEL_NAME}
        try:
            reply = self._server(for_embeddings=True).handle_embeddings(request)
        except (ValueError, RuntimeError) as error:  # how the binding reports a bad request
            return _refusal(f"The demo model can't read this request: {error}")
        if trouble := reply.get("error"):
            return _llama_error(trouble)
        vectors = [encoded(shortened(d["embedding"], body), body) for d in reply["data"]]
        used = reply["usage"]["prompt_tokens"]
        return Answer(200, embeddings(vectors, model=MODEL_NAME, prompt_tokens=used))

    async def models(self) -> list[str]:
        """The one name there is; requests may name any model."""
        return [MODEL_NAME]

    async def allowed_models(self) -> list[str] | None:
        """Requests may name any model."""
        return None

    async def close(self) -> None:
        """Break off what is being answered and free the memory; a request loads it again."""
        for stop in self._stops:
            stop.set()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._threads = None
        self._servers.clear()


def _chat_request(body: Mapping[str, Any]) -> dict[str, Any]:
    schema = asked_schema(body)
    request: dict[str, Any] = {
        "messages": _messages(body, schema),
        "max_tokens": asked_limit(body) or ANSWER_TOKENS,
        "temperature": 0,  # the same answer every time, unless the request says otherwise
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    request.update({name: body[name] for name in SAMPLING if body.get(name) is not None})
    if asked_tokens(body) is not None:
        request |= {"logprobs": True, "top_logprobs": asked_tokens(body)}
    if schema is not None:
        request["grammar"] = grammar(bounded(schema))
    return request


def _messages(body: Mapping[str, Any], schema: Any) -> list[dict[str, str]]:
    """The conversation, with a system message that says what the schema wants."""
    messages = [
        {"role": _role(message), "content": content_text(message.get("content"))}
        for message in messages_of(body)
    ]
    if not messages or messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": SYSTEM})
    if wanted := in_words(schema):
        messages[0]["content"] += "\n" + wanted
    return messages


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    return "system" if role == "developer" else str(role or "user")


def _unable(body: Mapping[str, Any]) -> str | None:
    """What of a request is beyond the model; None when nothing is."""
    if body.get("tools"):
        return "The demo model calls no tools."
    if (body.get("n") or 1) != 1:
        return "The demo model gives one choice, n must be 1."
    for message in messages_of(body):
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if any(not (isinstance(part, dict) and "text" in part) for part in parts):
            return "The demo model reads text only, no images, sounds or files."
    return None


def _refusal(message: str) -> Answer:
    return api_error(400, message, type="invalid_request_error", code="unsupported_by_demo_model")


def _llama_error(error: Mapping[str, Any]) -> Answer:
    if error.get("type") == "exceed_context_size_error":
        message = (
            f"This model's maximum context length is {CONTEXT_TOKENS} tokens. However, your"
            f" messages resulted in {error.get('n_prompt_tokens')} tokens."
        )
        return api_error(400, message, type="invalid_request_error", code="context_length_exceeded")
    status = error.get("code")
    status = status if isinstance(status, int) and 400 <= status < 600 else 500
    kind = "invalid_request_error" if status < 500 else "server_error"
    return api_error(status, str(error.get("message")), type=kind)
