"""Whatever properties are called and may hold: asked, checked and written; the fast way agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.outcome import read_response
from sqlite_utils_openai_batch.answers.reader import Reader
from sqlite_utils_openai_batch.answers.schema import AnswerSchema, quick_check
from sqlite_utils_openai_batch.base.errors import SchemaError
from sqlite_utils_openai_batch.base.outcome import Outcome

CHAT = "/v1/chat/completions"
Schema = dict[str, Any]
TEXT = {"type": "string"}
ODD = (
    'height "cm"',
    "back\\slash",
    "a\ttab",
    "a\nline",
    "\x1b[31m",
    "f0",
    "__class__",
    "größe",
    " ",
)


def of(properties: Schema) -> Schema:
    """A JSON schema with these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def line(content: str) -> bytes:
    """A line of a result file with this answer."""
    message = {"role": "assistant", "content": content, "refusal": None}
    body = {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return json.dumps({"custom_id": "q-1", "response": response, "error": None}).encode()


def both(schema: AnswerSchema, content: str) -> tuple[Outcome, Outcome]:
    """What the job's reader makes of an answer, and what the plain way does."""
    reader = Reader(CHAT, schema)
    (outcome,) = reader.read([line(content)])
    reader.check([outcome])
    return outcome, read_response(line(content), endpoint=CHAT, schema=schema)


@pytest.mark.parametrize("name", ODD[:-1])
def test_a_name_that_no_decoder_takes(name: str) -> None:
    schema = AnswerSchema(of({name: TEXT, "stars": {"type": "integer"}}))
    fast, plain = both(schema, json.dumps({name: "x", "stars": 5}))
    assert fast == plain
    assert fast.values == ("x", 5)


@pytest.mark.parametrize("bound", [2**63, 2**64 - 1, -(2**63), 10**40])
def test_a_bound_that_no_decoder_takes(bound: int) -> None:
    schema = AnswerSchema(of({"a": {"type": "integer", "maximum": max(bound, 0)}}))
    for value in (0, bound - 1, bound, 2**63 - 1, 2**63):
        fast, plain = both(schema, json.dumps({"a": value}))
        assert fast == plain


def test_usual_names_still_go_the_fast_way() -> None:
    assert quick_check(AnswerSchema(of({"größe (cm)": TEXT, "it's": TEXT}))) is not None


# The fast way agrees with the plain one, whatever the schema.

numbers = st.one_of(st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False))
words = st.text(max_size=3).filter(lambda text: "\0" not in text)
kinds = st.one_of(
    st.sampled_from(
        [TEXT, {"type": "boolean"}, {"type": ["string", "null"]}, {"type": ["integer", "null"]},
         {"type": "array", "items": TEXT}, {"type": "array", "items": {"type": "integer"}}]
    ),
    st.lists(words, min_size=1, max_size=3).map(lambda labels: {**TEXT, "enum": labels}),
    st.lists(words, min_size=1, max_size=3).map(
        lambda labels: {"type": ["string", "null"], "enum": [*labels, None]}
    ),
    st.builds(
        lambda kind, bounds: {"type": kind, **bounds},
        st.sampled_from(["integer", "number"]),
        st.dictionaries(
            st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]), numbers
        ),
    ),
    st.builds(lambda n: {**TEXT, "maxLength": n}, st.integers(0, 3)),
)  # fmt: skip
answers = st.one_of(words, numbers, st.booleans(), st.none(), st.lists(words, max_size=2))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Schema, str]:
    """A schema, and an answer to it that may fit."""
    names = draw(st.lists(st.one_of(st.sampled_from(ODD), words), min_size=1, max_size=3))
    schema = of({name: draw(kinds) for name in names})
    answer = {}
    for name, node in schema["properties"].items():
        fitting = st.sampled_from(node["enum"]) if "enum" in node else answers
        answer[name] = draw(st.one_of(fitting, answers))
    if draw(st.integers(0, 9)) == 0:
        answer["more"] = 1
    return schema, json.dumps(answer, ensure_ascii=draw(st.booleans()))


@settings(max_examples=300, deadline=None)
@given(cases())
@example((of({'height "cm"': {"type": "integer", "minimum": 0}}), '{"height \\"cm\\"": 180}'))
def test_the_fast_way_is_the_plain_one(case: tuple[Schema, str]) -> None:
    given_schema, content = case
    try:
        schema = AnswerSchema(given_schema)
    except SchemaError:
        return  # a name that can't be a column, a label beyond 64 bits
    fast, plain = both(schema, content)
    assert fast == plain


def test_odd_names_end_in_columns(run: Any, notes: Path, rows: Any) -> None:
    schema = of({name: {**TEXT, "enum": ["x"]} for name in ODD[:4]})
    Path("odd.json").write_text(json.dumps(schema))
    ask = ("--prompt", "{{ text }}", "--limit", "2", "--schema", "odd.json")
    run("run", notes, "notes", *ask, *run.there)
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in ODD[:4])
    assert rows(notes, f"SELECT {columns} FROM notes LIMIT 2") == [("x",) * 4] * 2
    for command in ("show", "report", "results", "apply", "revert"):
        run(command, notes, "1")
    assert rows(notes, "SELECT * FROM notes LIMIT 1") == [(1, "note 1", 1)]
