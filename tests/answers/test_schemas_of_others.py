"""Schemas as other programs write them: converted, or refused at once for their true reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.answers.strict import flattened, make_strict
from sqlite_utils_openai_batch.base.errors import SchemaError

Schema = dict[str, Any]
TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


def of(**properties: Any) -> Schema:
    """A JSON schema with these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def closed(**properties: Any) -> Schema:
    """The same, as it is sent."""
    return {**of(**properties), "additionalProperties": False}


def refusal(schema: Any) -> str:
    """Why a schema is refused."""
    with pytest.raises(SchemaError) as caught:
        AnswerSchema.parse(schema) if isinstance(schema, str) else AnswerSchema(schema)
    return str(caught.value)


# --- allOf of one, as Pydantic 1 writes a field of another model


PERSON = {"Person": of(name=TEXT)}


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ({"allOf": [{"$ref": "#/definitions/Person"}]}, {"$ref": "#/definitions/Person"}),
        (
            {"title": "Author", "default": {}, "allOf": [{"$ref": "#/definitions/Person"}]},
            {"title": "Author", "anyOf": [{"$ref": "#/definitions/Person"}]},
        ),
        ({"allOf": [{"type": "integer", "minimum": 1}], "maximum": 5},
         {"type": "integer", "minimum": 1, "maximum": 5}),
        ({"allOf": [{"allOf": [{**TEXT, "description": "inner"}]}], "description": "outer"},
         {**TEXT, "description": "outer"}),
        ({"type": "array", "items": {"allOf": [TEXT]}}, {"type": "array", "items": TEXT}),
        ({"type": "string", "allOf": [TEXT]}, TEXT),
    ],
)  # fmt: skip
def test_all_of_one(field: Schema, sent: Schema) -> None:
    strict = make_strict({**of(author=field), "definitions": PERSON})
    assert strict["properties"]["author"] == sent


def test_a_root_that_is_all_of_one() -> None:
    schema = {"allOf": [{"$ref": "#/$defs/A"}], "title": "Film"}
    defs = {"A": {"$ref": "#/$defs/B"}, "B": of(a=TEXT)}
    assert make_strict({**schema, "$defs": defs})["properties"] == {"a": TEXT}


def test_an_optional_field_by_all_of_may_be_null() -> None:
    person = {"allOf": [{"$ref": "#/definitions/Nobody"}]}
    nobody = {"anyOf": [of(name=TEXT), {"allOf": [{"type": "null"}]}]}
    schema = {"type": "object", "properties": {"a": person}, "definitions": {"Nobody": nobody}}
    assert make_strict(schema)["properties"]["a"] == {"$ref": "#/definitions/Nobody"}


@pytest.mark.parametrize(
    "field", [{"allOf": [TEXT, {"maxLength": 5}]}, {"allOf": [TEXT], "type": "integer"}]
)
def test_all_of_that_says_more_than_one_thing_is_refused(field: Schema) -> None:
    assert refusal(of(a=field)).startswith('"a" uses allOf, which')


# --- oneOf with a discriminator, as Pydantic 2 writes a union


def variant(kind: str, required: bool = True, **properties: Any) -> Schema:
    """One of several shapes, told by its `kind`."""
    shape = of(kind={"const": kind, "default": kind, "title": "Kind", **TEXT}, **properties)
    return shape if required else {**shape, "required": list(properties)}


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_one_of_with_a_discriminator(required: bool, named: bool) -> None:
    cat, dog = variant("cat", required, lives=WHOLE), variant("dog", required, breed=TEXT)
    defs = {"Cat": cat, "Dog": dog}
    variants = [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}] if named else [cat, dog]
    mapping = {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}
    pet = {"oneOf": variants, "discriminator": {"propertyName": "kind", "mapping": mapping}}
    schema = AnswerSchema({**of(pet=pet), "$defs": defs})
    assert "oneOf" not in schema.to_json()
    assert "discriminator" not in schema.to_json()
    assert schema.describe() == "pet (object)"
    assert schema.check('{"pet": {"kind": "dog", "breed": "pug"}}').status == "ok"
    for wrong in ({"kind": None, "breed": "pug"}, {"kind": "cat", "breed": "pug"}, {"lives": 9}):
        assert schema.check(json.dumps({"pet": wrong})).status == "schema_violation"


def test_a_list_of_one_of() -> None:
    items = {"oneOf": [variant("a"), variant("b")], "discriminator": {"propertyName": "kind"}}
    schema = AnswerSchema(of(all={"type": "array", "items": items}))
    assert schema.check('{"all": [{"kind": "b"}, {"kind": "a"}]}').status == "ok"
    assert schema.check('{"all": [{"kind": "c"}]}').status == "schema_violation"


def test_other_one_of_is_refused() -> None:
    root = {"oneOf": [variant("a"), variant("b")], "discriminator": {"propertyName": "kind"}}
    assert refusal(root).startswith("An answer is one object, no union.")
    assert refusal(of(a={"oneOf": [TEXT, WHOLE]})).endswith('Write "anyOf" instead.')


# --- $ref beside other keywords


def test_what_a_reference_only_says_again_is_left_out() -> None:
    beside = {"$ref": "#/$defs/B", "type": "string", "maxLength": 5, "x-order": 1, "default": ""}
    strict = make_strict({**of(a=beside), "$defs": {"B": {**TEXT, "maxLength": 5}}})
    assert strict["properties"]["a"] == {"$ref": "#/$defs/B"}


@pytest.mark.parametrize(
    ("beside", "keyword"),
    [({"enum": ["x"]}, "enum"), ({"type": "integer"}, "type"), ({"maxLength": 6}, "maxLength")],
)
def test_what_a_reference_does_not_say_is_refused(beside: Schema, keyword: str) -> None:
    schema = {**of(a={"$ref": "#/$defs/B", **beside}), "$defs": {"B": {**TEXT, "maxLength": 5}}}
    assert refusal(schema) == (f'"a" has {keyword} beside $ref. Write it into #/$defs/B instead.')


def test_a_root_that_refers_and_says_otherwise_is_refused() -> None:
    schema = {"$ref": "#/$defs/A", "required": ["b"], "$defs": {"A": of(a=TEXT, b=TEXT)}}
    assert refusal(schema) == (
        "The answer schema has required beside $ref. Write it into #/$defs/A instead."
    )
    for loop in ({"$ref": "#"}, {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}):
        assert "refers only to itself" in refusal(loop)


# --- unions of references, again and again


def doubling(levels: int, last: Schema) -> Schema:
    """Each union refers to the next one twice, in two ways."""
    defs: Schema = {f"L{levels}": last}
    for n in range(levels):
        defs[f"L{n}"] = {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"}, {"$ref": f"#/$defs/M{n}"}]}
        defs[f"M{n}"] = {"anyOf": [{"$ref": f"#/$defs/L{n + 1}"}, {"type": "boolean"}]}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/L0"}}}
    return {**schema, "$defs": defs}


@pytest.mark.parametrize(
    ("last", "fits"),
    [(TEXT, '"x"'), (of(b=WHOLE), '{"b": 1}'), ({"anyOf": [of(b=TEXT), WHOLE]}, '{"b": "x"}')],
)
def test_unions_that_double_take_no_time(last: Schema, fits: str) -> None:
    schema = AnswerSchema(doubling(150, last))
    assert schema.columns[0].kind == "mixed"
    assert "L149" in schema.to_json()
    for value, status in ((fits, "ok"), ("true", "ok"), ("null", "ok"), ("[]", "schema_violation")):
        assert schema.check(f'{{"a": {value}}}').status == status


def test_circles_of_unions_are_still_refused() -> None:
    schema = doubling(5, {"anyOf": [TEXT, {"$ref": "#/$defs/M0"}]})
    assert "refers only to itself" in refusal(schema)


NAMES = ("A", "B", "C")
nodes = st.recursive(
    st.sampled_from([TEXT, WHOLE, {"type": "null"}, *({"$ref": f"#/$defs/{n}"} for n in NAMES)]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        inner.map(lambda one: {"type": "array", "items": one}),
        st.dictionaries(st.sampled_from(["p", "anyOf"]), inner, min_size=1).map(lambda d: of(**d)),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.sampled_from(["x", 1, None]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["p", "anyOf"]), inner)
    ),
    max_leaves=5,
)


@given(nodes, st.fixed_dictionaries(dict.fromkeys(NAMES, nodes)), st.lists(values, min_size=1))
def test_a_flattened_schema_allows_the_same(field: Schema, defs: Schema, some: list[Any]) -> None:
    try:
        strict = make_strict({**of(a=field), "$defs": defs})
    except SchemaError:
        return  # it refers only to itself
    one, other = map(jsonschema_rs.Draft202012Validator, (strict, flattened(strict)))
    for value in some:
        assert one.is_valid({"a": value}) == other.is_valid({"a": value})


# --- numbers beyond 64 bits


@pytest.mark.parametrize("limit", [2**64, -(2**63) - 1, 10**30, 2**128 - 1])
def test_limits_beyond_64_bits_become_floats(limit: int) -> None:
    text = json.dumps(of(a={"type": "integer", "maximum": limit, "minimum": -limit}))
    schema = AnswerSchema.parse(text)
    assert json.loads(schema.to_json())["properties"]["a"]["maximum"] == float(limit)
    assert isinstance(schema.json["properties"]["a"]["maximum"], float)


@pytest.mark.parametrize("key", ["minimum", "maximum", "exclusiveMaximum", "multipleOf"])
@pytest.mark.parametrize("number", ["1e400", "-1e999", "9" * 400])
def test_limits_beyond_all_numbers_are_refused(key: str, number: str) -> None:
    text = f'{{"type": "object", "properties": {{"a": {{"type": "number", "{key}": {number}}}}}}}'
    assert refusal(text) == f'"a" has a {key} that no number reaches. Leave it out.'


@pytest.mark.parametrize(
    "node",
    [
        {"enum": [1, 2**63]},
        {"const": -(2**63) - 1},
        {"enum": [10**50]},
        {"anyOf": [{"const": {"id": [2**64]}}, {"type": "null"}]},
    ],
)
def test_labels_beyond_64_bits_are_refused(node: Schema) -> None:
    assert "a number beyond 64 bits, which SQLite can't hold." in refusal(json.dumps(of(a=node)))


def test_labels_of_64_bits_are_taken() -> None:
    schema = AnswerSchema(of(a={"enum": [-(2**63), 2**63 - 1]}))
    assert schema.check(json.dumps({"a": 2**63 - 1})).values == (2**63 - 1,)


# --- what is not a schema, and objects without properties


@pytest.mark.parametrize(
    "text", ["true", " null\n", "5", "-1.5e3", "false", '"a"', "[]", "\ufeff0"]
)
def test_json_that_is_no_object_is_no_short_form(run: Any, notes: Path, text: str) -> None:
    Path("schema.json").write_text(text)
    said = run(
        "preview", notes, "notes", "--prompt", "{{ text }}", "--schema", "schema.json", code=1
    )
    assert said.err.startswith("Error: An answer schema is a JSON object, not ")
    assert json.dumps(json.loads(text.strip("\ufeff \n"))) in said.err


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (of(a={"type": "object", "properties": {}}), '"a"'),
        (of(), "The answer schema"),
        (of(a=TEXT, b={"type": "array", "items": {"type": "object", "properties": {}}}), '"b[]"'),
        ({**of(a={"$ref": "#/$defs/C"}), "$defs": {"C": {"properties": {}}}}, '"C"'),
    ],
)
def test_an_object_of_nothing_is_refused_for_that(schema: Schema, where: str) -> None:
    assert refusal(schema).startswith(f'{where} is an object whose "properties" are empty: ')
