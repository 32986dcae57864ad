"""What somebody who may change jobs can do with one, as its page offers it.

What costs money, or can't be taken back, stands behind a page that repeats the numbers. Each is
checked by the functions of the command of that name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.errors import JobError, OpenAIBatchError, UsageError
from sqlite_utils_openai_batch.base.text import counted
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.jobs.apply import Wish, applied_lines, apply
from sqlite_utils_openai_batch.jobs.revert import check_settled, revert, reverted_lines
from sqlite_utils_openai_batch.jobs.sync.engine import approve, open_batches
from sqlite_utils_openai_batch.pricing.ceiling import parse_ceiling
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.provider.places import Places, forget_local
from sqlite_utils_openai_batch.requests.body import parse_option
from sqlite_utils_openai_batch.results import words
from sqlite_utils_openai_batch.results.advice import in_vain, more_room
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.store.connection import transaction

from .. import compat
from ..access.job import Opened
from ..access.request import Typed
from ..access.settings import Settings
from ..text import urls


class Wrong(UsageError):
    """A field of a question that can't be used."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a question's form, named as the command's option."""

    name: str
    label: str
    value: str = ""
    kind: str = "text"
    """text, area, tick or choice."""
    choices: Sequence[tuple[str, str]] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks before an action."""

    title: str
    facts: list[str]
    yes: str
    requests: int | None = None
    """How many requests it is about, where an answer to another number doesn't count."""
    fields: Sequence[Field] = ()
    """What may be filled in."""
    looks: Sequence[Field] = ()
    """What changes the figures: it is looked at before it can be confirmed."""


@dataclass(frozen=True, slots=True)
class Doing:
    """What an action goes by: the fields that were posted, the settings, the file."""

    typed: Typed = field(default_factory=lambda: Typed({}))
    settings: Settings = field(default_factory=Settings)
    file: str = ""

    @property
    def requests(self) -> int | None:
        """How many requests the page had asked about."""
        text = self.typed.one("requests")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


Do = Callable[[Doing, sqlite3.Connection, Job], str]
Ask = Callable[[Doing, sqlite3.Connection, Job], Question]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do with a job; its functions raise OpenAIBatchError where it can't be done."""

    name: str
    """The last step of its address."""
    label: str
    fits: Callable[[Job, int], bool]
    """Whether it makes sense for a job with so many failed requests."""
    do: Do | None
    """Does it in the database, as it was asked about. Says what was done."""
    question: Ask | None = None
    passes: bool = True
    """Whether a pass over the job follows, which talks to the provider."""
    group: str = "do"
    """Where its button stands: `go` on, `do`, or `more`."""


def offered(job: Job, failures: int) -> list[Action]:
    """The actions that make sense for a job as it is now."""
    return [action for action in ACTIONS.values() if action.fits(job, failures)]


# Sending, and the ceiling


def _submit(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    if job.status not in ("prepared", "paused") or job.requests is None:
        raise JobError(f"Job {job.id} is {job.status}: only a prepared or paused job can be sent.")
    _raise(doing, conn, job, needed=False)
    approve(conn, job)
    return f"Job {job.id} is sent."


def _ask_submit(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    rows = counted(manage.rows_to_send(store.list_parts(conn, job.id)), "row")
    facts = [
        f"{rows} of {job.source or 'a query'} wait to be sent to {job.model} "
        f"at {words.host_words(job)}.",
        words.job_expects(job, None),
    ]
    if job.status == "paused" and job.message:
        facts.append(f"It was paused: {job.message}")
    verb = "Send" if job.status == "prepared" else "Go on with"
    paid = not words.own_server(job)
    return Question(f"{verb} job {job.id}?", facts, "Send", fields=[ceiling_field(job)] * paid)


def ceiling_field(job: Job) -> Field:
    """The field of a job's ceiling."""
    now = job.max_cost_nanousd
    text = "" if now is None else f"{now / 1_000_000_000:.9f}".rstrip("0").rstrip(".")
    return Field("max_cost", "Stop at $", text)


def _raise(doing: Doing, conn: sqlite3.Connection, job: Job, *, needed: bool) -> int | None:
    """Store the ceiling that was typed, where it is another one. Raises Wrong."""
    text = doing.typed.one("max_cost").lstrip("$")
    if not text:
        if needed:
            raise Wrong("max_cost", "Say at how many dollars to stop.")
        return None
    try:
        asked = parse_ceiling(text)
        most = doing.settings.max_cost
        if most is not None and asked > most and asked != job.max_cost_nanousd:
            raise UsageError(f"This Datasette lets a job cost at most {usd(most)}: lower it.")
        if asked == job.max_cost_nanousd:
            return asked
        manage.raise_ceiling(conn, job, manage.job_ceiling(conn, job, text))
    except OpenAIBatchError as error:
        raise Wrong("max_cost", str(error)) from error
    return asked


def _ceiling(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    asked = _raise(doing, conn, job, needed=True)
    return f"Job {job.id} may cost up to {usd(asked or 0)} now."


def _ask_ceiling(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    from sqlite_utils_openai_batch.store.costs import committed

    taken = committed(conn, job.id)
    facts = [
        f"{usd(taken.spent)} is spent, and up to {usd(taken.open, up=True)} may still come of what "
        "was sent.",
        f"The ceiling is {usd(job.max_cost_nanousd or 0)}.",
    ]
    title = f"Another ceiling for job {job.id}?"
    return Question(title, facts, "Set the ceiling", fields=[ceiling_field(job)])


def _pause(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    manage.pause_job(conn, job)
    return f"Job {job.id} is paused: nothing more is sent."


def _cancel(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    manage.cancel_job(conn, job)
    return f"Job {job.id} is being cancelled."


def _ask_cancel(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
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


# Asking again


def changes_of(doing: Doing) -> dict[str, Any]:
    """What a retry asks otherwise. Raises Wrong."""
    changes: dict[str, Any] = {}
    if cap := doing.typed.one("max_tokens"):
        if not (cap.isascii() and cap.isdigit() and 0 < int(cap[:9]) < 10_000_000):
            raise Wrong("max_tokens", f'"{cap}" is not a number of tokens, such as 200.')
        changes["max_tokens"] = parse_option("max_tokens", cap)
    if model := doing.typed.one("model"):
        allowed = doing.settings.models
        if allowed and model not in allowed:
            raise Wrong("model", f"This Datasette allows only {', '.join(allowed)}.")
        changes["model"] = model
    return changes


def statuses_of(doing: Doing) -> list[str]:
    """The outcomes that are asked again; none for all that failed."""
    return [status for status in doing.typed.all("status") if status]


def _retry(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    plan = manage.plan_retry(conn, job, statuses_of(doing))
    changes = changes_of(doing)
    seen = doing.typed.one("most")
    if changes and seen != str(manage.retry_most(conn, job, plan, changes)):
        raise JobError(f"What asking job {job.id} again may cost has changed: look once more.")
    if not plan.requests or plan.requests != doing.requests:
        raise JobError(f"The figures of job {job.id} have changed meanwhile: look once more.")
    manage.retry(conn, job, plan, changes)
    return f"{counted(plan.requests, 'row')} of job {job.id} will be asked again."


def _ask_retry(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    wanted, changes = statuses_of(doing), changes_of(doing)
    plan = manage.plan_retry(conn, job, wanted)
    outcomes = words.failures(store.outcome_counts(store.list_parts(conn, job.id)))
    kinds = ", ".join(
        f"{count:,} {status}"
        for status, count in outcomes.items()
        if status in wanted or not wanted
    )
    rows = counted(plan.requests, "row")
    told = ", ".join(f"{name} {value}" for name, value in changes.items())
    facts = [
        f"{rows} without an answer: {kinds}.",
        f"They are put to {changes.get('model', job.model)} at {words.host_words(job)}, "
        f"{f'with {told}' if told else 'as before'}.",
        *in_vain(conn, job, plan.kinds, changes),
        retry_cost(conn, job, plan, changes),
    ]
    room = more_room(conn, job)
    looks = [
        *[
            Field(
                "status",
                f"{status} ({count:,})",
                status if status in wanted or not wanted else "",
                "tick",
                [(status, status)],
            )
            for status, count in outcomes.items()
        ],
        Field("max_tokens", "Longest answer", doing.typed.one("max_tokens"),
              hint=f"tokens; now {room[1] // 2:,}" if room else "tokens"),
        Field("model", "Another model", doing.typed.one("model"), hint=f"now {job.model}"),
    ]  # fmt: skip
    most = manage.retry_most(conn, job, plan, changes) if changes else None
    kept = [
        *[Field("status", "", status, "hidden") for status in wanted],
        *[Field(name, "", doing.typed.one(name), "hidden") for name in changes],
        *([Field("most", "", str(most), "hidden")] if changes else []),
    ]
    title = f"Ask {rows} of job {job.id} again?"
    return Question(title, facts, "Ask again", plan.requests, fields=kept, looks=looks)


def retry_cost(
    conn: sqlite3.Connection, job: Job, plan: manage.Retry, changes: dict[str, Any] | None = None
) -> str:
    """What a retry may cost, in a sentence."""
    if words.own_server(job):
        return "It costs nothing (own server)."
    most = manage.retry_most(conn, job, plan, changes or {})
    if most is None:
        return "What it costs isn't known."
    ceiling = job.max_cost_nanousd
    held = f" (ceiling of the whole job {usd(ceiling)})" if ceiling is not None else ""
    return f"At most {usd(most, up=True)}{held}."


# What was written, and the record


def _apply(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    typed = doing.typed
    try:
        schema = AnswerSchema.parse(typed.one("schema")) if typed.one("schema") else None
    except OpenAIBatchError as error:
        raise Wrong("schema", str(error)) from error
    wish = Wish(
        output=typed.one("output") or None,
        output_table=typed.one("output_table") or None,
        prefix=typed.one("prefix") or None,
        schema=schema,
        replace=typed.ticked("replace"),
        accept_stale=typed.ticked("accept_stale"),
    )
    try:
        applied = apply(conn, job, wish)
    except OpenAIBatchError as error:
        raise Wrong("output", str(error)) from error
    lines = applied_lines(job, applied, wish.accept_stale, doing.file)
    return " ".join(line for line in lines if not line.startswith("Undo with"))


def _ask_apply(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    check_settled(conn, job)
    answers = store.outcome_counts(store.list_parts(conn, job.id)).get("ok", 0)
    facts = [
        f"Job {job.id} keeps {counted(answers, 'answer')}. They are written again, without asking "
        "anybody: it costs nothing.",
        "What the job wrote elsewhere is taken back first. Leave all fields empty to write what "
        "isn't written yet.",
    ]
    fields = [
        Field("output", "Column of a free text"),
        Field("prefix", "Begin the names of columns with"),
        Field("output_table", "A table of their own"),
        Field("schema", "Another schema", kind="area", hint="mood good|bad, score 0..1, note"),
        Field("replace", "Overwrite columns that hold values", kind="tick", choices=[("1", "")]),
        Field("accept_stale", "Write to rows too that changed since they were asked about",
              kind="tick", choices=[("1", "")]),
    ]  # fmt: skip
    title = f"Write the answers of job {job.id} again?"
    return Question(title, facts, "Apply", fields=fields)


def _revert(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    return " ".join(reverted_lines(revert(conn, job)))


def _ask_revert(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    check_settled(conn, job)
    answers = store.outcome_counts(store.list_parts(conn, job.id)).get("ok", 0)
    facts = [
        f"Up to {counted(answers, 'answer')} of job {job.id} are taken out of the table, and "
        "columns that it made are dropped.",
        "Cells that somebody edited since stay as they are. The answers are kept in the job, and "
        "can be applied again.",
    ]
    return Question(f"Take back what job {job.id} wrote?", facts, "Revert")


def _rename(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    name = doing.typed.one("name")
    if not name or name.isdigit() or len(name) > 200:
        raise Wrong("name", "A name has a letter in it, and at most 200 characters.")
    with transaction(conn):
        store.update_job(conn, job.id, name=name)
    return f"Job {job.id} is called {name} now."


def _ask_rename(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    fields = [Field("name", "Name", job.name or "")]
    return Question(f"Another name for job {job.id}?", [], "Rename", fields=fields)


DELETED = (
    ("", "the record of the job: its requests, answers and responses"),
    ("responses", "only the raw response lines; answers stay"),
    ("remote", "only its files at the provider"),
)


def _delete(doing: Doing, conn: sqlite3.Connection, job: Job) -> str:
    only = doing.typed.one("only")
    if only not in dict(DELETED):
        raise Wrong("only", "Choose what to delete.")
    if only == "responses":
        return f"{counted(manage.delete_responses(conn, job), 'response')} deleted; answers stay."
    if only == "remote":
        with Places(key=doing.settings.key_for(job.base_url)) as places:
            count = manage.delete_remote(conn, places.of_job(job), job)
        return f"{counted(count, 'file')} deleted at the provider."
    manage.delete_job(conn, job)
    forget_local(job.uid)
    return f"The record of job {job.id} is deleted; the columns that it wrote stay."


def _ask_delete(doing: Doing, conn: sqlite3.Connection, job: Job) -> Question:
    manage.check_deletable(conn, job)
    requests = sum(store.outcome_counts(store.list_parts(conn, job.id)).values())
    facts = [
        f"Job {job.id} has {counted(requests, 'request')}. The columns that it wrote stay. "
        "This can't be taken back."
    ]
    fields = [Field("only", "Delete", "", "choice", DELETED)]
    return Question(f"Delete job {job.id}?", facts, f"Delete job {job.id}", fields=fields)


def _ended(job: Job, failures: int) -> bool:
    return job.status in ("completed", "failed", "cancelled")


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "submit",
            "Send it…",
            lambda job, failures: job.status == "prepared" and job.requests is not None,
            _submit,
            _ask_submit,
            group="go",
        ),
        Action(
            "resume",
            "Resume…",
            lambda job, failures: job.status == "paused",
            _submit,
            _ask_submit,
            group="go",
        ),
        Action(
            "check",
            "Check now",
            lambda job, failures: job.unfinished and job.approved_at is not None,
            None,
        ),
        Action(
            "retry",
            "Retry failed…",
            lambda job, failures: failures > 0 and _ended(job, failures),
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
        Action(
            "ceiling",
            "Another ceiling…",
            lambda job, failures: (
                job.status in ("running", "paused") and job.max_cost_nanousd is not None
            ),
            _ceiling,
            _ask_ceiling,
            group="more",
        ),
        Action("apply", "Apply…", _ended, _apply, _ask_apply, passes=False, group="more"),
        Action("revert", "Revert…", _ended, _revert, _ask_revert, passes=False, group="more"),
        Action(
            "rename",
            "Rename…",
            lambda job, failures: True,
            _rename,
            _ask_rename,
            passes=False,
            group="more",
        ),
        Action(
            "delete",
            "Delete…",
            lambda job, failures: _ended(job, failures) or job.status == "prepared",
            _delete,
            _ask_delete,
            passes=False,
            group="more",
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
    group: str


async def may_act(opened: Opened, actor: Any) -> bool:
    """Whether an actor may change a job, and its database can be written."""
    if compat.unwritable(opened.db) is not None:
        return False
    return await compat.may_manage(opened.datasette, actor, opened.db.name)


async def may_do(opened: Opened, actor: Any, action: Action) -> bool:
    """Whether an actor may do this: who may start jobs may send a prepared one."""
    if await may_act(opened, actor):
        return True
    if action.name != "submit" or compat.unwritable(opened.db) is not None:
        return False
    return await compat.may_create(opened.datasette, actor, opened.db.name)


async def offers(opened: Opened, actor: Any) -> list[Offer]:
    """What the page of a job offers to an actor: nothing to most."""
    return [
        Offer(action.label, address(opened, action), action.question is not None, action.group)
        for action in offered(opened.job, opened.failures)
        if await may_do(opened, actor, action)
    ]


def address(opened: Opened, action: Action) -> str:
    """Where an action is."""
    return urls.job(opened.datasette, opened.db, opened.job.id, f"/{action.name}")
