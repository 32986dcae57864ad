"""How figures are written for people, the same on every screen and page."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `39,012 rows`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def size(count: int) -> str:
    """A number of bytes: `812 B`, `41.2 MB`."""
    if count < 1_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("KB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:.1f} TB"


def duration(seconds: float) -> str:
    """A span of time: `4.7 s`, `12 min`, `1 h 39 min`, `3 days`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(minutes / 1440)} days"


def percent(part: int, whole: int) -> str:
    """A share: `99.7 %`; nothing of nothing is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def cut(text: str, width: int) -> str:
    """One line of at most `width` characters; `…` stands for what was left out."""
    # A cell may hold megabytes; white space rarely makes more than a fraction of its beginning.
    line = " ".join(text[: 50 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"
