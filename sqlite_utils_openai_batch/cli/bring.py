"""A database of what was brought: itself, or made of a CSV file or a folder beside it."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .click_ext import INTERRUPTED, confirm, option, talk

if TYPE_CHECKING:
    from ..jobs.files.own import Loaded


@contextmanager
def opened(
    db: str, table: str | None, options: dict[str, Any], *, keep: bool, yes: bool = False
) -> Iterator[tuple[sqlite3.Connection, str, str | None]]:
    """Open what was given as the database; yields a connection, its file, and the table.

    What is not a database is made into one: beside it, or, where nothing is to `keep`, in a folder
    that lasts as long as the command. At a terminal that is asked first, unless with `yes`.
    """
    from ..base.scratch import scratch
    from ..store.connection import connect
    from ..tables.brought import is_folder_of_files, is_table_file

    path = Path(db)
    encoding, recursive = options.pop("encoding", None), options.pop("recursive", False)
    if (
        path.is_file()
        and options.get("attach")
        and not (options.get("image_dir") or options.get("like"))
    ):
        # Files lie where the rows lie, and a database may name no file anywhere else.
        options["image_dir"] = str(path.absolute().parent)
    if is_folder_of_files(path):
        with nullcontext() if keep else scratch() as folder:
            database, table = from_folder(path, table, recursive, folder, yes=yes)
            attach_files(path, options)
            with closing(connect(database)) as conn:
                yield conn, str(database), table
        return
    if not is_table_file(path):
        with opened_for(db, options.get("requests"), writes=keep) as conn:
            yield conn, db, table
        return
    with nullcontext() if keep else scratch() as folder:
        database, table = from_csv(path, table, encoding, folder, yes=yes)
        with closing(connect(database)) as conn:
            yield conn, str(database), table


def is_brought(db: str) -> bool:
    """Whether this is not a database, but something that one can be made of."""
    from ..tables.brought import is_folder_of_files, is_table_file

    return is_folder_of_files(Path(db)) or is_table_file(Path(db))


def from_csv(
    path: Path, table: str | None, encoding: str | None, folder: Path | None, *, yes: bool
) -> tuple[Path, str]:
    """The database of a CSV file and the table in it, made where it isn't there yet."""
    from ..base.text import counted
    from ..tables.brought import database_of, made_of, make_database

    table = table or path.stem or "rows"
    database = database_of(path)
    if made_of(database, path, table):
        talk(f"{database} was made of {path.name} before: its table {table} is asked.")
        return database, table
    if folder is not None:
        database = folder / database.name
    elif not yes:
        agree(f"Make {database} of {path.name}?")
    rows, notes = make_database(path, database, table, encoding)
    if folder is None:
        talk(f"Made {database} of {path.name}: table {table}, {counted(rows, 'row')}.")
    for note in notes:
        talk(note)
    return database, table


def from_folder(
    path: Path, table: str | None, recursive: bool, scratch: Path | None, *, yes: bool
) -> tuple[Path, str]:
    """The database of a folder and its table of files, as the folder is now."""
    from ..base.errors import FileError
    from ..base.text import counted
    from ..store.connection import connect
    from ..tables.brought import (
        FILES,
        check_folder_database,
        database_of_folder,
        list_files,
        take_folder,
    )

    table = table or FILES
    database = database_of_folder(path)
    there = check_folder_database(database, table)
    files, left = list_files(path, recursive)
    if not files and not there:
        more = f" Its {counted(left, 'folder')} are taken with --recursive." if left else ""
        raise FileError(f"'{path}' has no files: nothing to ask.{more}")
    if scratch is not None:
        database = copied(database, scratch) if there else scratch / database.name
    elif not there and not yes:
        agree(f"Make {database} of the files in {path}?")
    if not there:
        sqlite3.connect(database).close()
        database.touch()
    with closing(connect(database)) as conn:
        new, count = take_folder(conn, path, table, files)
    made = f"{database} has {counted(new, 'new file')} of {count:,}" if there else (
        f"Made {database} of {path}: table {table}, {counted(count, 'file')}"
    )  # fmt: skip
    talk(f"{made}.")
    if left:
        talk(
            f"{counted(left, 'folder')} in it {'is' if left == 1 else 'are'} left out: --recursive."
        )
    return database, table


def copied(database: Path, folder: Path) -> Path:
    """A copy of a database in a folder, whatever others do to it meanwhile."""
    copy = folder / database.name
    with closing(sqlite3.connect(database)) as one, closing(sqlite3.connect(copy)) as other:
        one.backup(other)
    return copy


def attach_files(path: Path, options: dict[str, Any]) -> None:
    """Attach each file by itself, unless the options say what is to be shown."""
    if options.get("like"):
        return
    options["image_dir"] = options.get("image_dir") or str(path.resolve())
    given = ("attach", "images", "template")
    if not any(options.get(name) for name in given):
        options["attach"] = ("path",)


def agree(question: str) -> None:
    """Ask at a terminal; leave where the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    try:
        agreed = confirm(question)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    if not agreed:
        talk("Nothing was made, nothing was sent.")
        raise click.exceptions.Exit(0)


def check_csv_out(out: str | None, db: str, no_wait: bool) -> None:
    """Raise UsageError where the answers can't be written to this CSV file at the end."""
    from ..base.errors import UsageError
    from ..base.file_kinds import DATABASE, kind_of

    if out is None:
        return
    path = Path(out)
    if no_wait:
        raise UsageError("--csv-out writes the answers at the end, and --no-wait leaves before.")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"--csv-out '{out}': there is no such folder, or it is one.")
    if path.exists() and (path.samefile(db) or kind_of(path) == DATABASE):
        raise UsageError(f"--csv-out '{out}' would overwrite what is asked about. Name another.")


def write_csv_out(conn: sqlite3.Connection, job_id: int, out: str) -> None:
    """Write a job's rows with their answers, the bytes of `results --csv`, all or none of them."""
    from .. import store
    from ..results.csv import pieces
    from ..results.reader import Reader

    path = Path(out)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        job = store.get_job(conn, job_id)
        with closing(Reader(conn, job, ())) as reader, unfinished.open("wb") as file:
            for piece in pieces(reader, False, header=True):
                file.write(piece)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    talk(f"Wrote the rows with their answers to {out}.")


# `--requests FILE`: a batch file of somebody's own, in the place of a table and a prompt.

STDIN = "-"

requests_option = option(
    "--requests",
    metavar="FILE|-",
    section="Rows",
    help="Send the lines of a batch file of your own (.jsonl, .gz), into table TABLE",
)


@contextmanager
def opened_for(
    db: str, requests: str | None, *, writes: bool = True
) -> Iterator[sqlite3.Connection]:
    """The database; with a file of requests it need not be there yet.

    One that was made for nothing is removed again. Where nothing is written there is none.
    """
    from ..store.connection import connect

    new = requests is not None and not Path(db).exists()
    if new and not writes:
        with closing(sqlite3.connect("", isolation_level=None)) as conn:
            yield conn
        return
    if new:
        check_folder(db)
        Path(db).touch()
    try:
        with closing(connect(db)) as conn:
            yield conn
    finally:
        if new and Path(db).stat().st_size == 0:
            Path(db).unlink()


def check_folder(db: str) -> None:
    """Raise DatabaseError where the folder of a new database isn't there."""
    from ..base.errors import DatabaseError

    folder = Path(db).parent
    if not folder.is_dir():
        raise DatabaseError(f"No such folder: '{folder}', for the database '{db}'.")


class Own:
    """The lines of a file, while a job is made of them: taken out again where there is none."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None

    def take(
        self,
        conn: sqlite3.Connection,
        table: str | None,
        options: dict[str, Any],
        there: sqlite3.Connection | None = None,
    ) -> str | None:
        """Take `--requests` out of `options`, and put its lines into a table. Returns the table.

        With `there`, `conn` is a private database, and that one is only looked at. Raises
        OpenAIBatchError; then nothing is changed.
        """
        from ..jobs.plan.options import refuse_others

        requests = options.pop("requests", None)
        if requests is not None:
            # A job that --like names may have had such a file too.
            options.pop("lines", None)
            refuse_others(options)
            self.loaded = load(conn, table, requests, options, there)
            table = self.loaded.table
            options["lines"] = {"endpoint": self.loaded.endpoint, "body": self.loaded.body}
        if options.get("lines") and options.get("output") and not options.get("output_table"):
            # Here a name alone is that of a table.
            options["output_table"], options["output"] = options["output"], None
        return table

    def undo(self) -> None:
        """Take the lines out of the database again."""
        loaded, self.loaded = self.loaded, None
        if loaded is not None:
            loaded.undo()


def load(
    conn: sqlite3.Connection,
    table: str | None,
    requests: str,
    options: Mapping[str, Any],
    there: sqlite3.Connection | None,
) -> Loaded:
    """Put the lines of a file, or of stdin, into a table. Raises FileError."""
    from ..jobs.files.own import Wanted
    from ..jobs.files.own import load as load_file

    again = bool(options.get("missing") or options.get("changed") or options.get("replace"))
    with as_file(requests) as path:
        wanted = Wanted(path, requests, options["provider"], table, again)
        return load_file(conn, wanted, there)


@contextmanager
def as_file(requests: str) -> Iterator[Path]:
    """A file by its name; stdin, which can't be read twice, as a copy for the while."""
    if requests != STDIN:
        yield Path(requests)
        return
    with tempfile.TemporaryDirectory(prefix="openai-batch-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
