"""What labels of a random sample say about the answers of all rows (pure).

A model has judged all N rows, people a random sample of n. The share of a label over all rows is
the model's, moved by what the sample shows of its errors: prediction-powered inference
(Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, "Prediction-powered inference", Science 382,
2023), with the weight λ of the model's answers chosen so that the interval is shortest
(Angelopoulos, Duchi and Zrnic, "PPI++: Efficient prediction-powered inference", 2023). With λ = 1
it is the model's share minus its mean error; with λ = 0 the labels alone.

All N rows are judged by the model, and the share is that of these rows, so the only uncertainty is
that of the sample: the model's own share is known, and the factor 1 - n/N makes the interval vanish
where every row is labelled.

In small samples a model that made no error yet would have an interval of no width. So three rows
that nobody saw are added for the interval, as Bonett and Price do for differences of paired
proportions ("Adjusted Wald confidence interval for a difference of binomial proportions based on
paired data", Journal of Educational and Behavioral Statistics 37, 2012): an error each way, and one
row judged right. Simulated populations show that intervals cover as often as they say then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul

#: The normal distribution's 97.5 % quantile.
Z = 1.959964

Label = Hashable


@dataclass(frozen=True)
class Corrected:
    """A share or mean over all rows by the sample, and the interval of 95 % that it lies in."""

    value: float
    low: float
    high: float
    weight: float
    """λ: how far the model's answers are trusted, 0 to 1."""


@dataclass(frozen=True)
class Paired:
    """How often, in a sample, people and the model gave one label."""

    both: int
    only_people: int
    only_model: int
    neither: int

    @property
    def n(self) -> int:
        """Rows of the sample."""
        return self.both + self.only_people + self.only_model + self.neither


def corrected_share(found: Paired, model_share: float, rows: int) -> Corrected | None:
    """The share of a label over all `rows`, of which the model gives it `model_share`.

    None where fewer than two rows were labelled: nothing is known of the spread then.
    """
    n = found.n
    if n < min(2, rows):
        return None
    people = (found.both + found.only_people) / n
    model = (found.both + found.only_model) / n
    if n >= rows:
        return Corrected(people, people, people, 0.0)
    size = n + 3
    both = (found.both + model_share) / size
    seen_people = both + (found.only_people + 1) / size
    seen_model = both + (found.only_model + 1) / size
    spread = seen_model * (1 - seen_model)
    together = both - seen_people * seen_model
    weight = min(max(together / spread, 0.0), 1.0)
    middle = seen_people + weight * (model_share - seen_model)
    left = seen_people * (1 - seen_people) - 2 * weight * together + weight**2 * spread
    half = student(n - 1) * math.sqrt(max(left, 0.0) / size * (1 - n / rows))
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    value = people + weight * (model_share - model)
    return Corrected(min(max(value, low), high), low, high, weight)


def corrected_mean(
    pairs: Sequence[tuple[float, float]], model_mean: float, rows: int
) -> Corrected | None:
    """The mean of a number over all `rows`, by a sample of (what people say, what the model says).

    None where fewer than three rows were labelled, or squares are beyond all numbers: nothing is
    known of the spread then.
    """
    n = len(pairs)
    if n < 3:
        return None
    people = sum(a for a, _ in pairs) / n
    model = sum(b for _, b in pairs) / n
    if n >= rows:
        return Corrected(people, people, people, 0.0)
    # Products, since a power that is beyond all numbers is an error, and no infinity.
    spread = sum((b - model) * (b - model) for _, b in pairs)
    together = sum((a - people) * (b - model) for a, b in pairs)
    weight = min(max(together / spread, 0.0), 1.0) if spread else 0.0
    rests = [a - people - weight * (b - model) for a, b in pairs]
    left = sum(map(mul, rests, rests)) / (n - 2)
    if not math.isfinite(spread + left):
        return None
    half = student(n - 2) * math.sqrt(left / n * (1 - n / rows))
    value = people + weight * (model_mean - model)
    return Corrected(value, value - half, value + half, weight)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by Fisher and Cornish's expansion (1960).

    It is off by 0.1 % at 5 degrees of freedom and less at more; below 3 it is too small.
    """
    f = max(freedom, 1)
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + terms[0] / f + terms[1] / f**2 + terms[2] / f**3


def classical_shares(
    pairs: Mapping[tuple[Label, Label], int], model_counts: Mapping[Label, int]
) -> dict[Label, float] | None:
    """Shares of labels by what each of the model's labels turns out to be, as a check.

    Tenenbein's estimator ("A double sampling scheme for estimating from binomial data with
    misclassifications", JASA 65, 1970; for more labels Technometrics 14, 1972): among the rows that
    the model gives one label, the shares of the people's labels, weighted by how often the model
    gives it. `pairs` counts (people's label, model's label). None where one of the model's labels
    isn't in the sample, so that nothing is known of it.
    """
    rows = sum(model_counts.values())
    seen: Counter[Label] = Counter()
    for (_, model), count in pairs.items():
        seen[model] += count
    if not rows or any(count and not seen[label] for label, count in model_counts.items()):
        return None
    shares: dict[Label, float] = {}
    for (people, model), count in pairs.items():
        part = model_counts.get(model, 0) / rows * count / seen[model]
        shares[people] = shares.get(people, 0.0) + part
    return shares


def more_for_half(n: int, rows: int) -> int:
    """How many more rows have to be labelled for an interval half as wide."""
    if n <= 0 or n >= rows:
        return 0
    quarter = (1 / n - 1 / rows) / 4
    return math.ceil(1 / (quarter + 1 / rows) - 1e-9) - n
