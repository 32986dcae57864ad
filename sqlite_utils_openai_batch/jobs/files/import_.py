"""Answers that come by hand: from a web console, from `vllm run-batch`, from another machine.

Their lines go through the very code that takes in the files of a batch (`taking`), so the same
holds for them: the first `ok` stays, a row that changed is stale, nothing reaches a wrong row, and
the same file once more changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from ... import store
from ...base import clock
from ...base.errors import JobError, OutputError
from ...base.statuses import CUT
from ...pricing.prices import Spent, stated_prices
from ...store import history
from ...store.connection import transaction
from ...store.costs import add_cost, is_unpriced
from ...store.leases import job_leased, renew_job
from ..revert import busy
from ..sync.collect import Changed, Known, ResultFile, Taker, count_parts
from ..sync.settle import ask_again, put_back, settle_job, share
from ..sync.staging import Chunk, Staged
from ..writeback import Writer, Written
from .survey import AnswerFile, Place, Told, by_place

# Takes in lines that were brought by hand: as those of a batch, and counts what they cost.


class Importer(Taker):
    """Takes in the lines of files for one part.

    Tokens, cost and, where the part wasn't sent, the attempt are added with the answers that they
    are of, in the same transaction: so a file that was cut, and comes again whole, is counted once.
    What answers a part that is at the provider is counted when its batch is collected, which may be
    where these lines are from.
    `seen` tells for each file whether it was here before, `tell` hears of lines.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        part: store.Part,
        writer: Writer,
        *,
        seen: Sequence[bool],
        free: bool,
        tell: Callable[[int], None],
    ) -> None:
        super().__init__(conn, job, part, writer)
        self.seen = seen
        self.free = free
        self.tell = tell
        self.settled: dict[int, str] = {}
        """Requests, each once also where writing is given up and it is settled again."""
        if free:
            self.prices = stated_prices(Decimal(0), Decimal(0))
        self.tried = part.id if part.status == "prepared" else None
        self.counted = self.tried is not None or part.collected_at is not None
        self.extra = Spent(self.prices)
        """Second answers, which were paid for too."""

    def take_in(self) -> None:
        """Read the files and settle what they say; second answers are counted anew."""
        self.extra = Spent(self.prices)
        super().take_in()

    def took(self, fresh: Chunk) -> None:
        """Count the usual answers, and add what they cost."""
        self.tell(len(fresh))
        self.settled.update(dict.fromkeys(fresh.ids, "ok"))
        if self.counted and len(fresh):
            spent = Spent(self.prices)
            spent.add_all(fresh.outcomes)
            self.pay(spent)

    def judge(self, chunk: Sequence[Staged], known: Known) -> tuple[Changed, Changed]:
        """Which outcome settles each request; what that cost is added.

        What failed in a file that was here before is nothing new, also where the request waits
        again since.
        """
        self.tell(len(chunk))
        fresh = [line for line in chunk if line[3].status == "ok" or not self.seen[line[1]]]
        answered, failed = super().judge(fresh, known)
        changed = [*answered.items(), *failed.items()]
        self.settled.update({one: outcome.status for one, outcome in changed})
        if changed and self.counted:
            spent = Spent(self.prices)
            spent.add([outcome for _, outcome in changed])
            self.pay(spent)
        return answered, failed

    def surplus(self, line: Staged) -> None:
        """Note a second answer, and what it cost where it is a new one."""
        super().surplus(line)
        _, file, _, outcome = line
        if self.counted and not self.seen[file]:
            self.extra.add([outcome])

    def pay(self, spent: Spent) -> None:
        """Add tokens and cost, in the transaction that the caller holds."""
        if self.free:
            spent.unpriced = 0
        add_cost(self.conn, self.part.id, spent)


@dataclass
class BroughtIn:
    """What became of the lines of files, and of the jobs that they answer."""

    lines: int = 0
    broken: int = 0
    unknown: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Requests that were settled, by outcome."""
    surplus: int = 0
    """Second answers: kept, and not used."""
    cost: int | None = 0
    """Of what was counted, in nano-dollars; None where it isn't known."""
    counted: bool = False
    """Whether anything was counted: what answers a part at the provider is counted later."""
    jobs: list[store.Job] = field(default_factory=list)
    ended: list[store.Job] = field(default_factory=list)
    written: dict[int, Written] = field(default_factory=dict)
    unwritten: dict[int, str] = field(default_factory=dict)
    """Jobs whose answers can't be written, and why."""
    again: Counter[int] = field(default_factory=Counter)
    """Requests of a job that never ran, and wait in a new part."""

    @property
    def nothing_new(self) -> int:
        """Lines that changed nothing: taken in before, or of requests that are settled."""
        told = sum(self.outcomes.values()) + self.surplus + self.broken + self.unknown
        return max(self.lines - told, 0)


def bring_in(
    conn: sqlite3.Connection,
    files: Sequence[AnswerFile],
    folder: Path,
    *,
    free: bool = False,
    told: Told = lambda words: None,
) -> BroughtIn:
    """Take in the lines of files that were surveyed; `folder` is for temporary copies.

    With `free` the answers cost nothing; else what the job's model costs. Raises JobError where a
    part is on its way to the provider, or another process works on it: before anything is written.
    """
    by_job: dict[int, dict[int, list[AnswerFile]]] = {}
    done = BroughtIn()
    pieces: dict[str, dict[Place, Path]] = {}
    for file in files:
        done.lines += file.lines
        done.broken += file.broken
        done.unknown += file.unknown
        for job_id, part_id in file.places:
            by_job.setdefault(job_id, {}).setdefault(part_id, []).append(file)
    for job_id, by_part in by_job.items():
        check_open(store.get_job(conn, job_id), [store.get_part(conn, one) for one in by_part])
    for file in files:
        pieces[file.file_id] = by_place(file, folder)
    for job_id, by_part in sorted(by_job.items()):
        with job_leased(conn, job_id) as mine:
            if not mine:
                raise busy(store.get_job(conn, job_id))
            before = cost_so_far(conn, job_id)
            Bringing(conn, store.get_job(conn, job_id), done, pieces, free, told).take(by_part)
            after = cost_so_far(conn, job_id)
            if before is None or after is None or done.cost is None:
                done.cost = None
            else:
                done.cost += after - before
            settle(conn, job_id, done)
        done.jobs.append(store.get_job(conn, job_id))
    return done


def cost_so_far(conn: sqlite3.Connection, job_id: int) -> int | None:
    """What the parts of a job have cost, in nano-dollars; None where that isn't known of one."""
    parts = store.list_parts(conn, job_id)
    if any(is_unpriced(part) for part in parts):
        return None
    return sum(part.cost_nanousd or 0 for part in parts)


def check_open(job: store.Job, parts: Sequence[store.Part]) -> None:
    """Raise JobError where answers of these parts can't be taken in now."""
    if job.requests is None:
        raise JobError(f"Job {job.id} is being prepared: try again when it is done.")
    for part in parts:
        # Its file holds requests that these answer, and may become a batch yet: paid twice.
        if part.status in CUT:
            raise JobError(
                f"Part {part.number} of job {job.id} is on its way to the provider "
                f"({part.status}). Let sync find out what became of it, then bring its answers."
            )


def settle(conn: sqlite3.Connection, job_id: int, done: BroughtIn) -> None:
    """Bring the job's own status up to date with what its parts are now."""
    job = store.get_job(conn, job_id)
    counts = store.outcome_counts(store.list_parts(conn, job_id))
    # None of its rows could be asked, and somebody asked them all the same.
    revived = job.status == "failed" and counts.get("ok")
    if job.unfinished or revived:
        settle_job(conn, job_id, done.ended, [])


class Bringing:
    """Takes in what files hold for one job. The caller holds the job's lease."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        job: store.Job,
        done: BroughtIn,
        pieces: Mapping[str, Mapping[Place, Path]],
        free: bool,
        told: Told,
    ) -> None:
        self.conn = conn
        self.job = job
        self.done = done
        self.pieces = pieces
        self.free = free
        self.told = told
        self.judged = 0
        self.seen: set[str] = set()
        """Ids of files that were taken in for this job before."""

    def take(self, by_part: Mapping[int, Sequence[AnswerFile]]) -> None:
        """Take in the files of each part, then bring the parts up to date, all together.

        Until then nothing is asked again: a call that was cut is finished by the same call.
        """
        files = {file.file_id: file for some in by_part.values() for file in some}
        self.seen = {one for one in files if history.was_imported(self.conn, self.job.id, one)}
        with closing(Writer(self.conn, self.job)) as writer:
            with ExitStack() as leases:
                parts = [self.hold(leases, part_id) for part_id in sorted(by_part)]
                taken = []
                for part in parts:
                    self.renew(parts)
                    taken.append(self.take_part(part, by_part[part.id], writer))
                with transaction(self.conn):
                    self.renew(parts)
                    for taker in taken:
                        self.end_part(taker)
                    for file in files.values():
                        if file.file_id not in self.seen:
                            self.log(file)
            share(self.conn, self.job)
            self.write_rest(writer)
            self.done.written[self.job.id] = writer.written

    def tell(self, lines: int) -> None:
        """Say how far it is."""
        self.judged += lines
        self.told(f"{self.judged:,} answers of job {self.job.id} taken in")

    def hold(self, leases: ExitStack, part_id: int) -> store.Part:
        """Take the lease of a part. Raises JobError where that can't be."""
        if not leases.enter_context(store.leased(self.conn, store.get_part(self.conn, part_id))):
            raise busy(self.job)
        part = store.get_part(self.conn, part_id)
        check_open(self.job, [part])
        return part

    def renew(self, parts: Sequence[store.Part]) -> None:
        """Prolong all leases. Raises JobError where one was lost: what is taken in stays so."""
        held = [renew_job(self.conn, self.job.id), *(store.renew(self.conn, one) for one in parts)]
        if not all(held):
            raise busy(self.job)

    def take_part(self, part: store.Part, files: Sequence[AnswerFile], writer: Writer) -> Importer:
        """Take in the lines of one part that this process holds."""
        place: Place = (self.job.id, part.id)
        taker = Importer(
            self.conn,
            self.job,
            part,
            writer,
            seen=[file.file_id in self.seen for file in files],
            free=self.free,
            tell=self.tell,
        )
        taker.take(
            [ResultFile("import", file.file_id, self.pieces[file.file_id][place]) for file in files]
        )
        self.done.outcomes.update(taker.settled.values())
        taker.settled.clear()
        self.done.counted = self.done.counted or taker.counted
        self.done.surplus += taker.collected.surplus
        return taker

    def end_part(self, taker: Importer) -> None:
        """Bring a part up to date; one that has nothing left to send is never sent."""
        part, collected, now = taker.part, taker.collected, clock.now()
        if taker.extra.requests or taker.extra.unpriced:
            taker.pay(taker.extra)
        count_parts(self.conn, part, collected)
        written = now if collected.written else None
        if part.collected_at:
            if not collected.written:
                store.update_part(self.conn, part.id, written_at=None)
        elif part.status == "prepared" and not store.pending_page(self.conn, part.id, 0, 1):
            store.move_part(
                self.conn, part, "completed", ended_at=now, collected_at=now, written_at=written
            )
            if self.job.status in ("prepared", "running", "paused"):
                again = ask_again(self.conn, self.job, store.get_part(self.conn, part.id))
                self.done.again[self.job.id] += again
            put_back(self.conn, part.id)

    def log(self, file: AnswerFile) -> None:
        """Record that a file was brought, and how many of its lines were for this job."""
        lines = sum(count for (job_id, _), count in file.places.items() if job_id == self.job.id)
        store.log(self.conn, "imported", job_id=self.job.id, file=file.file_id, lines=lines)

    def write_rest(self, writer: Writer) -> None:
        """Write answers of ended parts that aren't in their columns yet."""
        for part in store.list_parts(self.conn, self.job.id):
            if part.collected_at and not part.written_at:
                with store.leased(self.conn, part) as mine:
                    if not mine:
                        raise busy(self.job)
                    try:
                        writer.write_part(part)
                    except OutputError as error:
                        self.done.unwritten[self.job.id] = str(error)
                        return
