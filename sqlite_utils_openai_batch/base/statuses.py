"""The states of a part as one table: what each needs next, and what it may become by that."""

from __future__ import annotations

from typing import NamedTuple

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
