"""A new job from the browser, by somebody whose browser runs no scripts."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from forms import Person, forms
from serving import fetch, press, run

from datasette_openai_batch.actions import background
from datasette_openai_batch.new_job import counts, threads
from sqlite_utils_openai_batch.jobs.plan.options import OPTIONS
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

BOTH = {"openai-batch-create": {"id": "ana"}, "openai-batch-manage": {"id": "ana"}}
NEW = "/data/-/openai-batch/new"
PRICES = {"price_input": "1", "price_output": "2", "max_tokens": "50"}


@pytest.fixture
def journal() -> str:
    """Datasette is asked here, not SQLite."""
    return "wal"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page waits for the end of what it began, however slow this machine is."""
    monkeypatch.setattr(threads, "PATIENCE", 120.0)
    yield
    # the first pass over a job that was sent goes on by itself
    deadline = time.monotonic() + 60
    while background._running and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture
def reviews(run: Any, database: Any) -> Path:
    path: Path = database(
        "CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT, rating INTEGER, language TEXT);"
        "INSERT INTO reviews (body, rating, language) VALUES"
        " ('Wonderful', 5, 'en'), ('Awful', 1, 'en'), ('Na ja', 3, 'de'), ('', 2, 'de'),"
        " ('Mies', 1, 'de'), ('Broken on arrival', 1, 'en');"
    )
    return path


@pytest.fixture
def site(serve: Any, server: LocalServer) -> Callable[..., Any]:
    """A Datasette whose new jobs go to the local batch server."""

    def begin(*files: Path, permissions: Any = BOTH, **settings: Any) -> Any:
        plugin = {"base_url": server.base_url, **settings}
        return serve(
            *files,
            config={"permissions": permissions, "plugins": {"sqlite-utils-openai-batch": plugin}},
        )

    return begin


def ask(person: Person, **fields: Any) -> Person:
    """Open the form on the reviews and look at a question."""
    person.go(f"{NEW}?table=reviews")
    person.press("Look", **{"prompt": "Judge: {{ body }}", "model": "gpt-4o-mini", **fields})
    return person


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(sql).fetchall()


def until(condition: Callable[[], Any], person: Person) -> None:
    """Press *Check now* until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, person.text
        if any(label.startswith("Check") for label in person.buttons()):
            person.press("Check now")
        person.go("/data/-/openai-batch/1")


def tables(path: Path) -> list[str]:
    return [name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]


def jobs(path: Path) -> list[Any]:
    if not rows(path, "SELECT 1 FROM sqlite_master WHERE name = 'openai_batch_jobs'"):
        return []
    return rows(path, "SELECT id, status FROM openai_batch_jobs")


def test_from_the_form_to_a_sent_job(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)), schema="mood good|bad")
    assert person.page.status_code == 200, person.text
    assert "5 to ask" in person.text and "1 row blank" in person.text
    assert "Judge: Wonderful" in person.text
    assert "mood" in person.text
    assert not jobs(reviews)
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1"), person.text
    assert [status for _, status in jobs(reviews)] in (["running"], ["completed"])


# Who may


@pytest.mark.parametrize("actor", ["ben", None])
@pytest.mark.parametrize("where", ["", "?table=reviews", "?draft=0123456789abcdef"])
def test_nobody_may_unless_it_is_granted(
    site: Any, reviews: Path, actor: str | None, where: str
) -> None:
    datasette = site(reviews)
    assert fetch(datasette, NEW + where, actor).status_code == 403
    for button in ("look", "try", "send", "save", "again", "more", "live"):
        fields = {"do": button, "table": "reviews", "prompt": "{{ body }}", "agree": "1"}
        assert press(datasette, "/", NEW + where, actor, **fields).status_code == 403
    assert tables(reviews) == ["reviews"]


def test_creating_is_not_managing(site: Any, reviews: Path) -> None:
    datasette = site(reviews, permissions={"openai-batch-create": {"id": "ana"}})
    person = ask(Person(datasette))
    person.press("Save")
    assert person.path.endswith("/-/openai-batch/1")
    assert "Pause" not in person.buttons()
    managing = site(reviews, permissions={"openai-batch-manage": {"id": "ana"}})
    assert fetch(managing, f"{NEW}?table=reviews", "ana").status_code == 403


def test_a_table_that_one_may_not_see(serve: Any, reviews: Path) -> None:
    config = {
        "permissions": BOTH,
        "databases": {"data": {"tables": {"reviews": {"allow": {"id": "ben"}}}}},
    }
    datasette = serve(reviews, config=config)
    assert fetch(datasette, f"{NEW}?table=reviews", "ana").status_code == 403
    fields = {"do": "look", "table": "reviews", "prompt": "{{ body }}"}
    assert press(datasette, NEW, NEW, "ana", **fields).status_code == 403
    assert "reviews" not in fetch(datasette, NEW, "ana").text
    assert tables(reviews) == ["reviews"]


def test_sql_only_for_who_may_run_it(serve: Any, server: LocalServer, reviews: Path) -> None:
    config = {
        "permissions": BOTH,
        "allow_sql": {"id": "ben"},
        "plugins": {"sqlite-utils-openai-batch": {"base_url": server.base_url}},
    }
    person = Person(serve(reviews, config=config))
    person.go(f"{NEW}?table=reviews&rating=1")
    assert 'name="where"' not in person.page.text
    person.press("Look", prompt="{{ body }}", where="1 = 1")
    assert "execute-sql" in person.wrong("where")
    person.press("Look", prompt="{{ body }}", where="", order="(select 1)")
    assert "execute-sql" in person.wrong("order")
    person.go(f"{NEW}?table=reviews&_where=1")
    assert "execute-sql" in person.wrong("filters")
    person.go(f"{NEW}?table=reviews&rating=1&_sort_desc=id")
    person.press("Look", prompt="{{ body }}")
    assert "3 to ask" in person.text


def test_a_file_of_the_server_is_never_read(site: Any, reviews: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("mood good|bad {{ body }} TOPSECRET")
    for field in ("system", "schema", "prompt", "template"):
        person = ask(Person(site(reviews)), **{field: str(secret)})
        assert "TOPSECRET" not in person.page.text
    person = ask(Person(site(reviews)), system=str(secret))
    assert str(secret) in person.text


# What is typed


def test_filters_of_the_table_page_come_along(site: Any, reviews: Path) -> None:
    person = Person(site(reviews))
    person.go("/data/reviews?rating=1&language=en&_sort_desc=id")
    link = re.search(r'href="(/data/-/openai-batch/new[^"]*)"', person.page.text)
    assert link, "no link in the table's menu"
    person.go(link[1].replace("&amp;", "&"))
    assert "2 of 6 rows" in person.text
    assert "rating = 1" in person.text and "sorted by id descending" in person.text
    person.press("Look", prompt="Judge: {{ body }}")
    assert "2 to ask" in person.text
    assert person.text.index("Broken on arrival") < person.text.index("Awful")
    assert "--where" in person.text and "--order" in person.text


@pytest.mark.parametrize(
    ("fields", "wrong", "says"),
    [
        ({"prompt": ""}, "prompt", "What do you want to ask"),
        ({"prompt": "{{ bdy }}"}, "prompt", "body"),
        ({"prompt": "no column"}, "prompt", "placeholder"),
        ({"limit": "many"}, "limit", "whole number"),
        ({"limit": "-1"}, "limit", "-1"),
        ({"sample": "0"}, "sample", "0"),
        ({"max_tokens": "long"}, "max_tokens", "number of tokens"),
        ({"max_cost": "free"}, "max_cost", "free"),
        ({"max_cost": "0"}, "max_cost", "nothing could be sent"),
        ({"where": "rating ="}, "where", ""),
        ({"where": "nothing = 1"}, "where", "nothing"),
        ({"schema": "a, a"}, "schema", "twice"),
        ({"schema": "{"}, "schema", ""),
        ({"output": "rating"}, "output", ""),
        ({"option": "temperature"}, "option", "NAME=VALUE"),
        ({"template": "[1]"}, "template", "object"),
        ({"answer_name": ["mood", "", ""], "answer_kind": ["choice", "text", "text"]},
         "answers", "choices"),
        ({"answer_name": ["a", "A", ""]}, "answers", "Two answers"),
        ({"name": "12"}, "name", "digits"),
        ({"sample": "2", "limit": "2"}, "sample", "limit"),
        ({"pilot": "some"}, "pilot", "whole number"),
        ({"pilot": "2", "limit": "2"}, "pilot", "leave out"),
        ({"times": "1"}, "times", "at least 2"),
        ({"repair": "0"}, "repair", "at least 1"),
        ({"confidence": "1"}, "confidence", "label"),
        ({"confidence": "1", "schema": "mood good|bad", "model": "gpt-5-mini"}, "confidence", ""),
        ({"codebook": "variable,label\nmood,good,bad\n"}, "codebook", "3 cells"),
        ({"codebook": "name"}, "codebook", ""),
        ({"codebook": "/etc/passwd"}, "codebook", ""),
        ({"codebook": "variable,label\nmood,good\n", "schema": "mood"}, "codebook", "empty"),
        ({"attach": "nothing"}, "attach", "nothing"),
        ({"attach_tokens": "-5"}, "attach_tokens", "at least 1"),
        ({"first_wait": "soon"}, "first_wait", "number"),
        ({"blanks": "burn"}, "blanks", "skip"),
        ({"responses": "some"}, "responses", "failed"),
        ({"image_detail": "4k"}, "image_detail", "low"),
        ({"endpoint": "/v1/nothing"}, "prompt", "/v1/nothing"),
    ],
)  # fmt: skip
def test_errors_stand_beside_their_fields(
    site: Any, reviews: Path, fields: dict[str, Any], wrong: str, says: str
) -> None:
    person = ask(Person(site(reviews)), system="kept as it was", **fields)
    if wrong == "output":
        assert "holds" in person.text
        return
    assert person.page.status_code == 400, person.text
    assert person.wrong(wrong), person.text
    assert says in person.wrong(wrong)
    assert "kept as it was" in person.page.text
    assert not jobs(reviews)


def test_lines_of_answers_are_a_schema(site: Any, reviews: Path) -> None:
    person = ask(
        Person(site(reviews)),
        answer_name=["mood", "score", "sure", "about", "times"],
        answer_kind=["choice", "number", "yesno", "list", "whole"],
        answer_values=["good|bad", "0..1", "", "", "1 to 5"],
        answer_note=["", "", "", "what it is about", ""],
    )
    assert "mood good|bad, score 0..1, sure bool, about list: what it is about, times 1..5 int" in (
        person.text
    )
    assert "reviews.mood TEXT" in person.text


def test_choices_that_the_short_form_cant_say(site: Any, reviews: Path) -> None:
    person = ask(
        Person(site(reviews)),
        answer_name=["what is it"],
        answer_kind=["choice"],
        answer_values=["good, really|bad: no"],
        answer_note=["one, or the other"],
    )
    assert '"good, really"' in person.text and "reviews.what is it" in person.text


def test_without_a_script_columns_and_lines_are_put_in(site: Any, reviews: Path) -> None:
    person = Person(site(reviews))
    person.go(f"{NEW}?table=reviews")
    person.press("body", prompt="Judge:")
    assert "Judge: {{ body }}" in person.page.text
    lines = person.page.text.count('name="answer_name"')
    person.press("More lines", answer_name=["a", "b", "c"])
    assert person.page.text.count('name="answer_name"') == lines + 3
    assert 'value="b"' in person.page.text
    assert tables(reviews) == ["reviews"]


def test_the_first_requests_beside_the_form(site: Any, reviews: Path) -> None:
    person = Person(site(reviews))
    person.go(f"{NEW}?table=reviews")
    path, data = person.filled("Look", prompt="Judge: {{ body }}")
    found = run(
        person.datasette.client.post(path, data=data | {"do": "live"}, cookies=person.cookies)
    ).json()
    assert found["errors"] == {} and "Judge: Wonderful" in found["html"]
    data["prompt"] = "Judge: {{ bdy }}"
    found = run(
        person.datasette.client.post(path, data=data | {"do": "live"}, cookies=person.cookies)
    ).json()
    assert "bdy" in found["errors"]["prompt"]
    assert tables(reviews) == ["reviews"]


# Money


def test_a_ceiling_that_the_settings_allow(site: Any, reviews: Path) -> None:
    datasette = site(reviews, max_cost=0.5)
    person = ask(Person(datasette), max_cost="1", **PRICES)
    assert "at most $0.50" in person.wrong("max_cost")
    person = ask(Person(datasette), **PRICES)
    assert 'name="max_cost" value="0.01"' in person.page.text
    person.press("Send", agree="1", max_cost="2")
    assert "at most $0.50" in person.wrong("max_cost")
    assert not jobs(reviews)


def test_a_ceiling_that_cant_hold_names_the_cap(site: Any, reviews: Path) -> None:
    prices = {**PRICES, "price_input": "1", "price_output": "100000"}
    person = ask(Person(site(reviews)), max_cost="1", **prices)
    assert "can't hold" in person.text
    person.press("Look again with answers")
    assert "can't hold" not in person.text and "holds" in person.text
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1"), person.text


def test_models_that_the_settings_allow(site: Any, reviews: Path) -> None:
    datasette = site(reviews, models=["gpt-4o-mini", "own"])
    assert "doesn't allow gpt-4o" in ask(Person(datasette), model="gpt-4o").wrong("model")
    assert "own at" in ask(Person(datasette), model="own").text


def test_nothing_is_sent_without_the_tick(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)))
    person.press("Send")
    assert "Tick this first" in person.wrong("agree")
    assert not jobs(reviews)


def test_what_was_typed_at_the_end_is_kept(serve: Any, reviews: Path) -> None:
    config = {
        "permissions": BOTH,
        "plugins": {"sqlite-utils-openai-batch": {"key": "sk-none", "max_cost": 5}},
    }
    person = ask(Person(serve(reviews, config=config)), max_tokens="20")
    person.press("Send", agree="1", max_cost="7.5")
    assert "at most $5" in person.wrong("max_cost")
    assert 'name="max_cost" value="7.5"' in person.page.text
    assert re.search(r'name="agree" value="1" checked', person.page.text)
    person.press("Send", agree=[], max_cost="4.5")
    assert "Tick this first" in person.wrong("agree")
    assert 'name="max_cost" value="4.5"' in person.page.text
    assert not jobs(reviews)


def test_without_a_key_nothing_is_offered_that_would_be_refused(serve: Any, reviews: Path) -> None:
    person = ask(Person(serve(reviews, config={"permissions": BOTH})), max_tokens="20")
    assert "no key for OpenAI" in person.text
    assert "Save without sending" in person.buttons()
    assert not [label for label in person.buttons() if label.startswith(("Try", "Send"))]
    token = re.search(r'name="draft" value="([^"]*)"', person.page.text)
    assert token
    for button in ("try", "send"):
        fields = {"do": button, "draft": token[1], "agree": "1"}
        response = press(person.datasette, NEW, NEW, "ana", **fields)
        assert response.status_code == 400 and "no key" in response.text
    person.press("Save")
    assert jobs(reviews) == [(1, "prepared")]


# Trying


def test_a_try_is_paid_once(site: Any, reviews: Path, server: LocalServer) -> None:
    person = ask(Person(site(reviews)), schema="mood good|bad")
    path, data = person.filled("Try")
    person.press("Try")
    assert "What they answered" in person.text
    assert "3 of 3 rows" in person.text
    assert "Try 3" not in " ".join(person.buttons())
    shown = person.text
    again = run(person.datasette.client.post(path, data=data, cookies=person.cookies))
    assert again.status_code == 302
    person.go(person.path)
    assert person.text == shown
    assert not jobs(reviews)
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")


# Once


def test_five_tabs_send_one_job(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)))
    path, data = person.filled("Send", agree="1")

    async def all_at_once() -> list[Any]:
        client = person.datasette.client
        posts = [client.post(path, data=data, cookies=person.cookies) for _ in range(5)]
        return list(await asyncio.gather(*posts))

    assert {response.status_code for response in run(all_at_once())} == {302}
    assert len(jobs(reviews)) == 1
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")
    assert len(jobs(reviews)) == 1


def test_going_back_to_the_form_makes_no_second_job(site: Any, reviews: Path) -> None:
    person = Person(site(reviews))
    person.go(f"{NEW}?table=reviews")
    path, data = person.filled("Look", prompt="{{ body }}")
    run(person.datasette.client.post(path, data=data, cookies=person.cookies))
    response = run(person.datasette.client.post(path, data=data, cookies=person.cookies))
    person.go(response.headers["location"])
    person.press("Send", agree="1")
    data["prompt"] = "another {{ body }}"
    response = run(person.datasette.client.post(path, data=data, cookies=person.cookies))
    person.go(response.headers["location"])
    assert person.path.endswith("/-/openai-batch/1")
    assert len(jobs(reviews)) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("INSERT INTO reviews (body) VALUES ('One more')", "5 rows to ask, now there are 6"),
        ("DELETE FROM reviews WHERE id = 1", "5 rows to ask, now there are 4"),
        ("UPDATE reviews SET body = 'Wonderfil' WHERE id = 1", "rows were changed"),
    ],
)
def test_what_changed_meanwhile_isnt_sent(site: Any, reviews: Path, change: str, says: str) -> None:
    person = ask(Person(site(reviews)))
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute(change)
        conn.commit()
    person.press("Send", agree="1")
    assert says in person.text
    assert not jobs(reviews)
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")


def test_a_permission_that_was_lost_meanwhile(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)))
    path, data = person.filled("Send", agree="1")
    person.datasette = site(reviews, permissions={"openai-batch-create": {"id": "ben"}})
    person.cookies["ds_actor"] = person.datasette.sign({"a": {"id": "ana"}}, "actor")
    response = press(person.datasette, "/", path, "ana", **data)
    assert response.status_code == 403
    assert not jobs(reviews)


def test_a_draft_is_its_actors_own(site: Any, reviews: Path) -> None:
    both = {"openai-batch-create": {"id": ["ana", "ben"]}}
    person = ask(Person(site(reviews, permissions=both)))
    assert fetch(person.datasette, person.path, "ben").status_code == 404
    assert fetch(person.datasette, person.path, "ana").status_code == 200


def test_a_job_that_asks_the_same_is_running(site: Any, reviews: Path) -> None:
    datasette = site(reviews)
    ask(Person(datasette)).press("Save")
    person = ask(Person(datasette))
    assert "asks the same" in person.text
    person.press("Send", agree="1")
    assert "asks the same" in person.text
    assert len(jobs(reviews)) == 1
    person.press("Send", agree="1", new="1")
    assert len(jobs(reviews)) == 2


# Trouble


def test_a_server_that_is_down(serve: Any, reviews: Path) -> None:
    plugin = {"base_url": "http://127.0.0.1:9/v1"}
    config = {"permissions": BOTH, "plugins": {"sqlite-utils-openai-batch": plugin}}
    person = ask(Person(serve(reviews, config=config)))
    for button in ("Try", "Send"):
        person.press(button, agree="1")
        assert "127.0.0.1:9" in person.text and "reach" in person.text
    assert not jobs(reviews)


def test_a_database_that_doesnt_change(serve: Any, reviews: Path) -> None:
    datasette = serve(immutables=(reviews,), config={"permissions": BOTH})
    assert "immutable" in fetch(datasette, NEW, "ana").text
    fields = {"do": "look", "table": "reviews", "prompt": "{{ body }}"}
    response = press(datasette, NEW, NEW, "ana", **fields)
    assert response.status_code == 409 and "immutable" in response.text


def test_a_form_that_is_too_large(site: Any, reviews: Path) -> None:
    datasette = site(reviews)
    response = press(datasette, "/", NEW, "ana", prompt="x" * 1_100_000)
    assert response.status_code == 413
    assert "too large" in response.text


def test_a_job_again_with_changes(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)), schema="mood good|bad", limit="2", max_tokens="77")
    person.press("Save")
    link = re.search(r'href="([^"]*)">Again, with changes', person.page.text)
    assert link
    person.go(link[1])
    assert "Judge: {{ body }}" in person.page.text
    assert 'name="max_tokens" value="77"' in person.page.text
    person.press("Look", prefix="second_")
    assert "reviews.second_mood" in person.text


CODEBOOK = """variable,label,definition,example
mood,good,praises it,I love it
mood,bad,complains,
mood,mixed,both,
"""


def test_everything_that_the_command_line_has(site: Any, reviews: Path) -> None:
    fields = {
        "codebook": CODEBOOK,
        "confidence": "1",
        "times": "3",
        "repair": "2",
        "attempts": "4",
        "responses": "failed",
        "first_wait": "2.5",
        "blanks": "send",
        **PRICES,
    }
    person = ask(Person(site(reviews)), **fields)
    assert person.page.status_code == 200, person.text
    assert "3 for each row" in person.text and "up to 2 times" in person.text
    assert "praises it" in person.text and "mood_confidence" in person.text
    for option in ("--times 3", "--repair 2", "--confidence", "--responses failed", "--codebook"):
        assert option in person.text
    person.press("Save")
    assert person.path.endswith("/-/openai-batch/1"), person.text
    (settings,) = rows(reviews, "SELECT options FROM openai_batch_jobs")[0]
    kept = json.loads(settings)
    assert (kept["times"], kept["repair"], kept["confidence"]) == (3, 2, ["mood"])
    assert kept["recipe"]["codebook"] == CODEBOOK.strip()
    assert rows(reviews, "SELECT count(*) FROM openai_batch_requests") == [(18,)]
    link = re.search(r'href="([^"]*)">Again, with changes', person.page.text)
    assert link
    person.go(link[1])
    found = {
        name: [value for other, value in form["fields"] if other == name]
        for form in forms(person.page.text)
        for name, _ in form["fields"]
    }
    for name, value in fields.items():
        assert found[name] == [value.strip()], name


def test_no_option_is_forgotten(site: Any, reviews: Path) -> None:
    """A new option of what is asked belongs into the form, or here with the reason."""
    elsewhere = {
        "requests": "a file on the machine of the command line",
        "image_dir": "a folder on the server, which no page may name",
        "pk": "asked for where there is no key of its own: `test_a_view_needs_a_key`",
        "sql": "asked for without a table: `test_a_query`",
        **dict.fromkeys(("provider", "base_url", "upstream", "concurrency"), "the settings say it"),
    }
    called = {"params": "param", "options": "option", "images": "image"}
    person = Person(site(reviews))
    person.go(f"{NEW}?table=reviews")
    names = set(re.findall(r'<(?:input|select|textarea)[^>]* name="(\w+)"', person.page.text))
    assert {called.get(name, name) for name in OPTIONS} - names == set(elsewhere)


def test_after_a_pilot_the_rest(site: Any, reviews: Path) -> None:
    datasette = site(reviews)
    person = ask(Person(datasette), schema="mood good|bad", pilot="2", seed="7", **PRICES)
    assert "2 of 6 rows" in person.text, person.text
    person.press("Send", agree="1")
    until(lambda: rows(reviews, "SELECT status FROM openai_batch_jobs") == [("completed",)], person)
    person.go("/data/-/openai-batch/1")
    assert "before the rest, see whether the answers are good" in person.text
    link = re.search(r'href="([^"]*)">Ask the rest', person.page.text)
    assert link
    person.go(link[1])
    assert "the pilot, job 1, left" in person.text
    person.press("Look", **PRICES)
    assert "3 to ask" in person.text, person.text
    person.press("Save")
    assert "Job 2" in person.text
    kept = json.loads(rows(reviews, "SELECT options FROM openai_batch_jobs WHERE id = 2")[0][0])
    assert kept["pilot_job"] == 1


def test_the_pilot_of_nobody(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)), pilot_job="9")
    assert person.page.status_code == 404
    assert not jobs(reviews)


@pytest.mark.parametrize("key", ["wrong", {"$env": "OUR_KEY"}])
def test_the_key_of_the_settings(
    serve: Any, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Any
) -> None:
    monkeypatch.setenv("OUR_KEY", "right")
    with LocalServer(tmp_path / "server", answerer=SimulatedAnswerer(), key="right") as server:
        plugin = {"base_url": server.base_url, "key": key}
        config = {"permissions": BOTH, "plugins": {"sqlite-utils-openai-batch": plugin}}
        person = ask(Person(serve(reviews, config=config)))
        person.press("Try")
        if key == "wrong":
            assert "What they answered" not in person.text
            assert "key" in person.text
            person.press("Send", agree="1")
            assert not jobs(reviews) and "key" in person.text
        else:
            assert "3 of 3 rows" in person.text
            person.press("Send", agree="1")
            assert person.path.endswith("/-/openai-batch/1")
            while jobs(reviews) == [(1, "running")]:
                person.press("Check now")
            assert jobs(reviews) == [(1, "completed")]
        kept = "\n".join(rows_as_text(reviews))
        assert "right" not in kept and '"wrong"' not in kept
        assert "right" not in person.page.text


def rows_as_text(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


def test_a_locked_database(site: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlite_utils_openai_batch.store import connection

    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.1)
    person = Person(site(reviews))
    person.go(f"{NEW}?table=reviews")
    with closing(sqlite3.connect(reviews, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        person.press("Look", prompt="{{ body }}", system="kept as it was")
        assert "locked" in person.text and "kept as it was" in person.page.text
        other.execute("ROLLBACK")
        person.press("Look")
        assert "5 to ask" in person.text
        other.execute("BEGIN IMMEDIATE")
        person.press("Send", agree="1")
        assert "locked" in person.text
        other.execute("ROLLBACK")
    assert not jobs(reviews)
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")


def test_a_view_needs_a_key(site: Any, reviews: Path) -> None:
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute("CREATE VIEW bad AS SELECT id, body FROM reviews WHERE rating = 1")
    person = Person(site(reviews))
    person.go(f"{NEW}?table=bad")
    assert "3 rows" in person.text
    person.press("Look", prompt="{{ body }}", output_table="judged")
    assert person.wrong("pk")
    person.press("Look", pk="id")
    assert "3 to ask" in person.text and "judged.answer" in person.text
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")


def test_a_query(site: Any, reviews: Path) -> None:
    person = Person(site(reviews))
    sql = "select language, group_concat(body) as said from reviews group by 1"
    person.go(f"{NEW}?{urlencode({'sql': sql})}")
    person.press("Look", prompt="{{ said }}", pk="language", output_table="said")
    assert "2 to ask" in person.text
    assert "--sql" in person.text


@pytest.mark.parametrize("ours", ["openai_batch_jobs", "openai_batch_drafts"])
def test_our_own_tables_are_nothing_to_ask_about(site: Any, reviews: Path, ours: str) -> None:
    datasette = site(reviews)
    ask(Person(datasette)).press("Save")
    assert fetch(datasette, f"{NEW}?table={ours}", "ana").status_code == 404
    fields = {"do": "look", "table": ours, "prompt": "{{ uid }}"}
    assert press(datasette, NEW, NEW, "ana", **fields).status_code == 404
    person = ask(Person(datasette), output_table=ours)
    assert person.page.status_code == 404


def test_a_get_writes_nothing(site: Any, reviews: Path) -> None:
    datasette = site(reviews)
    before = rows_as_text(reviews)
    for query in ("", "?table=reviews", "?table=reviews&do=look&prompt={{body}}",
                  "?table=reviews&do=send&agree=1", "?do=more&table=reviews"):  # fmt: skip
        assert fetch(datasette, NEW + query, "ana").status_code == 200
    assert rows_as_text(reviews) == before


def test_settings_that_cant_be_meant(serve: Any, reviews: Path) -> None:
    for plugin, says in (
        ({"max_cost": "much"}, "max_cost"),
        ({"models": "gpt-4o"}, "models"),
        ({"sync_every": "often"}, "sync_every"),
    ):
        config = {"permissions": BOTH, "plugins": {"sqlite-utils-openai-batch": plugin}}
        response = fetch(serve(reviews, config=config), f"{NEW}?table=reviews", "ana")
        assert response.status_code == 200 and says in response.text


def test_what_is_typed_is_shown_and_never_run(site: Any, reviews: Path) -> None:
    bad = "<script>alert(1)</script>{{ body }}"
    person = ask(Person(site(reviews)), prompt=bad, name=bad, answer_name=[bad, "", ""])
    assert "<script>alert(1)" not in person.page.text
    person = ask(Person(person.datasette), prompt=bad, name=bad)
    assert "<script>alert(1)" not in person.page.text
    assert "<script>alert(1)</script>Wonderful" in person.text or "alert(1)" in person.page.text


def test_a_price_that_nobody_knows(serve: Any, reviews: Path) -> None:
    plugin = {"base_url": "https://models.example.com/v1", "key": "k"}
    config = {"permissions": BOTH, "plugins": {"sqlite-utils-openai-batch": plugin}}
    person = ask(Person(serve(reviews, config=config)), model="llama")
    assert "no ceiling can hold" in person.wrong("price_as")
    person.press("Look", max_cost="1")
    assert "--price-as" in person.text or person.wrong("max_cost")
    person.press("Look", max_cost="", max_tokens="10", price_input="1", price_output="2")
    assert "5 to ask" in person.text and "$0.01: holds" in person.text
    assert "to llama at models.example.com with the key of this Datasette" in person.text


def test_the_small_model_is_asked_whatever_is_named(site: Any, reviews: Path) -> None:
    person = ask(Person(site(reviews)), local="1")
    assert "SmolLM2-135M-Instruct at this machine" in person.text
    assert "It costs nothing" in person.text and "--local" in person.text


@pytest.mark.parametrize("button", ["try", "send", "save"])
def test_nothing_is_sent_that_nobody_looked_at(site: Any, reviews: Path, button: str) -> None:
    datasette = site(reviews)
    fields = {"do": button, "table": "reviews", "prompt": "{{ body }}", "agree": "1"}
    response = press(datasette, NEW, NEW, "ana", **fields)
    assert response.status_code == 302 and "draft=" in response.headers["location"]
    page = fetch(datasette, response.headers["location"], "ana")
    assert "Send 5 rows" in page.text and "What they answered" not in page.text
    assert not jobs(reviews)


def test_names_and_texts_that_look_like_options(site: Any, reviews: Path) -> None:
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute('CREATE TABLE "--local" (id INTEGER PRIMARY KEY, "-p" TEXT)')
        conn.execute("INSERT INTO \"--local\" VALUES (1, '--yes')")
        conn.commit()
    person = Person(site(reviews))
    person.go(f"{NEW}?table=--local")
    person.press("-p", prompt="--limit")
    assert '--limit {{ row["-p"] }}' in unescape(person.page.text)
    person.press("Look", system="-", model="gpt-4o-mini")
    assert "1 to ask" in person.text and "--limit --yes" in person.text
    person.press("Send", agree="1")
    assert person.path.endswith("/-/openai-batch/1")


# Large tables


def test_a_page_waits_for_no_count(
    site: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted beside the pages, and remembered until somebody writes."""
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
            "INSERT INTO reviews (body, rating, language) SELECT 'So so', 3, 'en' FROM n"
        )
        conn.commit()
    monkeypatch.setattr(counts, "COUNT_MS", 1)
    person = Person(site(reviews))
    filtered = f"{NEW}?table=reviews&language=de"
    deadline = time.monotonic() + 60
    person.go(filtered)
    assert counts.TOO_MANY in person.text
    while counts.TOO_MANY in person.text:
        assert time.monotonic() < deadline
        person.go(filtered)
    assert "3 of 300,006 rows" in person.text
    with monkeypatch.context() as patch:
        patch.setattr(counts, "counted_now", None)
        person.go(filtered)
    assert "3 of 300,006 rows" in person.text
    with closing(sqlite3.connect(reviews)) as conn:
        conn.execute("DELETE FROM reviews WHERE id > 6")
        conn.commit()
    monkeypatch.setattr(counts, "COUNT_MS", 10_000)
    person.go(filtered)
    assert "3 of 6 rows" in person.text


@pytest.mark.parametrize("button", ["Look", "Save"])
def test_a_page_waits_for_no_work_on_many_rows(
    site: Any, reviews: Path, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    """It says at once how far it is, and the work goes on beside it."""
    person = Person(site(reviews))
    if button == "Save":
        ask(person)
    monkeypatch.setattr(threads, "MANY", 3)
    monkeypatch.setattr(threads, "BRIEF", 0.0)
    began = threading.Event()
    waits = threading.Event()
    work = threads._work

    def held(*arguments: Any) -> Any:
        began.set()
        assert waits.wait(60)
        return work(*arguments)

    monkeypatch.setattr(threads, "_work", held)
    if button == "Look":
        ask(person)
        assert "Reading the rows" in person.text
    else:
        person.press("Save")
        assert "Making the job" in person.text
    assert began.wait(60)
    waits.set()
    deadline = time.monotonic() + 60
    while "Reading the rows" in person.text or "Making the job" in person.text:
        assert time.monotonic() < deadline
        person.go(person.path)
    told = person.text
    assert "5 to ask" in told or person.path.endswith("/openai-batch/1"), told
