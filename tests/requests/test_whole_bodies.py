"""`--template`: whole bodies, at any endpoint; what a job itself writes; parts by inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base.errors import TemplateError, UsageError
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import survey
from sqlite_utils_openai_batch.pricing.estimate import Money

BODY = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "Be brief, in JSON."},
        {"role": "user", "content": "{{ text }} ({{ mark }})"},
    ],
    "temperature": 0,
}
YAML = """
model: gpt-4o-mini
messages:
  - role: system
    content: Be brief, in JSON.
  - role: user
    content: "{{ text }} ({{ mark }})"
temperature: 0
"""


def bodies(out: str) -> list[Any]:
    """The bodies of printed lines."""
    return [json.loads(line)["body"] for line in out.splitlines()]


@pytest.mark.parametrize(("name", "text"), [("b.json", json.dumps(BODY)), ("b.yaml", YAML)])
def test_a_body_from_a_file(run: Any, notes: Any, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    said = run("preview", notes, "notes", "--template", name, "--raw", "-n", "1")

    (body,) = bodies(said.out)
    filled = {"role": "user", "content": "note 1 (1)"}
    assert body == {**BODY, "messages": [BODY["messages"][0], filled]}
    assert "Model     gpt-4o-mini at api.openai.com" in said.err


def test_other_options_change_it(run: Any, notes: Any, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(BODY))

    said = run(
        "preview", notes, "notes", "--template", "b.json", "--raw", "-n", "1",
        "-m", "gpt-4.1", "-o", "max_tokens", "50", "-o", "json_object", "1",
    )  # fmt: skip

    (body,) = bodies(said.out)
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("gpt-4.1", 50, 0)
    assert body["response_format"] == {"type": "json_object"}


def test_it_runs_to_the_end(run: Any, notes: Any, tmp_path: Path, rows: Any) -> None:
    (tmp_path / "b.yaml").write_text(YAML)

    run("run", notes, "notes", "--template", "b.yaml", *run.there)

    answered = rows(notes, "SELECT text || ' (' || mark || ')', answer FROM notes")
    assert all(answer.endswith(prompt) for prompt, answer in answered)


def test_any_endpoint(run: Any, notes: Any, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"input": "{{ text }}"}')

    said = run(
        "preview", notes, "notes", "--template", "b.json", "--endpoint", "/v1/moderations",
        "--raw", "-n", "1",
    )  # fmt: skip

    line = json.loads(said.out)
    assert (line["url"], line["body"]) == ("/v1/moderations", {"input": "note 1"})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--template", "no.json"), 1, "--template 'no.json' can't be read: No such file"),
        (("--template", "list.json"), 1, "'list.json' must be an object: the body of a request."),
        (
            ("--template", "b.json", "--prompt", "{{ text }}"),
            2,
            "--template is the whole body: --prompt belongs in it.",
        ),
        (("--template", "wrong.json"), 1, "No column 'txet' in notes. Did you mean text?"),
        (("--template", "responses.json"), 1, "The template has no messages, which"),
        (("--template", "models.json"), 1, "A batch asks one model"),
    ],
)
def test_what_is_wrong_with_it(
    run: Any, notes: Any, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "b.json").write_text(json.dumps(BODY))
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "responses.json").write_text('{"input": "{{ text }}"}')
    (tmp_path / "models.json").write_text(json.dumps({**BODY, "model": "{{ text }}"}))
    wrong = [{"role": "user", "content": "{{ txet }}"}]
    (tmp_path / "wrong.json").write_text(json.dumps({"messages": wrong}))

    assert message in run("preview", notes, "notes", *arguments, code=code).err


def test_the_row_as_a_whole_is_without_what_the_job_writes(run: Any, notes: Any, rows: Any) -> None:
    ask = ("--prompt", "{% for name, value in row.items() %}{{ name }}={{ value }} {% endfor %}")

    run("run", notes, "notes", *ask, *run.there)
    found = rows(notes, "SELECT id, text, mark, answer FROM notes")
    statuses = rows(notes, "SELECT DISTINCT write_status FROM openai_batch_requests")
    again = run("preview", notes, "notes", *ask, "--replace", "--raw", "-n", "1")

    assert statuses == [("written",)]
    assert all(a.endswith(f"id={i} text={t} mark={m} ") for i, t, m, a in found)
    (body,) = bodies(again.out)
    assert body["messages"][0]["content"] == "id=1 text=note 1 mark=1 "


def test_an_answer_column_that_is_named_is_read(run: Any, notes: Any) -> None:
    run("run", notes, "notes", "--prompt", "{{ text }}", *run.there)

    said = run(
        "preview", notes, "notes", "--prompt", "Shorter: {{ answer }}", "--replace", "--raw",
        "-n", "1",
    )  # fmt: skip

    assert bodies(said.out)[0]["messages"][0]["content"].endswith("note 1")


def test_json_mode(run: Any, notes: Any, rows: Any) -> None:
    prompt = ("--prompt", "As JSON: {{ text }}")

    run("run", notes, "notes", *prompt, "-o", "json_object", "1", *run.there)

    assert rows(notes, "SELECT DISTINCT json_type(answer) FROM notes") == [("object",)]


def ask(**options: Any) -> Ask:
    """An `Ask` that costs nothing."""
    return Ask(money=Money(own=True), **options)


def test_embedding_inputs_are_counted(conn: Any) -> None:
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, texts TEXT)")
    texts = [json.dumps([f"text {n}"] * 20_000) for n in range(5)]
    conn.executemany("INSERT INTO t (texts) VALUES (?)", [(text,) for text in texts])
    conn.execute("INSERT INTO t (texts) VALUES (?)", [json.dumps(["x"] * 50_001)])
    conn.execute("INSERT INTO t (texts) VALUES (?)", ["one"])
    body = {"model": "text-embedding-3-small", "input": "{{ texts | json }}"}

    plan = settle(conn, ask(table="t", template=body, endpoint="/v1/embeddings"))
    tally, _ = survey(conn, plan)

    assert (tally.asked, tally.too_large, tally.parts) == (6, 1, 3)
    assert tally.first_problem == "row 6: 50,001 inputs; the limit is 50,000"


def test_parts_by_tokens(conn: Any) -> None:
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    conn.executemany("INSERT INTO t (text) VALUES (?)", [("word " * 100,)] * 10)

    plan = settle(conn, ask(table="t", prompt="{{ text }}", part_tokens=400, model="gpt-4o"))
    tally, _ = survey(conn, plan)

    assert tally.parts == 4  # about 125 tokens each, by bytes: three in a part


def test_options_of_a_body_that_is_no_chat(conn: Any) -> None:
    conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
    body = {"model": "m", "input": "{{ text }}"}
    with pytest.raises(UsageError, match="--schema cannot be used in the body of /v1/moderations"):
        settle(conn, ask(table="t", template=body, endpoint="/v1/moderations", schema="a"))
    with pytest.raises(TemplateError, match="no placeholder"):
        settle(conn, ask(table="t", template={"messages": []}))


# Templates in which a placeholder stands for a number

PEOPLE = (
    "CREATE TABLE people (id INTEGER PRIMARY KEY, Name TEXT, Temp REAL, Said TEXT, N INTEGER);"
    "INSERT INTO people VALUES (1, 'Ann \"A\"', 0.5, ' 0.25 ', 7), (2, '12', 1.0, '1', NULL);"
)
KINDS = {
    "JSON without quotes": """{
        "model": "gpt-4o", "temperature": {{Temp}}, "seed": {{ N }}, "top_p":{{Said}},
        "messages": [{"role": "user", "content": {{ Name }}}], "stop": [{{Name}}, "x"]}""",
    "JSON with tabs": '{\n\t"model":\t"gpt-4o", "temperature":\t{{Temp}}, "seed": {{N}}, '
    '"top_p": "{{Said}}",\n\t"messages": [{"role": "user", "content": "{{Name}}"}], '
    '"stop": ["{{ Name | json }}", "x"]}',
    "YAML without quotes": """
model: gpt-4o
temperature: {{Temp}}  # each its own
seed: {{ N }}
top_p: {{ Said | trim }}
messages:
- role: user
  content: {{Name}}
stop:
- {{ Name }}
- x
""",
    "YAML with quotes": """
model: gpt-4o
temperature: "{{ Temp }}"
seed: '{{N}}'
top_p: "{{Said|trim}}"
messages:
- {role: user, content: "{{Name}}"}
stop: ["{{ Name }}", x]
""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_placeholder_for_a_number_gives_the_number(
    run: Any, database: Any, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "t.yaml").write_text(KINDS[kind])

    said = run("preview", database(PEOPLE), "people", "--template", "t.yaml", "--raw", "-n", "2")

    one, other = bodies(said.out)
    assert one == {
        "model": "gpt-4o", "temperature": 0.5, "seed": 7, "top_p": 0.25,
        "messages": [{"role": "user", "content": 'Ann "A"'}], "stop": ['Ann "A"', "x"],
    }  # fmt: skip
    assert (other["temperature"], other["seed"], other["top_p"]) == (1.0, None, 1)
    assert (other["messages"][0]["content"], other["stop"]) == ("12", ["12", "x"])


def test_what_is_no_number_costs_its_row_only(run: Any, database: Any, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(
        '{"temperature": {{Name}}, "messages": [{"role": "user", "content": "{{Said}}"}]}'
    )

    said = run("preview", database(PEOPLE), "people", "--template", "t.json")

    assert "1 to ask · 1 unrenderable" in said.err
    assert "is not a number" in said.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: m\nmessages:\n- role: user\n  content: {{Name}} and more\n", (
            "--template 't.yaml', line 4: ", "There stands: content: {{Name}} and more",
            "Put the whole value in quotes",
        )),
        ('{\n  "n": {{ row["N"] }},\n  "messages": []\n}', (
            "--template 't.yaml', line 2: ", 'Put the placeholder in quotes: "{{ row[\'N\'] }}"',
        )),
        ('{"a": 1\n "messages": []}', (
            "--template 't.yaml', line 2: Expecting ',' delimiter", "is a comma, a quote or",
        )),
        ("messages: [1\nn: 2\n", ("--template 't.yaml', line 2: ", "or a bracket missing?")),
    ],
)  # fmt: skip
def test_a_template_that_is_wrong_tells_the_line_and_what_to_write(
    run: Any, database: Any, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    (tmp_path / "t.yaml").write_text(text)

    said = run("preview", database(PEOPLE), "people", "--template", "t.yaml", code=1)

    for word in words:
        assert word in said.err


@pytest.mark.parametrize("name", ["config.json", "config.yaml"])
def test_a_whole_body_for_a_prompt_points_to_template(
    run: Any, database: Any, tmp_path: Path, name: str
) -> None:
    text = KINDS["JSON without quotes" if name.endswith("json") else "YAML without quotes"]
    (tmp_path / name).write_text(text)

    said = run("preview", database(PEOPLE), "people", "--prompt", name, code=1)

    assert f"give its file by --template {name}" in said.err
