"""A job as a program sees it. What it tells is read from the database each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import JobError, NeedsAttention, OpenAIBatchError, Unreachable
from ..base.statuses import outcomes_of
from ..jobs.sync.watch import Followed, follow
from .home import Home
from .preview import dollars
from .progress import bar_of_notebook
from .results import Results

if TYPE_CHECKING:
    from ..jobs.sync.context import Report


class Job:
    """A job of a database. Another process may go on with it: nothing here is a copy."""

    def __init__(self, home: Home, job_id: int) -> None:
        self._home = home
        self.id = job_id

    def __repr__(self) -> str:
        record = self.record
        name = f" {record.name!r}" if record.name else ""
        return f"<Job {self.id}{name}: {record.status}, {self.done:,} of {self.requests:,} done>"

    @property
    def record(self) -> store.Job:
        """The row of `openai_batch_jobs`, see docs/tables.md."""
        with self._home.connection() as conn:
            return store.get_job(conn, self.id)

    @property
    def name(self) -> str | None:
        """What `name=` said."""
        return self.record.name

    @property
    def status(self) -> str:
        """One of prepared, running, paused, cancelling, completed, cancelled, failed."""
        return self.record.status

    @property
    def message(self) -> str | None:
        """Why it is paused, or has failed."""
        return self.record.message

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        return self.record.model

    @property
    def requests(self) -> int:
        """How many rows it asks about."""
        return self.record.requests or 0

    @property
    def done(self) -> int:
        """How many requests have an outcome."""
        return self.requests - self.outcomes.get("pending", 0)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many requests have each outcome, such as `{"ok": 96, "refused": 4}`."""
        with self._home.connection() as conn:
            return store.outcome_counts(store.list_parts(conn, self.id))

    @property
    def cost(self) -> float | None:
        """What it has cost so far, in US dollars; None where the price isn't known."""
        return dollars(self.record.cost_nanousd)

    def wait(self, *, poll: float | None = None, progress: Progress | None = None) -> Job:
        """Sync until the job has ended; returns it. `progress` is called with it after each pass.

        Stop it at any moment; call it again to go on. Raises NeedsAttention where the job is paused
        (`message` says why), JobError where nobody has approved it.
        """
        with self._home.connection() as conn, self._home.places() as places:
            job = store.get_job(conn, self.id)
            if job.status == "prepared":
                raise JobError(
                    f"Job {self.id} is not approved yet, so there is nothing to wait for. "
                    f"Send it with: batches.submit({self.id}, max_cost=…)"
                )
            if job.unfinished:
                told = teller(self, progress)
                checked(self, follow(conn, [job], places, poll=poll, told=told))
        return self

    def results(self, status: str | Sequence[str] = (), columns: Sequence[str] = ()) -> Results:
        """The rows with their answers, status and error; only those of a `status`, if wanted.

        `status="failed"` stands for all that have no answer.
        """
        wanted = outcomes_of([status] if isinstance(status, str) else status)
        return Results(self._home.connection, self.id, wanted, columns)


Progress = Callable[[Job], object]


def teller(job: Job, progress: Progress | None) -> Any:
    """What hears of each pass: a function of the program's, or a bar in a notebook."""
    told = progress or bar_of_notebook()
    if told is None:
        return None

    def hear(jobs: list[store.Job], report: Report) -> None:
        told(job)

    return hear


def checked(job: Job, found: Followed) -> None:
    """Raise what kept a job from going on. The job itself stays, and `wait` goes on with it."""
    report = found.report
    if found.wrong:
        raise found.wrong[0]
    if job.id in report.faults:
        raise OpenAIBatchError(report.faults[job.id])
    if any(one.id == job.id for one in report.paused):
        raise NeedsAttention(f"Job {job.id} is paused: {job.message}")
    if report.unreachable:
        raise Unreachable(report.unreachable[0])
