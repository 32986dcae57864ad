from __future__ import annotations

import base64
import json
import struct
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.local import SimulatedAnswerer
from sqlite_utils_openai_batch.local.answerers.simulate import Maker

from .bench import CHAT, EMBEDDINGS, RESPONSES, Bench, chat, request_lines

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 200},
        "age": {"type": ["integer", "null"], "minimum": 18, "maximum": 99},
        "mood": {"enum": ["good", "bad", "mixed"]},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 4},
        "born": {"type": "string", "format": "date"},
        "odd": {"type": "integer", "exclusiveMinimum": 0, "maximum": 3},
        "parent": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "fixed": {"const": 7},
        "sure": {"type": "boolean"},
    },
    "required": ["name", "age", "mood", "score", "tags", "born", "odd", "parent", "fixed", "sure"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["next"],
            "additionalProperties": False,
        }
    },
}


def ask(
    answerer: SimulatedAnswerer, body: dict[str, Any], url: str = CHAT, key: str = "r-1"
) -> Any:
    return answerer.answer_now(url, body, key).body


def text(body: dict[str, Any]) -> Any:
    return body["choices"][0]["message"]["content"]


def test_marked_as_simulated() -> None:
    body = ask(SimulatedAnswerer(), chat("Is it good?"))
    assert text(body) == "simulated answer to r-1"
    assert (body["model"], body["system_fingerprint"]) == ("gpt-4o-mini-simulated", "fp_simulated")


def test_echo_repeats_the_last_user_message() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": [{"type": "text", "text": "Ünd\n\"you\""},
                                     {"type": "image_url", "image_url": {"url": "data:"}}]},
    ]  # fmt: skip
    body = {"model": "m", "messages": messages}
    assert text(ask(SimulatedAnswerer(echo=True), body)) == 'simulated answer to r-1: Ünd\n"you"'


@given(st.integers(0, 2**32), st.text())
def test_made_up_values_fit_their_schema(chooser: int, words: str) -> None:
    value = Maker(PERSON).value(words, chooser)
    jsonschema_rs.validate(PERSON, value)
    assert Maker(PERSON).value(words, chooser) == value


@pytest.mark.parametrize(
    "spec",
    ["mood good|bad|not sure", "score 0..1", "rating 1..5", "tags list",
     "a, b int, c float, d bool", "name, note: what to put here"],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(5))
def test_fits_the_schemas_of_this_package(spec: str, seed: int) -> None:
    schema = AnswerSchema.parse(spec)
    for endpoint, body in ((CHAT, chat("x")), (RESPONSES, {"model": "m", "input": "x"})):
        whole = ask(SimulatedAnswerer(seed), {**body, **schema.response_format(endpoint)}, endpoint)
        said = text(whole) if endpoint == CHAT else whole["output"][0]["content"][0]["text"]
        assert schema.check(said).status == "ok"


def test_strings_of_a_schema_carry_the_message() -> None:
    schema = {"type": "object", "properties": {"note": {"type": "string"}}}
    body = chat("row 7", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    said = json.loads(text(ask(SimulatedAnswerer(echo=True), body)))
    assert said == {"note": "simulated answer to r-1: row 7"}


def test_json_object_mode() -> None:
    said = text(ask(SimulatedAnswerer(), chat("x", response_format={"type": "json_object"})))
    assert json.loads(said) == {"answer": "simulated answer to r-1"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "enum", "$ref", "anyOf", "minimum",
                         "maximum", "maxLength", "required", "minItems", "multipleOf", "const"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
BODY = st.dictionaries(
    st.sampled_from(["model", "messages", "input", "prompt", "n", "max_tokens", "tools",
                     "response_format", "text", "tool_choice", "dimensions", "instructions"]),
    JSON,
)  # fmt: skip


@given(BODY, st.sampled_from([CHAT, RESPONSES, EMBEDDINGS, "/v1/completions", "/v1/moderations"]))
def test_any_body_gets_a_reply(body: dict[str, Any], url: str) -> None:
    answer = SimulatedAnswerer(echo=True).answer_now(url, body, "r-1")
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize("bound", [{"minItems": 2**40, "type": "array"}, {"minLength": 2**40}])
def test_no_schema_fills_the_memory(bound: dict[str, Any]) -> None:
    shape = {"type": "json_schema", "json_schema": {"schema": bound}}
    answer = SimulatedAnswerer().answer_now(CHAT, chat("x", response_format=shape), "r-1")
    assert (answer.status_code, answer.body["error"]["code"]) == (400, "invalid_schema")


@given(JSON)
def test_any_schema_gets_a_reply(schema: Any) -> None:
    shape = {"type": "json_schema", "json_schema": {"schema": schema}}
    answer = SimulatedAnswerer().answer_now(CHAT, chat("x", response_format=shape), "r-1")
    assert answer.status_code in (200, 400)


def test_schema_without_an_end() -> None:
    shape = {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}
    answer = SimulatedAnswerer().answer_now(CHAT, chat("x", response_format=shape), "r-1")
    assert (answer.status_code, answer.body["error"]["code"]) == (400, "invalid_schema")


def test_wrong_types_name_the_place() -> None:
    answer = SimulatedAnswerer().answer_now(CHAT, chat("x", n="two"), "r-1")
    assert answer.status_code == 400
    assert answer.body["error"]["message"].endswith("Expected `int | null`, got `str` - at `$.n`.")


def test_the_same_for_the_same_request_and_seed() -> None:
    def moods(seed: int, key: str) -> list[str]:
        schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad", "mixed"]}}}
        shape = {"type": "json_schema", "json_schema": {"schema": schema}}
        answerer = SimulatedAnswerer(seed)
        bodies = [chat(f"film {n}", response_format=shape) for n in range(40)]
        return [text(ask(answerer, body, key=key)) for body in bodies]

    assert moods(1, "a") == moods(1, "b")
    assert moods(1, "a") != moods(2, "a")
    assert len(set(moods(1, "a"))) == 3


def test_cut_at_the_limit() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        choice = ask(SimulatedAnswerer(), chat("x", **{name: 2}))["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("simulate", "length")


def test_tool_calls() -> None:
    tool = {"type": "function", "function": {"name": "rate", "parameters": PERSON}}
    for choice in ("required", {"type": "function", "function": {"name": "rate"}}):
        body = ask(SimulatedAnswerer(), chat("x", tools=[tool], tool_choice=choice))
        message = body["choices"][0]["message"]
        assert (message["content"], body["choices"][0]["finish_reason"]) == (None, "tool_calls")
        [call] = message["tool_calls"]
        assert call["function"]["name"] == "rate"
        jsonschema_rs.validate(PERSON, json.loads(call["function"]["arguments"]))


def test_several_choices() -> None:
    body = ask(SimulatedAnswerer(), chat("x", n=3))
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]


def test_embeddings_follow_from_their_input() -> None:
    def vectors(**more: Any) -> list[Any]:
        body = {"model": "text-embedding-3-small", "input": ["a", "b", "a"], **more}
        return [d["embedding"] for d in ask(SimulatedAnswerer(), body, EMBEDDINGS)["data"]]

    a, b, again = vectors()
    assert a == again != b
    assert len(a) == 1536
    assert sum(x * x for x in a) == pytest.approx(1)
    assert len(vectors(dimensions=8)[0]) == 8
    packed = base64.b64decode(vectors(dimensions=8, encoding_format="base64")[0])
    assert struct.unpack("<8f", packed) == pytest.approx(vectors(dimensions=8)[0], abs=1e-6)
    large = {"model": "text-embedding-3-large", "input": [1, 2, 3]}
    assert len(ask(SimulatedAnswerer(), large, EMBEDDINGS)["data"][0]["embedding"]) == 3072


def test_the_client_reads_embeddings(bench: Bench) -> None:
    made = bench.client.embeddings.create(model="m", input=["a", "b"], dimensions=4)
    assert [len(d.embedding) for d in made.data] == [4, 4]
    assert made.usage.prompt_tokens == 2


def test_plausible_token_counts(bench: Bench) -> None:
    batch = bench.run(request_lines([chat("x" * 400)]))
    usage = bench.lines(batch.output_file_id)["r-1"]["response"]["body"]["usage"]
    assert usage["prompt_tokens"] == 104
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_responses_read_their_instructions_and_messages() -> None:
    body = {"model": "m", "instructions": "Be kind.", "input": [{"role": "user", "content": "hi"}]}
    answer = ask(SimulatedAnswerer(echo=True), body, RESPONSES)
    assert answer["output"][0]["content"][0]["text"] == "simulated answer to r-1: hi"
    assert answer["usage"]["input_tokens"] > 8
    assert "output_text" not in answer
