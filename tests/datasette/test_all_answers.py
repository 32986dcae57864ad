"""All rows of a job as a table: pages, filters, search, crosstab."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import job_data
import pytest
from forms import Person
from serving import cells

from datasette_openai_batch.data import samples
from datasette_openai_batch.data.parts import part_heads

ANSWERS = "/films/-/openai-batch/1/answers"
LABELS = ("drama", "comedy", "crime")


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """120 films in two parts, every tenth refused."""
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 120)
    keys = list(range(1, 121))
    answers = {n: f'{{"category": "{LABELS[n % 3]}", "score": {n % 5}}}' for n in range(120)}
    failed = dict.fromkeys(range(0, 120, 10), "refused")
    job_data.add_job(conn, keys, failed, parts=2, answers=answers)
    conn.execute("UPDATE movies SET category = CASE WHEN id <= 60 THEN 'old' ELSE 'new' END")
    conn.close()
    return path


def keys(person: Person) -> list[str]:
    if "<tbody>" not in person.page.text.partition("Counted by a column")[0]:
        return []
    return [row[0] for row in cells(person.page.text)[1:]]


@pytest.fixture
def person(serve: Any, films: Path) -> Person:
    found = Person(serve(films), actor=None)
    found.go(ANSWERS)
    return found


def link(person: Person, label: str) -> str:
    found = re.search(rf'href="([^"]*)"[^>]*>{re.escape(label)}', person.page.text)
    assert found, label
    return found[1].replace("&amp;", "&")


def test_page_by_page(person: Person) -> None:
    seen = keys(person)
    while "Next rows" in person.text:
        person.go(link(person, "Next rows"))
        seen += keys(person)
    assert seen == [str(n) for n in range(1, 121)]


def test_from_the_last(person: Person) -> None:
    person.go(f"{ANSWERS}?_order=desc")
    seen = keys(person)
    while "Next rows" in person.text:
        person.go(link(person, "Next rows"))
        seen += keys(person)
    assert seen == [str(n) for n in range(120, 0, -1)]


def test_each_filter_is_a_link(person: Person) -> None:
    person.go(link(person, "refused"))
    assert keys(person) == [str(n + 1) for n in range(0, 120, 10)]
    person.go(ANSWERS)
    person.go(link(person, "comedy"))
    comedies = [str(n + 1) for n in range(120) if n % 3 == 1 and n % 10]
    assert keys(person) == comedies
    person.go(link(person, "ok"))
    assert keys(person) == comedies
    person.go(link(person, "comedy"))
    assert len(keys(person)) == 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("film 77.", ["77"]),
        ("FILM 7.", ["7"]),
        ('"score": 4', [str(n + 1) for n in range(120) if n % 5 == 4 and n % 10]),
        ("nowhere", []),
        ("%", []),
        ("' OR 1", []),
    ],
)
def test_a_search_in_answer_and_row(person: Person, text: str, expected: list[str]) -> None:
    from urllib.parse import urlencode

    person.go(f"{ANSWERS}?{urlencode({'_search': text})}")
    assert keys(person) == expected


def test_a_crosstab(person: Person) -> None:
    person.go(f"{ANSWERS}?_answer=score&_by=category")
    table = person.page.text.partition('id="crosstab"')[2]
    found = cells(table)
    assert found[0] == ["category", "1", "2", "3", "4", "0", "sum"] or sorted(found[0]) == sorted(
        ["category", "0", "1", "2", "3", "4", "sum"]
    )
    assert [row[-1] for row in found[1:]] == ["54", "54", "108"]
    assert "All 108 answers" in person.text


def test_looking_goes_on_where_a_page_ends(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasette_openai_batch.data import found

    monkeypatch.setattr(found, "PATIENCE", -1.0)
    monkeypatch.setattr(found, "STEP", 10)
    monkeypatch.setattr(found, "STRETCH", 7)
    person.go(f"{ANSWERS}?_search=film+77.")
    seen = keys(person)
    steps = 0
    while "Look further" in person.text:
        person.go(link(person, "Look further"))
        seen += keys(person)
        steps += 1
    assert seen == ["77"] and steps > 5


def test_the_whole_table_sorted(person: Person) -> None:
    assert link(person, "sort") == "/films/movies?_sort=category"


def test_odd_addresses(person: Person) -> None:
    for query in ("_after=x", "_after=99999999999999999999", "_status=none", "_order=up",
                  "_answer=none&_by=none", "category=", "_search="):  # fmt: skip
        person.go(f"{ANSWERS}?{query}")
        assert person.page.status_code == 200, query


def test_who_may_not_see_the_source_sees_no_answers(serve: Any, films: Path) -> None:
    config = {"databases": {"films": {"tables": {"movies": {"allow": {"id": "ben"}}}}}}
    person = Person(serve(films, config=config))
    assert person.go(ANSWERS).status_code == 403


def test_a_model_that_nobody_named_is_not_looked_for_in_every_row(tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    with closing(job_data.connect(path)) as conn:
        job_data.movies(conn, 5_000)
        job_data.add_job(conn, list(range(1, 5_001)))
        conn.execute("UPDATE openai_batch_requests SET model = NULL")
        steps = []
        parts = part_heads(conn, 1)
        conn.set_progress_handler(lambda: steps.append(1), 1_000)
        assert samples.models(conn, parts) == []
        conn.set_progress_handler(None, 0)
    assert len(steps) < 10
