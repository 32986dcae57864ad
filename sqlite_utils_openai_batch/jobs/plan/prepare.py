"""Source → template → planner → job, parts and request rows. Nothing is sent here."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ... import store
from ...base import clock
from ...base.errors import JobError, SourceError
from ...pricing.ceiling import check_ceiling
from ...pricing.estimate import Distinct, Estimate, estimate
from ...pricing.sampling import Sample
from ...requests.chunks import shifted
from ...requests.images import remember_folder
from ...store import ballots, history
from ...store.connection import COMMIT_ROWS, COMMIT_SECONDS, transaction
from ...store.leases import renew_job
from ...store.records import VOICE
from .. import queue
from ..first_part import Key, plan_first, shown_good
from .plan import Plan
from .render import Rendered, Run, Tally, blank_sentence, rendered, rendered_windows

# The record of a job that is about to be stored: the columns of openai_batch_jobs.

# A prepare that is killed leaves a job without `requests`; after this long it is swept away.
ABANDONED_SECONDS = 15 * 60
#: Rows between two words of how far it is: some milliseconds, so that pages can be let pass.
TOLD_EVERY = 500


def job_values(
    plan: Plan,
    uid: str,
    provider: str,
    base_url: str | None,
    account: str | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The columns of a new job."""
    ask = plan.ask
    chosen = {
        "where": ask.where,
        "order": ask.order,
        "limit": ask.limit,
        "sample": ask.sample,
        "seed": ask.seed,
        "missing": ask.missing or None,
        "changed": ask.changed or None,
        "blanks": ask.blanks,
        "part_requests": ask.part_requests,
        "part_bytes": ask.part_bytes,
        "part_tokens": ask.part_tokens,
        "attempts": ask.attempts,
        "first_part": ask.first_part,
        "first_wait": ask.first_wait,
        **ask.image_settings,
        "reuse": ask.reuse or None,
        "repair": ask.repair,
        "times": ask.times,
        "voted": list(plan.voted) or None,
        "pilot": ask.pilot,
        "pilot_job": ask.pilot_job,
        "confidence": list(plan.confidence) or None,
        "codebook": plan.codebook.to_data() if plan.codebook else None,
        "lines": ask.lines is not None or None,
        "reads": [plan.renderer.columns[index] for index in plan.hashed],
        "prices": ask.money.prices.to_data() if ask.money.prices else None,
        "context_window": ask.money.window,
        **settings,
    }
    return {
        "uid": uid,
        "name": ask.name,
        "status": "prepared",
        "source": plan.source.name,
        "source_sql": plan.source.sql,
        "source_params": json.dumps(dict(ask.params)) if ask.params else None,
        "key_columns": json.dumps(list(plan.source.key_columns)),
        "endpoint": plan.template.endpoint,
        "model": plan.model,
        "template": plan.template.to_json(),
        "template_hash": plan.template.hash,
        "answer_schema": plan.schema.to_json() if plan.schema else None,
        "output": plan.output.to_json(),
        "provider": provider,
        "base_url": base_url,
        "account": account,
        "max_cost_nanousd": ask.money.max_cost,
        "options": json.dumps({key: value for key, value in chosen.items() if value is not None}),
        "created_at": clock.now(),
        "lease_owner": store.me(),
        "lease_until": clock.now(ABANDONED_SECONDS),
        "versions": json.dumps(versions()),
    }


@cache
def versions() -> dict[str, str]:
    """Versions of what makes jobs, for reports: a file is parsed for each."""
    from importlib.metadata import version

    names = ("sqlite-utils-openai-batch", "sqlite-utils", "openai", "jinja2")
    return {**{name: version(name) for name in names}, "sqlite": sqlite3.sqlite_version}


# Rendered rows → a job's part and request rows, in short transactions.


@dataclass
class _Part:
    """The part that is being filled."""

    id: int
    number: int
    requests: int = 0
    bytes: int = 0
    others: dict[str, int] = field(default_factory=dict)
    """Requests that aren't sent, by outcome."""

    def count(self, status: str) -> str:
        """Count a request that isn't sent. Returns its outcome."""
        outcome = "pending" if status == "shared" else status
        self.others[outcome] = self.others.get(outcome, 0) + 1
        return outcome

    def outcomes(self) -> dict[str, int]:
        """All requests of the part, by outcome."""
        pending = self.requests + self.others.get("pending", 0)
        return {**self.others, **({"pending": pending} if pending else {})}


class Recorder:
    """Stores a job's parts and requests in short transactions."""

    def __init__(self, conn: sqlite3.Connection, job_id: int):
        self.conn = conn
        self.job_id = job_id
        self.part: _Part | None = None
        self.waiting: list[store.RequestRow] = []
        self.pending: list[tuple[Sequence[int], Sequence[Any], Sequence[bytes]]] = []
        self.count = 0
        self.links: list[tuple[int, int]] = []
        self.last_commit = time.monotonic()

    def add_run(self, run: Run, first_id: int) -> None:
        """Take in rows that all go into the part that is open."""
        part, chunk = self.part, run.chunk
        assert part is not None
        part.requests += len(chunk.sizes)
        part.bytes += sum(chunk.sizes)
        self.pending.append((shifted(chunk.positions, first_id), chunk.row_keys, chunk.hashes))
        self.count += len(chunk.sizes)
        late = time.monotonic() - self.last_commit > COMMIT_SECONDS
        if late or self.count + len(self.waiting) >= COMMIT_ROWS:
            self.commit()

    def add(self, row: Rendered, request_id: int) -> None:
        """Take in one rendered row."""
        status, part = row.status, self.part
        # A row that can't be asked belongs to a part too: sums come from parts.
        if part is None or (row.starts_part and part.requests):
            part = self.start_part()
        if status == "pending":
            part.requests += 1
            part.bytes += row.size
        else:
            status = part.count(status)
            if row.same_as is not None:
                self.links.append((row.same_as, request_id))
        waiting = self.waiting
        waiting.append(
            (request_id, self.job_id, part.id, row.row_key, row.source_hash, status, row.message)
        )
        count = len(waiting)
        # the clock is asked now and then: asking costs more than taking in a row
        late = not count % 64 and time.monotonic() - self.last_commit > COMMIT_SECONDS
        if late or count >= COMMIT_ROWS:
            self.commit()

    def start_part(self) -> _Part:
        """Finish the part before, and begin the next."""
        self.commit()
        number = self.part.number + 1 if self.part else 1
        with transaction(self.conn):
            self.renew()
            part_id = store.insert_part(
                self.conn, job_id=self.job_id, number=number, status="prepared", requests=0, bytes=0
            )
        self.part = _Part(part_id, number)
        return self.part

    def commit(self) -> None:
        """Write what waits, and the part's figures, in one transaction."""
        if self.part is None:
            return
        with transaction(self.conn):
            self.renew()
            store.insert_requests(self.conn, self.waiting)
            for run in self.pending:
                store.insert_pending(self.conn, self.job_id, self.part.id, *run)
            history.link(self.conn, self.links)
            store.update_part(
                self.conn,
                self.part.id,
                requests=self.part.requests,
                bytes=self.part.bytes,
                outcomes=json.dumps(self.part.outcomes()),
            )
        self.waiting.clear()
        self.pending.clear()
        self.count = 0
        self.links.clear()
        self.last_commit = time.monotonic()

    def renew(self) -> None:
        """Keep the job for this process, in the caller's transaction.

        Raises JobError where another one took it for abandoned: the ids that were reserved for its
        requests may be others' by now.
        """
        if not renew_job(self.conn, self.job_id):
            raise JobError(
                "This took a long break, and another process has swept away what was prepared. "
                "Nothing was sent: run it again."
            )


def refuse_blanks(plan: Plan) -> None:
    """Raise SourceError for the first blank row, before anything is written."""
    is_blank = plan.renderer.is_blank
    for page in plan.pages(plan.renderer.columns):
        for row_key, values in page:
            if is_blank(values):
                raise SourceError(blank_sentence(plan, row_key))


def new_tally(plan: Plan) -> Tally:
    """A tally that counts tokens and identical requests too."""
    money = plan.ask.money
    sample = Sample(money.counter(plan.model), plan.template.endpoint, money.window)
    # Where a row's hash doesn't cover all that is rendered, it can't tell what is identical.
    whole = len(plan.hashed) == len(plan.renderer.columns)
    count = whole and not plan.ask.reuse
    return Tally(sample=sample, distinct=Distinct() if count else None)


def estimated(conn: sqlite3.Connection, plan: Plan, tally: Tally) -> Estimate:
    """What the rows in a tally of `new_tally` will cost, kept there as well."""
    assert tally.sample is not None
    tally.estimate = estimate(
        conn if store.exists(conn) else None,
        tally.sample,
        plan.ask.money,
        body=plan.template.body,
        template_hash=plan.template.hash,
        model=plan.model,
        same=tally.distinct.repeated() if tally.distinct else 0,
        capped_by_schema=plan.capped_by_schema,
    )
    if plan.ask.times:
        tally.estimate = tally.estimate.repeated(plan.ask.times)
    return tally.estimate


def repeat(conn: sqlite3.Connection, writer: Recorder, seed: int, times: int, stride: int) -> None:
    """Store all requests of a job so many times, each round in parts and with a seed of its own.

    The n-th request about a row is `stride` ids behind the one before it.
    """
    parts = store.list_parts(conn, writer.job_id)
    for n in range(1, times):
        for part in parts:
            with transaction(conn):
                writer.renew()
                made = store.insert_part(
                    conn,
                    job_id=writer.job_id,
                    number=store.next_number(conn, writer.job_id),
                    status="prepared",
                    requests=part.requests,
                    bytes=part.bytes,
                    outcomes=part.outcomes,
                    overrides=json.dumps({"seed": seed + n, VOICE: n}),
                )
            after: int | None = 0
            while after is not None:
                with transaction(conn):
                    writer.renew()
                    after = ballots.copy_requests(
                        conn, part.id, made, n * stride, after, COMMIT_ROWS
                    )
    with transaction(conn):
        options = {**store.get_job(conn, writer.job_id).settings, "stride": stride}
        store.update_job(conn, writer.job_id, options=json.dumps(options))


#: Ranges of keys that a look at a large table reads, and how many keys each.
PLACES, PLACE_KEYS = 64, 32


def glance(conn: sqlite3.Connection, plan: Plan) -> Tally | None:
    """What a few rows from all over a large table say of all its rows, in a second or two.

    None where rows are chosen in another way than by --where, and where all are read as soon.
    """
    windows = plan.source.windows(PLACES, PLACE_KEYS) if plan.chosen is None else []
    if not windows or plan.ask.limit is not None:
        return None
    tally = new_tally(plan)
    tally.distinct = None
    for _ in rendered_windows(plan, tally, windows):
        pass
    if not tally.asked:
        return None
    assert tally.sample is not None
    # the keys between two ranges, for each key that was looked at
    grown = (windows[-1][0] - windows[0][0]) / (len(windows) - 1) / PLACE_KEYS
    for name in ("asked", "blank", "bytes", "unrenderable", "too_large", "shared", "reused"):
        setattr(tally, name, round(getattr(tally, name) * grown))
    limits = plan.limits
    tally.parts = max(-(-tally.asked // limits.requests), -(-tally.bytes // limits.bytes))
    tally.sample.grow(tally.asked)
    estimated(conn, plan, tally)
    return tally


def survey(
    conn: sqlite3.Connection,
    plan: Plan,
    examples: int = 0,
    *,
    shows: Callable[[list[Rendered]], None] = lambda shown: None,
    told: Callable[[int], None] = lambda rows: None,
) -> tuple[Tally, list[Rendered]]:
    """Read and render all rows without keeping them: the counts, and the first few requests.

    `shows` is given these requests as soon as they are there, `told` hears how many rows
    were read so far.
    """
    tally = new_tally(plan)
    shown: list[Rendered] = []
    waits = examples > 0
    for found in rendered(plan, tally, "preview"):
        if waits:
            rows = found.rows() if isinstance(found, Run) else [found]
            shown += [row for row in rows if row.status == "pending"][: examples - len(shown)]
            if len(shown) == examples:
                waits = False
                shows(shown)
        told(tally.rows)
    if waits and shown:
        shows(shown)
    estimated(conn, plan, tally)
    return tally, shown


# What a request takes of the database beside its answer, in bytes: its row with three indexes, and
# the line that came back with two.
ROW_BYTES, LINE_BYTES = 180, 1_050
TOKEN_BYTES = 4
#: Bytes of an answer that nothing tells of, and those of a vector of 1,536 numbers.
ANSWER_BYTES, VECTOR_BYTES, VECTOR_LINE_BYTES = 200, 6_200, 34_000


def growth(plan: Plan, tally: Tally) -> tuple[int, int]:
    """About how many bytes the database grows by with all answers; of them those of raw lines."""
    found, asked = tally.estimate, tally.requests
    answer, line = ANSWER_BYTES, LINE_BYTES
    if plan.template.endpoint.endswith("/embeddings"):
        answer, line = VECTOR_BYTES, VECTOR_LINE_BYTES
    else:
        if found is not None and found.output and found.requests:
            answer = TOKEN_BYTES * found.output // found.requests
        elif found is not None and found.cap.source == "request" and found.cap.tokens:
            answer = min(answer, TOKEN_BYTES * found.cap.tokens)
        line += answer
    raw = asked * line if plan.output.responses == "all" else 0
    cells = answer if plan.output.write else 0
    return raw + asked * (ROW_BYTES + answer + cells), raw


def prepare(
    conn: sqlite3.Connection,
    plan: Plan,
    *,
    uid: str,
    provider: str,
    base_url: str | None,
    account: str | None,
    settings: dict[str, Any],
    progress: Callable[[int], None] | None = None,
) -> tuple[store.Job, Tally]:
    """Store a job with its parts and requests; status `prepared`, not approved.

    Until all is stored the job has no `requests`: what a kill leaves is swept by the next call.
    `progress` is told the number of rows read. Raises OpenAIBatchError; then nothing is left.
    """
    if plan.ask.blanks == "error":
        refuse_blanks(plan)
    store.migrate(conn)
    sweep(conn)
    total = plan.at_most()
    if plan.ask.image_dir is not None:
        remember_folder(uid, plan.ask.image_dir)
    with transaction(conn):
        job_id = store.insert_job(
            conn, job_values(plan, uid, provider, base_url, account, settings)
        )
        first_id = store.reserve_ids(conn, job_id, ids_of(plan, total))
    tally = new_tally(plan)
    try:
        fill(conn, plan, job_id, uid, first_id, total, tally, progress)
    except BaseException:
        with transaction(conn):
            # Where it was swept away, its id may be another job's by now.
            for job in store.list_jobs(conn):
                if job.uid == uid:
                    store.drop_job(conn, job.id)
        raise
    job = store.get_job(conn, job_id)
    fit_queue(conn, job, plan.ask.enqueued_tokens)
    if not is_shown(conn, plan, provider, base_url):
        plan_first(conn, job)
    return store.get_job(conn, job_id), tally


def ids_of(plan: Plan, total: int) -> int:
    """How many request ids a plan may take, whose source has at most `total` rows."""
    return max(total, 1) * (plan.ask.times or 1)


def is_shown(
    conn: sqlite3.Connection, plan: Plan, provider: str, base_url: str | None
) -> str | None:
    """Who has just shown good answers to what a plan asks, so that no part need go ahead.

    None where nobody has, and where somebody asked for such a part.
    """
    if plan.ask.first_typed:
        return None
    return shown_good(conn, question(plan, provider, base_url), plan.template.hash)


def question(plan: Plan, provider: str, base_url: str | None) -> Key:
    """What beside the template decides how a plan is answered, as `key_of` says of a job."""
    schema = plan.schema.to_json() if plan.schema else None
    return provider, base_url, plan.template.endpoint, schema


def fit_queue(conn: sqlite3.Connection, job: store.Job, asked: int | None) -> None:
    """Keep the queue limit that was given, and cut parts that take more than half of it."""
    if asked is not None:
        with transaction(conn):
            queue.learn(conn, job, asked, "option")
    if job.provider != "local":
        queue.recut(conn, job)


def fill(
    conn: sqlite3.Connection,
    plan: Plan,
    job_id: int,
    uid: str,
    first_id: int,
    total: int,
    tally: Tally,
    progress: Callable[[int], None] | None,
) -> None:
    """Write the parts and requests of a job that was just stored, then complete its record."""
    writer = Recorder(conn, job_id)
    told = 0
    # Rows that come while we read have no ids reserved: they wait for another job.
    for made in rendered(plan, tally, uid, first_id, stop=total):
        if isinstance(made, Run):
            writer.add_run(made, first_id)
        else:
            writer.add(made, first_id + made.position)
        if progress and tally.rows >= told + TOLD_EVERY:
            told = tally.rows
            progress(told)
    writer.commit()
    times = plan.ask.times or 1
    if times > 1:
        repeat(conn, writer, int(plan.template.body["seed"]), times, max(total, 1))
    found = estimated(conn, plan, tally)
    check_ceiling(found, plan.model, own_lines=plan.ask.lines is not None)
    with transaction(conn):
        writer.renew()
        store.drop_placeholder(conn, first_id, ids_of(plan, total))
        if tally.reused:
            history.take_answers(conn, job_id)
        finish_empty_parts(conn, job_id)
        share_estimate(conn, job_id, found, tally.bytes * times)
        store.update_job(
            conn,
            job_id,
            requests=tally.requests * times,
            skipped=tally.blank,
            **estimate_values(store.get_job(conn, job_id), found),
            lease_owner=None,
            lease_until=None,
        )
        store.log(conn, "prepared", job_id=job_id, requests=tally.asked * times, parts=tally.parts)
    store.build_indexes(conn)


def estimate_values(job: store.Job, found: Estimate) -> dict[str, Any]:
    """The columns of a job that hold its estimate."""
    return {
        "estimated_input_tokens": found.input.tokens,
        "estimated_cost_nanousd": found.about,
        "upper_cost_nanousd": found.most,
        "options": json.dumps({**job.settings, "estimate": found.to_data()}),
    }


def share_estimate(
    conn: sqlite3.Connection, job_id: int, found: Estimate, whole_bytes: int
) -> None:
    """Give each part its share of the estimate, by its bytes and requests."""
    for part in store.list_parts(conn, job_id):
        store.update_part(
            conn,
            part.id,
            estimated_tokens=found.share(part.bytes, whole_bytes),
            upper_cost_nanousd=found.share_of_most(part.bytes, part.requests, whole_bytes),
        )


def finish_empty_parts(conn: sqlite3.Connection, job_id: int) -> None:
    """A part none of whose rows can be asked has nothing to send: it is completed as it is."""
    for part in store.list_parts(conn, job_id):
        if part.requests == 0:
            now = clock.now()
            # Answers of earlier jobs are still to be written.
            written_at = None if part.counts.get("ok") else now
            store.update_part(
                conn,
                part.id,
                status="completed",
                ended_at=now,
                collected_at=now,
                written_at=written_at,
            )


def sweep(conn: sqlite3.Connection) -> None:
    """Remove what a killed `prepare` left behind: a job that never got its `requests`."""
    if not any(map(is_abandoned, store.list_jobs(conn))):
        return
    with transaction(conn):
        # Looked at again: it may have gone on meanwhile.
        for job in filter(is_abandoned, store.list_jobs(conn)):
            store.drop_job(conn, job.id)


def is_abandoned(job: store.Job) -> bool:
    """Whether a job was begun by a process that is gone, or that hasn't gone on for long."""
    free = store.may_take(job.lease_owner, job.lease_until)
    return job.requests is None and job.lease_owner != store.me() and free
