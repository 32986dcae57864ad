"""Open a SQLite file, and say in a sentence why that can't be done."""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..base.errors import DatabaseError
from ..base.file_kinds import no_database
from ..base.text_files import meant_file

# Seconds to wait for another writer. Our own transactions hold the lock for a fraction of one.
BUSY_SECONDS = 10.0
# ALTER TABLE DROP COLUMN came with 3.35, STRICT tables with 3.37.
OLDEST_SQLITE = (3, 37)
#: How names of databases end.
DATABASES = (".db", ".db3", ".sqlite", ".sqlite3", ".sqlitedb", ".sl3")


def connect(path: str | Path) -> sqlite3.Connection:
    """A connection in autocommit mode to an existing database file.

    Raises DatabaseError where there is no such file, or it is no SQLite database.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseError(
            f"Python's SQLite is {sqlite3.sqlite_version}; 3.37 or newer is needed. "
            "A newer Python brings one."
        )
    file = Path(path)
    if not file.exists():
        raise DatabaseError(_absent(str(path)))
    if file.is_dir():
        raise DatabaseError(f"'{path}' is a folder, not a database.")
    with explained(path):
        conn = sqlite3.connect(
            file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:
            conn.close()
            raise
    return conn


def _absent(path: str) -> str:
    """The sentence for a file that isn't there; in place of a database others may be named."""
    if path.endswith("/"):
        return f"No such folder: '{path}'. Look at its name and at where it is."
    if Path(path).suffix.lower() not in ("", *DATABASES):
        return f"No such file: '{path}'. {meant_file(path)}Look at its name and folder."
    return (
        f"No such database: '{path}'. Make one with: "
        f"sqlite-utils insert {shlex.quote(path)} mytable data.csv --csv"
    )


def path_of(conn: sqlite3.Connection) -> str:
    """The file of a database, empty for one in memory."""
    (path,) = conn.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()
    return str(path or "")


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn SQLite's errors about the file itself into a DatabaseError that names it."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        sentence = explain(error, path)
        if sentence is None:
            raise
        raise DatabaseError(sentence) from error


def in_its_words(error: Exception, path: str | Path) -> str:
    """The sentence for an error that `explain` knows nothing of: SQLite's own words."""
    text = str(error).rstrip(".") or type(error).__name__
    return (
        f"SQLite can't go on with '{path}': {text}. What was done before is kept; look at the SQL "
        "that you gave and at the tables that it names."
    )


def explain(error: Exception, path: str | Path) -> str | None:
    """What an error about the file means, or None where it is about something else."""
    text = str(error)
    if "not a database" in text:
        return no_database(Path(path))
    if "locked" in text:
        return (
            f"'{path}' is locked: another program has been writing to it for "
            f"{BUSY_SECONDS:g} seconds. Let it finish, then run this again."
        )
    if "readonly" in text or "read-only" in text:
        return (
            f"'{path}' can't be written: the file or its folder is read-only. "
            "Change its permissions, or work on a copy."
        )
    if "unable to open" in text:
        return f"'{path}' can't be opened. Look at the permissions of the file and its folder."
    if "disk is full" in text or "disk I/O" in text:
        return f"The disk is full or failing while writing '{path}' ({text}). Nothing was lost."
    if "malformed" in text:
        return f"'{path}' is damaged ({text}). Try: sqlite3 '{path}' .recover"
    return None


@contextmanager
def left_at_once(leave: Callable[[], None], conn: sqlite3.Connection) -> Iterator[None]:
    """Call `leave` at the end of the body, whatever ended it.

    Where that was a lock that another program holds, it isn't waited for a second time, and what
    can't be left then stays as it is.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            leave()
            raise
        (patience,) = conn.execute("PRAGMA busy_timeout").fetchone()
        conn.execute("PRAGMA busy_timeout = 0")
        with suppress(sqlite3.OperationalError):
            leave()
        conn.execute(f"PRAGMA busy_timeout = {patience:d}")
        raise
    except BaseException:
        leave()
        raise
    leave()


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """One BEGIN IMMEDIATE … COMMIT; rolled back where the body raises."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")


# Short transactions over many rows: other processes write in between, and no reader waits long.

#: A transaction ends after so many rows, or so many seconds, whichever comes first.
COMMIT_ROWS = 10_000
COMMIT_SECONDS = 0.25
# Pages that are read to be judged are still there when they are written: SQLite's own 2 MB hold
# too few rows of usual length.
CACHE_KB = 8_000


class Commits:
    """Commits each 10,000 rows or 250 ms; rolls back what is open where its block raises.

    `begin` before writing some rows, `wrote` after them: between two transactions others write.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.rows = 0
        self.since = 0.0

    def __enter__(self) -> Commits:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.end()
        elif self.conn.in_transaction:
            self.conn.execute("ROLLBACK")

    def begin(self) -> None:
        """Begin a transaction, unless one goes on."""
        if not self.conn.in_transaction:
            self.conn.execute("BEGIN IMMEDIATE")
            self.rows = 0
            self.since = time.monotonic()

    def wrote(self, rows: int) -> None:
        """Count rows written; commit where it is time."""
        self.rows += rows
        if self.rows >= COMMIT_ROWS or time.monotonic() - self.since > COMMIT_SECONDS:
            self.end()

    def end(self) -> None:
        """Commit what is open."""
        if self.conn.in_transaction:
            self.conn.execute("COMMIT")


@contextmanager
def cached(conn: sqlite3.Connection) -> Iterator[None]:
    """Give a connection a page cache for writing many rows while the block runs."""
    (before,) = conn.execute("PRAGMA cache_size").fetchone()
    conn.execute(f"PRAGMA cache_size = {-CACHE_KB}")
    try:
        yield
    finally:
        conn.execute(f"PRAGMA cache_size = {int(before)}")
