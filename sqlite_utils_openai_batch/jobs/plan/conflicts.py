"""What answers would meet in their cells: those of other jobs, and what is there already."""

from __future__ import annotations

import shlex
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

from ... import store
from ...base.errors import JobError
from ...base.text import counted, listed
from ...tables.output import Output, check_output
from .plan import rivals

if TYPE_CHECKING:
    from .plan import Plan

CHUNK = 500


def refuse_rivals(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError where a job that was sent will write cells that this one would write too."""
    for job, shared in rivals(conn, plan.source, plan.output):
        rows = rows_in_flight(conn, plan, job) if job.approved_at else 0
        if rows:
            target = plan.output.table or plan.source.name
            raise JobError(
                f"Job {job.id} is still asking about {counted(rows, 'row')} of these and writes "
                f"{listed(shared)} of {target} too: one of two answers would be paid in vain. "
                "Ask the other rows with --missing, write elsewhere with --output or --prefix, or "
                f"wait for it: sqlite-utils openai-batch watch {shlex.quote(path)} {job.id} "
                "(or ask all the same with --new)"
            )


def rows_in_flight(conn: sqlite3.Connection, plan: Plan, job: store.Job) -> int:
    """How many rows of a plan have an answer of that job to come, or to be written."""
    rows = 0
    for page in plan.pages(()):
        keys = [key for key, _ in page]
        for start in range(0, len(keys), CHUNK):
            rows += store.in_flight(conn, job.id, keys[start : start + CHUNK])
    return rows


def check_free(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError or OutputError where this would be asked, or written, a second time."""
    # --missing and --changed leave out whatever another job is still asking.
    if not (plan.ask.new or plan.ask.missing or plan.ask.changed):
        refuse_unfinished_twin(conn, plan, path)
        refuse_rivals(conn, plan, path)
    check_writable(conn, plan)


def check_writable(conn: sqlite3.Connection, plan: Plan) -> None:
    """Raise OutputError where answers would overwrite something, or can't be written."""
    # Rows whose cells hold something of others are never among these.
    careful = plan.ask.missing or plan.ask.changed
    check_output(conn, plan.source, replace(plan.output, replace=careful or plan.output.replace))


def refuse_unfinished_twin(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError where an unfinished job has the same source, template and output."""
    for job in store.unfinished_jobs(conn):
        same = (
            job.source == plan.source.name
            and job.source_sql == plan.source.sql
            and job.template_hash == plan.template.hash
            and Output.of(job).answer_names == plan.output.names
            and Output.of(job).table == plan.output.table
        )
        if same and job.requests is not None:
            step = "submit" if job.approved_at is None else "watch"
            raise JobError(
                f"Job {job.id} asks the same of {job.source or 'the same query'} and isn't "
                f"finished ({job.status}). Go on with: sqlite-utils openai-batch {step} "
                f"{shlex.quote(path)} {job.id} (or ask once more with --new)"
            )
