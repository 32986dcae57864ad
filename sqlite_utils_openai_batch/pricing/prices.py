"""What a model's tokens cost in a batch, and what used tokens did cost.

Money is counted in nano-dollars. A price in USD per million tokens is a thousand times as many
nano-dollars per token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ..base.errors import UsageError
from ..base.json import kept_json, unreadable
from ..base.outcome import picked
from ..base.statuses import UNPAID
from ..provider.client import OPENAI_URL

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation, PriceVariant

    from ..base.outcome import Outcome, Outcomes


CENT = 10_000_000
"""A cent in nano-dollars."""
PER_TOKEN = 1_000
"""Nano-dollars a token for each USD per million tokens."""


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
                one.prompt_tokens is one.completion_tokens is None and one.status not in UNPAID
                for one in outcomes
            )
        self.add_tokens(
            [one.prompt_tokens for one in told],
            [one.cached_tokens for one in told],
            [one.completion_tokens for one in told],
            [one.reasoning_tokens for one in told],
        )

    def add_all(self, outcomes: Outcomes) -> None:
        """Count what many lines say."""
        odd = outcomes.odd()
        silent = None in outcomes.prompt or None in outcomes.completion
        if not silent:
            self.add_tokens(*outcomes.columns[3:])
        elif odd:
            rest = set(range(len(outcomes))).difference(odd)
            self.add(picked(outcomes.answers, odd))
            self.add_all(outcomes.take(sorted(rest)))
        else:
            self.add(outcomes.all())

    def add_tokens(
        self,
        prompt: Sequence[int | None],
        cached: Sequence[int | None],
        completion: Sequence[int | None],
        reasoning: Sequence[int | None],
    ) -> None:
        """Count the tokens of requests."""
        self.requests += len(prompt)
        self.reasoning += total(reasoning)
        for above, some in self._by_band(prompt).items():
            sums = tuple(
                total(column if some is None else picked(column, some))
                for column in (prompt, cached, completion)
            )
            self.prompt += sums[0]
            self.cached += sums[1]
            self.completion += sums[2]
            before = self._sums.get(above, (0, 0, 0))
            self._sums[above] = (before[0] + sums[0], before[1] + sums[1], before[2] + sums[2])

    def _by_band(self, prompt: Sequence[int | None]) -> Mapping[int, Sequence[int] | None]:
        """The places of requests, by the band of prices that they pay (its `above`); None: all."""
        if self.prices is None:
            return {0: None}
        if len(self.prices.bands) == 1:
            return {self.prices.bands[0].above: None}
        found: dict[int, list[int]] = {}
        for n, tokens in enumerate(prompt):
            found.setdefault(self.prices.band(tokens or 0).above, []).append(n)
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


def total(tokens: Sequence[int | None]) -> int:
    """The sum of tokens; None are none."""
    return sum([one or 0 for one in tokens])


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


#: Amounts above it are slips, and their nano-dollars might not fit into a column.
MOST_USD = 1_000_000
#: With commas only where nobody can take them for anything but thousands.
_GROUPED = re.compile(r"\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,}")


def parse_usd(option: str, text: str) -> Decimal:
    """An amount in USD as somebody typed it, with or without a dollar sign. Raises UsageError."""
    cleaned = text.strip().removeprefix("$")
    if "," in cleaned and not _GROUPED.fullmatch(cleaned):
        raise UsageError(
            f"{option} '{text}': not an amount in USD. Write it like 2.50. A comma may part "
            "dollars from cents, or thousands."
        )
    try:
        amount = Decimal(cleaned.replace(",", ""))
    except ArithmeticError:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{option} '{text}': not an amount in USD. Write it like 2.50.")
    if amount > MOST_USD:
        raise UsageError(f"{option} '{text}': that is above {MOST_USD:,} USD. Write it like 2.50.")
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


# Batch prices as the package `genai-prices` lists them: for a model at a provider, at a moment.
#
# The package falls back to the full price without a word where it knows no batch price, so what it
# answers is only taken where the model has a batch variant that holds then; everything else is
# unknown, which is never zero and never a guess of half.

BATCH = {"processing": "batch"}


#: What a request over text can use. Searches are tools: they cost nothing unless called.
TEXT_UNITS = {"input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok"}


TOOL_UNITS = {"web_searches_kcount", "storage_searches_kcount"}


def find_prices(model: str, base_url: str, at: datetime | None = None) -> Prices | None:
    """The batch prices of a model at the provider behind `base_url`; None where unknown.

    `at` is the moment that they are wanted for, by default now.
    """
    found = _look_up(model, base_url, at or datetime.now(timezone.utc))
    if found is None:
        return None
    price, holding = found
    return _read(model, price, getattr(holding.constraint, "start_date", None))


def full_prices(model: str, base_url: str, at: datetime | None = None) -> Prices | None:
    """The prices of a model outside of batches, for requests that are made at once."""
    found = _calculation(model, base_url, at or datetime.now(timezone.utc), batch=False)
    if found is None or not any(found.model is one for one in found.provider.models):
        return None
    return _read(model, found.model_price, None)


def known_models() -> list[str]:
    """Names of OpenAI's models, as the package writes them."""
    from genai_prices.data_snapshot import get_snapshot

    return [
        model.id
        for provider in get_snapshot().providers
        if provider.id == "openai"
        for model in provider.models
    ]


def context_window(model: str, base_url: str) -> int | None:
    """Tokens that a model can hold, question and answer together; None where unknown."""
    found = _calculation(model, base_url, datetime.now(timezone.utc))
    return found.model.context_window if found else None


def prices_version() -> str:
    """The package that prices come from, with its version."""
    return f"genai-prices {version('genai-prices')}"


def _look_up(model: str, base_url: str, at: datetime) -> tuple[ModelPrice, PriceVariant] | None:
    """A model's prices with the batch variant that holds at that moment; None without one."""
    found = _calculation(model, base_url, at)
    if found is None or not any(found.model is one for one in found.provider.models):
        # A model lent by another provider is priced without looking at the processing.
        return None
    holding = [
        variant
        for variant in found.model.price_variants or ()
        if variant.when == BATCH and (variant.constraint is None or variant.constraint.active(at))
    ]
    return (found.model_price, holding[0]) if holding else None


def _calculation(
    model: str, base_url: str, at: datetime, *, batch: bool = True
) -> PriceCalculation | None:
    from genai_prices import Usage, calc_price

    try:
        return calc_price(
            Usage(input_tokens=0, output_tokens=0),
            model,
            provider_api_url=base_url,
            genai_request_timestamp=at,
            price_context=BATCH if batch else None,
        )
    except LookupError:
        return None


def _read(model: str, price: ModelPrice, since: date | None) -> Prices | None:
    """Make Prices of what the package says; None where text tokens aren't all there is to pay."""
    units = {name: value for name, value in vars(price).items() if value is not None}
    if set(units) - TEXT_UNITS - TOOL_UNITS or "input_mtok" not in units:
        return None
    starts = {0} | {
        tier.start for name in TEXT_UNITS & set(units) for tier in getattr(units[name], "tiers", ())
    }
    bands = tuple(_band(units, above) for above in sorted(starts))
    return Prices(model, bands, prices_version(), since.isoformat() if since else None)


def _band(units: dict[str, Any], above: int) -> Band:
    input_ = _tier(units["input_mtok"], above)
    cached = _tier(units.get("cache_read_mtok", units["input_mtok"]), above)
    written = _tier(units.get("cache_write_mtok", units["input_mtok"]), above)
    output = _tier(units.get("output_mtok", Decimal(0)), above)
    return Band(above, input_, cached, output, max(input_, written))


def _tier(price: Any, above: int) -> Decimal:
    """The price of a request with just more than `above` input tokens."""
    chosen: Decimal = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):
        if above >= tier.start:
            chosen = tier.price
    return chosen


# What the answers of a stored job cost: by the prices that it was planned with.


def stored_prices(options: Mapping[str, Any]) -> Prices | None:
    """The prices that a job was planned with; None where they were unknown or nothing is paid."""
    data = options.get("prices")
    return Prices.from_data(data) if data else None


def part_prices(
    model: str | None, base_url: str | None, options: Mapping[str, Any], overrides: str | None
) -> Prices | None:
    """The prices of a part of a job: another model's where a retry asks another model.

    `options` and `overrides` are the job's and the part's columns, the latter JSON text.
    """
    stored = stored_prices(options)
    changes = kept_json(overrides or "{}", dict, "openai_batch_parts.overrides")
    asked = changes.get("model")
    if stored is None or asked is None or asked == model or not stored.model:
        return stored
    return find_prices(str(asked), base_url or OPENAI_URL) or find_prices(str(asked), OPENAI_URL)


def is_own(provider: str, base_url: str | None) -> bool:
    """Whether answers come from a server of one's own on this machine, where nothing is paid."""
    if provider == "local":
        return True
    host = urlsplit(base_url or "").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def job_is_own(provider: str, base_url: str | None, options: Mapping[str, Any]) -> bool:
    """The same of a stored job: prices that somebody stated for a server here count."""
    return is_own(provider, base_url) and stored_prices(options) is None
