"""`import-responses`: answers that were made elsewhere, back into the jobs that asked for them."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..figures import cut
from .framework import FAILED_REQUESTS, Command, option, talk
from .options import db_argument

if TYPE_CHECKING:
    import sqlite3

    from ..answer_files import AnswerFile
    from ..bring_in import BroughtIn
    from ..store import Job


@click.command("import-responses", cls=Command)
@db_argument
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@option("--free", is_flag=True, section="Money",
        help="The answers cost nothing: a server of your own made them")  # fmt: skip
def import_responses_command(db: str, files: Sequence[str], free: bool) -> None:
    """Take in output or error files that were made elsewhere: a web console, vLLM.

    Lines find their rows by custom_id, whatever their order and however many jobs a file mixes.
    The first answer to a request stays, and the same file once more changes nothing.

    \b
    Example:
      sqlite-utils openai-batch export-requests movies.db 1 out
      vllm run-batch -i out/part-1.jsonl -o out/answers-1.jsonl --model MODEL
      sqlite-utils openai-batch import-responses movies.db out/answers-1.jsonl
    """
    import tempfile
    from contextlib import closing

    from .. import store
    from ..answer_files import Surveyor
    from ..bring_in import bring_in
    from ..database import connect
    from ..places import forget_local
    from ..settle import has_failures

    reading = Reading()
    with (
        closing(connect(db)) as conn,
        tempfile.TemporaryDirectory(prefix="openai-batch-") as folder,
    ):
        store.check_version(conn)
        try:
            surveyed = Surveyor(conn, db, Path(folder), reading.told).survey(files)
            done = bring_in(conn, surveyed, Path(folder), free=free, told=reading.told)
        finally:
            reading.end()
        talk(lines_screen(surveyed, done, db))
        if cost := cost_words(done, free):
            talk(cost)
        for job in done.jobs:
            tell_job(conn, job, done, db)
        for job in done.ended:
            forget_local(job.uid)
        if done.unwritten:
            raise click.exceptions.Exit(1)
        if any(has_failures(conn, job) for job in done.ended):
            raise click.exceptions.Exit(FAILED_REQUESTS)


class Reading:
    """Says how far it is, over one line of a terminal; elsewhere nothing."""

    def __init__(self) -> None:
        self.width = 0

    def told(self, words: str) -> None:
        """Hear how far it is."""
        if sys.stderr.isatty():
            # A line that wraps couldn't be written over.
            line = cut(words, shutil.get_terminal_size().columns - 1)
            talk("\r" + line.ljust(self.width), nl=False)
            self.width = len(line)

    def end(self) -> None:
        """Leave the line free for what comes next."""
        if self.width:
            talk("\r" + " " * self.width + "\r", nl=False)


def lines_screen(files: Sequence[AnswerFile], done: BroughtIn, db: str) -> str:
    """What became of each line that was read; the sum is their number."""
    from ..figures import counted
    from ..words import failures

    where = files[0].name if len(files) == 1 else counted(len(files), "file")
    failed = failures(done.outcomes)
    examples = [example for file in files for example in file.examples]
    more = " …" if done.unknown > len(examples) else ""
    kinds = ", ".join(f"{count:,} {status}" for status, count in failed.items())
    rows = [
        ("answers", done.outcomes.get("ok", 0), ""),
        ("failed", sum(failed.values()), kinds),
        ("second answers", done.surplus, "the first stays; these are kept as lines"),
        ("nothing new", done.nothing_new, "taken in before, or the request has its answer"),
        ("unknown", done.unknown, f"kept; no request in {db}: {', '.join(examples)}{more}"),
        ("broken", done.broken, "kept; cut lines, or no JSON object with a custom_id"),
    ]
    shown = [row for n, row in enumerate(rows) if row[1] or n == 0]
    lines = [f"Read {counted(done.lines, 'line')} of {where}."]
    lines += [f"  {name:<14} {count:>9,}   {why}".rstrip() for name, count, why in shown]
    lines.append(f"  {'sum':<14} {sum(count for _, count, _ in rows):>9,}")
    return "\n".join(lines)


def cost_words(done: BroughtIn, free: bool) -> str:
    """What the answers are counted as; empty where nothing is paid for them."""
    from ..prices import usd
    from ..words import own_server

    if free or not done.outcomes or all(own_server(job) for job in done.jobs):
        return ""
    if not done.counted:
        return "What they cost is counted when their batch is collected."
    if done.cost is None:
        return "What they cost isn't known: tokens or prices are missing."
    return (
        f"Counted as {usd(done.cost)}, at batch prices (--free is for answers that cost nothing)."
    )


def tell_job(conn: sqlite3.Connection, job: Job, done: BroughtIn, db: str) -> None:
    """Say how far a job is now, and what comes next."""
    from dataclasses import asdict

    from .. import store
    from ..figures import counted
    from ..words import COMMAND, failures, status_words
    from .end_screen import ended_screen
    from .job_screen import mend
    from .text import progress

    counts = store.outcomes(store.list_parts(conn, job.id))
    name = f"{shlex.quote(db)} {job.id}"
    if job.id in done.unwritten:
        talk(f"Job {job.id}: {done.unwritten[job.id]}")
        talk(f"  The answers are kept. Write them elsewhere with    {COMMAND} apply {name}")
    elif job.id in {ended.id for ended in done.ended}:
        talk(ended_screen(job, counts, asdict(done.written[job.id]), db))
        if failures(counts) and job.status == "completed":
            talk(f"  Or by hand  {COMMAND} export-requests {name} DIR --failed")
    else:
        talk(f"Job {job.id}: {progress(job, counts)} done · {status_words(job, counts)}")
        if again := done.again.get(job.id):
            talk(
                f"{counted(again, 'request')} that never ran {'waits' if again == 1 else 'wait'} "
                "to be asked again."
            )
        if job.status == "prepared":
            talk(f"  Send the rest   {COMMAND} submit {name}")
            talk(f"  Or by hand      {COMMAND} export-requests {name} DIR")
        elif job.status in ("running", "cancelling"):
            talk(f"  Go on with    {COMMAND} watch {name}")
        elif job.status == "paused":
            talk(f"  Go on with    {mend(job, db)}")
