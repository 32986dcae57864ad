"""`jobs` and `show`, and how rows are printed: they read, and change nothing."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from ..base.text import PIECE_CHARACTERS
from .click_ext import Command, Given, give, option, show, talk
from .options import db_argument, job_argument

if TYPE_CHECKING:
    import sqlite3

    from ..base.errors import DatabaseError
    from ..results.months import Month
    from ..store import Job

    #: A job, its outcomes, and when it tries a full queue again.
    Listed = tuple[Job, dict[str, int], str | None]


@click.command("jobs", cls=Command)
@db_argument
@option("--totals", is_flag=True, help="Print what the jobs of each month cost")
@output_options  # type: ignore[untyped-decorator]
def jobs_command(db: str, totals: bool, **formats: Any) -> None:
    """List the jobs, newest first.

    \b
    Example:
      sqlite-utils openai-batch jobs movies.db
    """
    from contextlib import closing

    from .. import store
    from ..store.connection import connect
    from .screens.spent import months_of

    with closing(connect(db)) as conn:
        store.check_version(conn)
        months = months_of(conn)
        found, changed = listed_jobs(conn)
    if found or not changed:
        list_them(db, found, months, totals, formats)
    for error in changed:
        # They are listed no longer, and whoever looks must hear of it.
        talk(f"Error: {error}")
    if changed:
        raise click.exceptions.Exit(1)


def listed_jobs(
    conn: sqlite3.Connection,
) -> tuple[list[Listed], list[DatabaseError]]:
    """Each job with its outcomes, and what is wrong with those that another program changed."""
    from .. import store
    from ..jobs.queue import waits_until

    sound, changed = store.sorted_out(conn)
    found = [
        (job, store.outcome_counts(store.list_parts(conn, job.id)), waits_until(conn, job))
        for job in sound
    ]
    return found, changed


def list_them(
    db: str,
    found: Sequence[Listed],
    months: Sequence[Month],
    totals: bool,
    formats: dict[str, Any],
) -> None:
    """Print the jobs, or the months, in the format that was asked for."""
    from ..base.text import COMMAND
    from .screens.job import jobs_screen
    from .screens.spent import month_record, month_sentence, months_screen

    if totals and (any_format(formats) or not months):
        headers = ["month", "jobs", "requests", "prompt_tokens", "completion_tokens",
                   "cost_usd", "unknown_cost"]  # fmt: skip
        write_rows(headers, map(month_record, months), formats)
        return
    if totals:
        show(months_screen(months))
        return
    if any_format(formats):
        headers = ["id", "name", "source", "model", "status", "requests", "done", "failed",
                   "cost_usd", "created_at", "finished_at", "message"]  # fmt: skip
        write_rows(headers, (job_record(job, counts) for job, counts, _ in found), formats)
        return
    if not found:
        talk(f"No jobs in '{db}' yet. Start one with: {COMMAND} run {shlex.quote(db)} TABLE …")
        return
    show(jobs_screen(found))
    spent = month_sentence(months[0]) if months else ""
    talk(f"{spent}Details: {COMMAND} show {shlex.quote(db)} {found[0][0].id}")


def job_record(job: Any, counts: dict[str, int]) -> list[Any]:
    """A job as a row of data."""
    from ..base import clock
    from ..results.words import failures

    return [
        job.id,
        job.name,
        job.source,
        job.model,
        job.status,
        job.requests,
        (job.requests or 0) - counts.get("pending", 0),
        sum(failures(counts).values()),
        None if job.cost_nanousd is None else job.cost_nanousd / 1e9,
        clock.told(job.created_at),
        clock.told(job.finished_at),
        job.message,
    ]


@click.command("show", cls=Command)
@db_argument
@job_argument
@option("--log", is_flag=True, help="What happened, step by step")
def show_command(db: str, job: str | None, log: bool) -> None:
    """Show everything about a job, by default the newest.

    \b
    Example:
      sqlite-utils openai-batch show movies.db 3
    """
    from contextlib import closing

    from .. import store
    from ..jobs.first_part import is_bad
    from ..jobs.queue import queue_words, waits_until
    from ..results.advice import advise
    from ..results.again import rounds
    from ..results.words import failures
    from ..store.connection import connect
    from ..tables.output import Output
    from .screens.job import file_lines, show_screen

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        if log:
            for line in store.log_lines(conn, found.id):
                part = f"part {line['number']}" if line["number"] else ""
                show(
                    f"{line['at']}  {part:<8}  {line['event']:<12}  {line['detail'] or ''}".rstrip()
                )
            return
        parts = store.list_parts(conn, found.id)
        show(
            show_screen(
                found,
                parts,
                store.outcome_counts(parts),
                store.examples(conn, found.id),
                Output.of(found),
                store.answered_models(conn, found.id),
                db,
                queue_words(conn, found),
                waits_until(conn, found),
                file_lines(parts, store.log_lines(conn, found.id)),
                advise(conn, found, failures(store.outcome_counts(parts)), db),
                rounds(conn, found),
                by_answers=found.status == "paused" and is_bad(conn, found),
            )
        )


def any_format(formats: dict[str, Any]) -> bool:
    """Whether one of sqlite-utils' output options was given."""
    return any(
        formats[name] for name in ("nl", "arrays", "csv", "tsv", "table", "fmt", "json_cols")
    )


def write_rows(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], formats: dict[str, Any]
) -> None:
    """Print rows as sqlite-utils does, with its options; JSON where none is given."""
    if formats["table"] or formats["fmt"]:
        import tabulate

        give(
            tabulate.tabulate(
                list(rows),
                headers=() if formats["no_headers"] else headers,
                tablefmt=formats["fmt"] or "simple",
            )
        )
    elif formats["csv"] or formats["tsv"]:
        writer = csv.writer(Given(), dialect="excel-tab" if formats["tsv"] else "excel")
        if not formats["no_headers"]:
            writer.writerow(headers)
        writer.writerows(rows)
    else:
        # Defined in sqlite_utils.cli below the place where it loads plugins.
        from sqlite_utils.cli import output_rows as lines_of

        lines = lines_of(  # type: ignore[no-untyped-call]
            iter(rows),
            list(headers),
            formats["nl"],
            formats["arrays"],
            formats["json_cols"],
            formats["ascii_"],
        )
        for piece in in_pieces(lines):
            give(piece, json=True)


def in_pieces(lines: Iterable[str]) -> Iterator[str]:
    """Lines in pieces that are printed at once: each printing takes as long as a line."""
    found: list[str] = []
    size = 0
    for line in lines:
        found.append(line)
        size += len(line)
        if size >= PIECE_CHARACTERS:
            yield "\n".join(found)
            found, size = [], 0
    if found:
        yield "\n".join(found)
