"""`review`, `shares` and `vote`: labels by people, what they say of all rows, votes of jobs."""

from __future__ import annotations

import getpass
import shlex
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click
from sqlite_utils.cli import output_options

from ..base.text import counted
from .click_ext import Command, ask, give, option, show, talk
from .jobs import any_format, write_rows
from .options import ANSWERS, db_argument

if TYPE_CHECKING:
    from ..jobs.vote import Voted
    from ..results.review.columns import Question
    from ..results.review.sample import Choice
    from ..results.review.turns import Turn, Turns
    from ..store import Job
    from ..store.reviews import Sample

ROWS = "Which rows"


@click.command("review", cls=Command)
@db_argument
@click.argument("job", metavar="JOB")
@option("-n", "--size", type=click.IntRange(min=1), metavar="N", section=ROWS,
        help="How many rows (100)")  # fmt: skip
@option("--seed", type=int, metavar="N", section=ROWS,
        help="Draw the random sample of this seed (0): the same rows each time")  # fmt: skip
@option("--status", metavar="STATUS", section=ROWS, help="Rows of one outcome instead")
@option("--least-sure", metavar="COLUMN", section=ROWS,
        help="Rows with the smallest number in this answer instead")  # fmt: skip
@option("--differ", metavar="JOB|people", section=ROWS,
        help="Rows that another job, or another coder, answers differently")  # fmt: skip
@option("--coder", metavar="NAME", help="Who labels (your login name)")
@option("-c", "--column", "columns", multiple=True, help="Only this answer, repeatable")
@option("--blind/--show-answer", default=None,
        help="Hide what the model says, or show it (hidden in a random sample)")  # fmt: skip
@option("--csv", "as_csv", is_flag=True, help="Write a sheet to fill in elsewhere")
@option("--import", "file", metavar="FILE", help="Read the labels of a sheet")
def review_command(
    db: str,
    job: str,
    size: int | None,
    seed: int | None,
    status: str | None,
    least_sure: str | None,
    differ: str | None,
    coder: str | None,
    columns: Sequence[str],
    blind: bool | None,
    as_csv: bool,
    file: str | None,
) -> None:
    """Label rows of a job by hand: here, or in a sheet for a spreadsheet.

    By default you see a random sample, and not the model's answers. Only such a sample supports a
    claim about all rows (see shares). Labels are kept apart from the answers.

    \b
    Examples:
      sqlite-utils openai-batch review movies.db 3 -n 60
      sqlite-utils openai-batch review movies.db 3 --csv -n 400 > sheet.csv
      sqlite-utils openai-batch review movies.db 3 --import sheet.csv --coder anna
    """
    from .. import store
    from ..base.errors import UsageError
    from ..results.review.columns import questions
    from ..results.review.sample import Choice, choose
    from ..store.connection import connect

    choice = Choice(size, seed, status, least_sure, differ, blind)
    if file is not None and (as_csv or choice != Choice()):
        raise UsageError("--import reads a sheet. Only --coder and -c go with it.")
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = store.find_job(conn, job, db)
        store.migrate(conn)
        if file is not None:
            import_words(conn, db, found, file, coder, columns)
            return
        asked = questions(found, columns)
        sample = choose(conn, found, choice, db)
        if as_csv:
            write_sheet(conn, found, sample, asked)
            talk(sheet_words(sample, choice))
        else:
            converse(conn, db, found, sample, asked, coder or login_name())


def login_name() -> str:
    """Who is at the keyboard."""
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):
        # What there is depends on the system: in a container a number may have no name.
        return "me"


def write_sheet(
    conn: sqlite3.Connection, job: Job, sample: Sample, asked: Sequence[Question]
) -> None:
    """Print a sheet as CSV that a spreadsheet runs no formula of."""
    from ..results.csv import harmless, line
    from ..results.review.sheet import sheet

    out = sys.stdout.buffer
    for number, cells in enumerate(sheet(conn, job, sample, asked)):
        out.write(line(harmless(cells) if number else cells).encode("utf-8", "replace"))
    out.flush()


def sample_words(sample: Sample) -> str:
    """Which rows these are: `60 of 5,000 answered rows, drawn at random (seed 7)`."""
    from ..store.reviews import KINDS

    seed = f" (seed {sample.seed})" if sample.kind == "random" else ""
    what = "answered row" if sample.kind != "status" else "row"
    return (
        f"{len(sample.requests):,} of {counted(sample.population, what)}, "
        f"{KINDS.get(sample.kind, sample.kind)}{seed}"
    )


def sheet_words(sample: Sample, choice: Choice) -> str:
    """What stands in a sheet."""
    hidden = "the model's answers aren't in it" if sample.blind else "with the model's answers"
    fewer = choice.size is not None and len(sample.requests) < choice.size
    return f"{sample_words(sample)}: {'all that there are; ' if fewer else ''}{hidden}."


def import_words(
    conn: sqlite3.Connection,
    db: str,
    job: Job,
    file: str,
    coder: str | None,
    columns: Sequence[str],
) -> None:
    """Take a sheet in, and say what came of it."""
    from ..base.errors import UsageError
    from ..results.review.sheet import import_sheet

    if not coder or not coder.strip():
        raise UsageError("Whose labels are these? Name the coder: --coder anna")
    done = import_sheet(conn, job, file, coder.strip(), columns)
    known = done.labels - done.added
    talk(
        f"{counted(done.added, 'label')} by {coder.strip()} taken in"
        + (f", {known:,} known already" if known else "")
        + (f", {counted(done.empty, 'row')} without a label" if done.empty else "")
        + "."
    )
    if done.labels:
        talk(f"What they say about all rows: {shares_call(db, job, columns)}")


def shares_call(db: str, job: Job, columns: Sequence[str] = ()) -> str:
    """The command that tells the shares of a job."""
    from ..results.review.columns import questions

    name = columns[0] if columns else questions(job)[0].name
    return f"sqlite-utils openai-batch shares {shlex.quote(db)} {job.id} {shlex.quote(name)}"


# One row after the other, at a terminal.

HELP = "Enter: as it is · /s skip · /n words: a note · /b back · /q stop"
BLIND_HELP = "/s skip · /n words: a note · /b back · /q stop"


class Left(Exception):
    """The coder wants to stop."""


class Moved(Exception):
    """The coder wants the row before."""


def converse(
    conn: sqlite3.Connection,
    db: str,
    job: Job,
    sample: Sample,
    asked: Sequence[Question],
    coder: str,
) -> None:
    """Put rows before a coder until all are done or they stop; each answer is kept at once."""
    from ..results.review.turns import Turns

    turns = Turns(conn, job, sample, asked, coder)
    total = len(sample.requests)
    talk(f"{sample_words(sample)}. Coder: {coder}. {BLIND_HELP if sample.blind else HELP}")
    number = turns.next_number()
    try:
        while number is not None:
            number = next_row(turns, number, total)
    except Left:
        pass
    done = len(turns.done())
    talk(f"{done:,} of {counted(total, 'row')} labelled by {coder}.")
    if done == total:
        talk(f"What they say about all rows: {shares_call(db, job)}")
    else:
        talk(f"Go on with: sqlite-utils openai-batch review {shlex.quote(db)} {job.id}")


def next_row(turns: Turns, number: int, total: int) -> int | None:
    """Put one row before the coder, and say which is next."""
    try:
        ask_row(turns, turns.turn(number), total)
    except Moved:
        return max(number - 1, 1)
    return turns.next_number(number)


def ask_row(turns: Turns, turn: Turn, total: int) -> None:
    """Show one row, and keep what is said of it."""
    key = ", ".join(map(str, turn.key))
    talk()
    talk(f"Row {turn.number} of {total}   {', '.join(turns.job.keys)} {key}")
    for name, cell in turn.cells:
        talk(f"  {name}: {cell_words(cell)}")
    values: dict[str, Any] = {}
    note: str | None = None
    began = time.monotonic()
    for place, question in enumerate(turns.asked):
        answer = None if turn.answer is None else (turn.answer[place],)
        said, own = ask_question(question, answer, turn)
        note = own or note
        if said is not None:
            values[question.column] = said[0]
    turns.say(turn, values, note=note, seconds=round(time.monotonic() - began, 1))


def cell_words(cell: Any) -> str:
    """A cell as a coder reads it."""
    from ..base.text import size

    return f"({size(len(cell))} of bytes)" if isinstance(cell, bytes) else str(cell or "")


def ask_question(
    question: Question, answer: tuple[Any] | None, turn: Turn
) -> tuple[tuple[Any] | None, str | None]:
    """What a coder says in one column, and their note; None for what they skip."""
    from ..base.errors import FileError

    if is_numbered(question):
        for number, word in enumerate(question.words, start=1):
            talk(f"    {number} {word}")
    elif question.words:
        talk(f"    {', '.join(question.words)}")
    if answer is not None:
        talk(f"    model: {question.shown(answer[0])}")
    before = turn.said.get(question.column)
    if before is not None and not before.skipped:
        answer = (before.value,)
        talk(f"    you said: {question.shown(before.value)}")
    note = before.note if before is not None else None
    while True:
        typed = typed_line(question.name)
        if typed.startswith("/n "):
            note = typed[3:].strip()
        elif typed in ("/s", "/skip"):
            return None, note
        elif typed in ("/b", "/back"):
            raise Moved
        elif typed in ("/q", "/quit"):
            raise Left
        elif not typed and answer is not None:
            return answer, note
        elif not typed:
            talk(f"  The model's answer is hidden: type a label. {BLIND_HELP}")
        else:
            try:
                return (read_typed(question, typed),), note
            except FileError as error:
                talk(f"  {error}")


def is_numbered(question: Question) -> bool:
    """Whether labels can be chosen by their numbers: not where they are numbers themselves."""
    return not question.is_list and question.kind != "integer"


def read_typed(question: Question, typed: str) -> Any:
    """The value typed, or that of the number of a label. Raises FileError."""
    words = question.words if is_numbered(question) else []
    if typed.isdecimal() and typed not in words and 1 <= int(typed) <= len(words):
        return question.read(words[int(typed) - 1])
    return question.read(typed)


def typed_line(name: str) -> str:
    """A line from the coder. Raises Left at the end of the input."""
    ask(f"  {name}> ")
    line = sys.stdin.readline()
    if not line:
        talk()
        raise Left
    return line.strip()


# What the labels say about all rows.


@click.command("shares", cls=Command)
@db_argument
@click.argument("job", metavar="JOB")
@click.argument("column", metavar="COLUMN")
@option("--by", metavar="COLUMN", help="One line for each value of this column of the source")
@option("--json", "as_json", is_flag=True, help="Output JSON")
@output_options  # type: ignore[untyped-decorator]
def shares_command(
    db: str, job: str, column: str, by: str | None, as_json: bool, **formats: Any
) -> None:
    """Estimate the share of each label in all rows, corrected by a sample that people labelled.

    A model makes mistakes, so the shares that it gives are wrong. Labels by people, of a random
    sample (see review), correct them, with intervals of 95 %.

    \b
    Examples:
      sqlite-utils openai-batch shares movies.db 3 mood
      sqlite-utils openai-batch shares movies.db 3 mood --by year --csv > s.csv
    """
    from .. import store
    from ..results.shares import Shares
    from ..store.connection import connect
    from .screens.shares import HEADERS, record, shares_screen

    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = Shares.of(conn, store.find_job(conn, job, db), column, by=by)
    if as_json or any_format(formats):
        headers = [*([found.by] if found.by else []), *HEADERS]
        write_rows(headers, (record(found, group, one) for group, one in found.lines()), formats)
        for sentence in found.sentences():
            talk(sentence)
    else:
        show(shares_screen(found, db))


# `vote`: what most of several jobs say of each row.


@click.command("vote", cls=Command)
@db_argument
@click.argument("jobs", nargs=-1, required=True, metavar="JOB JOB [JOB]...")
@option("--column", "columns", multiple=True, metavar="LABEL", section=ANSWERS,
        help="Vote on this column only, repeatable  [default: all in common]")  # fmt: skip
@option("--output", metavar="COLUMN", section=ANSWERS,
        help="Column for the label that won  [default: mood_vote, for mood]")  # fmt: skip
@option("--output-table", metavar="TABLE", section=ANSWERS,
        help="Write to this table instead of the source")  # fmt: skip
@option("--replace", is_flag=True, section=ANSWERS, help="Overwrite columns that hold values")
@option("--ties", metavar="JOB", section=ANSWERS,
        help="The job that decides if two labels have as many votes  [default: none]")  # fmt: skip
@option("--name", section=ANSWERS, help="Name of the vote, which is a job too")
def vote_command(
    db: str,
    jobs: Sequence[str],
    columns: Sequence[str],
    output: str | None,
    output_table: str | None,
    replace: bool,
    ties: str | None,
    name: str | None,
) -> None:
    """Write the label that most of the jobs gave, and its share of the votes. Sends nothing.

    The jobs asked about the same rows, for the same labels. A vote is a job too: look at it by
    'show' and 'results', take it back by 'revert'. Its id goes to stdout.

    \b
    Example:
      sqlite-utils openai-batch vote movies.db 3 4 5 --output mood_vote
    """
    from .. import store
    from ..base.errors import UsageError
    from ..jobs.trust import check_job
    from ..jobs.vote import Wish, hold
    from ..store.connection import connect

    if name is not None and (not name.strip() or name.isdigit()):
        raise UsageError(f"--name '{name}': a name can't be only digits, they mean a job's id.")
    with closing(connect(db)) as conn:
        store.check_version(conn)
        found = [store.find_job(conn, job, db) for job in jobs]
        for job in found:
            check_job(job)
        decides = None if ties is None else store.find_job(conn, ties, db)
        wish = Wish(
            columns=columns,
            output=output,
            output_table=output_table,
            replace=replace,
            ties=decides,
            name=name,
        )
        voted = hold(conn, found, wish)
    for line in voted_lines(voted, db):
        talk(line)
    give(str(voted.job.id))


def voted_lines(voted: Voted, path: str) -> list[str]:
    """What a vote came to."""
    from ..base.text import COMMAND, counted, listed
    from ..jobs.writeback import not_written_lines, refused_lines

    db, job = shlex.quote(path), voted.job
    lines = []
    for column, count in voted.counts.items():
        kinds = {
            "unanimous": count.unanimous,
            "by majority": count.majority + count.decided,
            "ties": count.ties,
            "without an answer": count.silent,
        }
        told = ", ".join(f"{rows:,} {word}" for word, rows in kinds.items() if rows)
        lines.append(
            f"Voted on {column} of {counted(count.rows, 'row')}: {told}. Nothing was sent."
        )
        if count.ties:
            have = "has" if count.ties == 1 else "have"
            lines.append(
                f"{counted(count.ties, 'row')} {have} no label, since others had as many votes: "
                "name the job that decides by --ties, or add one more job."
            )
    table = voted.output.table or job.source
    lines.append(f"Written to {listed(f'{table}.{name}' for name in voted.output.names)}.")
    lines += not_written_lines(vars(voted.written), {"kept_existing": "--replace overwrites"})
    lines += refused_lines(voted.written.refused)
    lines.append(f"Undo with: {COMMAND} revert {db} {job.id}")
    return lines
