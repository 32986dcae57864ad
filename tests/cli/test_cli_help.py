"""--help: each command begins with an example, each option says what it does, under a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner
from sqlite_utils.cli import cli

GROUP = cli.commands["openai-batch"]
assert isinstance(GROUP, click.Group)


def shown(*args: str) -> str:
    result = CliRunner().invoke(cli, ["openai-batch", *args, "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def options() -> Iterator[tuple[str, click.Option]]:
    for name, command in GROUP.commands.items():
        for param in command.params:
            if isinstance(param, click.Option):
                yield name, param


@pytest.mark.parametrize("name", GROUP.commands)
def test_an_example_comes_before_the_options(name: str) -> None:
    text = shown(name)
    example = re.search(r"\n  Examples?\b[^\n]*\n    \S[^\n]*", text)
    assert example, text
    heading = re.search(r"\n[A-Z][a-z ]+:\n", text)
    assert heading
    assert example.start() < heading.start()


@pytest.mark.parametrize("name", GROUP.commands)
def test_examples_name_the_command_itself(name: str) -> None:
    example = re.search(r"\n  Examples?\b[^\n]*\n((?:    [^\n]*\n)+)", shown(name))
    assert example
    assert f"sqlite-utils openai-batch {name}" in example[1]


@pytest.mark.parametrize("name", GROUP.commands)
def test_a_command_says_in_one_line_what_it_does(name: str) -> None:
    summary = GROUP.commands[name].get_short_help_str(200)
    assert re.fullmatch(r"[A-Z].*\.", summary), summary
    # Beside its name in the list, on a terminal of 80 columns: two lines at most.
    assert len(summary) <= 130


def test_every_option_says_what_it_does() -> None:
    silent = [f"{name} {option.opts[0]}" for name, option in options() if not option.help]
    assert silent == []


QUESTIONS = [name for name, option in options() if "--prompt" in option.opts]


def test_options_of_questions_mean_the_same_everywhere() -> None:
    helps: dict[str, set[str]] = {}
    for name, option in options():
        if name in QUESTIONS and name != "try":
            helps.setdefault(str(option.opts), set()).add(str(option.help))
    assert {opts: texts for opts, texts in helps.items() if len(texts) > 1} == {}


def test_the_group_lists_every_command_under_a_heading() -> None:
    text = shown()
    listed = re.findall(r"^  ([a-z-]+) {2,}\S", text, re.MULTILINE)
    assert sorted(listed) == sorted(GROUP.commands)
    headings = re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE)
    assert headings[0] == "Options"
    assert headings[1:] == [
        heading for heading in ("Ask", "Follow", "Take away", "Mend", "Files", "Local")
        if heading in headings
    ]  # fmt: skip


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_options_of_a_question_stand_under_headings(name: str) -> None:
    headings = re.findall(r"^([A-Z][a-z ]+):$", shown(name), re.MULTILINE)
    wanted = ["Rows", "Request", "Answers", "Money", "Limits", "Where it runs", "Options"]
    assert headings == [heading for heading in wanted if heading in headings]


@pytest.mark.parametrize("name", [None, *GROUP.commands])
def test_help_fits_a_terminal(name: str | None) -> None:
    text = shown(name) if name else shown()
    assert [line for line in text.splitlines() if len(line) > 80] == []
    # How Click shows the range of a number: it means nothing to a person.
    assert "x>=" not in text
    assert "<=x" not in text


def test_sqlite_utils_lists_the_group() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    assert re.search(r"^  openai-batch +Ask a language model about each row of a", text, re.M)
