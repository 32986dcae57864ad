"""`--codebook`: from a researcher's table to the request, and along with the job to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TABLE = """\
variable,label,definition,example
mood,,how the writer feels,
mood,bad,They complain.,Never again.
mood,mixed,Both.,
mood,good,They are content.,
stars,1..5,how many stars,
"""
SAID = (
    "Code what you are given by this codebook.\n\n"
    "mood: how the writer feels. Choose one label.\n"
    "- bad: They complain.\n"
    "  Example: Never again.\n"
    "- mixed: Both.\n"
    "- good: They are content.\n"
    "If nothing fits well, choose the label whose definition comes closest.\n\n"
    "stars: how many stars. Give a whole number from 1 to 5.\n"
    "If nothing fits well, give the number that comes closest."
)
ASK = ("--prompt", "{{ text }}", "--codebook", "book.csv")


@pytest.fixture
def book(notes: Any) -> Path:
    """The codebook, beside the database."""
    path = Path("book.csv")
    path.write_text(TABLE, encoding="utf-8")
    return path


def bodies(run: Any, *args: Any) -> list[dict[str, Any]]:
    said = run("preview", *args, "--raw", "-n", "1")
    return [json.loads(line)["body"] for line in said.out.splitlines()]


def test_it_makes_the_schema_and_the_instructions(run: Any, notes: Any, book: Path) -> None:
    (body,) = bodies(run, notes, "notes", *ASK)
    assert body["messages"][0] == {"role": "system", "content": SAID}
    asked = body["response_format"]["json_schema"]["schema"]["properties"]
    assert asked["mood"]["enum"] == ["bad", "mixed", "good"]
    assert asked["mood"]["description"] == "how the writer feels"
    assert (asked["stars"]["minimum"], asked["stars"]["maximum"]) == (1, 5)


def test_preview_shows_it_word_by_word(run: Any, notes: Any, book: Path) -> None:
    shown = run("preview", notes, "notes", *ASK).out
    lines = [line.strip() for line in shown.splitlines()]
    for line in SAID.splitlines():
        assert line.strip() in (one.removeprefix("system").strip() for one in lines)


def test_a_text_of_ones_own_takes_its_place(run: Any, notes: Any, book: Path) -> None:
    own = ("--system", "You are careful.\n{{ codebook }}\nTake your time.")
    (body,) = bodies(run, notes, "notes", *ASK, *own)
    assert body["messages"][0]["content"] == f"You are careful.\n{SAID}\nTake your time."
    (body,) = bodies(run, notes, "notes", *ASK[2:], "--prompt", "{{ codebook }} # {{ text }}")
    assert [one["role"] for one in body["messages"]] == ["user"]
    assert body["messages"][0]["content"].startswith(f"{SAID} # note")
    template = {"model": "m", "messages": [{"role": "user", "content": "{{codebook}}{{ text }}"}]}
    Path("t.json").write_text(json.dumps(template))
    (body,) = bodies(run, notes, "notes", *ASK[2:], "--template", "t.json")
    assert body["messages"][0]["content"].startswith(f"{SAID}note")
    warned = run("preview", notes, "notes", *ASK, "--system", "You are careful.").err
    assert "Warning: the model isn't told what the labels of the codebook mean." in warned


def test_braces_of_a_codebook_go_out_as_they_are(run: Any, notes: Any, book: Path) -> None:
    book.write_text("variable,label,definition\nm,a,{{ text }} {% if %}\nm,b,\n")
    (body,) = bodies(run, notes, "notes", *ASK)
    assert "- a: {{ text }} {% if %}" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("text", "more", "sentence"),
    [
        ("variable,label\nmood,a\nmood,a\n", (), "--codebook 'book.csv', line 3: mood has the"),
        (TABLE, ("--schema", "x"), "--codebook makes the schema. Leave out --schema."),
        (None, (), "--codebook 'book.csv': there is no such file."),
        ("PK\x03\x04", (), "--codebook 'book.csv' is a workbook. Save it as CSV"),
    ],
)
@pytest.mark.parametrize("command", ["run", "preview", "prepare", "try"])
def test_what_cannot_be(
    run: Any, notes: Any, unchanged: Any, book: Path, command: str, text: Any, more: Any,
    sentence: str,
) -> None:  # fmt: skip
    book.unlink() if text is None else book.write_text(text)
    check = unchanged(notes)
    code = 2 if more else 1
    yes = () if command in ("preview", "prepare") else ("-y",)
    said = run(command, notes, "notes", *ASK, *more, "--base-url", run.base_url, *yes, code=code)
    assert sentence in said.err
    check()


def test_it_goes_with_the_job(run: Any, notes: Any, rows: Any, book: Path) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    book.unlink()
    kept = json.loads(rows(notes, "SELECT options FROM openai_batch_jobs")[0][0])
    assert [one["name"] for one in kept["codebook"]] == ["mood", "stars"]
    assert kept["recipe"]["codebook"] == TABLE
    report = run("report", notes).out
    assert "## Appendix: codebook" in report
    assert "| bad | They complain. | Never again. |" in report
    (body,) = bodies(run, notes, "notes", "--like", "1", "--prefix", "b_")
    assert body["messages"][0]["content"] == SAID


def test_its_order_weighs_what_people_say(run: Any, notes: Any, rows: Any, book: Path) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    said = rows(notes, "SELECT id, mood FROM notes ORDER BY id")
    near = {"good": "mixed", "mixed": "bad", "bad": "mixed"}
    lines = [f"{row},{near[mood] if row < 4 else mood}" for row, mood in said]
    Path("sheet.csv").write_text("id,mood_review\n" + "\n".join(lines))
    run("review", notes, "1", "--import", "sheet.csv", "--coder", "anna")
    text = run("compare", notes, "1", "-c", "mood").out
    assert "weighted κ" in text and "precision" in text
    found = json.loads(run("compare", notes, "1", "-c", "mood", "--nl").out)
    assert found["weighted_low"] <= found["weighted_kappa"] <= found["weighted_high"]
    assert found["weighted_kappa"] > found["kappa"]
    book.write_text(
        TABLE.replace("example", "example,ordered").replace("feels,", "feels,,no"),
    )
    run("run", notes, "notes", *ASK, *run.there, "--prefix", "b_")
    sheet = Path("sheet.csv").read_text().replace("mood_review", "b_mood_review")
    Path("sheet.csv").write_text(sheet)
    run("review", notes, "2", "--import", "sheet.csv", "--coder", "anna")
    assert "weighted κ" not in run("compare", notes, "2", "-c", "mood").out
