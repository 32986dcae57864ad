"""Options that take a text or a file: a misspelt name is never sent as the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base.errors import SchemaError, TemplateError
from sqlite_utils_openai_batch.base.text_files import Text, looks_like_a_file, text_or_file

ASK = ("--prompt", "Say: {{ text }}")
HERE = ("--base-url", "http://127.0.0.1:9/v1", "-m", "gpt-4o-mini")


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


@pytest.mark.parametrize(
    "name",
    ["code-book.md", "codes.txt", "Prompt.TXT", "shape.json", "body.yml", "prompts/system",
     "./system", "../codebook", "~/system.md", "/etc/nothing-here", "C:\\texts\\system.md",
     "system.j2", "labels.csv", "yes/no", "https://example.org/codebook.html"],
)  # fmt: skip
def test_names_of_files_that_are_none(name: str) -> None:
    assert looks_like_a_file(name)
    for error in (TemplateError, SchemaError):
        with pytest.raises(error, match=r"there is no such file\. .*put a space after them: "):
            text_or_file(name, "--system", error)
    # How to say that it is the text.
    assert text_or_file(f"{name} ", "--system") == name


@pytest.mark.parametrize(
    "text",
    ["Be brief.", "Be brief", "Summarise prompts/codes.txt for me.", "{{ text }}.md", "z.B.",
     "{{ title }}/{{ year }}", "category", "mood,score", "a|b/c", '{"$ref":"x/y.json"}', "", " ",
     "naïve", "gpt-4.1", "v1.2", "one\ntwo.md", "x" * 2_000 + ".md", "{%if a%}b/c{%endif%}"],
)  # fmt: skip
def test_texts_that_name_no_file(text: str) -> None:
    assert text_or_file(text, "--system") == text


def test_what_a_file_holds_is_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.md").write_text("the wrong one")
    Path("system.md").write_text("\ufeffother.md\n", encoding="utf-8")
    found = text_or_file("system.md", "--system")
    assert found == "other.md" and isinstance(found, Text)
    # Once more it is the same: what was read names no file.
    assert text_or_file(found, "--system") == "other.md"
    assert text_or_file("system.md ", "--system") == "system.md"


def test_a_file_that_cant_be_read(tmp_path: Path) -> None:
    """Its name was sent as the text."""
    image = tmp_path / "photo"
    image.write_bytes(b"\x89PNG\xff")
    with pytest.raises(TemplateError, match=r"'.*photo' is a picture, no text"):
        text_or_file(str(image), "--system")


def test_the_nearest_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("codebook.md", "codebook2.md", "letter.docx", "prompts/system.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("x")
    for typed, meant in (
        ("code-book.md", "codebook.md or codebook2.md"),
        ("prompts/sytem.txt", "prompts/system.txt"),
        ("./Codebook.MD", "codebook.md or codebook2.md"),
        ("nowhere/codebook.md", "codebook.md or codebook2.md"),
    ):
        with pytest.raises(TemplateError) as caught:
            text_or_file(typed, "--system")
        assert f"there is no such file. Did you mean {meant}? If these" in str(caught.value)
    with pytest.raises(TemplateError) as caught:
        text_or_file("quite-another.yaml", "--system")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("command", ["run", "prepare", "preview", "try"])
@pytest.mark.parametrize(
    "options",
    [
        (*ASK, "--system", "code-book.md"),
        (*ASK, "--schema", "code-book.json"),
        ("--prompt", "code-book.md"),
        ("--template", "code-book.json"),
    ],
    ids=lambda options: options[-2],
)
def test_nothing_is_sent(
    run: Any, notes: Path, unchanged: Any, command: str, options: tuple[str, ...]
) -> None:
    for name in ("codebook.md", "codebook.json"):
        Path(name).write_text("{}")
    check = unchanged(notes)
    yes = ("-y",) if command in ("run", "try") else ()
    said = run(command, notes, "notes", *options, *HERE, *yes, code=1)
    assert f"{options[-2]} '{options[-1]}'" in said.err
    assert f"Did you mean codebook{Path(options[-1]).suffix}" in said.err
    check()


@pytest.mark.parametrize("option", ["--schema", "--system", "--prompt"])
@pytest.mark.parametrize("text", ["", "\ufeff \n\n"], ids=["nothing", "blanks"])
def test_an_empty_file_is_no_text(
    run: Any, notes: Path, unchanged: Any, option: str, text: str
) -> None:
    Path("empty.json").write_text(text, encoding="utf-8")
    asked = () if option == "--prompt" else ASK
    check = unchanged(notes)
    said = run("run", notes, "notes", *asked, option, "empty.json", *HERE, "-y", code=1)
    assert f"{option} 'empty.json': the file is empty." in said.err
    check()


def test_apply_and_extract_too(run: Any, notes: Path) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    said = run("apply", notes, "1", "--schema", "codes.txt", code=1)
    assert "--schema 'codes.txt': there is no such file." in said.err


def test_a_text_that_looks_like_a_file_can_be_forced(run: Any, notes: Path) -> None:
    said = run("preview", notes, "notes", *ASK, "--system", "code-book.md ", "--raw", *HERE)
    body = json.loads(said.out.splitlines()[0])["body"]
    assert body["messages"][0] == {"role": "system", "content": "code-book.md"}
