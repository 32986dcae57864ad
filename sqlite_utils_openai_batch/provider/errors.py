"""What the errors of the provider's client mean: one of ours each, with a sentence."""

from __future__ import annotations

import re
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
    TooLarge,
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

#: What waits at a provider, in the words of several of them.
_WAITING = r"(?:en)?queued?|in[-_ ]progress|pending|concurrent|outstanding|active|running"
_BOUND = r"limit|maximum|max|quota|capacity|allowance"
#: That there is no room in the queue: OpenAI's `Enqueued token limit reached for …` and its twin
#: for requests, Azure's and other servers' sentences to the same end.
_NO_ROOM = re.compile(
    rf"\b(?:{_WAITING})\b[^.]{{0,60}}\b(?:{_BOUND})\b|\b(?:{_BOUND})\b[^.]{{0,60}}\b(?:{_WAITING})\b"
    r"|\btoo many\b[^.]{0,30}\b(?:batch(?:es)?|jobs)\b|\bqueue is full\b"
    r"|\b(?:at|over|out of|no|not enough|insufficient) capacity\b",
    re.IGNORECASE,
)
_NO_ROOM_CODE = re.compile(
    r"(?:token|request|batch|job|rate|queue|enqueued\w*)_?(?:limit|quota)_?(?:exceeded|reached)"
    r"|too_many_(?:requests|batches|jobs)|queue_full|(?:insufficient|no)_capacity|overloaded",
    re.IGNORECASE,
)
#: The same of a batch that failed: there nothing else is meant by these.
_LATER = re.compile(
    r"\brate limit|\btry again (?:later|once|when|after|in\b)|\bretry (?:later|after)\b",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(
    r"\b(?:files?|body|payload|entity|content|upload|batch|size)\b[^.]{0,60}"
    r"(?:\btoo (?:large|big|long)\b|\bexceed(?:s|ed)?\b|\blarger than\b|\bover the\b|\bmaximum\b)"
    r"|\bmaximum\b[^.]{0,30}\b(?:file|upload|body|batch) size\b",
    re.IGNORECASE,
)
_TOO_LARGE_CODE = re.compile(
    r"(?:file|payload|request|content|body|entity|batch)_?(?:is_)?too_?large"
    r"|(?:file|batch)_?size_?(?:limit)?_?exceeded|max_file_size\w*|too_many_tasks",
    re.IGNORECASE,
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
    if code in ATTENTION_CODES:
        return NeedsAttention(attention(error.status_code, code, said, host))
    if error.status_code < 500 and has_no_room(error.status_code, code or error.type, said):
        return QueueFull(said)
    if error.status_code == 403:
        return NeedsAttention(attention(error.status_code, code, said, host))
    if error.status_code == 413 or (error.status_code < 500 and is_too_large(code, said)):
        return TooLarge(f"{host} refused: {said}")
    if error.status_code == 404:
        return NotFound(f"{host} knows nothing of it: {said}")
    if error.status_code in (408, 409, 429) or error.status_code >= 500:
        refused = error.status_code == 429
        return Transient(f"{host} answered {error.status_code}: {said}", refused=refused)
    if "annot find file" in said:
        # Seen for files that exist, right after their upload.
        return Transient(said, refused=True)
    return ProviderError(f"{host} refused: {said}")


def has_no_room(status: int, code: str | None, said: str) -> bool:
    """Whether a refusal says that there is no room in the queue now, in whatever words.

    A 429 for too many calls is none of these: the next call may be taken.
    """
    if _NO_ROOM.search(said):
        return True
    of_calls = status == 429 and not str(code or "").startswith("token_limit")
    return not of_calls and bool(_NO_ROOM_CODE.fullmatch(code or ""))


def waits_for_room(code: str | None, said: str) -> bool:
    """The same of a batch that failed: whether it may run later as it is."""
    if code in ATTENTION_CODES or is_too_large(code, said):
        return False
    return has_no_room(400, code, said) or bool(_LATER.search(said))


def is_too_large(code: str | None, said: str) -> bool:
    """Whether a refusal says that a file is larger than the provider takes."""
    if _NO_ROOM.search(said):
        return False
    return bool(_TOO_LARGE_CODE.fullmatch(code or "") or _TOO_LARGE.search(said))


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
        # A word like `none`, sent where no key is wanted, is not a secret.
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
