"""A cap that is sent by itself where the schema bounds the answer, and is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.pricing.estimate import capped_by_schema
from sqlite_utils_openai_batch.pricing.tokens import available, count

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TEXT = {"type": "string"}
LIST: Any = {"type": "array", "items": {"enum": ["art", "war"]}}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "tokens"),
    [
        ("mood good|bad", 40),
        ("sure bool", 40),
        ("a int, b float, c 0..1", 140),
        (json.dumps(of(topics={**LIST, "maxItems": 3})), 70),
        (json.dumps(of(a={"anyOf": [{"const": "x"}, of(b={"type": "boolean"})]})), 50),
        ("mood " + "|".join(f"label {n}" for n in range(200)), 50),
        # nothing bounds these
        ("mood good|bad, why", None),
        ("topics list of art|war", None),
        (json.dumps(of(a={**TEXT, "maxLength": 9})), None),
        (json.dumps(of(a={"type": ["boolean", "string"]})), None),
        (json.dumps({**of(a={"enum": [1]}, b={"anyOf": [{"$ref": "#"}, {"type": "null"}]})}), None),
    ],
)
def test_what_a_schema_bounds(schema: str, tokens: int | None) -> None:
    assert AnswerSchema.parse(schema).enough_tokens() == tokens


def test_unions_that_double_take_no_time() -> None:
    defs: dict[str, Any] = {
        f"L{n}": {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"}] * 2} for n in range(99)
    }
    schema = {**of(a={"$ref": "#/$defs/L0"}), "$defs": {**defs, "L99": {"enum": [1, 2]}}}
    assert AnswerSchema(schema).enough_tokens() == 30


labels = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4)


@pytest.mark.skipif(not available(), reason="no wheel of toktok-rs for this Python")
@settings(max_examples=50, deadline=None)
@given(labels, st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_every_answer_fits(some: list[str], number: float, whole: int) -> None:
    schema = AnswerSchema(
        of(größe={"enum": some}, b={"type": "number"}, c={"type": "integer"}, d={"type": "boolean"})
    )
    answer = {"größe": max(some, key=len), "b": number, "c": whole, "d": False}
    texts = [json.dumps(answer, ensure_ascii=escaped, indent=2) for escaped in (True, False)]
    assert max(count(texts, "o200k_base")) <= (schema.enough_tokens() or 0)


MOOD = AnswerSchema.parse("mood good|bad")


@pytest.mark.parametrize(
    ("endpoint", "body", "capped"),
    [
        (CHAT, {"model": "gpt-4o-mini"}, {"max_tokens": 40}),
        (CHAT, {"model": "ft:gpt-4.1-nano:me::x"}, {"max_tokens": 40}),
        (CHAT, {"model": "gpt-5-chat-latest"}, {"max_completion_tokens": 40}),
        (RESPONSES, {"model": "gpt-4o"}, {"max_output_tokens": 40}),
        # it may think, or nobody knows whether it does
        *((CHAT, {"model": name}, None) for name in ("o3", "gpt-5-mini", "gpt-5.1", "qwen3", "")),
        # said otherwise
        (CHAT, {"model": "gpt-4o", "max_tokens": 500}, None),
        (CHAT, {"model": "gpt-4o", "max_completion_tokens": None}, None),
        (CHAT, {"model": "gpt-4o", "tools": [{}]}, None),
    ],
)
def test_which_bodies_are_capped(endpoint: str, body: dict[str, Any], capped: Any) -> None:
    found = capped_by_schema(body, endpoint, MOOD)
    assert found == (capped and {**body, **capped})
    assert capped_by_schema(body, endpoint, None) is None


ASK = ("notes", "--prompt", "{{ text }}", "-m", "gpt-4o-mini")


def test_preview_says_it(run: Any, notes: Path) -> None:
    said = run("preview", notes, *ask("mood good|bad")).err
    assert "answers ≤ 40 tokens, by the schema" in said
    assert "have no cap" not in said
    typed = run("preview", notes, *ask("mood good|bad"), "-o", "max_tokens", "70").err
    assert "(answers ≤ 70 tokens; " in typed
    free = run("preview", notes, *ask("mood good|bad, why")).err
    assert "by the schema" not in free
    assert "answers have no cap" in free


def ask(schema: str) -> tuple[str, ...]:
    """The options that ask by a schema."""
    return (*ASK, "--schema", schema)


def test_what_is_sent_has_it_and_like_finds_it_anew(run: Any, notes: Path, rows: Any) -> None:
    paid = ("--price-as", "gpt-4o-mini")
    run("run", notes, *ask("mood good|bad"), "--limit", "2", *paid, *run.there)
    run("run", notes, "--like", "1", "--schema", "mood good|bad, why", "--replace", "-y")
    run("run", notes, "--like", "1", "-o", "max_tokens", "99", "--replace", "-y")
    caps = rows(notes, "SELECT json_extract(template, '$.max_tokens') FROM openai_batch_jobs")
    assert caps == [(40,), (None,), (99,)]
    assert rows(notes, "SELECT count(mood) FROM notes") == [(2,)]
    run("run", notes, *ask("mood good|bad"), "--limit", "2", "--replace", *run.there)
    # nothing is paid there
    assert rows(
        notes, "SELECT template LIKE '%max_tokens%' FROM openai_batch_jobs WHERE id = 4"
    ) == [(0,)]
