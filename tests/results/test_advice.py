"""Advice by what became of a request, and a retry that would buy the same fault again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Line, Script, answer, failed, serving

from sqlite_utils_openai_batch.base.statuses import OUTCOMES
from sqlite_utils_openai_batch.results.advice import HELP, may_help

ASK = ("-m", "gpt-4o-mini", "--prompt", "{{ text }}")


class Every(Script):
    """Every second request ends so."""

    def __init__(self, how: str) -> None:
        self.how = how

    def line(self, number: int, place: int, request: Line) -> Line | None:
        if place % 2:
            return answer(request, '{"mood": "good"}')
        errors = {
            "400": (400, {"message": "Unknown parameter: 'x'.", "code": "unknown_parameter"}),
            "credit": (429, {"message": "No money.", "code": "insufficient_quota"}),
        }
        if self.how in errors:
            status, error = errors[self.how]
            return failed(request, status, {"error": error})
        return answer(request, '{"mood": ', "length" if self.how == "cut" else "stop")


#: How requests end, options, what the end screen advises, what `retry` warns of, what helps.
CASES: dict[str, tuple[str, tuple[str, ...], str, str, str]] = {
    "cut": ("cut", ("-o", "max_tokens", "50"),
            "Ask again   sqlite-utils openai-batch retry data.db 1 --status truncated "
            "--set max_tokens=100", "cut at 50 tokens once more", "max_tokens=100"),
    "cut without a cap": ("cut", (), "Shorten     The model's own limit was reached",
                          "cut at the model's own limit", "model=gpt-4o"),
    "no json": ("json", ("--schema", "mood good|bad"),
                "Repair      sqlite-utils openai-batch retry data.db 1 --status invalid_json "
                "--repair", "no JSON once more", "model=gpt-4o"),
    "a parameter": ("400", (), "Change      sqlite-utils openai-batch retry data.db 1 "
                    "--status http_error --set NAME=VALUE", "refused once more", "x=1"),
    "no money": ("credit", (), "Top up      sqlite-utils openai-batch retry data.db 1 "
                 "--status http_error", "unless the account was topped up", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_advice_by_the_outcome(name: str, run: Any, notes: Path) -> None:
    how, options, advised, warned, change = CASES[name]
    with serving(Every(how)) as server:
        there = ("--base-url", server.base_url, "-y", "--poll", "0.05")
        said = run("run", notes, "notes", *ASK, *options, *there, code=3).err
        assert advised in said, said
        shown = run("show", notes).out
        certain = name not in ("a parameter", "cut without a cap")
        assert (advised.partition("   ")[2].strip() in shown) == certain, shown
        said = run("retry", notes, "1", "-y", "--poll", "0.05", code=3).err
        assert said.startswith("Warning: 6 "), said
        assert warned in said.splitlines()[0]
        if change:
            said = run("retry", notes, "1", "--set", change, "-y", "--poll", "0.05", code=3).err
            assert "Warning" not in said


def test_a_cap_that_was_raised_already_is_raised_further(run: Any, notes: Path) -> None:
    with serving(Every("cut")) as server:
        there = ("--base-url", server.base_url, "-y", "--poll", "0.05")
        run("run", notes, "notes", *ASK, "-o", "max_tokens", "50", *there, code=3)
        said = run("retry", notes, "1", "--set", "max_tokens=100", "-y", "--poll", "0.05", code=3)
        assert "--set max_tokens=200" in said.err
        said = run("retry", notes, "1", "--set", "max_tokens=90", "-y", "--poll", "0.05", code=3)
        assert "cut at 100 tokens once more" in said.err


def test_every_failure_has_its_advice() -> None:
    errors = {"http_error", "api_error"}
    assert set(OUTCOMES) - {"ok", "pending"} - errors <= set(HELP)


@pytest.mark.parametrize(
    ("kind", "changes", "helps"),
    [
        ("truncated", {}, False),
        ("truncated", {"max_tokens": 50}, False),
        ("truncated", {"max_tokens": 51}, True),
        ("truncated", {"temperature": 0}, False),
        ("truncated", {"model": "gpt-4o"}, True),
        ("refused", {}, False),
        ("refused", {"model": "gpt-4o"}, True),
        ("credit", {"model": "gpt-4o"}, False),
    ],
)
def test_what_a_change_may_help(kind: str, changes: dict[str, Any], helps: bool) -> None:
    assert may_help(kind, changes, ("max_tokens", 100)) is helps
