from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import TemplateError, UnrenderableRow
from sqlite_utils_openai_batch.requests.body import build_body
from sqlite_utils_openai_batch.requests.placeholders import read_slot
from sqlite_utils_openai_batch.requests.template import Renderer, Template
from sqlite_utils_openai_batch.requests.whole_body import parse_body
from sqlite_utils_openai_batch.tables.hashing import source_hash, source_hashes
from sqlite_utils_openai_batch.tables.sql import SQLiteValue

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COLUMNS = ("id", "title", "overview", "photo", "tags", "Movie Title", "self", "items", "row")
GOLDEN = Path(__file__).parent / "golden"


def chat(prompt: str, system: str | None = None, **options: Any) -> Template:
    body = build_body(
        endpoint=CHAT, model="m", prompt=prompt, system=system, schema=None, options=options
    )
    return Template(body, CHAT)


def bound(prompt: str, system: str | None = None) -> Renderer:
    return chat(prompt, system).bind(COLUMNS, "movies")


def content(prompt: str, **row: SQLiteValue) -> Any:
    """Render a prompt over columns given by name, NULL for the others."""
    renderer = bound(prompt)
    values = [row.get(column) for column in renderer.columns]
    return renderer.body(values)["messages"][-1]["content"]


def error_of(prompt: str, **row: SQLiteValue) -> str:
    renderer = bound(prompt)
    with pytest.raises(UnrenderableRow) as caught:
        renderer.line("x", [row.get(column) for column in renderer.columns])
    return str(caught.value)


# lines


def test_a_line() -> None:
    renderer = bound("{{ title }}: {{ overview }}", "You catalogue films.")
    assert renderer.columns == ("title", "overview")
    assert (
        renderer.line("abc-7", ["Léon", 'He said "no"\n'])
        == (
            '{"custom_id":"abc-7","method":"POST","url":"/v1/chat/completions","body":{"model":"m",'
            '"messages":[{"role":"system","content":"You catalogue films."},'
            '{"role":"user","content":"Léon: He said \\"no\\"\\n"}]}}\n'
        ).encode()
    )
    assert renderer.body(["a", "b"]) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "You catalogue films."},
            {"role": "user", "content": "a: b"},
        ],
    }


ANY_TEXT = st.text(st.characters() | st.sampled_from("\u2028\u2029\x85\n\r\0\"\\{}%#\ud800<&'"))


def sent(text: str) -> str:
    """What arrives: lone surrogates can't be said in UTF-8."""
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)


@settings(deadline=None)
@given(ANY_TEXT, ANY_TEXT)
@example("{{ 7 * 7 }}{% raw %}", "{# no #}")
@example("\ud83d\ude00", "\U0001f600")
@example("x" * 1_000_000, "\u2028" * 10)
@pytest.mark.parametrize(
    "prompt",
    [
        "{{ title }} = {{ row['overview'] }}",
        "{% if true %}{{ title }}{% endif %} = {{ overview }}",
    ],
)
def test_any_text_is_one_line_with_exactly_its_value(prompt: str, a: str, b: str) -> None:
    line = bound(prompt, "é\u2028").line("x-1", [a, b])
    assert json.loads(line)["body"]["messages"][1]["content"] == f"{sent(a)} = {sent(b)}"
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
    assert orjson_like(line)


def orjson_like(line: bytes) -> bool:
    """Whether a line is compact, and leaves characters as they are unless they end lines."""
    data = json.loads(line)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for mark in "\u2028\u2029\x85":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text.replace("\x7f", "\x7f") + "\n" == line.decode()


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="{")))
@example("a\r\nb\rc\n")
@example("\n")
def test_the_text_of_a_template_stays_as_it_is(text: str) -> None:
    assert content(text + "{{ title }}" + text, title="T") == sent(text + "T" + text)
    assert content(text + "{% if title %}T{% endif %}" + text, title="T") == sent(text + "T" + text)


def test_keys_are_not_rendered_and_values_at_any_depth_are() -> None:
    body = {
        "input": [{"{{ title }}": ["{{ title }}", {"x": "{{ id }}"}], "n": 1, "b": True, "z": None}]
    }
    renderer = Template(body, "/v1/moderations").bind(COLUMNS)
    assert renderer.columns == ("id", "title")
    assert renderer.body([5, "T"]) == {
        "input": [{"{{ title }}": ["T", {"x": "5"}], "n": 1, "b": True, "z": None}]
    }


def test_the_custom_id_is_json_too() -> None:
    line = bound("{{ title }}").line('a"\u2028', ["T"])
    assert line.startswith(b'{"custom_id":"a\\"\\u2028","method"')


# values


def test_null_is_empty_text_whatever_is_done_with_it() -> None:
    assert (
        content("[{{ title }}|{{ row.title }}|{{ title | upper }}|{{ title ~ 'x' }}]") == "[|||x]"
    )
    assert content("{{ [title, 'b'] | join(',') }} {{ title | default('none') }}") == ",b none"
    assert content("{% if title is none %}none{% endif %}{{ title == none }}") == "nonetrue"
    assert content("{% if title %}yes{% else %}no{% endif %}{{ title or 'x' }}") == "nox"
    assert content("{{ [title, 1] }} {{ title | json }}!") == "[null,1] null!"
    assert content("{% for t in title %}x{% endfor %}{{ title | length }}") == "0"


def test_numbers_are_written_plainly() -> None:
    assert content("{{ id }} {{ title }}", id=2**62, title=0.1) == "4611686018427387904 0.1"
    assert content("{{ id }}", id=1e22) == "1e+22"
    assert content("{{ id + 1 }} {{ '%.2f' | format(title) }}", id=1, title=2.345) == "2 2.35"


def test_json_alone_is_a_native_value() -> None:
    cases: list[tuple[SQLiteValue, Any]] = [
        (None, None),
        (5, 5),
        (0.5, 0.5),
        ("text", "text"),
        ("12", "12"),
        ("null", "null"),
        ('"x"', '"x"'),
        ('["a", 1, null]', ["a", 1, None]),
        (' {"a": {"b": "\u2028"}}\n', {"a": {"b": "\u2028"}}),
        ("[not json", "[not json"),
        ("{", "{"),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
    ]
    for value, expected in cases:
        for prompt in ("{{ tags | json }}", "{{ row['tags'] | tojson }}", "{{ (tags) | json }}"):
            assert content(prompt, tags=value) == expected
    assert content("{{ (tags | fromjson)[:2] | json }}", tags="[1, null, 3]") == [1, None]
    assert content("{{ row | json }}", id=1, title="T")["title"] == "T"


def test_json_within_text_is_text() -> None:
    assert content("a {{ tags | json }}", tags='{"a":  "é"}') == 'a {"a":"é"}'
    assert content("{{ tags | json }}\n", tags="x") == '"x"\n'
    assert content("{{ tags | json | upper }}", tags="x") == '"X"'


def test_json_of_what_has_no_json() -> None:
    assert error_of("{{ id | json }}", id=float("inf")) == "inf can't be JSON."
    assert error_of("{{ tags | json }}", tags="[" * 500 + "]" * 500).startswith(
        "This can't be JSON: Recursion limit reached"
    )
    assert "no JSON for fromjson" in error_of("{{ tags | fromjson }}", tags="[1,")


def test_loops_over_json_columns() -> None:
    prompt = (
        "{% for t in tags | fromjson %}{{ loop.index }}. {{ t.name }}"
        "{{ '; ' if not loop.last }}{% endfor %}"
    )
    tags = json.dumps([{"name": "drama"}, {"name": None}, {"name": "sci-fi"}])
    assert content(prompt, tags=tags) == "1. drama; 2. ; 3. sci-fi"
    assert content("{{ tags | fromjson | map('upper') | join(' ') }}", tags='["a","b"]') == "A B"
    assert content("{{ tags | fromjson }}", tags='{"a": [true, null]}') == '{"a":[true,null]}'


def test_any_column_name_can_be_written() -> None:
    assert content('{{ row["Movie Title"] }}', **{"Movie Title": "T"}) == "T"
    assert content("{{ row.items }} {{ items }}", items="I") == "I I"
    assert content('{{ row["row"] }} {{ row["self"] }}', row="R", self="S") == "R S"
    assert content(
        "{% for k, v in row.items() if v %}{{ k }}={{ v }} {% endfor %}", id=1, title="T"
    ) == ("id=1 title=T ")


def test_data_is_never_rendered_again() -> None:
    data = "{{ 7 * 7 }}{% for i in range(9) %}{# x #}"
    for prompt in (
        "{{ title }}",
        "{{ title | trim }}",
        "{{ title | json }}",
        "{% if title %}{{ title }}{% endif %}",
        "{{ title ~ '' }}",
        "{{ [title] | join }}",
    ):
        assert content(prompt, title=data) == data


def test_nothing_is_escaped_for_html() -> None:
    data = "<b> & \"'"
    for prompt in (
        "{{ title }}",
        "{{ title | json }}",
        "{{ title ~ '' }}",
        "{{ title | replace('x', 'y') }}",
    ):
        assert content(prompt, title=data) == data
    assert content("{{ title | tojson }}.", title="<&>'") == '"<&>\'".'
    assert content("{{ title | e ~ '<' }}", title="<") == "&lt;<"


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ photo }}",
        "{{ photo | upper }}",
        "{{ photo | json }}",
        "{{ photo ~ '' }}",
        "{{ [photo] }}",
        "{{ [photo] | join }}",
        "{{ row | json }}",
        "{{ photo | string }}",
        "{% if photo %}{{ photo }}{% endif %}",
        "{{ '%s' | format(photo) }}",
    ],
)
def test_a_blob_in_text_costs_its_row_and_names_the_column(prompt: str) -> None:
    assert (
        error_of(prompt, photo=b"\x89PNG") == "photo holds a BLOB, which cannot be put into text."
    )


def test_a_blob_can_be_tested() -> None:
    prompt = "{{ title }}{% if photo %} has a photo of {{ photo | length }} bytes{% endif %}"
    assert content(prompt, title="T", photo=b"abc") == "T has a photo of 3 bytes"
    assert content(prompt, title="T", photo=None) == "T"
    assert content(prompt, title="T", photo=b"") == "T"


def test_what_fails_for_one_row_says_where() -> None:
    assert error_of("{{ title + 1 }}", title="x") == (
        'The prompt can\'t be rendered: TypeError: can only concatenate str (not "int") to str.'
    )
    assert error_of("{{ 1 // id }}", id=0).startswith("The prompt can't be rendered: ZeroDivision")
    assert error_of("{{ (tags | fromjson).nmae }}", tags="{}") == (
        "The prompt can't be rendered: 'dict object' has no attribute 'nmae'."
    )


# the two paths

PIECES = st.sampled_from(
    [
        "{{ title }}",
        "{{title|upper}}",
        "{{ overview | lower | trim }}",
        "{{ row['Movie Title'] }}",
        '{{ row["Movie Title"] | trim | upper }}',
        "{{ row.overview | capitalize }}",
        "{{ id | string }}",
        "{{ id | json }}",
        "{{ title | json | upper }}",
        "{{ row['overview'] | tojson }}",
        "{# a comment #}",
        "{% raw %}{{ raw }}{% endraw %}",
        "{{- title -}}",
    ]
) | st.text(st.characters(exclude_characters="{", exclude_categories=["Cs"]), max_size=8)
VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | ANY_TEXT
    | st.sampled_from(['{"a": [1, null]}', "[]", " \n", "ß", "İ", "[{"])
    | st.binary(max_size=2)
)


@settings(deadline=None)
@given(
    st.lists(PIECES, max_size=5).map("".join),
    st.fixed_dictionaries(dict.fromkeys(("id", "title", "overview", "Movie Title"), VALUES)),
)
def test_the_fast_path_and_jinja_make_the_same_text(text: str, row: dict[str, SQLiteValue]) -> None:
    slot = read_slot(text, "The prompt", tuple(row), "movies")
    if slot is None:
        assert "{" not in text
        return
    fast = slot.fast(tuple(row))
    assert fast is not None
    assert outcome(fast, tuple(row.values())) == outcome(
        slot.jinja(tuple(row)), tuple(row.values())
    )


@settings(deadline=None)
@given(
    st.lists(PIECES, max_size=5).map("".join),
    st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=5),
)
def test_many_lines_are_the_lines_one_by_one(
    text: str, rows: list[tuple[SQLiteValue, ...]]
) -> None:
    names = ("id", "title", "overview", "Movie Title")
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "user": "{{ id }}%"}
    try:
        renderer = Template(body, CHAT).bind(names)
    except TemplateError:
        return
    read = [tuple(row[names.index(name)] for name in renderer.columns) for row in rows]
    expected: list[bytes] | None
    try:
        expected = [renderer.line(f"a-{n}", row) for n, row in enumerate(read, 7)]
    except UnrenderableRow:
        expected = None
    assert lines_or_none(renderer, read) == expected
    blank = [index for index, row in enumerate(read) if renderer.is_blank(row)]
    assert renderer.blanks(list(zip(*read, strict=True))) == blank
    assert source_hashes(read) == [source_hash(row) for row in read]


def lines_or_none(renderer: Renderer, rows: list[tuple[SQLiteValue, ...]]) -> list[bytes] | None:
    try:
        made = renderer.lines("a-", range(7, 7 + len(rows)), list(zip(*rows, strict=True)))
    except UnrenderableRow:
        return None
    lines = made.all()
    assert made.sizes() == list(map(len, lines))
    assert [made.line(index) for index in range(len(rows))] == lines
    return lines


def outcome(text: Any, row: Sequence[SQLiteValue]) -> tuple[str, str]:
    try:
        return "text", text(row)
    except UnrenderableRow as error:
        return "error", str(error)


@pytest.mark.parametrize(
    "prompt", ["{% if id %}{{ title }}{% endif %}", "{{ title | default('x') }}", "{{ id + 1 }}"]
)
def test_what_is_not_plain_goes_through_jinja(prompt: str) -> None:
    slot = read_slot(prompt, "The prompt", COLUMNS, None)
    assert slot is not None
    assert slot.fast(COLUMNS) is None


# columns


def test_the_columns_that_a_template_reads() -> None:
    renderer = bound(
        "{% if tags == 'x' %}{{ overview }}{% endif %}{{ row['Movie Title'] }}", "{{ id }}"
    )
    assert renderer.columns == ("id", "overview", "tags", "Movie Title")
    assert renderer.prompt_columns == ("overview", "Movie Title")
    assert bound("{% if title %}yes{% endif %}").prompt_columns == ("title",)
    assert bound("{{ overview if title else '-' }}").prompt_columns == ("overview",)
    assert bound("{% for t in tags %}{{ t }}{% endfor %}").prompt_columns == ("tags",)
    assert bound("{% set x = title %}{{ x }}").prompt_columns == ("title",)
    assert bound("{% for title in tags %}{{ title }}{% endfor %}").columns == ("tags",)
    assert bound("{{ row }}").columns == COLUMNS
    assert bound("{{ row[title] }}").columns == COLUMNS


def test_system_texts_and_labels_say_nothing_about_blankness() -> None:
    body = {
        "model": "{{ id }}",
        "instructions": "{{ title }}",
        "metadata": {"key": "{{ id }}"},
        "user": "{{ id }}",
        "input": [
            {"role": "developer", "content": "{{ tags }}"},
            {"role": "user", "content": [{"type": "input_text", "text": "{{ overview }}"}]},
        ],
    }
    renderer = Template(body, RESPONSES).bind(COLUMNS)
    assert renderer.columns == ("id", "title", "overview", "tags")
    assert renderer.prompt_columns == ("overview",)
    renderer = bound("What is this?", "{% if id %}{{ title }}{% endif %}")
    assert renderer.columns == ("id", "title")
    assert renderer.prompt_columns == ("title",)
    assert bound("{% if id %}?{% endif %}", "{{ title }}").prompt_columns == ("id",)


def test_blank_rows() -> None:
    renderer = bound("{{ title }} {{ overview }}", "{{ id }}")
    assert renderer.columns == ("id", "title", "overview")
    for title, overview in [(None, None), ("", " \t\n\u2003"), (None, b"")]:
        assert renderer.is_blank([1, title, overview])
    for title in ("x", 0, 0.0, b"\x00", ".\n"):
        assert not renderer.is_blank([1, title, None])
    assert not renderer.is_blank([1, None, "x"])


# templates that can't be used


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            "{{ overviw }}",
            "No column 'overviw' in movies. Did you mean overview? Columns: overview, Movie Title, "
            "row, id, self, title, photo, items, tags.",
        ),
        (
            "{% if titel %}{{ title }}{% endif %}",
            "No column 'titel' in movies. Did you mean title?",
        ),
        ("{{ title if x9 else '' }}", "No column 'x9' in movies. Columns: "),
        ("{{ row['titel'] }}", "No column 'titel' in movies. Did you mean title?"),
        ("{{ row.titel }}", "No column 'titel' in movies. Did you mean title?"),
        (
            "{% for t in tgas %}{{ t }}{% endfor %}",
            "No column 'tgas' in movies. Did you mean tags?",
        ),
        ("{{ title | default(titel) }}", "No column 'titel' in movies."),
        ("{{ row.keys }}{{ title }}", "No column 'keys' in movies."),
        ("{{ Title }}", "No column 'Title' in movies. Did you mean title?"),
        ("{{ self }}", 'The prompt: write {{ row["self"] }} for the column self.'),
        (
            "Movie Title",
            "The prompt has no placeholder, so each row would be asked the same. "
            "Name a column in it, like {{ id }}. Columns: id, title, overview, photo, tags, "
            "Movie Title, self, items, row.",
        ),
        ("{{ 1 + 1 }}", "The prompt has no placeholder"),
        ("{{ title", "The prompt, line 1: unexpected end of template"),
        (
            "\n\n{{ Movie Title }}",
            "The prompt, line 3: expected token 'end of print statement', got 'Title'; "
            'a name with spaces is written {{ row["the name"] }}.',
        ),
        ("{% if title %}", "The prompt, line 1: Unexpected end of template"),
        ("{{ title | uper }}", "The prompt, line 1: No filter named 'uper'. Did you mean upper?"),
        ("{{ title | random }}", "The prompt, line 1: No filter named 'random'."),
        ("{{ title | _each }}", "The prompt, line 1: No filter named '_each'."),
        ("{% include title %}", "The prompt, line 1: include has no place here."),
        ("{% import 'x' as x %}", "The prompt, line 1: import has no place here."),
        ("{% extends title %}", "The prompt, line 1: extends has no place here."),
        ("{% block x %}{% endblock %}", "The prompt, line 1: block has no place here."),
        ("{% macro x() %}{% endmacro %}", "The prompt, line 1: macro has no place here."),
        (
            "{% for x in title recursive %}{{ loop(x) }}{% endfor %}",
            "The prompt, line 1: a recursive loop has no place here.",
        ),
        (
            "{% autoescape true %}{{ title }}{% endautoescape %}",
            "The prompt, line 1: autoescape has no place here.",
        ),
        ("{% set row = 1 %}{{ title }}", "The prompt: row is the row itself"),
        ("{{ title.__class__ }}", "The prompt, line 1: __class__ has no place here."),
        ("{{ title['__class__'] }}", "The prompt, line 1: __class__ has no place here."),
        (
            "{{ " + "(" * 500 + "title" + ")" * 500 + " }}",
            "The prompt: the template is nested too deep.",
        ),
        ("{{ title | each of }}", "The prompt, line 1: "),
        (
            "{% if title %}" * 120 + "x" + "{% endif %}" * 120,
            "The prompt: the template is nested too deep.",
        ),
    ],
)
def test_errors_before_the_first_row(prompt: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        bound(prompt)
    assert str(caught.value).startswith(message)
    assert not isinstance(caught.value, UnrenderableRow)


def test_errors_name_the_place() -> None:
    with pytest.raises(TemplateError, match="The system text, line 2: "):
        bound("{{ title }}", "\n{{ }}")
    body = {"messages": [{"role": "user", "content": [{"text": "{{ title"}]}]}
    with pytest.raises(TemplateError, match=r"^messages\[0\]\.content\[0\]\.text, line 1: "):
        Template(body, CHAT).bind(COLUMNS)
    with pytest.raises(
        TemplateError, match=r"Name a column in it, like \{\{ row\[\"a b\"\] \}\}\."
    ):
        Template({"input": "?"}, RESPONSES).bind(["a b"])
    with pytest.raises(TemplateError, match=r"^No column 'x'. Columns: a\.$"):
        Template({"input": "{{ x }}"}, RESPONSES).bind(["a"])


def test_a_placeholder_that_asks_nothing_is_none() -> None:
    body = {"model": "m", "input": "Why?", "metadata": {"id": "{{ id }}"}, "user": "{{ id }}"}
    with pytest.raises(TemplateError, match="The prompt has no placeholder"):
        Template(body, RESPONSES).bind(COLUMNS)


# records


def test_a_template_comes_back_from_its_record() -> None:
    template = chat("{{ title }} é\u2028", temperature=0.5)
    again = Template.from_json(template.to_json(), CHAT)
    assert again == template
    assert list(again.body) == list(template.body)
    assert again.hash == template.hash
    for text in ("", "[1]", '"x"', "{"):
        with pytest.raises(TemplateError):
            Template.from_json(text, CHAT)


def test_the_hash_tells_templates_apart_and_never_changes() -> None:
    template = Template({"model": "m", "input": "{{ é }}"}, RESPONSES)
    assert template.hash.hex() == "8e71e51b45df9d38adfc0c969a7b0e80"
    assert Template({"input": "{{ é }}", "model": "m"}, RESPONSES).hash == template.hash
    assert Template(template.body, CHAT).hash != template.hash
    assert Template({**template.body, "model": "n"}, RESPONSES).hash != template.hash


def test_the_source_hash_is_typed_and_never_changes() -> None:
    row: list[SQLiteValue] = [None, 1, 1.5, "é", b"\xff"]
    assert source_hash(row).hex() == "a9b29763d4883cfed860c1ee5e72b012"
    assert source_hash(tuple(row)) == source_hash(row)
    variants: list[list[SQLiteValue]] = [
        [1],
        [1.0],
        ["1"],
        [b"1"],
        [None],
        [""],
        [],
        [1, 1],
        ["11"],
    ]
    assert len({source_hash(values) for values in variants}) == len(variants)
    assert source_hash(["\ud800"]) == source_hash(["\ufffd"])


def test_a_body_that_is_no_json() -> None:
    with pytest.raises(TemplateError, match="The body can't be JSON"):
        Template({"input": "{{ title }}", "x": {1, 2}}, RESPONSES).bind(COLUMNS)


# examples that people started from

SURVEY = """
{
  "model": "gpt-4o",
  "messages": [
    {
      "role": "system",
      "content": [
        {
          "type": "text",
          "text": "You are a participant in a marketing study from Monkeys Elbow, Kentucky. \
Here is your persona: {{Description}}"
        }
      ]
    },
    {
      "role": "user",
      "content": [
        {"type": "text", "text": "Please select the image you find the most appealing."},
        {"type": "image_url", "image_url": [{"url": "https://example.com/select.png"}]}
      ]
    }
  ],
  "temperature": 1,
  "max_tokens": 2840,
  "response_format": {"type": "text"}
}
"""


def test_a_survey_of_personas() -> None:
    persona = "Hank Rodriguez is a 28 year old black architect who enjoys Star Wars."
    renderer = Template(parse_body(SURVEY), CHAT).bind(("ID", "Age", "College", "Description"))
    assert renderer.columns == renderer.prompt_columns == ("Description",)
    expected = json.loads(SURVEY)
    expected["messages"][0]["content"][0]["text"] = (
        "You are a participant in a marketing study from Monkeys Elbow, Kentucky. "
        f"Here is your persona: {persona}"
    )
    assert json.loads(renderer.line("id_0", [persona])) == {
        "custom_id": "id_0",
        "method": "POST",
        "url": CHAT,
        "body": expected,
    }
    assert renderer.is_blank([" "])


def test_movies_into_categories() -> None:
    body = build_body(
        endpoint=CHAT,
        model="gpt-4o-mini",
        prompt="{{ Overview }}",
        system="Your goal is to extract movie categories as a JSON object.",
        schema=None,
        options={"temperature": 0.1, "json_object": True},
    )
    renderer = Template(body, CHAT).bind(("Series_Title", "Overview"))
    overview = 'Two imprisoned men bond over a number of years, finding "solace".'
    assert json.loads(renderer.line("task-0", [overview])) == {
        "custom_id": "task-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4o-mini",
            "temperature": 0.1,
            "response_format": {"type": "json_object"},
            "messages": [
                {
                    "role": "system",
                    "content": "Your goal is to extract movie categories as a JSON object.",
                },
                {"role": "user", "content": overview},
            ],
        },
    }


# bytes that never change

GOLDEN_COLUMNS = ("id", "title", "overview", "rating", "tags", "Movie Title")
GOLDEN_ROWS: list[tuple[SQLiteValue, ...]] = [
    (1, "Solaris", "A psychologist visits a station.", 8.0, '["sci-fi", "drama"]', "Солярис"),
    (2, 'The "Ran"', "Lines\nand\ttabs \\ and / slashes\r\n", 8.2, "[]", "乱"),
    (3, None, "", None, None, None),
    (4, "{{ title }} {% raw %}", "</script> & <b>", 0.1, '{"a": {"b": [1, 2.5, null]}}', "'"),
    (5, "\u2028\u2029\x85", "\x00\x01\x1f\x7f\x0b\x0c\x1c", 1e22, "[broken", "😀👩‍👩‍👧 é"),
    (-9223372036854775808, 12, 3.5, -0.0, "text", " spaces "),
]
GOLDEN_TEMPLATES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (
        CHAT,
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You catalogue films.\u2028Répondez."},
                {"role": "user", "content": "{{ title }}: {{ overview }}"},
            ],
            "response_format": {"type": "json_object"},
            "temperature": 0.1,
        },
    ),
    "jinja": (
        CHAT,
        {
            "model": "gpt-4o-mini",
            "messages": [
                {
                    "role": "user",
                    "content": "{{ row['Movie Title'] | trim | upper }}\r\n"
                    "{% if rating %}Rated {{ rating }}.{% else %}Not rated.{% endif %}\n"
                    "{{ title ~ '/' ~ overview }} {{ tags | default('no tags') | length }}\n",
                }
            ],
            "metadata": {"id": "{{ id }}"},
        },
    ),
    "responses": (
        RESPONSES,
        {
            "model": "gpt-5-mini",
            "instructions": "Be short about {{ title | lower }}.",
            "input": [{"role": "user", "content": "{{ tags | json }}"}],
            "max_output_tokens": 100,
        },
    ),
    "embeddings": (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "{{ overview }}", "dimensions": 256},
    ),
    "native": (
        "/v1/moderations",
        {"model": "m", "input": ["{{ title | json }}", "{{ rating | json }}", "{{ tags | json }}"]},
    ),
}


@pytest.mark.parametrize("name", GOLDEN_TEMPLATES)
def test_lines_are_the_same_bytes_for_ever(name: str) -> None:
    endpoint, body = GOLDEN_TEMPLATES[name]
    renderer = Template(body, endpoint).bind(GOLDEN_COLUMNS)
    picked = [GOLDEN_COLUMNS.index(column) for column in renderer.columns]
    made = b"".join(
        renderer.line(f"golden-{number}", [row[index] for index in picked])
        for number, row in enumerate(GOLDEN_ROWS, 1)
    )
    assert made == (GOLDEN / f"{name}.jsonl").read_bytes()
