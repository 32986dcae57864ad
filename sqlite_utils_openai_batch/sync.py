"""One pass over jobs: reconcile, send what fits, poll, collect, write back.

A pass may be cut anywhere and run again: each step looks at the database, does one thing, and
commits. What a part needs in which state is the table in `states`; only this module, and `send`,
its hands, change the state of a part.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import capacity, clock, store
from .account import check_account
from .api import BatchState, Provider
from .collect import collect, collect_surplus
from .database import transaction
from .errors import (
    NeedsAttention,
    NotFound,
    OutputError,
    ProviderError,
    QueueFull,
    Transient,
    Unreachable,
)
from .look import GRACE_SECONDS, look
from .reuse import share
from .send import Sender
from .settle import ask_again, reject_lines, settle_job
from .states import AT_PROVIDER, ENDED, STATES
from .writeback import Writer, Written

RETRY_SECONDS = 5.0
# A file that the provider can't find for this long after its upload is uploaded anew.
FILE_SECONDS = 600.0
# The ids of the result files may come later than the status `completed`.
LATE_FILES_SECONDS = 3600.0
# A batch is stuck where it hasn't ended this long after it should have expired.
STUCK_SECONDS = 3600.0

OpenProvider = Callable[[store.Job], Provider]


@dataclass
class Report:
    """What a pass did, and what there is to do still."""

    sent: int = 0
    collected: int = 0
    ended: list[store.Job] = field(default_factory=list)
    paused: list[store.Job] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    written: dict[int, Written] = field(default_factory=dict)


def approve(conn: sqlite3.Connection, job: store.Job) -> store.Job:
    """Record that a person wants this job sent (and paid for). Nothing else approves."""
    with transaction(conn):
        store.update_job(
            conn,
            job.id,
            status="running",
            approved_at=job.approved_at or clock.now(),
            message=None,
            finished_at=None,
        )
        store.log(conn, "approved", job_id=job.id)
    return store.get_job(conn, job.id)


def one_pass(
    conn: sqlite3.Connection, jobs: list[store.Job], open_provider: OpenProvider
) -> Report:
    """One pass over these jobs; never asks, never waits."""
    report = Report()
    for job in jobs:
        if job.requests is not None and job.unfinished and was_approved(conn, job):
            sync_job(conn, job, open_provider, report)
    return report


def was_approved(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether a person approved a job; one that has a batch was, whatever a restored copy says."""
    return job.approved_at is not None or any(
        part.batch_id for part in store.list_parts(conn, job.id)
    )


def sync_job(
    conn: sqlite3.Connection, job: store.Job, open_provider: OpenProvider, report: Report
) -> None:
    """One pass over one job. What stops it is in the report, or pauses the job."""
    pass_: Pass | None = None
    try:
        provider = open_provider(job)
        check_account(conn, provider, job)
        pass_ = Pass(conn, job, provider, report)
        pass_.run()
    except Unreachable as error:
        report.unreachable.append(f"Job {job.id}: {error}")
    except (Transient, QueueFull) as error:
        report.waiting.append(f"Job {job.id}: {error}")
    except (ProviderError, OutputError) as error:
        pause(conn, job, str(error))
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        # Another program writes for longer than we wait: every step can be taken later.
        report.waiting.append(
            f"Job {job.id}: the database is locked by another program; trying again later."
        )
        return
    finally:
        if pass_ is not None:
            pass_.close()
    settle_job(conn, job.id, report.ended, report.paused)


def pause(conn: sqlite3.Connection, job: store.Job, why: str) -> None:
    """No new sends until a person says so; what was sent is still polled and collected."""
    with transaction(conn):
        store.update_job(conn, job.id, status="paused", message=why)
        store.log(conn, "paused", job_id=job.id, why=why)


class Pass:
    """One pass over the parts of one job."""

    def __init__(
        self, conn: sqlite3.Connection, job: store.Job, provider: Provider, report: Report
    ):
        self.conn = conn
        self.job = job
        self.provider = provider
        self.report = report
        self.sender = Sender(conn, provider, job)
        self.writer = Writer(conn, job)
        self.found: dict[int, list[BatchState]] | None = None
        self.told: set[str] = set()

    def close(self) -> None:
        """Free what the pass held."""
        self.sender.close()
        self.writer.close()

    def run(self) -> None:
        """Bring in what is paid for first, then send what fits."""
        try:
            self.step("poll", self.poll)
            self.step("collect", self.collect)
            self.take_strays()
            if self.job.status in ("running", "cancelling"):
                self.step("reconcile", self.reconcile)
            if self.job.status == "running":
                self.step("send", self.send)
            if self.job.status == "cancelling":
                self.step("poll", self.cancel)
            self.step("poll", self.poll)
            self.step("collect", self.collect)
        finally:
            # Answers that are in the database already are written, whatever the provider says.
            self.write()
            store.update_job(self.conn, self.job.id, checked_at=clock.now())

    def step(self, needs: str, do: Callable[[store.Part], None]) -> None:
        """Do one thing for each part whose state needs it and that nobody else holds."""
        for listed in store.list_parts(self.conn, self.job.id):
            if STATES[listed.status].needs != needs or listed.collected_at:
                continue
            with store.leased(self.conn, listed) as mine:
                part = store.get_part(self.conn, listed.id)
                if mine and STATES[part.status].needs == needs and not part.collected_at:
                    do(part)

    def say(self, part: store.Part, why: str) -> None:
        """Report why a part waits, once in a pass."""
        sentence = f"Part {part.number} of job {self.job.id}: {why}"
        if why not in self.told:
            self.told.add(why)
            self.report.waiting.append(sentence)

    # before sending

    def known(self, part: store.Part) -> list[BatchState]:
        """Batches that the provider has for a part: listed once, before the first send."""
        if self.found is None:
            self.found = look(self.conn, self.provider, self.job)
        return self.found.get(part.number, [])

    def adopt_known(self, part: store.Part) -> bool:
        """Take on a batch that the provider has for this part; of two the older.

        The younger is cancelled, and what it answers all the same is collected too.
        """
        states = self.known(part)
        if not states:
            return False
        self.sender.adopt(part, states[0], "found")
        for surplus in states[1:]:
            with transaction(self.conn):
                self.sender.record(store.get_part(self.conn, part.id), surplus)
                store.log(
                    self.conn, "surplus", job_id=self.job.id, part_id=part.id, batch=surplus.id
                )
            if not surplus.ended:
                self.provider.cancel(surplus.id)
        return True

    def reconcile(self, part: store.Part) -> None:
        """A send was cut: find out how far it got before anything goes out again."""
        if not due(part) or self.adopt_known(part):
            return
        intended = part.intent_at or ""
        if part.status == "creating" and intended > clock.now(-GRACE_SECONDS):
            self.say(
                part,
                f"its sending was cut; looking for its batch for {GRACE_SECONDS} s "
                "before it is sent again.",
            )
        elif part.status == "uploaded" and intended > clock.now(-FILE_SECONDS):
            if self.job.status == "running":
                with self.refusals(part):
                    self.report.sent += self.sender.create(part) is not None
        elif store.move_part(self.conn, part, "prepared") and self.job.status == "running":
            self.send(store.get_part(self.conn, part.id))

    def send(self, part: store.Part) -> None:
        """Send a prepared part, unless the provider has it already or its queue is full."""
        if self.adopt_known(part):
            return
        if not due(part):
            if part.errors:
                self.say(part, words_of(part))
            return
        reason = capacity.reason_to_wait(self.conn, self.job, part)
        if reason is not None:
            self.say(part, reason)
            return
        with self.refusals(part):
            self.report.sent += self.sender.send(part) is not None

    @contextmanager
    def refusals(self, part: store.Part) -> Iterator[None]:
        """Put a part back where its next try begins, if the provider surely took nothing.

        Where it may have (no answer came, or a 5xx), the part stays as it is: `reconcile` looks.
        """
        try:
            yield
        except QueueFull as error:
            self.queue_full(store.get_part(self.conn, part.id), str(error))
        except Unreachable:
            raise
        except Transient as error:
            if error.refused:
                self.put_off(store.get_part(self.conn, part.id), str(error))
            raise
        except ProviderError:
            store.move_part(self.conn, store.get_part(self.conn, part.id), "prepared")
            raise

    def queue_full(self, part: store.Part, why: str) -> None:
        """Waiting is not failing: back to `prepared`, at no cost, and cut to fit where need be."""
        limit = capacity.limit_in(why)
        with transaction(self.conn):
            if limit is not None:
                capacity.learn(self.conn, self.job, limit, "refusal")
            store.move_part(
                self.conn,
                part,
                "prepared",
                next_try_at=clock.now(capacity.patience(part.sends)),
                errors=json.dumps([{"code": "token_limit_exceeded", "message": why}]),
            )
            store.log(self.conn, "queue full", job_id=self.job.id, part_id=part.id, why=why)
        if limit is None:
            self.say(part, why)
            return
        waiting = capacity.enqueued(self.conn, self.job)
        if not waiting and part.requests == 1:
            raise NeedsAttention(
                f"Part {part.number} is one request of about {capacity.tokens_of(part):,} tokens, "
                f"and the queue of {self.job.model} takes {limit:,}: it can't fit. "
                "Ask your provider for a larger limit, or shorten the row."
            )
        if capacity.recut(self.conn, self.job, limit) == 0 and not waiting:
            # The estimate said that it fits, the service says it doesn't: believe the service.
            with transaction(self.conn):
                capacity.split(self.conn, self.job, store.get_part(self.conn, part.id), 2)
        if not waiting:
            for piece in store.list_parts(self.conn, self.job.id):
                if piece.status == "prepared":
                    store.update_part(self.conn, piece.id, next_try_at=clock.now(RETRY_SECONDS))
        self.say(part, why)

    def put_off(self, part: store.Part, why: str) -> None:
        """The provider said no for the moment: try again soon, with the file if it has one."""
        to = "uploaded" if part.input_file_id else "prepared"
        store.move_part(self.conn, part, to, next_try_at=clock.now(RETRY_SECONDS))
        store.log(self.conn, "put off", job_id=self.job.id, part_id=part.id, why=why)

    # after sending

    def poll(self, part: store.Part) -> None:
        """See how far a batch is."""
        assert part.batch_id is not None
        try:
            state = self.provider.retrieve(part.batch_id)
        except NotFound as error:
            raise ProviderError(
                f"Batch {part.batch_id} of part {part.number} can't be found with this key "
                f"({error}). Is it another account's? Give the key that sent it with --key."
            ) from error
        self.seen(part, state)
        if not state.ended and part.expires_at and part.expires_at < clock.now(-STUCK_SECONDS):
            self.say(
                part,
                f"batch {part.batch_id} should have expired at {part.expires_at} and is still "
                f"{state.said}. Ask the provider about it, or cancel the job.",
            )

    def seen(self, part: store.Part, state: BatchState) -> None:
        """Record what the provider says of a part's batch."""
        errors = json.dumps(state.errors) if state.errors else None
        ended_at = (state.ended_at or clock.now()) if state.ended else None
        ran = state.status in AT_PROVIDER and state.status not in ("validating", "failed")
        with transaction(self.conn):
            moved = store.move_part(
                self.conn,
                part,
                # A word that isn't known says nothing of how far it is.
                state.status if state.status in AT_PROVIDER else part.status,
                completed=state.completed,
                failed=state.failed,
                in_progress_at=part.in_progress_at
                or state.in_progress_at
                or (clock.now() if ran else None),
                finalizing_at=state.finalizing_at,
                ended_at=ended_at,
                expires_at=state.expires_at,
                errors=errors,
            )
            if moved and ran and part.in_progress_at is None:
                store.begin_attempt(self.conn, part.id)
            store.update_batch(self.conn, state.id, status=state.said, errors=errors)

    def cancel(self, part: store.Part) -> None:
        """Ask the provider to stop a batch; what it has answered is still collected."""
        assert part.batch_id is not None
        if part.status == "cancelling":
            return
        state = self.provider.cancel(part.batch_id)
        if state is not None:
            store.log(self.conn, "cancelling", job_id=self.job.id, part_id=part.id)
            self.seen(part, state)

    def collect(self, part: store.Part) -> None:
        """Take in an ended batch, and sort out what it didn't answer."""
        assert part.batch_id is not None
        state = self.provider.retrieve(part.batch_id)
        if state.status == "failed":
            self.failed(part, state)
            return
        if files_are_late(part, state):
            self.say(part, "its batch ended, but its result file isn't there yet.")
            return
        collect(self.conn, self.provider, self.job, part, state, self.writer)
        store.update_batch(
            self.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
        )
        self.report.collected += 1
        if self.job.status == "running":
            ask_again(self.conn, self.job, store.get_part(self.conn, part.id))

    def take_strays(self) -> None:
        """Collect batches that exist beside the one that their part goes by."""
        for stray in store.strays(self.conn, self.job.id):
            part = store.get_part(self.conn, stray["part_id"])
            with store.leased(self.conn, part) as mine:
                if not mine:
                    continue
                state = self.provider.retrieve(stray["batch_id"])
                if not state.ended:
                    continue
                if state.status != "failed":
                    collect_surplus(self.conn, self.provider, self.job, part, state, self.writer)
                store.update_batch(
                    self.conn, state.id, status=state.said, ended_at=state.ended_at or clock.now()
                )

    def failed(self, part: store.Part, state: BatchState) -> None:
        """A batch that failed its validation ran nothing. Bad lines cost their rows only."""
        store.update_batch(self.conn, state.id, ended_at=state.ended_at or clock.now())
        words = "; ".join(str(error.get("message")) for error in state.errors[:3])
        if any(error.get("code") == "token_limit_exceeded" for error in state.errors):
            self.queue_full(part, words)
        elif (rejected := reject_lines(self.conn, part, state)) > 0:
            with transaction(self.conn):
                store.count_outcomes(self.conn, part.id)
                # What is left goes out again as it was; with nothing left `send` completes it.
                store.move_part(self.conn, part, "prepared")
                store.log(
                    self.conn, "rejected", job_id=self.job.id, part_id=part.id, lines=rejected
                )
            if self.job.status == "running":
                self.send(store.get_part(self.conn, part.id))
        elif "annot find file" in words and part.sends < 5:
            # The file was there: it was uploaded a moment ago. The service gets over it.
            store.move_part(self.conn, part, "prepared", next_try_at=clock.now(RETRY_SECONDS))
        else:
            store.move_part(self.conn, part, "prepared")
            raise ProviderError(
                f"{self.provider.host} refused part {part.number}: {words or 'no reason was given'}"
            )

    def write(self) -> None:
        """Write the answers of collected parts to their columns."""
        share(self.conn, self.job)
        for part in store.list_parts(self.conn, self.job.id):
            if part.collected_at and not part.written_at:
                with store.leased(self.conn, part) as mine:
                    if mine:
                        self.writer.write_part(part)
        self.report.written[self.job.id] = self.writer.written


def due(part: store.Part) -> bool:
    """Whether a part's waiting time is over."""
    return part.next_try_at is None or part.next_try_at <= clock.now()


def words_of(part: store.Part) -> str:
    """What the provider last said against a part."""
    return "; ".join(str(error.get("message")) for error in json.loads(part.errors or "[]"))


def files_are_late(part: store.Part, state: BatchState) -> bool:
    """Whether lines were counted and their file isn't named yet."""
    late = (state.completed and not state.output_file_id) or (
        state.failed and not state.error_file_id and not state.output_file_id
    )
    return bool(late) and (part.ended_at or "") > clock.now(-LATE_FILES_SECONDS)


def open_batches(conn: sqlite3.Connection, job_id: int) -> int:
    """How many batches of a job the provider may still be working on."""
    return sum(
        1
        for part in store.list_parts(conn, job_id)
        if part.status in AT_PROVIDER and part.status not in ENDED
    )
