"""Faults of answers: what becomes of an honest answer to the n-th request of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ..protocol.answers import Answer, NoAnswer, api_error
from ..protocol.shapes import messages_of

REFUSAL = "I'm sorry, but I can't help with that."
SEPARATORS = " \u2028 \u2029 \u0085 "
Spoiled = Answer | NoAnswer


def spoil(
    answer: Spoiled, number: int, faults: Mapping[str, Any], body: Mapping[str, Any]
) -> Spoiled:
    """Return the answer to request `number` (from 1) as a batch with these faults gives it.

    `body` is the request's.
    """
    for name, reply in REPLIES.items():
        if name in faults and number % faults[name] == 0:
            return reply()
    if "error-only" in faults:
        return _failed(faults["error-only"])
    if not isinstance(answer, Answer) or answer.status_code != 200:
        return answer
    told = any(message.get("role") == "assistant" for message in messages_of(body))
    for name, change in CHANGES.items():
        if name == "wrong-until-told" and told:
            continue
        if name in faults and number % faults[name] == 0:
            answer = _changed(answer, change)
    return _decorated(answer, faults)


def _failed(status: int) -> Answer:
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return api_error(status, f"This request failed with status {status}.", type=kind, code=kind)


REPLIES: dict[str, Callable[[], Spoiled]] = {
    "fail-lines": lambda: _failed(400),
    "throttle-lines": lambda: _failed(429),
    "crash-lines": lambda: _failed(500),
    "error-lines": lambda: NoAnswer("server_error", "This request could not be executed."),
    "zero-lines": lambda: Answer(0, {}),
}
"""Faults that leave nothing of the answer."""


def _changed(answer: Answer, change: Mapping[str, Any]) -> Answer:
    body = copy.deepcopy(answer.body)
    for choice in body.get("choices", ()):
        if "message" in choice:
            choice["message"].update(change.get("message", {}))
            choice["finish_reason"] = change.get("finish_reason", choice["finish_reason"])
            if "keep" in change:
                text = choice["message"]["content"] or ""
                choice["message"]["content"] = text[: max(1, len(text) // 2)]
    if body.get("object") == "response":
        _change_response(body, change)
    return Answer(answer.status_code, body)


def _change_response(body: dict[str, Any], change: Mapping[str, Any]) -> None:
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(
        change.get("finish_reason", "")
    )
    if reason:
        body["status"] = "incomplete"
        body["incomplete_details"] = {"reason": reason}
    message = body["output"][-1]
    message["status"] = body["status"]
    parts = message["content"]
    if refusal := change.get("message", {}).get("refusal"):
        parts[:] = [{"type": "refusal", "refusal": refusal}]
    elif "keep" in change:
        parts[0]["text"] = parts[0]["text"][: max(1, len(parts[0]["text"]) // 2)]
    elif reason == "content_filter":
        parts.clear()
    else:
        parts[0]["text"] = change["message"]["content"]


CHANGES: dict[str, Mapping[str, Any]] = {
    "refuse": {"message": {"content": None, "refusal": REFUSAL}},
    "cut": {"finish_reason": "length", "keep": True},
    "filter": {"finish_reason": "content_filter", "message": {"content": None}},
    "empty-answers": {"message": {"content": ""}},
    "not-json": {"message": {"content": "This is not JSON."}},
    "wrong-shape": {"message": {"content": '{"unexpected":true}'}},
    "wrong-until-told": {"message": {"content": '{"unexpected":true}'}},
}
"""Faults that change what a good answer says."""


def _decorated(answer: Answer, faults: Mapping[str, Any]) -> Answer:
    after = " " * faults.get("large-answers", 0)
    after = SEPARATORS + after if "u2028" in faults else after
    if not after and "reasoning-first" not in faults:
        return answer
    body = copy.deepcopy(answer.body)
    for choice in body.get("choices", ()):
        if (choice.get("message") or {}).get("content") is not None:
            choice["message"]["content"] += after
    if body.get("object") == "response":
        for part in body["output"][-1]["content"]:
            if "text" in part:
                part["text"] += after
        if "reasoning-first" in faults:
            item = {"id": "rs_" + body["id"][5:], "type": "reasoning", "summary": []}
            body["output"].insert(0, item)
    return Answer(answer.status_code, body)
