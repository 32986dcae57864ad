"""What statuses, figures, moments and money are called on the pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from urllib.parse import urlsplit

from sqlite_utils_openai_batch import clock
from sqlite_utils_openai_batch.store import Job

NANO = 1_000_000_000
# Statuses of a part whose file is, or may be, with the provider.
WITH_PROVIDER = {
    "uploading",
    "uploaded",
    "creating",
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A file that a running job left alone for so long is a copy, or nobody syncs it.
LEFT_ALONE_SECONDS = 30 * 60

# In the order in which they are listed; each with what it means to a reader.
OUTCOMES = {
    "ok": "answered",
    "pending": "no answer yet",
    "refused": "the model declined to answer",
    "content_filter": "stopped by the provider's filter",
    "truncated": "stopped at the token limit",
    "empty": "the answer is empty",
    "invalid_json": "the answer is not JSON",
    "schema_violation": "the answer doesn't fit the schema",
    "http_error": "the provider answered with an error",
    "api_error": "the provider could not run the request",
    "rejected": "the provider rejected the line",
    "expired": "not run within the window",
    "cancelled": "cancelled before it ran",
    "missing": "the batch ended without its line",
    "unrenderable": "the row could not be made into a request",
    "too_large": "the request is larger than the provider takes",
}


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `39,012 rows`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def percent(part: int, whole: int) -> str:
    """A share: `99.7 %`; nothing of nothing is 0."""
    return f"{100 * part / whole if whole else 0:.1f} %"


def cut(text: str, width: int) -> str:
    """One line of at most `width` characters; `…` stands for what was left out."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def duration(seconds: float) -> str:
    """A span of time: `47 s`, `12 min`, `1 h 39 min`, `3 days`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{round(minutes / 1440)} days"


def size(count: int) -> str:
    """A number of bytes: `812 B`, `41.2 MB`."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 999.95:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:.1f} GB"


def money(nanousd: int | None) -> str:
    """`$1.07`; under a cent two significant digits; `unknown` where nobody knows."""
    if nanousd is None:
        return "unknown"
    usd = nanousd / NANO
    if nanousd == 0 or usd >= 0.01:
        return f"${usd:,.2f}"
    return f"${usd:.2g}" if usd >= 0.0001 else "less than $0.0001"


def moment(text: str | None, *, now: datetime | None = None) -> str:
    """`20 Nov, 15:41`, with the year where it isn't this one; empty for no time. All in UTC."""
    if not text:
        return ""
    at = clock.parse(text)
    today = now or datetime.now(timezone.utc)
    year = "" if at.year == today.year else f" {at.year}"
    return f"{at.day} {at:%b}{year}, {at:%H:%M}"


def day(text: str | None, *, now: datetime | None = None) -> str:
    """`20 Nov`, with the year where it isn't this one."""
    return moment(text, now=now).split(",")[0]


def ago(text: str, *, now: datetime | None = None) -> str:
    """`2 min ago`, `3 h ago`, `5 days ago`."""
    seconds = ((now or datetime.now(timezone.utc)) - clock.parse(text)).total_seconds()
    if seconds < 90:
        return "just now"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min ago"
    if seconds < 129_600:
        return f"{round(seconds / 3_600)} h ago"
    return f"{round(seconds / 86_400)} days ago"


def host(job: Job) -> str:
    """The host that a job's requests go to; empty where that is this machine by `--local`."""
    return (urlsplit(job.base_url).hostname or job.base_url) if job.base_url else ""


def provider(job: Job) -> str:
    """Who answers: `OpenAI`, `Azure`, `this machine`, or a host."""
    where = host(job)
    if job.provider == "local":
        return where or "this machine"
    if where in ("", "api.openai.com"):
        return {"azure": "Azure"}.get(job.provider, "OpenAI")
    return "this machine" if where in LOOPBACK else where


def is_own_server(job: Job) -> bool:
    """Whether the answers come from this machine, and so cost nothing."""
    return job.provider == "local" or host(job) in LOOPBACK


def cost(job: Job) -> str:
    """What a job has cost so far, as far as that is known."""
    if job.cost_nanousd is not None:
        return money(job.cost_nanousd)
    return "none (own server)" if is_own_server(job) else "unknown"


def short_cost(job: Job) -> str:
    """The cost for a narrow column: empty where it is unknown."""
    if job.cost_nanousd is not None:
        return money(job.cost_nanousd)
    return "none" if is_own_server(job) else ""


def caution(models: Collection[str]) -> str | None:
    """What to know of answers that no real model gave; the local server marks them so."""
    if any(model.endswith("(demo model)") for model in models):
        return "Answered by a very small demonstration model: it shows the way, not the quality."
    if any(model.endswith("-simulated") for model in models):
        return "These answers are simulated: made up, for tests."
    return None


def failures(outcomes: Mapping[str, int]) -> int:
    """Requests that ended without an answer."""
    return sum(n for status, n in outcomes.items() if status not in ("ok", "pending"))


def status(job: Job, parts: Collection[str], outcomes: Mapping[str, int]) -> str:
    """A job's status in words, for a list: `waiting for OpenAI`, `done, 131 failed`.

    `parts` are the statuses that its parts have.
    """
    failed = failures(outcomes)
    if job.requests is None:
        return "being prepared"
    if job.status == "completed":
        return f"done, {failed:,} failed" if failed else "done"
    if job.status == "prepared":
        return "prepared, not sent"
    if job.status == "running":
        return _waiting(job, parts)
    if job.status in ("paused", "failed") and job.message:
        return f"{job.status}: {cut(job.message.split('. ')[0].rstrip('.'), 60)}"
    return job.status


def _waiting(job: Job, parts: Collection[str]) -> str:
    if WITH_PROVIDER.intersection(parts):
        return "running on this machine" if is_own_server(job) else f"waiting for {provider(job)}"
    if "prepared" in parts:
        return "waiting to send"
    return "collecting answers"


def left_alone(job: Job, *, immutable: bool, now: datetime | None = None) -> str | None:
    """That nobody brings an unfinished job's file up to date, where that is so."""
    if job.status not in ("running", "cancelling"):
        return None
    seen = job.checked_at or job.submitted_at or job.created_at
    today = now or datetime.now(timezone.utc)
    if immutable:
        return f"This file is opened as a copy that doesn't change. Last checked {ago(seen)}."
    if (today - clock.parse(seen)).total_seconds() > LEFT_ALONE_SECONDS:
        return f"Nobody brings this file up to date. Last checked {ago(seen)}."
    return None
