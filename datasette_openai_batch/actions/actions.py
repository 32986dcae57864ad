"""What somebody who may change jobs can do with one: check now, retry, pause, cancel.

What costs money, or can't be taken back, stands behind a page that repeats the numbers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import JobError
from sqlite_utils_openai_batch.base.text import counted
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.jobs.sync.engine import open_batches
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.results.advice import in_vain
from sqlite_utils_openai_batch.store import Job

from .. import compat
from ..access.job import Opened
from ..text import urls


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks before an action."""

    title: str
    facts: list[str]
    yes: str
    requests: int | None = None
    """How many requests it is about, where an answer to another number doesn't count."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do with a job; its functions raise OpenAIBatchError where it can't be done."""

    name: str
    """The last step of its address."""
    label: str
    fits: Callable[[Job, int], bool]
    """Whether it makes sense for a job with so many failed requests."""
    do: Callable[[int | None, sqlite3.Connection, Job], str] | None
    """Does it in the database, for as many requests as were asked about. Says what was done."""
    question: Callable[[sqlite3.Connection, Job], Question] | None = None
    passes: bool = True
    """Whether a pass over the job follows, which talks to the provider."""


def offered(job: Job, failures: int) -> list[Action]:
    """The actions that make sense for a job as it is now."""
    return [action for action in ACTIONS.values() if action.fits(job, failures)]


def _pause(requests: int | None, conn: sqlite3.Connection, job: Job) -> str:
    manage.pause_job(conn, job)
    return f"Job {job.id} is paused: nothing more is sent."


def _cancel(requests: int | None, conn: sqlite3.Connection, job: Job) -> str:
    manage.cancel_job(conn, job)
    return f"Job {job.id} is being cancelled."


def _retry(requests: int | None, conn: sqlite3.Connection, job: Job) -> str:
    plan = manage.plan_retry(conn, job, ())
    if not plan.requests or plan.requests != requests:
        raise JobError(f"The figures of job {job.id} have changed meanwhile: look once more.")
    manage.retry(conn, job, plan, {})
    return f"{counted(plan.requests, 'row')} of job {job.id} will be asked again."


def _ask_retry(conn: sqlite3.Connection, job: Job) -> Question:
    plan = manage.plan_retry(conn, job, ())
    outcomes = words.failures(store.outcome_counts(store.list_parts(conn, job.id)))
    kinds = ", ".join(f"{count:,} {status}" for status, count in outcomes.items())
    rows = counted(plan.requests, "row")
    facts = [
        f"{rows} without an answer: {kinds}.",
        f"They are put to {job.model} at {words.host_words(job)}, as before.",
        *in_vain(conn, job, plan.kinds, {}),
        retry_cost(conn, job, plan),
    ]
    return Question(f"Ask {rows} of job {job.id} again?", facts, "Ask again", plan.requests)


def retry_cost(conn: sqlite3.Connection, job: Job, plan: manage.Retry) -> str:
    """What a retry may cost, in a sentence."""
    if words.own_server(job):
        return "It costs nothing (own server)."
    most = manage.retry_most(conn, job, plan, {})
    if most is None:
        return "What it costs isn't known."
    ceiling = job.max_cost_nanousd
    held = f" (ceiling of the whole job {usd(ceiling)})" if ceiling is not None else ""
    return f"At most {usd(most, up=True)}{held}."


def _ask_cancel(conn: sqlite3.Connection, job: Job) -> Question:
    parts = store.list_parts(conn, job.id)
    counts = store.outcome_counts(parts)
    waiting = counts.get("pending", 0)
    facts = [f"{waiting:,} of {counted(sum(counts.values()), 'row')} wait for an answer."]
    if going := open_batches(conn, job.id):
        batches = counted(going, "batch is stopped", "batches are stopped")
        facts.append(
            f"{batches} at {words.host_words(job)}. What was answered until then is paid for, "
            "and still comes in."
        )
    if unsent := sum(part.status == "prepared" for part in parts):
        facts.append(f"{counted(unsent, 'part is', 'parts are')} never sent.")
    return Question(f"Cancel job {job.id}?", facts, f"Cancel job {job.id}")


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "check",
            "Check now",
            lambda job, failures: job.unfinished and job.approved_at is not None,
            None,
        ),
        Action(
            "retry",
            "Retry failed…",
            lambda job, failures: (
                failures > 0 and job.status in ("completed", "failed", "cancelled")
            ),
            _retry,
            _ask_retry,
        ),
        Action(
            "pause", "Pause", lambda job, failures: job.status == "running", _pause, passes=False
        ),
        Action(
            "cancel",
            "Cancel…",
            lambda job, failures: job.unfinished and job.status != "cancelling",
            _cancel,
            _ask_cancel,
        ),
    )
}


# What a job's page offers to do with the job, to whoever may change it.


@dataclass(frozen=True, slots=True)
class Offer:
    """An action as a job's page offers it."""

    label: str
    href: str
    asks: bool


async def may_act(opened: Opened, actor: Any) -> bool:
    """Whether an actor may change a job, and its database can be written."""
    if not opened.db.is_mutable or not opened.db.path:
        return False
    return await compat.may_manage(opened.datasette, actor, opened.db.name)


async def offers(opened: Opened, actor: Any) -> list[Offer]:
    """What the page of a job offers to an actor: nothing to most."""
    if not await may_act(opened, actor):
        return []
    return [
        Offer(action.label, address(opened, action), action.question is not None)
        for action in offered(opened.job, opened.failures)
    ]


def address(opened: Opened, action: Action) -> str:
    """Where an action is."""
    return urls.job(opened.datasette, opened.db, opened.job.id, f"/{action.name}")
