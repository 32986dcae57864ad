from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_openai_batch.data.samples import Mark
from datasette_openai_batch.pages.answers import draw, histogram
from datasette_openai_batch.text import times
from sqlite_utils_openai_batch.base.text import cut, duration, size

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


def test_moments() -> None:
    assert times.plain("2026-11-20T15:41:07.000Z", now=NOW) == "20 Nov, 15:41"
    assert times.plain("2025-01-02T03:04:05.000Z", now=NOW) == "2 Jan 2025, 03:04"
    assert times.moment("2026-11-20T15:41:07.000Z", zone=True, now=NOW) == (
        '<time datetime="2026-11-20T15:41:07.000Z">20 Nov, 15:41 UTC</time>'
    )
    assert times.moment(None) == ""
    assert times.day("2025-01-02T03:04:05.000Z", now=NOW) == "2 Jan 2025"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        ("2026-11-21T11:59:50.000Z", "just now"),
        ("2026-11-21T11:58:00.000Z", "2 min ago"),
        ("2026-11-21T09:00:00.000Z", "3 h ago"),
        ("2026-11-16T12:00:00.000Z", "5 days ago"),
    ],
)
def test_ago(at: str, text: str) -> None:
    assert times.since(at, now=NOW) == text
    assert times.ago(at, now=NOW) == f'<time datetime="{at}" data-ago>{text}</time>'


def test_durations_and_sizes() -> None:
    assert [duration(n) for n in (5, 720, 5_940, 260_000)] == [
        "5.0 s",
        "12 min",
        "1 h 39 min",
        "3 days",
    ]
    assert [size(n) for n in (812, 41_200_000, 3_000_000_000)] == [
        "812 B",
        "41.2 MB",
        "3.0 GB",
    ]
    assert cut("a  b\nc" + "d" * 20, 8) == "a b cdd…"


@pytest.mark.parametrize("text", ["", "x", "1", "1.x", "-1.2", "1.-2", "²."])
def test_marks_that_are_none(text: str) -> None:
    assert Mark.read(text) == Mark()


def test_mark() -> None:
    assert str(Mark.read("7.1204")) == "7.1204"


def test_what_is_drawn() -> None:
    assert draw("c", [], labels=True) is None
    assert draw("c", [b"x"], labels=False) is None
    assert draw("c", ["a", "b", "c"], labels=False) is None
    drawn = draw("c", ["a", "b", "a"], labels=True)
    assert drawn is not None and drawn[0].index("a") < drawn[0].index(">b<")
    drawn = draw("n", [n / 7 for n in range(100)], labels=False)
    assert drawn is not None and drawn[1] == "Smallest 0, middle 7.143, largest 14.14."
    assert ">0 to 2<" in drawn[0] and ">14 to 16<" in drawn[0]
    drawn = draw("n", list(range(100)), labels=False)
    assert drawn is not None and ">0 to 9<" in drawn[0] and ">90 to 99<" in drawn[0]


def bins(values: list[Any]) -> list[tuple[str, int]]:
    """Labels and counts of a histogram."""
    html = histogram("n", values)[0]
    found = re.findall(r'row">([^<]*)</th>.*?figure">([\d,]+)</td>', html)
    return [(label, int(count.replace(",", ""))) for label, count in found]


def test_bins_are_round() -> None:
    assert bins([0.0, 0.05, 0.1, 0.95, 1.0])[::9] == [("0.0 to 0.1", 2), ("0.9 to 1.0", 2)]
    assert bins([-3, 4, 30]) == [
        ("-5 to -1", 1),
        ("0 to 4", 1),
        *((f"{n} to {n + 4}", 0) for n in range(5, 30, 5)),
        ("30 to 34", 1),
    ]
    assert bins([3, 4]) == [("3", 1), ("4", 1)]
    assert bins([2.5, 2.5]) == [("2 to 3", 2)]
    assert bins([1000.0, 250_000.0])[0] == ("0 to 50,000", 1)


NUMBERS = st.floats(-1e15, 1e15, allow_subnormal=False) | st.floats(-1, 1, allow_subnormal=False)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1) | st.lists(NUMBERS, min_size=1))
def test_every_number_is_in_a_bin(values: list[Any]) -> None:
    found = bins(values)
    assert sum(count for _, count in found) == len(values)
    assert 1 <= len(found) <= 14
    assert found[0][1] > 0 and found[-1][1] > 0
