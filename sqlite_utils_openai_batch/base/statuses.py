"""The states of a part, and the outcomes of a request: a table each.

A new state or outcome is one line here; every list of them is read from these tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from .errors import UsageError
from .text import meant

#: The provider is done with the batch (OpenAI's batch guide).
ENDED = ("completed", "failed", "expired", "cancelled")
#: The provider has the batch.
AT_PROVIDER = ("validating", "in_progress", "finalizing", "cancelling", *ENDED)
#: A send was begun, and what came of it is not known yet.
CUT = ("uploading", "uploaded", "creating")
#: Tokens of these wait in the provider's queue, or may do so.
ENQUEUED = (*CUT, "validating", "in_progress", "finalizing", "cancelling")


class State(NamedTuple):
    """What a part in some state needs next, and what it may become by that."""

    needs: str
    becomes: tuple[str, ...]


STATES: dict[str, State] = {
    # Nothing left to send: completed without a batch. Never to be sent: cancelled.
    "prepared": State("send", ("uploading", "completed", "validating", "cancelled")),
    "uploading": State("reconcile", ("uploaded", "prepared", "validating")),
    "uploaded": State("reconcile", ("creating", "prepared", "validating")),
    "creating": State("reconcile", ("uploaded", "prepared", "validating")),
    "validating": State("poll", AT_PROVIDER),
    "in_progress": State("poll", AT_PROVIDER),
    "finalizing": State("poll", AT_PROVIDER),
    "cancelling": State("poll", AT_PROVIDER),
    # A batch that failed ran nothing: its part may go out again, as after a full queue.
    "failed": State("collect", ("prepared",)),
    "completed": State("collect", ()),
    "expired": State("collect", ()),
    "cancelled": State("collect", ()),
}


def may_become(now: str, then: str) -> bool:
    """Whether a part may go from one state to the other."""
    return now == then or then in STATES[now].becomes


class OutcomeKind(NamedTuple):
    """What an outcome means, how far its request came, and what helps where that is a failure."""

    meaning: str
    """To a reader, in a few words."""
    stage: Literal["waiting", "unsent", "unrun", "lost", "refused", "answered"]
    """How far the request came; the families below are read from it."""
    help: str = ""
    """What somebody can do about it, as sentences."""
    retry: str | None = None
    """The options with which `retry` can help; None where asking again alone is no help."""
    by_itself: bool = False
    """Whether `sync` asks again without being told."""


#: Every outcome that a request can have, in the order in which they are listed.
OUTCOMES: dict[str, OutcomeKind] = {
    "ok": OutcomeKind("answered", "answered"),
    "pending": OutcomeKind("no answer yet", "waiting"),
    "refused": OutcomeKind(
        "the model declined to answer",
        "answered",
        "Reword the prompt, or ask another model about these rows.",
    ),
    "content_filter": OutcomeKind(
        "stopped by the provider's filter",
        "answered",
        "Reword the prompt, or leave these rows out with --where.",
    ),
    "truncated": OutcomeKind(
        "stopped at the token limit",
        "answered",
        "The model's own limit was reached: ask for shorter answers.",
    ),
    "empty": OutcomeKind("the answer is empty", "answered", "Ask again.", ""),
    "invalid_json": OutcomeKind(
        "the answer is not JSON",
        "answered",
        "Ask again, with more tokens if answers were cut.",
        "",
    ),
    "schema_violation": OutcomeKind(
        "the answer doesn't fit the schema", "answered", "Ask again, or loosen the schema.", ""
    ),
    "http_error": OutcomeKind(
        "the provider answered with an error",
        "refused",
        "Read the message: it is the provider's. Then ask again.",
        "",
    ),
    "api_error": OutcomeKind("the provider could not run the request", "refused", "Ask again.", ""),
    "rejected": OutcomeKind(
        "the provider rejected the line",
        "unsent",
        "The line itself was refused: mend the row or the template, then ask again.",
        "",
    ),
    "expired": OutcomeKind("not run within the window", "unrun", "Ask again.", "", by_itself=True),
    "cancelled": OutcomeKind("cancelled before it ran", "unrun", "Ask again.", ""),
    "missing": OutcomeKind(
        "the batch ended without its line", "lost", "Ask again.", "", by_itself=True
    ),
    "unrenderable": OutcomeKind(
        "the row could not be made into a request",
        "unsent",
        "Mend the rows, then ask about them in a new job with --missing.",
    ),
    "too_large": OutcomeKind(
        "the request is larger than the provider takes",
        "unsent",
        "Shorten what the template takes from these rows.",
    ),
}


def in_stages(*stages: str) -> tuple[str, ...]:
    """The outcomes of requests that came as far as one of these stages."""
    return tuple(name for name, kind in OUTCOMES.items() if kind.stage in stages)


#: What ended without an answer: the `131 failed` of every screen.
FAILED = tuple(name for name in OUTCOMES if name not in ("ok", "pending"))
#: No file holds the request, or holds it no more.
UNSENT = in_stages("unsent")
#: The request went out, and no model saw it.
UNRUN = in_stages("unrun")
#: The model wrote something, and its tokens count.
ANSWERED = in_stages("answered")
#: No tokens are told, since none were used.
UNPAID = in_stages("unrun", "refused")


def outcomes_of(wanted: Iterable[str]) -> tuple[str, ...]:
    """The outcomes that somebody names; `failed` stands for all of FAILED. Raises UsageError."""
    found: dict[str, None] = {}
    for one in wanted:
        if one != "failed" and one not in OUTCOMES:
            raise UsageError(
                f"No outcome is called '{one}'. {meant(one, ('failed', *OUTCOMES))}There are: "
                f"{', '.join(OUTCOMES)}"
            )
        found |= dict.fromkeys(FAILED if one == "failed" else (one,))
    return tuple(found)
