"""`--requests FILE`: a batch file of somebody's own, in the place of a table and a prompt."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .click_ext import option

if TYPE_CHECKING:
    from ..jobs.files.own import Loaded

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
