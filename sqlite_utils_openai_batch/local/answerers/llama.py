"""llama.cpp inside this process, by the `xllamacpp` wheel: loading, grammars, streamed answers."""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...base.errors import ConfigurationError
from ..protocol.shapes import Usage

CONTEXT_TOKENS = 4096
"""Tokens that one request and its answer may have."""

TOGETHER = 2
"""Requests at a time."""

MOST_THREADS = 4


def require() -> None:
    """See that the extra `local` is installed, without loading it; else ConfigurationError."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigurationError(
            "The demo model needs llama.cpp: pip install 'sqlite-utils-openai-batch[local]'."
            " Without it: --simulate makes answers up, --upstream URL asks a model server."
        )


class Reply:
    """Collects a streamed answer: a stream can be broken off, by `stop`; a plain call can't."""

    def __init__(self, stop: threading.Event) -> None:
        self.text = ""
        self.finish_reason = "stop"
        self.tokens: list[dict[str, Any]] = []
        """The probabilities of its tokens, where they were asked for."""
        self.usage = Usage(0, 0)
        self.error: dict[str, Any] | None = None
        self._stop = stop

    def __call__(self, chunk: dict[str, Any]) -> bool:
        """Take the next piece; True breaks the stream off."""
        self.error = self.error or chunk.get("error")
        for choice in chunk.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            self.tokens += (choice.get("logprobs") or {}).get("content") or ()
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self.usage = Usage(
                usage["prompt_tokens"], usage["completion_tokens"], details.get("cached_tokens", 0)
            )
        return self._stop.is_set()


def grammar(schema: Mapping[str, Any]) -> str:
    """Return a grammar for a schema, without the white space that the model would dwell on."""
    import xllamacpp

    spaced = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
    return str(xllamacpp.json_schema_to_grammar({**schema, "x-guidance": spaced}))


def load(weights: Path, *, for_embeddings: bool) -> Any:
    """Load the model; raises ConfigurationError without the extra `local`."""
    require()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
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
