"""`shares`: what people's labels of a random sample say about all rows of a job."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from job_data import add_job

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.reviews import Review

ROWS = 600
MOODS = ("good", "bad", "mixed")
SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": list(MOODS)},
        "score": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["mood", "score", "tags"],
    "additionalProperties": False,
}
TEXT = {"name": "mood", "type": "TEXT", "property": "mood"}
COLUMNS = [
    TEXT,
    {"name": "score", "type": "REAL", "property": "score"},
    {"name": "tags", "type": "TEXT", "property": "tags"},
]


def truth(n: int) -> str:
    """What a row really is: half of the rows are good."""
    return ("good", "bad", "good", "mixed")[n % 4]


def model(n: int) -> str:
    """What the model says: every tenth row wrong."""
    return "bad" if n % 10 == 7 else truth(n)


@pytest.fixture
def data(tmp_path: Path, run: Any) -> Path:
    """600 rows of two years, all answered but the last five."""
    with closing(connect_new(tmp_path / "data.db")) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, overview TEXT, year)")
        conn.executemany(
            "INSERT INTO t VALUES (?, ?, 'x', ?)",
            [(n, f"text {n}", 2020 + n % 2) for n in range(ROWS)],
        )
        answers = {
            n: json.dumps({"mood": model(n), "score": n % 7, "tags": [*["a", "a"][: n % 3], "b"]})
            for n in range(ROWS)
        }
        add_job(
            conn, list(range(ROWS)), dict.fromkeys(range(ROWS - 5, ROWS), "refused"),
            source="t", schema=SCHEMA, columns=COLUMNS, answers=answers, write=False,
        )  # fmt: skip
    return Path("data.db")


def connect_new(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@pytest.fixture
def label(run: Any, data: Path, tmp_path: Path) -> Callable[..., None]:
    """Have a coder label so many rows of a random sample rightly, in a sheet."""

    def go(count: int, *options: str, coder: str = "anna", fill: int | None = None) -> None:
        found = list(csv.DictReader(io.StringIO(
            run("review", data, "1", "--csv", "-n", str(count), *options).out
        )))  # fmt: skip
        for row in found[:fill]:
            n = int(row["id"])
            row |= {"mood_review": truth(n), "score_review": str(n % 7 + 1), "tags_review": "b"}
        with (tmp_path / "sheet.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, found[0].keys())
            writer.writeheader()
            writer.writerows(found)
        run("review", data, "1", "--import", "sheet.csv", "--coder", coder)

    return go


def figures(text: str) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in json.loads(text)}


def test_shares_before_anybody_labelled(run: Any, data: Path, unchanged: Any) -> None:
    check = unchanged(data)
    said = run("shares", data, "1", "mood", "--json")
    found = figures(said.out)
    assert list(found) == list(MOODS)
    assert list(found["good"]) == [
        "label", "share", "corrected", "low", "high", "reviewed", "rows", "classical",
    ]  # fmt: skip
    assert found["bad"]["share"] == sum(model(n) == "bad" for n in range(ROWS - 5)) / (ROWS - 5)
    assert {row["corrected"] for row in found.values()} == {None}
    assert {row["reviewed"] for row in found.values()} == {0}
    assert "Nobody has labelled mood yet" in said.err
    check()


def test_shares_corrected_by_a_random_sample(run: Any, data: Path, label: Any) -> None:
    label(200, "--seed", "7")
    said = run("shares", data, "1", "mood", "--json")
    found = figures(said.out)
    for mood, row in found.items():
        really = sum(truth(n) == mood for n in range(ROWS - 5)) / (ROWS - 5)
        assert row["low"] < really < row["high"], mood
        assert row["high"] - row["low"] < 0.1
        assert abs(row["corrected"] - really) <= max(abs(row["share"] - really), 1e-3)
        assert row["classical"] == pytest.approx(row["corrected"], abs=0.02)
        assert (row["reviewed"], row["rows"]) == (200, 595)
    assert sum(row["classical"] for row in found.values()) == pytest.approx(1)
    assert said.err.splitlines() == [
        "5 rows without an answer are in no share.",
        "199 more labels of random rows would halve the intervals.",
    ]


def test_the_screen(run: Any, data: Path, label: Any) -> None:
    label(100)
    lines = run("shares", data, "1", "mood").out.splitlines()
    assert lines[0] == (
        "Shares of mood, job 1: 595 answered rows, 100 of them drawn at random and labelled"
    )
    assert lines[2].split() == ["model", "corrected", "95", "%", "interval", "classical"]
    assert [line.split()[0] for line in lines[3:6]] == list(MOODS)
    assert len({len(line) for line in lines[2:6]}) == 1


def test_shares_by_a_column(run: Any, data: Path, label: Any) -> None:
    label(120)
    rows = list(csv.DictReader(io.StringIO(
        run("shares", data, "1", "mood", "--by", "YEAR", "--csv").out
    )))  # fmt: skip
    assert list(rows[0])[:3] == ["year", "label", "share"]
    assert [(row["year"], row["label"]) for row in rows] == [
        (year, mood) for year in ("2020", "2021") for mood in MOODS
    ]
    assert sum(int(row["reviewed"]) for row in rows[::3]) == 120
    assert {row["rows"] for row in rows} == {"298", "297"}
    for row in rows:
        really = [truth(n) for n in range(ROWS - 5) if str(2020 + n % 2) == row["year"]]
        assert float(row["low"]) <= really.count(row["label"]) / len(really) <= float(row["high"])
    screen = run("shares", data, "1", "mood", "--by", "year").out
    assert "year 2020: 298 rows, " in screen


def test_means_and_lists(run: Any, data: Path, label: Any) -> None:
    label(150)
    mean = figures(run("shares", data, "1", "score", "--json").out)["mean"]
    assert mean["share"] == sum(n % 7 for n in range(ROWS - 5)) / (ROWS - 5)
    assert mean["corrected"] == pytest.approx(mean["share"] + 1)
    tags = figures(run("shares", data, "1", "tags", "--json").out)
    assert tags["b"]["share"] == tags["b"]["corrected"] == 1
    assert tags["a"]["share"] == pytest.approx(2 / 3, abs=0.01)
    assert tags["a"]["low"] == 0


def test_a_sample_that_is_small_not_whole_or_not_blind(run: Any, data: Path, label: Any) -> None:
    label(20, "-c", "mood", "--show-answer", fill=12)
    said = run("shares", data, "1", "mood", "--json")
    assert figures(said.out)["good"]["reviewed"] == 12
    assert said.err.splitlines() == [
        "The sample is too small: 12 rows labelled. "
        "Take the intervals as a hint, and label 30 at least, better 100.",
        "12 rows of the sample were not labelled blind: who sees the model's answer tends to agree "
        "with it, so the correction may be too small.",
        "8 rows of the sample have no label: where these are the hard ones, the shares are off.",
        "5 rows without an answer are in no share.",
        "34 more labels of random rows would halve the intervals.",
    ]


def test_rows_that_werent_drawn_at_random_correct_nothing(run: Any, data: Path, label: Any) -> None:
    label_by_hand(data, range(50), "anna")
    said = run("shares", data, "1", "mood", "--json")
    assert {row["corrected"] for row in figures(said.out).values()} == {None}
    assert said.err == (
        "The 50 labelled rows weren't drawn at random, so they say nothing about all rows: "
        "nothing is corrected. Label a random sample with: review DB 1 -n 100\n"
    )
    label(60)
    said = run("shares", data, "1", "mood", "--json")
    assert figures(said.out)["good"]["reviewed"] == 60
    assert "more were not drawn at random, and left out." in said.err


def label_by_hand(data: Path, keys: Any, coder: str, mood: str = "good") -> None:
    with closing(connect(data)) as conn:
        ids = [store.reviews.request_of(conn, 1, key) for key in keys]
        found = [Review(one, "mood", mood, coder) for one in ids if one is not None]
        store.reviews.record(conn, 1, found)


def test_the_label_of_most_coders_counts(run: Any, data: Path, label: Any) -> None:
    label(40)
    everything = range(ROWS)
    label_by_hand(data, everything, "ben", "mixed")
    torn = run("shares", data, "1", "mood", "--json")
    agreed = sum(truth(int(n)) == "mixed" for n in sampled(data))
    assert figures(torn.out)["mixed"]["reviewed"] == agreed
    assert f"On {40 - agreed} rows of the sample the coders differ" in torn.err
    label_by_hand(data, everything, "cleo", "mixed")
    found = figures(run("shares", data, "1", "mood", "--json").out)
    assert found["mixed"]["reviewed"] == 40
    assert found["mixed"]["corrected"] > 0.9


def sampled(data: Path) -> list[int]:
    with closing(connect(data)) as conn:
        (sample,) = store.reviews.samples(conn, 1)
        return [store.reviews.row_of(conn, 1, one)[0] for one in sample.requests]


WRONG = {
    "no such job": (("7", "mood"), "No job '7'", 1),
    "no such answer": (("1", "mod"), "Did you mean mood?", 2),
    "no such group": (("1", "mood", "--by", "yaer"), "Did you mean year?", 2),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_has_no_shares(run: Any, data: Path, kind: str) -> None:
    arguments, sentence, code = WRONG[kind]
    assert sentence in run("shares", data, *arguments, code=code).err


def test_text_has_no_shares(run: Any, tmp_path: Path) -> None:
    with closing(connect_new(tmp_path / "data.db")) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
        conn.executemany("INSERT INTO t (id) VALUES (?)", [(n,) for n in range(300)])
        add_job(conn, list(range(300)), source="t", schema=None)
    said = run("shares", "data.db", "1", "answer", code=2).err
    assert "answer has more than 200 different values: these are no labels" in said


def test_random_labels_of_a_random_model(run: Any, data: Path, label: Any) -> None:
    """Where the model knows nothing its answers are hardly trusted: the labels speak alone."""
    with closing(connect(data)) as conn:
        source = random.Random(3)
        for one in range(1, ROWS + 1):
            said = {"mood": source.choice(MOODS), "score": 1, "tags": []}
            conn.execute(
                "UPDATE openai_batch_requests SET answer = ? WHERE id = ? AND status = 'ok'",
                [json.dumps(said), one],
            )
    label(200)
    found = figures(run("shares", data, "1", "mood", "--json").out)
    assert found["good"]["share"] < 0.4
    people = [truth(n) for n in sampled(data)].count("good") / 200
    assert found["good"]["corrected"] == pytest.approx(people, abs=0.01)


def test_the_report_tells_what_people_say(run: Any, data: Path, label: Any) -> None:
    assert "## Labels by people" not in run("report", data, "1").out
    label(40, "--seed", "3", "-c", "mood")
    label_by_hand(data, range(100), "ben", "good")
    text = run("report", data, "1").out
    section = text.partition("## Labels by people\n\n")[2].partition("## Cost")[0]
    assert section.startswith(
        "A random sample of 40 answered rows (seed 3) was given to people to label, without sight "
        "of the model's answers.\n\n`mood`: "
    )
    assert "labelled by 2 people; the model says the same in " in section
    assert "Krippendorff's α among people is " in section
    assert (
        "| mood | by the model | corrected | 95 % interval |\n|---|---:|---:|---:|\n| good |"
        in (section)
    )
    assert "Angelopoulos" in section
    assert "not drawn at random, and left out." in section
