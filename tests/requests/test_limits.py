from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.requests.limits import CAPS, Limits, Planner, limits_for

CHAT = "/v1/chat/completions"


def test_limits_of_the_providers() -> None:
    assert limits_for("openai", CHAT) == Limits(50_000, 190_000_000, None, None)
    assert limits_for("azure", CHAT) == Limits(100_000, 190_000_000, None, None)
    assert limits_for("openai", "/v1/embeddings").embedding_inputs == 50_000
    assert limits_for("some other server", CHAT) == limits_for("openai", CHAT)


def test_parts_stay_below_the_cap_so_that_rows_may_grow() -> None:
    for cap in CAPS.values():
        assert cap.part_bytes < cap.bytes < 209_715_200


def test_options_lower_the_limits() -> None:
    limits = limits_for("openai", CHAT, requests=10, bytes=1_000, tokens=500)
    assert limits == Limits(10, 1_000, None, 500)
    assert limits_for("openai", CHAT, bytes=200_000_000).bytes == 200_000_000


@pytest.mark.parametrize(
    ("provider", "options", "message"),
    [
        (
            "openai",
            {"requests": 50_001},
            "--part-requests 50,001 is above the cap of openai: 50,000.",
        ),
        (
            "azure",
            {"requests": 100_001},
            "--part-requests 100,001 is above the cap of azure: 100,000.",
        ),
        (
            "openai",
            {"bytes": 200_000_001},
            "--part-bytes 200,000,001 is above the cap of openai: 200,000,000.",
        ),
        ("openai", {"requests": 0}, "--part-requests must be at least 1, not 0."),
        ("openai", {"tokens": -5}, "--part-tokens must be at least 1, not -5."),
    ],
)
def test_options_never_raise_them(provider: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits_for(provider, CHAT, **options)
    assert str(caught.value) == message


requests = st.lists(
    st.tuples(st.integers(1, 120), st.integers(1, 12), st.integers(0, 60)), max_size=60
)
limits = st.builds(
    Limits,
    requests=st.integers(1, 10),
    bytes=st.integers(1, 150),
    embedding_inputs=st.none() | st.integers(1, 20),
    tokens=st.none() | st.integers(1, 80),
)


def parts_of(some: list[tuple[int, int, int]], allowed: Limits) -> list[list[tuple[int, int, int]]]:
    planner = Planner(allowed)
    parts: list[list[tuple[int, int, int]]] = []
    for request in some:
        size, inputs, tokens = request
        if planner.too_large(size, inputs):
            continue
        if planner.add(size, inputs, tokens):
            parts.append([])
        parts[-1].append(request)
    return parts


def fits(part: list[tuple[int, int, int]], allowed: Limits) -> bool:
    sizes, inputs, tokens = (sum(values) for values in zip(*part, strict=True))
    return (
        len(part) <= allowed.requests
        and sizes <= allowed.bytes
        and (allowed.embedding_inputs is None or inputs <= allowed.embedding_inputs)
        and (allowed.tokens is None or tokens <= allowed.tokens or len(part) == 1)
    )


@settings(deadline=None)
@given(requests, limits)
def test_no_part_is_over_a_limit_nothing_is_lost_and_order_is_kept(
    some: list[tuple[int, int, int]], allowed: Limits
) -> None:
    planner = Planner(allowed)
    parts = parts_of(some, allowed)
    assert all(fits(part, allowed) for part in parts)
    assert [request for part in parts for request in part] == [
        request for request in some if not planner.too_large(*request[:2])
    ]
    assert parts_of(some, allowed) == parts


@settings(deadline=None)
@given(requests, limits)
def test_a_new_part_starts_only_where_the_last_is_full(
    some: list[tuple[int, int, int]], allowed: Limits
) -> None:
    parts = parts_of(some, allowed)
    for part, following in pairwise(parts):
        assert not fits([*part, following[0]], allowed)


def test_a_request_that_fits_no_part_is_said_and_not_planned() -> None:
    planner = Planner(Limits(10, 100, 5))
    assert planner.too_large(101)
    assert planner.too_large(1, inputs=6)
    assert not planner.too_large(100, inputs=5)
    with pytest.raises(ValueError, match="fits no part"):
        planner.add(101)


def test_one_request_over_the_token_limit_goes_alone() -> None:
    planner = Planner(Limits(10, 100, tokens=50))
    assert [planner.add(1, tokens=tokens) for tokens in (10, 90, 10, 40, 1)] == [
        True,
        True,
        True,
        False,
        True,
    ]
