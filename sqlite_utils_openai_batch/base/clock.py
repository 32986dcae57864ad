"""The one place that tells the time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

#: What stands for a time that somebody else wrote, and not as `timestamp` does: it lies long ago.
UNKNOWN = "1970-01-01T00:00:00.000Z"


def timestamp(at: datetime) -> str:
    """`at` as UTC `YYYY-MM-DDTHH:MM:SS.mmmZ`: 24 characters, so that times compare as text."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def now(offset_seconds: float = 0) -> str:
    """The present moment, or one that many seconds from it, as `timestamp` writes it."""
    return timestamp(datetime.now(timezone.utc) + timedelta(seconds=offset_seconds))


def from_unix(seconds: float | None) -> str | None:
    """A provider's Unix time in seconds as `timestamp` writes it; None stays None."""
    if not seconds:
        return None
    return timestamp(datetime.fromtimestamp(seconds, timezone.utc))


def later(text: str, seconds: float) -> str:
    """The moment that many seconds after a time that `timestamp` wrote."""
    return timestamp(parse(text) + timedelta(seconds=seconds))


def hour(text: str) -> str:
    """A time that `timestamp` wrote as a clock on the wall shows it: `10:24`."""
    return f"{parse(text).astimezone():%H:%M}"


def unix_of(value: Any) -> float | None:
    """Seconds since 1970 of a time as servers write it; None where it is none.

    OpenAI writes whole seconds; others a fraction, milliseconds, digits in a text, or ISO 8601.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _unix_of_iso(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e14:
        return None
    return value / 1000 if value >= 1e11 else float(value)


def _unix_of_iso(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def parse(text: str) -> datetime:
    """The moment that `timestamp` wrote."""
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)


def kept(value: object) -> str | None:
    """A time as a column holds it: UNKNOWN for what `timestamp` never wrote, None stays None."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) == len(UNKNOWN) and value[10] + value[-1] == "TZ":
        try:
            parse(value)
        except ValueError:
            return UNKNOWN
        return value
    return UNKNOWN


def told(text: str | None) -> str | None:
    """A time for people and programs; None where it isn't known."""
    return None if text == UNKNOWN else text


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from `start` to `end`, or None where one of them is unknown."""
    start, end = told(kept(start)), told(kept(end))
    if not start or not end:
        return None
    return (parse(end) - parse(start)).total_seconds()
