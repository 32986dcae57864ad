"""A new job by the functions alone: what pages and programs call, without a command line."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import NothingToAsk, UsageError
from sqlite_utils_openai_batch.cli.run import run_command
from sqlite_utils_openai_batch.jobs.new_job import run as run_job
from sqlite_utils_openai_batch.jobs.new_job import settled, store_job, survey, try_rows
from sqlite_utils_openai_batch.jobs.plan.options import NUMBERS, VALUES, complete
from sqlite_utils_openai_batch.provider.places import Places
from sqlite_utils_openai_batch.store.connection import connect


@pytest.fixture
def films(run: Any, tmp_path: Path) -> Path:
    path = tmp_path / "films.db"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.executescript(
            "CREATE TABLE films (id INTEGER PRIMARY KEY, title TEXT); "
            "INSERT INTO films (title) VALUES ('Heat'), ('Ran'), ('Alien')"
        )
    return path


def test_look_try_and_run(run: Any, films: Path) -> None:
    given = {"prompt": "Say: {{ title }}", "base_url": run.base_url, "output": "said"}
    with closing(connect(films)) as conn, Places() as places:
        with settled(conn, "films", complete(given)) as asked:
            tally, requests = survey(conn, asked.plan, 2)
            assert (tally.asked, len(requests)) == (3, 2)
            tried = try_rows(asked, places, requests)
            said = [str(one.outcome.answer).partition(": ")[2] for one in tried]
            assert said == ["Say: Heat", "Say: Ran"]
            assert not store.exists(conn)
            job, _ = store_job(conn, str(films), asked, places)
        assert (job.status, job.approved_at) == ("prepared", None)
        heard: list[int] = []
        found = run_job(conn, job, places, poll=0.05, told=lambda jobs, _: heard.append(len(jobs)))
        assert [one.id for one in found.report.ended] == [job.id]
        assert heard and not found.wrong
        rows = conn.execute("SELECT said FROM films ORDER BY id").fetchall()
    said = [row[0].partition(": ")[2] for row in rows]
    assert said == ["Say: Heat", "Say: Ran", "Say: Alien"]


def test_nothing_to_ask_leaves_nothing(run: Any, films: Path) -> None:
    given = {"prompt": "{{ title }}", "base_url": run.base_url, "where": "id > 9"}
    with (
        closing(connect(films)) as conn,
        Places() as places,
        settled(conn, "films", complete(given)) as asked,
        pytest.raises(NothingToAsk, match="No rows of films match"),
    ):
        store_job(conn, str(films), asked, places)
    with closing(sqlite3.connect(films)) as conn:
        assert not store.exists(conn)


def test_options_are_complete_as_the_command_line_has_them() -> None:
    typed = run_command.make_context("run", ["films.db", "--prompt", "x", "--limit", "3"]).params
    ours = complete({"prompt": "x", "limit": 3})
    assert {name: typed[name] for name in ours if name in typed} == {
        name: value for name, value in ours.items() if name in typed
    }
    # Nobody types the job that was the pilot of this one.
    assert set(ours) - set(typed) == {"pilot_job"}


def test_the_least_and_the_choices_are_those_of_the_command_line() -> None:
    types = {param.name: param.type for param in run_command.params}
    for name, least in NUMBERS.items():
        assert getattr(types[name], "min", None) == least, name
    for name, values in VALUES.items():
        kind = types[name]
        assert isinstance(kind, click.Choice) and tuple(kind.choices) == values


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"promt": "x"}, "There is no option 'promt'. Did you mean prompt?"),
        ({"limit": "many"}, "--limit 'many' is not a whole number."),
        ({"limit": 2.5}, "--limit '2.5' is not a whole number."),
        ({"limit": True}, "--limit 'True' is not a whole number."),
        ({"limit": -1}, "--limit '-1': it is at least 0."),
        ({"sample": 2**70}, f"--sample '{2**70}' is not a whole number."),
        ({"first_wait": float("nan")}, "--first-wait 'nan' is not a number."),
        ({"blanks": "leave"}, "--blanks 'leave': it is one of skip, send, error."),
        ({"options": ["max_tokens"]}, "--option: give names with a value each."),
        ({"params": 7}, "--param: give names with a value each."),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        complete(given)
    assert str(caught.value) == said


def test_values_of_a_program_are_those_that_one_would_type() -> None:
    found = complete({"options": {"max_tokens": 20, "stop": ["x"]}, "pk": "id", "limit": "3",
                      "max_cost": 2.5})  # fmt: skip
    assert found["options"] == (("max_tokens", "20"), ("stop", '["x"]'))
    assert (found["pk"], found["limit"], found["max_cost"]) == (("id",), 3, "2.5")


def test_a_part_that_goes_ahead_is_taken_up_by_like(run: Any, films: Path) -> None:
    asks = ("--prompt", "Say: {{ title }}", "--output", "said", "--first-part", "2",
            "--first-wait", "0.5", "--part-requests", "1", *run.there[:2])  # fmt: skip
    run("prepare", films, "films", *asks)
    run("prepare", films, "--like", "1", "--new")
    with closing(connect(films)) as conn:
        first, second = (store.get_job(conn, number).settings["recipe"] for number in (1, 2))
    assert second == first


def test_no_command_line_is_needed() -> None:
    script = (
        "import sys; import sqlite_utils_openai_batch.jobs.new_job; "
        "print([m for m in sys.modules if m.startswith('sqlite_utils_openai_batch.cli')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
