"""Batch prices as the package `genai-prices` lists them: for a model at a provider, at a moment.

The package falls back to the full price without a word where it knows no batch price, so what it
answers is only taken where the model has a batch variant that holds then; everything else is
unknown, which is never zero and never a guess of half.
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .prices import Band, Prices

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation, PriceVariant


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
