"""Where requests go: what the options say of it, and whether they can go there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .click_ext import talk

if TYPE_CHECKING:
    from ..provider.places import Places


@dataclass(frozen=True)
class Place:
    """Where somebody wants a job to run."""

    provider: str
    base_url: str | None
    account: str
    host: str
    key_from: str
    default_model: str
    settings: dict[str, Any]
    lacks: str = ""
    """What is missing before anything can be sent there: a sentence."""


def read_place(options: dict[str, Any]) -> Place:
    """Take the options under 'Where it runs' out of `options`. Raises OpenAIBatchError."""
    from ..base.errors import UsageError
    from ..provider.accounts import LOCAL, destination, fingerprint, refuse_password, stored_key

    base_url, upstream = options.pop("base_url"), options.pop("upstream")
    provider = options.pop("provider")
    local, concurrency = options.pop("local"), options.pop("concurrency")
    key = options.get("key")
    if base_url and (local or upstream):
        raise UsageError(
            "--base-url is a server with batches, --local and --upstream make one: "
            "give only one of them."
        )
    if local or upstream:
        if provider != "openai":
            raise UsageError(f"--provider {provider} and a server on this machine: give only one.")
        if upstream:
            refuse_password(upstream, "--upstream")
        if upstream and not options.get("model"):
            raise UsageError(f"Which model of {upstream} is to answer? Name it with -m.")
        settings = {"concurrency": concurrency} if concurrency else {}
        host = f"{upstream}, through this machine" if upstream else "this machine"
        model = "" if upstream else "SmolLM2-135M-Instruct"
        account = fingerprint(upstream, stored_key(key) or key) if upstream and key else "local"
        return Place(LOCAL, upstream, account, host, "no key", model, settings)
    if concurrency:
        raise UsageError("--concurrency is for --upstream only.")
    check_provider(provider, base_url)
    where = destination(base_url, key, provider)
    return Place(provider, where.base_url, where.account, where.host, where.key_from, "", {})


def check_provider(provider: str, base_url: str | None) -> None:
    """Raise UsageError where the address is another provider's than the one that is named."""
    from ..base.errors import UsageError
    from ..provider.accounts import refuse_password
    from ..provider.azure import is_azure
    from ..provider.errors import host_of

    given, option = base_url or os.environ.get("OPENAI_BASE_URL") or "", "--base-url"
    if not base_url:
        option = "OPENAI_BASE_URL"
    if not given:
        return
    refuse_password(given, option)
    if provider == "openai" and is_azure(given):
        raise UsageError(
            f"{option} {given} is an address of Azure's, whose keys and limits differ from "
            "OpenAI's. Type the same with --provider azure."
        )
    if provider == "azure" and base_url and host_of(base_url) == "api.openai.com":
        raise UsageError(
            f"--base-url {base_url} is OpenAI's address, and --provider azure isn't OpenAI. Leave "
            "one of them out."
        )


def fetch_weights() -> None:
    """Have the small model's weights, with progress where they must be fetched first."""
    from ..local import ensure_weights, weights_path

    if not weights_path().exists():
        talk("Fetching the small model's weights (98 MB, kept for next time) …")
    ensure_weights(Progress().told)


class Progress:
    """Says how much of a download is here, at each tenth."""

    def __init__(self) -> None:
        self.said = 0

    def told(self, done: int, total: int | None) -> None:
        """Hear of more bytes."""
        if not total:
            return
        tenth = min(done * 10 // total, 10)
        if tenth > self.said:
            self.said = tenth
            talk(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB")


def look_at_place(place: Place, places: Places, uid: str) -> tuple[bool, list[str]]:
    """`check_place` for what sends nothing: where nobody answers, that is to be warned of.

    Returns whether somebody does, and what to warn of.
    """
    from ..base.errors import Transient, Unreachable
    from ..provider.accounts import LOCAL

    if place.provider == LOCAL and place.base_url is None:
        # Its weights are fetched when there is something to send.
        return False, []
    try:
        return True, check_place(place, places, uid)
    except (Unreachable, Transient) as error:
        return False, [f"{error} Nothing was sent, so it may be right by the time you send."]


def check_place(place: Place, places: Places, uid: str) -> list[str]:
    """See that somebody answers there, before anything is written. Raises OpenAIBatchError.

    Returns what to warn of.
    """
    from ..local import upstream_models
    from ..provider.accounts import LOCAL, destination

    if place.provider == LOCAL:
        if place.base_url is None:
            fetch_weights()
        else:
            upstream_models(place.base_url, places.upstream_key())
        places.local(uid, place.base_url, place.settings).check()
        return []
    provider = places.remote(destination(place.base_url, places.key, place.provider))
    provider.check()
    if provider.lists:
        return []
    return [
        f"{place.host} has no list of batches. Where the reply to a batch is lost, sending stops "
        "and asks you whether to risk that batch twice; and nobody notices if a copy of this "
        "database sends the job too."
    ]
