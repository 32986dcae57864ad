"""Answer schemas: the short form, JSON schemas made strict, and answers checked."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers import strict
from sqlite_utils_openai_batch.answers.schema import AnswerSchema, read_json
from sqlite_utils_openai_batch.answers.strict import make_strict
from sqlite_utils_openai_batch.base.errors import SchemaError

TEXT, WHOLE, REAL = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def of(**properties: Any) -> dict[str, Any]:
    """A JSON schema with these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


# --- the short form -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "properties"),
    [
        ("name", {"name": TEXT}),
        (
            "name, age int, note: what to put here",
            {"name": TEXT, "age": WHOLE, "note": {**TEXT, "description": "what to put here"}},
        ),
        ("a str, b float, c bool", {"a": TEXT, "b": REAL, "c": {"type": "boolean"}}),
        (
            "categories list, summary",
            {"categories": {"type": "array", "items": TEXT}, "summary": TEXT},
        ),
        ("years list of int", {"years": {"type": "array", "items": WHOLE}}),
        ("x list of a|b c", {"x": {"type": "array", "items": {**TEXT, "enum": ["a", "b c"]}}}),
        ("mood good|bad|not sure", {"mood": {**TEXT, "enum": ["good", "bad", "not sure"]}}),
        ("mood  good |bad| not  sure ", {"mood": {**TEXT, "enum": ["good", "bad", "not sure"]}}),
        ("sure 0..1", {"sure": {**REAL, "minimum": 0, "maximum": 1}}),
        (
            "sure 0..1: how sure",
            {"sure": {**REAL, "minimum": 0, "maximum": 1, "description": "how sure"}},
        ),
        ("t -2.5..40", {"t": {**REAL, "minimum": -2.5, "maximum": 40.0}}),
        ("score 1..5 int", {"score": {**WHOLE, "minimum": 1, "maximum": 5}}),
        ("score 1..5 float", {"score": {**REAL, "minimum": 1, "maximum": 5}}),
        # With newlines, commas are text; a comma at a line's end is forgiven.
        ("a: one, two\n\n  b int,\n", {"a": {**TEXT, "description": "one, two"}, "b": WHOLE}),
        ("mood yes, please|no\nb", {"mood": {**TEXT, "enum": ["yes, please", "no"]}, "b": TEXT}),
        (
            "url: like https://example.com",
            {"url": {**TEXT, "description": "like https://example.com"}},
        ),
        ("mood str: good|bad", {"mood": {**TEXT, "description": "good|bad"}}),
        ("größe_2 int", {"größe_2": WHOLE}),
        (" a ,, b ", {"a": TEXT, "b": TEXT}),
    ],
)
def test_short_form(spec: str, properties: dict[str, Any]) -> None:
    schema = AnswerSchema.parse(spec)
    assert schema.json == {**of(**properties), "additionalProperties": False}
    assert [column.name for column in schema.columns] == list(properties)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "The answer schema is empty. Write fields like: category, score 1..5 int"),
        (" , \n", "The answer schema is empty. Write fields like: category, score 1..5 int"),
        (
            "age integer",
            '"age" has the unknown type "integer". Types are str, int, float, bool, list, a range '
            "like 0..1 or 1..5 int, or values like good|bad.",
        ),
        (
            "label: good|bad",
            'In "label: good|bad" the values stand where the description goes. For a choice write '
            '"label good|bad"; for a text with this description, "label str: good|bad".',
        ),
        ("good|bad", 'In "good|bad" there is no name before the values. Write: name good|bad'),
        (": what", 'In ": what" there is no name before the colon.'),
        ("a, b, a", 'The answer schema has "a" twice. Give one another name.'),
        ("x a||b", '"x" has an empty value in "a||b". Remove the extra |.'),
        ("x a|b|a", '"x" has the same value twice in "a|b|a".'),
        ("x str a|b", '"x str a|b" has a type and values. Write: x a|b'),
        ("x list a|b", '"x list a|b" has a type and values. Write: x list of a|b'),
        ("x 5..1", '"x" has the empty range 5..1. Put the lower end first.'),
        ("x 1.5..2 int", '"x" is an int, so its range 1.5..2 needs whole numbers.'),
        ("x list of list", '"x" is a list of lists. Write it as a JSON schema.'),
        ("a int\nb, c", 'In "b, c" there is a comma. Put each field on a line of its own.'),
        (
            "Name, name",
            '"Name" and "name" differ only by case, which SQLite columns can\'t. Rename one.',
        ),
    ],
)
def test_short_form_says_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        AnswerSchema.parse(spec)
    assert str(caught.value) == message


@given(st.text())
def test_any_text_is_a_schema_or_a_schema_error(spec: str) -> None:
    try:
        schema = AnswerSchema.parse(spec)
    except SchemaError as error:
        assert str(error)
    else:
        assert len(schema.columns) >= 1


def test_names_differing_in_non_ascii_case_are_two_columns() -> None:
    schema = AnswerSchema.parse("Été, été")
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute("CREATE TABLE t (" + ", ".join(f'"{c.name}"' for c in schema.columns) + ")")


# --- files --------------------------------------------------------------------------------------


def test_load_reads_a_file_or_takes_the_text(tmp_path: Any) -> None:
    short, full = tmp_path / "short.txt", tmp_path / "full.json"
    short.write_text("mood good|bad\nwhy: one sentence, no more\n")
    full.write_text("\ufeff" + json.dumps(of(mood=TEXT)), encoding="utf-8")
    assert AnswerSchema.load(str(short)).describe() == "mood (2 labels), why"
    assert AnswerSchema.load(str(full)).describe() == "mood"
    assert AnswerSchema.load("mood good|bad").describe() == "mood (2 labels)"
    assert AnswerSchema.load(json.dumps(of(mood=TEXT))).describe() == "mood"
    assert AnswerSchema.load("x" * 10_000).columns[0].name == "x" * 10_000


def test_load_names_a_missing_or_unreadable_file(tmp_path: Any) -> None:
    with pytest.raises(SchemaError, match=r"^--schema 'schema\.json': there is no such file\. "):
        AnswerSchema.load("schema.json")
    with pytest.raises(SchemaError, match=r"^--schema '\./schemas/film': there is no such file\. "):
        AnswerSchema.load("./schemas/film")
    image = tmp_path / "image.png"
    image.write_bytes(b"\x89PNG\xff")
    with pytest.raises(SchemaError, match="is a picture, no text"):
        AnswerSchema.load(str(image))
    latin = tmp_path / "labels.txt"
    latin.write_bytes("größe".encode("latin-1"))
    with pytest.raises(SchemaError, match="is not UTF-8 text"):
        AnswerSchema.load(str(latin))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1', "not valid JSON: Expecting ',' delimiter in line 1, column 8"),
        ('{"type": "object",\n "x" 1}', "in line 2, column 6"),
        ("[1]", "An answer schema is a JSON object"),
        ('"text"', "An answer schema is a JSON object"),
        ('{"a": ' + "[" * 100_000, "not valid JSON: nested too deeply"),
    ],
)
def test_json_text_that_is_no_schema(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message.replace("[", r"\[")):
        AnswerSchema.parse(text)


# --- JSON schemas, made strict ------------------------------------------------------------------


def test_optional_properties_become_nullable() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": TEXT,
            "nick": {"type": "string", "default": "-"},
            "size": {"enum": ["S", "M"]},
            "kind": {"const": "film"},
            "already": {"type": ["string", "null"]},
            "either": {"anyOf": [TEXT, WHOLE]},
            "person": {"$ref": "#/$defs/Person"},
        },
        "required": ["name"],
        "$defs": {"Person": {"type": "object", "properties": {"age": WHOLE}, "required": ["age"]}},
    }
    person = {**of(age=WHOLE), "additionalProperties": False}
    assert make_strict(schema) == {
        "type": "object",
        "properties": {
            "name": TEXT,
            "nick": {"type": ["string", "null"]},
            "size": {"type": ["string", "null"], "enum": ["S", "M", None]},
            "kind": {"type": ["string", "null"], "enum": ["film", None]},
            "already": {"type": ["string", "null"]},
            "either": {"anyOf": [TEXT, WHOLE, {"type": "null"}]},
            "person": {"anyOf": [{"$ref": "#/$defs/Person"}, {"type": "null"}]},
        },
        "required": ["name", "nick", "size", "kind", "already", "either", "person"],
        "additionalProperties": False,
        "$defs": {"Person": person},
    }


def test_the_given_schema_is_left_as_it_was() -> None:
    given_schema = {"type": "object", "properties": {"a": {"enum": ["x"]}}}
    copy = json.loads(json.dumps(given_schema))
    make_strict(given_schema)
    assert given_schema == copy


def test_a_description_beside_a_reference_is_kept() -> None:
    """As pydantic writes fields with a description; the API refuses siblings of $ref."""
    schema = {
        **of(author={"$ref": "#/$defs/Person", "description": "who wrote it"}),
        "$defs": {"Person": of(name=TEXT)},
    }
    assert make_strict(schema)["properties"]["author"] == {
        "description": "who wrote it",
        "anyOf": [{"$ref": "#/$defs/Person"}],
    }


def test_a_root_that_refers_to_a_definition() -> None:
    schema = AnswerSchema({"$ref": "#/definitions/Film", "definitions": {"Film": of(title=TEXT)}})
    assert schema.json["type"] == "object"
    assert schema.check('{"title": "Heat"}').values == ("Heat",)


def test_recursive_schemas() -> None:
    node = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    schema = AnswerSchema(of(name=TEXT, parent=node))
    assert [column.kind for column in schema.columns] == ["string", "object"]
    answer = '{"name": "a", "parent": {"name": "b", "parent": null}}'
    assert schema.check(answer).values == ("a", '{"name":"b","parent":null}')
    assert (
        schema.check('{"name":"a","parent":{"name":1,"parent":null}}').status == "schema_violation"
    )


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "items": TEXT}, "An answer is an object, not a list."),
        ({"type": "string"}, "An answer is an object."),
        ({}, "An answer is an object."),
        ({"anyOf": [of(a=TEXT)]}, "An answer is one object, no union."),
        ({"name": "x", "strict": True, "schema": of(a=TEXT)}, "This is a whole response_format."),
        ({"type": "object"}, 'The answer schema is an object without "properties".'),
        (of(a={"type": "object"}), '"a" is an object without "properties".'),
        (of(a={"type": "array"}), '"a" is a list of what?'),
        (of(a={"type": "array", "items": of(b={})}), '"a[].b" has no type.'),
        (of(a={"type": "text"}), "\"a\" has the unknown type 'text'."),
        (of(a=True), '"a" is True where a schema is needed'),
        (of(a={"type": "string", "enum": []}), '"a" has an enum without values.'),
        (of(a={"enum": True}), '"a" has an enum without values.'),
        (
            of(a={"oneOf": [TEXT]}),
            '"a" uses oneOf, which OpenAI\'s structured outputs don\'t know. Write "anyOf"',
        ),
        (of(a={"allOf": [TEXT, TEXT]}), '"a" uses allOf'),
        (of(a={**TEXT, "nullable": True}), 'Write "type": ["string", "null"] instead.'),
        (of(a={"type": "array", "items": TEXT, "uniqueItems": True}), '"a" uses uniqueItems'),
        (of(a=of(b={**TEXT, "if": TEXT})), '"a.b" uses if'),
        (of(a={**TEXT, "format": "uri"}), "\"a\" has the format 'uri'."),
        (of(a={**TEXT, "pattern": "^(?!x)"}), '"a" has a pattern that looks ahead or behind'),
        (of(a={**TEXT, "pattern": "("}), "The answer schema is not valid: "),
        (of(a={**REAL, "minimum": "0"}), "The answer schema is not valid: "),
        (
            {**of(a=TEXT), "additionalProperties": True},
            "The answer schema allows additionalProperties",
        ),
        (of(a={**of(b=TEXT), "additionalProperties": TEXT}), '"a" allows additionalProperties'),
        ({**of(a=TEXT), "required": ["b"]}, 'The answer schema has a "required"'),
        (of(a={"$ref": "#/$defs/B"}), '"a" refers to #/$defs/B, which isn\'t in the schema.'),
        (of(a={"$ref": "https://example.com/b"}), "\"a\" refers to 'https://example.com/b'."),
        (of(a={"$ref": "#b"}), "\"a\" refers to '#b'."),
        (
            {**of(a={"$ref": "#/$defs/B", "enum": [1]}), "$defs": {"B": TEXT}},
            '"a" has enum beside $ref.',
        ),
        (of(a={"anyOf": [TEXT], "type": "string"}), '"a" has type beside anyOf.'),
        (
            {**of(a={"$ref": "#/$defs/B"}), "$defs": {"B": {"$ref": "#/$defs/B"}}},
            "refers only to itself",
        ),
        (of(**{"": TEXT}), "The property name '' can't be a column."),
        (of(**{"a\0b": TEXT}), "The property name 'a\\x00b' can't be a column."),
        (of(**{"a\ud83d": TEXT}), "The answer schema is not valid: "),
    ],
)
def test_what_strict_mode_cannot_express(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        AnswerSchema(schema)
    assert message in str(caught.value)


def nested(levels: int) -> dict[str, Any]:
    return of(a=nested(levels - 1) if levels > 1 else TEXT)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (nested(11), "11 levels of objects; structured outputs take 10."),
        (
            of(**{f"p{n}": TEXT for n in range(5_001)}),
            "5,001 properties; structured outputs take 5,000.",
        ),
        (
            of(
                a={"enum": [f"v{n}" for n in range(600)]}, b={"enum": [f"v{n}" for n in range(401)]}
            ),
            "1,001 enum values; structured outputs take 1,000.",
        ),
        (
            of(a={"enum": [f"{n:061}" for n in range(251)]}),
            "15,311 characters in 251 values; structured outputs take 15,000.",
        ),
        (of(**{"x" * 120_001: TEXT}), "120,001 characters in names and values"),
    ],
)
def test_limits(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        AnswerSchema(schema)


def test_just_within_the_limits() -> None:
    AnswerSchema(nested(strict.MAX_NESTING))
    AnswerSchema(of(a={"enum": [f"{n:059}" for n in range(251)]}))


def test_nesting_is_counted_through_references() -> None:
    definitions = {f"L{n}": of(a={"$ref": f"#/$defs/L{n + 1}"}) for n in range(10)}
    schema = {**of(a={"$ref": "#/$defs/L0"}), "$defs": {**definitions, "L10": TEXT}}
    with pytest.raises(SchemaError, match="11 levels"):
        AnswerSchema(schema)


keywords = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "items",
        "anyOf",
        "enum",
        "const",
        "$ref",
        "$defs",
        "oneOf",
        "additionalProperties",
        "minimum",
        "pattern",
        "format",
        "description",
        "a",
        "b",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
words = st.sampled_from(["string", "object", "array", "integer", "null", "#", "#/$defs/a", "date"])
anything = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keywords, inner, max_size=5),
    max_leaves=15,
)
leaves = st.sampled_from(
    [
        *(TEXT, WHOLE, REAL, {"type": "boolean"}, {"type": ["string", "null"]}, {"enum": ["x", 1]}),
        *({"const": "x"}, {"$ref": "#/$defs/D"}, {"$ref": "#/$defs/D", "description": "d"}),
    ]
)
valid = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda variants: {"anyOf": variants}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda properties, some: {
                "properties": properties,
                "required": list(properties)[some:],
            },
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
            st.integers(0, 3),
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abc"), valid, min_size=1), st.integers(0, 3))
def test_strict_schemas_stay_as_they_are(properties: dict[str, Any], some: int) -> None:
    definitions = {"D": {"type": "object", "properties": {"d": {"$ref": "#/$defs/D"}}}}
    schema = {**of(**properties), "required": list(properties)[some:], "$defs": definitions}
    made = AnswerSchema(schema)
    assert make_strict(made.json) == made.json
    again = AnswerSchema.from_json(made.to_json())
    assert (again.json, again.columns) == (made.json, made.columns)
    assert len(made.describe().split(", ")) == len(properties)


@given(
    anything
    | st.builds(lambda p: of(**p), st.dictionaries(st.sampled_from("ab"), anything | valid))
)
@example({"type": "object", "properties": {"a": {"type": [{}]}}})
@example({"type": "object", "properties": {"a": {"type": "string"}}, "required": [[]]})
@example({"type": "object", "properties": {"a": {"anyOf": [{"$ref": 5}]}}})
def test_any_json_is_a_schema_or_a_schema_error(schema: Any) -> None:
    try:
        assert AnswerSchema(schema).columns
    except SchemaError as error:
        assert str(error)


# --- what is sent, and what people see ----------------------------------------------------------


def test_response_format() -> None:
    schema = AnswerSchema.parse("mood good|bad")
    sent = {"name": "answer", "strict": True, "schema": schema.json}
    chat = {"response_format": {"type": "json_schema", "json_schema": sent}}
    assert schema.response_format("/v1/chat/completions") == chat
    assert schema.response_format("/chat/completions") == chat
    responses = {"text": {"format": {"type": "json_schema", **sent}}}
    assert schema.response_format("/v1/responses") == responses
    with pytest.raises(
        SchemaError, match=r"^/v1/embeddings answers no schema\. Leave out --schema"
    ):
        schema.response_format("/v1/embeddings")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("category a|b|c|d|e|f, confidence 0..1", "category (6 labels), confidence 0..1"),
        ("categories list, summary", "categories list, summary"),
        ("a int, b float, c bool, d str", "a int, b float, c bool, d"),
        (
            "s 1..5 int, y list of int, t list of a|b",
            "s 1..5 int, y list of int, t list of (2 labels)",
        ),
        (json.dumps({"type": "object", "properties": {"a": WHOLE}}), "a int or null"),
        (json.dumps(of(a=of(b=TEXT), c={"const": "x"})), "a (object), c"),
        (json.dumps(of(a={"type": ["string", "integer"]})), "a (mixed)"),
        (json.dumps(of(a={"enum": ["x"]})), "a (1 label)"),
    ],
)
def test_describe(spec: str, words: str) -> None:
    assert AnswerSchema.parse(spec).describe() == words


# --- checking answers ---------------------------------------------------------------------------

FILM = AnswerSchema.parse(
    "category drama|comedy|not sure, confidence 0..1, tags list, year int, ok bool"
)
GOOD = {"category": "drama", "confidence": 0.5, "tags": ["a"], "year": 1972, "ok": True}


def answer(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def test_columns_and_values() -> None:
    assert [(c.name, c.sqlite_type, c.kind) for c in FILM.columns] == [
        ("category", "TEXT", "string"),
        ("confidence", "REAL", "number"),
        ("tags", "TEXT", "array"),
        ("year", "INTEGER", "integer"),
        ("ok", "INTEGER", "boolean"),
    ]
    checked = FILM.check(answer())
    assert (checked.status, checked.message, checked.note) == ("ok", None, None)
    assert checked.values == ("drama", 0.5, '["a"]', 1972, 1)
    assert [type(value) for value in checked.values] == [str, float, str, int, int]


def test_numbers_take_the_type_of_their_column() -> None:
    values = FILM.check(answer(confidence=1, year=1972.0, ok=False)).values
    assert values is not None
    assert (values[1], values[3], values[4]) == (1.0, 1972, 0)
    assert (type(values[1]), type(values[3]), type(values[4])) == (float, int, int)


def test_columns_of_a_json_schema() -> None:
    schema = AnswerSchema(
        {
            "type": "object",
            "properties": {
                "maybe": WHOLE,
                "either": {"type": ["integer", "number"]},
                "mixed": {"anyOf": [TEXT, WHOLE, {"type": "array", "items": WHOLE}]},
                "deep": {"$ref": "#/$defs/Deep"},
            },
            "required": ["either", "mixed", "deep"],
            "$defs": {"Deep": of(x=REAL)},
        }
    )
    assert [(c.sqlite_type, c.kind) for c in schema.columns] == [
        ("INTEGER", "integer"),
        ("REAL", "number"),
        ("TEXT", "mixed"),
        ("TEXT", "object"),
    ]
    rows = [
        schema.check(
            json.dumps({"maybe": None, "either": 2, "mixed": mixed, "deep": {"x": 1}})
        ).values
        for mixed in ("text", 5, [1, 2])
    ]
    assert rows == [
        (None, 2.0, "text", '{"x":1}'),
        (None, 2.0, "5", '{"x":1}'),
        (None, 2.0, "[1,2]", '{"x":1}'),
    ]


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (
            answer(confidence=1.4),
            "schema_violation",
            "confidence: 1.4 is greater than the maximum of 1",
        ),
        (
            answer(category="horror"),
            "schema_violation",
            'category: "horror" is not one of "drama", "comedy" or "not sure"',
        ),
        (answer(tags=["a", 5]), "schema_violation", 'tags[1]: 5 is not of type "string"'),
        (answer(year="1972"), "schema_violation", 'year: "1972" is not of type "integer"'),
        (
            answer(year=2**63),
            "schema_violation",
            "year: 9223372036854775808 is too large for SQLite",
        ),
        (answer(year=10**30), "schema_violation", f"year: 1{'0' * 30} is too large for SQLite"),
        (answer(ok=1), "schema_violation", 'ok: 1 is not of type "boolean"'),
        (
            answer(category=None),
            "schema_violation",
            'category: null is not of type "string" (and 1 more)',
        ),
        (
            answer(more=1),
            "schema_violation",
            "Additional properties are not allowed ('more' was unexpected)",
        ),
        ("{}", "schema_violation", '"category" is a required property (and 4 more)'),
        ("[]", "schema_violation", '[] is not of type "object"'),
        ("null", "schema_violation", 'null is not of type "object"'),
        ("", "invalid_json", "the answer is not valid JSON"),
        ("Sure! Here it is.", "invalid_json", "the answer is not valid JSON"),
        (answer() + " I hope this helps.", "invalid_json", "the answer is not valid JSON"),
        (answer()[:-1], "invalid_json", "the answer is not valid JSON"),
        ('{"year": NaN}', "invalid_json", "the answer is not valid JSON"),
        ("[" * 200 + "]" * 200, "schema_violation", None),
        ("[" * 202 + "]" * 202, "invalid_json", "the answer is not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "invalid_json", "the answer is not valid JSON"),
    ],
)
def test_answers_that_break_the_schema(text: str, status: str, message: str | None) -> None:
    checked = FILM.check(text)
    assert (checked.values, checked.status) == (None, status)
    assert checked.message == message or message is None
    assert len(checked.message or "") < 400


def test_a_long_value_is_cut_in_the_message() -> None:
    message = FILM.check(answer(category="x" * 100_000)).message
    assert message is not None
    assert message.startswith('category: "xxxxx')
    assert len(message) < 320


def test_a_number_beyond_real_is_a_violation() -> None:
    schema = AnswerSchema.parse("x float")
    assert schema.check('{"x": 1' + "0" * 400 + "}").status == "schema_violation"
    assert schema.check('{"x": 1e999}').status == "schema_violation"
    assert schema.check('{"x": 1' + "0" * 30 + "}").values == (1e30,)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("```json\n", "\n```"),
        ("```\n", "\n```\n"),
        ("\n```JSON \r\n", "\r\n```  "),
        ("```json\n", "```"),
    ],
)
def test_a_code_fence_is_accepted_with_a_note(before: str, after: str) -> None:
    checked = FILM.check(before + answer() + after)
    assert checked.values == ("drama", 0.5, '["a"]', 1972, 1)
    assert checked.note == "the JSON was taken out of a code fence"


def test_a_fence_of_nothing_is_not_accepted() -> None:
    assert FILM.check("```\n```").status == "invalid_json"


def test_lone_surrogates_and_nul_can_be_stored() -> None:
    schema = AnswerSchema.parse("a, b list")
    values = schema.check('{"a": "\\ud83d cut\\u0000", "b": ["\\ude00"]}').values
    assert values == ("\ufffd cut\0", '["\ufffd"]')


@given(st.text() | st.binary().map(lambda b: b.decode("utf-8", "replace")))
def test_any_answer_is_checked_without_an_error(text: str) -> None:
    assert FILM.check(text).status in ("ok", "invalid_json", "schema_violation")


json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
films = st.fixed_dictionaries(
    {
        "category": st.sampled_from(["drama", "comedy", "not sure"]),
        "confidence": st.floats(0, 1) | st.integers(0, 1),
        "tags": st.lists(st.text()),
        "year": st.integers(-(2**63), 2**63 - 1),
        "ok": st.booleans(),
    }
)


@given(films)
def test_every_valid_answer_fits_a_strict_table(film: dict[str, Any]) -> None:
    values = FILM.check(json.dumps(film)).values
    assert values is not None
    with closing(sqlite3.connect(":memory:")) as conn:
        columns = ", ".join(f'"{c.name}" {c.sqlite_type} NOT NULL' for c in FILM.columns)
        conn.execute(f"CREATE TABLE t ({columns}) STRICT")
        conn.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", values)
        row = conn.execute("SELECT * FROM t").fetchone()
    assert row[0] == film["category"]
    assert row[1] == film["confidence"]
    assert json.loads(row[2]) == [tag.encode("utf-8", "replace").decode() for tag in film["tags"]]
    assert row[3:] == (film["year"], int(film["ok"]))


@given(films, st.sampled_from(sorted(GOOD)), json_values)
def test_a_changed_answer_is_valid_only_if_its_type_is(film: Any, name: str, value: Any) -> None:
    checked = FILM.check(json.dumps({**film, name: value}))
    kinds = {
        "category": str,
        "confidence": int | float,
        "tags": list,
        "year": int | float,
        "ok": bool,
    }
    if not isinstance(value, kinds[name]) or (isinstance(value, bool) and name != "ok"):
        assert checked.status in ("schema_violation", "invalid_json")


def test_read_json_notes_a_fence_only() -> None:
    assert read_json(' {"a": 1} ') == ({"a": 1}, None)
    assert read_json("```\n[1]\n```") == ([1], "the JSON was taken out of a code fence")
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json("[" * 202 + "]" * 202)


# --- the documentation ----------------------------------------------------------------------------

DOCS = (Path(__file__).parents[2] / "docs" / "schemas.md").read_text(encoding="utf-8")


def test_the_documented_short_forms_fill_the_documented_columns() -> None:
    rows = re.findall(r"^\| `(.+)` \| .+ \| (TEXT|INTEGER|REAL) \|$", DOCS, re.MULTILINE)
    assert len(rows) == 11
    for field, sqlite_type in rows:
        (column,) = AnswerSchema.parse(field.replace("\\|", "|")).columns
        assert (field, column.sqlite_type) == (field, sqlite_type)


def test_the_documented_examples() -> None:
    films = AnswerSchema.parse(re.findall(r"--schema '(.+)'", DOCS)[0])
    assert f"\nschema  {films.describe()}\n" in DOCS
    answer = re.findall(r"^(\{.+\})$", DOCS, re.MULTILINE)[0]
    expected = ('["crime","drama"]', "dark", 0.1, "A mafia saga.")
    assert films.check(answer).values == expected
    director = AnswerSchema.parse(re.findall(r"```json\n(.+?)\n```\n", DOCS, re.DOTALL)[0])
    answer = re.findall(r"^`(\{.+\})` becomes$", DOCS, re.MULTILINE)[0]
    expected = (1974, '{"name":"F. F. Coppola","born":1939}', None)
    assert director.check(answer).values == expected
    lines = re.findall(r"  ```\n(.+?)\n  ```", DOCS, re.DOTALL)[0]
    assert AnswerSchema.parse(lines).describe() == "mood (3 labels), why"
