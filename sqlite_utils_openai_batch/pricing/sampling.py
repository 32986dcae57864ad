"""Input tokens of all requests of a job, from a seeded sample of its lines.

Small sources are counted whole. Of large ones the longest lines are counted, and so many of the
others that the figure is good to a fraction of a percent; the rest follows from their bytes,
which are known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from ..base.text import counted as counted_words
from .tokens import BYTES_PER_TOKEN, FEWEST_BYTES, MOST_BYTES, Counted, Counter, count_requests

#: Lines that are kept at most; a source with fewer is counted whole.
ROWS = 4_000
#: Lines of so many times the mean length are counted all: a few of them may weigh the most.
LONG = 10
#: Bytes of lines that are kept until it shows which of them stay in the sample: enough for all of
#: it where lines are of usual length.
WAITING_BYTES = 8_000_000
#: Lines that are counted together, and about how many bytes of them.
AT_ONCE = 256
AT_ONCE_BYTES = 1_000_000
#: 2^64 divided by the golden ratio, whose multiples are spread evenly, and the largest of 64 bits:
#: they decide which rows' lines a sample takes, by where these stand.
GOLDEN, WHOLE = 0x9E3779B97F4A7C15, 2**64 - 1
SIGMAS_95 = 1.96
#: How far above a sampled figure the bound lies that "at most" stands for.
SIGMAS_MOST = 4.0


@dataclass(frozen=True, slots=True)
class InputTokens:
    """Input tokens of a job. `tokens` and `most` are None where they can't be known.

    `how` is `counted`, `sampled` or `bytes`; `low` and `high` enclose the figure, `most` bounds
    it. `vocabulary` names the model that it was counted as, where that isn't the one asked.
    """

    tokens: int | None
    low: int
    high: int
    most: int | None
    how: str
    vocabulary: str | None = None
    attached: str = ""
    """What is attached whose tokens nobody publishes: `3 PDFs, 12 pages`."""

    @property
    def error(self) -> float:
        """Half of the interval as a share of the figure."""
        return (self.high - self.low) / 2 / self.tokens if self.tokens else 0.0


@dataclass(frozen=True, slots=True)
class TooLong:
    """A request that the model can't hold."""

    row_key: Any
    tokens: int


@dataclass(frozen=True, slots=True)
class _Line:
    """One counted line; `place` (0 to 1) decides how long it stays in the sample."""

    place: float
    size: int
    counted: Counted


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One line to be counted, if it stays in the sample until then; a long one always does."""

    place: float
    line: bytes
    row_key: Any


@dataclass
class Sample:
    """Takes all lines of a job one after another, and counts the tokens of some.

    The same lines in the same order give the same figures. `window` is the model's context in
    tokens: lines that may not fit in it are measured, since a token has at least a byte.
    """

    counter: Counter
    endpoint: str
    window: int | None = None
    rows: int = ROWS
    lines: int = 0
    size: int = 0
    """Bytes of all lines."""
    longest: int = 0
    """Bytes of the longest line."""
    too_long: list[TooLong] = field(default_factory=list)
    unknown: bool = False
    _files: Files = field(default_factory=lambda: Files())
    """Whether a line holds something that can't be counted."""
    _share: float = 1.0
    _kept: list[_Line] = field(default_factory=list)
    _long: list[_Line] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _waiting_size: int = 0
    _taken: int = 0
    """Lines of the sample, counted or waiting."""

    def add(self, line: bytes, row_key: Any) -> None:
        """Take a rendered line with its newline."""
        self.add_all([self.lines], [len(line)], [row_key], lambda _: line)

    def add_all(
        self,
        positions: Sequence[int],
        sizes: Sequence[int],
        row_keys: Sequence[Any],
        line: Callable[[int], bytes],
    ) -> None:
        """Take lines of these sizes; `line` gives the one of an index where it is wanted.

        Where its row stands in the source decides whether a line is in the sample.
        """
        largest = max(sizes)
        self.longest = max(self.longest, largest)
        may_be_long = largest * (self.lines + len(sizes)) > LONG * (self.size + largest)
        if may_be_long or largest > (self.window or largest):
            for index, size in enumerate(sizes):
                self._add(positions[index], size, row_keys[index], partial(line, index))
            return
        # none of them is long: where they stand decides, and most are passed over
        self.lines += len(sizes)
        self.size += sum(sizes)
        places = [position * GOLDEN & WHOLE for position in positions]
        if min(places) >= self._share * WHOLE:
            return
        for index, place in enumerate(places):
            if place < self._share * WHOLE:
                self._take(place / WHOLE, line(index), row_keys[index])

    def _add(self, position: int, size: int, row_key: Any, line: Callable[[], bytes]) -> None:
        self.lines += 1
        self.size += size
        place = position * GOLDEN & WHOLE
        if size * self.lines > LONG * self.size or (self.window or size) < size:
            self._take(-1.0, line(), row_key)
        elif place < self._share * WHOLE:
            self._take(place / WHOLE, line(), row_key)

    def _take(self, place: float, line: bytes, row_key: Any) -> None:
        self._waiting.append(_Waiting(place, line, row_key))
        self._waiting_size += len(line)
        self._taken += place >= 0
        while self._taken > self.rows:
            self._thin()
        if self._waiting_size > WAITING_BYTES:
            self._count()

    def _thin(self) -> None:
        """Leave half of the sample out. What goes before it was counted has cost nothing."""
        self._share /= 2
        self._kept = [kept for kept in self._kept if kept.place < self._share]
        self._waiting = [one for one in self._waiting if one.place < self._share]
        self._waiting_size = sum(len(one.line) for one in self._waiting)
        self._taken = len(self._kept) + sum(one.place >= 0 for one in self._waiting)

    def _count(self) -> None:
        """Count the lines that wait."""
        for some in _at_once(self._waiting):
            bodies = [orjson.loads(one.line)["body"] for one in some]
            found = count_requests(self.counter, bodies, self.endpoint)
            for one, counted in zip(some, found, strict=True):
                self.unknown |= counted.tokens is None
                self._files.add(counted)
                if self.window is not None and (counted.tokens or 0) > self.window:
                    self.too_long.append(TooLong(one.row_key, counted.tokens or 0))
                kept = self._kept if one.place >= 0 else self._long
                kept.append(_Line(one.place, len(one.line), counted))
        self._waiting.clear()
        self._waiting_size = 0

    def grow(self, lines: int) -> None:
        """Let the lines taken so far stand for so many, of which they are an even sample."""
        if lines > self.lines:
            self.size = self.size * lines // self.lines
            self.lines = lines
            # they are no longer all
            self._share = min(self._share, 0.5)

    def result(self) -> InputTokens:
        """The figures for all lines taken so far."""
        self._count()
        if self.unknown:
            words = self._files.words(self.lines)
            return InputTokens(None, 0, 0, None, "sampled", None, words)
        tokens, half = self._total([line.counted.tokens or 0 for line in self._kept], SIGMAS_95)
        most, spread = self._total([line.counted.most or 0 for line in self._kept], SIGMAS_MOST)
        tokens += sum(line.counted.tokens or 0 for line in self._long)
        most += sum(line.counted.most or 0 for line in self._long)
        whole, bound = round(tokens), math.ceil(most + spread)
        if self.counter.encoding is None:
            low, high = (
                tokens * BYTES_PER_TOKEN / MOST_BYTES,
                tokens * BYTES_PER_TOKEN / FEWEST_BYTES,
            )
            return InputTokens(whole, round(low), round(high), bound, "bytes")
        how = "counted" if self._share == 1.0 else "sampled"
        low, high = max(math.floor(tokens - half), 0), math.ceil(tokens + half)
        return InputTokens(
            whole, low, high, bound, how, None if self.counter.exact else self.counter.counts_as
        )

    def _total(self, values: list[int], sigmas: float) -> tuple[float, float]:
        """Estimate of a total over all but the long lines, and half of its interval.

        A regression on bytes: what each line has besides its data, like the system text, costs
        the same tokens and bytes in every line, so a plain ratio would be less exact.
        """
        if self._share == 1.0:
            return float(sum(values)), 0.0
        lines = self.lines - len(self._long)
        size = self.size - sum(line.size for line in self._long)
        sizes = [line.size for line in self._kept]
        n = len(sizes)
        mean_size, mean = sum(sizes) / n, sum(values) / n
        pairs = list(zip(sizes, values, strict=True))
        spread = sum((one - mean_size) ** 2 for one in sizes)
        together = sum((one - mean_size) * (value - mean) for one, value in pairs)
        slope = together / spread if spread else 0.0
        residues = sum((value - mean - slope * (one - mean_size)) ** 2 for one, value in pairs)
        error = math.sqrt(residues / max(n - 2, 1) / n * (1 - n / lines))
        return lines * (mean + slope * (size / lines - mean_size)), sigmas * error * lines

    def per_request(self) -> list[int]:
        """Tokens of the counted lines, for prices that depend on a request's length."""
        return [line.counted.tokens or 0 for line in (*self._kept, *self._long)]


@dataclass
class Files:
    """Counts what is attached to the lines that were counted."""

    lines: int = 0
    pdfs: int = 0
    pages: int | None = 0
    sounds: int = 0

    def add(self, counted: Counted) -> None:
        """Take a line."""
        self.lines += 1
        for file in counted.attached:
            if file.kind == "PDF":
                self.pdfs += 1
                known = self.pages is not None and file.pages is not None
                self.pages = (self.pages or 0) + (file.pages or 0) if known else None
            else:
                self.sounds += 1

    def words(self, lines: int) -> str:
        """What so many lines have: `3 PDFs, 12 pages`; about, where only some were counted."""
        grown = lines / self.lines if self.lines else 1.0
        found = [(self.pdfs, "PDF"), (self.pages or 0, "page"), (self.sounds, "sound")]
        told = [counted_words(round(count * grown), noun) for count, noun in found if count]
        return ("about " if told and grown > 1 else "") + ", ".join(told)


def _at_once(waiting: Sequence[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yield lines in groups that are counted together."""
    some, size = list[_Waiting](), 0
    for one in waiting:
        some.append(one)
        size += len(one.line)
        if len(some) >= AT_ONCE or size > AT_ONCE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
