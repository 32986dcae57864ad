"""One response line → one outcome.

Whatever the bytes, there is an outcome: a line is never a reason to stop. `missing`, `rejected`,
`unrenderable` and `too_large` are outcomes of requests without a line; they are set elsewhere.

What an answer is stands in `extract`. Several answers to one request (n > 1, a list of inputs)
become a JSON list. Nearly all lines are a chat completion with one answer, ended by itself:
`read_usual` reads those in one pass, and says what `read_response` would.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from ..base.json import loads
from ..base.outcome import Outcome, Outcomes
from ..base.statuses import OUTCOMES
from .extract import Found, answers_in, kind_of, listed, tokens_in
from .schema import AnswerSchema, read_json
from .wire import BUILDING, MOST_TOKENS, Body, Count, Error, Line, read_each, read_line

if TYPE_CHECKING:
    from .schema import SQLiteValue

    Text = str | bytes | None
    Cells = tuple[SQLiteValue, ...]
else:
    # msgspec decodes no union of text and bytes; any value is what was packed.
    Text, Cells = Any, tuple[Any, ...]


MAX_MESSAGE = 1_000
_MAX_CODE = 100

_EXPIRED = re.compile(r"(?:\w+_)?(?:expired|expiry|expiration)")
_CANCELLED = re.compile(r"(?:(?:batch|request|job|task)_)?cancell?ed")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+")
#: What is said of a line that says nothing: the provider lost its request.
NO_BODY = "the line has no response body"
#: Words in codes that tell of the provider's fault, not of the request's.
_FAULTS = re.compile(
    r"internal|server_error|rate_limit|too_many_requests|throttl|overload|unavailable|time_?d?_?out"
    r"|deadline|gateway|connection|aborted|capacity|(?:engine|backend|upstream|worker)_error"
)
# Where servers say why, the most telling first; what these hold is looked at likewise.
_TELLING = (
    *("message", "msg", "error_message", "error_msg", "error_description"),
    *("error", "errors", "detail", "details", "reason", "description", "title", "cause"),
)
_REASONS = 3  # of a list of them
# An answer that is one of several: the others are good without it.
_NOT_WHOLE = {"truncated", "refused", "content_filter", "empty"}
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
        The outcome; its custom_id is None if the line is not a JSON object.
    """
    read = read_line(line, kind_of(endpoint))
    if read is None:
        return Outcome(None, "api_error", None, None, "the line is not a JSON object")
    envelope, body = read
    found = _failure(envelope, body, line)
    if found is None:
        answers = answers_in(body, line)
        if schema is not None or json_mode:
            answers = [_checked(one, schema) for one in answers]
        found = answers[0] if len(answers) == 1 else _together(answers, schema)
        if found.status == "empty":
            found = _unanswered(found, line)
    return _outcome(envelope.custom_id, found, body)


def check_answer(outcome: Outcome, schema: AnswerSchema) -> None:
    """Check the text of an outcome that is `ok` so far, as `read_response` does."""
    checked = schema.check(str(outcome.answer))
    outcome.status, outcome.values, outcome.note = checked.status, checked.values, checked.note
    outcome.error_message = checked.message and checked.message[:MAX_MESSAGE]
    outcome.answer = checked.text or outcome.answer


def is_providers_fault(status: str, error_code: str | None, message: str | None = None) -> bool:
    """Tell whether a request never ran or failed by no fault of its own, so may be asked again.

    That is what expired or is missing, HTTP 408, 429 and 5xx, also where a body of status 200
    says so in words, and what is left of a request that was lost: the status 0, or a line that
    says nothing at all. An account out of credit answers 429 as well, but only a person mends it.
    """
    if status in OUTCOMES and OUTCOMES[status].by_itself:
        return True
    number = (error_code or "").partition(" ")[0]
    if status not in ("http_error", "api_error") or out_of_credit(error_code):
        return False
    if number.lstrip("-").isdigit():
        return int(number) in (408, 429, 499) or int(number) <= 0 or 500 <= int(number) < 600
    if not number:
        return message == NO_BODY
    return bool(_FAULTS.search(_plain(number)))


def out_of_credit(error_code: str | None) -> bool:
    """Tell whether a request failed because the account has no money left."""
    return not _OUT_OF_CREDIT.isdisjoint((error_code or "").split(" "))


def _plain(code: str) -> str:
    """Return a code as OpenAI would write it: `BatchExpired` is batch_expired."""
    return _CAMEL.sub("_", code).lower()


def _failure(line: Line[Any], body: Body | None, raw: bytes) -> Found | None:
    """Return what the line says went wrong, or None if it holds an answer."""
    code, message = _error(line.error)
    if not message and (line.error is not None or line.response is None):
        code, message = _told(raw, code)
    if code and _EXPIRED.fullmatch(_plain(code)):
        return Found("expired", None, message, None, code)
    if code and _CANCELLED.fullmatch(_plain(code)):
        return Found("cancelled", None, message, None, code)
    status = _http_status(line)
    if status not in (None, 200):
        message = message or (_bare_text(line) if body is None else None)
        return _http_error(str(status), code, message, body, raw)
    if code or message:
        return Found("api_error", None, message, None, code)
    if body is not None and body.error:
        code, message = _error(body.error)
        if not message:
            code, message = _told(raw, code)
        if code or message:
            return Found("api_error", None, message, None, code)
    # A line without a status tells by its body alone that there was an answer.
    if body is None or (status is None and not error_and_body(raw)[1]):
        code, message = _told(raw, None)
        return Found("api_error", None, message or NO_BODY, None, code)
    return None


def _unanswered(found: Found, raw: bytes) -> Found:
    """Return what a body says instead of an answer, where it says something."""
    _, body = error_and_body(raw)
    said = {name: body[name] for name in _TELLING if name in body} if isinstance(body, dict) else {}
    message = telling(said)[1]
    if message is None:
        return found
    return Found("api_error", None, message, found.reason, _code_of(body))


def _told(raw: bytes, code: str | None) -> tuple[str | None, str | None]:
    """Return an error's code and message as they can be found in a line of any shape."""
    for value in error_and_body(raw):
        inner, message = telling(value)
        if message:
            return inner or code, message
    return code, None


def _http_status(line: Line[Any]) -> int | str | None:
    status = line.response.status_code if line.response is not None else None
    if isinstance(status, str) and status.isascii() and status.isdigit() and len(status) < 10:
        return int(status)
    return status


def _bare_text(line: Line[Any]) -> str | None:
    """Return a body that is text, as gateways send it."""
    body = line.response.body if line.response is not None else None
    return body if isinstance(body, str) else None


def _http_error(
    status: str, code: str | None, message: str | None, body: Body | None, raw: bytes
) -> Found:
    if body is not None:
        # vLLM writes the error's fields into the body itself, FastAPI's is called `detail`.
        bare = Error(body.code, body.type, body.message or telling(body.detail)[1])
        inner_code, inner_message = _error(body.error or bare, status)
        code, message = inner_code or code, inner_message or message
    if not message:
        inner_code, message = _told(raw, None)
        code = code or (inner_code if inner_code != status else None)
    full = f"{status} {code}" if code and code != status else status
    message = message or _as_text(error_and_body(raw)[1]) or f"HTTP status {status}"
    return Found("http_error", None, message, None, full)


def _error(error: Error | str | None, status: str | None = None) -> tuple[str | None, str | None]:
    """Return an error's code, or its type where there is none beyond the status; its message."""
    if error is None or isinstance(error, str):
        return None, error or None
    code = None if error.code is None else str(error.code)
    if not code or code == status:
        code = error.type or code
    return code or None, error.message or None


def error_and_body(raw: bytes) -> tuple[Any, Any]:
    """Return the error and the body of a line as they came, whatever their shapes."""
    try:
        line = loads(raw.decode("utf-8", "replace"), nan=True)
    except ValueError:
        return None, None
    response = line.get("response") if isinstance(line, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    return (line.get("error") if isinstance(line, dict) else None), _opened(body)


def _opened(value: Any) -> Any:
    """Return a value, or what it holds as JSON text."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return loads(value, nan=True)
        except ValueError:
            return value
    return value


def telling(value: Any, depth: int = 8) -> tuple[str | None, str | None]:
    """Return the code and the most telling text of an error, also of one in another.

    Of a list of errors the first few; FastAPI's say where (`loc`) beside what (`msg`).
    """
    value = _opened(value)
    if isinstance(value, str):
        return None, value.strip() or None
    if isinstance(value, list) and depth:
        found = [telling(one, depth - 1) for one in value[: _REASONS + 1]]
        texts = list(dict.fromkeys(text for _, text in found if text))
        more = "; …" if len(texts) > _REASONS or len(value) > _REASONS + 1 else ""
        return next((code for code, _ in found if code), None), (
            "; ".join(texts[:_REASONS]) + more or None
        )
    return _telling_object(value, depth) if isinstance(value, dict) and depth else (None, None)


def _telling_object(value: dict[str, Any], depth: int) -> tuple[str | None, str | None]:
    for name in _TELLING:
        inner, message = telling(value.get(name), depth - 1)
        if message is None and name == "detail":
            message = _as_text(value.get(name))
        if message is not None:
            return inner or _code_of(value), _placed(value.get("loc"), message)
    return _code_of(value), None


def _code_of(value: dict[str, Any]) -> str | None:
    """Return an error's code; its type says more where the code is the HTTP status."""
    code, kind = value.get("code"), value.get("type")
    word = code if isinstance(code, str) and not code.isdigit() else kind or code
    known = isinstance(word, str | int) and not isinstance(word, bool)
    return str(word) if known and word != "" else None


def _placed(place: Any, message: str) -> str:
    """A message behind the place that it is about."""
    if not isinstance(place, list) or not place:
        return message
    return f"{'.'.join(str(step) for step in place)}: {message}"


def _as_text(value: Any) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


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
    if checked.status != "ok" and found.calls is not None:
        called = schema.check(found.calls)
        checked = called if called.status == "ok" else checked
    found.status, found.message = checked.status, checked.message
    found.values, found.note = checked.values, checked.note
    found.answer = checked.text or found.answer
    return found


def _together(answers: list[Found], schema: AnswerSchema | None) -> Found:
    """Make one of several answers: a JSON list.

    Those that didn't come whole are said where others did; one of the wrong shape decides.
    """
    if not answers:
        return Found("empty", None, "the response has no answer")
    texts = [listed(one.answer) for one in answers]
    answer = msgspec.json.encode(texts).decode() if any(texts) else None
    failed = [one for one in answers if one.status != "ok"]
    wrong = [one for one in failed if one.status not in _NOT_WHOLE]
    if wrong or len(failed) == len(answers):
        first = (wrong or failed)[0]
        return Found(first.status, answer, first.message, first.reason)
    if schema is not None:
        message = f"{len(answers)} answers came, and the schema's columns hold one; ask with n 1"
        return Found("schema_violation", answer, message, answers[0].reason)
    if failed:
        return Found("ok", answer, None, failed[0].reason, note=_lacking(answers))
    return Found("ok", answer, None, answers[0].reason, note=answers[0].note)


def _lacking(answers: list[Found]) -> str:
    """Which of several answers didn't come whole, and why."""
    said = [
        f"answer {n} of {len(answers)} is {one.status}: {one.message}"
        for n, one in enumerate(answers, 1)
        if one.status != "ok"
    ]
    return "; ".join(said)[:MAX_MESSAGE]


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


# The usual line. The shapes are those of `wire`, with all that isn't usual refused, so that typed
# decoders leave any other line to `read_response`.

# A count that no other name for it can take the place of (see `extract.tokens_in`).
_Some = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]


class _Sent(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _Made(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Some
    completion_tokens: _Some
    prompt_tokens_details: _Sent | None = None
    completion_tokens_details: _Made | None = None
    input_tokens_details: None = None
    output_tokens_details: None = None


class _Message(msgspec.Struct, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    refusal: None = None
    tool_calls: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Literal["stop"]


class _Completion(msgspec.Struct, gc=False):
    model: str
    choices: tuple[_Choice]
    usage: _Usage
    error: None = None


class _Reply(msgspec.Struct, gc=False):
    status_code: Literal[200]
    body: _Completion


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Reply
    error: None = None


with BUILDING:
    _decode = msgspec.json.Decoder(_Line).decode
# Stands for lines that are none of these.
_OTHER = _Line("", _Reply(200, _Completion("", (_Choice(_Message("?"), "stop"),), _Usage(1, 1))))


def read_usual(lines: Sequence[bytes]) -> tuple[list[str | None], Outcomes, list[int]]:
    """Read usual lines of chat completions: their custom_ids, and what they say.

    Of the others, whose places are the list, nothing is told. The answers aren't checked.
    """
    found = read_each(_decode, lines, _OTHER)
    bodies = [line.response.body for line in found]
    usages = [body.usage for body in bodies]
    sent = [usage.prompt_tokens_details for usage in usages]
    made = [usage.completion_tokens_details for usage in usages]
    answers: list[Any] = [body.choices[0].message.content for body in bodies]
    others = [
        n
        for n, (line, text) in enumerate(zip(found, answers, strict=True))
        if line is _OTHER or text.isspace()
    ]
    outcomes = Outcomes(
        answers,
        ["stop"] * len(found),
        [body.model for body in bodies],
        [usage.prompt_tokens for usage in usages],
        [None if one is None else one.cached_tokens for one in sent],
        [usage.completion_tokens for usage in usages],
        [None if one is None else one.reasoning_tokens for one in made],
    )
    return [line.custom_id for line in found], outcomes, others
