"""Repair and escalation: wrong answers go back, unsure rows to another model; nothing is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.pricing.tokens import available
from sqlite_utils_openai_batch.provider.client import Provider

ASK = ("--prompt", "Of note {{ text }}", "--schema", "mood good|bad|mixed")
PRICES = ("--price-input", "1", "--price-output", "4")


class Moody(SimulatedAnswerer):
    """One model says that all is good, every other one that all is bad; some rows fail."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[Mapping[str, Any]] = []

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        self.bodies.append(body)
        answer = super().answer_now(url, body, custom_id)
        choice = answer.body["choices"][0]
        mood = "good" if body["model"] == "gpt-4o-mini" else "bad"
        choice["message"]["content"] = json.dumps({"mood": mood})
        text = json.dumps(body["messages"])
        if "[never]" in text:
            choice["message"]["content"] = json.dumps({"mood": "awful"})
        if "[no json]" in text and len(body["messages"]) < 3:
            choice["message"]["content"] = "It is good."
        if "[long]" in text and len(body["messages"]) < 3:
            choice["finish_reason"] = "length"
        if "[shy]" in text and body["model"] != "gpt-4o-mini":
            choice["message"] |= {"content": None, "refusal": "I'd rather not."}
        return answer


@pytest.fixture
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, Moody]]:
    answerer = Moody()
    with LocalServer(tmp_path_factory.mktemp("moody"), answerer=answerer) as running:
        yield running, answerer


@pytest.fixture
def fails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Every second answer breaks the schema until it is told so."""
    folder = tmp_path_factory.mktemp("fails")
    faults = ["wrong-until-told:2"]
    with LocalServer(folder, answerer=SimulatedAnswerer(), faults=faults) as running:
        yield running


def there(server: LocalServer) -> tuple[str, ...]:
    return ("--base-url", server.base_url, "-y", "--poll", "0.05")


AGAIN = ("-y", "--poll", "0.05")


def bill(lines: list[tuple[str]], model_prices: Mapping[str, tuple[int, int]]) -> int:
    """What response lines cost, in nano-dollars, by hand."""
    total = 0
    for (line,) in lines:
        body = json.loads(line)["response"]["body"]
        price = model_prices[body["model"].removesuffix("-simulated")]
        usage = body["usage"]
        total += usage["prompt_tokens"] * price[0] + usage["completion_tokens"] * price[1]
    return total


def test_retry_repair_sends_back_what_was_wrong(
    run: Any, notes: Path, rows: Any, fails: LocalServer
) -> None:
    run("run", notes, "notes", *ASK, *PRICES, *there(fails), code=3)
    assert rows(notes, "SELECT count(mood) FROM notes") == [(6,)]
    said = run("retry", notes, "1", "--repair", *AGAIN)
    assert "12 of 12 rows answered" in said.err
    assert rows(notes, "SELECT count(mood) FROM notes") == [(12,)]
    # what was wrong is kept, with who gave it and why it was asked again
    kept = rows(
        notes,
        "SELECT status, answer, model, why, standing FROM openai_batch_answers ORDER BY id",
    )
    wrong = '{"unexpected":true}'
    assert kept == [("schema_violation", wrong, "gpt-4o-mini-simulated", "repair", 0)] * 6
    parts = rows(notes, "SELECT number, requests, overrides FROM openai_batch_parts")
    assert parts == [(1, 12, None), (2, 6, '{"$repair": 1}')]
    # each was sent once more, and each send was paid
    assert rows(notes, "SELECT sum(attempts) FROM openai_batch_requests") == [(18,)]
    lines = rows(notes, "SELECT line FROM openai_batch_responses")
    assert len(lines) == 18
    (cost,) = rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs")[0]
    assert cost == bill(lines, {"gpt-4o-mini": (1_000, 4_000)})


def test_what_goes_back(run: Any, notes: Path, moody: tuple[LocalServer, Moody]) -> None:
    server, answerer = moody
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET text = '[never] ' || text WHERE id = 1")
        conn.execute("UPDATE notes SET text = '[no json] ' || text WHERE id = 2")
        conn.execute("UPDATE notes SET text = '[long] ' || text WHERE id = 3")
        conn.commit()
    run("run", notes, "notes", "-s", "Be kind.", *ASK, *there(server), code=3)
    answerer.bodies.clear()
    said = run("retry", notes, "1", "--repair", *AGAIN, code=3)
    assert "11 of 12 rows answered; 1 failed (1 schema_violation)" in said.err
    turns = {
        body["messages"][1]["content"].split("] ")[0]: [
            (one["role"], one["content"]) for one in body["messages"]
        ]
        for body in answerer.bodies
    }
    assert sorted(turns) == ["Of note [long", "Of note [never", "Of note [no json"]
    never = turns["Of note [never"]
    assert never[:2] == [("system", "Be kind."), ("user", "Of note [never] note 1")]
    assert never[2] == ("assistant", '{"mood": "awful"}')
    assert never[3][0] == "user"
    assert 'mood: "awful" is not one of' in never[3][1]
    assert turns["Of note [no json"][2] == ("assistant", "It is good.")
    assert "not valid JSON" in turns["Of note [no json"][3][1]
    assert "cut at the limit of tokens" in turns["Of note [long"][3][1]


def test_run_repairs_by_itself_and_stops(
    run: Any, notes: Path, rows: Any, moody: tuple[LocalServer, Moody]
) -> None:
    server, _ = moody
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET text = '[never] ' || text WHERE id < 3")
        conn.execute("UPDATE notes SET text = '[no json] ' || text WHERE id = 5")
        conn.commit()
    said = run("run", notes, "notes", *ASK, "--repair", "2", *there(server), code=3)
    assert "10 of 12 rows answered; 2 failed (2 schema_violation)" in said.err
    assert "2 answers were wrong once more after 2 repairs" in said.err
    assert rows(notes, "SELECT requests FROM openai_batch_parts ORDER BY number") == [
        (12,), (3,), (2,),
    ]  # fmt: skip
    history = rows(
        notes, "SELECT row_key, group_concat(answers.status) FROM openai_batch_answers AS answers "
        "JOIN openai_batch_requests AS requests ON requests.id = request_id GROUP BY 1",
    )  # fmt: skip
    wrong = "schema_violation,schema_violation"
    assert history == [(1, wrong), (2, wrong), (5, "invalid_json")]


@pytest.mark.skipif(not available(), reason="no wheel of toktok-rs for this Python")
def test_repairs_stay_below_the_ceiling(
    run: Any, notes: Path, rows: Any, fails: LocalServer
) -> None:
    """What a repair may cost is taken from what the ceiling leaves: else it isn't made."""
    capped = (*ASK, *PRICES, "-o", "max_tokens", "20")
    # The bound of twelve answers alone: nothing is left for a further turn.
    least = run("preview", notes, "notes", *capped, "-n", "0", *there(fails)[:2]).err
    most = least.split("at most $")[1].split(" ")[0].split(")")[0]
    said = run(
        "run", notes, "notes", *capped, "--repair", "1", "--max-cost", most, *there(fails), code=3
    )
    assert "6 failed" in said.err
    assert "The ceiling left no room for repairs" in said.err
    (cost, ceiling) = rows(notes, "SELECT cost_nanousd, max_cost_nanousd FROM openai_batch_jobs")[0]
    assert cost <= ceiling
    assert rows(notes, "SELECT count(*) FROM openai_batch_parts") == [(1,)]
    said = run("retry", notes, "1", "--repair", "--max-cost", "1", *AGAIN)
    assert "12 of 12" in said.err


def test_retry_model_asks_another_one_and_keeps_who_answered(
    run: Any, notes: Path, rows: Any, moody: tuple[LocalServer, Moody]
) -> None:
    server, answerer = moody
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET text = '[no json] ' || text WHERE id = 5")
        conn.commit()
    priced = ("--price-as", "gpt-4o-mini")
    run("run", notes, "notes", *ASK, *priced, "-m", "gpt-4o-mini", *there(server), code=3)
    answerer.bodies.clear()
    run("retry", notes, "1", "--model", "gpt-4o", *AGAIN, code=3)
    assert [body["model"] for body in answerer.bodies] == ["gpt-4o"]
    assert rows(notes, "SELECT model, why FROM openai_batch_answers") == [
        ("gpt-4o-mini-simulated", "retry")
    ]
    assert rows(notes, "SELECT model FROM openai_batch_requests WHERE row_key = 5") == [
        ("gpt-4o-simulated",)
    ]
    run("retry", notes, "1", "--model", "gpt-4o", "--repair", *AGAIN)
    assert [len(body["messages"]) for body in answerer.bodies] == [1, 3]
    assert rows(notes, "SELECT mood, count(*) FROM notes GROUP BY 1") == [("bad", 1), ("good", 11)]
    lines = rows(notes, "SELECT line FROM openai_batch_responses")
    prices = {"gpt-4o-mini": (75, 300), "gpt-4o": (1_250, 5_000)}  # USD per 10^9 in a batch
    (cost,) = rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs")[0]
    assert cost == bill(lines, prices)


def test_retry_with_a_model_that_openai_doesnt_have(
    run: Any, notes: Path, rows: Any, unchanged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("run", notes, "notes", "--prompt", "x {{ text }}", *run.there)
    # OpenAI itself can't be asked here: this server stands for it.
    monkeypatch.setattr(Provider, "is_openai", True)
    check = unchanged(notes)
    again = ("retry", notes, "1", "--where", "id < 3", "-y", "--poll", "0.05")
    said = run(*again, "--model", "gpt-4o-minni", code=2)
    assert said.err == (
        f"Error: {run.base_url[7:-3]} has no model 'gpt-4o-minni'. "
        "Did you mean gpt-4o-mini? Name one with --model.\n"
    )
    check()
    run(*again, "--set", "max_tokens=50")


def test_retry_where_asks_sure_rows_no_more(
    run: Any, notes: Path, rows: Any, moody: tuple[LocalServer, Moody]
) -> None:
    """Answered rows are asked again; what stood there counts until a better answer has come."""
    server, answerer = moody
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET text = '[shy] ' || text WHERE id = 2")
        conn.execute("ALTER TABLE notes ADD COLUMN mood TEXT")
        conn.execute("UPDATE notes SET mood = 'before' WHERE id = 1")
        conn.commit()
    run("run", notes, "notes", *ASK, "--replace", "-m", "gpt-4o-mini", *there(server))
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET mood = 'by hand' WHERE id = 3")
        conn.commit()
    answerer.bodies.clear()
    said = run(
        "retry", notes, "1", "--model", "gpt-4o", "--where", "id <= :last", "-p", "last", "4",
        *AGAIN,
    )  # fmt: skip
    assert len(answerer.bodies) == 4
    # job 1 says --replace, so what was written by hand since gives way to a better answer
    found = dict(rows(notes, "SELECT id, mood FROM notes WHERE id <= 5"))
    assert found == {1: "bad", 2: "good", 3: "bad", 4: "bad", 5: "good"}
    assert rows(notes, "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1") == [
        ("ok", 12)
    ]
    # row 2 was refused: its earlier answer counts again, with its model; both are kept
    who = rows(notes, "SELECT model, status FROM openai_batch_requests WHERE row_key = 2")
    assert who == [("gpt-4o-mini-simulated", "ok")]
    kept = rows(
        notes, "SELECT row_key, answers.status, answers.model, why, standing "
        "FROM openai_batch_answers AS answers JOIN openai_batch_requests AS requests "
        "ON requests.id = request_id ORDER BY row_key",
    )  # fmt: skip
    mini = "gpt-4o-mini-simulated"
    assert kept == [
        (1, "ok", mini, "retry", 0),
        (2, "refused", "gpt-4o-simulated", "unused", 0),
        (3, "ok", mini, "retry", 0),
        (4, "ok", mini, "retry", 0),
    ]
    assert "12 of 12" in said.err
    # undone, all is as it was before the first answer
    run("revert", notes, "1")
    assert dict(rows(notes, "SELECT id, mood FROM notes WHERE mood IS NOT NULL")) == {
        1: "before", 3: "by hand",
    }  # fmt: skip


def test_a_cell_that_somebody_edited_keeps_what_it_holds(
    run: Any, notes: Path, rows: Any, moody: tuple[LocalServer, Moody]
) -> None:
    server, _ = moody
    run("run", notes, "notes", *ASK, "-m", "gpt-4o-mini", *there(server))
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET mood = 'by hand' WHERE id = 3")
        conn.commit()
    said = run("retry", notes, "1", "--model", "gpt-4o", "--where", "id < 5", *AGAIN)
    found = dict(rows(notes, "SELECT id, mood FROM notes WHERE id <= 5"))
    assert found == {1: "bad", 2: "bad", 3: "by hand", 4: "bad", 5: "good"}
    assert "1 row" in said.err
    run("revert", notes, "1")
    assert rows(notes, "SELECT id, mood FROM notes WHERE mood IS NOT NULL") == [(3, "by hand")]


def test_confidence_decides_who_is_asked_again(
    run: Any, notes: Path, rows: Any, server: LocalServer
) -> None:
    run("run", notes, "notes", *ASK, "--confidence", "-m", "gpt-4o-mini", *there(server))
    unsure = rows(notes, "SELECT id FROM notes WHERE mood_confidence < 0.7")
    assert 0 < len(unsure) < 12
    run("retry", notes, "1", "--model", "gpt-4o", "--where", "mood_confidence < 0.7", *AGAIN)
    asked = rows(
        notes, "SELECT row_key FROM openai_batch_requests WHERE model LIKE 'gpt-4o-simulated' "
        "ORDER BY row_key",
    )  # fmt: skip
    assert asked == unsure


def test_nothing_comes_of_an_old_file_while_a_better_answer_is_awaited(
    run: Any, notes: Path, rows: Any, held: Any, tmp_path: Path
) -> None:
    """The first answers are brought once more by hand: they are no better ones."""
    server, answerer = held
    answerer.release()
    run("run", notes, "notes", "--prompt", "{{ text }}", *there(server))
    lines = rows(notes, "SELECT line FROM openai_batch_responses")
    (tmp_path / "old.jsonl").write_text("".join(f"{line}\n" for (line,) in lines))
    before = rows(notes, "SELECT id, answer FROM notes")
    answerer.released = False
    run("retry", notes, "1", "--where", "id < 4", "--no-wait", *AGAIN[:1])
    assert rows(notes, "SELECT count(*) FROM openai_batch_requests WHERE status = 'pending'") == [
        (3,)
    ]
    assert rows(notes, "SELECT id, answer FROM notes") == before
    run("import-responses", notes, "old.jsonl")
    assert rows(notes, "SELECT count(*) FROM openai_batch_requests WHERE status = 'pending'") == [
        (3,)
    ]
    answerer.release()
    run("watch", notes, "--poll", "0.05")
    assert rows(notes, "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1") == [
        ("ok", 12)
    ]
    assert rows(notes, "SELECT count(*) FROM openai_batch_answers WHERE standing") == [(0,)]


def test_cancelled_rows_get_their_answers_back(run: Any, notes: Path, rows: Any, held: Any) -> None:
    server, answerer = held
    answerer.release()
    run("run", notes, "notes", "--prompt", "{{ text }}", *there(server))
    before = rows(notes, "SELECT id, answer FROM notes")
    answerer.released = False
    run("retry", notes, "1", "--where", "id < 4", "--no-wait", *AGAIN[:1])
    run("cancel", notes, "1")
    answerer.release()
    run("watch", notes, "--poll", "0.05", code=0)
    assert rows(notes, "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1") == [
        ("ok", 12)
    ]
    assert rows(notes, "SELECT id, answer FROM notes") == before


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--repair", "--status", "refused"], 2, "Requests that are refused have none"),
        (["--where", "moood = 'good'"], 1, "moood"),
        (["--where", "id = :nothing"], 1, "nothing"),
        (["--model", "o3"], 1, "temperature is refused by o3: it reasons"),
        (["--model", "gpt-4o", "--set", "model=o1"], 2, "give one of them"),
        (["--model", "nobody-knows", "--max-cost", "1"], 2, "nobody-knows"),
    ],
)
def test_bad_input(
    run: Any, notes: Path, rows: Any, fails: LocalServer,
    options: list[str], code: int, words: str,
) -> None:  # fmt: skip
    priced = ("--price-as", "gpt-4o-mini", "-m", "gpt-4o-mini", "-o", "temperature", "0")
    run("run", notes, "notes", *ASK, *priced, *there(fails), code=3)
    before = rows(notes, "SELECT * FROM openai_batch_requests")
    said = run("retry", notes, "1", *options, *AGAIN, code=code)
    assert words in said.err
    assert rows(notes, "SELECT * FROM openai_batch_requests") == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prompt", "{{ text }}"], "a free text always fits"),
        (["--prompt", "{{ text }}", "--endpoint", "/v1/embeddings"], "knows no turns"),
    ],
)
def test_repair_of_what_cant_be_wrong(
    run: Any, notes: Path, unchanged: Any, options: list[str], words: str
) -> None:
    check = unchanged(notes)
    said = run("run", notes, "notes", *options, "--repair", "1", *run.there, code=2)
    assert words in said.err
    check()
