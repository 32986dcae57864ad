"""What other servers and older models write: the reason is kept, the one answer is found."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, custom_id, request_ids, sent, statuses, take
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.outcome import read_response, telling
from sqlite_utils_openai_batch.answers.reader import Reader
from sqlite_utils_openai_batch.answers.schema import AnswerSchema, read_json
from sqlite_utils_openai_batch.base.outcome import Outcome
from sqlite_utils_openai_batch.jobs.apply import Wish, apply

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MOOD = AnswerSchema.parse("mood good|bad")
AROUND = "the JSON was taken out of the text around it"
FENCE = "the JSON was taken out of a code fence"


def line(body: Any = None, status: Any = 200, error: Any = None, name: str = "q-1") -> bytes:
    """A line of a result file."""
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"custom_id": name, "response": response, "error": error}).encode()


def choice(content: Any, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """One choice of a chat completion."""
    return {"index": 0, "message": {"content": content, **message}, "finish_reason": reason}


def chat(*choices: dict[str, Any], name: str = "q-1") -> bytes:
    """A line with a chat completion."""
    numbered = [{**one, "index": n} for n, one in enumerate(choices)]
    usage = {"prompt_tokens": 9, "completion_tokens": 7}
    return line({"model": "m", "choices": numbered, "usage": usage}, name=name)


def read(data: bytes, schema: AnswerSchema | None = None, endpoint: str = CHAT) -> Outcome:
    """What the job's reader makes of a line; the plain way says the same."""
    reader = Reader(endpoint, schema)
    (outcome,) = reader.read([data])
    reader.check([outcome])
    assert outcome == read_response(data, endpoint=endpoint, schema=schema)
    return outcome


# --- reasons

TOO_LONG = {"object": "error", "message": "Too long.", "type": "BadRequestError", "code": 400}
MISSING = {"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}
EXTRA = {"type": "extra_forbidden", "loc": ["body", "n", 0], "msg": "Not permitted", "input": 1}
FIELDS = "body.messages: Field required; body.n.0: Not permitted"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # an error in an error, at the top and in the body
        (line(None, 400, {"error": TOO_LONG}), ("http_error", "400 BadRequestError", "Too long.")),
        (line(None, None, {"error": {"error": TOO_LONG}}),
         ("api_error", "BadRequestError", "Too long.")),
        (line({"error": {"error": {"message": "No.", "code": "c"}}}, 500),
         ("http_error", "500 c", "No.")),
        (line({"error": {"error": {"message": "No."}}}), ("api_error", None, "No.")),
        (line(None, None, {"error": {"code": "batch_expired", "message": "Late."}}),
         ("expired", "batch_expired", "Late.")),
        # lists of what is wrong
        (line({"detail": [MISSING, EXTRA]}, 422), ("http_error", "422", FIELDS)),
        (line({"object": "error", "message": {"detail": [MISSING, EXTRA]}, "type": "invalid",
               "code": None}, 422), ("http_error", "422 invalid", FIELDS)),
        (line({"errors": [{"title": "Quota", "detail": "None left."}]}, 402),
         ("http_error", "402", "None left.")),
        (line([{"error": {"code": 400, "message": "Bad key.", "status": "INVALID"}}], 400),
         ("http_error", "400", "Bad key.")),
        (line({"detail": [MISSING] * 9}, 422),
         ("http_error", "422", "body.messages: Field required; …")),
        # under other names, or as text
        (line({"title": "Bad Request", "status": 400}, 400), ("http_error", "400", "Bad Request")),
        (line({"detail": {"reason": "No model."}}, 404), ("http_error", "404", "No model.")),
        (line(json.dumps({"error": {"msg": "Slow down."}}), 429),
         ("http_error", "429", "Slow down.")),
        (line({"error": '{"message": "Inner."}'}, 500),
         ("http_error", "500", '{"message": "Inner."}')),
        (line({"why": ["odd"]}, 500), ("http_error", "500", '{"why":["odd"]}')),
        (line({"error": ["first", "second"]}, 500), ("http_error", "500", "first; second")),
        # said with status 200, in the place of an answer
        (line({"object": "error", "message": "Model is loading.", "code": 503}),
         ("api_error", "503", "Model is loading.")),
        (line({"detail": [MISSING]}), ("api_error", None, "body.messages: Field required")),
        (line([{"error": {"message": "In a list."}}]), ("api_error", None, "In a list.")),
    ],
)  # fmt: skip
def test_the_reason_is_kept(data: bytes, expected: tuple[Any, ...]) -> None:
    outcome = read(data)
    assert (outcome.status, outcome.error_code, outcome.error_message) == expected
    assert outcome.custom_id == "q-1"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "loc", "code", "x"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(values, values, st.sampled_from([200, 400, "500", None, 0]))
@example(None, {"error": [[[[[[[[[["deep"]]]]]]]]]]}, 400)
def test_whatever_a_server_says_is_an_outcome(body: Any, error: Any, status: Any) -> None:
    outcome = read(line(body, status, error))
    assert outcome.status in ("http_error", "api_error", "empty", "ok")
    assert outcome.status == "ok" or outcome.error_message or outcome.error_code
    code, message = telling(error)
    assert code is None or isinstance(code, str)
    assert message is None or message.strip()


# --- content that is not text


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ({"mood": "good"}, '{"mood":"good"}'),
        ({"mood": {"of": ["x"]}, "type": "film"}, '{"mood":{"of":["x"]},"type":"film"}'),
        ([{"mood": "good"}], '[{"mood":"good"}]'),
        ([1, 2], "[1,2]"),
        (["a", "b"], "ab"),
        ({"type": "text", "text": "One piece."}, "One piece."),
        ([{"type": "text", "text": {"value": "wrapped"}}], "wrapped"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
          {"type": "text", "text": "Drama"}], "Drama"),
        ([{"type": "output_text", "text": "a"}, {"type": "refusal"}], "a"),
        (5, "5"),
    ],
)  # fmt: skip
def test_content_that_is_an_object_is_the_answer(content: Any, answer: str) -> None:
    outcome = read(chat(choice(content)))
    assert (outcome.status, outcome.answer) == ("ok", answer)
    message = {"type": "message", "content": content}
    if content != 5:
        body = {"status": "completed", "output": [message]}
        assert read(line(body), endpoint=RESPONSES).answer == answer


def test_an_object_is_checked_as_its_json_is() -> None:
    assert read(chat(choice({"mood": "good"})), MOOD).values == ("good",)
    assert read(chat(choice({"mood": "fair"})), MOOD).status == "schema_violation"
    for nothing in ({}, [], None):
        assert read(chat(choice(nothing)), MOOD).status == "empty"


# --- tool calls


def call(arguments: Any, name: str = "label") -> dict[str, Any]:
    """A tool call."""
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


GOOD = '{"mood": "good"}'


@pytest.mark.parametrize(
    ("message", "values"),
    [
        ({"content": None, "tool_calls": [call(GOOD)]}, ("good",)),
        ({"content": "", "tool_calls": [call({"mood": "bad"})]}, ("bad",)),
        ({"content": None, "function_call": {"name": "label", "arguments": GOOD}}, ("good",)),
        # text beside it: whichever keeps to the schema
        ({"content": "I label it.", "tool_calls": [call(GOOD)]}, ("good",)),
        ({"content": GOOD, "tool_calls": [call('{"mood": "bad"}')]}, ("good",)),
        ({"content": GOOD, "tool_calls": []}, ("good",)),
        # not what was asked for, or too much of it
        ({"content": None, "tool_calls": [call('{"mood": "fair"}')]}, None),
        ({"content": None, "tool_calls": [call("{'mood': 'good'}")]}, None),
        ({"content": None, "tool_calls": [call(GOOD), call(GOOD)]}, None),
        ({"content": None, "tool_calls": [{"type": "function"}]}, None),
    ],
)
def test_the_arguments_of_the_one_call_are_the_answer(message: Any, values: Any) -> None:
    data = chat(choice(message.pop("content"), "tool_calls", **message))
    outcome = read(data, MOOD)
    assert outcome.values == values
    assert (outcome.status == "ok") is (values is not None)
    if values is not None:
        assert json.loads(str(outcome.answer)) == {"mood": values[0]}


def test_what_is_wrong_with_a_call_is_said() -> None:
    wrong = read(chat(choice(None, tool_calls=[call('{"mood": "fair"}')])), MOOD)
    assert wrong.status == "schema_violation"
    assert str(wrong.error_message).startswith('mood: "fair" is not one of')
    two = read(chat(choice(None, tool_calls=[call(GOOD), call(GOOD)])), MOOD)
    assert two.error_message == "2 tool calls came, and the schema's columns hold one answer"


@pytest.mark.parametrize("arguments", [GOOD, json.loads(GOOD)], ids=["as text", "as an object"])
def test_a_function_call_of_the_responses_api(arguments: Any) -> None:
    item = {"type": "function_call", "call_id": "c", "name": "label", "arguments": arguments}
    body = {"status": "completed", "output": [item]}
    assert read(line(body), MOOD, RESPONSES).values == ("good",)
    said = {"type": "message", "content": [{"type": "output_text", "text": "Labelled."}]}
    assert read(line({**body, "output": [said, item]}), MOOD, RESPONSES).values == ("good",)


def test_an_answer_with_a_name_and_arguments_is_one() -> None:
    schema = AnswerSchema.parse("name, arguments")
    text = '{"name": "f", "arguments": "{}"}'
    assert read(chat(choice(text)), schema).values == ("f", "{}")


TABLE = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);
INSERT INTO notes VALUES (1, 'a'), (2, 'b'), (3, 'c');
"""


@pytest.fixture
def conn(database: Any, tmp_path: Path) -> Any:
    """A database with three notes."""
    path = tmp_path / database(TABLE)
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def test_calls_fill_the_columns_and_can_be_applied(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "notes", schema="mood good|bad")
    ids = request_ids(conn, job)
    lines = [
        chat(choice(None, tool_calls=[call(one)]), name=custom_id(job, ids[n]))
        for n, one in ((1, GOOD), (2, '{"mood": "bad"}'), (3, '{"mood": "fair"}'))
    ]
    take(conn, job, tmp_path, lines)
    assert [mood for (mood,) in conn.execute("SELECT mood FROM notes")] == ["good", "bad", None]
    assert statuses(conn, job)[3] == ("schema_violation", None)
    apply(conn, job, Wish(schema=AnswerSchema.parse("mood good|bad|fair")))
    assert [mood for (mood,) in conn.execute("SELECT mood FROM notes")] == ["good", "bad", "fair"]


# --- several answers


def test_the_other_choices_stay_and_the_cut_one_is_said(
    conn: sqlite3.Connection, tmp_path: Path
) -> None:
    job = sent(conn, "notes", options={"n": 3})
    ids = request_ids(conn, job)
    cases = {
        1: [choice("a"), choice("b", "length"), choice("c")],
        2: [choice("a"), choice("b"), choice(None, refusal="I won't.")],
        3: [choice("a", "length"), choice("b", "length"), choice("c", "length")],
    }
    lines = [chat(*some, name=custom_id(job, ids[n])) for n, some in cases.items()]
    take(conn, job, tmp_path, lines)
    assert {n: status for n, (status, _) in statuses(conn, job).items()} == {
        1: "ok", 2: "ok", 3: "truncated",
    }  # fmt: skip
    assert conn.execute("SELECT answer FROM notes").fetchall() == [
        ('["a","b","c"]',), ('["a","b",null]',), (None,),
    ]  # fmt: skip
    said = "SELECT error_message FROM openai_batch_requests ORDER BY id"
    assert [text for (text,) in conn.execute(said)] == [
        "answer 2 of 3 is truncated: stopped at 7 tokens",
        "answer 3 of 3 is refused: I won't.",
        "stopped at 7 tokens",
    ]


# --- what stands around JSON

FENCED = f"```json\n{GOOD}\n```"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f"<think>Is it good?</think>{GOOD}", AROUND),
        (f"<think>\nMaybe {{}} or {GOOD}?\n</think>\n\n{GOOD}\n", AROUND),
        (f"It sounds good.</think>{GOOD}", AROUND),
        (f"<think>It says </think> itself.</think>{GOOD}", AROUND),
        (f"<THINKING>hm</THINKING> {GOOD}", AROUND),
        (f"[THINK]hm[/THINK]{GOOD}", AROUND),
        (f"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
         f"{GOOD}<|return|>", AROUND),
        (f"{GOOD}<|im_end|>", AROUND),
        (f"{GOOD}\n<|eot_id|></s> \n", AROUND),
        (f"{GOOD}<｜end▁of▁sentence｜>", AROUND),
        (f"\ufeff{GOOD}", None),
        (f"\ufeff{FENCED}<|im_end|>", AROUND),
        (f"Here it is:\n{FENCED}\nHope this helps!", AROUND),
        (f"<think>hm</think>Sure.\n{FENCED}<|im_end|>", AROUND),
        (FENCED, FENCE),
    ],
)  # fmt: skip
def test_the_one_value_is_taken(text: str, note: str | None) -> None:
    outcome = read(chat(choice(text)), MOOD)
    assert (outcome.status, outcome.values, outcome.note) == ("ok", ("good",), note)
    assert outcome.answer == text  # as it came


@pytest.mark.parametrize(
    "text",
    [
        "{'mood': 'good'}",
        "```json\n{'mood': 'good'}\n```",
        f"{GOOD}{GOOD}",
        f"{GOOD}\n{GOOD}",
        f"{FENCED}\nor\n{FENCED}",
        f"{FENCED}\nor {GOOD}",
        f"{GOOD} or\n{FENCED}",
        f"<think>{GOOD}",
        f"<think>{GOOD}</think>",
        f"<think>hm</think>{GOOD}{GOOD}",
        f"Or {GOOD}</think>{GOOD}</think>{GOOD}",
        f"{GOOD[:-1]}<|im_end|>",
        "<|im_end|>",
        "I think it is good.",
    ],
)
def test_what_is_none_or_more_than_one_stays_a_failure(text: str) -> None:
    outcome = read(chat(choice(text)), MOOD)
    assert (outcome.status, outcome.answer) == ("invalid_json", text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
    | st.sampled_from(["</think>", "<think>", "```", "<|im_end|>", "{", "\ufeff"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)  # fmt: skip
prose = st.text(st.sampled_from("ab \n.:<>|`'"), max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=3), json_values), prose, prose, st.sampled_from("tfme"))
def test_no_other_value_is_ever_taken(value: Any, one: str, other: str, wrapped: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    wrappings = {
        "t": f"<think>{one}</think>{text}",
        "f": f"{one}\n```json\n{text}\n```\n{other}",
        "m": f"{text}<|im_end|>",
        "e": f"{one}{text}{other}",
    }
    try:
        found, _ = read_json(wrappings[wrapped])
    except ValueError:
        return
    assert found == value


@given(st.text(st.sampled_from('<>|/think[]{}`\n"a:1 '), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert MOOD.check(text).status in ("ok", "invalid_json", "schema_violation")


def test_long_texts_take_no_time() -> None:
    for text in (" " * 300_000 + "x", "</think>" * 50_000, "```\n" * 90_000, "<|a|>" * 60_000):
        assert MOOD.check(text).status == "invalid_json"


def test_what_was_forgiven_is_noted_with_the_row(conn: sqlite3.Connection, tmp_path: Path) -> None:
    text = f"<think>hm</think>{GOOD}"
    job = answered(conn, tmp_path, "notes", {1: text, 2: GOOD}, schema="mood good|bad")
    kept = "SELECT answer, error_message FROM openai_batch_requests WHERE status = 'ok'"
    assert conn.execute(kept).fetchall() == [(text, AROUND), (GOOD, None)]
    assert statuses(conn, job)[1] == ("ok", "written")
