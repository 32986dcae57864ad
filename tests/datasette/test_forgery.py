"""A form whose token isn't the browser's any more, which 0.65 refuses: nothing is done, or lost."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from forms import Person
from serving import IS_1_0, run

from datasette_openai_batch.new_job import threads

pytestmark = pytest.mark.skipif(IS_1_0, reason="1.0 looks at where a request comes from")
GRANTED = {
    "permissions": {
        "openai-batch-create": True,
        "openai-batch-manage": True,
        "openai-batch-review": {"id": "ana"},
    },
    "plugins": {"sqlite-utils-openai-batch": {"base_url": "http://127.0.0.1:9/v1", "key": "any"}},
}
NEW = "/films/-/openai-batch/new"
JOB = "/films/-/openai-batch/1"
AGAIN = "was given a new security token"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page waits for the end of what it began, however slow this machine is."""
    monkeypatch.setattr(threads, "PATIENCE", 120.0)


@pytest.fixture
def site(serve: Callable[..., Any], db: Path) -> Any:
    return serve(db, config=GRANTED)


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def another_tab(person: Person) -> None:
    """A page that was asked for at the same moment, before there was a cookie, comes later."""
    without = {k: v for k, v in person.cookies.items() if k != "ds_csrftoken"}
    answer = run(person.datasette.client.get(NEW, cookies=without))
    assert answer.cookies["ds_csrftoken"] != person.cookies["ds_csrftoken"]
    person.cookies |= dict(answer.cookies)


def test_two_first_pages_at_once_lose_no_form(site: Any, db: Path) -> None:
    person = Person(site)
    person.go(f"{NEW}?table=movies&id__gt=3")
    token = re.search(r'name="token" value="([^"]+)"', person.page.text)
    another_tab(person)
    before = dump(db)
    typed = {"prompt": "Judge <b> {{ title }}", "answer_name": ["mood", "", ""], "limit": "5"}
    person.press("Look at it", **typed, missing="1")
    assert person.page.status_code == 403
    assert AGAIN in person.text and "What you typed is still here" in person.text
    assert "Judge &lt;b&gt; {{ title }}" in person.page.text
    assert 'name="limit" value="5"' in person.page.text
    assert re.search(r'name="missing" value="1" checked', person.page.text)
    assert 'name="answer_name" value="mood"' in person.page.text
    assert "id &gt; 3" in person.page.text
    assert token is not None and token[1] in person.page.text
    assert dump(db) == before
    person.press("Look at it")
    assert person.page.status_code == 200, person.text
    assert "Judge <b>" in person.text and "Confirm" in person.text


@pytest.mark.parametrize("button", ["Send", "Save", "Try"])
def test_a_confirmation_is_asked_for_again(site: Any, db: Path, button: str) -> None:
    person = Person(site)
    person.go(f"{NEW}?table=movies")
    person.press("Look at it", prompt="Judge {{ title }}", price_input="1", price_output="2",
                 max_tokens="50")  # fmt: skip
    assert "Confirm" in person.text, person.text
    another_tab(person)
    before = dump(db)
    person.press(button, agree="1")
    assert person.page.status_code == 403
    assert AGAIN in person.text and "Confirm" in person.text
    assert dump(db) == before
    if button == "Save":
        person.press("Save")
        assert "Job 4" in person.text, person.text


def test_a_question_keeps_what_was_typed(site: Any, db: Path) -> None:
    person = Person(site)
    person.go(f"{JOB}/rename")
    another_tab(person)
    before = dump(db)
    person.press("Rename", name="of my thesis")
    assert person.page.status_code == 403
    assert AGAIN in person.text and 'value="of my thesis"' in person.page.text
    assert dump(db) == before
    person.press("Rename")
    assert "of my thesis" in person.text


def test_a_button_without_a_question_does_nothing(site: Any, db: Path) -> None:
    person = Person(site)
    person.go("/films/-/openai-batch/2")
    another_tab(person)
    before = dump(db)
    person.press("Pause")
    assert person.page.status_code == 403
    assert AGAIN in person.text
    assert dump(db) == before


def test_a_label_is_not_lost(site: Any, db: Path) -> None:
    person = Person(site)
    person.go(f"{JOB}/review")
    another_tab(person)
    before = dump(db)
    person.press("Save", **{"say-0": "drama", "note": "by the title"})
    assert person.page.status_code == 403
    assert AGAIN in person.text and 'value="by the title"' in person.page.text
    assert dump(db) == before
    person.go(f"{JOB}/review?_rows=1")
    another_tab(person)
    person.press("Begin", size="5")
    assert person.page.status_code == 403 and AGAIN in person.text
    assert dump(db) == before


def test_who_may_not_is_told_nothing_more(site: Any, db: Path) -> None:
    person = Person(site, "ben")
    person.go(f"{NEW}?table=movies")
    another_tab(person)
    answer = run(
        person.datasette.client.post(
            f"{JOB}/review", data={"csrftoken": "x", "do": "save"}, cookies=person.cookies
        )
    )
    assert answer.status_code == 403 and AGAIN not in answer.text


def test_other_pages_are_refused_as_ever(site: Any) -> None:
    answer = run(site.client.post("/-/logout", data={"csrftoken": "x"}, cookies={"a": "b"}))
    assert answer.status_code == 403
    assert answer.text == "form-urlencoded POST field did not match cookie"
