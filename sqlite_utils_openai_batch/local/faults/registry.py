"""The ugly parts, on demand: each fault by name, what it does, and which are on.

A fault is written `NAME`, `NAME:ARG` or `NAME:ARG*TIMES`. TIMES is how often it strikes; for a
fault that takes no other argument, ARG is that number.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ...base.errors import UsageError

ALWAYS = -1
"""As `times`: until it is switched off."""

Where = Literal["request", "batch", "webhook"]


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong.

    `where` says what it strikes: a request as it comes in, a batch (bound to it when it is
    created, kept through a restart), or a webhook. `argument` names ARG, empty for none;
    `default` is its value, and its type is the type that ARG must have.
    """

    name: str
    where: Where
    argument: str
    default: Any
    times: int
    doc: str

    @property
    def written(self) -> str:
        """How the fault is written, with the name of its argument."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("lost-upload-reply", "request", "", None, 1,
              "The upload is kept, but the connection closes before the reply."),
        Fault("lost-create-reply", "request", "", None, 1,
              "The batch is created and runs, but the connection closes before the reply."),
        Fault("server-error", "request", "STATUS", 500, 1,
              "A request gets 500 (or STATUS) and nothing is done; then all is well again."),
        Fault("upload-error", "request", "STATUS", 503, 1,
              "An upload gets 503 (or STATUS) and nothing is kept."),
        Fault("create-error", "request", "STATUS", 502, 1,
              "A batch's creation gets 502 (or STATUS) and nothing is created."),
        Fault("rate-limit", "request", "SECONDS", 1, 1,
              "A request gets 429 with `Retry-After: SECONDS`."),
        Fault("file-not-found", "request", "", None, 1,
              "A batch's creation gets 400 `Cannot find file`, though the file exists."),
        Fault("token-limit-create", "request", "LIMIT", 2_000_000, 1,
              "A batch's creation gets 400 `token_limit_exceeded`, as in some Azure regions."),
        Fault("reset-upload", "request", "", None, 1,
              "The connection is reset in the middle of an upload."),
        Fault("reset-download", "request", "", None, 1,
              "A download ends after half of its bytes."),
        Fault("slow", "request", "SECONDS", 1.0, ALWAYS,
              "Each reply comes SECONDS later."),
        Fault("slow-download", "request", "SECONDS", 0.1, ALWAYS,
              "Downloads pause for SECONDS after every 64 KB."),
        Fault("slow-list", "request", "SECONDS", 1.0, ALWAYS,
              "Lists of files and batches come SECONDS later."),
        Fault("stale-list", "request", "SECONDS", 60.0, ALWAYS,
              "Lists leave out what was created in the last SECONDS."),
        Fault("no-list", "request", "", None, ALWAYS,
              "There are no lists of files and batches: 404."),
        Fault("no-has-more", "request", "", None, ALWAYS,
              "Lists lack `has_more` and ignore `after`: a client that pages on never ends."),
        Fault("pending-file", "request", "READS", 2, ALWAYS,
              "A new file is `uploaded`, not `processed`, in the first READS looks at it."),
        Fault("token-limit", "batch", "LIMIT", 2_000_000, 1,
              "The batch fails in validation with `token_limit_exceeded`."),
        Fault("late-ids", "batch", "SECONDS", 1.0, ALWAYS,
              "The ids of output and error file appear SECONDS after the batch ended."),
        Fault("null-ids", "batch", "", None, ALWAYS,
              "The ids of output and error file stay null, whatever was answered."),
        Fault("absent-ids", "batch", "", None, ALWAYS,
              "The id of a file that doesn't exist is left out of the batch."),
        Fault("empty-ids", "batch", "", None, ALWAYS,
              "The id of a file that doesn't exist is an empty string."),
        Fault("empty-error-file", "batch", "", None, ALWAYS,
              "Without errors there still is an error file, of 0 bytes, as on Azure."),
        Fault("error-only", "batch", "STATUS", 400, ALWAYS,
              "Every request fails with STATUS: the batch completes with an error file only."),
        Fault("fail-lines", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) request fails with 400."),
        Fault("throttle-lines", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) request fails with 429."),
        Fault("crash-lines", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) request fails with 500."),
        Fault("error-lines", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) request has a top-level error and no response."),
        Fault("zero-lines", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) request has `status_code` 0 and an empty body."),
        Fault("refuse", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is a refusal."),
        Fault("cut", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is cut off at its token limit."),
        Fault("filter", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is held back by the content filter."),
        Fault("empty-answers", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is an empty text."),
        Fault("not-json", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is not JSON, whatever the schema."),
        Fault("wrong-shape", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer is JSON that breaks the schema."),
        Fault("wrong-until-told", "batch", "EVERY", 2, ALWAYS,
              "Every second (or EVERY-th) answer breaks the schema until it is told so."),
        Fault("reasoning-first", "batch", "", None, ALWAYS,
              "Responses have a reasoning item before the message."),
        Fault("large-answers", "batch", "BYTES", 100_000, ALWAYS,
              "Answers are filled up with BYTES of spaces after their text."),
        Fault("u2028", "batch", "", None, ALWAYS,
              "Answers hold U+2028, U+2029 and U+0085, not escaped: lines end at b\"\\n\" only."),
        Fault("expire", "batch", "LINES", 0, ALWAYS,
              "The batch expires after LINES answers (half of them): partial results."),
        Fault("cancel-race", "batch", "", None, ALWAYS,
              "A cancelled batch completes all the same."),
        Fault("cancelled-lines", "batch", "", None, ALWAYS,
              "A cancelled batch names its unrun requests in the error file (batch_cancelled)."),
        Fault("stuck", "batch", "STATUS", "in_progress", ALWAYS,
              "Batches stay in STATUS (also validating, finalizing, cancelling) while it is on."),
        Fault("unknown-status", "batch", "WORD", "queued", ALWAYS,
              "Until it ends, a batch shows a status that isn't in the documentation."),
        Fault("missing-lines", "batch", "LINES", 1, ALWAYS,
              "So many output lines never come; the counts don't tell."),
        Fault("duplicate-lines", "batch", "LINES", 1, ALWAYS,
              "So many output lines come twice."),
        Fault("foreign-lines", "batch", "LINES", 1, ALWAYS,
              "So many output lines more, with a custom_id that nobody sent."),
        Fault("nameless-lines", "batch", "LINES", 1, ALWAYS,
              "So many output lines have null for a custom_id."),
        Fault("garbage-lines", "batch", "LINES", 1, ALWAYS,
              "So many output lines more that are no JSON."),
        Fault("no-final-newline", "batch", "", None, ALWAYS,
              "The last line of each file has no line end."),
        Fault("crlf", "batch", "", None, ALWAYS,
              "Lines end with CR LF."),
        Fault("blank-lines", "batch", "", None, ALWAYS,
              "There is a blank line after each line."),
        Fault("bom", "batch", "", None, ALWAYS,
              "Each file begins with a byte order mark."),
        Fault("body-as-string", "batch", "", None, ALWAYS,
              "`response.body` is a string that holds JSON."),
        Fault("no-error-key", "batch", "", None, ALWAYS,
              "Lines without an error have no key `error`."),
        Fault("error-type", "batch", "", None, ALWAYS,
              "Top-level errors have `type` where `code` should be."),
        Fault("webhook-twice", "webhook", "", None, ALWAYS,
              "Each webhook comes twice, with the same id."),
        Fault("webhook-late", "webhook", "SECONDS", 1.0, ALWAYS,
              "Webhooks come SECONDS after the batch ended."),
        Fault("webhook-forged", "webhook", "", None, ALWAYS,
              "Webhooks are signed with another secret."),
        Fault("webhook-old", "webhook", "", None, ALWAYS,
              "Webhooks are an hour old, and signed so."),
    )
}  # fmt: skip
"""Every fault there is; `docs/local-server.md` prints this table."""


@dataclass
class Active:
    """A fault that is on: its argument and how often it still strikes (ALWAYS: no end)."""

    fault: Fault
    argument: Any
    left: int


def parse(spec: str) -> Active:
    """Read `NAME[:ARG][*TIMES]`; UsageError names what is wrong and what there is."""
    whole, star, times = spec.partition("*")
    name, _, given = whole.partition(":")
    fault = FAULTS.get(name)
    if fault is None:
        raise UsageError(f"There is no fault {name!r}. There are: {', '.join(FAULTS)}.")
    if not fault.argument:
        given, times, star = "", times or given, star or given
    left = _number(spec, int, times) if star else fault.times
    argument = _number(spec, type(fault.default), given) if given else fault.default
    return Active(fault, argument, left)


def _number(spec: str, kind: type[Any], text: str) -> Any:
    try:
        value = kind(text)
    except ValueError as error:
        raise UsageError(f"In the fault {spec!r}, {text!r} is not a number.") from error
    if not isinstance(value, str) and value <= 0:
        raise UsageError(f"In the fault {spec!r}, {text} must be more than 0.")
    return value


class Faults:
    """The faults that are on; may be used from any thread."""

    def __init__(self, specs: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, Active] = {}
        for spec in specs:
            self.add(spec)

    def add(self, spec: str) -> None:
        """Switch a fault on; it takes the place of the same one with another argument."""
        active = parse(spec)
        with self._lock:
            self._active[active.fault.name] = active

    def remove(self, name: str) -> None:
        """Switch a fault off; UsageError for a name that doesn't exist."""
        parse(name)
        with self._lock:
            self._active.pop(name, None)

    def clear(self) -> None:
        """Switch all faults off."""
        with self._lock:
            self._active.clear()

    def active(self) -> list[dict[str, Any]]:
        """Return what is on: name, argument and how often it still strikes (null: no end)."""
        with self._lock:
            return [
                {
                    "fault": a.fault.name,
                    "argument": a.argument,
                    "left": None if a.left == ALWAYS else a.left,
                }
                for a in self._active.values()
            ]

    def is_on(self, name: str) -> bool:
        """Tell whether a fault is on, without using it up."""
        with self._lock:
            return name in self._active

    def strike(self, name: str) -> Active | None:
        """Return a fault if it is on, and count it as having struck."""
        with self._lock:
            active = self._active.get(name)
            if active is not None and active.left != ALWAYS:
                active.left -= 1
                if not active.left:
                    del self._active[name]
            return active

    def bind(self) -> dict[str, Any]:
        """Return the faults of a new batch: name → argument. Each counts as having struck."""
        with self._lock:
            names = [n for n, a in self._active.items() if a.fault.where == "batch"]
        struck = ((name, self.strike(name)) for name in names)
        return {name: active.argument for name, active in struck if active}
