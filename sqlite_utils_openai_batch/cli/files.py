"""`export-requests`: a job's requests as files, and what to do with them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..figures import counted, size
from .framework import Command, option, talk
from .options import db_argument

if TYPE_CHECKING:
    from ..export import Exported
    from ..store import Job


@click.command("export-requests", cls=Command)
@db_argument
@click.argument("job", metavar="JOB")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@option(
    "--failed",
    is_flag=True,
    help="The failed requests too: they wait again, in parts of their own",
)
@option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that write several parts at a time",
)
def export_requests_command(db: str, job: str, folder: Path, failed: bool, workers: int) -> None:
    """Write a job's requests as JSONL files, one a part, and send nothing.

    \b
    Example:
      sqlite-utils openai-batch prepare movies.db movies --prompt '{{ title }}'
      sqlite-utils openai-batch export-requests movies.db 1 requests
    """
    from contextlib import closing

    from .. import store
    from ..database import connect
    from ..export import export_requests, put_back

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        if failed:
            found = put_back(conn, found)
        done = []
        for one in export_requests(conn, found, folder, workers):
            done.append(one)
            click.echo(one.path)
        talk(exported_screen(found, done, db))


def exported_screen(job: Job, done: list[Exported], db: str) -> str:
    """What was written, and the commands for what comes next."""
    from ..words import own_server

    requests = sum(one.requests for one in done)
    left_out = sum(one.left_out for one in done)
    lines = [
        f"{counted(requests, 'request')} of job {job.id} in {counted(len(done), 'file')} "
        f"({size(sum(one.bytes for one in done))}). Nothing was sent."
    ]
    if left_out:
        lines.append(f"{counted(left_out, 'row')} left out: gone, or not to be rendered any more.")
    lines += [
        f"  By hand     upload at https://platform.openai.com/batches, endpoint {job.endpoint}",
        f"  With vLLM   {vllm_words(job, done)}",
        f"  Then        sqlite-utils openai-batch import-responses {shlex.quote(db)} "
        f"{answers_of(done)}",
    ]
    if not own_server(job):
        lines.append("              (with --free where the answers cost nothing)")
    if job.status == "running":
        lines.append(
            f"Warning: job {job.id} is running, so sync sends these as well. Keep it from that: "
            f"sqlite-utils openai-batch pause {shlex.quote(db)} {job.id}"
        )
    return "\n".join(lines)


def vllm_words(job: Job, done: list[Exported]) -> str:
    """The command that has vLLM answer all files, each into one beside it."""
    folder = str(done[0].path.parent)
    if len(done) == 1:
        first = shlex.quote(str(done[0].path))
        return f"vllm run-batch -i {first} -o {answers_of(done)} --model {model_words(job)}"
    numbers = " ".join(number_of(one) for one in done)
    part, answers = (f"{shlex.quote(folder)}/{name}-$n.jsonl" for name in ("part", "answers"))
    return (
        f"for n in {numbers}; do "
        f"vllm run-batch -i {part} -o {answers} --model {model_words(job)}; done"
    )


def answers_of(done: list[Exported]) -> str:
    """The files of answers, for a command line."""
    if len(done) == 1:
        return shlex.quote(str(done[0].path.with_name(f"answers-{number_of(done[0])}.jsonl")))
    return f"{shlex.quote(str(done[0].path.parent))}/answers-*.jsonl"


def number_of(one: Exported) -> str:
    """The number of an exported part."""
    return one.path.stem.removeprefix("part-")


def model_words(job: Job) -> str:
    """The model, for a command line."""
    return shlex.quote(job.model or "MODEL")
