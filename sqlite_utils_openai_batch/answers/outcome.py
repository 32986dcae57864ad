"""One response line → one outcome.

Whatever the bytes, there is an outcome: a line is never a reason to stop. `missing`, `rejected`,
`unrenderable` and `too_large` are outcomes of requests without a line; they are set elsewhere.

What an answer is stands in `extract`. Several answers to one request (n > 1, a list of inputs)
become a JSON list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..base.outcome import Outcome
from .extract import Found, answers_in, kind_of, listed, tokens_in
from .schema import AnswerSchema, read_json
from .wire import Body, Error, Line, read_line

if TYPE_CHECKING:
    from .schema import SQLiteValue

    Text = str | bytes | None
    Cells = tuple[SQLiteValue, ...]
else:
    # msgspec decodes no union of text and bytes; any value is what was packed.
    Text, Cells = Any, tuple[Any, ...]


MAX_MESSAGE = 1_000
_MAX_CODE = 100

_EXPIRED = {"batch_expired", "request_expired", "expired"}
_CANCELLED = {"batch_cancelled", "batch_canceled", "request_cancelled", "cancelled", "canceled"}
_FAULTS = {"server_error", "internal_error", "internal_server_error", "rate_limit_exceeded"}
_OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


def read_response(
    line: bytes, *, endpoint: str, schema: AnswerSchema | None = None, json_mode: bool = False
) -> Outcome:
    """Read a line of an output or error file. Never raises, whatever the bytes.

    Args:
        line: one line, without its line end.
        endpoint: the batch's endpoint, like `/v1/chat/completions`; Azure's lack the `/v1`.
        schema: check the answer against it, and fill `values`.
        json_mode: without a schema, the answer still has to be JSON.

    Returns:
        The outcome; its custom_id is None if the line is no JSON object.
    """
    read = read_line(line, kind_of(endpoint))
    if read is None:
        return Outcome(None, "api_error", None, None, "the line is no JSON object")
    envelope, body = read
    found = _failure(envelope, body)
    if found is None:
        answers = answers_in(body, line)
        if schema is not None or json_mode:
            answers = [_checked(one, schema) for one in answers]
        found = answers[0] if len(answers) == 1 else _together(answers, schema)
    return _outcome(envelope.custom_id, found, body)


def check_answer(outcome: Outcome, schema: AnswerSchema) -> None:
    """Check the text of an outcome that is `ok` so far, as `read_response` does."""
    checked = schema.check(str(outcome.answer))
    outcome.status, outcome.values, outcome.note = checked.status, checked.values, checked.note
    outcome.error_message = checked.message and checked.message[:MAX_MESSAGE]


def is_providers_fault(status: str, error_code: str | None) -> bool:
    """Tell whether a request never ran or failed by no fault of its own, so may be asked again.

    That is what expired or is missing, and HTTP 429 and 5xx, also where a body of status 200
    says so in words. An account out of credit answers 429 as well, but only a person mends it.
    """
    if status in ("expired", "missing"):
        return True
    number, _, word = (error_code or "").partition(" ")
    if status not in ("http_error", "api_error") or word in _OUT_OF_CREDIT:
        return False
    is_5xx = len(number) == 3 and number.isdigit() and number[0] == "5"
    return number == "429" or is_5xx or number in _FAULTS


def _failure(line: Line[Any], body: Body | None) -> Found | None:
    """Return what the line says went wrong, or None if it holds an answer."""
    code, message = _error(line.error)
    if code in _EXPIRED:
        return Found("expired", None, message, None, code)
    if code in _CANCELLED:
        return Found("cancelled", None, message, None, code)
    status = _http_status(line)
    if status not in (None, 200):
        return _http_error(str(status), code, message or _bare_text(line), body)
    if code or message:
        return Found("api_error", None, message, None, code)
    if body is not None and body.error:
        code, message = _error(body.error)
        if code or message:
            return Found("api_error", None, message, None, code)
    if body is None:
        return Found("api_error", None, "the line has no response body")
    return None


def _http_status(line: Line[Any]) -> int | str | None:
    status = line.response.status_code if line.response is not None else None
    if isinstance(status, str) and status.isascii() and status.isdigit() and len(status) < 10:
        return int(status)
    return status


def _bare_text(line: Line[Any]) -> str | None:
    """Return a body that is text, as gateways send it."""
    body = line.response.body if line.response is not None else None
    return body if isinstance(body, str) else None


def _http_error(status: str, code: str | None, message: str | None, body: Body | None) -> Found:
    if body is not None:
        # vLLM writes the error's fields into the body itself, FastAPI's is called `detail`.
        bare = Error(body.code, body.type, body.message or _as_text(body.detail))
        inner_code, inner_message = _error(body.error or bare, status)
        code, message = inner_code or code, inner_message or message
    full = f"{status} {code}" if code and code != status else status
    return Found("http_error", None, message or f"HTTP status {status}", None, full)


def _error(error: Error | str | None, status: str | None = None) -> tuple[str | None, str | None]:
    """Return an error's code, or its type where there is none beyond the status; its message."""
    if error is None or isinstance(error, str):
        return None, error or None
    code = None if error.code is None else str(error.code)
    if not code or code == status:
        code = error.type or code
    return code or None, error.message or None


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _checked(found: Found, schema: AnswerSchema | None) -> Found:
    """Check an answer that is there against the schema, or only that it is JSON."""
    if found.status != "ok" or not isinstance(found.answer, str):
        return found
    if schema is None:
        try:
            _, found.note = read_json(found.answer)
        except ValueError:
            found.status, found.message = "invalid_json", "the answer is not valid JSON"
        return found
    checked = schema.check(found.answer)
    found.status, found.message = checked.status, checked.message
    found.values, found.note = checked.values, checked.note
    return found


def _together(answers: list[Found], schema: AnswerSchema | None) -> Found:
    """Make one of several answers: a JSON list; the first that failed decides the outcome."""
    if not answers:
        return Found("empty", None, "the response has no answer")
    texts = [listed(one.answer) for one in answers]
    failed = next((one for one in answers if one.status != "ok"), None)
    answer = msgspec.json.encode(texts).decode() if any(texts) else None
    if failed is not None:
        return Found(failed.status, answer, failed.message, failed.reason)
    if schema is not None:
        message = f"{len(answers)} answers came, and the schema's columns hold one; ask with n 1"
        return Found("schema_violation", answer, message, answers[0].reason)
    return Found("ok", answer, None, answers[0].reason, note=answers[0].note)


def _outcome(custom_id: str | None, found: Found, body: Body | None) -> Outcome:
    prompt, cached, completion, reasoning = tokens_in(body.usage if body is not None else None)
    return Outcome(
        custom_id,
        found.status,
        found.answer,
        found.code and found.code[:_MAX_CODE],
        found.message and found.message[:MAX_MESSAGE],
        found.reason,
        body.model if body is not None else None,
        prompt,
        cached,
        completion,
        reasoning,
        found.values,
        found.note,
    )
