"""The `openai` client for one server: how long it waits, and what it sends along."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openai

    from .azure import Azure

#: Seconds for a connection to be made, and for a file of 200 MB to be taken in: no word comes
#: before that. Where the network has gone silent, a pass ends by these.
CONNECT_SECONDS, UPLOAD_SECONDS = 10.0, 600.0


def make_client(
    base_url: str,
    key: str,
    is_openai: bool,
    azure: Azure | None,
    *,
    max_retries: int,
    timeout: float,
) -> openai.OpenAI:
    """A client; it reads nothing of the environment for a server that isn't OpenAI."""
    import openai

    options: dict[str, Any] = {
        "base_url": base_url,
        "max_retries": max_retries,
        "timeout": patience(timeout),
        "default_headers": None if is_openai else own_headers(key),
    }
    if azure is not None and azure.version is not None:
        credential = {"azure_ad_token": key} if azure.token else {"api_key": key}
        options |= {"api_version": azure.version, **credential}
        return openai.AzureOpenAI(**options)
    return openai.OpenAI(api_key=key, **options)


def patience(seconds: float) -> Any:
    """How long the client waits: for each piece that goes out or comes in, and to connect."""
    import httpx2

    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def own_headers(key: str) -> dict[str, Any]:
    """Headers for a server that isn't OpenAI: they keep out what the client takes from the
    environment, which is meant for OpenAI (organisation, project, OPENAI_CUSTOM_HEADERS).
    """
    import openai

    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    kept_out = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project", *names), openai.Omit())
    asked_for = {name: f"Bearer {key}" for name in names if name.lower() == "authorization"}
    return kept_out | asked_for
