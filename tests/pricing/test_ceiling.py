"""The ceiling holds: before anything is sent and at each send, whatever comes back."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils.cli import cli

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import NeedsAttention, UsageError
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.sync.engine import approve, one_pass
from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.pricing.ceiling import (
    PartBound,
    cents_up,
    check_ceiling,
    parse_ceiling,
    reserve,
)
from sqlite_utils_openai_batch.pricing.estimate import Money
from sqlite_utils_openai_batch.pricing.prices import Prices, stated_prices
from sqlite_utils_openai_batch.pricing.tokens import available, count_requests, counter_for
from sqlite_utils_openai_batch.provider.accounts import destination
from sqlite_utils_openai_batch.provider.client import Provider
from sqlite_utils_openai_batch.requests import limits
from sqlite_utils_openai_batch.store.connection import connect, transaction
from sqlite_utils_openai_batch.store.costs import committed

ASK = ("--prompt", "Say: {{ text }}")
PRICED = ("--price-input", "1", "--price-output", "4")
CAPPED = ("-o", "max_tokens", "100")
# Where there is no wheel of the tokenizer, the bytes of a question bound its tokens: it may cost
# a little more, and so may the least ceiling that holds for 12 notes.
EXACT = available()
MOST, LEAST = ("$0.0050", "0.005") if EXACT else ("$0.0051", "0.0051")
QUESTIONS, CAP = ("$0.00015", 80) if EXACT else ("$0.00026", 78)
QUESTION = 10 if EXACT else 16
# Words by which notes grow so that one part of them fits below that, and the second doesn't.
GROWTH = 100 if EXACT else 40
exact = pytest.mark.skipif(not EXACT, reason="no wheel of toktok-rs for this Python")


# What is typed


@pytest.mark.parametrize(
    ("text", "nanousd"),
    [("2.50", 2_500_000_000), ("$10", 10_000_000_000), ("0.000001", 1_000), ("1e-9", 1)],
)
def test_a_ceiling(text: str, nanousd: int) -> None:
    assert parse_ceiling(text) == nanousd


@pytest.mark.parametrize("text", ["0", "0.0", "$0", "0.0000000001"])
def test_a_ceiling_of_nothing_is_an_unquoted_dollar_sign(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_ceiling(text)
    assert str(raised.value) == (
        f"--max-cost {text}: nothing could be sent for that. Was it $10? "
        "A shell makes 0 of an unquoted $10: leave the dollar sign out."
    )


@pytest.mark.parametrize(
    ("nanousd", "typed"),
    [(1, "0.000001"), (1_234_567, "0.001235"), (10_000_000, "0.01"), (10_000_001, "0.02"),
     (12_301_000_000, "12.31")],
)  # fmt: skip
def test_the_ceiling_that_would_do_is_never_too_low(nanousd: int, typed: str) -> None:
    assert cents_up(nanousd) == typed
    assert parse_ceiling(typed) >= nanousd


# Before anything is sent


def test_a_job_that_might_cost_more_isnt_made(run: Any, notes: Any, rows: Any) -> None:
    said = run("run", notes, "notes", *ASK, *CAPPED, *run.there, *PRICED, "--max-cost", "0.004",
               code=2)  # fmt: skip
    assert said.err == (
        f"Error: The ceiling of $0.0040 can't hold: 12 requests may cost up to {MOST}. "
        f"Add -o max_tokens {CAP}: then at most $0.0040.\n"
    )
    assert rows(notes, "SELECT count(*) FROM openai_batch_jobs") == [(0,)]
    # What it says holds.
    run("run", notes, "notes", *ASK, "-o", "max_tokens", str(CAP), *run.there, *PRICED,
        "--max-cost", "0.004")  # fmt: skip


def test_answers_without_a_cap_name_the_one_that_would_do(run: Any, notes: Any) -> None:
    said = run("prepare", notes, "notes", *ASK, "--base-url", run.base_url, *PRICED,
               "--max-cost", "0.05", code=2)  # fmt: skip
    assert said.err == (
        "Error: The ceiling of $0.05 can't hold: 12 requests may cost up to $0.79, since "
        "gpt-4o-mini writes up to 16,384 tokens uncapped. "
        "Add -o max_tokens 1000: then at most $0.049.\n"
    )


def test_answers_without_any_bound(run: Any, notes: Any) -> None:
    said = run("prepare", notes, "notes", *ASK, "-m", "mine", "--base-url", run.base_url, *PRICED,
               "--max-cost", "0.05", code=2)  # fmt: skip
    assert said.err.startswith(
        "Error: The ceiling of $0.05 can't hold: nothing bounds the cost of 12 requests. "
        "Add -o max_tokens "
    )


def test_questions_alone_above_the_ceiling(run: Any, notes: Any) -> None:
    said = run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED,
               "--max-cost", "0.0001", code=2)  # fmt: skip
    assert said.err == (
        f"Error: The ceiling of $0.00010 can't hold: 12 requests may cost up to {MOST}. "
        f"The questions alone may cost up to {QUESTIONS}: "
        "ask fewer rows with --limit, or raise --max-cost.\n"
    )


def test_preview_says_whether_it_holds(run: Any, notes: Any) -> None:
    there = ("--base-url", run.base_url, "-n", "0")
    said = run("preview", notes, "notes", *ASK, *CAPPED, *there, *PRICED, "--max-cost", "10")
    assert "Ceiling   $10.00: holds\n" in said.err
    said = run("preview", notes, "notes", *ASK, *CAPPED, *there, *PRICED, "--max-cost", "0.004")
    assert (
        f"Ceiling   $0.0040: does not hold. 12 requests may cost up to {MOST}. "
        f"Add -o max_tokens {CAP}: then at most $0.0040.\n"
    ) in said.err


def test_a_ceiling_without_a_price_cant_hold(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-m", "mine", "--max-cost", "1", code=2)
    assert said.err == (
        "Error: No batch price of mine at api.openai.com is known, so --max-cost can't hold. "
        "Name a model that costs the same with --price-as, "
        "or give USD per million tokens with --price-input and --price-output.\n"
    )


def test_a_ceiling_over_an_own_server_holds(run: Any, notes: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--max-cost", "0.01")


def test_a_ceiling_may_stand_for_yes(run: Any, notes: Any) -> None:
    there = ("--base-url", run.base_url, "--poll", "0.05")
    said = run("run", notes, "notes", *ASK, *CAPPED, *PRICED, *there, code=2)
    assert said.err == (
        "Error: Without a terminal to ask on, sending needs -y or --max-cost (or use preview).\n"
    )
    run("run", notes, "notes", *ASK, *CAPPED, *PRICED, *there, "--max-cost", "1")


def test_yes_doesnt_switch_it_off(run: Any, notes: Any) -> None:
    run("run", notes, "notes", *ASK, *CAPPED, *PRICED, *run.there, "-y", "--max-cost", "0.004",
        code=2)  # fmt: skip


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_the_question_says_what_it_costs(terminal: Any, run: Any, notes: Any) -> None:
    screen = terminal("run", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED,
                      "--max-cost", "0.01")  # fmt: skip
    screen.answer("Send? [y/N]", "n\n")
    said = screen.end(0)
    assert f"At most {MOST} (ceiling $0.01). Data goes to 127.0.0.1:" in said


def test_a_ceiling_for_a_prepared_job(run: Any, notes: Any, rows: Any) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED)
    said = run("submit", notes, "--max-cost", "0.004", code=2)
    assert said.err == (
        f"Error: The ceiling of $0.0040 can't hold: job 1 may cost up to {MOST}. "
        "Raise it, or prepare the job anew with a lower -o max_tokens.\n"
    )
    assert rows(notes, "SELECT status, max_cost_nanousd FROM openai_batch_jobs") == [
        ("prepared", None)
    ]
    run("submit", notes, "--max-cost", LEAST)
    assert rows(notes, "SELECT max_cost_nanousd FROM openai_batch_jobs") == [
        (parse_ceiling(LEAST),)
    ]


def test_a_job_without_prices_takes_no_ceiling(run: Any, notes: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url)
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        conn.execute("UPDATE openai_batch_jobs SET base_url = 'https://gateway.example/v1'")
        conn.commit()
    said = run("submit", notes, "--max-cost", "5", "--key", "x", code=2)
    assert said.err == (
        "Error: Job 1 was prepared without prices, so --max-cost can't hold. "
        "Prepare it again with --price-as, or with --price-input and --price-output.\n"
    )


def test_at_a_terminal_the_cap_is_offered(run: Any, notes: Any, terminal: Any, rows: Any) -> None:
    """The ceiling holds by the cap that it names, once somebody says so."""
    asked = (notes, "notes", *ASK, "--base-url", run.base_url, *PRICED, "--max-cost", "0.05",
             "-m", "gpt-4o-mini", "--poll", "0.05")  # fmt: skip
    said = run("preview", *asked[:-2], "-n", "0").err.splitlines()[-1]
    cap = said.removeprefix("Nothing was sent. Next: run with the same options and -o ")
    assert re.fullmatch(r"max_tokens \d+\.", cap)
    screen = terminal("run", *asked)
    screen.answer(f"Go on with -o {cap[:-1]}? [y/N]", "y\n")
    assert "can't hold: 12 requests may cost up to $0.79, since " in screen.screen
    screen.answer("Send? [y/N]", "y\n")
    screen.end(0)
    ((template, most),) = rows(notes, "SELECT template, upper_cost_nanousd FROM openai_batch_jobs")
    assert json.loads(template)["max_tokens"] == int(cap[len("max_tokens ") : -1])
    assert most <= 50_000_000


def test_a_cap_that_nobody_wants_sends_nothing(
    run: Any, notes: Any, terminal: Any, rows: Any
) -> None:
    asked = (notes, "notes", *ASK, "--base-url", run.base_url, *PRICED, "--max-cost", "0.05")
    screen = terminal("run", *asked)
    screen.answer("Go on with -o max_tokens ", "n\n")
    assert "Error: The ceiling of $0.05 can't hold" in screen.end(2)
    assert rows(notes, "SELECT count(*) FROM openai_batch_jobs") == [(0,)]
    said = run("run", *asked, "-y", code=2)
    assert said.err.startswith("Error: The ceiling of $0.05 can't hold")


# At each send


def grown(path: Path, by: int) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("UPDATE notes SET text = text || ?", [" more" * by])
        conn.commit()


@exact
def test_rows_that_have_grown_pause_the_job(
    run: Any, notes: Any, tmp_path: Path, rows: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED,
        "--max-cost", "0.005", "--part-requests", "6", "--first-part", "0")  # fmt: skip
    grown(tmp_path / notes, 100)
    run("submit", notes, "-y")
    said = run("watch", notes, "--poll", "0.05", code=4)
    assert rows(notes, "SELECT status, sends FROM openai_batch_parts ORDER BY number") == [
        ("completed", 1),
        ("prepared", 0),
    ]
    (spent,) = rows(notes, "SELECT sum(cost_nanousd) FROM openai_batch_parts")[0]
    most = 6 * (112 * 1_000 + 100 * 4_000)
    assert said.err.startswith("Job 1 is paused: The ceiling of $0.0050 can't hold: ")
    needed = cents_up(spent + most)
    assert (
        f" is spent, part 2 may cost up to $0.0031. Raise it with --max-cost {needed}" in said.err
    )
    assert f"submit data.db 1 --max-cost {needed}\n" in said.err
    assert f"--max-cost {needed}\n" in run("show", notes).out

    # Each echo of such a text is cut; whether this pass sees it, or the next, is the server's.
    for command in (("submit", "1", "-y", "--max-cost", needed), ("watch", "--poll", "0.05")):
        result = CliRunner().invoke(cli, ["openai-batch", command[0], str(notes), *command[1:]])
        assert result.exit_code in (0, 3), result.stderr
    assert rows(notes, "SELECT status FROM openai_batch_jobs") == [("completed",)]


def test_rows_that_fit_no_more_are_asked_as_the_rest_of_their_part(
    run: Any, notes: Any, tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a retry had changed (--set) holds for the part that they are put into too."""
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url)
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("""UPDATE openai_batch_parts SET overrides = '{"max_tokens": 300}'""")
        conn.commit()
    grown(tmp_path / notes, 10)
    monkeypatch.setitem(limits.CAPS, "openai", replace(limits.CAPS["openai"], bytes=1_500))
    run("submit", notes, "-y")
    run("watch", notes, "--poll", "0.05")
    parts = rows(notes, "SELECT requests, overrides FROM openai_batch_parts ORDER BY number")
    assert len(parts) > 1 and sum(requests for requests, _ in parts) == 12
    assert {overrides for _, overrides in parts} == {'{"max_tokens": 300}'}


def test_rows_that_fit_no_more_take_their_share_of_the_queue(
    run: Any, notes: Any, tmp_path: Path, rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part they are put into, and the one they are taken from, follow their bytes."""
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED)
    figures = "SELECT requests, bytes, estimated_tokens, upper_cost_nanousd FROM openai_batch_parts"
    ((requests, size, tokens, most),) = rows(notes, figures)
    grown(tmp_path / notes, 10)
    monkeypatch.setitem(limits.CAPS, "openai", replace(limits.CAPS["openai"], bytes=1_500))
    for command in (("submit", "-y"), ("watch", "--poll", "0.05")):
        run(command[0], notes, *command[1:])
    parts = rows(notes, figures)
    assert len(parts) > 1
    assert sum(part[1] for part in parts) == size + requests * len(" more" * 10)
    for _, part_size, part_tokens, part_most in parts:
        assert 0 <= part_tokens - tokens * part_size / size < len(parts)
        assert part_most >= most * part_size / size


def test_a_ceiling_below_what_is_spent_is_refused(run: Any, notes: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED,
        "--max-cost", LEAST, "--part-requests", "6", "--first-part", "0")  # fmt: skip
    grown(tmp_path / notes, GROWTH)
    run("submit", notes, "-y")
    run("watch", notes, "--poll", "0.05", code=4)
    said = run("submit", notes, "1", "-y", "--max-cost", "0.000001", code=2)
    assert said.err.startswith("Error: --max-cost 0.000001: $0.00")
    assert " is spent already, and up to $0.00 may still come of what was sent.\n" in said.err


@dataclass
class Made:
    """A job in a database, and the connection to it."""

    conn: sqlite3.Connection
    path: Path
    job_id: int

    @property
    def job(self) -> store.Job:
        return store.get_job(self.conn, self.job_id)


def make(
    path: Path,
    texts: list[str],
    prices: Prices,
    *,
    base_url: str,
    cap: int = 100,
    part_requests: int = 4,
    max_cost: int | None = None,
) -> Made:
    """Prepare a job over these texts."""
    conn = connect(path)
    conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    conn.executemany("INSERT INTO notes (text) VALUES (?)", [(text,) for text in texts])
    ask = Ask(
        table="notes",
        model="gpt-4o-mini",
        prompt="Say: {{ text }}",
        options={"max_tokens": cap},
        part_requests=part_requests,
        first_part=0,
        money=Money(prices=prices, max_cost=max_cost),
    )
    plan = settle(conn, ask)
    job, _ = prepare(
        conn, plan, uid=store.new_uid(), provider="openai", base_url=base_url, account=None,
        settings={},
    )  # fmt: skip
    plan.close()
    return Made(conn, path, job.id)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """A job of two parts whose ceiling is what it may cost."""
    path = tmp_path / "data.db"
    sqlite3.connect(path).close()
    prices = stated_prices(Decimal(1), Decimal(4))
    found = make(path, [f"note {n}" for n in range(8)], prices, base_url="https://gateway.example",
                 max_cost=10**9)  # fmt: skip
    yield found
    found.conn.close()


def bound_of(made: Made, texts: list[str], cap: int = 100) -> PartBound:
    bound = PartBound.of_part(made.job, store.list_parts(made.conn, made.job_id)[0])
    assert bound is not None
    for text in texts:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": cap}
        bound.add(json.dumps({"custom_id": "x", "body": body}).encode())
    return bound.count()


def test_the_bound_of_a_part_is_made_of_its_lines(made: Made) -> None:
    bound = bound_of(made, ["note 1", "note 2"], cap=50)
    assert bound.nanousd == (2 * QUESTION * 1 + 2 * 50 * 4) * 1_000
    assert bound.input_nanousd == 2 * QUESTION * 1_000


def test_a_part_is_reserved_up_to_the_last_nanodollar(made: Made) -> None:
    first, second = store.list_parts(made.conn, made.job_id)
    bound = bound_of(made, ["note 1"])
    assert bound.nanousd is not None
    for ceiling, fits in ((2 * bound.nanousd, True), (2 * bound.nanousd - 1, False)):
        with transaction(made.conn):
            store.update_job(made.conn, made.job_id, max_cost_nanousd=ceiling)
            store.update_part(
                made.conn, first.id, status="in_progress", sends=1,
                upper_cost_nanousd=bound.nanousd,
            )  # fmt: skip
        if fits:
            reserve(made.conn, made.job, second, bound)
            assert store.get_part(made.conn, second.id).upper_cost_nanousd == bound.nanousd
        else:
            with pytest.raises(NeedsAttention):
                reserve(made.conn, made.job, second, bound)


def test_what_is_committed(made: Made) -> None:
    first, second = store.list_parts(made.conn, made.job_id)
    assert committed(made.conn, made.job_id).total == 0
    store.update_part(made.conn, first.id, status="uploading", sends=1, upper_cost_nanousd=70)
    store.update_part(made.conn, second.id, status="in_progress", sends=1, upper_cost_nanousd=50)
    assert committed(made.conn, made.job_id).total == 120
    assert committed(made.conn, made.job_id, but=second.id).total == 70
    # A queue that was full gave the first back; of the second the cost is known now.
    store.update_part(made.conn, first.id, status="prepared")
    store.update_part(made.conn, second.id, status="completed", collected_at="x", cost_nanousd=8)
    assert committed(made.conn, made.job_id) == replace(
        committed(made.conn, made.job_id), spent=8, open=0, unknown=0
    )
    # Answers that report no tokens leave it at the bound, and no bound is not a number.
    store.update_part(made.conn, second.id, cost_nanousd=None)
    assert committed(made.conn, made.job_id).total == 50
    store.update_part(made.conn, second.id, upper_cost_nanousd=None)
    assert committed(made.conn, made.job_id).unknown == 1
    with pytest.raises(NeedsAttention, match="nothing bounds what its answers may cost"):
        reserve(made.conn, made.job, first, bound_of(made, ["note 1"]))


def test_a_refusal_names_the_cap_that_would_do(made: Made) -> None:
    first, second = store.list_parts(made.conn, made.job_id)
    store.update_job(made.conn, made.job_id, max_cost_nanousd=1_000_000)
    store.update_part(
        made.conn, first.id, status="in_progress", sends=1, upper_cost_nanousd=500_000
    )
    with pytest.raises(NeedsAttention) as raised:
        reserve(made.conn, made.job, second, bound_of(made, ["note 1"], cap=1_000))
    assert str(raised.value) == (
        "The ceiling of $0.0010 can't hold: up to $0.00050 may come of what was sent, part 2 may "
        f"cost up to $0.0041. Raise it with --max-cost 0.0045{QUESTION}, or cap the answers of a "
        "new job with -o max_tokens 120."
    )


def test_images_whose_tokens_arent_published(made: Made) -> None:
    plan = settle(
        made.conn,
        Ask(table="notes", model="gpt-6-luna", prompt="{{ text }}", options={"max_tokens": 5},
            money=Money(prices=stated_prices(Decimal(1), Decimal(1)), max_cost=10)),
    )  # fmt: skip
    from sqlite_utils_openai_batch.jobs.plan.prepare import estimated, new_tally

    tally = new_tally(plan)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    assert tally.sample is not None
    tally.sample.add(json.dumps({"body": body}).encode(), 1)
    with pytest.raises(UsageError, match="how many tokens the images are for gpt-6-luna"):
        check_ceiling(estimated(made.conn, plan, tally), "gpt-6-luna")
    plan.close()


# Whatever comes back

# The rule itself, as a trigger: it looks at every change, of every process, in its transaction.
WATCHMAN = """
CREATE TRIGGER ceiling_holds AFTER UPDATE ON openai_batch_parts BEGIN
    SELECT RAISE(ABORT, 'the ceiling was passed') WHERE (
        SELECT total(CASE
            WHEN collected_at IS NOT NULL AND cost_nanousd IS NOT NULL THEN cost_nanousd
            WHEN status <> 'prepared' AND sends > 0 THEN coalesce(upper_cost_nanousd, 9e18)
            ELSE 0 END)
        FROM openai_batch_parts WHERE job_id = NEW.job_id
    ) > (SELECT max_cost_nanousd FROM openai_batch_jobs WHERE id = NEW.job_id);
END
"""


class Bills(SimulatedAnswerer):
    """Answers as a paid model might: honest about its input, any length up to the cap.

    What it bills is summed up in `tokens`: input and output of every request that it ran.
    """

    def __init__(self, seed: int = 0, failing: float = 0.0) -> None:
        super().__init__(seed)
        self.failing = failing
        self.asked: dict[str, int] = {}
        self.tokens = [0, 0]
        self.counter = counter_for("gpt-4o-mini")

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        self.asked[custom_id] = self.asked.get(custom_id, 0) + 1
        dice = random.Random(
            zlib.crc32(f"{self.seed} {custom_id} {self.asked[custom_id]}".encode())
        )
        if dice.random() < self.failing:
            return Answer(dice.choice((500, 429)), {"error": {"message": "Later."}})
        answer = super().answer_now(url, body, custom_id)
        (counted,) = count_requests(self.counter, [body], url)
        done = dice.randint(1, body["max_tokens"])
        usage = answer.body["usage"]
        usage |= {"prompt_tokens": counted.tokens, "completion_tokens": done}
        if dice.random() < 0.2:
            answer.body["choices"][0]["finish_reason"] = "length"
        self.tokens[0] += counted.tokens or 0
        self.tokens[1] += done
        return answer


class Bench:
    """A server whose answerer is another one for each example."""

    def __init__(self) -> None:
        self.answerer = Bills()
        self.server = LocalServer(answerer=self)

    label = "bills"
    concurrency = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answerer, name)

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        return self.answerer.answer_now(url, body, custom_id)

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        return self.answerer.answer_now(url, body, custom_id)

    def pace(self, requests: int) -> float | None:
        return None

    async def models(self) -> list[str]:
        return []

    async def allowed_models(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    found = Bench()
    with found.server:
        yield found


def retry_truncated(made: Made) -> None:
    """What `retry --status truncated` does, with the cap as it was."""
    from sqlite_utils_openai_batch.jobs.manage import plan_retry, retry

    plan = plan_retry(made.conn, made.job, ("truncated",))
    if plan.requests:
        retry(made.conn, made.job, plan, {})


# The queue lets one part go first until one was accepted, so a pass may send one only.
PASSES = 60


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_is_committed_never_passes_the_ceiling(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    texts = data.draw(
        st.lists(st.text("abc déf ", min_size=1, max_size=60), min_size=1, max_size=30)
    )
    input_ = data.draw(st.decimals("0.01", "20", places=3))
    output = data.draw(st.decimals("0", "100", places=3))
    cap = data.draw(st.integers(1, 300))
    share = data.draw(st.floats(0.1, 1.3))
    bench.answerer = Bills(data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0, 0.3])))
    # drawn before anything runs: how far a pass comes is the server's affair
    raises, retries = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))

    path = tmp_path_factory.mktemp("ceiling") / "data.db"
    sqlite3.connect(path).close()
    prices = stated_prices(input_, output)
    made = make(
        path, [f"x{text}" for text in texts], prices, base_url=bench.server.base_url, cap=cap,
        part_requests=data.draw(st.integers(1, 8)),
    )  # fmt: skip
    with closing(made.conn), Provider(bench.server.base_url, bench.server.key) as provider:
        made.conn.execute(WATCHMAN)
        ceiling = max(int((made.job.upper_cost_nanousd or 0) * share), 1)
        store.update_job(made.conn, made.job_id, max_cost_nanousd=ceiling)
        approve(made.conn, made.job)
        paused = completed = 0
        for _ in range(PASSES):
            one_pass(made.conn, [made.job], lambda job: provider)
            bill = bench.answerer.tokens
            billed = (input_ * bill[0] + output * bill[1]) * 1_000
            assert billed <= ceiling + 1
            assert committed(made.conn, made.job_id).total <= ceiling
            paused += made.job.status == "paused"
            completed += made.job.status == "completed"
            if made.job.status == "paused" and paused == raises:
                ceiling *= 2
                store.update_job(made.conn, made.job_id, max_cost_nanousd=ceiling)
                approve(made.conn, made.job)
            elif made.job.status == "completed" and completed == retries:
                retry_truncated(made)
                approve(made.conn, made.job)
            elif made.job.status in ("paused", "completed") and not left(made):
                break
        assert made.job.status in ("paused", "completed"), made.job
        if made.job.status == "paused":
            assert (made.job.message or "").startswith("The ceiling of ")
        assert abs((made.job.cost_nanousd or 0) - billed) <= len(store.list_parts(made.conn, 1))


def left(made: Made) -> list[store.Part]:
    """Parts that were sent and aren't collected yet."""
    parts = store.list_parts(made.conn, made.job_id)
    return [part for part in parts if part.status != "prepared" and not part.collected_at]


def test_two_processes_cant_take_the_same_money(
    bench: Bench, tmp_path: Path, run: Any, rows: Any
) -> None:
    """Several `sync`s at once over parts of which only some fit."""
    bench.answerer = Bills(1)
    path = tmp_path / "data.db"
    sqlite3.connect(path).close()
    prices = stated_prices(Decimal(1), Decimal(4))
    base_url = bench.server.base_url
    account = destination(base_url, bench.server.key, "openai").account
    made = make(path, [f"note {n}" for n in range(16)], prices, base_url=base_url, part_requests=2)
    with closing(made.conn) as conn:
        conn.execute(WATCHMAN)
        each = store.list_parts(conn, made.job_id)[0].upper_cost_nanousd or 0
        # Where a limit is known no part waits for the first, so that all race for the money.
        conn.execute(
            "INSERT INTO openai_batch_limits "
            "VALUES (?, 'gpt-4o-mini', 'enqueued_tokens', 1000000, '', '')",
            [account],
        )
        most = 3 * each + each // 2
        store.update_job(conn, made.job_id, max_cost_nanousd=most, account=account)
        approve(conn, made.job)
        syncs = [run.start("sync", path, "--key", bench.server.key) for _ in range(2)]
        for sync in syncs:
            _, err = sync.communicate(timeout=90)
            assert sync.returncode in (0, 4), err
            assert "passed" not in err
        one_pass(conn, [made.job], lambda job: open_provider(bench))
        assert committed(conn, made.job_id).total <= 3 * each + each // 2
        sent = [part for part in store.list_parts(conn, made.job_id) if part.sends]
        assert 3 <= len(sent) < 8
        assert made.job.status == "paused"


def open_provider(bench: Bench) -> Provider:
    return Provider(bench.server.base_url, bench.server.key)
