"""What makes a batch `failed` before any of its lines is run.

Codes, messages and parameters are those that the service was seen to give, and Azure's published
names where nothing was seen. All bad lines of a file are reported in one list; one is enough to
fail the batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ...base.endpoints import MODEL_OPTIONAL, REQUIRED, STREAMING
from ..protocol.lines import CONVERSATIONS, Form, Line, Tries, batch_url, parse_line, piecewise
from ..protocol.shapes import inputs_of
from ..settings import ORGANIZATION, ServerLimits

CHARACTERS_PER_TOKEN = 4


def batch_error(
    code: str, message: str, *, line: int | None = None, param: str | None = None
) -> dict[str, Any]:
    """Build one entry of a batch's `errors.data`."""
    return {"code": code, "line": line, "message": message, "param": param}


def no_input_file(file_id: str) -> dict[str, Any]:
    """The validation error of a batch whose input file isn't there, or is another key's."""
    message = (
        f"Cannot find file {file_id}, or organization {ORGANIZATION} does not have access to it."
    )
    return batch_error("invalid_request", message, param="file_id")


def queue_error(model: str, limit: int) -> dict[str, Any]:
    """The validation error of an account whose queue is full."""
    message = (
        f"Enqueued token limit reached for {model} in organization {ORGANIZATION}. Limit: {limit:,}"
        " enqueued tokens. Please try again once some in_progress batches have been completed."
    )
    return batch_error("token_limit_exceeded", message)


class Validator:
    """Reads the lines of one input file and collects what is wrong with them.

    Give all lines to `lines`, then call `finish`. `total`, `model`, `tokens` (an estimate) and
    `errors` are what was found. `models` are the only names allowed, None for any.
    """

    def __init__(
        self, endpoint: str, limits: ServerLimits, models: Collection[str] | None = None
    ) -> None:
        self.total = 0
        self.model: str | None = None
        self.tokens = 0
        self.errors: list[dict[str, Any]] = []
        self._endpoint = batch_url(endpoint)
        self._limits = limits
        self._models = models
        self._inputs = 0
        self._custom_ids: set[str] = set()
        self._form: Form | None = None
        self._tries = Tries() if self._endpoint in CONVERSATIONS else Tries(0)

    def lines(self, block: Sequence[Line]) -> None:
        """Check some lines."""
        self.total += len(block)
        self.tokens += sum([len(data) // CHARACTERS_PER_TOKEN for _, data in block])
        piecewise(block, self._together, self._single)

    def _together(self, block: Sequence[Line]) -> bool:
        """Check lines like one that was good; False where one is another, or has a fault."""
        found = self._form.read([data for _, data in block]) if self._form else None
        if found is None:
            return False
        fresh = set(found[0])
        if len(fresh) < len(block) or not self._custom_ids.isdisjoint(fresh):
            return False
        self._custom_ids |= fresh
        self._tries.fitted()
        return True

    def _single(self, number: int, data: bytes) -> None:
        request = parse_line(data)
        if request is None:
            self._add("invalid_json_line", "This line is not parseable as valid JSON.", number)
            return
        known = len(self.errors)
        for code, message, param in self._problems(request):
            self._add(code, message, number, param)
        if len(self.errors) == known and self._tries.wanted(self._form):
            self._form = Form.of(data, request) or self._form

    def finish(self) -> None:
        """Check what only the whole file shows."""
        if not self.total:
            self._add("empty_file", "The input file is empty.")
        elif self.total > self._limits.requests:
            self._add("too_many_tasks", self._too_many("requests", self._limits.requests))
        elif self._inputs > self._limits.embedding_inputs:
            most = self._limits.embedding_inputs
            self._add("too_many_tasks", self._too_many("embedding inputs", most))

    @staticmethod
    def _too_many(what: str, most: int) -> str:
        return f"The input file holds too many {what}. The maximum of a batch is {most}."

    def _add(
        self, code: str, message: str, line: int | None = None, param: str | None = None
    ) -> None:
        self.errors.append(batch_error(code, message, line=line, param=param))

    def _problems(self, request: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
        for name in ("custom_id", "method", "url", "body"):
            if request.get(name) is None:
                yield "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        if (custom_id := request.get("custom_id")) is not None:
            yield from self._custom_id_problems(custom_id)
        if request.get("method", "POST") != "POST":
            message = f"Invalid value: '{request['method']}'. Supported values are: 'POST'."
            yield "invalid_value", message, "method"
        url = request.get("url")
        if url is not None and not (isinstance(url, str) and batch_url(url) == self._endpoint):
            message = "The URL provided for this request does not match the batch endpoint."
            yield "invalid_url", message, "url"
        body = request.get("body")
        if isinstance(body, dict):
            yield from self._body_problems(body)
        elif body is not None:
            yield "invalid_type", "Invalid type for 'body': expected an object.", "body"

    def _custom_id_problems(self, custom_id: Any) -> Iterator[tuple[str, str, str | None]]:
        if not isinstance(custom_id, str):
            yield "invalid_type", "Invalid type for 'custom_id': expected a string.", "custom_id"
        elif custom_id in self._custom_ids:
            message = f"The custom_id '{custom_id}' is used by another request of this file."
            yield "duplicate_custom_id", message, "custom_id"
        else:
            self._custom_ids.add(custom_id)

    def _body_problems(self, body: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
        yield from self._model_problems(body.get("model"))
        needed = REQUIRED[self._endpoint]
        if all(body.get(name) is None for name in needed):
            name = needed[0]
            yield "invalid_request", f"{name.capitalize()} parameter is required.", f"body.{name}"
        if body.get("stream"):
            what = STREAMING.get(self._endpoint, "This endpoint")
            message = f"{what}: Streaming is not supported in the Batch API."
            yield "streaming_unsupported", message, "body.stream"
        if self._endpoint == "/v1/embeddings":
            self._inputs += len(inputs_of(body))

    def _model_problems(self, model: Any) -> Iterator[tuple[str, str, str | None]]:
        if not isinstance(model, str) or not model:
            if self._endpoint not in MODEL_OPTIONAL:
                yield "invalid_request", "Model parameter is required.", "body.model"
        elif self._models is not None and model not in self._models:
            message = f"The provided model '{model}' is not supported by the Batch API."
            if self._models:
                message += f" Supported models are: {', '.join(sorted(self._models))}."
            yield "model_not_found", message, "body.model"
        elif self.model is None:
            self.model = model
        elif model != self.model:
            message = (
                f"The model '{model}' is not the model '{self.model}' of this file's first"
                " request. All requests of a batch name the same model."
            )
            yield "mismatched_model", message, "body.model"
