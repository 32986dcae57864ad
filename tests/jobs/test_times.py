"""`run --times 3`: one job, three requests a row with seeds of their own, voted by itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer

ASK = ("--prompt", "Of {{ text }}", "--schema", "mood good|bad|mixed, note")
PRICES = ("--price-input", "1", "--price-output", "4")


def voices(rows: Any, notes: Path) -> dict[int, list[str]]:
    """What each request said of a row, by the lines that came, in the order of their seeds."""
    found: dict[int, dict[int, str]] = {}
    lines = rows(
        notes, "SELECT row_key, request_id, line FROM openai_batch_responses "
        "JOIN openai_batch_requests AS requests ON requests.id = request_id ORDER BY request_id",
    )  # fmt: skip
    for key, request, line in lines:
        body = json.loads(line)["response"]["body"]
        try:
            mood = json.loads(body["choices"][0]["message"]["content"])["mood"]
        except (ValueError, KeyError):
            continue
        found.setdefault(key, {})[request] = mood
    return {key: list(said.values()) for key, said in found.items()}


def by_hand(said: list[str]) -> tuple[str, float]:
    most = max(said.count(one) for one in said)
    return next(one for one in said if said.count(one) == most), most / len(said)


def test_three_requests_a_row_vote(run: Any, notes: Path, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *PRICES, "--times", "3", "--part-requests", "5", *run.there)
    said = voices(rows, notes)
    assert {len(one) for one in said.values()} == {3}
    assert any(len(set(one)) > 1 for one in said.values())
    found = rows(notes, "SELECT id, mood, mood_share FROM notes")
    assert len(found) == 12
    for key, mood, share in found:
        assert (mood, share) == (by_hand(said[key])[0], pytest.approx(by_hand(said[key])[1])), key
    # one job, 36 requests, each with the seed of its round
    (job,) = rows(
        notes, "SELECT requests, cost_nanousd, upper_cost_nanousd, status FROM openai_batch_jobs"
    )
    assert (job[0], job[3]) == (36, "completed")
    seeds = rows(
        notes, "SELECT json_extract(overrides, '$.seed'), sum(requests) FROM openai_batch_parts "
        "GROUP BY 1",
    )  # fmt: skip
    assert seeds == [(None, 12), (2, 12), (3, 12)]
    template = json.loads(rows(notes, "SELECT template FROM openai_batch_jobs")[0][0])
    assert template["seed"] == 1
    # counted and priced as three, by hand from the lines
    lines = rows(notes, "SELECT line FROM openai_batch_responses")
    usage = [json.loads(line)["response"]["body"]["usage"] for (line,) in lines]
    cost = sum(1_000 * one["prompt_tokens"] + 4_000 * one["completion_tokens"] for one in usage)
    assert len(lines) == 36
    assert job[1] == cost
    # what each said is kept, and results have a line a row
    assert len(run("results", notes, "1", "--csv").out.splitlines()) == 13
    kept = rows(notes, "SELECT why, count(*) FROM openai_batch_answers GROUP BY 1")
    assert kept == [("vote", 12)]
    run("revert", notes, "1")
    assert "mood" not in [name for _, name, *_ in rows(notes, "PRAGMA table_info(notes)")]


def test_preview_prices_it_as_three(run: Any, notes: Path) -> None:
    once = run("preview", notes, "notes", *ASK, *PRICES, "-n", "0", *run.there[:2]).err
    thrice = run(
        "preview", notes, "notes", *ASK, *PRICES, "--times", "3", "-n", "0", *run.there[:2]
    ).err
    assert "3 times each: 36 requests" in thrice

    def tokens(text: str) -> int:
        return int(text.split("Tokens")[1].split(" in")[0].replace("about", "").replace(",", ""))

    assert tokens(thrice) == 3 * tokens(once)


class Moody(SimulatedAnswerer):
    """Answers by the seed of a request: the label at its place, as a word in the row says."""

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        answer = super().answer_now(url, body, custom_id)
        text = body["messages"][-1]["content"]
        word = text.split()[-1].split(",")[body["seed"] - 1] if "," in text else "good"
        message = answer.body["choices"][0]["message"]
        if word == "refuse":
            message |= {"content": None, "refusal": "No."}
        else:
            message["content"] = json.dumps({"mood": word, "note": str(body["seed"])})
        return answer


def test_ties_and_refusals(
    run: Any, database: Any, rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'good,bad,bad'), (2, 'good,bad,mixed'), (3, 'refuse,bad,bad'),"
        "(4, 'refuse,refuse,refuse'), (5, 'mixed,refuse,refuse');"
    )
    with LocalServer(tmp_path_factory.mktemp("moody"), answerer=Moody()) as server:
        there = ("--base-url", server.base_url, "-y", "--poll", "0.05")
        run("run", db, "t", *ASK, "--times", "3", "--first-part", "0", *there, code=3)
        assert rows(db, "SELECT id, mood, mood_share, note FROM t") == [
            (1, "bad", pytest.approx(2 / 3), "2"),
            (2, "good", pytest.approx(1 / 3), "1"),
            (3, "bad", 1, "2"),
            (4, None, None, None),
            (5, "mixed", 1, "1"),
        ]
        # what failed is asked again by itself, and the row votes anew
        run("retry", db, "1", "-y", "--poll", "0.05", "--model", "gpt-4o", code=3)
        assert rows(db, "SELECT mood FROM t WHERE id = 1") == [("bad",)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--schema", "note"], "a vote needs labels"),
        ([], "a vote needs labels"),
        (["--schema", "mood good|bad", "--reuse"], "give one of them"),
        (["--schema", "mood good|bad", "--endpoint", "/v1/responses"], "doesn't take"),
    ],
)
def test_bad_input(run: Any, notes: Path, unchanged: Any, options: list[str], words: str) -> None:
    check = unchanged(notes)
    said = run(
        "run", notes, "notes", "--prompt", "{{ text }}", "--times", "3", *options, *run.there,
        code=2,
    )  # fmt: skip
    assert words in said.err
    check()


def test_temperature_0_is_warned_of(run: Any, notes: Path) -> None:
    said = run(
        "preview", notes, "notes", *ASK, "--times", "3", "-o", "temperature", "0", *run.there[:2]
    )
    assert "Warning: --times 3 with temperature 0: 3 times the same" in said.err
    assert Counter(said.err.split())["Warning:"] >= 1


def test_several_answers_where_the_columns_hold_one_are_warned_of(run: Any, notes: Path) -> None:
    schema, here = ("--schema", "mood good|bad"), run.there[:2]
    said = run("preview", notes, "notes", *ASK[:2], *schema, "-o", "n", "3", *here)
    assert "Warning: n 3 pays for 3 answers to each row" in said.err
    for fine in ((*schema, "-o", "n", "1"), ("-o", "n", "3")):
        said = run("preview", notes, "notes", *ASK[:2], *fine, *here)
        assert "answers to each row" not in said.err
