"""How far two readings of the same rows agree (pure): labels, numbers, lists, text.

Sources: κ by Cohen, "A coefficient of agreement for nominal scales" (1960); its standard error by
Fleiss, Cohen and Everitt, "Large sample standard errors of kappa and weighted kappa" (1969), as in
Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions" (2003), section 18.1. The
concordance of numbers is Lin's (1989); it equals κ weighted by squared differences. α as in
Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import eq, mul, not_, sub
from typing import TypeGuard

#: More different labels than this are no labels any more, and make a table nobody reads.
MOST_LABELS = 200
#: Numbers with more different values than this are no scale, and have no table.
MOST_STEPS = 20
# The normal distribution's 97.5 % quantile: for an interval that holds in 95 of 100 cases.
Z = 1.959964

Label = Hashable


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance, and the interval of 95 % that it lies in."""

    value: float
    low: float
    high: float


def kappa(counts: Mapping[tuple[Label, Label], int]) -> Kappa | None:
    """Cohen's κ of a table of counts by (first label, second label).

    None where it isn't defined: for no rows, and where both gave one and the same label always.
    """
    n = sum(counts.values())
    if not n:
        return None
    shares = {pair: count / n for pair, count in counts.items()}
    rows, columns = margins(shares)
    observed = sum(share for (a, b), share in shares.items() if a == b)
    expected = sum(share * columns.get(label, 0.0) for label, share in rows.items())
    if 1 - expected < 1e-12:
        return None
    value = (observed - expected) / (1 - expected)
    spread = deviation(shares, rows, columns, value, expected) / math.sqrt(n)
    return Kappa(value, max(value - Z * spread, -1.0), min(value + Z * spread, 1.0))


def deviation(
    shares: Mapping[tuple[Label, Label], float],
    rows: Mapping[Label, float],
    columns: Mapping[Label, float],
    value: float,
    expected: float,
) -> float:
    """The standard error of κ times the square root of the number of rows."""
    lost = 1 - value
    total = -((value - expected * lost) ** 2)
    for (a, b), share in shares.items():
        if a == b:
            total += share * (1 - (rows[a] + columns[a]) * lost) ** 2
        else:
            total += share * lost**2 * (columns.get(a, 0.0) + rows.get(b, 0.0)) ** 2
    return math.sqrt(max(total, 0.0)) / (1 - expected)


def weighted_kappa(counts: Mapping[tuple[float, float], int]) -> Kappa | None:
    """Cohen's κ of steps of a scale, where a step beside is half right (linear weights).

    None where it isn't defined, as `kappa`.
    """
    n = sum(counts.values())
    steps = sorted({step for pair in counts for step in pair})
    if not n or len(steps) < 2:
        return None
    weights = {(a, b): 1 - abs(a - b) / (steps[-1] - steps[0]) for a in steps for b in steps}
    shares = {pair: count / n for pair, count in counts.items()}
    rows, columns = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0.0)
    for (a, b), share in shares.items():
        rows[a] += share
        columns[b] += share
    beside_row = {a: sum(columns[b] * weights[a, b] for b in steps) for a in steps}
    beside_column = {b: sum(rows[a] * weights[a, b] for a in steps) for b in steps}
    observed = sum(share * weights[pair] for pair, share in shares.items())
    expected = sum(rows[a] * beside_row[a] for a in steps)
    if 1 - expected < 1e-12:
        return None
    value = (observed - expected) / (1 - expected)
    lost = 1 - value
    total = -((value - expected * lost) ** 2)
    for (a, b), share in shares.items():
        total += share * (weights[a, b] - (beside_row[a] + beside_column[b]) * lost) ** 2
    spread = math.sqrt(max(total, 0.0)) / (1 - expected) / math.sqrt(n)
    return Kappa(value, max(value - Z * spread, -1.0), min(value + Z * spread, 1.0))


def nominal(a: Label, b: Label) -> float:
    """How far two labels are apart: they are the same, or not."""
    return float(a != b)


def interval(a: Label, b: Label) -> float:
    """How far two numbers are apart, squared; what isn't a number differs as a label does."""
    if is_number(a) and is_number(b):
        apart = float(a - b)
        return apart * apart  # what is beyond all numbers is infinite so, and no error
    return nominal(a, b)


def alpha(
    units: Iterable[Sequence[Label]], distance: Callable[[Label, Label], float] = nominal
) -> float | None:
    """Krippendorff's α: agreement beyond chance of any number of coders, who may leave gaps.

    A unit is what coders say of one row, without those who said nothing. None where no row has two
    values, or all values are one.
    """
    found = Alpha(distance)
    for unit in units:
        found.add(unit)
    return found.value


@dataclass
class Alpha:
    """Krippendorff's α of units that are added one after the other."""

    distance: Callable[[Label, Label], float] = nominal
    apart: float = 0.0
    """How far values of one row are apart: the sum over rows."""
    sums: Counter[Label] = field(default_factory=Counter)

    def add(self, unit: Sequence[Label]) -> None:
        """Take one more row: what each coder says who says something."""
        if len(unit) < 2:
            return
        values = Counter(unit)
        self.sums.update(values)
        self.apart += self.spread(values) / (len(unit) - 1)

    def spread(self, values: Mapping[Label, int]) -> float:
        """The sum of the distances of all pairs."""
        return sum(
            count * other * self.distance(a, b)
            for a, count in values.items()
            for b, other in values.items()
        )

    @property
    def value(self) -> float | None:
        """α; None where no row has two values, all are one, or squares are beyond all numbers."""
        expected = self.spread(self.sums)
        if not expected or not math.isfinite(expected):
            return None
        return 1 - (sum(self.sums.values()) - 1) * self.apart / expected


@dataclass(frozen=True, slots=True)
class LabelScore:
    """How well the first side finds one label of the second."""

    label: Label
    gold: int
    """Rows that have the label on the second side."""
    found: int
    """Rows that have it on the first."""
    both: int

    @property
    def precision(self) -> float | None:
        """Of the rows that the first gave the label, the share to which it belongs."""
        return self.both / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Of the rows to which it belongs, the share that the first gave it."""
        return self.both / self.gold if self.gold else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both."""
        return 2 * self.both / (self.found + self.gold) if self.found + self.gold else None


def label_scores(counts: Mapping[tuple[Label, Label], int]) -> list[LabelScore]:
    """How well each label is found, the most frequent of the second side first."""
    rows, columns = margins(counts)
    labels = sorted({*rows, *columns}, key=lambda label: (-columns.get(label, 0), str(label)))
    return [
        LabelScore(
            label,
            int(columns.get(label, 0)),
            int(rows.get(label, 0)),
            counts.get((label, label), 0),
        )
        for label in labels
    ]


def margins(
    counts: Mapping[tuple[Label, Label], float],
) -> tuple[dict[Label, float], dict[Label, float]]:
    """The sums of a table's rows and of its columns, by label."""
    rows: dict[Label, float] = {}
    columns: dict[Label, float] = {}
    for (a, b), count in counts.items():
        rows[a] = rows.get(a, 0) + count
        columns[b] = columns.get(b, 0) + count
    return rows, columns


def macro_f1(counts: Mapping[tuple[Label, Label], int]) -> float | None:
    """The mean over the second's labels of how well the first finds them (F1)."""
    rows, columns = margins(counts)
    scores = [
        2 * counts.get((label, label), 0) / (found + rows.get(label, 0))
        for label, found in columns.items()
    ]
    return sum(scores) / len(scores) if scores else None


@dataclass
class Moments:
    """Sums over pairs of numbers, kept in a way that loses no precision."""

    n: int = 0
    mean_a: float = 0.0
    mean_b: float = 0.0
    squares_a: float = 0.0
    squares_b: float = 0.0
    products: float = 0.0
    difference: float = 0.0
    """The sum of the absolute differences."""

    def add(self, a: float, b: float) -> None:
        """Take one more pair."""
        self.add_all([a], [b])

    def add_all(self, a: Sequence[float], b: Sequence[float]) -> None:
        """Take more pairs (Chan, Golub and LeVeque, 1979: sums of a sample joined to others)."""
        count = len(a)
        mean_a, mean_b = math.fsum(a) / count, math.fsum(b) / count
        from_a, from_b = [one - mean_a for one in a], [one - mean_b for one in b]
        apart_a, apart_b = mean_a - self.mean_a, mean_b - self.mean_b
        before, self.n = self.n, self.n + count
        weight = before * count / self.n
        self.squares_a += sum(map(mul, from_a, from_a)) + apart_a * apart_a * weight
        self.squares_b += sum(map(mul, from_b, from_b)) + apart_b * apart_b * weight
        self.products += sum(map(mul, from_a, from_b)) + apart_a * apart_b * weight
        self.mean_a += apart_a * count / self.n
        self.mean_b += apart_b * count / self.n
        self.difference += sum(map(abs, map(sub, a, b)))

    def add_same(self, a: Sequence[float]) -> None:
        """Take more pairs, as `add_all`, of which both are the same."""
        count = len(a)
        mean = math.fsum(a) / count
        from_mean = [one - mean for one in a]
        squares = sum(map(mul, from_mean, from_mean))
        apart_a, apart_b = mean - self.mean_a, mean - self.mean_b
        before, self.n = self.n, self.n + count
        weight = before * count / self.n
        self.squares_a += squares + apart_a * apart_a * weight
        self.squares_b += squares + apart_b * apart_b * weight
        self.products += squares + apart_a * apart_b * weight
        self.mean_a += apart_a * count / self.n
        self.mean_b += apart_b * count / self.n

    @property
    def mean_difference(self) -> float | None:
        """How far two numbers are apart on the mean."""
        return self.difference / self.n if self.n else None

    @property
    def correlation(self) -> float | None:
        """Pearson's r; None where one of both never changes, or squares are beyond all numbers."""
        spread = math.sqrt(self.squares_a) * math.sqrt(self.squares_b)
        if not spread or not math.isfinite(spread):
            return None
        return max(-1.0, min(1.0, self.products / spread))

    @property
    def concordance(self) -> float | None:
        """Lin's concordance: 1 only where the numbers are the same. None as for `correlation`."""
        between = self.mean_a - self.mean_b
        spread = self.squares_a + self.squares_b + self.n * between * between
        return 2 * self.products / spread if spread and math.isfinite(spread) else None


@dataclass
class Agreement:
    """How two readings of one column agree; `kind` is `label`, `number` or `list`."""

    kind: str
    pairs: Counter[tuple[Label, Label]] | None = field(default_factory=Counter)
    """How often each pair of labels came; None where there are too many labels."""
    n: int = 0
    same: int = 0
    alike: int = 0
    """Texts that differ only in capitals and white space."""
    moments: Moments = field(default_factory=Moments)
    order: Sequence[Label] = ()
    """The labels as steps of a scale, where they are such."""
    overlap: float = 0.0
    """The sum, over pairs of lists, of the share of their elements that both have (Jaccard)."""
    _labels: set[Label] = field(default_factory=set)

    def add(self, a: Label, b: Label) -> bool:
        """Take one more pair; say whether both are the same."""
        self.n += 1
        same = a == b
        self.same += same
        if self.kind == "number" and is_number(a) and is_number(b):
            self.moments.add(a, b)
        elif isinstance(a, frozenset) and isinstance(b, frozenset):
            self.overlap += len(a & b) / len(a | b) if a | b else 1.0
            return same
        elif not same and isinstance(a, str) and isinstance(b, str):
            self.alike += folded(a) == folded(b)
        if self.pairs is not None:
            self.pairs[a, b] += 1
            self._labels |= {a, b}
            if len(self._labels) > MOST_LABELS:
                self.pairs = None
        return same

    def add_all(self, a: Sequence[Label], b: Sequence[Label]) -> list[bool]:
        """Take more pairs, as `add` does one by one; say which are the same."""
        kinds = {*map(type, a), *map(type, b)}
        numbers = kinds <= {int, float} and all(map(math.isfinite, chain(a, b)))  # type: ignore[arg-type]
        if not numbers and kinds != {str}:
            return list(map(self.add, a, b))
        same = list(map(eq, a, b))
        self.n += len(same)
        self.same += sum(same)
        counts = Counter(zip(a, b, strict=True)) if self.pairs is not None else None
        if numbers and self.kind == "number":
            self.moments.add_all(a, b)  # type: ignore[arg-type]
        elif not numbers and not all(same):
            different = counts or Counter(compress(zip(a, b, strict=True), map(not_, same)))
            for (one, other), count in different.items():
                if one != other and folded(str(one)) == folded(str(other)):
                    self.alike += count
        if self.pairs is not None and counts is not None:
            self.pairs.update(counts)
            self._labels.update(chain.from_iterable(counts))
            if len(self._labels) > MOST_LABELS:
                self.pairs = None
        return same

    def add_same(self, values: Iterable[Label], count: int) -> None:
        """Take so many pairs of which both are the same: else as `add_all`."""
        if self.kind == "label" and self.pairs is None:
            # nothing but how many they are
            self.n += count
            self.same += count
            return
        both = list(values)
        kinds = set(map(type, both))
        numbers = kinds <= {int, float} and all(map(math.isfinite, both))  # type: ignore[arg-type]
        if not both:
            return
        if not numbers and kinds != {str}:
            self.add_all(both, both)
            return
        self.n += count
        self.same += count
        if numbers and self.kind == "number":
            self.moments.add_same(both)  # type: ignore[arg-type]
        if self.pairs is not None:
            counts = Counter(both)
            self.pairs.update({(label, label): often for label, often in counts.items()})
            self._labels.update(counts)
            if len(self._labels) > MOST_LABELS:
                self.pairs = None

    @property
    def share(self) -> float | None:
        """The share of rows on which both are the same."""
        return self.same / self.n if self.n else None

    @property
    def labels(self) -> list[Label]:
        """All labels, the most frequent first; none where there are too many."""
        if self.pairs is None:
            return []
        rows, columns = margins(self.pairs)
        sums = Counter(rows)
        sums.update(columns)
        return sorted(sums, key=lambda label: (-sums[label], str(label)))

    @property
    def kappa(self) -> Kappa | None:
        """Cohen's κ; None where it isn't defined, or these are no labels."""
        return kappa(self.pairs) if self.pairs and self.has_labels else None

    @property
    def weighted(self) -> Kappa | None:
        """κ of the steps of a scale, weighted by their distance; None where these are no steps."""
        if not self.pairs or not self.has_labels:
            return None
        if self.order:
            place = {label: float(n) for n, label in enumerate(self.order)}
            return weighted_kappa(
                {
                    (place[a], place[b]): n
                    for (a, b), n in self.pairs.items()
                    if a in place and b in place
                }
            )
        if self.kind != "number":
            return None
        steps = {(a, b): n for (a, b), n in self.pairs.items() if is_number(a) and is_number(b)}
        return weighted_kappa(steps)

    @property
    def has_labels(self) -> bool:
        """Whether these are few enough different values to be labels, or steps of a scale."""
        if self.kind == "list" or self.pairs is None:
            return False
        return self.kind != "number" or len(self._labels) <= MOST_STEPS


def table_of(pairs: Mapping[tuple[Label, Label], int], labels: Sequence[Label]) -> list[list[int]]:
    """Counts by (first label, second label) as rows of a square; the last of each is all others."""
    place = {label: n for n, label in enumerate(labels)}
    width = len(labels) + 1
    cells = [[0] * width for _ in range(width)]
    for (a, b), count in pairs.items():
        cells[place.get(a, width - 1)][place.get(b, width - 1)] += count
    return cells


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def folded(text: str) -> str:
    """A text without regard to capitals and white space."""
    return " ".join(text.casefold().split())
