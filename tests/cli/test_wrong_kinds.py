"""What stands where something else belongs: one sentence that says what it is and what to type."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ASK = ("--prompt", "Say: {{ text }}")
REQUEST = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Grüße"}]},
}


def workbook(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/workbook.xml", "<workbook/>")


@pytest.fixture
def files(notes: Path) -> Path:
    """Files of all kinds in the folder of `data.db`."""
    workbook(Path("films.xlsx"))
    Path("films.csv").write_text("id,text\n1,one\n2,two\n")
    Path("semicolons.csv").write_text("\ufeffid;text\n1;one\n")
    Path("films.tsv").write_text("id\ttext\n1\tone\n")
    Path("notes.txt").write_text("Some words.\nAnd more.\n")
    Path("films.json").write_text(json.dumps([{"id": 1, "text": "one"}]))
    Path("films.jsonl").write_text(json.dumps({"id": 1, "text": "one"}) + "\n")
    Path("paper.pdf").write_bytes(b"%PDF-1.7\n")
    return notes


DATABASES = {
    "films.xlsx": "is an Excel workbook, not a SQLite database. Save its sheet as CSV, then make "
                  "one of that with: sqlite-utils insert films.db films films.csv --csv",
    "films.csv": "is a CSV file, not a SQLite database. Make one of it with: sqlite-utils insert "
                 "films.db films films.csv --csv",
    "semicolons.csv": "is a CSV file, not a SQLite database.",
    "films.tsv": "is a TSV file, not a SQLite database. Make one of it with: sqlite-utils insert "
                 "films.db films films.tsv --tsv",
    "notes.txt": "is a text file, not a SQLite database. Name the database first",
    "films.json": "is a JSON list, not a SQLite database. Make one of it with: sqlite-utils insert "
                  "films.db films films.json",
    "films.jsonl": "is JSON lines, not a SQLite database. Make one of it with: sqlite-utils insert "
                   "films.db films films.jsonl --nl",
    "paper.pdf": "is a PDF, not a SQLite database.",
}  # fmt: skip


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("command", ["preview", "jobs", "results"])
def test_a_file_that_is_no_database(run: Any, files: Path, command: str, name: str) -> None:
    if command == "preview" and name.endswith((".csv", ".tsv")):
        # Of those a database is made: tests/cli/test_csv_files.py
        return
    more = ("notes", *ASK) if command == "preview" else ()
    said = run(command, name, *more, code=1)
    assert said.err.startswith(f"Error: '{name}' {DATABASES[name]}")
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("args", "typed"),
    [
        (("preview", "notes", "data.db", *ASK), "preview data.db notes"),
        (("run", "films.csv", "data.db", *ASK), "run data.db films.csv"),
        (("show", "3", "data.db"), "show data.db 3"),
        (("results", "my job", "data.db"), "results data.db 'my job'"),
        (("export-requests", "1", "data.db", "out"), "export-requests data.db 1"),
        (("import-responses", "films.jsonl", "data.db"), "import-responses data.db films.jsonl"),
    ],
)
def test_arguments_in_the_wrong_order(
    run: Any, files: Path, args: tuple[str, ...], typed: str
) -> None:
    said = run(*args, code=2)
    assert f"The database comes first: 'data.db' is a database, '{args[1]}' is not." in said.err
    assert f"openai-batch {typed} …" in said.err


def test_a_missing_table_or_prompt(run: Any, files: Path) -> None:
    assert "Which rows? Name a table" in run("preview", files, *ASK, code=2).err
    assert "Tables: notes." in run("preview", files, code=2).err
    assert "What do you want to ask? Give a prompt" in run("preview", files, "notes", code=1).err
    said = run("preview", files, "Say: {{ text }}", code=1)
    assert "is a prompt where the table belongs: give it by --prompt. Tables: notes." in said.err


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("https://a.openai.azure.com", (), "Type the same with --provider azure."),
        ("https://a.openai.azure.com/openai/v1/", (), "is an address of Azure's"),
        ("https://a.cognitiveservices.azure.com", ("--key", "k"), "--provider azure"),
        ("https://api.openai.com/v1", ("--provider", "azure", "--key", "k"), "is OpenAI's address"),
        ("a.openai.azure.com", (), "is not an address of a server. Write it like https://HOST/v1."),
        ("http://127.0.0.1:99999/v1", (), "is not an address of a server"),
        ("http://[::1", (), "is not an address of a server"),
        ("ftp://example.com", (), "is not an address of a server"),
    ],
)
def test_addresses(
    run: Any, files: Path, address: str, options: tuple[str, ...], said: str
) -> None:
    for command in ("preview", "prepare"):
        told = run(command, files, "notes", *ASK, "--base-url", address, *options, code=2)
        assert said in told.err
    assert "is not an address" in run(
        "preview", files, "notes", *ASK, "--upstream", "x:y", "-m", "m", code=2
    ).err  # fmt: skip


def test_azure_by_the_environment(run: Any, files: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a.openai.azure.com/openai/v1")
    said = run("preview", files, "notes", *ASK, code=2)
    assert (
        "OPENAI_BASE_URL https://a.openai.azure.com/openai/v1 is an address of Azure's" in said.err
    )


def test_azure_without_an_endpoint(run: Any, files: Path) -> None:
    azure = ("notes", *ASK, "-m", "d", "--provider", "azure")
    assert "Where is Azure? Set AZURE_OPENAI_ENDPOINT" in run("prepare", files, *azure, code=1).err
    assert "Warning: Where is Azure? Set AZURE_OPENAI" in run("preview", files, *azure).err


# Files of requests


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (json.dumps(REQUEST, indent=2), "JSON that is printed over several lines, where each "
         "request is one line. Mend it with: jq -c . it > it-lines.jsonl"),
        (json.dumps(REQUEST, indent=2) * 3, "jq -c . it > it-lines.jsonl"),
        ("\ufeff\n" + json.dumps(REQUEST, indent="\t"), "jq -c . it"),
        (json.dumps([REQUEST] * 3), "a JSON list, where each request is one line. Mend it with: "
         "jq -c '.[]' it > it-lines.jsonl"),
        (json.dumps([REQUEST] * 3, indent=1), "jq -c '.[]' it > it-lines.jsonl"),
        ("[\n" + ",\n".join([json.dumps(REQUEST)] * 2_000) + "\n]", "jq -c '.[]' it"),
    ],
)  # fmt: skip
def test_json_in_another_form_is_one_problem(run: Any, data: str, said: str) -> None:
    Path("it").write_text(data)
    told = run("validate", "it", code=1)
    assert told.out.count("\n") == 1
    assert said in told.out
    assert "1 problem: 1 invalid_json_line." in told.err
    assert said in run("split", "it", "out", code=1).err
    assert said in run("extract", "it", code=1).err


ANTHROPIC = {"custom_id": "a", "params": {"model": "claude", "max_tokens": 9, "messages": []}}
GEMINI = {"key": "a", "request": {"contents": [{"parts": [{"text": "Hi"}]}]}}
OTHERS = {
    "Anthropic": ((json.dumps(ANTHROPIC) + "\n") * 2, "a batch file of Anthropic's"),
    "Anthropic's call": (json.dumps({"requests": [ANTHROPIC]}), "a batch file of Anthropic's"),
    "Anthropic's answers": (json.dumps({"custom_id": "a", "result": {"type": "succeeded"}}),
                            "a batch file of Anthropic's"),
    "Gemini": (json.dumps(GEMINI), "a batch file of Gemini's"),
    "Vertex": (json.dumps({"request": GEMINI["request"]}), "a batch file of Gemini's"),
    "Gemini's answers": (json.dumps({"key": "a", "response": {}}), "a batch file of Gemini's"),
    "Bedrock": (json.dumps({"recordId": "a", "modelInput": {}}), "a batch file of Bedrock's"),
    "CSV": ("id,text\n" + "1,one\n" * 20, "a CSV file"),
    "TSV": ("id\ttext\n" + "1\tone\n" * 20, "a TSV file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("command", ["validate", "split", "extract"])
def test_files_of_others(run: Any, command: str, kind: str) -> None:
    data, what = OTHERS[kind]
    Path("survey.csv").write_text(data)
    said = run(command, "survey.csv", *(["out"] if command == "split" else []), code=1)
    wanted = "answers" if command == "extract" else "requests"
    assert said.err.startswith(f"Error: 'survey.csv' is {what}, no file of {wanted}. ")
    assert "sqlite-utils insert survey.db survey survey.csv --" in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert not Path("out").exists()


def test_a_database_is_no_file_of_requests(run: Any, files: Path) -> None:
    for command in ("validate", "extract"):
        said = run(command, files, code=1)
        assert "is a SQLite database" in said.err
        assert "sqlite-utils openai-batch run data.db TABLE …" in said.err


def test_answers_of_others_arent_taken_in(run: Any, notes: Path) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url)
    Path("a.csv").write_text("id,text\n1,one\n")
    assert (
        "is a CSV file, no file of answers" in run("import-responses", notes, "a.csv", code=1).err
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("films.csv", "is a CSV file, no request body."),
        ("films.xlsx", "is an Excel workbook, no request body."),
        ("data.db", "is a SQLite database, no request body."),
        ("notes.txt", "must be an object"),
    ],
)
def test_a_template_of_another_kind(run: Any, files: Path, name: str, what: str) -> None:
    said = run("preview", files, "notes", "--template", name, code=1)
    assert said.err.startswith(f"Error: --template '{name}'")
    assert what in said.err


# A server that can't be reached


def test_prepare_needs_no_server(run: Any, notes: Path) -> None:
    nowhere = ("--base-url", "http://127.0.0.1:9/v1")
    said = run("prepare", notes, "notes", *ASK, *nowhere)
    assert said.out == "1\n"
    assert "Warning: No server can be reached at http://127.0.0.1:9/v1" in said.err
    said = run("run", notes, "notes", *ASK, *nowhere, "-y", "--new", code=1)
    assert "No server can be reached" in said.err
    assert "Warning: No server can be" in run("preview", notes, "notes", *ASK, *nowhere).err


def test_prepare_where_a_server_is_down(run: Any, notes: Path, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(503, {"error": {"message": "Down for maintenance"}}))
    said = run("prepare", notes, "notes", *ASK, "--base-url", web.base_url)
    assert "Warning: " in said.err
    assert "Down for maintenance" in said.err


def test_prepare_for_a_chat_server_that_is_off(run: Any, notes: Path) -> None:
    options = ("--upstream", "http://127.0.0.1:9/v1", "-m", "m")
    assert "Warning: " in run("prepare", notes, "notes", *ASK, *options).err
    assert "Warning: No server can be" in run("preview", notes, "notes", *ASK, *options).err


# Words


def test_models_that_are_misspelled(run: Any, notes: Path) -> None:
    asking = ("preview", notes, "notes", *ASK, "-m")
    assert "Warning: OpenAI has no model 'GPT-4o'" in run(*asking, "GPT-4o").err
    assert "Did you mean gpt-4o?" in run(*asking, "GPT-4o").err
    assert "Did you mean gpt-4o?" in run(*asking, "gpt4o").err
    assert (
        "Did you mean gpt-4.1-mini?" in run(*asking, "gpt-4.1mini", "--max-cost", "1", code=2).err
    )
    assert "capitals" not in run(*asking, "ft:gpt-4o-mini:Org::x").err
    assert "capitals" not in run(*asking, "Qwen/Q", "--base-url", "http://127.0.0.1:9/v1").err


@pytest.mark.parametrize("option", ["--system", "--prompt"])
@pytest.mark.parametrize("text", ["Like {{ name }} here", "Like {{ … }} here", "{% x %} here"])
def test_braces_in_a_file(run: Any, notes: Path, option: str, text: str) -> None:
    Path("book.md").write_text(text)
    more = ("--prompt", "{{ text }}") if option == "--system" else ()
    said = run("preview", notes, "notes", option, "book.md", *more, code=1)
    assert said.err.startswith(f"Error: In {option} 'book.md': ")
    assert "{% raw %}" in said.err
    Path("book.md").write_text(f"{{% raw %}}{text}{{% endraw %}} {{{{ text }}}}")
    assert text in run("preview", notes, "notes", option, "book.md", *more).out


def test_names_with_spaces_are_quoted(run: Any, database: Any) -> None:
    db = database('CREATE TABLE t (id INTEGER PRIMARY KEY, " title" TEXT, "a, b" TEXT);')
    said = run("preview", db, "t", "--prompt", "{{ title }}", code=1)
    assert "Did you mean ' title'?" in said.err
    assert "'a, b'" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--limit", "1"), "The one chosen row of t is blank in text"),
        (("--limit", "2"), "All 2 chosen rows of t are blank"),
        (("--where", "id = 2"), "The one chosen row of t is blank"),
        ((), "All 3 rows of t are blank"),
    ],
)
def test_blank_rows_are_counted_rightly(
    run: Any, database: Any, options: tuple[str, ...], said: str
) -> None:
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                  "INSERT INTO t (id) VALUES (1), (2), (3);")  # fmt: skip
    assert said in run("preview", db, "t", "--prompt", "{{ text }}", *options).err


def test_like_says_what_it_leaves_out(run: Any, notes: Path) -> None:
    first = ("run", notes, "notes", *ASK, "--name", "nightly", *run.there)
    run(*first)
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("UPDATE notes SET text = 'new' WHERE id = 3")
    run(*first, "--changed")
    said = run("preview", notes, "--like", "2")
    assert "As in job 2, only some rows are asked about: --changed." in said.err
    assert "only some rows" not in run("preview", notes, "--like", "1", "--replace").err


@pytest.mark.parametrize(
    ("lines", "parts", "expected"),
    [
        (100, 3, [34, 33, 33]),
        (10, 4, [3, 3, 2, 2]),
        (3, 5, [1, 1, 1]),
        (7, 7, [1] * 7),
        (5, 1, [5]),
    ],
)
def test_parts_are_even(run: Any, lines: int, parts: int, expected: list[int]) -> None:
    text = "".join(json.dumps({**REQUEST, "custom_id": str(n)}) + "\n" for n in range(lines))
    Path("a.jsonl").write_text(text)
    said = run("split", "a.jsonl", "out", "--parts", str(parts))
    made = [Path(name).read_text() for name in said.out.split()]
    assert [part.count("\n") for part in made] == expected
    assert "".join(made) == text
