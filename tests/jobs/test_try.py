"""`try`: a few rows now, without a batch; printed, and kept only where that was asked for."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.pricing.prices import full_prices
from sqlite_utils_openai_batch.pricing.tokens import available

ASK = ("--prompt", "Say: {{ text }}")
PRICED = ("--price-as", "gpt-4o-mini")


def there(run: Any) -> tuple[str, ...]:
    return ("--base-url", run.base_url, "-y")


def steady(text: str) -> str:
    """A screen without what differs from run to run."""
    text = re.sub(r"\d+\.\d s", "TIME", text)
    text = re.sub(r"direct-[0-9a-f]+", "direct-ID", text)
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", text)


def test_it_prints_answers_and_writes_nothing(
    run: Any, notes: Any, unchanged: Any, server: Any
) -> None:
    check = unchanged(notes)
    before = len(server.journal())

    said = run("try", notes, "notes", *ASK, *there(run), "-n", "2")

    assert steady(said.out) == (
        "Row 1 of 2   notes.id = 8\n"
        "  asked   Say: note 8\n"
        "  answer  simulated answer to direct-ID: Say: note 8\n"
        "  ok      7 tokens in, 12 out · TIME\n"
        "Row 2 of 2   notes.id = 9\n"
        "  asked   Say: note 9\n"
        "  answer  simulated answer to direct-ID: Say: note 9\n"
        "  ok      7 tokens in, 12 out · TIME\n"
    )
    assert steady(said.err) == (
        "\n2 of 2 rows answered: 14 tokens in, 24 out, TIME.\n"
        "All rows  12 requests: about 120 in, 144 out\n"
        "Cost      none (own server)\n"
        "\nNothing was written. Next: run with the same options.\n"
    )
    posts = [e["path"] for e in server.journal()[before:] if e["method"] == "POST"]
    assert posts == ["/v1/chat/completions"] * 2
    check()


def test_the_sample_is_the_same_each_time_and_in_order(run: Any, notes: Any) -> None:
    def asked() -> list[str]:
        out = run("try", notes, "notes", *ASK, *there(run), "-n", "5").out
        return re.findall(r"notes\.id = (\d+)", out)

    first = asked()
    assert asked() == first
    assert first == sorted(first, key=int)
    assert len(set(first)) == 5


def test_more_rows_than_there_are(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "50", "--where", "id > 10")
    assert re.findall(r"Row \d of (\d)   notes\.id = (\d+)", said.out) == [("2", "11"), ("2", "12")]


def test_blank_rows_arent_tried(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, NULL), (2, ' '), (3, 'here');"
    )
    said = run("try", path, "t", *ASK, *there(run))
    assert re.findall(r"t\.id = (\d)", said.out) == ["3"]


def test_nothing_to_try(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "--where", "id > 99")
    assert (said.out, said.err) == ("", "No rows of notes match: nothing to ask.\n")


def test_answers_are_shown_as_the_columns_that_they_would_fill(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "1",
               "--schema", "mood good|bad, note")  # fmt: skip
    assert re.search(r"\n  mood   (good|bad)\n  note   simulated answer to direct-", said.out)
    assert "\n1 of 1 row answered as the schema asks: " in said.err


@pytest.mark.skipif(not available(), reason="no wheel of toktok-rs for this Python")
def test_what_all_rows_would_cost_on_that_basis(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "3", *PRICED, "-o", "max_tokens",
               "50")  # fmt: skip
    assert "3 of 3 rows answered: 21 tokens in, 38 out, " in said.err
    full = full_prices("gpt-4o-mini", "https://api.openai.com/v1")
    assert full is not None
    assert full.request(21, 0, 38) == 21 * 150 + 38 * 600
    assert "This try  less than $0.0001 (single requests, without a batch)\n" in said.err
    # By the questions as they were counted, and answers of 38 / 3 tokens.
    assert "All rows  12 requests: about 144 in, 152 out\n" in said.err
    assert re.search(r"Cost      less than \$0\.0001, at most \$0\.0002\d? ", said.err)


def test_each_way_to_fail_is_shown(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('fine'), ('[http 400]'), ('[refuse]'), ('[cut]');"
    )
    said = run("try", path, "t", *ASK, *there(run), code=3)
    assert re.findall(r"\n  (ok|http_error|refused|truncated) ", said.out) == [
        "ok",
        "http_error",
        "refused",
        "truncated",
    ]
    assert "Bad luck." in said.out
    assert "I can't help with that." in said.out
    assert "\n1 of 4 rows answered: " in said.err


def test_without_a_terminal_it_needs_a_yes(run: Any, notes: Any, server: Any) -> None:
    before = len(server.journal())
    said = run("try", notes, "notes", *ASK, "--base-url", run.base_url, code=2)
    assert said.err == (
        "Error: Without a terminal to ask on, sending needs -y or --max-cost (or use preview).\n"
    )
    assert len(server.journal()) == before


def test_a_ceiling_holds_here_too(run: Any, notes: Any, server: Any) -> None:
    options = ("-o", "max_tokens", "1000", *PRICED, "--base-url", run.base_url)
    run("try", notes, "notes", *ASK, *options, "-n", "2", "--max-cost", "0.01")
    before = [e for e in server.journal() if e["method"] == "POST"]
    said = run("try", notes, "notes", *ASK, *options, "-n", "2", "--max-cost", "0.001", code=2)
    assert said.err == (
        "Error: Up to $0.0013 is what 2 rows may cost now, and the ceiling is $0.0010. "
        "Ask fewer with -n, or cap the answers with -o max_tokens.\n"
    )
    assert [e for e in server.journal() if e["method"] == "POST"] == before


def test_embeddings_and_responses(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "1", "-m", "text-embedding-3-small",
               "--endpoint", "/v1/embeddings")  # fmt: skip
    assert "  answer  1,536 numbers\n" in said.out
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "1", "--endpoint", "/v1/responses")
    assert "  answer  simulated answer to direct-" in said.out


def test_a_server_that_cant_be_reached(run: Any, notes: Any) -> None:
    said = run("try", notes, "notes", *ASK, "--base-url", "http://127.0.0.1:9/v1", "-y", code=1)
    assert said.err.startswith("Error: No server can be reached at http://127.0.0.1:9/v1 ")


def test_a_key_that_isnt_accepted_stops_at_once(run: Any, notes: Any, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(200, {"object": "list", "data": [], "has_more": False}))
    error = {"message": "Incorrect API key provided.", "code": "invalid_api_key"}
    web.reply("POST /chat/completions", reply(401, {"error": error}))
    said = run("try", notes, "notes", *ASK, "--base-url", web.base_url, "-y", code=4)
    assert "does not accept the key: Incorrect API key provided." in said.err
    assert said.out == ""


class OneOnly(SimulatedAnswerer):
    """Answers the first request, and the others only after it was released."""

    def __init__(self) -> None:
        super().__init__(echo=True)
        self.asked = 0
        self.released = False

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request."""
        self.asked += 1
        first = self.asked == 1
        while not (first or self.released):
            await asyncio.sleep(0.005)
        return self.answer_now(url, body, custom_id)


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_ctrl_c_shows_what_came(terminal: Any, notes: Any, unchanged: Any) -> None:
    check = unchanged(notes)
    answerer = OneOnly()
    with LocalServer(answerer=answerer) as server:
        screen = terminal("try", notes, "notes", "--prompt", "{{ text }}", "--where", "id < 4",
                          "--base-url", server.base_url, "--key", server.key)  # fmt: skip
        wait_for(lambda: answerer.asked == 3)
        while screen.process.poll() is None:
            # Python may miss a Ctrl-C, so it is pressed again after a while.
            screen.type("\x03")
            for _ in range(30):
                if not screen.read():
                    break
        said = screen.end(130)
        answerer.released = True
    # The first may have come or not, and Ctrl-C may be quicker than its line.
    assert re.search(r"Stopped after [01] answers?\. [01] of 3 rows answered: ", said), said
    assert "Nothing was written." in said
    check()


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Kept


def test_save_keeps_a_finished_job(run: Any, notes: Any, rows: Any) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "-n", "2", "--save", "pilot")
    assert "\nKept as job 1 (pilot), written to notes.answer.\n" in said.err
    assert rows(
        notes,
        "SELECT name, status, requests, skipped, approved_at IS NULL, finished_at IS NULL "
        "FROM openai_batch_jobs",
    ) == [("pilot", "completed", 2, 0, 0, 0)]
    assert rows(notes, "SELECT row_key, status, write_status FROM openai_batch_requests") == [
        (8, "ok", "written"),
        (9, "ok", "written"),
    ]
    answers = rows(notes, "SELECT id, answer FROM notes WHERE answer IS NOT NULL")
    assert [(key, answer.partition(": ")[2]) for key, answer in answers] == [
        (8, "Say: note 8"),
        (9, "Say: note 9"),
    ]
    kept = rows(notes, "SELECT kind, line FROM openai_batch_responses")
    assert [kind for kind, _ in kept] == ["try", "try"]
    assert json.loads(kept[0][1])["response"]["status_code"] == 200
    assert "pilot" in run("jobs", notes).out
    # Nothing is left to follow, and nothing is asked again.
    assert run("sync", notes).err == "Nothing to do: no unfinished job in 'data.db'.\n"
    assert "0 failed" not in run("show", notes).out


def test_a_saved_try_is_the_basis_of_the_next_estimate(run: Any, notes: Any) -> None:
    options = ("-o", "max_tokens", "500", *PRICED, "--base-url", run.base_url)
    run("try", notes, "notes", *ASK, *options, "-y", "-n", "3", "--save", "pilot")
    said = run("preview", notes, "notes", *ASK, *options, "-n", "0", "--output", "other")
    assert "about 152 out (as in job 1)\n" in said.err


def test_what_a_saved_try_cost(run: Any, notes: Any, rows: Any) -> None:
    run("try", notes, "notes", *ASK, *there(run), *PRICED, "-n", "3", "--save", "pilot")
    assert rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs") == [(21 * 150 + 38 * 600,)]


def test_saved_rows_are_left_out_by_missing(run: Any, notes: Any, rows: Any) -> None:
    run("try", notes, "notes", *ASK, *there(run), "-n", "2", "--save", "pilot")
    run("run", notes, "notes", *ASK, *run.there, "--missing")
    assert rows(notes, "SELECT id, requests FROM openai_batch_jobs ORDER BY id") == [
        (1, 2),
        (2, 10),
    ]
    assert rows(notes, "SELECT count(*) FROM notes WHERE answer IS NULL") == [(0,)]


def test_saved_rows_are_left_out_by_changed(
    run: Any, notes: Any, rows: Any, tmp_path: Path
) -> None:
    run("try", notes, "notes", *ASK, *there(run), "-n", "2", "--save", "pilot")
    run("run", notes, "notes", *ASK, *run.there, "--changed", "--name", "pilot")
    assert rows(notes, "SELECT requests FROM openai_batch_jobs ORDER BY id") == [(2,), (10,)]


def test_columns_that_hold_values_are_found_before_anything_is_asked(
    run: Any, notes: Any, server: Any
) -> None:
    before = [e for e in server.journal() if e["method"] == "POST"]
    said = run("try", notes, "notes", *ASK, *there(run), "--save", "pilot", "--output", "mark",
               code=1)  # fmt: skip
    assert said.err.startswith("Error: Column 'mark' of notes already holds values in 12 rows.")
    assert [e for e in server.journal() if e["method"] == "POST"] == before


@pytest.mark.parametrize(
    ("name", "words"), [("7", "a name can't be only digits"), (" ", "--save: it is empty")]
)
def test_a_name_that_would_be_an_id(run: Any, notes: Any, name: str, words: str) -> None:
    said = run("try", notes, "notes", *ASK, *there(run), "--save", name, code=2)
    assert words in said.err
