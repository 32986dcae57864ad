"""What the answers of a stored job cost: by the prices that it was planned with."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .api import OPENAI_URL
from .kept import kept_json
from .price_list import find_prices
from .prices import Prices

if TYPE_CHECKING:
    pass


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
