"""What the errors of the provider's client mean: one of ours each, with a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..base.errors import (
    Garbled,
    NeedsAttention,
    NotFound,
    ProviderError,
    QueueFull,
    SentOn,
    Transient,
    Unreachable,
    Unreadable,
)

if TYPE_CHECKING:
    import openai

# Codes that only a person can mend, whatever the HTTP status they come with.
ATTENTION_CODES = (
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "account_deactivated",
)


def host_of(url: str) -> str:
    """Host, and port where one is given, of a URL."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    # Never the netloc as it is: it may hold a password.
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or url


def no_batch_api(base_url: str) -> str:
    """The sentence for a server that can chat, perhaps, but has no batches."""
    return (
        f"The server at {base_url} answers, but has no Batch API. "
        f"If it has chat completions, let the local batch server ask it: --upstream {base_url}"
    )


def unreachable(base_url: str, reason: BaseException) -> str:
    """The sentence for an address where nobody answers."""
    return (
        f"No server can be reached at {base_url} ({reason}). Look at the address and the network."
    )


@contextmanager
def explained(base_url: str) -> Iterator[None]:
    """Turn the client's errors into ours, each with a sentence for the person who waits."""
    import openai

    host = host_of(base_url)
    try:
        yield
    except openai.APITimeoutError as error:
        raise Unreachable(f"{host} did not answer in time. Run it again later.") from error
    except openai.APIConnectionError as error:
        raise Unreachable(unreachable(base_url, error.__cause__ or error)) from error
    except openai.APIStatusError as error:
        raise judged(error, host) from error
    except (AttributeError, ValueError) as error:
        # The client checks no reply: a proxy's page, or an object without an id, trips its reader.
        raise Garbled(f"{host} answered with something that is no reply of its API.") from error


def has_no_such_call(error: ProviderError) -> bool:
    """Whether a server answered that it has no such address, or not by this method."""
    return getattr(error.__cause__, "status_code", None) in (404, 405, 501)


#: Where an answer keeps the other origin that it would have had the request go to.
SENT_ON = "sent_on"


def judged(error: openai.APIStatusError, host: str) -> ProviderError:
    """Which of our errors an HTTP answer of the provider is."""
    if to := error.response.extensions.get(SENT_ON):
        return SentOn(
            f"{host} answers that the request is to go to {to} ({error.status_code}). It was not "
            "sent there: rows and keys go to no other host than the one that was named. "
            "If that one is meant, name it with --base-url."
        )
    code = str(error.code or "")
    said = provider_words(error)
    if error.status_code == 401 or code == "invalid_api_key":
        return Unreadable(attention(error.status_code, code, said, host))
    if code in ATTENTION_CODES or error.status_code == 403:
        return NeedsAttention(attention(error.status_code, code, said, host))
    if "token_limit_exceeded" in (code, error.type) or "nqueued token limit" in said:
        return QueueFull(said)
    if error.status_code == 404:
        return NotFound(f"{host} knows nothing of it: {said}")
    if error.status_code in (408, 409, 429) or error.status_code >= 500:
        refused = error.status_code == 429
        return Transient(f"{host} answered {error.status_code}: {said}", refused=refused)
    if "annot find file" in said:
        # Seen for files that exist, right after their upload.
        return Transient(said, refused=True)
    return ProviderError(f"{host} refused: {said}")


def provider_words(error: openai.APIStatusError) -> str:
    """What the provider said, without the client's wrapping, and without the key."""
    body = error.body
    if isinstance(body, dict) and body.get("message"):
        return without_key(str(body["message"]), error.request.headers)
    return f"HTTP {error.status_code}"


def without_key(said: str, headers: Mapping[str, str]) -> str:
    """A provider's words without the key of the request, which some servers repeat."""
    sent = (headers.get("authorization", "").removeprefix("Bearer "), headers.get("api-key", ""))
    for key in sent:
        # A word like `none`, sent where no key is wanted, is no secret.
        if len(key) >= 8:
            said = said.replace(key, "(the key)")
    return said


def attention(status: int, code: str, said: str, host: str) -> str:
    """The sentence for an error that only a person can mend."""
    if status == 401 or code == "invalid_api_key":
        return f"{host} does not accept the key: {said} Give another with --key or OPENAI_API_KEY."
    if code in ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"):
        return f"{host} is out of credit: {said}"
    return f"{host} does not permit it: {said}"
