"""What an endpoint or a model refuses is said before anything is sent, everywhere alike."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI

from sqlite_utils_openai_batch.base.parameters import (
    INNER,
    PARAMETERS,
    outline,
    refusals,
    unknown,
)

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "requests" / "data" / "openai_parameters.json").read_text()
)
ASK = [{"role": "user", "content": "Hi"}]
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": ASK, **more}


def schema(inner: Any, **more: Any) -> dict[str, Any]:
    fields = {"name": "answer", "strict": True, "schema": inner, **more}
    return {"type": "json_schema", "json_schema": fields}


# Endpoint, body, the parameter that is refused, what is said of it.
WRONG: list[tuple[str, dict[str, Any], str, str]] = [
    (CHAT, chat(temperature="0.5"), "temperature",
     'temperature must be a number from 0 to 2, not the text "0.5"'),
    (CHAT, chat(temperature=5), "temperature", "temperature must be a number from 0 to 2, not 5"),
    (CHAT, chat(temperature=True), "temperature", "not true"),
    (CHAT, chat(top_p=-0.1), "top_p", "from 0 to 1, not -0.1"),
    (CHAT, chat(n=0), "n", "a whole number from 1 to 128, not 0"),
    (CHAT, chat(n=1.5), "n", "not 1.5"),
    (CHAT, chat(max_tokens="200"), "max_tokens", 'at least 1, not the text "200"'),
    (CHAT, chat(seed="x"), "seed", "a whole number"),
    (CHAT, chat(stop=["a"] * 5), "stop", "a list of 1 to 4 items, not 5 items"),
    (CHAT, chat(logprobs=1), "logprobs", "true or false, not 1"),
    (CHAT, chat(top_logprobs=2), "top_logprobs", "needs logprobs"),
    (CHAT, chat(service_tier="cheap"), "service_tier", "one of auto,"),
    (CHAT, chat(safety_identifier="x" * 65), "safety_identifier", "not 65 characters"),
    (CHAT, chat(metadata={"a": 1}), "metadata.a", "must be text"),
    (CHAT, chat(metadata={str(n): "" for n in range(17)}), "metadata", "16 pairs, not 17"),
    (CHAT, chat(max_tokens=5, max_completion_tokens=5), "max_tokens", "are the same"),
    (CHAT, chat(max_output_tokens=5), "max_output_tokens", "write max_completion_tokens"),
    (CHAT, chat(stream=True), "stream", "a batch doesn't stream"),
    (CHAT, chat(messages=[]), "messages", "at least 1 item"),
    (CHAT, chat(messages="Hi"), "messages", "a list"),
    (CHAT, chat(messages=["Hi"]), "messages[0]", "must be an object"),
    (CHAT, chat(messages=[{"role": "person", "content": "Hi"}]), "messages[0].role", "one of"),
    (CHAT, chat(messages=[{"content": "Hi"}]), "messages[0].role", "is missing"),
    (CHAT, chat(messages=[{"role": "user"}]), "messages[0].content", "is missing"),
    (CHAT, chat(messages=[{"role": "user", "content": 5}]), "messages[0].content", "not 5"),
    (CHAT, chat(tool_choice="auto"), "tool_choice", "needs tools beside it"),
    (CHAT, chat(logit_bias={"1": 5, "2": 101}), "logit_bias.2", "from -100 to 100, not 101"),
    (CHAT, chat(logit_bias={"1": "x"}), "logit_bias.1", 'not the text "x"'),
    # models
    (CHAT, chat(model="gpt-4o-mini", max_tokens=16_385), "max_tokens", "at most 16,384"),
    (CHAT, chat(model="gpt-4.1", max_completion_tokens=50_000), "max_completion_tokens", "32,768"),
    (CHAT, chat(model="o3", stop="x"), "stop", "it reasons"),
    (CHAT, chat(model="gpt-5-mini", stop=["x"]), "stop", "it reasons"),
    (CHAT, chat(model="gpt-5-mini", max_tokens=9), "max_tokens", "write max_completion_tokens"),
    (CHAT, chat(model="o3", max_tokens=9), "max_tokens", "write max_completion_tokens"),
    (CHAT, chat(model="openai/gpt-5.2", max_tokens=9), "max_tokens", "max_completion_tokens"),
    (CHAT, chat(model="gpt-5-mini", temperature=0), "temperature", "it reasons (only 1 is taken)"),
    (CHAT, chat(model="o4-mini-2025-04-16", top_p=0.5), "top_p", "it reasons"),
    (CHAT, chat(model="gpt-5.1", temperature=0, reasoning_effort="low"), "temperature", "reasons"),
    (CHAT, chat(model="gpt-5", reasoning_effort="xhigh"), "reasoning_effort",
     "it has minimal, low, medium, high"),
    (CHAT, chat(model="o3-mini", reasoning_effort="minimal"), "reasoning_effort", "it has low,"),
    (CHAT, chat(model="gpt-5.1", reasoning_effort="xhigh"), "reasoning_effort", "it has none,"),
    (CHAT, chat(model="gpt-5.2", reasoning_effort="huge"), "reasoning_effort", "one of none,"),
    (CHAT, chat(reasoning_effort="low"), "reasoning_effort", "it doesn't reason"),
    # what the answer looks like
    (CHAT, chat(response_format={"type": "object", "properties": {}}), "response_format",
     "is a bare JSON schema"),
    (CHAT, chat(response_format={"title": "S", "properties": {}, "type": "json_schema"}),
     "response_format", 'write {"type": "json_schema", "json_schema": {"name": "answer"'),
    (CHAT, chat(response_format={"$defs": {}, "anyOf": []}), "response_format", "bare"),
    (CHAT, chat(response_format={"type": "xml"}), "response_format", "text, json_object, json_sch"),
    (CHAT, chat(response_format={"type": "json_schema"}), "response_format", "is missing"),
    (CHAT, chat(response_format="json"), "response_format", "an object"),
    (CHAT, chat(response_format=schema(CLOSED, name="my schema")),
     "response_format.json_schema.name", "letters, digits"),
    (CHAT, chat(response_format=schema({**CLOSED, "required": []})),
     "response_format.json_schema.schema", "a isn't in it"),
    (CHAT, chat(response_format=schema({**CLOSED, "additionalProperties": True})),
     "response_format.json_schema.schema", '"additionalProperties": false'),
    (CHAT, chat(response_format=schema({
        **CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}})),
     "response_format.json_schema.schema", "at a[]"),
    (CHAT, chat(response_format=schema({"type": "array", "items": {"type": "string"}})),
     "response_format.json_schema.schema", 'type must be "object"'),
    (CHAT, chat(tools=[{"type": "function", "function": {
        "name": "f", "strict": True, "parameters": {**CLOSED, "required": []}}}]),
     "tools[0].function.parameters", "a isn't in it"),
    (CHAT, chat(response_format={"type": "json_object"}), "response_format", "the word JSON"),
    # other endpoints
    (RESPONSES, {"model": "gpt-4o", "input": "Hi", "max_tokens": 5}, "max_tokens",
     "write max_output_tokens"),
    (RESPONSES, {"model": "gpt-4o", "input": "Hi", "max_output_tokens": 5}, "max_output_tokens",
     "at least 16"),
    (RESPONSES, {"model": "gpt-4o", "input": "Hi", "response_format": {}}, "response_format",
     "write text.format"),
    (RESPONSES, {"model": "gpt-4o", "input": "Hi", "text": {"format": CLOSED}}, "text.format",
     "bare"),
    (RESPONSES, {"model": "o3", "input": "Hi", "reasoning": {"effort": "xhigh"}},
     "reasoning.effort", "it has low, medium, high"),
    (RESPONSES, {"model": "gpt-4o", "input": "Hi", "text": {"format": {"type": "json_object"}}},
     "text.format", "the word JSON"),
    (RESPONSES, {"model": "gpt-4o", "input": 5}, "input", "text or a list"),
    (EMBEDDINGS, {"model": "m", "input": ""}, "input", "is empty"),
    (EMBEDDINGS, {"model": "m", "input": []}, "input", "a list of 1 to 2048 items, not 0 items"),
    (EMBEDDINGS, {"model": "m", "input": ["a", ""]}, "input", "is empty"),
    (EMBEDDINGS, {"model": "m", "input": [True]}, "input", "texts, or lists of tokens"),
    (EMBEDDINGS, {"model": "m", "input": "a", "encoding_format": "int8"}, "encoding_format",
     "one of float, base64"),
    (EMBEDDINGS, {"model": "text-embedding-ada-002", "input": "a", "dimensions": 9}, "dimensions",
     "one size"),
    (EMBEDDINGS, {"model": "text-embedding-3-small", "input": "a", "dimensions": 1537},
     "dimensions", "at most 1,536"),
    ("/v1/moderations", {"input": []}, "input", "at least 1"),
    ("/v1/images/generations", {"prompt": "a", "quality": "best"}, "quality", "one of standard"),
    ("/v1/completions", {"model": "m", "prompt": "a", "best_of": 21}, "best_of", "from 0 to 20"),
]  # fmt: skip

RIGHT: list[tuple[str, dict[str, Any]]] = [
    (CHAT, chat(temperature=0, top_p=1, n=128, seed=None, stop="x", max_tokens=1)),
    (CHAT, chat(model="gpt-4o", max_tokens=16_384, stop="x", tool_choice="none")),
    (CHAT, chat(model="gpt-5", max_completion_tokens=128_000)),
    (CHAT, chat(n=2.0, logprobs=True, top_logprobs=20, logit_bias={"50256": -100})),
    (CHAT, chat(model="gpt-5-mini", temperature=1, max_completion_tokens=9)),
    (CHAT, chat(model="gpt-5.1", temperature=0, reasoning_effort="none")),
    (CHAT, chat(model="gpt-6", reasoning_effort="max", temperature=0.5, max_tokens=9)),
    (CHAT, chat(model="gpt-5.2", reasoning_effort="xhigh")),
    (CHAT, chat(response_format=schema(CLOSED))),
    (CHAT, chat(response_format=schema({"type": "object", "properties": {}}, strict=False))),
    (CHAT, chat(response_format={"type": "text"})),
    (CHAT, {"model": "m", "response_format": {"type": "json_object"},
            "messages": [{"role": "system", "content": "Use Json."}, *ASK]}),
    (CHAT, {"model": "m", "response_format": {"type": "json_object"}, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "as JSON"}]}]}),
    (CHAT, chat(messages=[{"role": "assistant", "tool_calls": []}, *ASK])),
    (RESPONSES, {"model": "gpt-4o", "input": [{"role": "user", "content": [
        {"type": "input_text", "text": "in json"}]}], "text": {"format": {"type": "json_object"}}}),
    (RESPONSES, {"model": "gpt-5", "input": "Hi", "reasoning": {"effort": "minimal"}}),
    (EMBEDDINGS, {"model": "text-embedding-3-large", "input": [[1, 2], [3]], "dimensions": 3072}),
    (EMBEDDINGS, {"model": "m", "input": [1, 2, 3]}),
    ("/v1/videos", {"prompt": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("endpoint", "body", "param", "said"), WRONG)
def test_refused(endpoint: str, body: dict[str, Any], param: str, said: str) -> None:
    found = [one for one in refusals(endpoint, body) if one.param == param]
    assert [said in one.message for one in found] == [True], found
    assert found[0].message.startswith(param)


@pytest.mark.parametrize(("endpoint", "body"), RIGHT)
def test_taken(endpoint: str, body: dict[str, Any]) -> None:
    assert list(refusals(endpoint, body)) == list(unknown(endpoint, body)) == []


@pytest.mark.parametrize("endpoint", PUBLISHED)
def test_the_table_is_what_is_published(endpoint: str) -> None:
    table, published = PARAMETERS[endpoint], PUBLISHED[endpoint]
    assert set(table) == set(published)
    for name, bounds in published.items():
        kinds = table[name]
        if "enum" in bounds and name != "model":
            assert bounds["enum"] in [list(kind.values) for kind in kinds], name
        for low, high in (("minimum", "maximum"), ("minItems", "maxItems")):
            if low in bounds:
                found = [(kind.low, kind.high) for kind in kinds]
                assert any(
                    kind_low >= bounds[low] and kind_high == bounds.get(high)
                    for kind_low, kind_high in found
                    if kind_low is not None
                ), name
    assert {name.partition(".")[0] for name in INNER.get(endpoint, {})} <= set(table)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("temprature", "Did you mean temperature?"),
        ("max_token", "Did you mean max_tokens?"),
        ("Seed", "Did you mean seed?"),
        ("zzz", "It may be newer than this program."),
    ],
)
def test_unknown_parameters_have_a_nearest_name(name: str, said: str) -> None:
    ((found, sentence),) = unknown(CHAT, chat(**{name: 1}))
    assert found == name
    assert sentence.startswith(f"{name} is not a parameter that is known of {CHAT}")
    assert said in sentence


def test_other_servers_have_parameters_of_their_own() -> None:
    body = chat(top_k=5, min_p=0.1, chat_template_kwargs={}, temprature=1)
    assert [name for name, _ in unknown(CHAT, body, elsewhere=True)] == ["temprature"]


def test_what_rows_decide_is_left_alone() -> None:
    body = chat(
        temperature="{{ warmth }}",
        metadata={"row": "{{ id }}"},
        messages=["{{ message | json }}", {"role": "{{ role }}", "content": "{{ text }}"}],
        response_format={"type": "json_object"},
    )
    assert list(refusals(CHAT, body, template=True)) == []
    assert list(refusals(CHAT, chat(temperature="{{ warmth }}")))


# The commands


ASKING = ("preview", "notes", "--prompt", "Say: {{ text }}")
REFUSED = {
    "hot": (("-o", "temperature", "hot"), 'temperature must be a number from 0 to 2, not the text'),
    "too hot": (("-o", "temperature", "5"), "temperature must be a number from 0 to 2, not 5"),
    "no such effort": (("-m", "gpt-5-mini", "-o", "reasoning_effort", "xhigh"),
                       'reasoning_effort "xhigh" is refused by gpt-5-mini: it has minimal, low'),
    "no whole number": (("-o", "n", "1.5"), "n must be a whole number from 1 to 128, not 1.5"),
    "a bare schema": (("-o", "response_format", '{"type": "object", "properties": {}}'),
                      "response_format is a bare JSON schema"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("command", ["preview", "run", "prepare", "try"])
def test_options_that_would_be_refused(
    run: Any, notes: Path, unchanged: Any, command: str, kind: str
) -> None:
    options, said = REFUSED[kind]
    there = () if command == "preview" else ("--base-url", run.base_url)
    yes = ("-y",) if command in ("run", "try") else ()
    check = unchanged(notes)
    told = run(command, notes, *ASKING[1:], *options, *there, *yes, code=1)
    check()
    assert told.err.startswith(f"Error: Each request would be refused: {said}")


def test_a_template_that_would_be_refused(run: Any, notes: Path) -> None:
    body = chat(model="gpt-5-mini", max_tokens=100, temperature=0)
    body["messages"] = [{"role": "user", "content": "Say: {{ text }}"}]
    Path("body.json").write_text(json.dumps(body))
    told = run("preview", notes, "notes", "--template", "body.json", code=1)
    assert "max_tokens is refused by gpt-5-mini: write max_completion_tokens" in told.err
    assert "temperature is refused by gpt-5-mini: it reasons (only 1 is taken)" in told.err


def test_unknown_options_are_sent_with_a_warning(run: Any, notes: Path) -> None:
    told = run("preview", notes, *ASKING[1:], "-o", "temprature", "0.5", "--raw")
    assert '"temprature":0.5' in told.out
    assert "Warning: temprature is not a parameter that is known of" in told.err
    assert "Did you mean temperature?" in told.err


def test_what_only_openai_refuses_is_a_warning_elsewhere(run: Any, notes: Path) -> None:
    options = ("-o", "stop", '["a", "b", "c", "d", "e"]')
    assert "not 5 items" in run("preview", notes, *ASKING[1:], *options, code=1).err
    told = run("preview", notes, *ASKING[1:], *options, "--base-url", "http://127.0.0.1:9/v1")
    assert "Warning: stop must be text or a list of 1 to 4 items" in told.err


def test_retry_sets_nothing_that_would_be_refused(run: Any, notes: Path, server: Any) -> None:
    run("run", notes, "notes", "--prompt", "[http 400] {{ text }}", *run.there, code=3)
    told = run("retry", notes, "1", "--set", "temperature=hot", "-y", code=1)
    assert "temperature must be a number" in told.err
    run("retry", notes, "1", "--set", "temperature=0.5", "-y", "--poll", "0.05", code=3)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ((), 1, "which wants the word JSON in a message"),
        (("-s", "Answer in json."), 0, ""),
        (("--endpoint", RESPONSES), 1, "text.format is JSON mode"),
        (("--prompt", "{{ text | json }}"), 1, "which wants the word JSON"),
        (("--base-url", "http://127.0.0.1:9/v1"), 0, "Warning: All rows would be refused by Open"),
    ],
)
def test_json_mode_wants_the_word(
    run: Any, notes: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    told = run("preview", notes, *ASKING[1:], "-o", "json_object", "1", *options, code=code)
    assert said in told.err
    assert "JSON mode" in told.err or not said


def test_json_mode_where_rows_say_the_word(run: Any, database: Any) -> None:
    db = database(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO notes VALUES (1, 'as JSON'), (2, 'in json');"
    )
    options = ("--prompt", "{{ text }}", "-o", "json_object", "1")
    assert "JSON mode" not in run("preview", db, "notes", *options).err
    with closing(sqlite3.connect(db)) as conn, conn:
        conn.execute("INSERT INTO notes VALUES (3, 'as XML')")
    assert "Warning: Some rows would be refused" in run("preview", db, "notes", *options).err


# validate, and the local batch server


def line(body: dict[str, Any], endpoint: str, custom_id: str = "a") -> str:
    request = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
    return json.dumps(request) + "\n"


@pytest.mark.parametrize(
    ("endpoint", "body", "param", "said"),
    [case for case in WRONG if "model" in case[1] or case[0] != CHAT],
)
def test_validate_says_it(
    run: Any, endpoint: str, body: dict[str, Any], param: str, said: str
) -> None:
    Path("requests.jsonl").write_text(line(body, endpoint))
    told = run("validate", "requests.jsonl", code=1)
    assert f"line 1      body.{param}" in told.out
    assert said in told.out


def test_validate_warns_once_of_an_unknown_parameter(run: Any) -> None:
    lines = [line(chat(temprature=1), CHAT, str(n)) for n in range(3)]
    Path("requests.jsonl").write_text("".join(lines))
    told = run("validate", "requests.jsonl")
    assert told.out == ""
    assert told.err.count("temprature") == 1
    assert "Warning: line 1 (in 3 lines): body.temprature is not a parameter" in told.err
    assert "Did you mean temperature?" in told.err


@pytest.mark.parametrize(
    "case", [WRONG[n] for n in (0, 1, 26, 31, 36, 43)], ids=lambda case: case[2]
)
def test_the_local_server_refuses_it(server: Any, case: Any) -> None:
    endpoint, body, param, said = case
    url = server.base_url + endpoint.removeprefix("/v1")
    reply = httpx2.post(url, json=body, headers={"Authorization": f"Bearer {server.key}"})
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (
        400, "invalid_request_error", param,
    )  # fmt: skip
    assert said in error["message"]


def test_a_batch_has_it_in_its_error_file(run: Any, server: Any) -> None:
    lines = [line(chat(), CHAT, "good"), line(chat(temperature=5), CHAT, "bad")]
    Path("requests.jsonl").write_text("".join(lines))
    with OpenAI(base_url=server.base_url, api_key=server.key) as client:
        file = client.files.create(file=Path("requests.jsonl"), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        server.wait_for(batch.id)
        batch = client.batches.retrieve(batch.id)
        assert batch.output_file_id and batch.error_file_id
        bad = json.loads(client.files.content(batch.error_file_id).text)
    assert bad["custom_id"] == "bad"
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["param"] == "temperature"


VALUES = st.sampled_from(
    (
        *(None, True, 0, 1, 1.0, 5, 2**70, "", "json", "\ud800", "gpt-5", "o3", [], ["a"], {}),
        *({"a": "b"}, {"type": "json_object"}, {"type": "text"}, schema(CLOSED), schema({})),
    )
)
TEXTS = st.text(max_size=5) | st.sampled_from(["json", "{{ a }}", '"\\']) | VALUES
MESSAGES = st.lists(
    st.fixed_dictionaries({"content": TEXTS}, optional={"role": VALUES | st.just("user")})
)
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["gpt-4o-mini", "gpt-5", "o3"]), "messages": MESSAGES | VALUES},
    optional=dict.fromkeys(
        ("temperature", "n", "max_tokens", "max_completion_tokens", "stream", "response_format",
         "top_logprobs", "logprobs", "metadata", "reasoning_effort", "stop", "tools"), VALUES
    ),
)  # fmt: skip


@settings(deadline=None)
@given(BODIES, st.text(), st.sampled_from([CHAT, RESPONSES]))
def test_bodies_of_one_outline_are_refused_alike(
    body: dict[str, Any], other: str, endpoint: str
) -> None:
    name = "messages" if endpoint == CHAT else "input"
    body = {**body, name: body["messages"]}
    if (before := outline(endpoint, body)) is None:
        return
    asked = body[name]
    words = isinstance(asked, str)
    texts = other if words else [{**message, "content": other} for message in asked]
    changed = {**body, name: texts}
    assert outline(endpoint, changed) == before
    assert list(refusals(endpoint, changed)) == list(refusals(endpoint, body))


@pytest.mark.parametrize("one, other", [(1, True), (1, 1.0), (0, False), ("1", 1)])
def test_an_outline_tells_values_that_are_equal_in_python(one: Any, other: Any) -> None:
    assert outline(CHAT, chat(n=one)) != outline(CHAT, chat(n=other))


def test_texts_that_decide_have_no_outline() -> None:
    assert outline(CHAT, chat(response_format={"type": "json_object"})) is None
    mode = {"format": {"type": "json_object"}}
    assert outline(RESPONSES, {"model": "m", "input": "Hi", "text": mode}) is None
    assert outline(RESPONSES, {"model": "m", "input": "Hi"}) is not None
    assert outline(RESPONSES, chat()) is None
    assert outline(CHAT, chat(messages=[{"role": "user", "content": [{"type": "text"}]}])) is None
