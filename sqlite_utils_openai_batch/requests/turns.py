"""A further turn: a failed answer goes back to the model, with what was wrong with it (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ..base.errors import UsageError
from ..base.parameters import CHAT, RESPONSES
from ..base.text import cut
from .values import one_line

#: Endpoints that know turns.
ENDPOINTS = (CHAT, RESPONSES)
#: Bytes that a further turn adds to a line, beside the answer and what was wrong with it.
TURN_BYTES = 260
_MESSAGE = 400
_WRONG = {
    "invalid_json": "That is not valid JSON. Answer again, with nothing but the JSON that was "
    "asked for.",
    "schema_violation": "That doesn't fit the JSON schema that was asked for: {message}. Answer "
    "again, so that it fits.",
    "truncated": "That was cut at the limit of tokens before it was complete. Answer again, "
    "complete and shorter.",
}

#: What was wrong with an answer: its outcome, the message, the answer itself.
Turn = tuple[str, "str | None", Any]


def check_turns(endpoint: str) -> None:
    """Raise UsageError for an endpoint that knows no turns."""
    if endpoint not in ENDPOINTS:
        raise UsageError(
            f"{endpoint} knows no turns: a failed answer can't be sent back to it. "
            f"Leave out --repair, or ask at {CHAT}."
        )


def wrong(turn: Turn) -> str:
    """What a model is told of its answer."""
    status, message, _ = turn
    said = cut(" ".join((message or "it lacks what is required").split()), _MESSAGE)
    return _WRONG[status].format(message=said.rstrip("."))


def with_turn(line: bytes, endpoint: str, turn: Turn) -> bytes:
    """A request line with the answer that came to it, and what was wrong with that."""
    request = orjson.loads(line)
    body: dict[str, Any] = request["body"]
    more = [
        {"role": "assistant", "content": str(turn[2])},
        {"role": "user", "content": wrong(turn)},
    ]
    name = "input" if endpoint == RESPONSES else "messages"
    body[name] = [*_messages(body.get(name)), *more]
    return one_line(orjson.dumps(request) + b"\n")


def _messages(asked: Any) -> list[Mapping[str, Any]]:
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    return list(asked or ())
