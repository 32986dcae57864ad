"""The usual line, read fast: whatever the line, the outcome is that of the full reader."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.outcome import read_response, read_usual
from sqlite_utils_openai_batch.answers.reader import Reader
from sqlite_utils_openai_batch.answers.schema import AnswerSchema, quick_check, quick_check_all
from sqlite_utils_openai_batch.base.outcome import Outcome

CHAT = "/v1/chat/completions"
NESTED = json.dumps(
    {
        "type": "object",
        "properties": {
            "mood": {"type": "string", "enum": ["good", "bad"]},
            "by": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
)
SCHEMAS = {
    "none": None,
    "plain": AnswerSchema.parse("mood good|bad, score 0..1, stars 1..5 int, sure bool, tags list"),
    "nested": AnswerSchema.parse(NESTED),
}
GOOD = {
    "none": "Drama.",
    "plain": '{"mood": "good", "score": 0.5, "stars": 3, "sure": true, "tags": ["a", "é"]}',
    "nested": '{"mood": "bad", "by": {"name": "Mia"}}',
}
# What may stand anywhere in a line in place of what is usual.
ODD: list[Any] = [
    None, "", " ", 0, 1, -1, 1.5, 2**63, True, [], {}, "x", "200", "stop", "length", ["x"],
    {"message": "no", "code": "server_error"}, "\ud83d", [{"type": "text", "text": "parts"}],
]  # fmt: skip


def usual(content: str) -> dict[str, Any]:
    """A line as OpenAI sends nearly all of them."""
    message = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
    }
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1763700000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [choice],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_568f3bfff7",
    }
    response = {"status_code": 200, "request_id": "4f", "body": body}
    return {"id": "batch_req_1", "custom_id": "q1-7", "response": response, "error": None}


def in_body(change: dict[str, Any]) -> dict[str, Any]:
    """The usual line with other fields in its body."""
    line = usual("Drama.")
    line["response"]["body"] |= change
    return line


def with_message(**change: Any) -> dict[str, Any]:
    """The usual line with other fields in its message."""
    line = usual("Drama.")
    line["response"]["body"]["choices"][0]["message"] |= change
    return line


def choices(*finished: str) -> list[dict[str, Any]]:
    return [
        {"index": n, "message": {"content": f"answer {n}"}, "finish_reason": reason}
        for n, reason in enumerate(finished)
    ]


COUNTS = {"prompt_tokens": 5, "completion_tokens": 2}
FAILED = {"status_code": 429, "request_id": "4f", "body": {"error": {"message": "Slow down"}}}
EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before …"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
# The shapes that lines have, of OpenAI and of servers like it.
SHAPES: list[dict[str, Any]] = [
    usual("Drama."),
    *(usual(text) for text in GOOD.values()),
    usual(f"```json\n{GOOD['plain']}\n```"),
    usual(GOOD["plain"].replace("0.5", "7")),
    usual(GOOD["plain"].replace("0.5", "1")),
    usual(GOOD["plain"].replace("3", "3.0")),
    usual(GOOD["plain"].replace("3", "9" * 30)),
    usual(GOOD["plain"].replace("true", "1")),
    usual(GOOD["plain"].replace("good", "fair")),
    usual(GOOD["plain"][:-1] + ', "more": 1}'),
    usual(GOOD["plain"][:-1] + ', "mood": "bad"}'),
    usual(GOOD["plain"] + " "),
    usual("\ufeff" + GOOD["plain"]),
    usual("[" * 300),
    usual("NaN"),
    in_body({"choices": []}),
    in_body({"choices": choices("stop", "stop")}),
    in_body({"choices": choices("length")}),
    in_body({"choices": choices("content_filter")}),
    in_body({"choices": choices("tool_calls")}),
    in_body({"error": {"message": "no", "type": "server_error"}}),
    in_body({"usage": None}),
    in_body({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
    in_body({"usage": {**COUNTS, "input_tokens_details": {"cached_tokens": 3}}}),
    in_body({"usage": {**COUNTS, "output_tokens_details": {"reasoning_tokens": 3}}}),
    in_body({"usage": {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 5}}),
    with_message(refusal="I can't help with that"),
    with_message(content=None, tool_calls=[CALL]),
    with_message(content="  \n"),
    {**usual("Drama."), "response": FAILED},
    {**usual("Drama."), "response": None, "error": EXPIRED},
    {**usual("Drama."), "error": EXPIRED},
    {"custom_id": "q1-7", "response": {"body": json.dumps(in_body({})["response"]["body"])}},
]


def both(line: bytes, name: str) -> tuple[Outcome, Outcome]:
    """What the job's reader makes of a line in its two steps, and what the full reader does."""
    reader = Reader(CHAT, SCHEMAS[name])
    (outcome,) = reader.read([line])
    reader.check([outcome])
    return outcome, read_response(line, endpoint=CHAT, schema=SCHEMAS[name])


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values stand in a line."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(found for key, one in inside for found in paths(one, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A line of some shape, some of its values replaced or left out, and its bytes cut or mixed."""
    line = copy.deepcopy(draw(st.sampled_from(SHAPES)))
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(paths(line)[1:]))
        place = line
        for key in way:
            place = place[key]
        if draw(st.booleans()):
            place[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            del place[last]
        if not line:
            break
    data = json.dumps(line, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(data)))
    return draw(
        st.sampled_from(
            [data] * 6 + [data[:at], data[:at] + b"\xff" + data[at:], data[:at] + b" " + data[at:]]
        )
    )


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("line", SHAPES, ids=range(len(SHAPES)))
def test_every_shape_reads_the_same(line: dict[str, Any], name: str) -> None:
    fast, full = both(json.dumps(line).encode(), name)
    assert fast == full


@settings(max_examples=400, deadline=None)
@given(mutated(), st.sampled_from(sorted(SCHEMAS)))
@example(json.dumps(usual("Drama.")).replace("q1-7", "\\ud83d").encode(), "none")
def test_the_fast_way_is_the_full_one(line: bytes, name: str) -> None:
    fast, full = both(line, name)
    assert fast == full


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_usual_line_takes_the_fast_way(name: str) -> None:
    line = json.dumps(usual(GOOD[name])).encode()
    assert read_usual([line])[2] == []
    fast, full = both(line, name)
    assert fast.status == "ok"
    assert fast == full


# Many answers read at once: as one by one, also where two texts would make one answer.

PIECES = ['{"a": "x"', ', "b": 1}', '{"a": "y}', '", "b": 2}', "{", "}", "\n", " ", '{"a": "\\']
WHOLE = ['{"a": "x", "b": 1}', '{"a": "é", "b": 2}', '{\n "a": "x",\n "b": 1\n}', '{"b":1,"a":""}']
TEXTS = st.one_of(
    st.sampled_from(WHOLE), st.lists(st.sampled_from([*PIECES, *WHOLE]), max_size=4).map("".join)
)


@given(st.lists(TEXTS, max_size=6))
@example(['{"a": "x"', ', "b": 1}', f"{WHOLE[0]}\n{WHOLE[0]}"])
@example([f"{WHOLE[0]}{WHOLE[0]}", ""])
@example([f"{WHOLE[0]}\n{WHOLE[0]}", '{"a": "x"}', ', "b": 1}'])
def test_answers_read_at_once_are_those_read_one_by_one(texts: list[str]) -> None:
    schema = AnswerSchema.parse("a, b int")
    check, check_all = quick_check(schema), quick_check_all(schema)
    assert check is not None
    assert check_all is not None
    try:
        expected = list(map(check, texts))
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            check_all([text.encode() for text in texts])
    else:
        assert check_all([text.encode() for text in texts]) == expected


def test_lists_and_booleans_read_at_once() -> None:
    schema = SCHEMAS["plain"]
    assert schema is not None
    check, check_all = quick_check(schema), quick_check_all(schema)
    assert check is not None
    assert check_all is not None
    assert check_all([GOOD["plain"].encode()] * 2) == [check(GOOD["plain"])] * 2
    assert quick_check_all(AnswerSchema.parse(NESTED)) is None
