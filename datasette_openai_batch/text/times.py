"""Moments in words, on the pages.

Pages say UTC, complete as they are; `times.js` says the same in the reader's own time zone.
"""

from __future__ import annotations

from datetime import datetime, timezone

from markupsafe import Markup

from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.store import Job

# A file that a running job left alone for so long is a copy, or nobody syncs it.
LEFT_ALONE_SECONDS = 30 * 60

_TIME = Markup('<time datetime="{}"{}>{}</time>')


def plain(text: str, *, now: datetime | None = None) -> str:
    """`20 Nov, 15:41`, with the year where it isn't this one, in UTC."""
    at = clock.parse(clock.kept(text) or clock.UNKNOWN)
    today = now or datetime.now(timezone.utc)
    year = "" if at.year == today.year else f" {at.year}"
    return f"{at.day} {at:%b}{year}, {at:%H:%M}"


def moment(text: str | None, *, zone: bool = False, now: datetime | None = None) -> Markup:
    """A moment as HTML; empty for no time, and for none of ours.

    `zone` says UTC beside it, where no heading does.
    """
    if not clock.told(clock.kept(text)):
        return Markup("")
    return _TIME.format(text, "", plain(str(text), now=now) + (" UTC" if zone else ""))


def day(text: str, *, now: datetime | None = None) -> str:
    """`20 Nov`, with the year where it isn't this one."""
    if clock.told(clock.kept(text)) is None:
        return "on an unknown day"
    return plain(text, now=now).split(",")[0]


def ago(text: str, *, now: datetime | None = None) -> Markup:
    """How long ago a moment was, as HTML."""
    if clock.told(clock.kept(text)) is None:
        return Markup("at an unknown time")
    return _TIME.format(text, Markup(" data-ago"), since(text, now=now))


def since(text: str, *, now: datetime | None = None) -> str:
    """`2 min ago`, `3 h ago`, `5 days ago`."""
    seconds = ((now or datetime.now(timezone.utc)) - clock.parse(text)).total_seconds()
    if seconds < 90:
        return "just now"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min ago"
    if seconds < 129_600:
        return f"{round(seconds / 3_600)} h ago"
    return f"{round(seconds / 86_400)} days ago"


def left_alone(job: Job, *, immutable: bool, now: datetime | None = None) -> Markup | None:
    """That nobody brings an unfinished job's file up to date, where that is so."""
    if job.status not in ("running", "cancelling"):
        return None
    seen = job.checked_at or job.submitted_at or job.created_at
    today = now or datetime.now(timezone.utc)
    if immutable:
        said = "This file is opened as a copy that doesn't change."
    elif (today - clock.parse(seen)).total_seconds() > LEFT_ALONE_SECONDS:
        said = "Nobody brings this file up to date."
    else:
        return None
    return Markup("{} Last checked {}.").format(said, ago(seen, now=now))
