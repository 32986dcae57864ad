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


class Help(NamedTuple):
    """What helps one kind of failure."""

    label: str
    """Two words for it, at the begin of a line."""
    sentence: str
    command: str | None = None
    """What follows the program's name; `{where}` is the database and the job."""
    again: str | None = None
    """What becomes of it when it is asked again as it was; None where that may help."""


class OutcomeKind(NamedTuple):
    """What an outcome means, how far its request came, and what helps where that is a failure."""

    meaning: str
    """To a reader, in a few words."""
    stage: Literal["waiting", "unsent", "unrun", "lost", "refused", "answered"]
    """How far the request came; the families below are read from it."""
    help: Help | None = None
    """None where it depends on more than the outcome: `results/advice` knows."""
    by_itself: bool = False
    """Whether `sync` asks again without being told."""


#: Commands that help, for a job or for one of its outcomes.
RETRY = "retry {where}"
ONLY = "retry {where} --status {status}"

#: Every outcome that a request can have, in the order in which they are listed.
OUTCOMES: dict[str, OutcomeKind] = {
    "ok": OutcomeKind("answered", "answered"),
    "pending": OutcomeKind("no answer yet", "waiting"),
    "refused": OutcomeKind(
        "the model declined to answer",
        "answered",
        Help(
            "Ask again",
            "Reword the prompt, or ask another model about these rows.",
            RETRY,
            again="refused once more, most of them",
        ),
    ),
    "content_filter": OutcomeKind(
        "stopped by the provider's filter",
        "answered",
        Help(
            "Reword",
            "Reword the prompt, or leave these rows out with --where.",
            again="held back by the filter once more",
        ),
    ),
    "truncated": OutcomeKind(
        "stopped at the token limit",
        "answered",
        Help(
            "Ask again",
            "Ask again with room for more tokens.",
            f"{ONLY} --set {{cap}}={{twice}}",
            again="cut at {most:,} tokens once more",
        ),
    ),
    "empty": OutcomeKind("the answer is empty", "answered", Help("Ask again", "Ask again.", RETRY)),
    "invalid_json": OutcomeKind(
        "the answer is not JSON",
        "answered",
        Help(
            "Repair",
            "Send the answers back with what was wrong with them, or ask another model.",
            f"{ONLY} --repair",
            again="no JSON once more, most of them",
        ),
    ),
    "schema_violation": OutcomeKind(
        "the answer doesn't fit the schema",
        "answered",
        Help(
            "Repair",
            "Send the answers back with what was wrong with them; or check them by a wider schema, "
            "at no cost, with apply and --schema.",
            f"{ONLY} --repair",
            again="against the schema once more, most of them",
        ),
    ),
    "http_error": OutcomeKind("the provider answered with an error", "refused"),
    "api_error": OutcomeKind("the provider could not run the request", "refused"),
    "rejected": OutcomeKind(
        "the provider rejected the line",
        "unsent",
        Help(
            "Change",
            "The line itself was refused: mend the row, or change what the message names, then "
            "ask again.",
            f"{ONLY} --set NAME=VALUE",
            again="refused once more, unless the row was mended",
        ),
    ),
    "expired": OutcomeKind(
        "not run within the window", "unrun", Help("Ask again", "Ask again.", RETRY), by_itself=True
    ),
    "cancelled": OutcomeKind(
        "cancelled before it ran", "unrun", Help("Ask again", "Ask again.", RETRY)
    ),
    "missing": OutcomeKind(
        "the batch ended without its line",
        "lost",
        Help("Ask again", "Ask again.", RETRY),
        by_itself=True,
    ),
    "unrenderable": OutcomeKind(
        "the row could not be made into a request",
        "unsent",
        Help(
            "Mend rows",
            "Mend the rows, then ask about them in a new job with --missing.",
            again="no request once more, unless the row was mended",
        ),
    ),
    "too_large": OutcomeKind(
        "the request is larger than the provider takes",
        "unsent",
        Help(
            "Shorten",
            "Shorten what the template takes from these rows.",
            again="too large once more, unless the row was shortened",
        ),
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


class NotWritten(NamedTuple):
    """Why an answer isn't beside its row."""

    why: str
    one: str
    """What is said of one row."""
    many: str


#: By `write_status`.
NOT_WRITTEN = {
    "stale": NotWritten(
        "the row changed after it was asked about",
        "changed after it was asked about: its answer is kept in the job, not written",
        "changed after they were asked about: their answers are kept in the job, not written",
    ),
    "kept_existing": NotWritten(
        "the cell held a value",
        "held a value by then, which was left as it is",
        "held values by then, which were left as they are",
    ),
    "row_gone": NotWritten(
        "the row is gone",
        "is gone: its answer is kept in the job",
        "are gone: their answers are kept in the job",
    ),
}
#: What `previous` tells of an answer that a rule of the table refused or emptied.
REFUSED = "a rule of the table (CHECK, trigger) kept it out"
