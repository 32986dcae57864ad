"""`batches` and `fetch`: what an account holds, whichever tool made it."""

from __future__ import annotations

import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from sqlite_utils.cli import output_options

from ..base.text import counted, cut, listed, size
from .click_ext import Command, FilePath, confirm, give, option, show, talk
from .jobs import any_format, write_rows
from .options import ANSWERS, WHERE, key_option, together, yes_option

if TYPE_CHECKING:
    from ..jobs.account import Lying
    from ..jobs.files.beside import Beside
    from ..provider.batch import BatchState
    from ..provider.client import Provider

F = TypeVar("F", bound=Callable[..., Any])

#: Batches that are listed where nobody says how many.
LISTED = 50
HEADERS = ["id", "status", "created_at", "endpoint", "model", "requests", "completed", "failed",
           "input_file_id", "output_file_id", "error_file_id", "expires_at", "job"]  # fmt: skip
FILE_HEADERS = ["id", "name", "purpose", "bytes", "created_at", "expires_at", "batches", "job",
                "kept_here"]  # fmt: skip

where_options = together(
    option("--provider", type=click.Choice(["openai", "azure"]), default="openai",
           show_default=True, section=WHERE, help="Whose account"),
    option("--base-url", metavar="URL", section=WHERE,
           help="A server with OpenAI's Files and Batches API  [default: that of DB's newest job]"),
    key_option,
    yes_option,
)  # fmt: skip


@contextmanager
def account(
    db: str | None, base_url: str | None, key: str | None, provider: str
) -> Iterator[tuple[sqlite3.Connection | None, Provider]]:
    """The database, where one is named, and the account that is asked about."""
    from ..provider.accounts import destination
    from ..provider.places import Places
    from ..store.connection import connect

    with ExitStack() as stack:
        conn = stack.enter_context(closing(connect(db))) if db else None
        if base_url is None and conn is not None:
            base_url, provider = place_of(conn, key, provider)
        places = stack.enter_context(Places(key=key))
        yield conn, places.remote(destination(base_url, key, provider))


def place_of(conn: sqlite3.Connection, key: str | None, provider: str) -> tuple[str | None, str]:
    """Where the newest job of a database went, but for servers inside this program.

    Raises OpenAIBatchError where the key of --key was never given for that: the database may be
    somebody else's.
    """
    from .. import store
    from ..jobs.trust import check_job
    from ..provider.accounts import LOCAL, check_key

    jobs = store.list_jobs(conn) if store.exists(conn) else []
    found = next((job for job in jobs if job.provider != LOCAL), None)
    if found is None:
        return None, provider
    check_job(found)
    if key is not None:
        check_key(found, key, way_out=f"--base-url {found.base_url}")
    return found.base_url, found.provider


@click.command("batches", cls=Command)
@click.argument("db", required=False, type=FilePath(readable=False), metavar="[DB]")
@option("--status", "statuses", multiple=True, metavar="STATUS",
        help="Only batches with this status, repeatable")  # fmt: skip
@option("--limit", type=click.IntRange(min=1), metavar="N",
        help=f"At most that many  [default: {LISTED}; with an output format all]")  # fmt: skip
@option("--cancel", multiple=True, metavar="BATCH_ID", section="Do",
        help="Stop this batch, repeatable")  # fmt: skip
@option("--files", is_flag=True, section="Do", help="List the files of batches instead")
@option("--delete-files", is_flag=True, section="Do",
        help="Delete the files of batches whose answers are safely in DB")  # fmt: skip
@where_options
@output_options  # type: ignore[untyped-decorator]
def batches_command(
    db: str | None,
    statuses: Sequence[str],
    limit: int | None,
    cancel: Sequence[str],
    files: bool,
    delete_files: bool,
    provider: str,
    base_url: str | None,
    key: str | None,
    yes: bool,
    **formats: Any,
) -> None:
    """List the batches of your account, also those that other tools sent.

    With DB the list says which of its jobs a batch belongs to.

    \b
    Examples:
      sqlite-utils openai-batch batches
      sqlite-utils openai-batch batches movies.db --status in_progress --csv
      sqlite-utils openai-batch batches --cancel batch_67fb
    """
    from ..base.errors import UsageError

    if sum((bool(cancel), files, delete_files)) > 1:
        raise UsageError("--cancel, --files and --delete-files: give one of them.")
    if delete_files and db is None:
        raise UsageError("--delete-files needs DB: only files whose answers are there may go.")
    with account(db, base_url, key, provider) as (conn, remote):
        if cancel:
            cancel_batches(remote, cancel, yes)
        elif files:
            list_files(conn, remote, formats)
        elif delete_files:
            delete_safe_files(conn, remote, str(db), yes)
        else:
            list_batches(conn, remote, statuses, limit, formats)


def list_batches(
    conn: sqlite3.Connection | None,
    remote: Provider,
    statuses: Sequence[str],
    limit: int | None,
    formats: dict[str, Any],
) -> None:
    """Print the batches of an account."""
    from ..base.statuses import AT_PROVIDER
    from ..jobs.account import batches, job_of, owners, uids

    known, by_uid = owners(conn), uids(conn)
    statuses = [one.strip().lower().replace("-", "_") for one in statuses]
    # another one isn't refused: a server may have words of its own
    unusual = [one for one in statuses if one not in AT_PROVIDER]
    if unusual:
        talk(f"Warning: no usual status: {listed(unusual)}. There are: {listed(AT_PROVIDER)}.")
    if any_format(formats):
        found = batches(remote, statuses, limit)
        rows = (record(state, job_of(state, known, by_uid)) for state in found)
        write_rows(HEADERS, rows, formats)
        return
    most = limit or LISTED
    states = list(batches(remote, statuses, most + 1))
    if not states:
        talk(f"No batches{f' that are {listed(statuses)}' if statuses else ''} at {remote.host}.")
        return
    shown = states[:most]
    show(batches_screen([(one, job_of(one, known, by_uid)) for one in shown], conn))
    more = f", and there are more (--limit {2 * most})" if len(states) > most else ""
    talk(f"{counted(len(shown), 'batch', 'batches')} at {remote.host}{more}.")
    ended = next((one for one in shown if one.output_file_id), None)
    if ended is not None:
        talk(f"Download one with: sqlite-utils openai-batch fetch {ended.id} --dir .")


def record(state: BatchState, job: int | None) -> list[Any]:
    """A batch as a row of data."""
    from ..base import clock

    return [
        state.id,
        state.status,
        clock.from_unix(state.created_at),
        state.endpoint,
        state.model,
        state.total,
        state.completed,
        state.failed,
        state.input_file_id,
        state.output_file_id,
        state.error_file_id,
        state.expires_at,
        job,
    ]


def batches_screen(
    found: Sequence[tuple[BatchState, int | None]], conn: sqlite3.Connection | None
) -> str:
    """Batches for people."""
    from ..base import clock
    from .screens.text import table, when

    headers = ["id", "status", "created", "endpoint", "model", "done", "failed"]
    lines = []
    for state, job in found:
        line = [
            state.id,
            state.status,
            when(clock.from_unix(state.created_at)),
            state.endpoint or "-",
            cut(state.model or "-", 30),
            done_words(state),
            "-" if state.failed is None else f"{state.failed:,}",
        ]
        lines.append(line if conn is None else [*line, "-" if job is None else str(job)])
    return table(headers if conn is None else [*headers, "job"], lines, right=(5, 6))


def done_words(state: BatchState) -> str:
    """How many requests of a batch are answered: `12,000/20,000`."""
    if state.completed is None:
        return "-"
    return f"{state.completed:,}" + ("" if state.total is None else f"/{state.total:,}")


def cancel_batches(remote: Provider, ids: Sequence[str], yes: bool) -> None:
    """Stop batches, each of which has to be there."""
    states = [retrieve(remote, one) for one in ids]
    for state in states:
        if state.ended:
            talk(f"{state.id} has ended already ({state.status}).")
            continue
        done = "" if state.completed is None else f", {done_words(state)} answered"
        question = f"{state.id} is {state.status}{done}. What it has answered is paid and is kept."
        if not yes and not agreed(question, "Cancel it?", "-y"):
            continue
        after = remote.cancel(state.id)
        if after is None:
            talk(f"{state.id} has ended meanwhile.")
        else:
            talk(f"{state.id} is {after.status}. Its answers come with: fetch {state.id} --dir .")


def retrieve(remote: Provider, batch_id: str) -> BatchState:
    """A batch of the account. Raises NotFound with a sentence that says how to find one."""
    from ..base.errors import NotFound

    try:
        return remote.retrieve(batch_id)
    except NotFound as error:
        raise NotFound(
            f"{remote.host} has no batch '{batch_id}' for this key. It may be another account's; "
            "see what this one holds with: sqlite-utils openai-batch batches"
        ) from error


def agreed(told: str, question: str, way_out: str) -> bool:
    """Ask on the terminal. Raises UsageError where there is none."""
    from ..base.errors import UsageError

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"Without a terminal to ask on, this needs {way_out}.")
    talk(told)
    if confirm(question):
        return True
    talk("Nothing was changed.")
    return False


# Files at the provider.


def list_files(conn: sqlite3.Connection | None, remote: Provider, formats: dict[str, Any]) -> None:
    """Print the files that batches have to do with, and which may go."""
    from ..jobs.account import lying

    found = lying(conn, remote)
    if any_format(formats):
        write_rows(FILE_HEADERS, map(file_record, found), formats)
        return
    if not found:
        talk(f"No batch files at {remote.host}.")
        return
    show(files_screen(found, conn))
    whole = sum(one.file.size or 0 for one in found)
    talk(f"{counted(len(found), 'file')} at {remote.host}, {size(whole)}.")
    safe = sum(one.is_safe for one in found)
    if safe:
        talk(f"The answers of {counted(safe, 'file')} are safely here: batches DB --delete-files")


def file_record(one: Lying) -> list[Any]:
    """A file as a row of data."""
    file = one.file
    return [
        file.id,
        file.name,
        file.purpose,
        file.size,
        file.created_at,
        file.expires_at,
        " ".join(state.id for state in one.batches) or None,
        one.job,
        int(one.is_safe),
    ]


def files_screen(found: Sequence[Lying], conn: sqlite3.Connection | None) -> str:
    """Files for people."""
    from .screens.text import table

    lines = [
        [
            one.file.id,
            cut(one.file.name or "-", 40),
            "-" if one.file.size is None else size(one.file.size),
            age(one.file.created_at),
            needed_words(one),
            "-" if one.job is None else str(one.job),
        ]
        for one in found
    ]
    headers = ["id", "name", "size", "age", "batch", "job"]
    if conn is None:
        return table(headers[:-1], [line[:-1] for line in lines], right=(2, 3))
    return table(headers, lines, right=(2, 3))


def age(created_at: str | None) -> str:
    """How old a file is, in days or hours."""
    from ..base import clock

    seconds = clock.seconds_between(created_at, clock.now())
    if seconds is None:
        return "-"
    days, hours = int(seconds // 86_400), int(seconds // 3_600)
    return counted(days, "day") if days else counted(hours, "hour")


def needed_words(one: Lying) -> str:
    """The batch that a file is of, and whether that lives still."""
    if not one.batches:
        return "none"
    state = next((state for state in one.batches if not state.ended), one.batches[0])
    return f"{state.id} ({state.status})"


def delete_safe_files(
    conn: sqlite3.Connection | None, remote: Provider, db: str, yes: bool
) -> None:
    """Delete the files whose answers are in the database, after a question."""
    from ..jobs.account import delete_files, lying

    safe = [one for one in lying(conn, remote) if one.is_safe]
    if not safe:
        talk(f"No files at {remote.host} whose answers are all in '{db}': nothing to delete.")
        return
    whole = size(sum(one.file.size or 0 for one in safe))
    jobs = sorted({one.job for one in safe if one.job is not None})
    what = f"{counted(len(safe), 'file')} ({whole}) of jobs {listed(map(str, jobs))}"
    told = f"The answers of {what} are in '{db}'. Deleting the files frees {remote.host} of them."
    if yes or agreed(told, "Delete them?", "-y"):
        deleted = delete_files(remote, safe)
        talk(f"{counted(deleted, 'file')} deleted at {remote.host}.")


# `fetch`: the files of any batch.


@click.command("fetch", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="BATCH_ID… [TABLE]")
@option("--dir", "folder", type=FilePath(file_okay=False, path_type=Path), metavar="FOLDER",
        section="Where to", help="Download output and error files to this folder")  # fmt: skip
@option("--into", metavar="DB", section="Where to",
        help="Take the answers in: into the jobs that asked, or beside rows of TABLE")  # fmt: skip
@option("--key", "keys", multiple=True, metavar="custom_id=COLUMN", section="Where to",
        help="Column of TABLE with the custom_ids (or task-{COLUMN}); or an API key")  # fmt: skip
@option("--skip-unknown", is_flag=True, section="Where to",
        help="Leave out answers to a custom_id that no row has")  # fmt: skip
@option("--schema", metavar="SPEC|FILE", section=ANSWERS,
        help="Check the answers by this schema, and write its columns")  # fmt: skip
@option("--output", metavar="COLUMN", section=ANSWERS,
        help="Column for the answer  [default: answer]")  # fmt: skip
@option("--prefix", default="", metavar="TEXT", section=ANSWERS,
        help="Begin the names of answer columns with this")  # fmt: skip
@option("--replace", is_flag=True, section=ANSWERS, help="Overwrite columns that hold values")
@option("--provider", type=click.Choice(["openai", "azure"]), default="openai",
        show_default=True, section=WHERE, help="Whose account")  # fmt: skip
@option("--base-url", metavar="URL", section=WHERE,
        help="A server with the same API  [default: that of DB's newest job]")  # fmt: skip
def fetch_command(
    names: Sequence[str],
    folder: Path | None,
    into: str | None,
    keys: Sequence[str],
    provider: str,
    base_url: str | None,
    **answers: Any,
) -> None:
    """Download the answers of any batch: as files, into a job, or beside the rows of a table.

    \b
    Examples:
      sqlite-utils openai-batch fetch batch_67fb --dir answers
      sqlite-utils openai-batch fetch batch_67fb --into movies.db
      sqlite-utils openai-batch fetch batch_67fb --into movies.db movies \\
        --key custom_id=id --schema 'categories list, summary'
    """
    from ..base.errors import UsageError

    key_column, api_key = told_apart(keys)
    *batch_ids, last = names
    table = last if key_column is not None else None
    if table is None:
        batch_ids.append(last)
    check_fetch(batch_ids, folder, into, key_column)
    with account(into, base_url, api_key, provider) as (conn, remote):
        if table is None and conn is not None and is_table(conn, last):
            raise UsageError(
                f"Which column of {last} holds the custom_ids? Say --key custom_id=COLUMN."
            )
        fetch(conn, remote, batch_ids, folder, into, table, {**answers, "key": key_column})


def told_apart(keys: Sequence[str]) -> tuple[str | None, str | None]:
    """What --key gave: how rows are found, and the key of the account. Raises UsageError."""
    from ..base.errors import UsageError

    columns = [key for key in keys if key.startswith("custom_id=")]
    others = [key for key in keys if not key.startswith("custom_id=")]
    if len(columns) > 1 or len(others) > 1:
        raise UsageError("--key: one custom_id=COLUMN and one API key, no more.")
    return next(iter(columns), None), next(iter(others), None)


def check_fetch(
    batch_ids: Sequence[str], folder: Path | None, into: str | None, key_column: str | None
) -> None:
    """Raise UsageError for options that don't go together."""
    from ..base.errors import UsageError

    if folder is not None and into is not None:
        raise UsageError("--dir and --into: give one of them.")
    if folder is None and into is None:
        raise UsageError("Where to? --dir FOLDER for files, --into DB for a database.")
    if key_column is not None and into is None:
        raise UsageError("--key goes with --into DB TABLE.")
    if not batch_ids:
        raise UsageError("Which batch? Name it before TABLE: fetch BATCH_ID --into DB TABLE.")


def is_table(conn: sqlite3.Connection, name: str) -> bool:
    """Whether a database has a table of that name."""
    from ..tables.columns import table_columns

    return bool(table_columns(conn, name))


def fetch(
    conn: sqlite3.Connection | None,
    remote: Provider,
    batch_ids: Sequence[str],
    folder: Path | None,
    into: str | None,
    table: str | None,
    answers: dict[str, Any],
) -> None:
    """Download batches, and do with their files what was asked for."""
    import tempfile

    from ..jobs.account import download

    states = [retrieve(remote, one) for one in batch_ids]
    waiting = [state for state in states if not tell_unready(state)]
    with tempfile.TemporaryDirectory(prefix="openai-batch-") as temporary:
        to = folder or Path(temporary)
        to.mkdir(parents=True, exist_ok=True)
        paths = [path for state in waiting for path in download(remote, state, to)]
        if folder is not None:
            for path in paths:
                give(str(path))
        elif conn is not None and paths:
            take(conn, str(into), paths, table, answers)
    if len(waiting) < len(states):
        raise click.exceptions.Exit(1)


def tell_unready(state: BatchState) -> bool:
    """Say why nothing can be downloaded of a batch; False where something can."""
    if state.output_file_id or state.error_file_id:
        return False
    if not state.ended:
        talk(f"{state.id} is {state.status} ({done_words(state)} answered): fetch it when it ends.")
    else:
        why = str(state.errors[0].get("message") or "") if state.errors else ""
        talk(f"{state.id} is {state.status}, and has no answers. {why}".rstrip())
    return True


def take(
    conn: sqlite3.Connection,
    db: str,
    paths: Sequence[Path],
    table: str | None,
    answers: dict[str, Any],
) -> None:
    """Take downloaded files into the jobs that asked, or beside the rows of a table."""
    from .files import take_in

    if table is None:
        take_in(conn, db, [str(path) for path in paths], free=False)
        return
    from ..answers.schema import AnswerSchema
    from ..jobs.files.beside import Wish, put_beside

    schema = answers.pop("schema")
    shape = AnswerSchema.load(schema) if schema else None
    done = put_beside(conn, paths, Wish(table, schema=shape, **answers))
    talk(beside_screen(done, db))


def beside_screen(done: Beside, db: str) -> str:
    """What became of the lines; the sum is all of them."""
    failed = sum(done.failed.values())
    kinds = ", ".join(f"{count:,} {status}" for status, count in done.failed.most_common())
    rows = [
        ("written", done.written, ", ".join(f"{done.table}.{name}" for name in done.columns)),
        ("failed", failed, kinds),
        ("unknown", done.unknown, "no row has their custom_id"),
        ("second", done.second, "the first answer stays"),
        ("broken", done.broken, "no JSON object with a custom_id"),
    ]
    shown = [row for n, row in enumerate(rows) if row[1] or n == 0]
    lines = [f"  {name:<10} {count:>9,}   {why}".rstrip() for name, count, why in shown]
    lines.append(f"  {'sum':<10} {sum(count for _, count, _ in rows):>9,}")
    see = f"sqlite-utils rows {shlex.quote(db)} {shlex.quote(done.table)}"
    return "\n".join(["Answers beside their rows:", *lines, f"See them with: {see}"])
