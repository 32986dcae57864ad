"""One response line, one outcome: every shape that servers send, and bytes that none would."""

from __future__ import annotations

import base64
import json
import sqlite3
import struct
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.outcome import is_providers_fault, read_response
from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.outcome import Outcome
from sqlite_utils_openai_batch.base.statuses import OUTCOMES

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
FILM = AnswerSchema.parse("categories list, summary")
USAGE = {
    "prompt_tokens": 1541,
    "completion_tokens": 111,
    "total_tokens": 1652,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"text_tokens": 0, "reasoning_tokens": 64, "audio_tokens": 0},
}
RESPONSE_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 40,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 60,
    "prompt_tokens": 0,
    "completion_tokens": 0,
}


def line(body: Any = None, *, status: Any = 200, error: Any = None, **more: Any) -> bytes:
    """A line of an output or error file, in OpenAI's order of fields."""
    response = {
        "status_code": status,
        "request_id": "5592039fb02417b4c6efe26894b25c5b",
        "body": body,
    }
    envelope = {
        "id": "batch_req_670863b6",
        "custom_id": "q1-17",
        "response": response,
        "error": error,
    }
    return json.dumps({**envelope, **more}).encode()


def choice(content: Any = "Drama.", finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, "refusal": None, **message}
    return {"index": 0, "message": said, "logprobs": None, "finish_reason": finish_reason}


def completion(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-AGwsrtHDAXWY0QCFmbRCzi9LIusq",
        "object": "chat.completion",
        "created": 1728602961,
        "model": "gpt-4o-2024-05-13",
        "choices": list(choices),
        "usage": USAGE,
        "system_fingerprint": "fp_568f3bfff7",
        **more,
    }


def chat(content: Any = "Drama.", finish_reason: Any = "stop", **message: Any) -> bytes:
    return line(completion(choice(content, finish_reason, **message)))


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": list(content)}


def said(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def response(*output: dict[str, Any], **more: Any) -> bytes:
    body = {"id": "resp_1", "object": "response", "created_at": 1728602961.5, "status": "completed"}
    body |= {"error": None, "incomplete_details": None, "model": "gpt-5-2025-08-07"}
    return line({**body, "output": list(output), "usage": RESPONSE_USAGE, **more})


def read(data: bytes, endpoint: str = CHAT, **more: Any) -> Outcome:
    return read_response(data, endpoint=endpoint, **more)


def brief(outcome: Outcome) -> tuple[str, Any, str | None, str | None]:
    return outcome.status, outcome.answer, outcome.error_code, outcome.error_message


# --- chat completions ---------------------------------------------------------------------------


def test_a_chat_completion() -> None:
    assert read(chat("As Hank Rodriguez, …")) == Outcome(
        custom_id="q1-17",
        status="ok",
        answer="As Hank Rodriguez, …",
        finish_reason="stop",
        model="gpt-4o-2024-05-13",
        prompt_tokens=1541,
        cached_tokens=1024,
        completion_tokens=111,
        reasoning_tokens=64,
    )


def test_azure_endpoints_lack_the_version() -> None:
    assert read(chat(), "/chat/completions") == read(chat())


TOOL_CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (chat("", "stop"), ("empty", None, None, "the answer is empty")),
        (chat(" \n"), ("empty", None, None, "the answer is empty")),
        (chat(None), ("empty", None, None, "the answer is empty")),
        (line(completion()), ("empty", None, None, "the response has no answer")),
        (line({"object": "chat.completion"}), ("empty", None, None, "the response has no answer")),
        (
            chat("A film abou", "length"),
            ("truncated", "A film abou", None, "stopped at 111 tokens"),
        ),
        (chat("", "length"), ("truncated", None, None, "stopped at 111 tokens")),
        (
            line(completion(choice("A fi", "length"), usage=None)),
            ("truncated", "A fi", None, "stopped at the token limit"),
        ),
        (
            chat(None, refusal="I can't help with that."),
            ("refused", None, None, "I can't help with that."),
        ),
        (
            chat("A film", "content_filter"),
            ("content_filter", "A film", None, "stopped by the content filter"),
        ),
        (chat("Drama.", None), ("ok", "Drama.", None, None)),
        (chat("Drama.", "eos"), ("ok", "Drama.", None, None)),
        (
            chat(None, "tool_calls", tool_calls=TOOL_CALLS),
            ("ok", json.dumps(TOOL_CALLS), None, None),
        ),
        (chat("Text", "tool_calls", tool_calls=TOOL_CALLS), ("ok", "Text", None, None)),
        (chat("", "tool_calls", tool_calls=TOOL_CALLS), ("ok", json.dumps(TOOL_CALLS), None, None)),
        (
            chat(None, "function_call", function_call={"name": "f", "arguments": "{}"}),
            ("ok", '{"name": "f", "arguments": "{}"}', None, None),
        ),
        (
            chat(None, tool_calls=[], function_call=None),
            ("empty", None, None, "the answer is empty"),
        ),
        # Parts instead of a text, as some servers write.
        (
            chat([{"type": "text", "text": "A "}, {"type": "text", "text": "film"}]),
            ("ok", "A film", None, None),
        ),
        (chat([{"type": "refusal", "refusal": "No."}]), ("refused", None, None, "No.")),
    ],
)
def test_what_a_chat_completion_can_be(data: bytes, expected: tuple[Any, ...]) -> None:
    assert brief(read(data)) == expected


def test_several_choices_are_a_json_list_in_order() -> None:
    choices = [{**choice("b"), "index": 1}, {**choice("a"), "index": 0}]
    assert brief(read(line(completion(*choices)))) == ("ok", '["a","b"]', None, None)


def test_choices_that_came_are_good_without_those_that_did_not() -> None:
    choices = [choice("a"), {**choice("b", "length"), "index": 1}, {**choice(None), "index": 2}]
    outcome = read(line(completion(*choices)))
    assert brief(outcome) == ("ok", '["a","b",null]', None, None)
    assert outcome.finish_reason == "length"
    assert outcome.note == (
        "answer 2 of 3 is truncated: stopped at 111 tokens; "
        "answer 3 of 3 is empty: the answer is empty"
    )


def test_where_no_choice_came_the_first_decides() -> None:
    choices = [choice("a", "length"), {**choice(None, refusal="No."), "index": 1}]
    outcome = read(line(completion(*choices)))
    assert brief(outcome) == ("truncated", '["a",null]', None, "stopped at 111 tokens")


# --- responses ----------------------------------------------------------------------------------

REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "x", "text": "hm"}],
}


def test_a_response_with_reasoning_first() -> None:
    outcome = read(response(REASONING, message(said("Drama, "), said("crime"))), RESPONSES)
    assert outcome == Outcome(
        custom_id="q1-17",
        status="ok",
        answer="Drama, crime",
        finish_reason="completed",
        model="gpt-5-2025-08-07",
        prompt_tokens=20,
        cached_tokens=3,
        completion_tokens=40,
        reasoning_tokens=30,
    )


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            response(
                REASONING,
                message(said("A film abo")),
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
            ("truncated", "A film abo", None, "stopped at 40 tokens"),
        ),
        (
            response(REASONING, status="incomplete", incomplete_details=None),
            ("truncated", None, None, "stopped at 40 tokens"),
        ),
        (
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            ("content_filter", None, None, "stopped by the content filter"),
        ),
        (
            response(REASONING, message({"type": "refusal", "refusal": "I can't."})),
            ("refused", None, None, "I can't."),
        ),
        (
            response(REASONING, CALL),
            (
                "ok",
                '[{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"}]',
                None,
                None,
            ),
        ),
        (response(CALL, message(said("Text"))), ("ok", "Text", None, None)),
        (response(REASONING), ("empty", None, None, "the answer is empty")),
        (response(), ("empty", None, None, "the answer is empty")),
        (
            response(status="failed", error={"code": "server_error", "message": "Try again."}),
            ("api_error", None, "server_error", "Try again."),
        ),
        (response(status="failed"), ("api_error", None, None, "the response failed")),
        (response(status="cancelled"), ("cancelled", None, None, "the response was cancelled")),
    ],
)
def test_what_a_response_can_be(data: bytes, expected: tuple[Any, ...]) -> None:
    assert brief(read(data, RESPONSES)) == expected


# --- embeddings, completions, moderations, the rest ---------------------------------------------


def vectors(*embeddings: Any) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index, embedding in enumerate(embeddings)
    ]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return line({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})


def test_an_embedding_is_a_little_endian_float32_blob() -> None:
    numbers = [0.25, -1.5, 3, 1e-3]
    blob = struct.pack("<4f", *numbers)
    outcome = read(vectors(numbers), EMBEDDINGS)
    assert (outcome.status, outcome.answer, outcome.prompt_tokens) == ("ok", blob, 8)
    assert read(vectors(base64.b64encode(blob).decode()), EMBEDDINGS) == outcome


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (vectors([0.5], [0.25, 1]), ("ok", "[[0.5],[0.25,1.0]]", None, None)),
        (vectors([]), ("empty", None, None, "the answer is empty")),
        (vectors(None), ("empty", None, None, "the answer is empty")),
        (vectors(), ("empty", None, None, "the response has no answer")),
        (vectors([0.5, None]), ("empty", None, None, "the answer is empty")),
        (vectors("AAA"), ("api_error", None, None, "the embedding is no base64 of float32")),
        (vectors("AAAA"), ("api_error", None, None, "the embedding is no base64 of float32")),
        (vectors("größe"), ("api_error", None, None, "the embedding is no base64 of float32")),
    ],
)
def test_what_embeddings_can_be(data: bytes, expected: tuple[Any, ...]) -> None:
    assert brief(read(data, EMBEDDINGS)) == expected


def test_a_completion() -> None:
    body = {"object": "text_completion", "model": "davinci-002", "usage": USAGE}
    body["choices"] = [
        {"text": " is a film", "index": 0, "logprobs": None, "finish_reason": "length"}
    ]
    outcome = read(line(body), "/v1/completions")
    assert brief(outcome) == ("truncated", " is a film", None, "stopped at 111 tokens")
    assert outcome.model == "davinci-002"


def test_a_moderation() -> None:
    results = [{"flagged": True, "categories": {"violence": True}}]
    body = {"id": "modr-1", "model": "omni-moderation-latest", "results": results}
    assert brief(read(line(body), "/v1/moderations")) == ("ok", json.dumps(results), None, None)
    assert read(line({"results": []}), "/v1/moderations").status == "empty"


def test_any_other_endpoint_answers_with_its_body() -> None:
    body = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 5}}
    outcome = read(line(body), "/v1/images/generations")
    assert (outcome.status, json.loads(str(outcome.answer))) == ("ok", body)
    assert outcome.prompt_tokens == 5


# --- failures -----------------------------------------------------------------------------------

BAD_REQUEST = {
    "error": {
        "message": "Invalid image data.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "invalid_image",
    }
}


def failed(code: Any, message: Any = None) -> bytes:
    return line(response=None, error={"code": code, "message": message})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            line(BAD_REQUEST, status=400),
            ("http_error", None, "400 invalid_image", "Invalid image data."),
        ),
        (
            line(
                {"error": {"message": "Slow down.", "type": "requests", "code": None}}, status=429
            ),
            ("http_error", None, "429 requests", "Slow down."),
        ),
        (
            line({"error": {"message": "Oops", "code": 500}}, status=500),
            ("http_error", None, "500", "Oops"),
        ),
        (line({"error": "overloaded"}, status=503), ("http_error", None, "503", "overloaded")),
        (line("<html>Bad gateway", status=502), ("http_error", None, "502", "<html>Bad gateway")),
        (line(None, status=502), ("http_error", None, "502", "HTTP status 502")),
        (line({}, status=0), ("http_error", None, "0", "HTTP status 0")),
        (line({}, status="oops"), ("http_error", None, "oops", "HTTP status oops")),
        (
            line(
                {"object": "error", "message": "Bad", "type": "BadRequestError", "code": 400},
                status=400,
            ),
            ("http_error", None, "400 BadRequestError", "Bad"),
        ),
        (
            line({"detail": [{"loc": ["body"]}]}, status=422),
            ("http_error", None, "422", '[{"loc":["body"]}]'),
        ),
        (
            line(None, status=400, error={"code": "bad_request", "message": "No."}),
            ("http_error", None, "400 bad_request", "No."),
        ),
        (
            failed(
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
            (
                "expired",
                None,
                "batch_expired",
                "This request could not be executed before the completion window expired.",
            ),
        ),
        (failed("batch_cancelled"), ("cancelled", None, "batch_cancelled", None)),
        (failed("batch_failed", "No."), ("api_error", None, "batch_failed", "No.")),
        (
            line(response=None, error={"type": "batch_expired", "message": "Late."}),
            ("expired", None, "batch_expired", "Late."),
        ),
        (line(response=None, error="boom"), ("api_error", None, None, "boom")),
        (line(completion(choice()), error={"code": "x"}), ("api_error", None, "x", None)),
        (line(response=None), ("api_error", None, None, "the line has no response body")),
        (line(None), ("api_error", None, None, "the line has no response body")),
        (line([1]), ("api_error", None, None, "the line has no response body")),
        (
            line({"error": {"code": 502, "message": "upstream"}}),
            ("api_error", None, "502", "upstream"),
        ),
        (b'{"custom_id": "q1-17"}', ("api_error", None, None, "the line has no response body")),
    ],
)
def test_failures(data: bytes, expected: tuple[Any, ...]) -> None:
    outcome = read(data)
    assert brief(outcome) == expected
    assert outcome.custom_id == "q1-17"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"{}"', b"{} {}", b"\xff\xfe{\0}\0", chat()[:-1], chat() + b"x"],
)
def test_a_line_that_is_no_json_object_is_nobodys(data: bytes) -> None:
    assert read(data) == Outcome(None, "api_error", error_message="the line is not a JSON object")


def test_messages_and_codes_are_cut() -> None:
    outcome = read(line({"error": {"message": "x" * 5_000, "code": "y" * 5_000}}, status=400))
    assert outcome.error_message == "x" * 1_000
    assert outcome.error_code == "400 " + "y" * 96


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        ("expired", "batch_expired", True),
        ("missing", None, True),
        ("http_error", "429", True),
        ("http_error", "429 rate_limit_exceeded", True),
        ("http_error", "500", True),
        ("http_error", "503 overloaded", True),
        ("http_error", "429 insufficient_quota", False),
        ("http_error", "400 invalid_image", False),
        ("http_error", "5000", False),
        ("http_error", None, False),
        ("api_error", "server_error", True),
        ("api_error", "rate_limit_exceeded", True),
        ("api_error", "502", True),
        ("api_error", "insufficient_quota", False),
        ("api_error", "batch_failed", False),
        ("cancelled", "batch_cancelled", False),
        ("refused", "429", False),
        *((status, None, False) for status in OUTCOMES if status not in ("expired", "missing")),
    ],
)
def test_whose_fault(status: str, code: str | None, fault: bool) -> None:
    assert is_providers_fault(status, code) is fault


# --- compatible servers' odd lines ----------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        line(json.dumps(completion(choice()))),  # the body as JSON text
        line(
            completion(choice()),
            response=json.dumps(json.loads(line(completion(choice())))["response"]),
        ),
        line(completion(choice()), status="200"),
        line(completion(choice()), status=200.0),
        line(completion(choice()), status=None),
        line(completion(choice()), error={}),
        line(completion(choice()), error={"code": None, "message": None}),
        line(completion(choice()), error=""),
        line(completion(choice()), error=False),
        json.dumps({k: v for k, v in json.loads(chat()).items() if k != "error"}).encode(),
        line(completion(choice()), surprise={"deep": [[[{}]]]}, batch=17),
        line(completion(choice(), error=None, timings={"ms": 1.5}, choices_count=1)),
        line(completion(choice(reasoning_content="hm", audio=None, annotations=[]))),
        line(completion({**choice(), "index": None, "logprobs": "none", "stop_reason": 2})),
        line(completion({**choice(), "index": -1})),
        line(completion(choice(), usage={**USAGE, "prompt_tokens": "1541", "total_tokens": None})),
        line(completion(choice(), usage={**USAGE, "completion_tokens": 111.0})),
        line(completion(choice(), created="2024-10-10", id=5, system_fingerprint=None)),
        line(completion(choice(), "noise")),  # type: ignore[arg-type]
        b"\xef\xbb\xbf" + chat(),
        chat() + b"\r",
        b"  " + chat() + b"\t",
        chat().replace(b'"created": 1728602961', b'"created": NaN'),
        chat().replace(b'"created": 1728602961', b'"created": 1e999'),
        chat().replace(b'"created": 1728602961', b'"created": ' + b"1" * 10_000),
        chat().replace(b'"chat.completion"', b'"chat\xff.completion"'),
        chat().replace(b'"chat.completion"', b'"chat\t\x00.completion"'),
    ],
)
def test_odd_lines_say_the_same(data: bytes) -> None:
    assert read(data) == read(chat())


def test_counts_that_are_none_are_unknown() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 2**63, "prompt_tokens_details": "none"}
    usage["completion_tokens_details"] = {"reasoning_tokens": True}
    outcome = read(line(completion(choice(), usage=usage)))
    assert (outcome.status, outcome.answer) == ("ok", "Drama.")
    tokens = (outcome.prompt_tokens, outcome.cached_tokens, outcome.completion_tokens)
    assert (*tokens, outcome.reasoning_tokens) == (None, None, None, None)


def test_text_that_utf8_cannot_hold_is_mended() -> None:
    assert read(chat("cut")).answer == "cut"
    assert read(chat("cut").replace(b'"cut"', b'"cut \\ud83d"')).answer == "cut \ufffd"
    assert read(chat("cut").replace(b'"cut"', b'"\\ud83d\\ude00 \xff"')).answer == "😀 \ufffd"
    assert read(chat("a\0b")).answer == "a\0b"
    assert read(chat("a\u2028b\x85c")).answer == "a\u2028b\x85c"


def test_a_line_of_fifty_megabytes() -> None:
    text = "Drama. " * 7_200_000
    assert read(chat(text)).answer == text


def test_a_number_as_custom_id_is_its_text() -> None:
    assert read(line(completion(choice()), custom_id=17)).custom_id == "17"
    assert read(line(completion(choice()), custom_id=None)).custom_id is None
    assert read(line(completion(choice()), custom_id=["q1-17"])).custom_id is None


# --- schemas and JSON mode ------------------------------------------------------------------------

GODFATHER = """{
    "categories": ["crime", "drama"],
    "summary": "An aging crime lord hands over his empire to his hesitant son."
}"""


def test_an_answer_that_keeps_to_its_schema() -> None:
    outcome = read(chat(GODFATHER), schema=FILM)
    assert (outcome.status, outcome.answer, outcome.note) == ("ok", GODFATHER, None)
    assert outcome.values == (
        '["crime","drama"]',
        "An aging crime lord hands over his empire to his hesitant son.",
    )
    fenced = read(chat(f"```json\n{GODFATHER}\n```"), schema=FILM)
    assert fenced.values == outcome.values
    assert fenced.note == "the JSON was taken out of a code fence"


@pytest.mark.parametrize(
    ("data", "endpoint", "expected"),
    [
        (chat("Drama."), CHAT, ("invalid_json", "Drama.", None, "the answer is not valid JSON")),
        (
            chat('{"categories": ["a", 5], "summary": ""}'),
            CHAT,
            (
                "schema_violation",
                '{"categories": ["a", 5], "summary": ""}',
                None,
                'categories[1]: 5 is not of type "string"',
            ),
        ),
        (
            response(message(said("[]"))),
            RESPONSES,
            ("schema_violation", "[]", None, '[] is not of type "object"'),
        ),
        (chat('{"categ', "length"), CHAT, ("truncated", '{"categ', None, "stopped at 111 tokens")),
        (chat(None, refusal="No."), CHAT, ("refused", None, None, "No.")),
        (chat(""), CHAT, ("empty", None, None, "the answer is empty")),
        (
            line(BAD_REQUEST, status=400),
            CHAT,
            ("http_error", None, "400 invalid_image", "Invalid image data."),
        ),
    ],
)
def test_an_answer_that_does_not(data: bytes, endpoint: str, expected: tuple[Any, ...]) -> None:
    outcome = read(data, endpoint, schema=FILM)
    assert brief(outcome) == expected
    assert outcome.values is None


def test_tool_calls_are_no_answer_to_a_schema() -> None:
    outcome = read(chat(None, "tool_calls", tool_calls=TOOL_CALLS), schema=FILM)
    assert (outcome.status, outcome.answer) == ("schema_violation", json.dumps(TOOL_CALLS))


def test_columns_hold_one_answer() -> None:
    outcome = read(
        line(completion(choice(GODFATHER), {**choice(GODFATHER), "index": 1})), schema=FILM
    )
    assert outcome.status == "schema_violation"
    assert outcome.values is None
    assert (
        outcome.error_message == "2 answers came, and the schema's columns hold one; ask with n 1"
    )
    assert json.loads(str(outcome.answer)) == [GODFATHER, GODFATHER]


def test_a_schema_is_nothing_to_an_embedding() -> None:
    assert read(vectors([0.5]), EMBEDDINGS, schema=FILM).status == "ok"


def test_json_mode() -> None:
    assert brief(read(chat('{"a": 1}'), json_mode=True)) == ("ok", '{"a": 1}', None, None)
    expected = ("invalid_json", "Drama.", None, "the answer is not valid JSON")
    assert brief(read(chat("Drama."), json_mode=True)) == expected
    assert read(chat("```json\n{}\n```"), json_mode=True).note is not None
    several = line(completion(choice("{}"), {**choice("x"), "index": 1}))
    assert brief(read(several, json_mode=True))[:2] == ("invalid_json", '["{}","x"]')
    assert read(chat("Drama.")).status == "ok"


# --- any bytes ------------------------------------------------------------------------------------

LINES = {
    CHAT: chat(GODFATHER),
    RESPONSES: response(REASONING, message(said(GODFATHER))),
    EMBEDDINGS: vectors([0.5, 1]),
    "/v1/completions": line({"choices": [{"text": "x", "index": 0, "finish_reason": "stop"}]}),
    "/v1/moderations": line({"results": [{"flagged": False}]}),
    "/v1/images/generations": line({"data": [{"b64_json": "AAAA"}]}),
}
endpoints = st.sampled_from(sorted(LINES))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def can_be_stored(data: bytes, endpoint: str) -> Outcome:
    """Read a line every way, and let SQLite take every field of the outcome."""
    read_response(data, endpoint=endpoint, json_mode=True)
    read_response(data, endpoint=endpoint, schema=FILM)
    outcome = read_response(data, endpoint=endpoint)
    assert outcome.status in OUTCOMES
    assert len(outcome.error_message or "") <= 1_000
    assert outcome.answer is not None or outcome.status != "ok"
    fields = [value for name, value in msgspec.structs.asdict(outcome).items() if name != "values"]
    with closing(sqlite3.connect(":memory:")) as conn:
        stored = conn.execute(f"SELECT {', '.join('?' * len(fields))}", fields).fetchone()
    assert list(stored) == fields
    return outcome


@given(
    st.binary() | st.text().map(str.encode) | values.map(lambda v: json.dumps(v).encode()),
    endpoints,
)
@example(b"[" * 1_000_000, CHAT)
@example(b'{"custom_id":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", CHAT)
@example(b'{"custom_id":"a","x":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}", CHAT)
@example(b'{"custom_id":' + b"9" * 5_000 + b"}", CHAT)
@example(b'{"response":{"status_code":' + b"9" * 4_000 + b"}}", CHAT)
@example(b'{"error":{"code":' + b"9" * 4_000 + b"}}", CHAT)
@example(b'{"response":"{\\"body\\":{}}"}', "/v1/images/generations")
@example(b'{"response":{"body":{"results":1e999}}}', "/v1/moderations")
@example(b'{"response":{"body":{"results":["\\ud800\xff"]}}}', "/v1/moderations")
@example(b'{"response":{"body":{"data":[{"embedding":[1e300]}]}}}', EMBEDDINGS)
@example(b'{"response":{"body":{"data":[{"embedding":[1e999]}, {"embedding":[]}]}}}', EMBEDDINGS)
def test_any_bytes_have_an_outcome(data: bytes, endpoint: str) -> None:
    can_be_stored(data, endpoint)


@given(endpoints, st.data())
def test_lines_with_changed_bytes_have_an_outcome(endpoint: str, data: Any) -> None:
    changed = bytearray(LINES[endpoint])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = start + data.draw(st.integers(0, 20))
        changed[start:end] = data.draw(st.binary(max_size=6))
    can_be_stored(bytes(changed), endpoint)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, below the custom_id and the whole."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [
        place for key, child in inner if key != "custom_id" for place in places(child, (*path, key))
    ]
    return [path, *found] if path else found


@given(endpoints, values, st.data())
def test_lines_with_one_odd_value_keep_their_custom_id(endpoint: str, odd: Any, data: Any) -> None:
    changed = json.loads(LINES[endpoint])
    *path, last = data.draw(st.sampled_from(places(changed)))
    inner = changed
    for key in path:
        inner = inner[key]
    inner[last] = odd
    assert can_be_stored(json.dumps(changed).encode(), endpoint).custom_id == "q1-17"


@given(st.text().filter(lambda text: text and not text.isspace()), st.booleans())
def test_any_text_comes_back_as_it_was(text: str, ascii_only: bool) -> None:
    body = completion(choice(text))
    data = json.dumps(
        {"custom_id": "a", "response": {"body": body}}, ensure_ascii=ascii_only
    ).encode()
    outcome = read(data)
    assert (outcome.status, outcome.answer) == ("ok", text)
    assert read(b"\xef\xbb\xbf" + data) == outcome


@given(endpoints, st.booleans())
def test_mending_a_line_reads_the_same(endpoint: str, with_schema: bool) -> None:
    """The second, lenient way of reading agrees with the first wherever that works."""
    schema = FILM if with_schema else None
    data = LINES[endpoint]
    mended = read_response(b"\xef\xbb\xbf" + data, endpoint=endpoint, schema=schema)
    plain = read_response(data, endpoint=endpoint, schema=schema)
    if endpoint == "/v1/moderations":  # kept as it came, or written anew
        plain.answer, mended.answer = json.loads(str(plain.answer)), json.loads(str(mended.answer))
    assert mended == plain
