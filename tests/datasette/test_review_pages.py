"""Reviewing rows in the browser: what is shown, what is kept, who may."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import answered
from forms import Person
from serving import cells, fetch, run

from sqlite_utils_openai_batch.store.connection import connect

CONFIG: dict[str, Any] = {
    "databases": {
        "data": {
            "permissions": {
                "openai-batch-review": {"id": ["ana", "ben", "boss"]},
                "openai-batch-manage": {"id": "boss"},
            }
        }
    }
}
REVIEW = "/data/-/openai-batch/1/review"
JOB = "/data/-/openai-batch/1"
SAID = "SELECT request_id, column, value, skipped, coder, blind, note FROM openai_batch_reviews"
SCHEMA = "mood good|bad|mixed: how they feel, stars 1..5 int, sure bool, tags list of a|b|c, why"


def moods(n: int) -> dict[str, Any]:
    mood = ("good", "bad", "mixed")[n % 3]
    return {
        "mood": mood,
        "stars": n % 5 + 1,
        "sure": n % 2 == 0,
        "tags": ["a"],
        "why": f"zebra {n}",
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty rows about which a job was asked."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, year INTEGER, photo BLOB)")
        conn.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(n, f"text {n}", 2000 + n % 4, b"\x89PNG\r\n\x1a\n") for n in range(1, 41)],
        )
    with closing(connect(path)) as conn:
        answered(conn, tmp_path, "t", {n: moods(n) for n in range(1, 41)}, schema=SCHEMA)
    return path


def said(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(f"{SAID} ORDER BY id").fetchall()


def reviewer(serve: Any, path: Path, actor: str | None = "ana") -> Person:
    return Person(serve(path, config=CONFIG), actor)


def begin(person: Person, **how: str) -> None:
    """Have rows drawn, by the form."""
    person.go(f"{REVIEW}?_rows=1")
    fields: dict[str, Any] = {"size": "5", "column": ["mood"], **how}
    assert person.press("Begin", **fields).status_code == 200, person.text


def test_the_first_row_is_there_at_once_and_nothing_is_written_for_it(
    serve: Any, data: Path
) -> None:
    person = reviewer(serve, data)
    before = data.read_bytes()
    page = person.go(REVIEW)
    assert page.status_code == 200
    assert "Row 1 of 40" in person.text
    assert "40 of 40 answered rows, drawn at random (seed 0); the model's answer is hidden" in (
        person.text
    )
    for word in ("zebra", "The model says", "As it is"):
        assert word not in page.text
    assert data.read_bytes() == before
    assert page.headers["cache-control"].endswith("no-store")


def test_labels_are_kept_and_the_next_row_follows(serve: Any, data: Path) -> None:
    person = reviewer(serve, data)
    begin(person)
    assert "Row 1 of 5" in person.text
    person.press("Save", **{"say-0": "bad", "note": "sarcasm?"})
    assert "Row 2 of 5" in person.text and "1 done" in person.text
    person.press("Skip")
    assert "Row 3 of 5" in person.text
    (first, *kept), (second, *skipped) = said(data)
    assert kept == ["mood", "bad", 0, "ana", 1, "sarcasm?"]
    assert skipped == ["mood", None, 1, "ana", 1, None]
    assert first != second
    back = re.search(r'href="([^"]+)" id="ob-back"', person.page.text)
    assert back is not None
    person.go(back[1].replace("&amp;", "&"))
    assert "Row 2 of 5" in person.text
    person.press("Save", **{"say-0": "good"})
    assert said(data)[2][1:] == ("mood", "good", 0, "ana", 1, None), "only added to"
    assert len(said(data)) == 3


def test_the_answer_column_is_never_touched(serve: Any, data: Path) -> None:
    with closing(sqlite3.connect(data)) as conn:
        rows = conn.execute("SELECT * FROM t").fetchall()
    person = reviewer(serve, data)
    begin(person)
    for _ in range(5):
        person.press("Save", **{"say-0": "mixed"})
    assert "You are done" in person.text
    with closing(sqlite3.connect(data)) as conn:
        assert conn.execute("SELECT * FROM t").fetchall() == rows


def test_an_empty_form_is_told_and_keeps_nothing(serve: Any, data: Path) -> None:
    person = reviewer(serve, data)
    begin(person)
    assert person.press("Save", note="hm").status_code == 400
    assert person.wrong("say-0") == "Choose a label, or skip the row."
    assert "Row 1 of 5" in person.text and 'value="hm"' in person.page.text
    assert person.press("Save", **{"say-0": "splendid"}).status_code == 400
    assert "is not a label of mood" in person.wrong("say-0")
    assert said(data) == []


def test_every_kind_of_column(serve: Any, data: Path) -> None:
    person = reviewer(serve, data)
    begin(person, column=["mood", "stars", "sure", "tags", "why"])
    person.press(
        "Save",
        **{
            "say-0": "good",
            "say-1": "4",
            "say-2": "false",
            "say-3": ["a", "c"],
            "say-4": "because; of it",
        },
    )
    assert [(one[1], one[2]) for one in said(data)] == [
        ("mood", "good"),
        ("stars", 4),
        ("sure", 0),
        ("tags", '["a","c"]'),
        ("why", "because; of it"),
    ]
    person.press("Save", **{"say-0": "good", "say-3": ["∅ none"]})
    assert [(one[1], one[2], one[3]) for one in said(data)[5:]] == [
        ("mood", "good", 0),
        ("stars", None, 1),
        ("sure", None, 1),
        ("tags", "[]", 0),
        ("why", None, 1),
    ]
    assert person.press("Save", **{"say-1": "9"}).status_code == 400
    assert "Labels: 1, 2, 3, 4, 5" in person.wrong("say-1")


def test_in_sight_of_the_answer_enter_takes_it_as_it_is(serve: Any, data: Path) -> None:
    person = reviewer(serve, data)
    begin(person, blind="no", seed="3")
    model = re.search(r"The model says: <strong>(\w+)<", person.page.text)
    assert model is not None
    assert "As it is" in person.text
    person.press("As it is")
    assert said(data)[0][1:] == ("mood", model[1], 0, "ana", 0, None)


def test_what_the_model_says_can_be_seen_once_the_row_is_labelled(serve: Any, data: Path) -> None:
    person = reviewer(serve, data)
    begin(person)
    first = person.path
    person.press("Save", **{"say-0": "bad"})
    unseen = person.go(re.sub("_row=2|_after=1", "_row=2", person.path) + "&_show=1")
    assert "The model says" not in unseen.text, "not before it is"
    page = person.go(f"{first}&_row=1")
    assert "The model says" not in page.text
    page = person.go(f"{first}&_row=1&_show=1")
    assert "The model says" in page.text and "You said: bad" in person.text
    person.press("Save", **{"say-0": "mixed"})
    assert [one[5] for one in said(data)] == [1, 0], "what is changed then isn't blind"


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"which": "status", "status": "ok"}, "5 of 40 rows, chosen by their outcome"),
        ({"which": "least_sure", "least_sure": "stars"}, "answered rows, the least sure"),
        ({"which": "random", "seed": "9"}, "drawn at random (seed 9)"),
    ],
)
def test_which_rows(serve: Any, data: Path, how: dict[str, str], words: str) -> None:
    person = reviewer(serve, data)
    begin(person, **how)
    assert words in person.text
    assert ("The model says" in person.page.text) is (how["which"] != "random")
    person.go(f"{REVIEW}?_rows=1")
    assert "0 of 5 done by you" in person.text


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"size": "0"}, "How many rows? A whole number from 1 to 100,000."),
        ({"size": "many"}, "How many rows?"),
        ({"seed": "x"}, "The seed is a whole number"),
        ({"which": "status", "status": "splendid"}, "No outcome is called 'splendid'"),
        ({"which": "least_sure", "least_sure": "mood"}, "mood holds no numbers"),
        ({"which": "differ", "differ": "7"}, "Which job?"),
        ({"which": "differ", "differ": "people"}, "Nobody differs yet"),
        ({"column": "nothing"}, "Job 1 has no such answer."),
    ],
)
def test_wishes_that_cannot_be(serve: Any, data: Path, how: dict[str, str], sentence: str) -> None:
    person = reviewer(serve, data)
    person.go(f"{REVIEW}?_rows=1")
    assert person.press("Begin", **how).status_code == 400
    assert sentence in person.text
    with closing(sqlite3.connect(data)) as conn:
        assert conn.execute("SELECT count(*) FROM openai_batch_samples").fetchone() == (0,)


def test_who_may(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    shown = {who: fetch(datasette, REVIEW, who).status_code for who in ("ana", "dora", None)}
    assert shown == {"ana": 200, "dora": 403, None: 403}
    page = fetch(datasette, JOB, "ana").text
    assert REVIEW in page
    assert REVIEW not in fetch(datasette, JOB, "dora").text


def test_everybody_may_is_not_nobody_in_particular(serve: Any, data: Path) -> None:
    open_to_all = {"databases": {"data": {"permissions": {"openai-batch-review": True}}}}
    found = fetch(serve(data, config=open_to_all), REVIEW)
    assert found.status_code == 403 and "sign in first" in found.text


def test_a_form_of_another_site_changes_nothing(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    fields = {"do": "save", "sample": "0", "row": "1", "column": "mood", "say-0": "good"}

    async def post() -> Any:
        await datasette.invoke_startup()
        cookies = {"ds_actor": datasette.sign({"a": {"id": "ana"}}, "actor")}
        return await datasette.client.post(
            REVIEW, data=fields, cookies=cookies, headers={"origin": "https://elsewhere.example"}
        )

    assert run(post()).status_code == 403
    assert said(data) == []


def test_a_job_that_is_not_there_and_a_row_that_is_not(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    assert fetch(datasette, "/data/-/openai-batch/9/review", "ana").status_code == 404
    assert fetch(datasette, f"{REVIEW}?_sample=5", "ana").status_code == 404
    assert fetch(datasette, f"{REVIEW}?_row=41", "ana").status_code == 404


def test_a_picture_is_shown(serve: Any, data: Path) -> None:
    page = fetch(serve(data, config=CONFIG), REVIEW, "ana").text
    assert re.search(r'<img src="[^"]*/image\?_request=\d+&amp;_column=photo"', page)


# Who sees what of the labels

TEXTS = (
    f"{JOB}",
    f"{JOB}.csv",
    f"{JOB}/report",
)
TABLES = (
    "openai_batch_reviews",
    "openai_batch_reviewed",
    "openai_batch_samples",
    "openai_batch_results",
    "openai_batch_log",
)
MARKS = {JOB: "Agreement with people", f"{JOB}.csv": "mood_final", f"{JOB}/report": "by people"}


def sees(datasette: Any, actor: str | None) -> set[str]:
    """Where an actor is shown what people say."""
    found = {path for path in TEXTS if MARKS[path] in fetch(datasette, path, actor).text}
    for table in TABLES:
        status = fetch(datasette, f"/data/{table}.json", actor).status_code
        assert status in (200, 403)
        found |= {table} if status == 200 else set()
    return found


EVERYTHING = {*TEXTS, *TABLES}
EVERYBODY = ("ana", "ben", "boss", "dora", None)
# Before anybody labels there is nothing to hide, and nothing to show.
STAGES: dict[str, dict[str | None, set[str]]] = {
    "nobody has begun": {who: set(TABLES) for who in EVERYBODY},
    "ana is under way": {
        "ana": set(), "ben": set(), "boss": EVERYTHING, "dora": set(), None: set(),
    },
    "ana is done": {
        "ana": EVERYTHING, "ben": set(), "boss": EVERYTHING, "dora": EVERYTHING, None: EVERYTHING,
    },
    "ben is under way": {
        "ana": set(), "ben": set(), "boss": EVERYTHING, "dora": set(), None: set(),
    },
    "both are done": dict.fromkeys(EVERYBODY, EVERYTHING),
}  # fmt: skip


def test_who_sees_what_people_say(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    ana, ben = Person(datasette, "ana"), Person(datasette, "ben")
    found = {"nobody has begun": {who: sees(datasette, who) for who in EVERYBODY}}
    begin(ana)

    def stage(name: str) -> None:
        found[name] = {who: sees(datasette, who) for who in STAGES[name]}

    ana.press("Save", **{"say-0": "good"})
    stage("ana is under way")
    while "You are done" not in ana.text:
        ana.press("Save", **{"say-0": "bad"})
    stage("ana is done")
    ben.go(REVIEW)
    assert "Row 1 of 5" in ben.text and "You said" not in ben.text, "the same rows, nothing said"
    ben.press("Save", **{"say-0": "mixed"})
    stage("ben is under way")
    ana.go(REVIEW)
    assert "once all who have begun are done" in ana.text
    while "You are done" not in ben.text:
        ben.press("Save", **{"say-0": "bad"})
    stage("both are done")
    assert found == STAGES


def test_rows_on_which_people_differ_are_offered_once_both_are_done(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    ana, ben = Person(datasette, "ana"), Person(datasette, "ben")
    begin(ana)
    for label in ("good", "good", "bad", "bad", "mixed"):
        ana.press("Save", **{"say-0": label})
    ben.go(REVIEW)
    for label in ("good", "bad", "bad", "bad"):
        ben.press("Save", **{"say-0": label})
    ana.go(f"{REVIEW}?_rows=1")
    assert "people</option>" not in ana.page.text
    ben.press("Save", **{"say-0": "mixed"})
    boss = Person(datasette, "boss")
    begin(boss, which="differ", differ="people", size="9")
    assert "Row 1 of 1" in boss.text and "those that were judged differently" in boss.text


def test_the_page_of_a_job_tells_what_came_of_it(serve: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    ana = Person(datasette, "ana")
    begin(ana, size="40")
    while "You are done" not in ana.text:
        ana.press("Save", **{"say-0": "good"})
    ana.go(JOB)
    assert "Agreement with people mood" in ana.text
    assert "32.5 % the same (13 of 40)" in ana.text
    assert "27 differences" in ana.text and "And 7 more:" in ana.text
    assert re.search(r'href="/data/t/\d+">\d+</a></th><td>(bad|mixed)</td><td>good<', ana.page.text)
    assert 'class="ob-whisker"' in ana.page.text
    shown = " ".join(re.sub(r"<[^>]+>", " ", ana.page.text).split())
    assert "good 32.5 % 100.0 % 100.0 % to 100.0 %" in shown
    assert "precision recall F1 good 40 1.00 0.33 0.49" in shown


def test_shares_by_a_column_are_those_of_the_command(serve: Any, run: Any, data: Path) -> None:
    datasette = serve(data, config=CONFIG)
    ana = Person(datasette, "ana")
    begin(ana, size="40")
    while "You are done" not in ana.text:
        ana.press("Save", **{"say-0": "good"})
    ana.go(f"{JOB}?_by=year")
    assert re.search(r"<option selected>year", ana.page.text)
    page = ana.page.text.partition("Shares of mood by year</caption>")[2].partition("</table>")[0]
    told = [[" ".join(cell.split()) for cell in row] for row in cells(f"<table>{page}</table>")]
    lines = json.loads(run("shares", data, "1", "mood", "--by", "year", "--json").out)
    assert {line["year"] for line in lines} == {2000, 2001, 2002, 2003}
    expected = [["year", "model", "corrected", "95 % interval"]]
    for line in lines:
        if line["label"] == "good":
            group = f"{line['year']}: 10 rows, {line['reviewed']} labelled"
            expected.append([group])
        figures = [f"{100 * line[name]:.1f} %" for name in ("share", "corrected", "low", "high")]
        expected.append([str(line["label"]), *figures[:2], f"{figures[2]} to {figures[3]}"])
    assert told == expected
    ana.go(f"{JOB}?_by=nothing")
    assert "Shares of mood by" not in ana.page.text


def test_shares_of_a_long_job_are_counted_when_asked_for(
    serve: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasette_openai_batch.pages.people.INLINE", 10)
    datasette = serve(data, config=CONFIG)
    ana = Person(datasette, "ana")
    begin(ana)
    while "You are done" not in ana.text:
        ana.press("Save", **{"say-0": "good"})
    ana.go(JOB)
    assert "ob-whisker" not in ana.page.text
    assert "Count the shares over all 40 answers" in ana.text
    ana.go(f"{JOB}?_shares=1")
    assert "ob-whisker" in ana.page.text
    ana.go(JOB)
    assert "ob-whisker" in ana.page.text, "they are kept"
