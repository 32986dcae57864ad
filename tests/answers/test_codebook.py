"""Codebooks: from a researcher's table to schema and instructions."""

from __future__ import annotations

from typing import Any

import pytest

from sqlite_utils_openai_batch.answers.codebook import Codebook
from sqlite_utils_openai_batch.base.errors import SchemaError

TABLE = '''\
variable,label,definition,example,several,ordered
mood,,how the writer feels,,,yes
mood,bad,"They complain, or send it back.","""Never again.""",,
mood,mixed,Good and bad in one.,,,
mood,good,They are content.,Best boots ever,,
topics,price,The price is named.,,yes,
topics,fit,How it fits.,,,
stars,1..5,how many stars they would give,,,
sure,0..1,,,,
'''

SCHEMA = {
    "mood": {
        "type": "string",
        "enum": ["bad", "mixed", "good"],
        "description": "how the writer feels",
    },
    "topics": {"type": "array", "items": {"type": "string", "enum": ["price", "fit"]}},
    "stars": {
        "type": "integer",
        "minimum": 1,
        "maximum": 5,
        "description": "how many stars they would give",
    },
    "sure": {"type": "number", "minimum": 0.0, "maximum": 1.0},
}

YAML = """\
variables:
  mood:
    definition: how the writer feels
    ordered: yes
    labels:
      bad:
        definition: They complain, or send it back.
        example: '"Never again."'
      mixed: Good and bad in one.
      good: {definition: They are content., example: Best boots ever}
  topics:
    several: yes
    labels:
      - price: The price is named.
      - label: fit
        definition: How it fits.
  stars: {range: 1..5, definition: how many stars they would give}
  sure:
    range: 0..1
"""

LISTED = """\
- variable: mood
  definition: how the writer feels
  ordered: yes
- variable: mood
  label: bad
  definition: They complain, or send it back.
  example: '"Never again."'
- {variable: mood, label: mixed, definition: Good and bad in one.}
- {variable: mood, label: good, definition: They are content., example: Best boots ever}
- {variable: topics (several), label: price, definition: The price is named.}
- {variable: topics, label: fit, definition: How it fits.}
- {variable: stars, range: 1..5, definition: how many stars they would give}
- {variable: sure, label: 0..1}
"""


@pytest.mark.parametrize(
    "text",
    [TABLE, TABLE.replace(",", ";").replace("complain;", "complain,"), YAML, LISTED],
    ids=["csv", "semicolons", "yaml", "lines of yaml"],
)
def test_one_codebook_written_in_several_ways(text: str) -> None:
    book = Codebook.parse(text)
    assert book.schema()["properties"] == SCHEMA
    assert book == Codebook.parse(YAML)
    assert [one.ordered for one in book.variables] == [True, None, None, None]


def test_the_instructions_are_the_codebook_word_by_word() -> None:
    assert Codebook.parse(YAML).instructions() == (
        "Code what you are given by this codebook.\n"
        "\n"
        "mood: how the writer feels. Choose one label.\n"
        "- bad: They complain, or send it back.\n"
        '  Example: "Never again."\n'
        "- mixed: Good and bad in one.\n"
        "- good: They are content.\n"
        "  Example: Best boots ever\n"
        "If nothing fits well, choose the label whose definition comes closest.\n"
        "\n"
        "topics: Choose every label that applies.\n"
        "- price: The price is named.\n"
        "- fit: How it fits.\n"
        "If nothing fits, give an empty list.\n"
        "\n"
        "stars: how many stars they would give. Give a whole number from 1 to 5.\n"
        "If nothing fits well, give the number that comes closest.\n"
        "\n"
        "sure: Give a number from 0 to 1.\n"
        "If nothing fits well, give the number that comes closest."
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("m,good,\nm,other,", "If nothing fits, choose other."),
        ("m,good,\nm,n/a,", "If nothing fits, choose n/a."),
        ("m,0,bad\nm,1,good", "If nothing fits well, choose the label whose definition comes"),
    ],
)
def test_what_to_choose_when_nothing_fits(rows: str, said: str) -> None:
    assert said in Codebook.parse(f"variable,label,definition\n{rows}").instructions()


def test_what_to_choose_may_be_named() -> None:
    book = Codebook.parse("variable,label,otherwise\nm,,so so\nm,good,\nm,so so,")
    assert "If nothing fits, choose so so." in book.instructions()


@pytest.mark.parametrize(
    ("label", "schema"),
    [
        ("text", {"type": "string"}),
        ("", {"type": "string"}),
        ("yes/no", {"type": "boolean"}),
        ("0..10", {"type": "integer", "minimum": 0, "maximum": 10}),
        ("1-7", {"type": "integer", "minimum": 1, "maximum": 7}),
        ("1 to 7", {"type": "integer", "minimum": 1, "maximum": 7}),
        ("-1.5..2", {"type": "number", "minimum": -1.5, "maximum": 2.0}),
        ("0..100 float", {"type": "number", "minimum": 0.0, "maximum": 100.0}),
        ("0..1 int", {"type": "integer", "minimum": 0, "maximum": 1}),
        ("good|bad", {"type": "string", "enum": ["good", "bad"]}),
    ],
)
def test_what_stands_in_the_place_of_a_label(label: str, schema: dict[str, Any]) -> None:
    book = Codebook.parse(f"variable,label\nm,{label}\n")
    assert book.schema()["properties"]["m"] == schema


def test_codes_are_numbers_in_their_order() -> None:
    book = Codebook.parse("variable,label,definition\nm,-1,bad\n,0,neither\n,1,good")
    assert book.schema()["properties"]["m"] == {"type": "integer", "enum": [-1, 0, 1]}


def test_it_is_kept_and_read_back() -> None:
    book = Codebook.parse(YAML)
    assert Codebook.from_data(book.to_data()) == book
    for broken in ([{"name": "m"}], [3], [{"nme": 1, "labels": []}], "text"):
        assert Codebook.from_data(broken) is None


def test_braces_in_a_codebook_are_no_placeholders() -> None:
    book = Codebook.parse("variable,label,definition\nm,a,{{ x }}\nm,b,")
    assert book.template() == f"{{% raw %}}{book.instructions()}{{% endraw %}}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "B is empty. Its first line names the columns: variable,label,definition,example"),
        ("variable,label\n", "B is empty."),
        ("variable,defintion,label\nm,a,b", "B, line 1: the column 'defintion' is not one of a"),
        ("text,label\nm,a", "B, line 1: there is no column 'variable'."),
        ("variable,meaning\nm,a", "B, line 1: there is no column 'label'."),
        ("variable,label,label\nm,a,b", "B, line 1: two columns are the label."),
        ("variable,label\n,a\n", "B, line 2: no variable is named."),
        ("variable,label\nm,a\nm,b\nm,A\n", "B, line 4: m has the label 'A' twice, first in line"),
        ("variable,label\nm,a\n", "B, line 2: m has one label only ('a')"),
        ("variable,label\nm,a\nM,b\n", "B, line 3: 'M' and 'm' differ only in capitals."),
        ("variable,label\nm,5..1\n", "B, line 2: the range 5..1 of m is empty."),
        ("variable,label\nm,0.5..1 int\n", "B, line 2: 0.5..1 int of m needs whole numbers."),
        ("variable,label\nm,1..5\nm,good\n", "B, line 2: m has a range (1..5) and labels."),
        ("variable,label\nm,a,b\n", "B, line 2: 3 cells, and the first line names 2."),
        ("variable,label,several\nm,a,perhaps\nm,b,\n", "B, line 2: 'several' is yes or no"),
        ("variable,label,otherwise\nm,a,c\nm,b,\n", "B, line 2: 'c' is not a label of m."),
        ('variable,label\nm,"a\n', "B, line 2: m has one label only"),
        (
            "m:\n  labels: [a, b]\n  defnition: x\n",
            "B, line 3: 'defnition' is not a part of it. Did",
        ),
        ("m:\n  labels: [a, b]\nm: x\n", "B, line 3: 'm' is there twice."),
        ("m:\n  labels: {a: {colour: x}, b: y}\n", "B, line 2: a label has a definition and an"),
        ("- label: a\n", "B, line 1: no variable is named."),
        ("- a\n", "B, line 1: write names with values here"),
        ("m: [a\n", "B, line 2: neither CSV nor YAML"),
        ("just words", "B, line 1: a codebook is a table"),
        ("m:\n  definition: [a, b]\n", "B, line 2: write a text here."),
    ],
)
def test_a_bad_codebook_is_told_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(SchemaError) as told:
        Codebook.parse(text, "B")
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)
