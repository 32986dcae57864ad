"""What a model's tokens cost in a batch, and what used tokens did cost.

Money is counted in nano-dollars. A price in USD per million tokens is a thousand times as many
nano-dollars per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from .errors import UsageError
from .kept import unreadable

if TYPE_CHECKING:
    from .outcome import Outcome

CENT = 10_000_000
"""A cent in nano-dollars."""
PER_TOKEN = 1_000
"""Nano-dollars a token for each USD per million tokens."""

#: Outcomes of lines whose request no model answered, so that nothing is paid for it.
NOTHING_RAN = ("http_error", "api_error", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class Band:
    """Prices in USD per million tokens, for requests of more than `above` input tokens."""

    above: int
    input: Decimal
    cached: Decimal
    output: Decimal
    dearest: Decimal
    """The most that an input token can cost: some models charge more for filling their cache."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Batch prices of one model. Build them by `find_prices` or `stated_prices`."""

    model: str
    bands: tuple[Band, ...]
    """Ascending by `above`; the first holds from no tokens on."""
    source: str
    """The package and version, or the option that stated them."""
    since: str | None = None
    """The date (YYYY-MM-DD) from which they hold, where that is known."""

    def band(self, prompt_tokens: int) -> Band:
        """The prices of a request with that many input tokens: all of it pays the band's."""
        chosen = self.bands[0]
        for band in self.bands[1:]:
            if prompt_tokens > band.above:
                chosen = band
        return chosen

    def request(self, prompt: int, cached: int, completion: int) -> Decimal:
        """Nano-dollars of one request; `cached` of its `prompt` tokens were read from a cache."""
        return _cost(self.band(prompt), prompt, cached, completion)

    def most(self, prompt: int, completion: int, longest: int) -> int:
        """Nano-dollars that requests cost at most, whichever band each of them is in.

        `prompt` and `completion` are sums over requests, or bounds of such sums; `longest` is a
        bound of one request's input tokens, so that bands above it don't count.
        """
        bands = [band for band in self.bands if band.above < max(longest, 1)]
        input_ = max(max(band.dearest, band.cached) for band in bands)
        output = max(band.output for band in bands)
        return rounded_up((input_ * prompt + output * completion) * PER_TOKEN)

    def to_data(self) -> dict[str, Any]:
        """As kept in a job's options: JSON values, decimals as text."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Prices:
        """From a job's options. Raises DatabaseError."""
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise unreadable(data, "openai_batch_jobs.options") from error


@dataclass(slots=True)
class Spent:
    """Tokens that response lines report, and what they cost: each request by its own band.

    `unpriced` counts answers that report no tokens: their cost can't be known.
    """

    prices: Prices | None
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    requests: int = 0
    unpriced: int = 0
    _sums: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count what lines say."""
        told = [
            one
            for one in outcomes
            if one.prompt_tokens is not None or one.completion_tokens is not None
        ]
        if len(told) < len(outcomes):
            self.unpriced += sum(
                one.prompt_tokens is one.completion_tokens is None and one.status not in NOTHING_RAN
                for one in outcomes
            )
        self.requests += len(told)
        for above, some in self._by_band(told).items():
            prompt = sum([one.prompt_tokens or 0 for one in some])
            cached = sum([one.cached_tokens or 0 for one in some])
            completion = sum([one.completion_tokens or 0 for one in some])
            self.prompt += prompt
            self.cached += cached
            self.completion += completion
            self.reasoning += sum([one.reasoning_tokens or 0 for one in some])
            before = self._sums.get(above, (0, 0, 0))
            self._sums[above] = (
                before[0] + prompt,
                before[1] + cached,
                before[2] + completion,
            )

    def _by_band(self, outcomes: Sequence[Outcome]) -> Mapping[int, Sequence[Outcome]]:
        """Sort outcomes by the band of prices that their requests pay: its `above`."""
        if self.prices is None:
            return {0: outcomes}
        if len(self.prices.bands) == 1:
            return {self.prices.bands[0].above: outcomes}
        found: dict[int, list[Outcome]] = {}
        for one in outcomes:
            found.setdefault(self.prices.band(one.prompt_tokens or 0).above, []).append(one)
        return found

    @property
    def nanousd(self) -> int | None:
        """What all of it cost; None where prices, or some of the tokens, aren't known."""
        if self.prices is None or self.unpriced:
            return None
        by_band = {band.above: band for band in self.prices.bands}
        total = sum(
            (_cost(by_band[above], *sums) for above, sums in self._sums.items()), Decimal(0)
        )
        return rounded(total)


def _cost(band: Band, prompt: int, cached: int, completion: int) -> Decimal:
    """Nano-dollars of tokens that all pay one band's prices."""
    # More cached than asked would be a provider's mistake: it must not lower the bill.
    cached = min(cached, prompt)
    usd = band.input * (prompt - cached) + band.cached * cached + band.output * completion
    return usd * PER_TOKEN


def rounded(nanousd: Decimal) -> int:
    """Whole nano-dollars."""
    return int(nanousd.to_integral_value(rounding=ROUND_HALF_EVEN))


def rounded_up(nanousd: Decimal) -> int:
    """Whole nano-dollars, never fewer than asked: for bounds."""
    return int(nanousd.to_integral_value(rounding=ROUND_CEILING))


def stated_prices(input_usd: Decimal, output_usd: Decimal) -> Prices:
    """Prices that somebody stated, in USD per million tokens; cached tokens pay the full one."""
    band = Band(0, input_usd, input_usd, output_usd, input_usd)
    return Prices("", (band,), "--price-input and --price-output")


def parse_usd(option: str, text: str) -> Decimal:
    """An amount in USD as somebody typed it, with or without a dollar sign. Raises UsageError."""
    cleaned = text.strip().removeprefix("$").replace(",", "")
    try:
        amount = Decimal(cleaned)
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{option} '{text}': not an amount in USD. Write it like 2.50.")
    return amount


def usd(nanousd: int, *, up: bool = False) -> str:
    """An amount for people: `$1.07`, under a cent two significant digits.

    `up` is for bounds: rounded up, and of less than ten cents two digits as well.
    """
    rounding = ROUND_CEILING if up else ROUND_HALF_EVEN
    amount = Decimal(nanousd) / 1_000_000_000
    digits = amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1), rounding=rounding)
    # Rounding may have added a digit.
    digits = digits.quantize(Decimal(1).scaleb(digits.adjusted() - 1), rounding=rounding)
    if digits >= Decimal("0.1" if up else "0.01") or nanousd <= 0:
        return f"${amount.quantize(Decimal('0.01'), rounding=rounding):,}"
    if digits >= Decimal("0.0001"):
        return f"${digits:f}"
    return "$0.0001" if up else "less than $0.0001"


def about_usd(nanousd: int) -> str:
    """What is likely to be paid, for people: `about $1.07`."""
    said = usd(nanousd)
    return f"about {said}" if said.startswith("$") else said
