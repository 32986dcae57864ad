from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.errors import TemplateError, UsageError
from sqlite_utils_openai_batch.requests.body import build_body, parse_option
from sqlite_utils_openai_batch.requests.whole_body import parse_body

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"

REQUESTS = json.loads((Path(__file__).parent / "data" / "openai_requests.json").read_text())
NAMES = {
    CHAT: "CreateChatCompletionRequest",
    RESPONSES: "CreateResponse",
    EMBEDDINGS: "CreateEmbeddingRequest",
}


def known(schema: dict[str, Any]) -> set[str]:
    """The property names of a request schema, those of its parts included."""
    if "$ref" in schema:
        return known(REQUESTS["$defs"][schema["$ref"].rpartition("/")[2]])
    parts = [known(part) for part in schema.get("allOf", [])]
    return set(schema.get("properties", {})).union(*parts)


def check(endpoint: str, body: dict[str, Any]) -> None:
    """Validate a body against OpenAI's description of the endpoint's request."""
    schema = {"$ref": f"#/$defs/{NAMES[endpoint]}", "$defs": REQUESTS["$defs"]}
    jsonschema_rs.validate(schema, body)
    assert set(body) <= known(schema)


def build(
    endpoint: str = CHAT,
    model: str = "gpt-4o-mini",
    prompt: str | None = "{{ title }}",
    system: str | None = None,
    schema: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    return build_body(
        endpoint=endpoint,
        model=model,
        prompt=prompt,
        system=system,
        schema=AnswerSchema.parse(schema) if schema else None,
        options=options,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            {},
            {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "{{ title }}"}]},
        ),
        (
            {"system": "S", "json_object": True, "temperature": 0.1, "max_tokens": 9, "seed": 1},
            {
                "model": "gpt-4o-mini",
                "messages": [
                    {"role": "system", "content": "S"},
                    {"role": "user", "content": "{{ title }}"},
                ],
                "response_format": {"type": "json_object"},
                "temperature": 0.1,
                "max_tokens": 9,
                "seed": 1,
            },
        ),
        (
            {"endpoint": RESPONSES, "system": "S", "max_tokens": 90, "json_object": True},
            {
                "model": "gpt-4o-mini",
                "instructions": "S",
                "input": "{{ title }}",
                "text": {"format": {"type": "json_object"}},
                "max_output_tokens": 90,
            },
        ),
        (
            {
                "endpoint": RESPONSES,
                "model": "gpt-5-mini",
                "reasoning_effort": "low",
                "verbosity": "low",
                "json_object": True,
            },
            {
                "model": "gpt-5-mini",
                "input": "{{ title }}",
                "text": {"format": {"type": "json_object"}, "verbosity": "low"},
                "reasoning": {"effort": "low"},
            },
        ),
        (
            {"model": "o3-mini", "max_tokens": 9, "reasoning_effort": "high"},
            {
                "model": "o3-mini",
                "messages": [{"role": "user", "content": "{{ title }}"}],
                "max_completion_tokens": 9,
                "reasoning_effort": "high",
            },
        ),
        (
            {"endpoint": EMBEDDINGS, "model": "text-embedding-3-small", "dimensions": 256},
            {"model": "text-embedding-3-small", "input": "{{ title }}", "dimensions": 256},
        ),
        (
            {"json_object": False, "max_output_tokens": 5},
            {
                "model": "gpt-4o-mini",
                "messages": [{"role": "user", "content": "{{ title }}"}],
                "max_completion_tokens": 5,
            },
        ),
    ],
)
def test_bodies(arguments: dict[str, Any], expected: dict[str, Any]) -> None:
    body = build(**arguments)
    assert body == expected
    assert list(body) == list(expected)
    check(arguments.get("endpoint", CHAT), body)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_bodies_with_a_schema(endpoint: str) -> None:
    schema = AnswerSchema.parse("mood good|bad, score 0..1, tags list")
    body = build(endpoint, schema="mood good|bad, score 0..1, tags list", verbosity=None)
    fragment = schema.response_format(endpoint)
    assert {key: body[key] for key in fragment if key != "text"} == {
        key: value for key, value in fragment.items() if key != "text"
    }
    check(endpoint, build(endpoint, schema="mood good|bad, score 0..1, tags list"))


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize("detail", [None, "auto", "low", "high"])
def test_bodies_with_images(endpoint: str, detail: str | None) -> None:
    urls = ["https://example.com/a.png", "data:image/png;base64,AAAA"]
    body = build_body(
        endpoint=endpoint,
        model="gpt-4o-mini",
        prompt="What is this?",
        system="Be brief.",
        schema=None,
        options={},
        images=urls,
        detail=detail,
    )
    check(endpoint, body)
    parts = body["messages" if endpoint == CHAT else "input"][-1]["content"]
    shown = [part["image_url"] for part in parts[1:]]
    assert [one["url"] if endpoint == CHAT else one for one in shown] == urls


def test_options_do_not_leak_into_a_schema() -> None:
    schema = AnswerSchema.parse("mood good|bad")
    before = json.dumps(schema.response_format(RESPONSES))
    for verbosity in ("low", "high"):
        body = build_body(
            endpoint=RESPONSES,
            model="gpt-5",
            prompt="{{ x }}",
            system=None,
            schema=schema,
            options={"verbosity": verbosity},
        )
        assert body["text"]["verbosity"] == verbosity
        assert body["text"]["format"]["type"] == "json_schema"
    assert json.dumps(schema.response_format(RESPONSES)) == before


# options


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.2", 0.2),
        ("max_tokens", "700", 700),
        ("logprobs", "true", True),
        ("user", "someone", "someone"),
        ("user", '"12"', "12"),
        ("stop", '["a", "b"]', ["a", "b"]),
        ("logit_bias", '{"50256": -100}', {"50256": -100}),
        ("x", "NaN", "NaN"),
        ("x", "", ""),
        ("x", "null", None),
        ("json_object", "1", True),
        ("json_object", "true", True),
        ("json_object", "0", False),
    ],
)
def test_options_are_json_or_text(name: str, text: str, value: Any) -> None:
    parsed = parse_option(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_json_object_is_a_switch() -> None:
    with pytest.raises(UsageError, match="-o json_object is 1 or 0, not 'yes'"):
        parse_option("json_object", "yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": None}, "No prompt: give it by --prompt, or a whole body by --template."),
        (
            {"endpoint": "/v1/moderations"},
            "--prompt cannot be used in the body of /v1/moderations: give the whole body by "
            "--template.",
        ),
        (
            {"endpoint": EMBEDDINGS, "system": "S"},
            "--system cannot be used at /v1/embeddings: it answers with numbers.",
        ),
        (
            {"endpoint": EMBEDDINGS, "schema": "a"},
            "--schema cannot be used at /v1/embeddings: it answers with numbers.",
        ),
        (
            {"endpoint": EMBEDDINGS, "json_object": True},
            "-o json_object cannot be used at /v1/embeddings: it answers with numbers.",
        ),
        ({"messages": []}, "-o messages is set by --prompt and --system already."),
        ({"input": "x"}, "-o input is set by --prompt already."),
        (
            {"schema": "a", "json_object": True},
            "--schema and -o json_object both say what the answer looks like.",
        ),
        (
            {"schema": "a", "response_format": {"type": "text"}},
            "--schema and -o response_format both say what the answer looks like.",
        ),
        (
            {"json_object": True, "response_format": {"type": "text"}},
            "-o json_object and -o response_format mean the same: give one of them.",
        ),
    ],
)
def test_options_that_contradict_each_other(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(**arguments)
    assert str(caught.value) == message


# parameters and models


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("o1", {"temperature": 0.2}, "o1 takes no temperature: it reasons."),
        ("o3-mini", {"top_p": 0.5}, "o3-mini takes no top_p: it reasons."),
        ("o4-mini-2025-04-16", {"logprobs": True}, "o4-mini-2025-04-16 takes no logprobs"),
        ("gpt-5", {"presence_penalty": 1}, "gpt-5 takes no presence_penalty: it reasons."),
        ("openai/gpt-5-nano", {"temperature": 0}, "openai/gpt-5-nano takes no temperature"),
        ("ft:o4-mini:org::id", {"temperature": 0}, "ft:o4-mini:org::id takes no temperature"),
        ("gpt-5.1-codex", {"temperature": 0}, "gpt-5.1-codex takes no temperature"),
        ("gpt-5.2", {"temperature": 0, "reasoning_effort": "low"}, "gpt-5.2 takes no temperature"),
        ("gpt-5.2", {"top_p": 0.5, "reasoning": {"effort": "low"}}, "gpt-5.2 takes no top_p"),
        ("gpt-4o", {"reasoning_effort": "low"}, "gpt-4o takes no reasoning_effort: it doesn't"),
        ("gpt-4o", {"stream": True}, "gpt-4o takes no stream: a batch doesn't stream."),
        ("any", {"background": True}, "any takes no background: a batch runs in the background"),
    ],
)
def test_parameters_that_a_model_refuses(
    model: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        build(model=model, **options)
    assert str(caught.value).startswith(sentence)
    name = str(caught.value).split(" takes no ")[1].split(":")[0]
    assert str(caught.value).endswith(f" Leave out -o {name}.")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("gpt-4o-mini", {"temperature": 0, "top_p": 0.5, "logprobs": True}),
        ("gpt-4.1", {"temperature": 0}),
        ("gpt-5-chat-latest", {"temperature": 0}),
        ("gpt-5", {"temperature": 1, "top_p": 1, "presence_penalty": 0, "seed": 4}),
        ("gpt-5.1", {"temperature": 0}),
        ("gpt-5.2", {"temperature": 0, "reasoning_effort": "none"}),
        ("o3", {"reasoning_effort": "high", "stream": False}),
        ("llama3", {"temperature": 0, "reasoning_effort": "low", "verbosity": "x"}),
        ("gpt-oss-20b", {"temperature": 0, "reasoning_effort": "low"}),
        ("my-deployment", {"temperature": 0}),
    ],
)
def test_parameters_that_pass(model: str, options: dict[str, Any]) -> None:
    body = build(model=model, **options)
    assert {name: body[name] for name in options} == options


@pytest.mark.parametrize(
    ("endpoint", "model", "name", "sent"),
    [
        (CHAT, "gpt-4o-mini", "max_tokens", "max_tokens"),
        (CHAT, "gpt-4o-mini", "max_completion_tokens", "max_completion_tokens"),
        (CHAT, "gpt-5.2-chat-latest", "max_tokens", "max_completion_tokens"),
        (CHAT, "openai/o3", "max_tokens", "max_completion_tokens"),
        (CHAT, "llama3", "max_tokens", "max_tokens"),
        (RESPONSES, "o3", "max_tokens", "max_output_tokens"),
        (RESPONSES, "gpt-4o", "max_completion_tokens", "max_output_tokens"),
        (RESPONSES, "gpt-4o", "max_output_tokens", "max_output_tokens"),
    ],
)
def test_the_answer_limit_has_the_name_that_the_model_knows(
    endpoint: str, model: str, name: str, sent: str
) -> None:
    body = build(endpoint, model, **{name: 100})
    assert body[sent] == 100
    check(endpoint, body)


def test_one_parameter_by_two_names() -> None:
    with pytest.raises(TemplateError) as caught:
        build(model="o3", max_completion_tokens=1, max_tokens=2)
    assert str(caught.value) == (
        "max_tokens and max_completion_tokens are the same: give one of them."
    )
    with pytest.raises(TemplateError, match=r"reasoning_effort and reasoning\.effort are the same"):
        build(RESPONSES, "o3", reasoning={"effort": "low"}, reasoning_effort="high")
    body = build(RESPONSES, "o3", reasoning={"summary": "auto"}, reasoning_effort="high")
    assert body["reasoning"] == {"summary": "auto", "effort": "high"}


# whole bodies


def test_a_whole_body_is_json_or_yaml() -> None:
    expected = {"model": "m", "input": "{{ title }}\n", "logit_bias": {"1": 2}}
    assert parse_body(json.dumps(expected)) == expected
    assert parse_body("model: m\ninput: |\n  {{ title }}\nlogit_bias: {1: 2}\n") == expected
    assert parse_body("on: 2026-01-02") == {"true": "2026-01-02"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The template must be an object: the body of a request."),
        ("[1]", "The template must be an object: the body of a request."),
        ("{{ title }}", "The template, line 1: "),
        ("a: [", "The template, line 1: "),
        ("a: .nan", "The template can't be JSON: "),
        ("a: !!python/object/apply:os.system ['x']", "The template, line 1: "),
    ],
)
def test_a_whole_body_that_is_none(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_body(text)
    assert str(caught.value).startswith(message)
