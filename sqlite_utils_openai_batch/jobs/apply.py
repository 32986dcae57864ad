"""Write stored answers again: to other columns, by another schema, to another table.

The answers are those that are kept with the requests; nothing is asked of anybody. What the job
wrote before is reverted first, so that its answers stand in one place and can be undone. A call
that was cut is finished by the same call.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .. import store
from ..answers.schema import AnswerSchema
from ..base import clock
from ..base.errors import UsageError
from ..base.text import counted
from ..store import outcomes, reviews
from ..store.connection import COMMIT_ROWS, Commits, transaction
from ..store.leases import job_leased, renew_job
from ..tables.columns import fold, table_columns
from ..tables.output import Output, check_output, plan_output, refuse_values
from ..tables.source import Source, source_of_job
from ..tables.sql import filled_sql, quote
from .revert import Reverted, busy, check_settled, revert_held, reverted_lines
from .sync.settle import settle_job
from .writeback import Writer, Written, not_written_lines, refused_lines

PAGE = 2_000


@dataclass(frozen=True)
class Wish:
    """Where answers are to go now; None leaves it as it is."""

    output: str | None = None
    output_table: str | None = None
    prefix: str | None = None
    schema: AnswerSchema | None = None
    replace: bool = False
    accept_stale: bool = False
    reviewed: bool = False
    """Also what people say, and what counts then, in columns of their own."""

    @property
    def moves(self) -> bool:
        """Whether another place or shape is wished for."""
        wishes = (self.output, self.output_table, self.prefix, self.schema)
        return any(wish is not None for wish in wishes)


@dataclass
class Applied:
    """What `apply` did: what it took back first, and what became of the answers."""

    output: Output
    reverted: Reverted | None = None
    written: Written = field(default_factory=Written)
    checked: dict[str, int] = field(default_factory=dict)
    """Answers by outcome, where the schema is another one."""


def apply(conn: sqlite3.Connection, job: store.Job, wish: Wish) -> Applied:
    """Write the answers of a job again; no network.

    Raises JobError while the job isn't finished or another process works on it, OutputError for
    a place that can't take them, UsageError for wishes that can't be.
    """
    check_settled(conn, job)
    with job_leased(conn, job.id) as mine:
        if not mine:
            raise busy(job)
        return apply_held(conn, job, wish)


def apply_held(conn: sqlite3.Connection, job: store.Job, wish: Wish) -> Applied:
    """`apply` for a caller that holds the job's lease."""
    source = open_source(conn, job)
    try:
        if wish.accept_stale and source.uses_rowid:
            raise UsageError(
                f"{job.source} has no primary key: a row number may name another row by now, so "
                "changed rows are never written. Leave out --accept-stale."
            )
        output = planned(source, job, wish)
        if wish.reviewed:
            output = with_labels(conn, job, output)
        check_place(conn, source, Output.of(job), output)
    finally:
        source.close()
    applied = Applied(output)
    old = Output.of(job)
    schema = wish.schema.to_json() if wish.schema else job.answer_schema
    other = (output.table, output.columns, schema) != (old.table, old.columns, job.answer_schema)
    if other or wish.reviewed:
        applied.reverted = revert_held(conn, job)
        job = move(conn, job, output, schema)
    elif output != old:
        store.update_job(conn, job.id, output=output.to_json())
        job = store.get_job(conn, job.id)
    if wish.schema is not None:
        applied.checked = check_again(conn, job, wish.schema)
    applied.written = write_again(conn, job, accept_stale=wish.accept_stale)
    if job.unfinished:
        # It was paused because its answers couldn't be written: now they are.
        settle_job(conn, job.id, [], [])
    return applied


def open_source(conn: sqlite3.Connection, job: store.Job) -> Source:
    """The job's source, as it is now."""
    return source_of_job(conn, job)


def planned(source: Source, job: store.Job, wish: Wish) -> Output:
    """Where the answers of a job go by a wish."""
    old = Output.of(job)
    if not wish.moves:
        return replace(old, replace=old.replace or wish.replace, write=True)
    schema = wish.schema
    if schema is None and job.answer_schema is not None:
        schema = AnswerSchema.from_json(job.answer_schema)
    if schema is not None and old.columns[0].type == "BLOB":
        raise UsageError(f"The answers of job {job.id} are embeddings: no schema fits them.")
    named, prefix = wish.output, wish.prefix
    if prefix is None and named is None:
        named = old.columns[0].name if schema is None else None
        prefix = prefix_of(old)
    return plan_output(
        source,
        schema,
        output=named,
        output_table=old.table if wish.output_table is None else wish.output_table,
        prefix=prefix or "",
        replace=wish.replace,
        responses=old.responses,
        answer_type=old.columns[0].type if schema is None else "TEXT",
    )


def with_labels(conn: sqlite3.Connection, job: store.Job, output: Output) -> Output:
    """The place of the answers with columns for what people say. Raises UsageError."""
    labels = reviews.reviewed(reviews.of_job(conn, job.id))
    judged = {column for said in labels.values() for column in said}
    if not judged:
        raise UsageError(
            f"Nobody has labelled a row of job {job.id} yet: there is nothing to write. "
            f"Label some with: review DB {job.id}"
        )
    return output.with_judged(judged)


def prefix_of(output: Output) -> str:
    """What the names of a schema's columns begin with; nothing where there is no schema."""
    first = output.columns[0]
    return first.name.removesuffix(first.property) if first.property is not None else ""


def check_place(conn: sqlite3.Connection, source: Source, old: Output, new: Output) -> None:
    """Raise OutputError where answers can't go, or would meet values that aren't the job's."""
    check_output(conn, source, replace(new, replace=True))
    if new.replace or not new.write:
        return
    table = new.table or str(source.name)
    there = table_columns(conn, table)
    own = {fold(name) for name in old.names} if old.table == new.table else set()
    for name in new.names:
        if fold(name) in there and fold(name) not in own:
            (filled,) = conn.execute(
                f"SELECT coalesce(sum({filled_sql(quote(name))}), 0) FROM {quote(table)}"
            ).fetchone()
            refuse_values(table, name, filled)


def move(conn: sqlite3.Connection, job: store.Job, output: Output, schema: str | None) -> store.Job:
    """Record the new place; nothing counts as written there yet."""
    for part in store.list_parts(conn, job.id):
        while True:
            with transaction(conn):
                if outcomes.forget_writes(conn, part.id, COMMIT_ROWS) < COMMIT_ROWS:
                    break
    with transaction(conn):
        store.update_job(
            conn, job.id, output=output.to_json(), answer_schema=schema, created_columns=None
        )
        store.log(conn, "moved", job_id=job.id, table=output.table, columns=list(output.names))
    return store.get_job(conn, job.id)


def check_again(conn: sqlite3.Connection, job: store.Job, schema: AnswerSchema) -> dict[str, int]:
    """Check all answers by a schema: some are ok now that weren't, and the other way round."""
    counts: Counter[str] = Counter()
    with Commits(conn) as commits:
        for part in store.list_parts(conn, job.id):
            after = 0
            while page := outcomes.answered_page(conn, part.id, after, PAGE):
                after = page[-1][0]
                changed, change = [], Counter[str]()
                for request_id, _, _, status, answer, _ in page:
                    checked = schema.check(answer) if isinstance(answer, str) else None
                    new = checked.status if checked else "schema_violation"
                    counts[new] += 1
                    if new != status:
                        message = checked.message if checked else "the answer is not text"
                        changed.append((new, message, request_id))
                        change[new] += 1
                        change[status] -= 1
                commits.begin()
                outcomes.set_checked(conn, changed)
                outcomes.shift_outcomes(conn, part.id, change)
                commits.wrote(len(page))
    return dict(counts)


def write_again(conn: sqlite3.Connection, job: store.Job, *, accept_stale: bool) -> Written:
    """Write every answer that isn't in its columns, also what was stale or kept out before."""
    writer = Writer(conn, job, accept_stale=accept_stale)
    try:
        for part in store.list_parts(conn, job.id):
            after = 0
            with Commits(conn) as commits:
                while page := outcomes.answered_page(conn, part.id, after, PAGE):
                    after = page[-1][0]
                    writer.ready()
                    answers = [
                        (request_id, (row_key, digest, values))
                        for request_id, row_key, digest, status, answer, write_status in page
                        if status == "ok"
                        and write_status != "written"
                        and (values := writer.values(answer)) is not None
                    ]
                    commits.begin()
                    writer.write_requests(answers)
                    if not renew_job(conn, job.id):
                        raise busy(job)
                    commits.wrote(len(answers))
            store.update_part(conn, part.id, written_at=part.written_at or clock.now())
    finally:
        writer.close()
    return writer.written


def applied_lines(job: store.Job, applied: Applied, accept_stale: bool, path: str) -> Sequence[str]:
    """What `apply` says."""
    db = shlex.quote(path)
    table = applied.output.table or job.source
    names = ", ".join(f"{table}.{name}" for name in applied.output.names)
    undone = applied.reverted
    # After a revert there is nothing to take back, and nothing to say of it.
    lines = reverted_lines(undone) if undone and undone.did_something else []
    if applied.checked:
        kinds = ", ".join(f"{count:,} {status}" for status, count in applied.checked.items())
        lines.append(f"Checked {counted(sum(applied.checked.values()), 'answer')}: {kinds}.")
    written = applied.written
    if not written.total:
        return [*lines, f"There is no answer left to write to {names}."]
    lines.append(f"Wrote {counted(written.written, 'answer')} to {names}.")
    hints = {"kept_existing": "--replace overwrites"}
    if not accept_stale:
        hints["stale"] = "--accept-stale writes them all the same"
    lines += not_written_lines(vars(written), hints)
    lines += refused_lines(written.refused)
    if written.written:
        lines.append(f"Undo with: sqlite-utils openai-batch revert {db} {job.id}")
    return lines
