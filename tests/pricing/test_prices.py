"""Prices: those that are published, exactly; everything else is unknown."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.base.outcome import Outcome
from sqlite_utils_openai_batch.pricing.prices import (
    Prices,
    Spent,
    context_window,
    find_prices,
    full_prices,
    is_own,
    job_is_own,
    parse_usd,
    stated_prices,
    usd,
)

OPENAI = "https://api.openai.com/v1"
AT = datetime(2026, 11, 20, tzinfo=timezone.utc)


def prices_of(model: str) -> Prices:
    found = find_prices(model, OPENAI, AT)
    assert found is not None
    return found


# USD per million tokens in a batch, input and output. Source: the batch prices on OpenAI's page
# of API prices.
PUBLISHED = {
    "gpt-3.5-turbo": ("0.25", "0.75"),
    "gpt-4": ("15", "30"),
    "gpt-4-turbo": ("5", "15"),
    "gpt-4o": ("1.25", "5"),
    "gpt-4o-mini": ("0.075", "0.30"),
    "gpt-4.1": ("1", "4"),
    "gpt-4.1-mini": ("0.20", "0.80"),
    "gpt-4.1-nano": ("0.05", "0.20"),
    "gpt-5": ("0.625", "5"),
    "gpt-5-mini": ("0.125", "1"),
    "gpt-5-nano": ("0.025", "0.20"),
    "o1": ("7.50", "30"),
    "o3": ("1", "4"),
    "o4-mini": ("0.55", "2.20"),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_request_costs_what_the_published_batch_price_says(model: str) -> None:
    input_, output = map(Decimal, PUBLISHED[model])
    # 1,000 tokens in, 200 out: by hand, in USD
    by_hand = (1_000 * input_ + 200 * output) / 1_000_000
    assert prices_of(model).request(1_000, 0, 200) == by_hand * 1_000_000_000


def test_cached_input_isnt_halved_for_all() -> None:
    full = full_prices("gpt-4.1-mini", OPENAI, AT)
    assert full is not None
    assert prices_of("gpt-4.1-mini").bands[0].cached == full.bands[0].cached == Decimal("0.1")
    assert prices_of("gpt-5").bands[0].cached == Decimal("0.0625")
    # Where cached input in a batch would cost as much as other input, it does.
    assert prices_of("gpt-4o-mini").bands[0].cached == prices_of("gpt-4o-mini").bands[0].input


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("text-embedding-3-small", "sold, but without a batch price"),
        ("gpt-4o-search-preview", "sold, but without a batch price"),
        ("gpt-4o-2024-11-21", "no such name"),
        ("gpt-image-1", "image tokens have another price"),
        ("my-deployment", "no such name"),
        ("{{ model }}", "another one for each row"),
        ("", "no name"),
    ],
)
def test_no_batch_price_is_unknown_not_full_and_not_half(model: str, why: str) -> None:
    assert find_prices(model, OPENAI, AT) is None, why


def test_a_batch_price_holds_from_its_date_on() -> None:
    before = datetime(2026, 10, 13, tzinfo=timezone.utc)
    assert find_prices("gpt-4o", OPENAI, before) is None
    assert prices_of("gpt-4o").since == "2026-10-14"


@pytest.mark.parametrize(
    "url",
    [
        "https://mine.openai.azure.com/openai/v1",
        "http://127.0.0.1:8000/v1",
        "https://gateway.example/v1",
    ],
)
def test_another_server_doesnt_cost_what_openai_costs(url: str) -> None:
    assert find_prices("gpt-4o", url, AT) is None


def test_other_providers_have_batch_prices_of_their_own() -> None:
    found = find_prices("openai/gpt-oss-20b", "https://api.groq.com/openai/v1", AT)
    assert found is not None
    assert found.request(1_000_000, 0, 1_000_000) == Decimal("187500000")


def test_a_batch_price_without_a_discount_is_the_full_one() -> None:
    assert prices_of("gpt-3.5-turbo-1106").request(1_000, 0, 0) == 1_000_000


def test_full_prices_are_those_of_single_requests() -> None:
    found = full_prices("gpt-4o-mini", OPENAI, AT)
    assert found is not None
    assert found.request(1_000_000, 0, 1_000_000) == Decimal("750000000")
    assert full_prices("nobody", OPENAI, AT) is None


BATCH_MODELS = sorted(
    model.id
    for provider in get_snapshot().providers
    if provider.id == "openai"
    for model in provider.models
    if find_prices(model.id, OPENAI, AT) is not None
)


def test_many_models_have_batch_prices() -> None:
    assert len(BATCH_MODELS) > 25


@given(
    st.sampled_from(BATCH_MODELS),
    st.integers(0, 600_000),
    st.integers(0, 600_000),
    st.integers(0, 200_000),
)
def test_each_request_costs_what_the_package_says(
    model: str, prompt: int, cached: int, completion: int
) -> None:
    cached = min(cached, prompt)
    said = calc_price(
        Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion),
        model,
        provider_id="openai",
        genai_request_timestamp=AT,
        price_context={"processing": "batch"},
    )
    assert prices_of(model).request(prompt, cached, completion) == (
        said.total_price * 1_000_000_000
    )


def outcome(
    prompt: int | None, completion: int | None, cached: int | None = None, status: str = "ok"
) -> Outcome:
    return Outcome(
        "x", status, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=completion
    )


def test_tiers_are_of_a_request_not_of_the_sum() -> None:
    prices = prices_of("gpt-5.4")
    spent = Spent(prices)
    for _ in range(10):
        spent.add([outcome(100_000, 1_000)])
    # A million tokens in all, but each request is below 272,000.
    assert spent.nanousd == 10 * (100_000 * 1_250 + 1_000 * 7_500)
    assert prices.request(1_000_000, 0, 10_000) == 1_000_000 * 2_500 + 10_000 * 11_250

    spent.add([outcome(272_000, 0)])
    assert spent.nanousd == 10 * (100_000 * 1_250 + 1_000 * 7_500) + 272_000 * 1_250
    spent.add([outcome(272_001, 0)])
    assert spent.nanousd == (
        10 * (100_000 * 1_250 + 1_000 * 7_500) + 272_000 * 1_250 + 272_001 * 2_500
    )


@given(
    st.sampled_from(BATCH_MODELS),
    st.lists(
        st.tuples(st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 100_000)),
        max_size=20,
    ),
)
def test_the_sum_is_that_of_the_requests(model: str, usages: list[tuple[int, int, int]]) -> None:
    prices = prices_of(model)
    spent = Spent(prices)
    one_by_one = Decimal(0)
    for prompt, cached, completion in usages:
        cached = min(cached, prompt)
        spent.add([outcome(prompt, completion, cached)])
        one_by_one += prices.request(prompt, cached, completion)
    assert spent.nanousd is not None
    assert abs(spent.nanousd - one_by_one) <= Decimal("0.5")


@given(
    st.sampled_from(BATCH_MODELS),
    st.lists(
        st.tuples(st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 100_000)),
        max_size=20,
    ),
)
def test_most_is_a_bound_of_what_it_costs(model: str, usages: list[tuple[int, int, int]]) -> None:
    prices = prices_of(model)
    cost = sum(
        (prices.request(prompt, min(cached, prompt), done) for prompt, cached, done in usages),
        Decimal(0),
    )
    most = prices.most(
        sum(prompt for prompt, _, _ in usages),
        sum(done for _, _, done in usages),
        max((prompt for prompt, _, _ in usages), default=0),
    )
    assert cost <= most


def test_filling_a_cache_may_cost_more_than_input() -> None:
    band = prices_of("gpt-5.6-luna").bands[0]
    assert (band.input, band.dearest) == (Decimal("0.1"), Decimal("0.125"))
    assert prices_of("gpt-5.6-luna").most(1_000, 0, 1_000) == 125_000


def test_an_answer_that_reports_no_tokens_makes_the_sum_unknown() -> None:
    spent = Spent(prices_of("gpt-4o"))
    spent.add([outcome(None, None, status="expired")])
    spent.add([outcome(None, None, status="http_error")])
    spent.add([outcome(10, 5)])
    assert spent.nanousd == 10 * 1_250 + 5 * 5_000
    spent.add([outcome(None, None)])
    assert spent.nanousd is None


def test_tokens_without_prices_are_counted_and_not_priced() -> None:
    spent = Spent(None)
    spent.add([outcome(10, 5, 4)])
    assert (spent.prompt, spent.cached, spent.completion) == (10, 4, 5)
    assert spent.nanousd is None


def test_more_cached_than_asked_lowers_no_bill() -> None:
    prices = prices_of("gpt-5")
    assert prices.request(100, 500, 0) == prices.request(100, 100, 0)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-5.4", "gpt-6-luna"])
def test_prices_survive_being_stored(model: str) -> None:
    prices = prices_of(model)
    assert Prices.from_data(prices.to_data()) == prices
    assert prices.to_data()["source"].startswith("genai-prices ")


def test_stated_prices_know_no_discount_for_cached_tokens() -> None:
    prices = stated_prices(Decimal("0.10"), Decimal("0.40"))
    assert prices.request(1_000_000, 900_000, 1_000_000) == Decimal("500000000")


@pytest.mark.parametrize(
    ("provider", "base_url", "own"),
    [
        ("local", None, True),
        ("local", "https://gateway.example/v1", True),
        ("openai", "http://127.0.0.1:8000/v1", True),
        ("openai", "http://localhost/v1", True),
        ("openai", "http://[::1]:8000/v1", True),
        ("openai", "http://127.8.9.1/v1", True),
        ("openai", OPENAI, False),
        ("openai", None, False),
        ("openai", "http://192.168.1.7:8000/v1", False),
        ("openai", "https://127.0.0.1.example.com/v1", False),
        ("azure", "https://mine.openai.azure.com", False),
    ],
)
def test_own_servers(provider: str, base_url: str | None, own: bool) -> None:
    assert is_own(provider, base_url) is own


def test_a_server_here_with_stated_prices_is_paid() -> None:
    stated = {"prices": stated_prices(Decimal(1), Decimal(2)).to_data()}
    assert job_is_own("openai", "http://127.0.0.1:1/v1", {})
    assert not job_is_own("openai", "http://127.0.0.1:1/v1", stated)
    assert not job_is_own("local", None, stated)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("2.50", "2.50"), ("$10", "10"), (" 1,000.5 ", "1000.5"), ("0", "0"), ("1e-3", "0.001")],
)
def test_amounts_as_people_type_them(text: str, amount: str) -> None:
    assert parse_usd("--max-cost", text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "ten", "-1", "nan", "inf", "1.2.3", "2,5 EUR"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match=r"not an amount in USD\. Write it like 2\.50\."):
        parse_usd("--max-cost", text)


@pytest.mark.parametrize(
    ("nanousd", "said", "bound"),
    [
        (0, "$0.00", "$0.00"),
        (1, "less than $0.0001", "$0.0001"),
        (123_456, "$0.00012", "$0.00013"),
        (9_999_999, "$0.01", "$0.010"),
        (10_543_125, "$0.01", "$0.011"),
        (94_100_000, "$0.09", "$0.095"),
        (1_090_000_000, "$1.09", "$1.09"),
        (9_010_400_000, "$9.01", "$9.02"),
        (1_234_567_000_000, "$1,234.57", "$1,234.57"),
    ],
)
def test_amounts_for_people(nanousd: int, said: str, bound: str) -> None:
    assert (usd(nanousd), usd(nanousd, up=True)) == (said, bound)


@given(st.integers(100_000, 10**13))
def test_a_bound_is_never_said_to_be_less(nanousd: int) -> None:
    said = Decimal(usd(nanousd, up=True).replace("$", "").replace(",", ""))
    assert said * 1_000_000_000 >= nanousd


def test_context_windows() -> None:
    assert context_window("gpt-4o-mini", OPENAI) == 128_000
    assert context_window("nobody", OPENAI) is None
