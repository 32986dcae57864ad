"""`split`, `extract` and `validate`: any batch file, no database."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from ..figures import counted, percent, size
from .framework import Command, option, talk
from .look import any_format, write_rows

if TYPE_CHECKING:
    from ..extracting import Extractor
    from ..request_file import Problem, RequestFile
    from ..splitting import Piece

PARTS = "Parts"
# Not for Click to judge whether it can be read: that is no mistake in the command.
ANY_FILE = click.Path(path_type=Path, readable=False)
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
    from ..splitting import Wish, split

    wish = Wish(provider, part_requests, part_bytes, part_tokens, parts)
    pieces = split(file, folder, wish)
    for piece in pieces:
        click.echo(piece.path)
    talk(pieces_screen(pieces))


def pieces_screen(pieces: Sequence[Piece]) -> str:
    """How large the parts are; the sums are those of the file."""
    from ..splitting import Piece
    from .text import table

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
    """Say what in a file of requests a provider would refuse. No database, no network.

    One bad line fails a whole batch, after it has waited. With an output format all problems are
    printed as rows. The exit code is 1 if there is any.

    \b
    Example:
      sqlite-utils openai-batch validate requests.jsonl
    """
    from collections import Counter

    from ..request_file import RequestFile

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
                click.echo(problem_line(problem))
    talk(checked_screen(checked, counts, 0 if any_format(formats) else limit))
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
    """Print what the lines of output and error files answer, as a table. No database, no network.

    One row for each line: custom_id, answer, status, error, model, tokens.

    \b
    Examples:
      sqlite-utils openai-batch extract output.jsonl error.jsonl --csv
      sqlite-utils openai-batch extract output.jsonl -c custom_id -c answer --csv
      sqlite-utils openai-batch extract output.jsonl --requests requests.jsonl \\
        --schema 'mood good|bad' --nl | sqlite-utils insert a.db answers - --nl
    """
    from contextlib import closing

    from ..extracting import Extractor
    from ..schema import AnswerSchema

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
