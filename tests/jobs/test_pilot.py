"""`run --pilot 20`, then `run --like pilot --missing`: a first look, and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ASK = ("--prompt", "Of {{ text }}", "--schema", "mood good|bad")


def test_from_pilot_to_production(run: Any, notes: Path, rows: Any) -> None:
    said = run("run", notes, "notes", *ASK, "--pilot", "4", *run.there)
    assert "Pilot of 4 rows" in said.err
    assert "review data.db 1" in said.err
    assert "run data.db --like pilot --missing" in said.err
    first = rows(notes, "SELECT id FROM notes WHERE mood IS NOT NULL")
    assert len(first) == 4
    assert rows(notes, "SELECT name FROM openai_batch_jobs") == [("pilot",)]
    said = run("run", notes, "--like", "pilot", "--missing", *run.there[2:])
    assert "8 of 8 rows answered" in said.err
    assert rows(notes, "SELECT count(mood) FROM notes") == [(12,)]
    asked = rows(notes, "SELECT row_key FROM openai_batch_requests WHERE job_id = 2")
    assert not set(asked) & set(first)
    assert rows(notes, "SELECT name FROM openai_batch_jobs WHERE id = 2") == [(None,)]
    report = run("report", notes, "2").out
    assert "Pilot: 4 rows, drawn at random (seed 0), were asked before by job 1" in report
    keys = ", ".join(str(key) for (key,) in first)
    assert keys in report
    assert "Pilot: 4 rows, drawn at random (seed 0)" in run("report", notes, "1").out


def test_the_same_rows_each_time(run: Any, notes: Path) -> None:
    look = ("preview", notes, "notes", *ASK, "--pilot", "3", *run.there[:2])
    one, other = run(*look).out, run(*look).out
    assert one == other
    assert one.count("Request") == 3
    assert run(*look, "--seed", "5").out != one


@pytest.mark.parametrize("option", [("--sample", "3"), ("--limit", "3")])
def test_a_pilot_draws_its_rows_itself(
    run: Any, notes: Path, unchanged: Any, option: tuple[str, str]
) -> None:
    check = unchanged(notes)
    said = run("run", notes, "notes", *ASK, "--pilot", "3", *option, *run.there, code=2)
    assert "--pilot draws its rows itself" in said.err
    check()


def test_a_pilot_of_all_rows_leaves_none_to_ask(run: Any, notes: Path) -> None:
    said = run("run", notes, "notes", "--prompt", "{{ text }}", "--pilot", "500", *run.there)
    assert "Pilot of 12 rows, and there are no others: see whether" in said.err
    assert "The rest" not in said.err
