"""`results` and `report`: what people take away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from .framework import Command, option, talk
from .look import any_format, write_rows
from .options import db_argument, job_argument

if TYPE_CHECKING:
    from ..results import Results

# What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command("results", cls=Command)
@db_argument
@job_argument
@option("--status", multiple=True, metavar="STATUS", help="Only this outcome, repeatable")
@option("-c", "--column", "columns", multiple=True, help="Only this column, repeatable")
@option("--xlsx", type=click.Path(dir_okay=False), metavar="FILE", help="Write an Excel file")
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
    from ..database import connect
    from ..errors import UsageError
    from ..outcome import STATUSES
    from ..results import Results

    for wanted in status:
        if wanted not in STATUSES:
            raise UsageError(f"No outcome is called '{wanted}'. There are: {', '.join(STATUSES)}")
    if xlsx and any_format(formats):
        raise UsageError("--xlsx writes a file of its own: leave out the other format.")
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        with closing(Results(conn, found, status=status, columns=columns)) as results:
            if xlsx:
                write_workbook(results, xlsx)
            else:
                rows: Iterable[Sequence[Any]] = results.rows()
                write_rows(results.headers, escaped(rows) if escape_formulas else rows, formats)


def write_workbook(results: Results, path: str) -> None:
    """Write an Excel file and say so."""
    from ..figures import counted
    from ..xlsx import check_fits, write_xlsx

    check_fits(results.count(), len(results.headers))
    count = write_xlsx(
        path, results.headers, results.rows(), text=results.job.keys, lists=results.lists()
    )
    talk(f"Wrote {counted(count, 'row')} to {path}.")


def escaped(rows: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Rows whose text no spreadsheet takes for a formula."""
    for row in rows:
        yield [
            f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
            for value in row
        ]


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
    from ..database import connect
    from ..report import report

    with closing(connect(db)) as conn:
        store.check_version(conn)
        click.echo(report(conn, store.find_job(conn, job, db)), nl=False)
