"""Answers of vLLM engines on a Ray cluster, by Ray's own LLM processor (`ray.data.llm`).

Written against its documented interface: a config, a function before the engine that makes
`messages` and `sampling_params`, and one after it that reads `generated_text`. It needs GPUs and
`pip install 'ray[llm]'` on the cluster's machines.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from ...base.errors import ConfigurationError
from ..protocol.answers import Answer, NoAnswer, api_error
from ..protocol.lines import batch_url
from ..protocol.shapes import Usage, answer_body, asked_limit, asked_schema, messages_of

if TYPE_CHECKING:
    from ray.data import Dataset

ANSWER_TOKENS = 1024
"""The limit of an answer whose request names none: vLLM's own would be 16."""
TOGETHER = 64
"""Requests that Ray hands to an engine in one go."""
FINGERPRINT = "fp_vllm"

Row = dict[str, Any]


class NamedModel:
    """Stands before the engines: knows their model's name, and nothing else."""

    concurrency = 1

    def __init__(self, model: str) -> None:
        self.model = model
        self.label = f"{model} by vLLM"

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Nothing is answered here."""
        return NoAnswer("engine_error", "The engines are on the cluster.")

    async def models(self) -> list[str]:
        """The one model."""
        return [self.model]

    async def allowed_models(self) -> list[str] | None:
        """Requests may name any model: there is one."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


def unable(url: str, body: Mapping[str, Any]) -> Answer | None:
    """The error of a request that the engines can't answer, None for others."""
    reason = _reason(url, body)
    if reason is None:
        return None
    message = f"--engine vllm answers {reason} Start `vllm serve` and name it with --upstream."
    return api_error(400, message, type="invalid_request_error", code="unsupported")


def _reason(url: str, body: Mapping[str, Any]) -> str | None:
    if url not in ("/v1/chat/completions", "/v1/responses"):
        return f"conversations, and no {url}."
    if body.get("tools"):
        return "without tools."
    if (body.get("n") or 1) != 1:
        return "once, so n must be 1."
    contents = [message.get("content") for message in messages_of(body)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    if any(not isinstance(part, dict) or "text" not in part for part in parts):
        return "text only."
    return None


# One row of the processor is one request: these functions run on the workers.


def requests_of(block: Row) -> Iterator[Row]:
    """The requests of a block of lines."""
    for at, line in enumerate(block["lines"].split(b"\n")):
        yield {"block": block["block"], "at": at, "line": line}


def before_engine(row: Row) -> Row:
    """What the engine is asked: `messages` and `sampling_params`.

    All rows have the same keys, because they travel as columns; a schema travels as text.
    """
    body = orjson.loads(row["line"])["body"]
    schema = asked_schema(body)
    stop = body.get("stop")
    return {
        **row,
        "messages": [
            {"role": message.get("role", "user"), "content": text_of(message.get("content"))}
            for message in messages_of(body)
        ],
        "sampling_params": {
            "temperature": float(_given(body, "temperature", 1.0)),
            "top_p": float(_given(body, "top_p", 1.0)),
            "presence_penalty": float(_given(body, "presence_penalty", 0.0)),
            "frequency_penalty": float(_given(body, "frequency_penalty", 0.0)),
            "max_tokens": asked_limit(body) or ANSWER_TOKENS,
            "seed": body.get("seed"),
            "stop": [stop] if isinstance(stop, str) else stop,
            "structured_outputs": None
            if schema is None
            else {"json": orjson.dumps(schema).decode()},
        },
    }


def _given(body: Mapping[str, Any], name: str, usual: float) -> Any:
    value = body.get(name)
    return usual if value is None else value


def text_of(content: Any) -> str:
    """The text of a message: of its parts one after the other, where it has parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""


def after_engine(row: Row) -> Row:
    """The answer as the API shapes it."""
    request = orjson.loads(row["line"])
    body, custom_id = request["body"], request["custom_id"]
    written = int(row["num_generated_tokens"])
    cut = written >= (asked_limit(body) or ANSWER_TOKENS)
    reply = answer_body(
        batch_url(request["url"]),
        custom_id,
        body,
        row["generated_text"],
        model=str(body.get("model")),
        finish_reason="length" if cut else "stop",
        usage=Usage(int(row["num_input_tokens"]), written),
        created=int(time.time()),
        fingerprint=FINGERPRINT,
    )
    return {"block": row["block"], "at": row["at"], "answers": orjson.dumps([[True, 200, reply]])}


def finished(row: Row) -> Row:
    """The answer, or what the engine said instead: such rows pass `after_engine` by."""
    answers = row.get("answers")
    if not isinstance(answers, bytes) or not answers:
        said = row.get("__inference_error__") or "The engine gave no answer."
        answers = orjson.dumps([[False, "engine_error", str(said)[:1000]]])
    return {"block": row["block"], "at": row["at"], "answers": answers}


@dataclass(frozen=True)
class Engine:
    """vLLM engines: `replicas` of them, each on `tensor_parallel` GPUs.

    `llm` names the module of the processor; tests put a stand-in there.
    """

    model: str
    replicas: int = 1
    tensor_parallel: int = 1
    llm: str = "ray.data.llm"
    gathers: ClassVar[bool] = True

    def on(self, blocks: Dataset) -> Dataset:
        """Let the lines of a dataset's blocks be answered. Raises ConfigurationError."""
        try:
            llm = importlib.import_module(self.llm)
        except ImportError as error:
            raise ConfigurationError(
                f"--engine vllm needs Ray's LLM processor: pip install 'ray[llm]' ({error})."
            ) from error
        config = llm.vLLMEngineProcessorConfig(
            model_source=self.model,
            engine_kwargs={"tensor_parallel_size": self.tensor_parallel},
            concurrency=self.replicas,
            batch_size=TOGETHER,
            should_continue_on_error=True,
        )
        processor = llm.build_processor(config, preprocess=before_engine, postprocess=after_engine)
        answered: Dataset = processor(blocks.flat_map(requests_of)).map(finished)
        return answered
