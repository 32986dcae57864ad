"""What somebody wrote can't rewrite the screen: control characters are shown, not sent."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered, custom_id, error_line, request_ids, sent, take
from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.text import cut, oneline, visible
from sqlite_utils_openai_batch.store.connection import connect

CLI = Path(__file__).parents[2] / "sqlite_utils_openai_batch" / "cli"
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TITLE, CLEAR, OVERRIDE = "\x1b]0;mine\x07", "\x9b2J", "\u202e0\u2066"
EVIL = TITLE + CLEAR + OVERRIDE + "\x7f\r\b"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_acts_and_nothing_else_is_touched(text: str) -> None:
    shown = visible(text)
    assert not HIDDEN.search(shown)
    assert visible("\ud83d") == r"\ud83d"
    assert visible(shown) == shown
    assert "\n" not in oneline(text)
    assert HIDDEN.search(cut(text, 40)) is None
    assert HIDDEN.search(text) or shown == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_at_a_terminal_is_the_same_json(text: str) -> None:
    line = json.dumps([text], ensure_ascii=False)
    assert json.loads(visible(line, json=True)) == [text]


def test_how_it_is_written() -> None:
    assert visible(f"a{EVIL}\nb\tc\r\n") == (
        r"a\x1b]0;mine\x07\x9b2J\u202e0\u2066\x7f\r\x08" + "\nb\tc\n"
    )
    assert oneline("a\nb") == r"a\nb"


def test_everything_is_printed_by_the_functions_that_escape() -> None:
    for path in CLI.glob("*.py"):
        if path.name != "click_ext.py":
            text = path.read_text()
            assert not re.search(r"click\.(s?echo|confirm|prompt)|sys\.std(out|err)\.write", text)
            assert not re.search(r"(?<!\w)print\(|csv\.writer\(sys", text), path


@pytest.fixture
def evil(tmp_path: Path, run: Any) -> Path:
    """Names, prompts, answers, models and errors that hold what acts on a terminal."""
    path = tmp_path / "data.db"
    table = f"t{EVIL}"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(f'CREATE TABLE "{table}" ("k{EVIL}" TEXT PRIMARY KEY, text TEXT, gold TEXT)')
        rows = [(f"{n}{EVIL}", f"text {n}{EVIL}", f"good{EVIL}" if n > 1 else None) for n in (1, 2)]
        conn.executemany(f'INSERT INTO "{table}" VALUES (?, ?, ?)', rows)
    with closing(connect(path)) as conn:
        answers = {f"1{EVIL}": {"mood": f"sad{EVIL}"}, f"2{EVIL}": {"mood": f"good{EVIL}"}}
        answered(
            conn, tmp_path, table, answers, schema="mood", name=f"n{EVIL}", model=f"gpt-4o{EVIL}"
        )
        job = sent(conn, table, output="more", name="failed")
        lines = [
            error_line(custom_id(job, n), message=f"No{EVIL}")
            for n in request_ids(conn, job).values()
        ]
        take(conn, job, tmp_path, lines)
        conn.execute("UPDATE openai_batch_jobs SET message = ? WHERE id = 2", [f"Bad{EVIL}"])
    return Path("data.db")


SCREENS = [
    ("jobs",), ("show", "1"), ("show", "2"), ("show", "--log", "1"), ("report", "1"),
    ("compare", "1", "--gold", "mood=gold"), ("results", "1", "-c", f"no{EVIL}"),
    ("show", f"no{EVIL}"), ("show", "--no" + EVIL), ("results", "1", "--status", EVIL),
    ("retry", "2", "-y"), ("apply", "1", "--prefix", EVIL), ("revert", "1"),
]  # fmt: skip


@pytest.mark.parametrize("words", SCREENS, ids=lambda words: ascii(" ".join(words))[:40])
def test_screens_and_messages(run: Any, evil: Path, words: tuple[str, ...]) -> None:
    command, *rest = words
    said = run(command, evil, *rest, code=ANY)
    assert said.out or said.err
    assert not HIDDEN.search(said.out + said.err)


class Anything:
    """Equals every exit code."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


ANY = Anything()


@pytest.mark.parametrize("command", ["preview", "prepare", "run"])
def test_before_anything_is_sent(run: Any, evil: Path, command: str) -> None:
    there = {"preview": (), "prepare": ("--base-url", run.base_url)}.get(command, run.there)
    asked = ("--prompt", "{{ text }}", "-s", EVIL, "-m", f"m{EVIL}", "--output", f"x{EVIL}")
    said = run(command, evil, f"t{EVIL}", *asked, *there, code=ANY)
    assert r"\x1b]0;mine\x07" in said.out + said.err
    assert not HIDDEN.search(said.out + said.err)


FORMATS = [("--nl",), ("--csv",), ("--tsv",), ("--table",), ()]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_data_is_as_it_is_in_a_file_and_escaped_at_a_terminal(
    run: Any, evil: Path, terminal: Any, form: tuple[str, ...]
) -> None:
    piped = run("results", evil, "1", *form, "-c", "mood").out
    assert OVERRIDE in piped or json.dumps(OVERRIDE)[1:-1] in piped
    screen = terminal("results", evil, "1", *form, "-c", "mood")
    shown = screen.end(0).replace("\r", "")
    assert "good" in shown
    assert not HIDDEN.search(shown)


def test_request_lines_at_a_terminal(run: Any, evil: Path, terminal: Any) -> None:
    arguments = ("preview", evil, f"t{EVIL}", "--prompt", "{{ text }}", "--raw")
    lines = run(*arguments).out.splitlines()
    assert json.loads(lines[0])["body"]["messages"][0]["content"] == f"text 1{EVIL}"
    assert not HIDDEN.search(terminal(*arguments).end(0).replace("\r", ""))


def test_a_line_break_in_a_name_makes_no_line_of_the_last_screen(run: Any, notes: Path) -> None:
    name = "mood\nCost  $0.00"
    said = run("run", notes, "notes", "--prompt", "{{ text }}", "--output", name, *run.there)
    assert r"Written to notes.mood\nCost  $0.00." in said.err
