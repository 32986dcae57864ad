"""`apply` and `revert`: the answers of a job, written again and taken back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from .framework import Command, option, talk
from .options import ANSWERS, db_argument

if TYPE_CHECKING:
    from ..apply import Applied
    from ..revert import Reverted
    from ..store import Job

one_job = click.argument("job", metavar="JOB")


@click.command("apply", cls=Command)
@db_argument
@one_job
@option("--output", metavar="COLUMN", section=ANSWERS, help="Column for the answer")
@option("--output-table", metavar="TABLE", section=ANSWERS,
        help="Write to this table (the source's name: to the source itself)")  # fmt: skip
@option("--prefix", metavar="TEXT", section=ANSWERS,
        help="Begin the names of answer columns with this")  # fmt: skip
@option("--schema", metavar="SPEC|FILE", section=ANSWERS,
        help="Check the answers by this schema, and take its columns")  # fmt: skip
@option("--replace", is_flag=True, section=ANSWERS, help="Overwrite columns that hold values")
@option("--accept-stale", is_flag=True, section=ANSWERS,
        help="Write to rows too that changed since they were asked about")  # fmt: skip
def apply_command(
    db: str,
    job: str,
    output: str | None,
    output_table: str | None,
    prefix: str | None,
    schema: str | None,
    replace: bool,
    accept_stale: bool,
) -> None:
    """Write the stored answers of a job again: other columns, schema or table. No network.

    What the job wrote elsewhere is taken back first. Without options: what isn't written yet.

    \b
    Example:
      sqlite-utils openai-batch apply movies.db 3 --output-table film_labels
    """
    from .. import store
    from ..apply import Wish, apply
    from ..database import connect
    from ..schema import AnswerSchema

    wish = Wish(
        output=output,
        output_table=output_table,
        prefix=prefix,
        schema=AnswerSchema.load(schema) if schema else None,
        replace=replace,
        accept_stale=accept_stale,
    )
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        applied = apply(conn, found, wish)
    for line in applied_lines(found, applied, wish.accept_stale, db):
        talk(line)


@click.command("revert", cls=Command)
@db_argument
@one_job
def revert_command(db: str, job: str) -> None:
    """Undo the write-back of a job. Cells that somebody edited since stay as they are.

    \b
    Example:
      sqlite-utils openai-batch revert movies.db 3
    """
    from .. import store
    from ..database import connect
    from ..revert import revert

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        reverted = revert(conn, found)
    for line in reverted_lines(reverted):
        talk(line)
    talk(
        f"The answers are kept in job {found.id}: write them again with "
        f"sqlite-utils openai-batch apply {shlex.quote(db)} {found.id}"
    )


def applied_lines(job: Job, applied: Applied, accept_stale: bool, path: str) -> Sequence[str]:
    """What `apply` says."""
    from ..figures import counted

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
    if written.kept_existing:
        lines.append(
            f"{counted(written.kept_existing, 'row')} held a value, which was left as it is "
            "(--replace overwrites)."
        )
    if written.stale:
        wider = "" if accept_stale else " (--accept-stale writes them all the same)"
        lines.append(f"{counted(written.stale, 'row')} changed after being asked about{wider}.")
    if written.row_gone:
        lines.append(
            f"{counted(written.row_gone, 'row')} {'is' if written.row_gone == 1 else 'are'} gone."
        )
    if written.written:
        lines.append(f"Undo with: sqlite-utils openai-batch revert {db} {job.id}")
    return lines


def reverted_lines(reverted: Reverted) -> list[str]:
    """What `revert` says."""
    from ..figures import counted

    table = reverted.table
    if not (reverted.restored or reverted.edited or reverted.gone):
        lines = [f"Nothing of this job was written in {table}."]
    else:
        lines = [f"Took the answers out of {counted(reverted.restored, 'row')} of {table}."]
    if reverted.edited:
        keep = "keeps" if reverted.edited == 1 else "keep"
        lines.append(f"{counted(reverted.edited, 'row')} edited since {keep} what was edited.")
    if reverted.gone:
        lines.append(
            f"{counted(reverted.gone, 'row')} {'is' if reverted.gone == 1 else 'are'} gone."
        )
    if reverted.table_dropped:
        lines.append(f"Dropped the table {table}.")
    if reverted.dropped:
        lines.append(f"Dropped {', '.join(f'{table}.{name}' for name in reverted.dropped)}.")
    lines += [f"{table}.{name} stays: {why}." for name, why in reverted.kept.items()]
    return lines
