"""Shares and means corrected by a random sample of labels: do intervals hold what they promise?"""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlite_utils_openai_batch.results.inference import (
    Corrected,
    Paired,
    Z,
    classical_shares,
    corrected_mean,
    corrected_share,
    more_for_half,
    student,
)

DRAWS = 2_000


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(7, 2.365), (10, 2.228), (29, 2.045), (60, 2.000), (120, 1.980)]
)
def test_students_t_is_that_of_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.003)


# Populations of which all is known: N rows, the share of a label, how often the model finds it
# where it is, and how often it leaves it where it isn't; the size of the sample.
POPULATIONS = [
    (2_000, 0.5, 0.95, 0.95, 50),
    (2_000, 0.3, 0.9, 0.8, 100),
    (5_000, 0.05, 0.99, 0.995, 100),
    (5_000, 0.1, 0.8, 0.9, 200),
    (20_000, 0.02, 0.9, 0.95, 100),
    (20_000, 0.9, 0.95, 0.98, 50),
    (800, 0.4, 0.7, 0.7, 400),
]


@pytest.mark.parametrize(("rows", "share", "finds", "leaves", "size"), POPULATIONS)
def test_intervals_cover_and_are_narrower_than_those_of_labels_alone(
    rows: int, share: float, finds: float, leaves: float, size: int
) -> None:
    """At least 93 of 100 intervals of 95 % hold the share, over 2,000 samples."""
    labelled = round(rows * share)
    both = round(labelled * finds)
    false = round((rows - labelled) * (1 - leaves))
    model, truth = (both + false) / rows, labelled / rows
    source = random.Random(f"{rows} {share} {size}")
    held, width, alone, middle = 0, 0.0, 0.0, 0.0
    for _ in range(DRAWS):
        # Rows in the order: found, overlooked, wrongly found, rightly left.
        drawn = source.sample(range(rows), size)
        found = sum(one < both for one in drawn)
        overlooked = sum(both <= one < labelled for one in drawn)
        wrong = sum(labelled <= one < labelled + false for one in drawn)
        result = corrected_share(
            Paired(found, overlooked, wrong, size - found - overlooked - wrong), model, rows
        )
        assert result is not None
        held += result.low <= truth <= result.high
        width += result.high - result.low
        middle += result.value
        alone += labels_alone(found + overlooked, size, rows)
    assert held / DRAWS >= 0.93
    assert width < alone
    assert middle / DRAWS == pytest.approx(truth, abs=0.01)


def labels_alone(found: int, size: int, rows: int) -> float:
    """The width of Agresti and Coull's interval, which knows nothing of the model."""
    share = (found + 2) / (size + 4)
    spread = math.sqrt(share * (1 - share) / (size + 4) * (1 - size / rows))
    return min(share + Z * spread, 1) - max(share - Z * spread, 0)


@pytest.mark.parametrize(("noise", "size"), [(0.3, 30), (1.0, 60), (3.0, 200)])
def test_means_are_covered_too(noise: float, size: int) -> None:
    source = random.Random(f"{noise} {size}")
    truth = [source.gauss(5, 2) for _ in range(3_000)]
    said = [one + 0.5 + source.gauss(0, noise) for one in truth]
    mean, model = statistics.fmean(truth), statistics.fmean(said)
    held, width, alone = 0, 0.0, 0.0
    for _ in range(DRAWS):
        drawn = source.sample(range(3_000), size)
        result = corrected_mean([(truth[n], said[n]) for n in drawn], model, 3_000)
        assert result is not None
        held += result.low <= mean <= result.high
        width += result.high - result.low
        alone += 2 * student(size - 1) * statistics.stdev(truth[n] for n in drawn) / size**0.5
    assert held / DRAWS >= 0.93
    assert width < alone


def test_a_regression_estimate_from_a_book() -> None:
    """The peaches of 200 trees, guessed by eye, ten of them weighed (Cochran, Sampling Techniques,
    1977, on regression estimates): in all 11,600 lb by guess, 11,080 by the difference estimate.
    """
    weighed = [61, 42, 50, 58, 67, 45, 39, 57, 71, 53]
    guessed = [59, 47, 52, 60, 67, 48, 44, 58, 76, 58]
    found = corrected_mean([*zip(map(float, weighed), map(float, guessed), strict=True)], 58.0, 200)
    assert found is not None
    slope = statistics.linear_regression(guessed, weighed).slope
    assert found.weight == pytest.approx(min(slope, 1.0))
    assert 200 * found.value == pytest.approx(11_080, abs=10)


def test_what_the_sample_cant_say() -> None:
    assert corrected_share(Paired(0, 0, 0, 0), 0.4, 100) is None
    assert corrected_share(Paired(1, 0, 0, 0), 0.4, 100) is None
    assert corrected_mean([(1.0, 2.0), (2.0, 2.0)], 1.5, 100) is None
    assert corrected_mean([(1e300, 2.0), (2.0, -1e300), (3.0, 4.0)], 1.5, 100) is None


def test_where_every_row_is_labelled_nothing_is_uncertain() -> None:
    assert corrected_share(Paired(3, 2, 1, 4), 0.4, 10) == Corrected(0.5, 0.5, 0.5, 0.0)
    found = corrected_mean([(1.0, 0.0), (2.0, 9.0), (6.0, 1.0)], 3.3, 3)
    assert found == Corrected(3.0, 3.0, 3.0, 0.0)


@given(
    st.tuples(*[st.integers(0, 60)] * 4).filter(lambda cells: sum(cells) > 1),
    st.floats(0, 1),
    st.integers(0, 10_000),
)
def test_an_interval_holds_its_value_and_lies_among_shares(
    cells: tuple[int, int, int, int], model: float, more: int
) -> None:
    result = corrected_share(Paired(*cells), model, sum(cells) + more)
    assert result is not None
    assert 0 <= result.low <= result.value <= result.high <= 1
    assert 0 <= result.weight <= 1


def test_the_classical_estimator() -> None:
    # Of 1,000 rows the model calls 600 good; of 30 such rows 24 are, and of 20 bad ones 18 are bad.
    pairs = {("good", "good"): 24, ("bad", "good"): 6, ("bad", "bad"): 18, ("good", "bad"): 2}
    shares = classical_shares(pairs, {"good": 600, "bad": 400})
    assert shares == {
        "good": pytest.approx(0.6 * 24 / 30 + 0.4 * 2 / 20),
        "bad": pytest.approx(0.6 * 6 / 30 + 0.4 * 18 / 20),
    }
    assert classical_shares(pairs, {"good": 600, "bad": 390, "mixed": 10}) is None
    assert classical_shares({}, {"good": 1}) is None


@pytest.mark.parametrize(("n", "rows", "more"), [(100, 10**9, 300), (10, 10, 0), (0, 5, 0)])
def test_how_many_more_labels_halve_an_interval(n: int, rows: int, more: int) -> None:
    assert more_for_half(n, rows) == more


@given(st.integers(1, 500), st.integers(2, 5_000))
def test_so_many_more_labels_do_halve_it(n: int, rows: int) -> None:
    if n < rows:
        larger = n + more_for_half(n, rows)
        assert larger <= rows
        assert 4 * (1 / larger - 1 / rows) <= (1 / n - 1 / rows) * (1 + 1e-9)
