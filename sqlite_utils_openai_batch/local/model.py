"""The small real model: SmolLM2-135M-Instruct, run by llama.cpp inside this process.

135 million parameters are enough to show how everything works, and too few to believe: its
answers carry `MODEL_NAME`, which says that it is a demo model.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ..errors import ConfigurationError
from .answers import Answer, NoAnswer, api_error
from .bodies import refused
from .grammar import bounded, in_words
from .shapes import (
    Usage,
    answer_body,
    asked_limit,
    asked_schema,
    content_text,
    embeddings,
    inputs_of,
    messages_of,
)
from .vectors import encoded, shortened
from .weights import Progress, ensure_weights

MODEL_NAME = "SmolLM2-135M-Instruct (demo model)"
"""`model` of each answer."""

FINGERPRINT = "fp_demo_model"
SYSTEM = "You are a helpful assistant. Answer briefly."
"""Sent when a request has no system message: without one the model rambles."""

CONTEXT_TOKENS = 4096
"""Tokens that one request and its answer may have."""

ANSWER_TOKENS = 256
"""The limit of an answer whose request names none."""

SAMPLING = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")
TOGETHER = 2
"""Requests at a time."""

MOST_THREADS = 4


class ModelAnswerer:
    """Answers with the small model, two requests at a time.

    Weights and model load at the first request. `progress` hears of the download. Raises
    ConfigurationError (from `load`, which `answer` calls as well) without the `local` extra, or
    when the weights can't be had.
    """

    label = f"{MODEL_NAME} on this machine"
    concurrency = TOGETHER

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._threads = ThreadPoolExecutor(TOGETHER, thread_name_prefix="demo model")
        self._loading = threading.Lock()
        self._servers: dict[bool, Any] = {}
        self._closing = False

    def load(self) -> ModelAnswerer:
        """Fetch the weights if need be and load the model now."""
        self._server(for_embeddings=False)
        return self

    def _server(self, *, for_embeddings: bool) -> Any:
        with self._loading:
            if for_embeddings not in self._servers:
                self._servers[for_embeddings] = _load(for_embeddings, self._progress)
            return self._servers[for_embeddings]

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Answer one request; what the model can't do is an error reply that says so."""
        tasks: dict[str, Callable[[], Answer]] = {
            "/v1/chat/completions": partial(self._converse, url, body, custom_id),
            "/v1/responses": partial(self._converse, url, body, custom_id),
            "/v1/embeddings": partial(self._embed, url, body),
        }
        task = tasks.get(url)
        if task is None:
            return _refusal(f"The demo model doesn't answer {url}.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, task)

    def _converse(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        if refusal := refused(url, body):
            return refusal
        if reason := _unable(body):
            return _refusal(reason)
        reply = _Reply(lambda: self._closing)
        server = self._server(for_embeddings=False)
        try:
            failed = server.handle_chat_completions(_chat_request(body), reply)
        except (ValueError, RuntimeError) as error:  # how the binding reports a bad request
            return _refusal(f"The demo model can't read this request: {error}")
        if trouble := reply.error or (failed or {}).get("error"):
            return _llama_error(trouble)
        created = int(time.time())
        answer = answer_body(
            url, custom_id, body, reply.text,
            model=MODEL_NAME, finish_reason=reply.finish_reason, usage=reply.usage,
            created=created, fingerprint=FINGERPRINT,
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
        """Break off what is being answered and free the memory."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._servers.clear()


class _Reply:
    """Collects a streamed answer: a stream can be broken off, a plain call can't."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self.text = ""
        self.finish_reason = "stop"
        self.usage = Usage(0, 0)
        self.error: dict[str, Any] | None = None
        self._closing = closing

    def __call__(self, chunk: dict[str, Any]) -> bool:
        self.error = self.error or chunk.get("error")
        for choice in chunk.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self.usage = Usage(
                usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens", 0)
            )
        return self._closing()


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
    if schema is not None:
        request["grammar"] = _grammar(schema)
    return request


def _grammar(schema: Any) -> str:
    """A grammar that leaves the model no choice of white space, which it would waste time on."""
    import xllamacpp

    spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return str(xllamacpp.json_schema_to_grammar({**bounded(schema), "x-guidance": spaced}))


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


def _load(for_embeddings: bool, progress: Progress | None) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigurationError(
            "The demo model needs llama.cpp: pip install 'sqlite-utils-openai-batch[local]'."
            " Without it: --simulate makes answers up, --upstream URL asks a model server."
        ) from error
    params = xllamacpp.CommonParams()
    params.model.path = str(ensure_weights(progress))
    params.n_parallel = TOGETHER
    params.n_ctx = CONTEXT_TOKENS * TOGETHER
    params.verbosity = -1  # nothing of llama.cpp's log belongs on the user's terminal
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    # llama.cpp opens a port of its own whether it is wanted or not: nobody else has this key
    params.api_keys = [secrets.token_hex(32)]
    params.ui = False
    if for_embeddings:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = CONTEXT_TOKENS
    return xllamacpp.Server(params)


def _threads() -> int:
    """All processors but one, and no more than such a small model has work for.

    Its threads wait for each other in busy loops: with one more thread than there are idle
    processors it was seen to take twenty times as long.
    """
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) - 1))
