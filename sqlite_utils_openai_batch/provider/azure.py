"""Azure's addresses and keys: the environment variables that OpenAI's own client reads.

Azure has the Batch API under two addresses: the new one ends with `/openai/v1` and is OpenAI's own
API; the older one ends with `/openai` and takes a version of the API with each request.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..base.errors import ConfigurationError

AZURE = "azure"

#: Under which Azure serves OpenAI's API.
HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure.us")

ENDPOINT, VERSION = "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"
KEY, TOKEN = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"


@dataclass(frozen=True, slots=True)
class Azure:
    """What a client of Azure needs beside an address and a key."""

    version: str | None
    """The version of the API, for the older address."""
    token: bool
    """Whether the key is a token of Microsoft Entra ID, and not the resource's own key."""


def is_azure(url: str) -> bool:
    """Whether an address is one of Azure's."""
    host = urlsplit(url).hostname or ""
    return host.endswith(HOSTS)


def azure_address(base_url: str | None) -> str:
    """Where `/files` and `/batches` are, for --base-url or the endpoint of the environment.

    Raises ConfigurationError where neither is there.
    """
    given = (base_url or os.environ.get(ENDPOINT) or "").rstrip("/")
    if not given:
        raise ConfigurationError(
            f"Where is Azure? Set {ENDPOINT} to https://RESOURCE.openai.azure.com, "
            "or give that by --base-url."
        )
    if urlsplit(given).path:
        return given
    return f"{given}/openai" if os.environ.get(VERSION) else f"{given}/openai/v1"


def azure_version(address: str) -> str | None:
    """The version that an address takes with each request; None for the new one.

    Raises ConfigurationError where it isn't known.
    """
    if address.endswith("/v1"):
        return None
    version = os.environ.get(VERSION)
    if not version:
        raise ConfigurationError(
            f"{address} takes a version of the API with each request: set {VERSION}, "
            "such as 2024-10-21, or use the address that ends with /openai/v1."
        )
    return version


def azure_key(address: str) -> tuple[str, str]:
    """The key or token of the environment for an address, and the variable that holds it.

    It goes to the endpoint that is set with it and to no other host: a job's address comes from a
    file that somebody may have sent. Raises ConfigurationError where there is none.
    """
    where, own = urlsplit(address), urlsplit(os.environ.get(ENDPOINT) or "")
    if (where.scheme, where.netloc) == (own.scheme, own.netloc):
        for name in (KEY, TOKEN):
            if os.environ.get(name):
                return os.environ[name], name
    raise ConfigurationError(
        f"No key for {where.netloc}. Give one with --key, or set {KEY} (or {TOKEN}) and {ENDPOINT}."
    )
