"""What a job will cost, and what it did cost: figures, screens, and what is stored."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.pricing.estimate import Cap, Distinct, cap_of
from sqlite_utils_openai_batch.pricing.prices import Prices, find_prices, stated_prices
from sqlite_utils_openai_batch.pricing.tokens import available
from sqlite_utils_openai_batch.provider.client import Provider

ASK = ("--prompt", "Say: {{ text }}")
PRICED = ("--price-as", "gpt-4o-mini")
CAPPED = ("-o", "max_tokens", "100")
PRICES = find_prices("gpt-4o-mini", "https://api.openai.com/v1")
SINCE = PRICES.since if PRICES else None
needs_tokenizer = pytest.mark.skipif(
    not available(), reason="no wheel of toktok-rs for this Python"
)


def lines_of(text: str) -> dict[str, str]:
    """The lines of a screen by their label."""
    return {line[:10].strip(): line[10:] for line in text.splitlines() if line[:1].isupper()}


# The pieces


@given(st.lists(st.binary(min_size=1, max_size=2)))
def test_identical_requests_are_counted_exactly(values: list[bytes]) -> None:
    distinct = Distinct()
    for some in (values[:3], values[3:]):
        distinct.add_all([hashlib.sha256(value).digest()[:16] for value in some])
    assert distinct.repeated() == len(values) - len(set(values))


@pytest.mark.parametrize(
    ("body", "endpoint", "models", "window", "cap"),
    [
        ({"max_tokens": 50}, "/v1/chat/completions", ["gpt-4o"], None, Cap(50, "request")),
        ({"max_tokens": 50, "n": 2}, "/v1/chat/completions", ["x"], None, Cap(100, "request")),
        ({"n": 2}, "/v1/chat/completions", ["gpt-4o"], None, Cap(32_768, "model")),
        ({}, "/v1/responses", ["mine", "gpt-4o"], 128_000, Cap(16_384, "model")),
        ({}, "/v1/chat/completions", ["mine"], 32_000, Cap(32_000, "context")),
        ({}, "/v1/chat/completions", ["mine"], None, Cap(None, "none")),
        ({}, "/v1/embeddings", ["mine"], None, Cap(0, "request")),
    ],
)
def test_what_bounds_an_answer(
    body: dict[str, Any], endpoint: str, models: list[str], window: int | None, cap: Cap
) -> None:
    assert cap_of(body, endpoint, models, window) == cap


# Before anything is sent


@needs_tokenizer
def test_preview_says_tokens_and_cost(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, *CAPPED, "-n", "0")
    # "Say: note 7" has 5 tokens, the role 1, and 6 stand around them.
    by_hand = (12 * 12 * 75 + 12 * 100 * 300) / 1e9
    assert by_hand == pytest.approx(0.0003708)
    found = lines_of(said.err)
    assert {label: found[label] for label in ("Tokens", "Cost", "Time")} == {
        "Tokens": "144 in (counted) · at most 1,200 out",
        "Cost": f"at most $0.00038 (answers ≤ 100 tokens; batch prices of {SINCE})",
        "Time": "up to 24 h per part; your queue limit isn't known yet",
    }


@needs_tokenizer
def test_answers_without_a_cap_are_bounded_by_the_models_own(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-n", "0")
    assert lines_of(said.err)["Cost"] == (
        "less than $0.0001 for the questions, at most $0.059 with answers "
        f"(answers ≤ 16,384 tokens, the model's own cap; batch prices of {SINCE})"
    )
    assert (
        "Warning: answers have no cap, so gpt-4o-mini may write up to 16,384 tokens each. "
        "-o max_tokens N bounds what they cost.\n"
    ) in said.err


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        (
            ("--endpoint", "/v1/embeddings"),  # whose model is another one by default
            "unknown: no batch price of text-embedding-3-small at api.openai.com is known "
            "(--price-as MODEL, or --price-input and --price-output)",
        ),
        (
            ("-m", "no-such-model", *CAPPED),
            "unknown: no batch price of no-such-model at api.openai.com is known "
            "(--price-as MODEL, or --price-input and --price-output)",
        ),
    ],
)
def test_a_price_that_isnt_known_is_said_to_be_unknown(
    run: Any, notes: Any, options: tuple[str, ...], cost: str
) -> None:
    said = run("preview", notes, "notes", *ASK, *options, "-n", "0")
    assert lines_of(said.err)["Cost"] == cost
    assert "$" not in said.err.replace("--price", "")


@needs_tokenizer
def test_stated_prices(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, *CAPPED, "-n", "0", "-m", "mine",
               "--price-input", "1.5", "--price-output", "$6")  # fmt: skip
    # No tokenizer is known: a quarter of the bytes, and at most as many as there are bytes.
    found = lines_of(said.err)
    assert found["Tokens"].startswith("about ")
    assert "from bytes" in found["Tokens"]
    assert found["Cost"].endswith("(answers ≤ 100 tokens; prices as stated)")


def test_stated_prices_of_embeddings_need_no_output(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-n", "0", "-m", "text-embedding-3-small",
               "--endpoint", "/v1/embeddings", "--price-input", "0.01")  # fmt: skip
    assert lines_of(said.err)["Cost"] == "$0.0001 (prices as stated)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--price-as", "gpt-4o", "--price-input", "1"),
            "--price-as and --price-input or --price-output: give one or the other.",
        ),
        (
            ("--price-input", "1"),
            "--price-output is missing: questions and answers have a price each.",
        ),
        (
            ("--price-output", "1"),
            "--price-input is missing: questions and answers have a price each.",
        ),
        (
            ("--price-input", "one", "--price-output", "1"),
            "--price-input 'one': not an amount in USD. Write it like 2.50.",
        ),
    ],
)
def test_prices_that_contradict_each_other(
    run: Any, notes: Any, options: tuple[str, ...], message: str
) -> None:
    said = run("preview", notes, "notes", *ASK, *options, code=2)
    assert said.err == f"Error: {message}\n"


def test_price_as_an_unknown_model(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "--price-as", "gpt-nope", code=2)
    assert said.err.startswith("Error: --price-as 'gpt-nope': genai-prices ")
    assert said.err.endswith(
        " knows no batch price of it. "
        "Give USD per million tokens with --price-input and --price-output.\n"
    )


def test_a_server_here_costs_nothing_unless_prices_are_stated(run: Any, notes: Any) -> None:
    here = ("--base-url", run.base_url, "-n", "0")
    said = run("preview", notes, "notes", *ASK, *here)
    assert "Cost      none (own server)\n" in said.err
    assert "Tokens" not in said.err
    said = run("preview", notes, "notes", *ASK, *here, *PRICED, *CAPPED)
    assert "priced as gpt-4o-mini" in lines_of(said.err)["Cost"]


def test_identical_requests_are_told(run: Any, database: Any) -> None:
    path = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);" + "".join(
        f"INSERT INTO t (text) VALUES ('{word}');" for word in "aabbbc"
    ))  # fmt: skip
    said = run("preview", path, "t", *ASK, "-n", "0")
    assert lines_of(said.err)["Same"].startswith("3 identical requests")


@needs_tokenizer
def test_rows_longer_than_the_context_are_named(run: Any, database: Any) -> None:
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        f"INSERT INTO t VALUES (1, 'short'), (7, '{'word ' * 9_000}');"
    )
    said = run("preview", path, "t", *ASK, "-n", "0", "-m", "gpt-4", *CAPPED)
    assert (
        "Warning: 1 row is longer than the 8,192 tokens that gpt-4 holds, and would fail: "
        "t.id 7 (9,010 tokens)\n"
    ) in said.err


@needs_tokenizer
def test_a_queue_limit_that_is_known_makes_rounds(run: Any, notes: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED)
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        (account,) = conn.execute("SELECT account FROM openai_batch_jobs").fetchone()
        conn.execute(
            "INSERT INTO openai_batch_limits "
            "VALUES (?, 'gpt-4o-mini', 'enqueued_tokens', 3, '', '')",
            [account],
        )
        conn.commit()
    there = ("--base-url", run.base_url, "-n", "0", *PRICED, *CAPPED)
    said = run("preview", notes, "notes", *ASK, *there)
    assert lines_of(said.err)["Time"] == (
        "48 rounds of 3 queued tokens; at 1 round an hour, about 2 days"
    )
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        conn.execute("UPDATE openai_batch_limits SET value = 2000000")
        conn.commit()
    said = run("preview", notes, "notes", *ASK, *there)
    assert lines_of(said.err)["Time"] == (
        "up to 24 h; all of it fits in your queue of 2.0M queued tokens"
    )


# Stored, and afterwards


def jobs(path: Path) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(path)) as conn:
        conn.row_factory = sqlite3.Row
        return conn.execute("SELECT * FROM openai_batch_jobs ORDER BY id").fetchall()


@needs_tokenizer
def test_the_estimate_is_stored_with_the_job_and_its_parts(
    run: Any, notes: Any, tmp_path: Path, rows: Any
) -> None:
    run("prepare", notes, "notes", *ASK, *CAPPED, "--base-url", run.base_url, *PRICED,
        "--part-requests", "5", "--max-cost", "1")  # fmt: skip
    (job,) = jobs(tmp_path / notes)
    most = 144 * 75 + 1_200 * 300
    assert job["estimated_input_tokens"] == 144
    assert (job["estimated_cost_nanousd"], job["upper_cost_nanousd"]) == (most, most)
    assert (job["max_cost_nanousd"], job["cost_nanousd"]) == (10**9, None)
    options = json.loads(job["options"])
    assert options["estimate"]["how"] == "counted"
    assert options["prices"]["source"].startswith("genai-prices ")
    assert options["prices"]["since"] == SINCE
    parts = rows(notes, "SELECT estimated_tokens, upper_cost_nanousd FROM openai_batch_parts")
    assert len(parts) == 3
    assert 144 <= sum(tokens for tokens, _ in parts) <= 147
    assert most <= sum(upper for _, upper in parts) <= most + 3 * 75


def test_unknown_costs_are_null_and_not_nothing(run: Any, notes: Any, tmp_path: Path) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    (job,) = jobs(tmp_path / notes)
    assert job["estimated_cost_nanousd"] is None
    assert job["upper_cost_nanousd"] is None
    assert job["cost_nanousd"] is None


def usage_of(rows: Any, path: Any) -> tuple[int, int]:
    """Tokens that the lines kept say, over all of them."""
    said = [
        json.loads(line)["response"]["body"]["usage"]
        for (line,) in rows(path, "SELECT line FROM openai_batch_responses")
    ]
    return (
        sum(usage["prompt_tokens"] for usage in said),
        sum(usage["completion_tokens"] for usage in said),
    )


def test_what_it_cost_is_what_the_answers_report(
    run: Any, notes: Any, tmp_path: Path, rows: Any
) -> None:
    said = run("run", notes, "notes", *ASK, *run.there, *PRICED, "--part-requests", "5")
    prompt, completion = usage_of(rows, notes)
    assert PRICES is not None
    cost = int(PRICES.request(prompt, 0, completion))
    (job,) = jobs(tmp_path / notes)
    assert job["cost_nanousd"] == cost == prompt * 75 + completion * 300
    parts = rows(
        notes, "SELECT prompt_tokens, completion_tokens, cost_nanousd FROM openai_batch_parts"
    )
    assert [sum(column) for column in zip(*parts, strict=True)] == [prompt, completion, cost]
    assert "Cost less than $0.0001." in said.err


def test_a_later_job_is_estimated_by_the_answers_of_an_earlier_one(
    run: Any, notes: Any, rows: Any
) -> None:
    run("run", notes, "notes", *ASK, *CAPPED, *run.there, *PRICED)
    _, completion = usage_of(rows, notes)
    said = run("preview", notes, "notes", *ASK, *CAPPED, "--output", "again", *PRICED,
               "--base-url", run.base_url, "-n", "0")  # fmt: skip
    found = lines_of(said.err)
    assert found["Tokens"].endswith(f" · about {completion} out (as in job 1)")
    assert found["Cost"].startswith("less than $0.0001, at most $0.0003")
    # Another template, or another server, is no basis.
    said = run("preview", notes, "notes", "--prompt", "Tell: {{ text }}", *CAPPED, "--output",
               "again", *PRICED, "--base-url", run.base_url, "-n", "0")  # fmt: skip
    assert "at most 1,200 out" in lines_of(said.err)["Tokens"]


def test_answers_that_are_asked_again_are_paid_twice(
    run: Any, database: Any, tmp_path: Path, rows: Any
) -> None:
    path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('one'), ('[cut] two'), ('three');"
    )
    run("run", path, "t", *ASK, *run.there, *PRICED, code=3)
    once = usage_of(rows, path)
    run("retry", path, "1", "-y", code=3)
    twice = usage_of(rows, path)
    assert twice > once
    (job,) = jobs(tmp_path / path)
    assert job["cost_nanousd"] == twice[0] * 75 + twice[1] * 300
    assert rows(path, "SELECT sum(prompt_tokens) FROM openai_batch_parts") == [(twice[0],)]


# A model with bands, one whose cached input is cheaper, and stated prices.
VIEWED = [
    prices
    for prices in (
        find_prices("gpt-5.4", "https://api.openai.com/v1"),
        find_prices("gpt-5-mini", "https://api.openai.com/v1"),
        stated_prices(Decimal("0.1"), Decimal("0.4")),
    )
    if prices is not None
]


@settings(max_examples=60)
@given(
    st.sampled_from(VIEWED),
    st.integers(0, 600_000),
    st.none() | st.integers(0, 700_000),
    st.none() | st.integers(0, 100_000),
)
def test_the_view_has_the_cost_of_each_request(
    prices: Prices, prompt: int, cached: int | None, completion: int | None
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        store.migrate(conn)
        conn.execute(
            "INSERT INTO openai_batch_jobs (uid, status, key_columns, endpoint, template, "
            "template_hash, output, provider, options, created_at) "
            "VALUES ('u', 'completed', '[]', '', '{}', x'', '{}', 'openai', ?, '')",
            [json.dumps({"prices": prices.to_data()})],
        )
        conn.execute(
            "INSERT INTO openai_batch_requests (job_id, prompt_tokens, cached_tokens, "
            "completion_tokens) VALUES (1, ?, ?, ?), (1, NULL, NULL, NULL)",
            [prompt, cached, completion],
        )
        found = conn.execute("SELECT cost_usd FROM openai_batch_results").fetchall()
    expected = prices.request(prompt, cached or 0, completion or 0) / 1_000_000_000
    assert found[0][0] == pytest.approx(float(expected), rel=1e-9, abs=1e-15)
    assert found[1] == (None,)


def test_the_costs_in_the_view_add_up(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, *PRICED)
    ((whole,),) = rows(notes, "SELECT cost_nanousd / 1e9 FROM openai_batch_jobs")
    assert rows(notes, "SELECT round(sum(cost_usd), 12) FROM openai_batch_results") == [
        (pytest.approx(whole),)
    ]


def test_an_own_server_has_no_cost_in_the_view(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    assert rows(notes, "SELECT DISTINCT cost_usd FROM openai_batch_results") == [(None,)]


# Asking again


@pytest.fixture
def cut(run: Any, database: Any) -> Path:
    """A job of three rows whose second answer was cut at its cap of 100 tokens."""
    path: Path = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t (text) VALUES ('one'), ('[cut] two'), ('three');"
    )
    run("run", path, "t", *ASK, *CAPPED, *run.there, *PRICED, "--max-cost", "1", code=3)
    return path


@needs_tokenizer
def test_show_names_the_retry_and_what_it_may_cost(run: Any, cut: Path) -> None:
    # A third of the questions' tokens, and 200 tokens out.
    assert (
        "Next      sqlite-utils openai-batch retry data.db 1 --status truncated "
        "--set max_tokens=200     at most $0.0001\n"
    ) in run("show", cut).out


def test_a_retry_needs_a_yes_or_a_ceiling(run: Any, cut: Path, rows: Any) -> None:
    said = run("retry", cut, "1", code=2)
    assert said.err == (
        "Error: Without a terminal to ask on, sending needs -y or --max-cost (or use preview).\n"
    )
    run("retry", cut, "1", "--max-cost", "0.5", code=3)
    assert rows(cut, "SELECT max_cost_nanousd FROM openai_batch_jobs") == [(500_000_000,)]


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_the_question_of_a_retry_says_what_it_may_cost(run: Any, cut: Path, terminal: Any) -> None:
    screen = terminal("retry", cut, "1", "--set", "max_tokens=500")
    screen.answer("Send? [y/N]", "n\n")
    assert (
        "Ask 1 row of job 1 again? At most $0.00016 (ceiling of the whole job $1.00).\n"
    ) in screen.end(0)


@needs_tokenizer
def test_another_models_answers_cost_what_that_model_costs(run: Any, cut: Path, rows: Any) -> None:
    run("retry", cut, "1", "-y", "--set", "model=gpt-4o", code=3)
    parts = rows(
        cut,
        "SELECT prompt_tokens, completion_tokens, cost_nanousd, upper_cost_nanousd "
        "FROM openai_batch_parts ORDER BY number",
    )
    (_, _, first, _), (prompt, completion, second, upper) = parts
    assert second == prompt * 1_250 + completion * 5_000
    assert upper == 13 * 1_250 + 100 * 5_000
    (again,) = rows(
        cut,
        "SELECT cost_usd FROM openai_batch_results JOIN openai_batch_requests AS requests "
        "ON requests.id = request_id WHERE part_id = 2",
    )
    assert again == (pytest.approx(second / 1e9),)
    assert rows(cut, "SELECT cost_nanousd FROM openai_batch_jobs") == [(first + second,)]


def test_another_model_without_a_price_cant_go_out_below_a_ceiling(
    run: Any, cut: Path, rows: Any
) -> None:
    before = rows(cut, "SELECT status, part_id FROM openai_batch_requests ORDER BY id")
    said = run("retry", cut, "1", "-y", "--set", "model=nobody-knows", code=2)
    assert "No bound of what nobody-knows may cost is known, so the ceiling can't hold." in said.err
    assert rows(cut, "SELECT status, part_id FROM openai_batch_requests ORDER BY id") == before


def test_show_compares_what_it_cost_with_what_was_expected(
    run: Any, notes: Any, tmp_path: Path
) -> None:
    run("run", notes, "notes", *ASK, *CAPPED, *run.there, *PRICED, "--max-cost", "2.50")
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        conn.execute(
            "UPDATE openai_batch_jobs SET estimated_input_tokens = 10900000, "
            "estimated_cost_nanousd = 1090000000, cost_nanousd = 1070000000"
        )
        conn.execute("UPDATE openai_batch_parts SET cached_tokens = 7, reasoning_tokens = 9")
        conn.commit()
    found = lines_of(run("show", notes).out)
    assert found["Cost"] == "$1.07 (estimate $1.09, ceiling $2.50)"
    assert " (7 cached) · " in found["Tokens"]
    assert found["Tokens"].endswith(" out (9 reasoning) · estimate 10,900,000 in")


def test_show_of_a_job_of_unknown_cost(run: Any, notes: Any, tmp_path: Path) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url)
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        conn.execute("UPDATE openai_batch_jobs SET base_url = 'https://gateway.example/v1'")
        conn.commit()
    assert lines_of(run("show", notes).out)["Cost"] == "not known"
    assert run("jobs", notes).out.splitlines()[1].split()[-2:] == ["-", "-"]


def test_totals_by_month(run: Any, notes: Any, tmp_path: Path) -> None:
    for output in ("a", "b", "c"):
        run("run", notes, "notes", *ASK, *CAPPED, *run.there, *PRICED, "--output", output)
    with closing(sqlite3.connect(tmp_path / notes)) as conn:
        for job, month, cost in ((1, "2026-09", 4_000_000_000), (2, "2026-10", 120_000_000)):
            conn.execute(
                "UPDATE openai_batch_jobs SET created_at = ?, cost_nanousd = ? WHERE id = ?",
                [f"{month}-03T10:00:00.000Z", cost, job],
            )
        conn.execute(
            "UPDATE openai_batch_jobs SET created_at = '2026-10-30T10:00:00.000Z', "
            "cost_nanousd = NULL WHERE id = 3"
        )
        conn.execute("UPDATE openai_batch_parts SET prompt_tokens = 100, completion_tokens = 20")
        conn.commit()
    assert run("jobs", notes, "--totals").out == (
        "month    jobs  requests  tokens in  tokens out   cost\n"
        "2026-10     2        24        200          40  $0.12  and 1 job of unknown cost\n"
        "2026-09     1        12        100          20  $4.00\n"
    )
    assert run("jobs", notes, "--totals", "--csv").out.splitlines() == [
        "month,jobs,requests,prompt_tokens,completion_tokens,cost_usd,unknown_cost",
        "2026-10,2,24,200,40,0.12,1",
        "2026-09,1,12,100,20,4.0,0",
    ]
    assert run("jobs", notes).err.startswith(
        "2 jobs in October cost $0.12 and 1 an unknown amount (--totals).   Details: "
    )


def test_totals_of_jobs_that_cost_nothing(run: Any, notes: Any, tmp_path: Path) -> None:
    """As `jobs` and `show` say it; and what nobody knows is no zero, for programs neither."""
    run("run", notes, "notes", *ASK, *run.there)
    assert run("jobs", notes).out.splitlines()[1].split()[-3:-2] == ["none"]
    assert lines_of(run("show", notes).out)["Cost"] == "none (own server)"
    assert run("jobs", notes, "--totals").out.split()[-1] == "none"
    for base_url, said, cost in (
        ("http://localhost/v1", "none", 0.0),
        ("https://x.org", "-", None),
    ):
        with closing(sqlite3.connect(tmp_path / notes)) as conn:
            conn.execute("UPDATE openai_batch_jobs SET base_url = ?", [base_url])
            conn.commit()
        assert run("jobs", notes, "--totals").out.splitlines()[1].split()[5] == said
        (month,) = json.loads(run("jobs", notes, "--totals", "--nl").out.join("[]"))
        assert month["cost_usd"] == cost


def test_totals_of_no_jobs(run: Any, notes: Any) -> None:
    assert json.loads(run("jobs", notes, "--totals").out) == []


# The model


def test_a_model_that_the_server_doesnt_list_is_a_warning(run: Any, notes: Any) -> None:
    said = run("prepare", notes, "notes", *ASK, "--base-url", run.base_url, "-m", "gpt-4o-minni")
    assert (
        f"Warning: {run.base_url[7:-3]} doesn't list a model 'gpt-4o-minni'. "
        "It lists: gpt-4o-mini, text-embedding-3-small, omni-moderation-latest.\n"
    ) in said.err


def test_a_server_without_a_list_of_models_is_no_reason_to_warn(
    run: Any, notes: Any, web: Any, reply: Any
) -> None:
    web.reply("GET /batches", reply(200, {"object": "list", "data": [], "has_more": False}))
    said = run("prepare", notes, "notes", *ASK, "--base-url", web.base_url, "-m", "mine")
    assert "Warning" not in said.err
    assert "GET /v1/models" in [f"{one.method} {one.path}" for one in web.asked]


def test_a_model_that_openai_doesnt_list_is_an_error(
    run: Any, notes: Any, web: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, rows: Any
) -> None:
    # OpenAI itself can't be asked here: this server stands for it.
    monkeypatch.setattr(Provider, "is_openai", True)
    web.reply("GET /batches", reply(200, {"object": "list", "data": [], "has_more": False}))
    listed = [{"id": name, "object": "model"} for name in ("gpt-4o", "gpt-4o-mini", "o3")]
    web.reply("GET /models", reply(200, {"object": "list", "data": listed}))
    there = ("--base-url", web.base_url)
    said = run("prepare", notes, "notes", *ASK, *there, "-m", "gpt-4o-minni", code=2)
    assert said.err == (
        f"Error: {web.base_url[7:-3]} has no model 'gpt-4o-minni'. "
        "Did you mean gpt-4o-mini? Name one with -m.\n"
    )
    assert rows(notes, "SELECT count(*) FROM sqlite_master WHERE name = 'openai_batch_jobs'") == [
        (0,)
    ]
    run("prepare", notes, "notes", *ASK, *there, "-m", "o3")
