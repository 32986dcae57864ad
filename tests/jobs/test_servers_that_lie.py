"""Servers that say what can't be: nothing is paid for twice by it, and nothing stops at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Line, Script, answer, serving

ASK = ("-m", "gpt-4o-mini", "--prompt", "{{ text }}", "-y", "--poll", "0.05")


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


class Says(Script):
    """A server whose lines, usage or counts are others."""

    def __init__(self, change: Any = None, counts: dict[str, Any] | None = None) -> None:
        self.change, self.told = change, counts

    def line(self, number: int, place: int, request: Line) -> Line | None:
        line = answer(request, "ok")
        if self.change is not None:
            self.change(line, place)
        return line

    def counts(self, total: int, out: int, err: int) -> dict[str, int]:
        return self.told or super().counts(total, out, err)


def named(name: Any) -> Any:
    """A change of `custom_id`, by its text and the place of the line."""

    def change(line: Line, place: int) -> None:
        line["custom_id"] = name(str(line["custom_id"]), place)

    return change


@pytest.mark.parametrize(
    "name",
    [
        lambda own, place: place,
        lambda own, place: [own],
        lambda own, place: f"request-{place}",
        lambda own, place: f"{own.partition('-')[0]}-{'9' * 30}",
        lambda own, place: f"{own.partition('-')[0]}-+{place}",
    ],
    ids=["numbers", "lists", "its own", "huge", "signs"],
)
def test_lines_under_other_ids_are_paid_for_once(
    run: Any, notes: Path, rows: Any, name: Any
) -> None:
    """They were asked three times, by three batches that nobody could read."""
    with serving(Says(named(name))) as server:
        said = run("run", notes, "notes", *ASK, "--base-url", server.base_url,
                   "--part-requests", "6", "--first-part", "3", code=4)  # fmt: skip
        assert server.created == [3]
        assert len(server.ran) == len(set(server.ran)) == 3
    assert "other ids (custom_id)" in said.err
    assert rows(notes, "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1") == [
        ("api_error", 3), ("pending", 9),
    ]  # fmt: skip
    assert rows(notes, "SELECT count(*) FROM openai_batch_responses") == [(3,)]


def test_one_line_under_another_id_is_asked_again(run: Any, notes: Path, rows: Any) -> None:
    def change(line: Line, place: int) -> None:
        if place == 12:
            line["custom_id"] = "somebody's"

    with serving(Says(change)) as server:
        run("run", notes, "notes", *ASK, "--base-url", server.base_url)
        assert server.created == [12, 1]
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 2**62, "completion_tokens": 2**62},
        {"prompt_tokens": 2**63 - 1, "completion_tokens": 1},
        {"prompt_tokens": 10**12, "completion_tokens": 10**12},
        {"prompt_tokens": -5, "completion_tokens": 10**30},
    ],
)
def test_tokens_that_no_answer_has(run: Any, notes: Path, rows: Any, usage: dict[str, int]) -> None:
    """Their sum didn't fit into a column, and the job stood still."""

    def change(line: Line, place: int) -> None:
        line["response"]["body"]["usage"] = usage

    with serving(Says(change)) as server:
        run("run", notes, "notes", *ASK, "--base-url", server.base_url,
            "--price-input", "1", "--price-output", "1", "--max-cost", "2")  # fmt: skip
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
    (cost,) = rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs")[0]
    assert cost is None or cost < 2_000_000_000


@pytest.mark.parametrize("count", [10**30, -(10**30), "9" * 40, 1e300])
def test_counts_that_no_batch_has(run: Any, notes: Path, rows: Any, count: Any) -> None:
    counts = {"total": count, "completed": count, "failed": count}
    with serving(Says(counts=counts)) as server:
        run("run", notes, "notes", *ASK, "--base-url", server.base_url)
        assert server.created == [12]
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]
