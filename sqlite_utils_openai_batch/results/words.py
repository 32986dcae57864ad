"""What jobs, outcomes and providers are called before people, on screens and on pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ..base import clock
from ..base.statuses import AT_PROVIDER, CUT, ENDED, FAILED
from ..base.text import cut

if TYPE_CHECKING:
    from ..store import Job

DEMO_MODEL = (
    "Answered by a very small demonstration model: its answers show the way, not the quality."
)
#: Statuses of a part whose file is, or may be, with the provider.
UNDER_WAY = frozenset((*CUT, *AT_PROVIDER)) - frozenset(ENDED)


def failures(counts: Mapping[str, int]) -> dict[str, int]:
    """Outcomes that are neither answered nor awaited, most frequent first."""
    failed = {status: counts[status] for status in counts if status in FAILED and counts[status]}
    return dict(sorted(failed.items(), key=lambda item: -item[1]))


def own_server(job: Job) -> bool:
    """Whether a job runs on this machine, and so costs nothing.

    No where its options can't be read: the other jobs of a list are shown all the same.
    """
    from ..base.errors import DatabaseError
    from ..pricing.prices import job_is_own

    try:
        return job_is_own(job.provider, job.base_url, job.settings)
    except DatabaseError:
        return False


def host_words(job: Job) -> str:
    """Who answers a job, for a sentence: `OpenAI`, `this machine`, `localhost:8000`."""
    from ..provider.errors import host_of

    if job.provider == "local":
        return host_of(job.base_url) if job.base_url else "this machine"
    host = host_of(job.base_url or "")
    if host in ("", "api.openai.com"):
        return "Azure" if job.provider == "azure" else "OpenAI"
    return host


def status_words(
    job: Job, counts: Mapping[str, int], parts: Collection[str] = (), full: str | None = None
) -> str:
    """A job's status as a person would say it: `waiting for OpenAI`, `done, 131 failed`.

    `parts` are the statuses that its parts have, where the caller knows them; `full` tells when
    the next one is tried, where all wait because the provider's queue was full.
    """
    failed = sum(failures(counts).values())
    if job.requests is None:
        return "being prepared"
    if job.status == "completed":
        return f"done, {failed:,} failed" if failed else "done"
    if job.status == "prepared":
        return "prepared, not sent"
    if job.status == "running":
        return queue_words(job, full) if full else waiting_words(job, parts)
    if job.status in ("paused", "failed", "cancelling") and job.message:
        why = cut(job.message.split(". ")[0].rstrip("."), 60)
        return why if why.lower().startswith(f"{job.status} ") else f"{job.status}: {why}"
    return job.status


def queue_words(job: Job, until: str) -> str:
    """That the provider's queue is full, and when it is tried again: `until` is a stored time."""
    when = "now" if until <= clock.now() else clock.hour(until)
    return f"queue full at {host_words(job)}, next try {when}"


def waiting_words(job: Job, parts: Collection[str] = ()) -> str:
    """What a running job waits for."""
    if parts and not UNDER_WAY.intersection(parts):
        return "waiting to send" if "prepared" in parts else "collecting answers"
    where = host_words(job)
    return "running on this machine" if where == "this machine" else f"waiting for {where}"


def cost_words(job: Job, unknown: str = "-") -> str:
    """What a job has cost; `unknown` where that isn't known."""
    from ..pricing.prices import usd

    if job.cost_nanousd is not None:
        return usd(job.cost_nanousd)
    return "none" if own_server(job) else unknown


def job_cost_line(job: Job) -> str:
    """What a job cost, beside what was expected of it: `$1.07 (estimate $1.09, ceiling $10.00)`."""
    from ..pricing.prices import job_is_own, usd

    if "vote" in job.settings:
        return "none (a vote sends nothing)"
    if job_is_own(job.provider, job.base_url, job.settings):
        return "none (own server)"
    expected = []
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if about is not None and about != most:
        expected.append(f"estimate {usd(about)}")
    elif most is not None:
        expected.append(f"estimate at most {usd(most, up=True)}")
    if job.max_cost_nanousd is not None:
        expected.append(f"ceiling {usd(job.max_cost_nanousd)}")
    known = "not known" if job.cost_nanousd is None else usd(job.cost_nanousd)
    return known + (f" ({', '.join(expected)})" if expected else "")


def job_expects(job: Job, ceiling: int | None) -> str:
    """What a stored job is expected to cost, for the question before sending."""
    from ..pricing.prices import about_usd, job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return "It costs nothing (own server)."
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if most is None:
        return "What it costs isn't known."
    words = f"at most {usd(most, up=True)}"
    if about is not None and about != most:
        words = f"{about_usd(about)}, {words}"
    ceiling = job.max_cost_nanousd if ceiling is None else ceiling
    held = f" (ceiling {usd(ceiling)})" if ceiling is not None else ""
    return f"{words[0].upper()}{words[1:]}{held}."


def retry_words(job: Job, most: int | None) -> str:
    """What a retry may cost, after its question; nothing where nothing is paid."""
    from ..pricing.prices import job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return ""
    if most is None:
        return " What it costs isn't known."
    ceiling = job.max_cost_nanousd
    held = f" (ceiling of the whole job {usd(ceiling)})" if ceiling is not None else ""
    return f" At most {usd(most, up=True)}{held}."
