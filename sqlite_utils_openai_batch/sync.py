"""The state machine of parts and jobs. `one_pass` is what `sync` does; `watch` repeats it.

A pass may be cut anywhere and run again: each step looks at the database, does one thing, and
commits. Only this module (and `send`, its hands) changes the state of a part.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from . import clock, store
from .api import ENDED, BatchState, Provider
from .collect import collect
from .database import transaction
from .errors import NeedsAttention, NotFound, ProviderError, QueueFull, Transient, Unreachable
from .outcome import is_providers_fault
from .send import GRACE_SECONDS, Sender
from .writeback import Writer, Written


class State(NamedTuple):
    """What a part in some state needs next, and what it may become by that."""

    needs: str
    becomes: tuple[str, ...]


AT_PROVIDER = ("validating", "in_progress", "finalizing", "cancelling", *ENDED)

STATES: dict[str, State] = {
    "prepared": State("send", ("uploading", "completed")),
    "uploading": State("reconcile", ("uploaded", "prepared", *AT_PROVIDER)),
    "uploaded": State("reconcile", ("creating", "prepared", *AT_PROVIDER)),
    "creating": State("reconcile", ("prepared", *AT_PROVIDER)),
    "validating": State("poll", AT_PROVIDER),
    "in_progress": State("poll", AT_PROVIDER),
    "finalizing": State("poll", AT_PROVIDER),
    "cancelling": State("poll", AT_PROVIDER),
    # A batch that failed ran nothing: its part may go out again, as after a full queue.
    "failed": State("collect", ("prepared",)),
    "completed": State("collect", ()),
    "expired": State("collect", ()),
    "cancelled": State("collect", ()),
}

# Validation errors about the moment or the account, not about a line: the same file may go again.
WAIT_CODES = ("token_limit_exceeded",)
WAIT_SECONDS = 60.0
RETRY_SECONDS = 5.0
# A file that the provider can't find for this long after its upload is uploaded anew.
FILE_SECONDS = 600.0
# The ids of the result files may come later than the status `completed`.
LATE_FILES_SECONDS = 3600.0

OpenProvider = Callable[[store.Job], Provider]


@dataclass
class Report:
    """What a pass did, and what there is to do still."""

    sent: int = 0
    collected: int = 0
    ended: list[store.Job] = field(default_factory=list)
    paused: list[store.Job] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
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


def one_pass(conn: sqlite3.Connection, jobs: list[store.Job], open_provider: OpenProvider) -> Report:
    """Reconcile, send, poll, collect and write back what is ready; never asks, never waits."""
    report = Report()
    for job in jobs:
        if job.requests is None or not job.unfinished:
            continue
        if job.approved_at is None and not any(p.batch_id for p in store.list_parts(conn, job.id)):
            continue
        sync_job(conn, job, open_provider, report)
    return report


def sync_job(
    conn: sqlite3.Connection, job: store.Job, open_provider: OpenProvider, report: Report
) -> None:
    """One pass over one job."""
    try:
        with ExitStack() as stack:
            pass_ = Pass(conn, job, open_provider(job), report)
            stack.callback(pass_.close)
            pass_.run()
    except NeedsAttention as error:
        pause(conn, job, str(error))
    except (Transient, Unreachable, QueueFull) as error:
        report.waiting.append(f"Job {job.id}: {error}")
    except ProviderError as error:
        pause(conn, job, str(error))
    settle_job(conn, job.id, report)


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
        self.found: dict[int, BatchState] | None = None

    def close(self) -> None:
        """Free what the pass held."""
        self.sender.close()
        self.writer.close()

    def run(self) -> None:
        """Bring in what is paid for first, then send what fits."""
        steps: dict[str, Callable[[store.Part], None]] = {
            "poll": self.poll,
            "collect": self.collect,
            "reconcile": self.reconcile,
            "send": self.send,
        }
        for needs in ("poll", "collect", "reconcile", "send", "poll", "collect"):
            if needs in ("reconcile", "send") and self.job.status != "running":
                continue
            for part in store.list_parts(self.conn, self.job.id):
                if STATES[part.status].needs == needs and not part.collected_at:
                    with store.leased(self.conn, part) as mine:
                        if mine:
                            steps[needs](store.get_part(self.conn, part.id))
        for part in store.list_parts(self.conn, self.job.id):
            if part.collected_at and not part.written_at:
                with store.leased(self.conn, part) as mine:
                    if mine:
                        self.writer.write_part(part)
        self.report.written[self.job.id] = self.writer.written

    def due(self, part: store.Part) -> bool:
        """Whether a part's waiting time is over."""
        return part.next_try_at is None or part.next_try_at <= clock.now()

    def known(self) -> dict[int, BatchState]:
        """What the provider has of this job: listed once per pass, before the first send."""
        if self.found is None:
            self.found = self.sender.look()
        return self.found

    def reconcile(self, part: store.Part) -> None:
        """A send was cut: find out how far it got before anything goes out again."""
        if not self.due(part):
            return
        batch = self.known().get(part.number)
        if batch is not None:
            self.sender.adopt(part, batch, "found")
            return
        fresh = (part.intent_at or "") > clock.now(-FILE_SECONDS)
        if part.status == "uploaded" and fresh:
            with self.refusals(part):
                self.report.sent += self.sender.create(part) is not None
            return
        if part.status == "creating" and (part.intent_at or "") > clock.now(-GRACE_SECONDS):
            self.report.waiting.append(
                f"Part {part.number} of job {self.job.id}: its sending was cut; "
                f"looking for its batch for {GRACE_SECONDS} s before it is sent again."
            )
            return
        if store.move_part(self.conn, part, "prepared"):
            self.send(store.get_part(self.conn, part.id))

    def send(self, part: store.Part) -> None:
        """Send a prepared part, unless the provider has it already."""
        if not self.due(part):
            return
        batch = self.known().get(part.number)
        if batch is not None:
            self.sender.adopt(part, batch, "found")
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
            self.wait(store.get_part(self.conn, part.id), str(error))
        except Unreachable:
            raise
        except Transient as error:
            if error.refused:
                self.put_off(store.get_part(self.conn, part.id), str(error))
            raise
        except ProviderError:
            store.move_part(self.conn, store.get_part(self.conn, part.id), "prepared")
            raise

    def wait(self, part: store.Part, why: str) -> None:
        """The queue at the provider is full: back to `prepared`, at no cost."""
        store.move_part(self.conn, part, "prepared", next_try_at=clock.now(WAIT_SECONDS))
        store.log(self.conn, "queue full", job_id=self.job.id, part_id=part.id, why=why)
        self.report.waiting.append(f"Part {part.number} of job {self.job.id}: {why}")

    def put_off(self, part: store.Part, why: str) -> None:
        """The provider said no for the moment: try again soon, with the file if it has one."""
        to = "uploaded" if part.input_file_id else "prepared"
        store.move_part(self.conn, part, to, next_try_at=clock.now(RETRY_SECONDS))
        store.log(self.conn, "put off", job_id=self.job.id, part_id=part.id, why=why)

    def poll(self, part: store.Part) -> None:
        """See how far a batch is."""
        assert part.batch_id is not None
        try:
            state = self.provider.retrieve(part.batch_id)
        except NotFound as error:
            self.lost(part, str(error))
            return
        with transaction(self.conn):
            store.update_part(
                self.conn,
                part.id,
                status=state.status if state.status in STATES else part.status,
                completed=state.completed,
                failed=state.failed,
                in_progress_at=state.in_progress_at,
                finalizing_at=state.finalizing_at,
                ended_at=(state.ended_at or clock.now()) if state.ended else None,
                expires_at=state.expires_at,
                errors=json.dumps(state.errors) if state.errors else None,
            )
            store.update_send(
                self.conn,
                part.id,
                part.sends,
                status=state.said,
                errors=json.dumps(state.errors) if state.errors else None,
                ended_at=(state.ended_at or clock.now()) if state.ended else None,
            )
            store.update_job(self.conn, self.job.id, checked_at=clock.now())

    def lost(self, part: store.Part, why: str) -> None:
        """The provider doesn't know the batch any more: nothing can come of it."""
        raise ProviderError(
            f"Batch {part.batch_id} of part {part.number} can't be found with this key ({why}). "
            "Is it another account's? Give the key that sent it with --key."
        )

    def collect(self, part: store.Part) -> None:
        """Take in an ended batch, and sort out what it didn't answer."""
        assert part.batch_id is not None
        state = self.provider.retrieve(part.batch_id)
        if state.status == "failed":
            self.failed(part, state)
            return
        if self.files_are_late(part, state):
            self.report.waiting.append(
                f"Part {part.number} of job {self.job.id}: its batch ended, "
                "its result file isn't there yet."
            )
            return
        collect(self.conn, self.provider, self.job, part, state)
        self.report.collected += 1
        self.ask_again(part)

    def files_are_late(self, part: store.Part, state: BatchState) -> bool:
        """Whether lines were counted and their file isn't named yet."""
        late = (state.completed and not state.output_file_id) or (
            state.failed and not state.error_file_id and not state.output_file_id
        )
        return bool(late) and (part.ended_at or "") > clock.now(-LATE_FILES_SECONDS)

    def failed(self, part: store.Part, state: BatchState) -> None:
        """A batch that failed its validation ran nothing. Bad lines cost their rows only."""
        codes = {str(error.get("code")) for error in state.errors}
        words = "; ".join(str(error.get("message")) for error in state.errors[:3])
        if codes & set(WAIT_CODES):
            self.wait(part, words)
            return
        rejected = self.reject_lines(part, state)
        if rejected == 0:
            self.refused(part, words or "no reason was given")
            return
        with transaction(self.conn):
            store.count_outcomes(self.conn, part.id)
            # What is left goes out again as it was; a part with nothing left ends in `send`.
            store.move_part(self.conn, part, "prepared")
            store.log(
                self.conn, "rejected", job_id=self.job.id, part_id=part.id, lines=rejected
            )
        if self.job.status == "running":
            self.send(store.get_part(self.conn, part.id))

    def reject_lines(self, part: store.Part, state: BatchState) -> int:
        """Give the rows of lines that validation named the provider's words. Returns how many."""
        found: dict[int, tuple[str, str | None, str | None, int]] = {}
        for error in state.errors:
            line = error.get("line")
            if isinstance(line, int) and line >= 1:
                request_id = store.nth_pending(self.conn, part.id, line)
                if request_id is not None:
                    code, message = error.get("code"), error.get("message")
                    found[request_id] = (
                        "rejected",
                        str(code) if code else None,
                        str(message) if message else None,
                        request_id,
                    )
        with transaction(self.conn):
            store.set_outcome(self.conn, found.values())
        return len(found)

    def refused(self, part: store.Part, words: str) -> None:
        """The whole file was refused, for no line's fault: the job stops with the words."""
        store.move_part(self.conn, part, "prepared")
        raise ProviderError(f"{self.provider.host} refused part {part.number}: {words}")

    def ask_again(self, part: store.Part) -> None:
        """What never ran, or failed by the provider's fault, goes out again as a new part."""
        attempts = int(self.job.settings.get("attempts", 3))
        if self.job.status != "running":
            return
        again = [
            row["id"]
            for row in store.rows(
                self.conn,
                "SELECT id, status, error_code FROM openai_batch_requests "
                "WHERE part_id = ? AND status NOT IN ('ok', 'pending') AND attempts < ? "
                "ORDER BY id",
                [part.id, attempts],
            )
            if is_providers_fault(row["status"], row["error_code"])
        ]
        if not again:
            return
        with transaction(self.conn):
            new = store.insert_part(
                self.conn,
                job_id=self.job.id,
                number=store.next_number(self.conn, self.job.id),
                status="prepared",
                requests=len(again),
                bytes=0,
            )
            store.move_requests(self.conn, again, new)
            store.count_outcomes(self.conn, new)
            store.count_outcomes(self.conn, part.id)
            store.log(
                self.conn, "asked again", job_id=self.job.id, part_id=new, requests=len(again)
            )


def settle_job(conn: sqlite3.Connection, job_id: int, report: Report) -> None:
    """Bring a job's own status up to date with its parts."""
    job = store.get_job(conn, job_id)
    if job.status == "paused":
        report.paused.append(job)
    parts = store.list_parts(conn, job_id)
    counts = store.outcomes(parts)
    done = all(part.collected_at and part.written_at for part in parts)
    stopping = job.status == "cancelling"
    unsent_only = all(part.written_at or part.status == "prepared" for part in parts)
    if not (done or (stopping and unsent_only)):
        return
    status = "cancelled" if stopping else "completed"
    if parts and counts and set(counts) <= {"rejected", "unrenderable", "too_large"}:
        status = "failed"
    with transaction(conn):
        if stopping:
            for part in parts:
                if part.status == "prepared":
                    store.end_pending(conn, part.id, "cancelled", None, "never sent")
                    store.count_outcomes(conn, part.id)
        store.update_job(
            conn,
            job_id,
            status=status,
            finished_at=clock.now(),
            checked_at=clock.now(),
            message=failed_message(conn, job_id) if status == "failed" else None,
        )
        store.log(conn, status, job_id=job_id)
    report.ended.append(store.get_job(conn, job_id))


def failed_message(conn: sqlite3.Connection, job_id: int) -> str:
    """Why nothing of a job could be run: the commonest message of its requests."""
    for message, _ in store.examples(conn, job_id).values():
        if message:
            return message
    return "no row could be asked"


def has_failures(conn: sqlite3.Connection, job: store.Job) -> bool:
    """Whether an ended job has requests without an answer."""
    counts = store.outcomes(store.list_parts(conn, job.id))
    return any(status not in ("ok", "pending") for status in counts)
