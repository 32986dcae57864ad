"""`compare`: how far two jobs agree, or a job and what is known to be right."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.results.agreement import (
    MOST_LABELS,
    Agreement,
    Moments,
    alpha,
    interval,
    kappa,
    label_scores,
    macro_f1,
    table_of,
    weighted_kappa,
)
from sqlite_utils_openai_batch.results.compare import Comparison, figures
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.reviews import Review

SCHEMA = "mood good|bad|mixed, stars 1..5 int, tags list, sure bool"

# The figures


def cells(rows: list[list[int]]) -> dict[tuple[Any, Any], int]:
    return {(a, b): count for a, row in enumerate(rows) for b, count in enumerate(row) if count}


@pytest.mark.parametrize(
    ("rows", "value", "error"),
    [
        # Fleiss, Levin and Paik (2003), table 18.1: two raters of 100 subjects
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.676, 0.088),
        ([[20, 5], [10, 15]], 0.4, 0.127),
        ([[10, 0], [0, 10]], 1.0, 0.0),
        ([[0, 10], [10, 0]], -1.0, 0.0),
    ],
)
def test_kappa_of_tables_from_books(rows: list[list[int]], value: float, error: float) -> None:
    found = kappa(cells(rows))
    assert found is not None
    assert found.value == pytest.approx(value, abs=5e-4)
    assert found.high == pytest.approx(min(value + 1.96 * error, 1), abs=1.1e-3)
    assert found.low == pytest.approx(max(value - 1.96 * error, -1), abs=1.1e-3)


def test_weighted_kappa_of_a_table_from_a_book() -> None:
    """How 91 couples say that sex is fun (Hout, Duncan and Sobel 1987; Agresti 1990).

    With linear weights 0.2374, and a standard error of 0.0783.
    """
    counts = cells([[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]])
    plain, found = kappa(counts), weighted_kappa(counts)
    assert plain is not None
    assert found is not None
    assert plain.value == pytest.approx(0.1293, abs=5e-5)
    assert found.value == pytest.approx(0.2374, abs=5e-5)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.0783, abs=2e-4)
    assert weighted_kappa({}) is None
    assert weighted_kappa({(1, 1): 5}) is None


# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): four observers, twelve units.
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def test_alpha_of_published_data() -> None:
    units = [[one for one in unit if one is not None] for unit in zip(*OBSERVERS, strict=True)]
    assert alpha(units) == pytest.approx(0.743, abs=5e-4)
    assert alpha(units, interval) == pytest.approx(0.849, abs=5e-4)


def test_alpha_that_isnt_defined() -> None:
    assert alpha([]) is None
    assert alpha([["a"], ["b"]]) is None
    assert alpha([["a", "a"], ["a", "a"]]) is None
    assert alpha([["a", "a"], ["b", "b"]]) == 1
    assert alpha([[1e300, -1e300], [2.0, 2.0]], interval) is None


def test_how_well_each_label_is_found() -> None:
    good, bad, odd = label_scores({("a", "a"): 6, ("b", "a"): 2, ("b", "b"): 3, ("c", "b"): 1})
    assert (good.label, good.gold, good.precision, good.recall) == ("a", 8, 1, 0.75)
    assert (bad.label, bad.precision, bad.recall) == ("b", 0.6, 0.75)
    assert bad.f1 == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))
    assert (odd.label, odd.gold, odd.precision, odd.recall, odd.f1) == ("c", 0, 0, None, 0)


def test_kappa_that_isnt_defined() -> None:
    assert kappa({}) is None
    assert kappa({("a", "a"): 12}) is None


TABLES = st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3).map(
    cells
)


def plain_kappa(shares: Mapping[tuple[Any, Any], float]) -> float:
    rows, columns = Counter[Any](), Counter[Any]()
    for (a, b), share in shares.items():
        rows[a] += share  # type: ignore[assignment]
        columns[b] += share  # type: ignore[assignment]
    whole = sum(shares.values())
    observed = sum(share for (a, b), share in shares.items() if a == b) / whole
    expected = sum(rows[label] * columns[label] for label in rows) / whole**2
    return (observed - expected) / (1 - expected)


@settings(deadline=None)
@given(TABLES)
def test_the_standard_error_is_that_of_the_delta_method(counts: dict[tuple[Any, Any], int]) -> None:
    found = kappa(counts)
    assume(found is not None and -0.9 < found.low < found.high < 0.9)
    assert found is not None
    n = sum(counts.values())
    shares = {pair: count / n for pair, count in counts.items()}
    step = 1e-6
    slopes = {}
    for pair in shares:
        up, down = ({**shares, pair: shares[pair] + sign * step} for sign in (1, -1))
        slopes[pair] = (plain_kappa(up) - plain_kappa(down)) / (2 * step)
    mean = sum(share * slopes[pair] for pair, share in shares.items())
    spread = sum(share * (slopes[pair] - mean) ** 2 for pair, share in shares.items())
    assert found.value == pytest.approx(plain_kappa(shares))
    assert (found.high - found.low) / 2 == pytest.approx(
        1.959964 * math.sqrt(spread / n), rel=1e-3, abs=1e-6
    )


NUMBERS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30)


@given(NUMBERS, st.sampled_from([0, 10**9]))
def test_moments_are_those_of_the_whole(pairs: list[tuple[int, int]], shift: int) -> None:
    moments = Moments()
    for a, b in pairs:
        moments.add(a + shift, b + shift)
    first, second = ([float(pair[n]) for pair in pairs] for n in (0, 1))
    assert moments.mean_difference == pytest.approx(statistics.fmean(abs(a - b) for a, b in pairs))
    spread = statistics.pvariance(first) + statistics.pvariance(second)
    apart = (statistics.fmean(first) - statistics.fmean(second)) ** 2
    if spread + apart == 0:
        assert moments.concordance is None
        return
    product = statistics.fmean(
        (a - statistics.fmean(first)) * (b - statistics.fmean(second)) for a, b in pairs
    )
    assert moments.concordance == pytest.approx(2 * product / (spread + apart), abs=1e-6)
    # The same as κ weighted by squared differences.
    chance = statistics.fmean((a - b) ** 2 for a in first for b in second)
    weighted = 1 - statistics.fmean((a - b) ** 2 for a, b in pairs) / chance
    assert moments.concordance == pytest.approx(weighted, abs=1e-6)
    if len(set(first)) > 1 and len(set(second)) > 1:
        r = statistics.correlation(first, second)
        assert moments.correlation == pytest.approx(r, abs=1e-6)
    else:
        assert moments.correlation is None


def test_numbers_whose_squares_are_beyond_all_numbers() -> None:
    found = Agreement("number")
    assert found.add_all([1e300, 1.0, -1e300], [1e300, 2.0, 1.0]) == [True, False, False]
    found.add_same([1e300, 1.0], 2)
    assert (found.moments.correlation, found.moments.concordance) == (None, None)
    assert found.moments.mean_difference == pytest.approx(2e299)


def test_macro_f1() -> None:
    # precision 2/3, recall 2/2; precision 1/1, recall 1/2
    counts = {("a", "a"): 2, ("a", "b"): 1, ("b", "b"): 1}
    assert macro_f1(counts) == pytest.approx((0.8 + 2 / 3) / 2)
    assert macro_f1({}) is None


def test_too_many_labels_are_text() -> None:
    found = Agreement("label")
    for n in range(MOST_LABELS + 1):
        found.add(f"text {n}", f"Text  {n}" if n % 2 else f"text {n}")
    assert (found.pairs, found.kappa, found.labels) == (None, None, [])
    assert (found.n, found.same, found.alike) == (201, 101, 100)


def test_numbers_with_many_values_are_no_scale() -> None:
    found = Agreement("number")
    for n in range(21):
        found.add(n / 20, n / 20)
    assert (found.kappa, found.moments.concordance) == (None, pytest.approx(1.0))


def test_labels_that_arent_shown_are_put_together() -> None:
    counts = {("a", "a"): 5, ("a", "b"): 2, ("c", "a"): 1, ("b", "c"): 4}
    assert table_of(counts, ["a"]) == [[5, 2], [1, 4]]


# The command


@pytest.fixture
def reviews(tmp_path: Path, run: Any) -> Path:
    """Eight rows that two jobs answered by the same schema; some rows one of them didn't."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, human TEXT, rated TEXT, ok TEXT)"
        )
        moods = ("good", "bad", "mixed", "good", "Good ", None, "good", "other")
        for n, mood in enumerate(moods, 1):
            row = [n, f"text {n}", mood, f" {n % 5 + 1} ", "yes" if n % 2 else "no"]
            conn.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", row)
    with closing(connect(path)) as conn:
        first = {n: said("good" if n != 2 else "bad", n % 5 + 1, ["a", "b"]) for n in range(1, 8)}
        second = {n: said("good", 3, ["b", "a"] if n < 4 else ["a"]) for n in (1, 2, 3, 4, 5, 8)}
        answered(conn, tmp_path, "t", first, schema=SCHEMA, name="first")
        answered(conn, tmp_path, "t", second, schema=SCHEMA, name="second", prefix="b_")
    return Path("data.db")


def said(mood: str, stars: int, tags: list[str]) -> dict[str, Any]:
    return {"mood": mood, "stars": stars, "tags": tags, "sure": True}


def test_two_jobs(run: Any, reviews: Path) -> None:
    said = run("compare", reviews, "first", "2")
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[0] == "Job 1 first (gpt-4o-mini) beside Job 2 second (gpt-4o-mini)"
    assert lines[2:6] == [
        "Rows      with both                    5",
        "          no answer in job 1           1",
        "          no answer in job 2           2",
        "          sum                          8",
    ]
    assert "mood: 80.0 % the same (4 of 5) · κ 0.00" in lines
    start = next(n for n, line in enumerate(lines) if line.startswith("  job 1 ↓"))
    assert [line.split() for line in lines[start : start + 4]] == [
        ["job", "1", "↓", "job", "2", "→", "good", "bad", "sum"],
        ["good", "4", "0", "4"], ["bad", "1", "0", "1"], ["sum", "5", "0", "5"],
    ]  # fmt: skip
    assert any(line.startswith("stars: 20.0 % the same (1 of 5) · 1.20 apart") for line in lines)
    assert "tags: 60.0 % the same (3 of 5) · 80.0 % of their elements in common" in lines
    assert "sure: 100.0 % the same (5 of 5)" in lines
    assert lines[-1] == (
        "Which rows differ: sqlite-utils openai-batch compare data.db 1 2 --disagree --csv "
        "> differ.csv"
    )


def test_figures_as_rows(run: Any, reviews: Path) -> None:
    printed = run("compare", reviews, "1", "2", "--csv").out
    rows = {row["column"]: row for row in csv.DictReader(io.StringIO(printed))}
    assert list(rows) == ["mood", "stars", "tags", "sure"]
    assert (rows["mood"]["compared"], rows["mood"]["same"], rows["mood"]["agreement"]) == (
        "5", "4", "0.8",
    )  # fmt: skip
    assert rows["stars"]["mean_difference"] == "1.2"
    assert rows["stars"]["correlation"] == ""
    assert rows["tags"]["overlap"] == "0.8"
    assert rows["mood"]["macro_f1"] == ""
    one = json.loads(run("compare", reviews, "1", "2", "-c", "MOOD", "--nl").out)
    assert one["column"] == "mood"


def test_rows_on_which_they_disagree(run: Any, reviews: Path) -> None:
    said = run("compare", reviews, "1", "2", "--disagree", "-c", "mood", "-c", "tags", "--csv")
    assert said.out.splitlines() == [
        "id,mood_job_1,mood_job_2,tags_job_1,tags_job_2",
        '2,bad,good,"[""a"",""b""]","[""b"",""a""]"',
        '4,good,good,"[""a"",""b""]","[""a""]"',
        '5,good,good,"[""a"",""b""]","[""a""]"',
    ]
    assert said.err == "mood: 1 row of 5 differ; tags: 2 rows of 5 differ.\n"


def test_what_people_said(run: Any, reviews: Path) -> None:
    said = run("compare", reviews, "1", "--gold", "mood=human", "--gold", "stars=rated",
               "--gold", "sure=ok")  # fmt: skip
    lines = said.out.splitlines()
    assert lines[0] == "Job 1 first (gpt-4o-mini) beside t"
    mood = next(n for n, line in enumerate(lines) if line.startswith("mood / human: "))
    assert lines[mood].startswith("mood / human: 66.7 % the same (4 of 6) · κ ")
    assert "macro F1" in lines[mood]
    assert lines[mood + 1] == "  1 row differ only in capitals or white space (-i)"
    table = "\n".join(lines[mood:])
    assert "no value in gold" in table
    assert "stars / rated: 100.0 % the same (7 of 7) · 0.00 apart on the mean · r 1.00" in said.out
    assert "sure / ok: 57.1 % the same (4 of 7)" in said.out
    folded = run("compare", reviews, "1", "--gold", "mood=human", "-i").out
    assert "mood / human: 83.3 % the same (5 of 6)" in folded
    rows = run("compare", reviews, "1", "--gold", "mood=human", "--disagree", "--csv").out
    assert rows.splitlines() == ["id,mood_job_1,mood_gold", "3,good,mixed", "5,good,Good "]


def test_a_column_of_the_same_name_or_the_only_answer(
    run: Any, tmp_path: Path, reviews: Path
) -> None:
    with closing(connect(tmp_path / "data.db")) as conn:
        answered(conn, tmp_path, "t", {1: "good", 2: "good"}, output="plain")
    same = run("compare", reviews, "2", "--gold", "mood").out
    assert "mood: 80.0 % the same (4 of 5) · κ 0.00 · macro F1 0.44" in same
    only = run("compare", reviews, "3", "--gold", "human").out
    assert "answer / human: 50.0 % the same (1 of 2)" in only


def test_jobs_that_share_no_rows_or_one_answer(run: Any, tmp_path: Path, reviews: Path) -> None:
    with closing(connect(tmp_path / "data.db")) as conn:
        where = {"where": "id < 4", "output": "plain"}
        answered(conn, tmp_path, "t", {1: "one", 2: "two"}, **where)
        answered(conn, tmp_path, "t", {2: "two", 3: "three"}, where="id > 1", output="other")
    out = run("compare", reviews, "3", "4").out
    assert "answer: 100.0 % the same (1 of 1)" in out
    assert [line[10:].split("  ")[0] for line in out.splitlines()[2:7]] == [
        "with both", "no answer in job 3", "asked by job 3 only", "asked by job 4 only", "sum",
    ]  # fmt: skip
    assert [line.split()[-1] for line in out.splitlines()[2:7]] == ["1", "1", "1", "5", "8"]
    back = run("compare", reviews, "4", "3").out
    assert "answer: 100.0 % the same (1 of 1)" in back


WRONG: dict[str, tuple[tuple[str, ...], str, int]] = {
    "with what": (("1",), "Compare with what? Name another job, or --gold COLUMN", 2),
    "with both": (("1", "2", "--gold", "human"), "Compare with what?", 2),
    "with itself": (("1", "first"), "Job 1 agrees with itself.", 2),
    "no such job": (("1", "7"), "No job '7'", 1),
    "no such column": (("1", "--gold", "mood=hum"), "hum", 1),
    "which answer": (("1", "--gold", "human"), "Write --gold mood=human.", 2),
    "what it wrote": (("1", "--gold", "mood"), "t.mood holds what job 1 wrote itself", 2),
    "no such answer": (("1", "--gold", "mod=human"), "Did you mean mood?", 2),
    "no such answer wanted": (("1", "2", "-c", "moods"), "Did you mean mood?", 2),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cant_be_compared(run: Any, reviews: Path, unchanged: Any, kind: str) -> None:
    arguments, sentence, code = WRONG[kind]
    check = unchanged(reviews)
    assert sentence in run("compare", reviews, *arguments, code=code).err
    check()


def test_a_job_without_answers(run: Any, notes: Path) -> None:
    run("prepare", notes, "notes", "--prompt", "{{ text }}", *run.there[:2])
    said = run("compare", notes, "1", "--gold", "mark", code=1)
    assert "Job 1 has no answer to compare yet: it is prepared." in said.err


def test_what_is_kept_holds_no_answers(run: Any, reviews: Path, rows: Any) -> None:
    run("compare", reviews, "1", "2")
    run("compare", reviews, "1", "--gold", "mood=human")
    logged = rows(reviews, "SELECT job_id, detail FROM openai_batch_log WHERE event = 'compared'")
    (job, text), (_, gold) = logged
    detail = json.loads(text)
    assert (job, detail["with"], json.loads(gold)["with"]) == (1, 2, None)
    mood, stars, *_ = detail["columns"]
    assert mood["labels"] == ["good", "bad", "mixed"]
    assert mood["table"] == [[4, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert (mood["compared"], mood["no_first"], mood["no_second"]) == (5, 1, 2)
    assert (stars["labels"], stars["table"][2]) == ([1, 2, 3, 4, 5], [0, 0, 1, 0, 0, 0])
    assert json.loads(gold)["columns"][0]["table"][0] == [3, 0, 1, 1]
    assert "Good " not in gold


def test_a_database_that_another_program_writes(run: Any, reviews: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        said = run("compare", reviews, "1", "2")
    assert "mood: 80.0 %" in said.out
    assert said.err == "(Not kept for the job's page: database is locked.)\n"


def label(path: Path, coder: str, moods: Mapping[int, str], stars: int = 3) -> None:
    with closing(connect(path)) as conn:
        for key, mood in moods.items():
            request = store.reviews.request_of(conn, 1, key)
            assert request is not None
            found = [Review(request, "mood", mood, coder), Review(request, "stars", stars, coder)]
            store.reviews.record(conn, 1, found)


def test_a_job_and_what_people_say_of_it(run: Any, reviews: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    label(path, "anna", {1: "good", 2: "bad", 3: "mixed", 4: "good", 8: "good"})
    label(path, "ben", {1: "good", 2: "bad", 3: "mixed", 4: "mixed"})
    lines = run("compare", reviews, "1", "-c", "mood").out.splitlines()
    assert lines[0] == "Job 1 first (gpt-4o-mini) beside what people say of 5 rows"
    assert "          no answer in job 1            1" in lines
    assert "          no label by people            1" in lines
    (said,) = (line for line in lines if line.startswith("mood / people: "))
    assert said.startswith("mood / people: 66.7 % the same (2 of 3) · κ ")
    start = next(n for n, line in enumerate(lines) if line.split()[:2] == ["label", "rows"])
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["bad", "1", "1.00", "1.00", "1.00"], ["good", "1", "0.50", "1.00", "0.67"],
        ["mixed", "1", "-", "0.00", "0.00"],
    ]  # fmt: skip
    # Of four rows that both judged they differ on one.
    assert "  coders: anna, ben · Krippendorff's α 0.67" in lines
    assert lines[-1].endswith("compare data.db 1 -c mood --disagree --csv > differ.csv")
    rows = {
        row["column"]: row
        for row in csv.DictReader(io.StringIO(run("compare", reviews, "1", "--csv").out))
    }
    assert (rows["mood"]["with"], rows["mood"]["compared"]) == ("people", "3")
    assert float(rows["mood"]["alpha"]) == pytest.approx(0.67, abs=0.01)
    differ = run("compare", reviews, "1", "-c", "mood", "--disagree", "--csv").out
    assert differ.splitlines() == ["id,mood_job_1,mood_people", "3,good,mixed"]


def test_one_coder_agrees_with_nobody(run: Any, reviews: Path, tmp_path: Path) -> None:
    label(tmp_path / "data.db", "anna", {1: "good", 2: "bad"})
    assert "  coders: anna\n" in run("compare", reviews, "1").out


def test_several_jobs_side_by_side(run: Any, reviews: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with closing(connect(path)) as conn:
        third = {n: said("good" if n < 3 else "bad", 3, ["a"]) for n in range(1, 9)}
        answered(conn, tmp_path, "t", third, schema=SCHEMA, name="third", prefix="c_")
    label(path, "anna", {1: "good", 2: "bad", 3: "good"})
    printed = run("compare", reviews, "1", "2", "third", "-c", "mood", "--csv").out
    found = list(csv.DictReader(io.StringIO(printed)))
    assert [(row["job"], row["answered"], row["failed"]) for row in found] == [
        ("1", "7", "1"), ("2", "6", "2"), ("3", "8", "0"),
    ]  # fmt: skip
    assert [(row["compared"], row["agreement"]) for row in found] == [
        ("3", "1.0"), ("", ""), ("", ""),
    ]  # fmt: skip
    moods = [
        ["good"] * 3, ["bad", "good", "good"], ["good", "good", "bad"], ["good", "good", "bad"],
        ["good", "good", "bad"], ["good", "bad"], ["good", "bad"], ["good", "bad"],
    ]  # fmt: skip
    assert float(found[0]["alpha"]) == pytest.approx(alpha(moods))
    screen = run("compare", reviews, "1", "2", "3", "--gold", "mood=human", "-c", "mood").out
    lines = screen.splitlines()
    assert lines[0].startswith("mood: Krippendorff's α of the 3 jobs -0.")
    assert lines[2].split() == [
        "job",
        "model",
        "answered",
        "failed",
        "cost",
        "right",
        "κ",
        "of",
        "rows",
    ]
    assert lines[3].split()[:5] == ["1", "first", "gpt-4o-mini", "7", "1"]
    assert lines[3].split()[-1] == "6"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("1", "2", "1"), "A job is named twice"),
        (("1", "2", "3", "-c", "moods"), "Not an answer of all jobs: moods."),
        (("1", "2", "3"), "What they have in common: nothing"),
        (("1", "2", "3", "--disagree"), "--disagree needs two jobs"),
    ],
)
def test_jobs_that_cant_stand_side_by_side(
    run: Any, reviews: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    with closing(connect(tmp_path / "data.db")) as conn:
        answered(conn, tmp_path, "t", {1: "good"}, output="plain")
    assert sentence in run("compare", reviews, *arguments, code=2).err


@pytest.mark.parametrize("answer", [None, 7, b"\xff"])
def test_an_answer_that_somebody_changed(run: Any, notes: Path, answer: Any) -> None:
    for output in ("a", "b"):
        run("run", notes, "notes", "--prompt", "{{ text }}", "--schema", "mood good|bad",
            "--prefix", output, *run.there)  # fmt: skip
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("UPDATE openai_batch_requests SET status = 'ok', answer = ?", [answer])
    run("compare", notes, "1", "2", "--disagree")


VALUES = st.none() | st.sampled_from(["good", "GOOD", "é", "1"]) | st.integers(-3, 3) | st.just(0.5)


@pytest.mark.parametrize("kind", ["label", "number", "list"])
@settings(max_examples=60, deadline=None)
@given(pages=st.lists(st.lists(VALUES, max_size=8), max_size=4), most=st.sampled_from([2, 200]))
def test_pairs_of_the_same_value_count_as_any_others(
    kind: str, pages: list[list[Any]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqlite_utils_openai_batch.results.agreement.MOST_LABELS", most)
        quick, plain = Agreement(kind), Agreement(kind)
        for page in pages:
            some = [frozenset([one]) if kind == "list" else one for one in page]
            quick.add_same(some, len(some))
            for one in some:
                plain.add(one, one)
        for name in ("pairs", "n", "same", "alike", "overlap"):
            assert getattr(quick, name) == getattr(plain, name)
        for name, value in vars(plain.moments).items():
            assert getattr(quick.moments, name) == pytest.approx(value, abs=1e-9)


@pytest.fixture(scope="module")
def long_jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Two jobs about forty rows, to be answered."""
    folder = tmp_path_factory.mktemp("long")
    with closing(sqlite3.connect(folder / "data.db")) as made, made:
        made.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        made.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"text {n}") for n in range(1, 41)])
    some = {n: {"mood": "good", "stars": 1, "note": ""} for n in range(1, 41)}
    schema = "mood good|bad, stars int, note"
    with closing(connect(folder / "data.db")) as conn:
        answered(conn, folder, "t", some, schema=schema, name="first")
        answered(conn, folder, "t", some, schema=schema, name="second", prefix="b_")
        yield conn


SOUND = st.fixed_dictionaries(
    {
        "mood": st.sampled_from(["good", "bad"]),
        "stars": st.integers(1, 5),
        "note": st.sampled_from(["", "a", "A ", "é\u2028", "}\n{"]),
    }
).map(json.dumps)
UNSOUND = st.sampled_from(
    [None, "", "{}", "[]", "good", '{"mood": "good",\n "stars": 1, "note": ""}', b"{}\xff",
     '{"mood": "good", "stars": 1, "note": ""} {}', '{"mood": "good", "stars": true, "note": ""}']
)  # fmt: skip
USUAL = st.tuples(st.just("same"), SOUND)
ODD = st.tuples(st.sampled_from(["same", "other", "failed", "elsewhere", "gone"]), SOUND | UNSOUND)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_answers_that_are_the_same_are_read_as_any_others(
    long_jobs: sqlite3.Connection, data: st.DataObject
) -> None:
    conn = long_jobs
    rows: list[tuple[str, Any]] = data.draw(st.lists(USUAL, min_size=40, max_size=40))
    for place, odd in data.draw(st.dictionaries(st.integers(0, 39), ODD, max_size=6)).items():
        rows[place] = odd
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr("sqlite_utils_openai_batch.results.compare.PAGE", 4)
        conn.execute("BEGIN")
        stack.callback(conn.execute, "ROLLBACK")
        for n, (what, answer) in enumerate(rows, 1):
            conn.execute("UPDATE openai_batch_requests SET answer = ? WHERE row_key = ?",
                         [answer, n])  # fmt: skip
            second = "WHERE job_id = 2 AND row_key = ?"
            if what == "failed":
                status = data.draw(st.sampled_from(["failed", "invalid"]))
                conn.execute(f"UPDATE openai_batch_requests SET status = ? {second}", [status, n])
            elif what == "other":
                conn.execute(f"UPDATE openai_batch_requests SET answer = ? {second}",
                             [data.draw(SOUND | UNSOUND), n])  # fmt: skip
            elif what == "elsewhere":
                conn.execute(f"UPDATE openai_batch_requests SET row_key = 900 + row_key {second}",
                             [n])  # fmt: skip
            elif what == "gone":
                conn.execute(f"DELETE FROM openai_batch_requests {second}", [n])
        first, other = (store.get_job(conn, job) for job in (1, 2))
        found = []
        for together in (True, False):
            comparison = Comparison(conn, first, other)
            if not together:
                comparison.first.quick_lines = None
            different = list(comparison.differences())
            found.append((different, [figures(comparison, one) for one in comparison.columns],
                          [one.account for one in comparison.columns]))  # fmt: skip
    assert found[0] == found[1]
