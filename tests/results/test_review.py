"""`review`: people label rows of a job, in a terminal or in a sheet."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from finished import answered
from sqlite_utils.cli import cli

from sqlite_utils_openai_batch.results.review.sample import shuffled
from sqlite_utils_openai_batch.store.connection import connect

SCHEMA = "mood good|bad|mixed, stars 1..5 int, sure bool, tags list of a|b|c, why"
SAID = "SELECT request_id, column, value, skipped, coder, blind FROM openai_batch_reviews"


def answer(n: int) -> dict[str, Any]:
    mood = ("good", "bad", "mixed")[n % 3]
    return {"mood": mood, "stars": n % 5 + 1, "sure": True, "tags": ["a"], "why": f"because {n}"}


@pytest.fixture
def data(tmp_path: Path, run: Any) -> Path:
    """Forty rows about which a job was asked; one of them has no answer."""
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (code TEXT PRIMARY KEY, text TEXT, year INTEGER, photo BLOB)")
        conn.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(f"r{n:02}", f"text {n}", 2000 + n % 4, b"\0\1") for n in range(1, 41)],
        )
    with closing(connect(tmp_path / "data.db")) as conn:
        first = {f"r{n:02}": answer(n) for n in range(1, 40)}
        answered(conn, tmp_path, "t", first, schema=SCHEMA, name="first")
        other = {f"r{n:02}": answer(n + (n < 5)) for n in range(1, 40)}
        answered(conn, tmp_path, "t", other, schema=SCHEMA, prefix="b_")
    return Path("data.db")


@pytest.fixture
def typing(run: Any) -> Callable[..., str]:
    """Run `review` with what a coder types; returns what the screen showed."""

    def go(*args: str | Path, typed: str, code: int = 0) -> str:
        arguments = ["openai-batch", "review", *map(str, args)]
        result = CliRunner().invoke(cli, arguments, input=typed, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.stderr

    return go


def sheet(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def write_sheet(path: Path, rows: list[dict[str, str]], **how: Any) -> None:
    encoding = how.pop("encoding", "utf-8")
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), **how)
        writer.writeheader()
        writer.writerows(rows)


# The sample


@pytest.mark.parametrize(("first", "last"), [(1, 7), (5, 5), (100, 160)])
def test_a_shuffle_has_each_number_once_and_begins_alike(first: int, last: int) -> None:
    whole = list(shuffled(first, last, 7))
    assert sorted(whole) == list(range(first, last + 1))
    assert list(islice(shuffled(first, last, 7), 3)) == whole[:3]
    assert first == last or whole != list(shuffled(first, last, 8))


def test_a_shuffle_favours_no_number() -> None:
    seen: Counter[int] = Counter()
    for seed in range(2_000):
        seen.update(islice(shuffled(1, 10, seed), 3))
    # 600 of each are expected, with a standard deviation of 20.
    assert all(520 < seen[number] < 680 for number in range(1, 11))


def test_the_same_seed_draws_the_same_rows_and_more_of_them(run: Any, data: Path) -> None:
    few = [row["code"] for row in sheet(run("review", data, "first", "--csv", "-n", "9").out)]
    again = [row["code"] for row in sheet(run("review", data, "first", "--csv", "-n", "9").out)]
    more = [row["code"] for row in sheet(run("review", data, "first", "--csv", "-n", "20").out)]
    other = run("review", data, "1", "--csv", "-n", "9", "--seed", "5").out
    assert few == again == more[:9]
    assert len(set(more)) == 20
    assert [row["code"] for row in sheet(other)] != few


def test_a_sample_of_more_rows_than_there_are(run: Any, data: Path) -> None:
    said = run("review", data, "1", "--csv", "-n", "400", "--seed", "7")
    codes = {row["code"] for row in sheet(said.out)}
    assert codes == {f"r{n:02}" for n in range(1, 40)}, "the row without an answer isn't drawn"
    assert said.err == (
        "39 of 39 answered rows, drawn at random (seed 7): all that there are; "
        "the model's answers aren't in it.\n"
    )


def test_a_blind_sheet_holds_no_answer_of_any_job(run: Any, data: Path) -> None:
    text = run("review", data, "1", "--csv", "-n", "5", "-c", "mood").out
    assert text.splitlines()[0] == "code,text,year,photo,mood_review"
    assert all(row["mood_review"] == "" for row in sheet(text))
    assert all(row["photo"] == "(2 B of bytes)" for row in sheet(text))
    shown = run("review", data, "1", "--csv", "-n", "5", "-c", "mood", "--show-answer").out
    assert "mood,mood_review" in shown.splitlines()[0]
    assert {row["mood"] for row in sheet(shown)} <= {"good", "bad", "mixed"}


def test_other_rows_than_a_random_sample(run: Any, data: Path) -> None:
    failed = sheet(run("review", data, "1", "--csv", "--status", "missing").out)
    assert [row["code"] for row in failed] == ["r40"]
    unsure = sheet(run("review", data, "1", "--csv", "--least-sure", "stars", "-n", "3").out)
    assert [row["code"] for row in unsure] == ["r05", "r10", "r15"]
    differ = sheet(run("review", data, "1", "--csv", "--differ", "2").out)
    assert [row["code"] for row in differ] == ["r01", "r02", "r03", "r04"]


WRONG: dict[str, tuple[tuple[str, ...], str, int]] = {
    "no such job": (("7",), "No job '7'", 1),
    "no such answer": (("1", "--csv", "-c", "mod"), "Did you mean mood?", 2),
    "two ways to choose": (("1", "--status", "ok", "--seed", "1"), "Which rows?", 2),
    "no such outcome": (("1", "--status", "okay"), "No outcome is called 'okay'.", 2),
    "not a number": (("1", "--least-sure", "mood"), "mood holds no numbers", 2),
    "nothing to see": (("1", "--differ", "people"), "has no such rows to review", 1),
    "no coder": (("1", "--import", "sheet.csv"), "Name the coder: --coder anna", 2),
    "no file": (("1", "--import", "no.csv", "--coder", "a"), "'no.csv' can't be read", 1),
    "import and choose": (("1", "--import", "a.csv", "-n", "4"), "--import reads a sheet", 2),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cant_be_reviewed(run: Any, data: Path, unchanged: Any, kind: str) -> None:
    arguments, sentence, code = WRONG[kind]
    check = unchanged(data)
    assert sentence in run("review", data, *arguments, code=code).err
    check()


# Sheets that come back


def test_a_sheet_comes_back_and_the_same_sheet_changes_nothing(
    run: Any, data: Path, tmp_path: Path, rows: Any
) -> None:
    found = sheet(run("review", data, "1", "--csv", "-n", "12", "--seed", "7").out)
    for row, mood in zip(found, ["good", "Bad ", "mixed"] * 4, strict=True):
        row |= {"mood_review": mood, "stars_review": "4.0", "sure_review": "no"}
        row |= {"tags_review": "b; C", "why_review": "says so"}
    found[11] |= dict.fromkeys((name for name in found[11] if name.endswith("_review")), "")
    write_sheet(tmp_path / "sheet.csv", found)
    said = run("review", data, "1", "--import", "sheet.csv", "--coder", "anna")
    assert said.err.splitlines()[0] == ("55 labels by anna taken in, 1 row without a label.")
    kept = rows(data, SAID)
    assert Counter(row[1] for row in kept) == dict.fromkeys(
        ("mood", "stars", "sure", "tags", "why"), 11
    )
    assert {row[2] for row in kept if row[1] == "mood"} == {"good", "bad", "mixed"}
    assert {row[2] for row in kept if row[1] in ("stars", "sure")} == {4, 0}
    assert {row[2] for row in kept if row[1] == "tags"} == {'["b","c"]'}
    assert {row[4:] for row in kept} == {("anna", 1)}
    again = run("review", data, "1", "--import", "sheet.csv", "--coder", "anna").err
    assert again.startswith("0 labels by anna taken in, 55 known already")
    assert rows(data, SAID) == kept
    # A correction is added, and another coder has labels of their own.
    found[0]["mood_review"] = "mixed"
    write_sheet(tmp_path / "sheet.csv", found)
    run("review", data, "1", "--import", "sheet.csv", "--coder", "anna")
    run("review", data, "1", "--import", "sheet.csv", "--coder", "ben", "-c", "mood")
    assert len(rows(data, SAID)) == 55 + 1 + 11


@pytest.mark.parametrize(
    ("encoding", "how"),
    [
        ("utf-8-sig", {"delimiter": ";"}),
        ("utf-16", {"delimiter": "\t"}),
        ("cp1252", {"delimiter": ";"}),
    ],
)
def test_what_spreadsheets_make_of_a_sheet(
    run: Any, data: Path, tmp_path: Path, rows: Any, encoding: str, how: dict[str, Any]
) -> None:
    found = sheet(run("review", data, "1", "--csv", "-n", "4", "-c", "why").out)
    for row in found:
        row["why_review"] = "schön; „wirklich“, ja"
    write_sheet(tmp_path / "sheet.csv", found, encoding=encoding, **how)
    run("review", data, "1", "--import", "sheet.csv", "--coder", "anna")
    assert {row[2] for row in rows(data, SAID)} == {"schön; „wirklich“, ja"}


def test_labels_that_arent_any_are_told_by_line_and_nothing_is_taken_in(
    run: Any, data: Path, tmp_path: Path, unchanged: Any
) -> None:
    found = sheet(run("review", data, "1", "--csv", "-n", "5").out)
    for row in found:
        row["mood_review"] = "good"
    found[1]["mood_review"] = "godo"
    found[2]["stars_review"] = "6"
    found[3] |= {"code": "r77", "sure_review": "perhaps"}
    found[4]["tags_review"] = "a, d"
    write_sheet(tmp_path / "sheet.csv", found)
    check = unchanged(data)
    said = run("review", data, "1", "--import", "sheet.csv", "--coder", "anna", code=1).err
    lines = said.splitlines()
    assert lines[0] == "Error: Nothing of 'sheet.csv' was taken in."
    assert lines[1] == (
        "Line 3: 'godo' is not a label of mood. Did you mean good? Labels: good, bad, mixed"
    )
    assert lines[2] == "Line 4: '6' is not a label of stars. Labels: 1, 2, 3, 4, 5"
    assert lines[3] == "Line 5: job 1 didn't ask about a row with code r77."
    assert lines[4].startswith("Line 6: 'a, d' can't be tags: ")
    check()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"id,mood_review\n1,good\n", "has no column 'code'"),
        (b"code,mood\nr01,good\n", "has no column of labels for job 1: one of mood_review"),
        (b"", "has no column names"),
        (b"PK\x03\x04", "is a workbook. Save it as CSV"),
    ],
)
def test_files_that_are_no_sheet(
    run: Any, data: Path, tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "sheet.csv").write_bytes(content)
    said = run("review", data, "1", "--import", "sheet.csv", "--coder", "anna", code=1)
    assert sentence in said.err


def test_keys_that_are_numbers_or_compound(run: Any, tmp_path: Path, rows: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, text TEXT)")
        conn.execute("CREATE TABLE c (a TEXT, b INTEGER, text TEXT, PRIMARY KEY (a, b))")
        conn.executemany("INSERT INTO n VALUES (?, 'x')", [(n,) for n in range(1, 6)])
        conn.executemany("INSERT INTO c VALUES ('=p', ?, 'y')", [(n,) for n in range(1, 6)])
    with closing(connect(tmp_path / "data.db")) as conn:
        answered(conn, tmp_path, "n", dict.fromkeys(range(1, 6), "fine"))
        keys = [json.dumps(["=p", n], separators=(",", ":")) for n in range(1, 6)]
        answered(conn, tmp_path, "c", dict.fromkeys(keys, "fine"))
    for job in ("1", "2"):
        found = sheet(run("review", "data.db", job, "--csv", "-n", "5").out)
        for row in found:
            row["answer_review"] = "good"
        write_sheet(tmp_path / "sheet.csv", found)
        run("review", "data.db", job, "--import", "sheet.csv", "--coder", "anna")
    assert [row[0] for row in rows("data.db", SAID + " ORDER BY 1")] == list(range(1, 11))


# At a terminal


def test_rows_one_after_the_other(typing: Any, data: Path, rows: Any) -> None:
    screen = typing(data, "1", "-n", "3", "-c", "mood", "--coder", "anna", typed="2\nmixed\n/s\n")
    assert screen.startswith("3 of 39 answered rows, drawn at random (seed 0). Coder: anna.")
    assert screen.count("    1 good\n    2 bad\n    3 mixed\n  mood> ") == 3
    assert "because" not in screen, "what the model says is hidden"
    assert "3 of 3 rows labelled by anna." in screen
    kept = rows(data, SAID + " ORDER BY id")
    assert [row[2:] for row in kept] == [
        ("bad", 0, "anna", 1), ("mixed", 0, "anna", 1), (None, 1, "anna", 1),
    ]  # fmt: skip


def test_what_was_typed_wrong_a_note_and_one_row_back(typing: Any, data: Path, rows: Any) -> None:
    typed = "\nterrible\n/n not sure\n1\n/b\n3\n"
    screen = typing(data, "1", "-n", "2", "-c", "mood", "--coder", "anna", typed=typed)
    assert "The model's answer is hidden: type a label." in screen
    assert "'terrible' is not a label of mood." in screen
    assert "you said: good" in screen
    assert "1 of 2 rows labelled by anna." in screen
    assert [row[2] for row in rows(data, SAID + " ORDER BY id")] == ["good", "mixed"]
    notes = rows(data, "SELECT note FROM openai_batch_reviews ORDER BY id")
    assert notes == [("not sure",), ("not sure",)]


def test_go_on_where_it_was_left(typing: Any, data: Path, rows: Any) -> None:
    typing(data, "1", "-n", "4", "-c", "stars", "--coder", "anna", typed="3\n/q\n")
    typing(data, "1", "-c", "stars", "--coder", "ben", typed="5\n")
    screen = typing(data, "1", "-c", "stars", "--coder", "anna", typed="2\n4\n1\n")
    assert "Row 2 of 4" in screen
    assert "Row 1 of 4" not in screen
    said = rows(data, "SELECT coder, value FROM openai_batch_reviews ORDER BY id")
    assert said == [("anna", 3), ("ben", 5), ("anna", 2), ("anna", 4), ("anna", 1)]


def test_enter_takes_the_answer_that_is_shown(typing: Any, data: Path, rows: Any) -> None:
    screen = typing(data, "1", "--status", "ok", "-n", "2", "-c", "mood", "-c", "why",
                    "--coder", "a", typed="\n\n\nother\n")  # fmt: skip
    assert "model: bad" in screen
    kept = rows(data, SAID + " ORDER BY id")
    assert [(row[2], row[5]) for row in kept] == [
        ("bad", 0), ("because 1", 0), ("mixed", 0), ("other", 0),
    ]  # fmt: skip


def test_deleting_a_job_tells_of_its_labels(
    typing: Any, terminal: Any, data: Path, rows: Any
) -> None:
    typing(data, "1", "-n", "3", "-c", "mood", "--coder", "anna", typed="1\n1\n1\n")
    begun = terminal("delete", data, "1")
    begun.answer("Delete the record of job 1, and 3 labels by people?", "n\n")
    begun.end(0)
    assert len(rows(data, SAID)) == 3


def test_deleting_a_job_takes_its_labels_along(
    typing: Any, run: Any, data: Path, rows: Any
) -> None:
    typing(data, "1", "-n", "3", "-c", "mood", "--coder", "anna", typed="1\n1\n1\n")
    run("delete", data, "1", "-y")
    assert rows(data, SAID) == rows(data, "SELECT id FROM openai_batch_samples") == []
