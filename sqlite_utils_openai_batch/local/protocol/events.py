"""Whole answers as the streams of events that clients ask for with `stream: true`.

The direct endpoints stream, as the service does; batches don't. An answer is whole before its
first event goes out: what a client sees is the shape of a stream, not its pace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import StreamingResponse

from .errors import APIError, invalid_type

#: The endpoints whose answers can be streamed here.
STREAMED = ("/v1/chat/completions", "/v1/responses", "/v1/completions")
#: Text goes out in words, so that a client has something to put together.
PIECES = re.compile(r"\S*\s*", re.DOTALL)

Event = dict[str, Any]


def takes_stream(url: str, body: dict[str, Any]) -> tuple[bool, bool]:
    """Take what asks for a stream out of a body: whether it does, and whether usage is wanted.

    Raises APIError for what the service refuses.
    """
    if url not in STREAMED:
        return False, False
    wanted, options = body.pop("stream", None), body.pop("stream_options", None)
    if wanted is not None and not isinstance(wanted, bool):
        raise invalid_type("stream", "a boolean", wanted)
    if options is not None and not isinstance(options, dict):
        raise invalid_type("stream_options", "an object", options)
    if options is not None and not wanted:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise APIError(400, message, param="stream_options")
    return bool(wanted), bool(options and options.get("include_usage"))


def streamed(url: str, answer: Mapping[str, Any], *, usage: bool) -> StreamingResponse:
    """Return a whole answer as a stream of server-sent events."""
    responses = url == "/v1/responses"
    lines = _response_lines(answer) if responses else _chunk_lines(answer, usage)
    return StreamingResponse(lines, media_type="text/event-stream")


def _data(event: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"


def _pieces(text: Any) -> Iterator[str]:
    if isinstance(text, str):
        yield from filter(None, PIECES.findall(text))


# chat completions, and plain ones


def _chunk_lines(answer: Mapping[str, Any], usage: bool) -> Iterator[bytes]:
    """Chunks of each choice, the usage where it is wanted, and the mark of the end."""
    common = {name: value for name, value in answer.items() if name not in ("choices", "usage")}
    if common.get("object") == "chat.completion":
        common["object"] = "chat.completion.chunk"
    unknown = {"usage": None} if usage else {}
    for choice in answer.get("choices") or ():
        index = choice.get("index", 0)
        for more, reason in _deltas(choice) if "message" in choice else _texts(choice):
            part = {"index": index, **more, "logprobs": None, "finish_reason": reason}
            yield _data({**common, "choices": [part], **unknown})
    if usage:
        yield _data({**common, "choices": [], "usage": answer.get("usage")})
    yield b"data: [DONE]\n\n"


def _deltas(choice: Mapping[str, Any]) -> Iterator[tuple[Event, str | None]]:
    """What each chunk of a choice adds to its message, and at its end why it ended."""
    message = choice.get("message") or {}
    calls = message.get("tool_calls") or []
    begin = {"role": message.get("role", "assistant"), "content": None if calls else ""}
    yield {"delta": begin}, None
    # Servers have fields of their own (`reasoning_content`); text among them streams as well.
    for name, value in message.items():
        if name not in ("role", "tool_calls"):
            yield from (({"delta": {name: piece}}, None) for piece in _pieces(value))
    for index, call in enumerate(calls):
        yield from (({"delta": delta}, None) for delta in _call_deltas(index, call))
    yield {"delta": {}}, choice.get("finish_reason")


def _texts(choice: Mapping[str, Any]) -> Iterator[tuple[Event, str | None]]:
    """The pieces of a plain completion's text."""
    yield from (({"text": piece}, None) for piece in _pieces(choice.get("text")))
    yield {"text": ""}, choice.get("finish_reason")


def _call_deltas(index: int, call: Mapping[str, Any]) -> Iterator[Event]:
    function = call.get("function") or {}
    begin = {**call, "index": index, "function": {**function, "arguments": ""}}
    yield {"tool_calls": [begin]}
    for piece in _pieces(function.get("arguments")):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


# responses


def _response_lines(answer: Mapping[str, Any]) -> Iterator[bytes]:
    """The events of a response, each with its name and number."""
    for number, event in enumerate(_response_events(answer)):
        line = {**event, "sequence_number": number}
        yield b"event: " + event["type"].encode() + b"\n" + _data(line)


def _response_events(answer: Mapping[str, Any]) -> Iterator[Event]:
    output: Sequence[Mapping[str, Any]] = answer.get("output") or []
    begun = {**answer, "status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(output):
        yield from _item_events(index, item)
    ended = answer.get("status") or "completed"
    yield {"type": f"response.{ended}", "response": dict(answer)}


def _item_events(index: int, item: Mapping[str, Any]) -> Iterator[Event]:
    """One item of the output: begun, filled, done."""
    content = item.get("content") if item.get("type") == "message" else None
    begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
    if content is not None:
        begun["content"] = []
    if "arguments" in item:
        begun["arguments"] = ""
    at = {"item_id": item.get("id"), "output_index": index}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    for place, part in enumerate(content or ()):
        yield from _part_events({**at, "content_index": place}, part)
    if isinstance(arguments := item.get("arguments"), str):
        name = "response.function_call_arguments"
        yield from ({"type": f"{name}.delta", **at, "delta": one} for one in _pieces(arguments))
        yield {"type": f"{name}.done", **at, "name": item.get("name"), "arguments": arguments}
    yield {"type": "response.output_item.done", "output_index": index, "item": dict(item)}


def _part_events(at: Event, part: Mapping[str, Any]) -> Iterator[Event]:
    """One part of a message: its text, or its refusal, piece by piece."""
    field = "refusal" if part.get("type") == "refusal" else "text"
    name = "response.refusal" if field == "refusal" else "response.output_text"
    more: Event = {} if field == "refusal" else {"logprobs": []}
    text = part.get(field)
    yield {"type": "response.content_part.added", **at, "part": {**part, field: ""}}
    yield from ({"type": f"{name}.delta", **at, "delta": one, **more} for one in _pieces(text))
    yield {"type": f"{name}.done", **at, field: text, **more}
    yield {"type": "response.content_part.done", **at, "part": dict(part)}
