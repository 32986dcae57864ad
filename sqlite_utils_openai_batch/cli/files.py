"""`export-requests`, `import-responses`, `split`, `extract`, `validate`: batch files by hand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from ..base.text import counted, percent, size
from .click_ext import FAILED_REQUESTS, Command, FilePath, give, option, show, talk
from .jobs import any_format, write_rows
from .options import db_argument
from .screens.text import Counting

if TYPE_CHECKING:
    import sqlite3

    from ..jobs.files.export import Exported
    from ..jobs.files.extract import Extractor
    from ..jobs.files.import_ import BroughtIn
    from ..jobs.files.split import Piece
    from ..jobs.files.survey import AnswerFile
    from ..jobs.files.validate import Problem, RequestFile
    from ..store import Job


@click.command("export-requests", cls=Command)
@db_argument
@click.argument("job", metavar="JOB")
@click.argument("folder", type=FilePath(file_okay=False, path_type=Path), metavar="DIR")
@option(
    "--failed",
    is_flag=True,
    help="The failed requests too: they wait again, in parts of their own",
)
def export_requests_command(db: str, job: str, folder: Path, failed: bool) -> None:
    """Write a job's requests as JSONL files, one a part, and send nothing.

    \b
    Example:
      sqlite-utils openai-batch prepare movies.db movies --prompt '{{ title }}'
      sqlite-utils openai-batch export-requests movies.db 1 requests
    """
    from contextlib import closing

    from .. import store
    from ..jobs.files.export import export_requests, put_back
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        if failed:
            found = put_back(conn, found)
        done = []
        for one in export_requests(conn, found, folder):
            done.append(one)
            give(str(one.path))
        talk(exported_screen(found, done, db))


def exported_screen(job: Job, done: list[Exported], db: str) -> str:
    """What was written, and the commands for what comes next."""
    from ..results.words import own_server

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


# `split`, `extract` and `validate`: any batch file, no database.

PARTS = "Parts"
# Not for Click to judge whether it can be read: that is no mistake in the command.
ANY_FILE = FilePath(path_type=Path, readable=False)
provider_option = option("--provider", type=click.Choice(["openai", "azure"]), default="openai",
                         show_default=True, help="Whose limits hold")  # fmt: skip


@click.command("split", cls=Command)
@click.argument("file", type=ANY_FILE, metavar="FILE")
@click.argument("folder", type=ANY_FILE, metavar="DIR")
@option("--parts", type=click.IntRange(min=1), metavar="N", section=PARTS,
        help="That many parts, of about the same number of requests")  # fmt: skip
@option("--part-requests", type=click.IntRange(min=1), metavar="N", section=PARTS,
        help="At most that many requests in a part")  # fmt: skip
@option("--part-bytes", type=click.IntRange(min=1), metavar="N", section=PARTS,
        help="At most that many bytes in a part")  # fmt: skip
@option("--part-tokens", type=click.IntRange(min=1), metavar="N", section=PARTS,
        help="At most about that many input tokens in a part")  # fmt: skip
@provider_option
def split_command(
    file: Path,
    folder: Path,
    parts: int | None,
    part_requests: int | None,
    part_bytes: int | None,
    part_tokens: int | None,
    provider: str,
) -> None:
    """Cut a file of requests into files that a provider takes. No database, no network.

    The order stays, and so does each line. Without options: as few parts as the provider's
    limits allow.

    \b
    Example:
      sqlite-utils openai-batch split requests.jsonl parts --part-tokens 1800000
    """
    from ..jobs.files.split import Wish, split

    wish = Wish(provider, part_requests, part_bytes, part_tokens, parts)
    pieces = split(file, folder, wish)
    for piece in pieces:
        give(str(piece.path))
    talk(pieces_screen(pieces))


def pieces_screen(pieces: Sequence[Piece]) -> str:
    """How large the parts are; the sums are those of the file."""
    from ..jobs.files.split import Piece
    from .screens.text import table

    shown = pieces if len(pieces) <= 20 else [*pieces[:10], *pieces[-9:]]
    whole = Piece(
        Path("sum"),
        sum(piece.requests for piece in pieces),
        sum(piece.bytes for piece in pieces),
        sum(piece.tokens or 0 for piece in pieces),
    )
    with_tokens = pieces[0].tokens is not None
    headers = ["part", "requests", "size", *(["tokens, about"] if with_tokens else [])]
    cells = [
        [
            piece.path.name,
            f"{piece.requests:,}",
            size(piece.bytes),
            *([f"{piece.tokens or 0:,}"] if with_tokens else []),
        ]
        for piece in (*shown, whole)
    ]
    left_out = len(pieces) - len(shown)
    note = f"\n({counted(left_out, 'part')} in the middle not shown)" if left_out else ""
    return table(headers, cells, right=(1, 2, 3)) + note


@click.command("validate", cls=Command)
@click.argument("file", type=ANY_FILE, metavar="FILE")
@option("-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, metavar="N",
        help="Print at most so many problems; the others are counted")  # fmt: skip
@provider_option
@output_options  # type: ignore[untyped-decorator]
def validate_command(file: Path, limit: int, provider: str, **formats: Any) -> None:
    """Check a file of requests: what would a provider refuse? No database, no network.

    One bad line makes a whole batch fail, after a long wait. With an output format all problems are
    printed as rows. The exit code is 1 if there is any.

    \b
    Example:
      sqlite-utils openai-batch validate requests.jsonl
    """
    from collections import Counter

    from ..jobs.files.validate import RequestFile

    checked = RequestFile(file, provider)
    counts: Counter[str] = Counter()

    def told() -> Any:
        for problem in checked.problems():
            counts[problem.code] += 1
            yield problem

    if any_format(formats):
        headers = ["line", "code", "message"]
        write_rows(headers, ([one.line, one.code, one.message] for one in told()), formats)
    else:
        for number, problem in enumerate(told(), 1):
            if number <= limit:
                show(problem_line(problem))
    talk(checked_screen(checked, counts, 0 if any_format(formats) else limit))
    for new in checked.unknown.values():
        more = f" (in {new.lines:,} lines)" if new.lines > 1 else ""
        talk(f"Warning: line {new.line:,}{more}: body.{new.said}")
    if counts:
        raise click.exceptions.Exit(1)


def problem_line(problem: Problem) -> str:
    """A problem, and in which line it is."""
    where = "whole file" if problem.line is None else f"line {problem.line:,}"
    return f"{where:<10}  {problem.message}"


def checked_screen(checked: RequestFile, counts: dict[str, int], limit: int) -> str:
    """What is in the file, how near to the limits, and how many problems of which kind."""
    total = sum(counts.values())
    cap, name = checked.cap, shlex.quote(str(checked.path))
    lines = []
    if limit and total > limit:
        lines.append(f"… and {total - limit:,} more (-n {total})")
    what = [counted(checked.requests, "request"), size(checked.bytes)]
    what += filter(None, (checked.endpoint, checked.model))
    lines.append(f"{checked.path}: {', '.join(what)}.")
    used = [
        f"{percent(checked.requests, cap.requests)} of {cap.requests:,} requests",
        f"{percent(checked.bytes, cap.bytes)} of {size(cap.bytes)}",
    ]
    if checked.inputs:
        share = percent(checked.inputs, cap.embedding_inputs)
        used.append(f"{share} of {cap.embedding_inputs:,} embedding inputs")
    lines.append(f"Limits of {checked.provider}: {', '.join(used)}.")
    if not total:
        return "\n".join([*lines, "Nothing in it that would be refused."])
    kinds = ", ".join(f"{count:,} {code}" for code, count in sorted(counts.items()))
    lines.append(f"{counted(total, 'problem')}: {kinds}.")
    if {"file_too_large", "too_many_tasks"} & set(counts):
        lines.append(f"  Cut it with    sqlite-utils openai-batch split {name} DIR")
    return "\n".join(lines)


@click.command("extract", cls=Command)
@click.argument("files", nargs=-1, required=True, type=ANY_FILE, metavar="FILE…")
@option("--requests", type=ANY_FILE, metavar="FILE",
        help="What was asked: rows in its order, with prompts, and what is missing")  # fmt: skip
@option("--schema", metavar="SPEC|FILE",
        help="Check the answers by this schema, and take its columns")  # fmt: skip
@option("--endpoint", metavar="PATH", help="Endpoint of the API, where a file doesn't show it")
@option("-c", "--column", "columns", multiple=True, help="Only this column, repeatable")
@output_options  # type: ignore[untyped-decorator]
def extract_command(
    files: Sequence[Path],
    requests: Path | None,
    schema: str | None,
    endpoint: str | None,
    columns: Sequence[str],
    **formats: Any,
) -> None:
    """Print the answers in output and error files as a table. No database, no network.

    One row for each line: custom_id, answer, status, error, model, tokens.

    \b
    Examples:
      sqlite-utils openai-batch extract output.jsonl error.jsonl --csv
      sqlite-utils openai-batch extract output.jsonl -c custom_id -c answer --csv
      sqlite-utils openai-batch extract output.jsonl --requests requests.jsonl \\
        --schema 'mood good|bad' --nl | sqlite-utils insert a.db answers - --nl
    """
    from contextlib import closing

    from ..answers.schema import AnswerSchema
    from ..jobs.files.extract import Extractor

    shape = AnswerSchema.load(schema) if schema else None
    with closing(
        Extractor(files, schema=shape, endpoint=endpoint, requests=requests, columns=columns)
    ) as extractor:
        write_rows(extractor.headers, extractor.rows(), formats)
        talk(extracted_screen(extractor))


def extracted_screen(extractor: Extractor) -> str:
    """How many rows there are of each outcome, and the sum."""
    counts = extractor.counts
    total = sum(counts.values())
    kinds = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    said = f"{counted(total, 'row')}: {kinds}." if total else "No rows."
    if extractor.extra:
        said += (
            f" {counted(extractor.extra, 'line')} left out: of no request in that file, or of one "
            "that has its answer."
        )
    return said


# `import-responses`: answers that were made elsewhere, back into the jobs that asked for them.


@click.command("import-responses", cls=Command)
@db_argument
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@option("--free", is_flag=True, section="Money",
        help="The answers cost nothing: a server of your own made them")  # fmt: skip
def import_responses_command(db: str, files: Sequence[str], free: bool) -> None:
    """Take in output or error files that were made elsewhere: a web console, vLLM.

    Lines find their rows by custom_id, whatever their order and however many jobs a file mixes.
    The first answer to a request stays. To import a file twice changes nothing.

    \b
    Example:
      sqlite-utils openai-batch export-requests movies.db 1 out
      vllm run-batch -i out/part-1.jsonl -o out/answers-1.jsonl --model MODEL
      sqlite-utils openai-batch import-responses movies.db out/answers-1.jsonl
    """
    from contextlib import closing

    from ..store.connection import connect

    with closing(connect(db)) as conn:
        take_in(conn, db, files, free)


def take_in(conn: sqlite3.Connection, db: str, files: Sequence[str], free: bool) -> None:
    """Take in files of answers, and say what became of their lines. Exits as the command does."""

    from .. import store
    from ..base.scratch import scratch
    from ..jobs.files.import_ import bring_in
    from ..jobs.files.survey import Surveyor
    from ..jobs.sync.settle import has_failures
    from ..provider.places import forget_local

    reading = Counting()
    with scratch() as folder:
        store.check_version(conn)
        try:
            surveyed = Surveyor(conn, db, folder, reading.told).survey(files)
            done = bring_in(conn, surveyed, folder, free=free, told=reading.told)
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


def lines_screen(files: Sequence[AnswerFile], done: BroughtIn, db: str) -> str:
    """What became of each line that was read; the sum is their number."""
    from ..base.text import counted
    from ..results.words import failures

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
    from ..pricing.prices import usd
    from ..results.words import own_server

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
    from ..base.text import COMMAND, counted
    from ..results.advice import advise
    from ..results.words import failures, status_words
    from .screens.end import ended_screen
    from .screens.job import mend
    from .screens.text import progress

    counts = store.outcome_counts(store.list_parts(conn, job.id))
    name = f"{shlex.quote(db)} {job.id}"
    if job.id in done.unwritten:
        talk(f"Job {job.id}: {done.unwritten[job.id]}")
        talk(f"  The answers are kept. Write them elsewhere with    {COMMAND} apply {name}")
    elif job.id in {ended.id for ended in done.ended}:
        advice = advise(conn, job, failures(counts), db)
        talk(ended_screen(job, counts, asdict(done.written[job.id]), db, advice=advice))
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
