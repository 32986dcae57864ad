"""`results`, `report` and `compare`: what people take away."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from ..base.text import counted
from .click_ext import Command, FilePath, give, option, show, talk
from .jobs import any_format, write_rows
from .options import db_argument, job_argument
from .screens.text import Counting

if TYPE_CHECKING:
    from ..results.compare import Comparison
    from ..results.reader import Reader


@click.command("results", cls=Command)
@db_argument
@job_argument
@option("--status", multiple=True, metavar="STATUS", 
        help="Only this outcome, repeatable; failed: all that have no answer")  # fmt: skip
@option("-c", "--column", "columns", multiple=True, help="Only this column, repeatable")
@option("--xlsx", type=FilePath(dir_okay=False), metavar="FILE", help="Write an Excel file")
@option("--escape-formulas", is_flag=True,
        help="In CSV and TSV, put ' before text that a spreadsheet would run")  # fmt: skip
@output_options  # type: ignore[untyped-decorator]
def results_command(
    db: str,
    job: str | None,
    status: Sequence[str],
    columns: Sequence[str],
    xlsx: str | None,
    escape_formulas: bool,
    **formats: Any,
) -> None:
    """Print the rows of a job with their answers, status and error.

    \b
    Examples:
      sqlite-utils openai-batch results movies.db 3 --csv > answers.csv
      sqlite-utils openai-batch results movies.db 3 --xlsx answers.xlsx
    """
    from .. import store
    from ..base.errors import UsageError
    from ..base.statuses import outcomes_of
    from ..base.text import listed
    from ..results.csv import readable
    from ..results.reader import Reader
    from ..store.connection import connect

    status = outcomes_of(status)
    if xlsx and any_format(formats):
        raise UsageError("--xlsx writes a file of its own: leave out the other format.")
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        with closing(Reader(conn, found, status, columns=columns)) as reader:
            if xlsx:
                write_workbook(reader, xlsx)
                return
            as_text = formats["csv"] or formats["tsv"] or formats["table"] or formats["fmt"]
            if as_text and (blobs := reader.blob_headers()):
                talk(f"BLOBs are written as base64: {listed(blobs)}.")
            if formats["csv"] and not formats["table"] and not formats["fmt"]:
                write_csv(reader, escape_formulas, header=not formats["no_headers"])
                return
            rows: Iterable[Sequence[Any]] = reader.rows()
            if as_text:
                rows = map(readable, rows)
            write_rows(reader.headers, escaped(rows) if escape_formulas else rows, formats)


def write_csv(reader: Reader, escape: bool, *, header: bool) -> None:
    """Print CSV, the bytes that the job's page gives; escaped where a terminal would act on it."""
    from ..results.csv import pieces

    out = sys.stdout.buffer
    for piece in pieces(reader, escape, header=header):
        if out.isatty():
            give(piece.decode("utf-8", "replace"), nl=False)
        else:
            out.write(piece)
    out.flush()


def write_workbook(reader: Reader, path: str) -> None:
    """Write an Excel file and say so."""
    from ..base.text import counted
    from ..results.xlsx import check_fits, check_name, write_xlsx

    check_name(path)
    whole = reader.results.count()
    check_fits(whole, len(reader.headers))
    counting = Counting()
    try:
        count = write_xlsx(
            path,
            reader.headers,
            reader.rows(),
            lists=reader.results.lists(),
            told=lambda count: counting.told(f"{count:,} of {whole:,} rows written"),
        )
    finally:
        counting.end()
    talk(f"Wrote {counted(count, 'row')} to {path}.")


def escaped(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Rows whose text no spreadsheet takes for a formula."""
    from ..results.csv import harmless

    return map(harmless, rows)


@click.command("report", cls=Command)
@db_argument
@job_argument
def report_command(db: str, job: str | None) -> None:
    """Print a job as Markdown for a methods section: request, models, dates, counts, cost.

    \b
    Example:
      sqlite-utils openai-batch report movies.db 3 > methods.md
    """
    from .. import store
    from ..results.report import report
    from ..store.connection import connect

    with closing(connect(db)) as conn:
        store.check_version(conn)
        give(report(conn, store.find_job(conn, job, db)), nl=False)


# `compare`: how far two jobs agree, or a job and what is known to be right.

# How long a comparison waits for another program before it isn't kept.
PATIENCE_MS = 250


@click.command("compare", cls=Command)
@db_argument
@click.argument("job", metavar="JOB")
@click.argument("others", nargs=-1, metavar="[JOB]...")
@option("--gold", multiple=True, metavar="COLUMN|ANSWER=COLUMN",
        help="Compare with this column of the source, repeatable")  # fmt: skip
@option("-c", "--column", "columns", multiple=True, help="Only this answer, repeatable")
@option("--disagree", is_flag=True, help="Print the rows on which both differ, not figures")
@option("-i", "--ignore-case", is_flag=True, help="Ignore capitals and white space")
@output_options  # type: ignore[untyped-decorator]
def compare_command(
    db: str,
    job: str,
    others: Sequence[str],
    gold: Sequence[str],
    columns: Sequence[str],
    disagree: bool,
    ignore_case: bool,
    **formats: Any,
) -> None:
    """Show how well two jobs agree, or a job and a column, or a job and people's labels.

    Without a second job or --gold, the job is compared with people's labels (see review). Rows are
    matched by their keys. Labels get a share and kappa; numbers a distance, correlation and
    concordance; lists the share of elements that both have.

    \b
    Examples:
      sqlite-utils openai-batch compare movies.db 2 3
      sqlite-utils openai-batch compare movies.db 2 3 4
      sqlite-utils openai-batch compare movies.db 3
      sqlite-utils openai-batch compare movies.db 3 --gold human_category
      sqlite-utils openai-batch compare movies.db 2 3 --disagree --csv > d.csv
    """
    from .. import store
    from ..base.errors import UsageError
    from ..results.compare import FIGURES, Comparison, figures
    from ..store.connection import connect
    from .screens.compare import compare_screen

    if len(others) > 1:
        if disagree:
            raise UsageError("--disagree needs two jobs, or one job and --gold or people's labels.")
        compare_several(db, [job, *others], gold, columns, ignore_case, formats)
        return
    other = others[0] if others else None
    if other and gold:
        raise UsageError("Compare with what? Name another job, or --gold COLUMN: one of them.")
    with closing(connect(db)) as conn:
        store.check_version(conn)
        first = store.find_job(conn, job, db)
        second = store.find_job(conn, other, db) if other else None
        comparison = Comparison(
            conn,
            first,
            second,
            gold=parse_gold(gold),
            people=not other and not gold,
            wanted=columns,
            fold_case=ignore_case,
        )
        if disagree:
            write_rows(difference_headers(comparison), difference_rows(comparison), formats)
            talk(different_words(comparison))
            return
        for _ in comparison.differences():
            pass
        keep(conn, comparison)
        if any_format(formats):
            rows = [figures(comparison, one) for one in comparison.columns]
            write_rows(FIGURES, [list(row.values()) for row in rows], formats)
        else:
            show(compare_screen(comparison, db))


def compare_several(
    db: str,
    names: Sequence[str],
    gold: Sequence[str],
    columns: Sequence[str],
    fold_case: bool,
    formats: dict[str, Any],
) -> None:
    """Print more than two jobs side by side."""
    from .. import store
    from ..results.several import FIGURES, figures, several
    from ..store.connection import connect
    from .screens.compare import several_screen

    with closing(connect(db)) as conn:
        store.check_version(conn)
        jobs = [store.find_job(conn, name, db) for name in names]
        found = several(conn, jobs, gold=parse_gold(gold), wanted=columns, fold_case=fold_case)
    if any_format(formats):
        rows = [figures(one, found.alphas[one.column]) for one in found.lines]
        write_rows(FIGURES, [list(row.values()) for row in rows], formats)
    else:
        show(several_screen(found))


def parse_gold(gold: Sequence[str]) -> dict[str, str]:
    """`COLUMN` and `ANSWER=COLUMN` as pairs; the answer is empty where none is named."""
    pairs = {}
    for text in gold:
        name, equals, column = text.partition("=")
        pairs[name.strip() if equals else ""] = column.strip() if equals else text
    return pairs


def keep(conn: sqlite3.Connection, comparison: Comparison) -> None:
    """Log what was found, for the job's page. A database that can't be written goes without."""
    from .. import store
    from ..results.compare import for_the_log
    from ..store.connection import transaction

    conn.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
    try:
        with transaction(conn):
            store.log(conn, "compared", job_id=comparison.first.job.id, **for_the_log(comparison))
    except sqlite3.OperationalError as error:
        # Read-only, or locked by another program: the figures are printed all the same.
        talk(f"(Not kept for the job's page: {error}.)")


def difference_headers(comparison: Comparison) -> list[str]:
    """The key columns, then both readings of each column."""
    from .screens.compare import sides

    first, second = (side.replace(" ", "_") for side in sides(comparison))
    headers = list(comparison.first.job.keys)
    for column in comparison.columns:
        headers += [f"{column.name}_{first}", f"{column.name}_{second}"]
    return headers


def difference_rows(comparison: Comparison) -> Iterator[list[Any]]:
    """The rows that differ."""
    from ..tables.sql import decode_key

    width = len(comparison.first.job.keys)
    for row_key, values in comparison.differences():
        yield [*decode_key(row_key, width), *(value for pair in values for value in pair)]


def different_words(comparison: Comparison) -> str:
    """How many rows differ in each column."""
    said = [
        f"{column.name}: {counted(column.agreement.n - column.agreement.same, 'row')} of "
        f"{column.agreement.n:,} differ"
        for column in comparison.columns
    ]
    return "; ".join(said) + "."
