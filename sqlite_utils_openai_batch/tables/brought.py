"""What people bring that is not a database, made into one beside it: a CSV file, a folder."""

from __future__ import annotations

import csv
import hashlib
import json
import mimetypes
import re
import shlex
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import store
from ..base.errors import FileError
from ..base.file_kinds import CSV, DATABASE, TSV, kind_of
from ..base.text import cut, listed
from ..store.connection import connect, transaction
from .sql import quote

if TYPE_CHECKING:
    from sqlite_utils import Database

#: The event in the log that says what a database was made of.
EVENT = "brought"
DELIMITERS = ",;\t|"
#: Bytes and records of a file that tell its delimiter.
SAMPLE_BYTES, SAMPLE_RECORDS = 65_536, 50
#: A cell may hold a whole book.
LONGEST_CELL = 1_000_000_000
#: What looks like a number and is a name: it would come back as another text.
_KEPT = re.compile(r"\s*(?:[+-]?0[0-9_]|\+|-?\d[\d_]*_|-?\d{19})")


def is_table_file(path: Path) -> bool:
    """Whether a path is a CSV or TSV file, by its first bytes or, where they fit, its name."""
    kind = kind_of(path)
    if kind in (CSV, TSV):
        return True
    named = path.suffix.lower() in (".csv", ".tsv", ".tab")
    return named and kind != DATABASE and path.is_file()


def database_of(path: Path) -> Path:
    """The database that belongs to a file: beside it, of the same name."""
    return path.with_suffix(".db")


def made_of(database: Path, path: Path, table: str) -> bool:
    """Whether a database was made of this very file, as the file is now.

    Raises FileError where there is such a database and it was made of something else.
    """
    if not database.exists():
        return False
    named = f"'{database}' is there already"
    with closing(connect(database)) as conn:
        noted = origin(conn, table)
    if noted is None:
        raise FileError(
            f"{named}, and it wasn't made of '{path.name}'. Ask about its rows: "
            f"run {shlex.quote(str(database))} TABLE …; or move it away, and this file is read."
        )
    if noted != fingerprint(path):
        raise FileError(
            f"{named}, made of '{path.name}' as it was before: the file has changed since. To ask "
            f"about the rows as they were: run {shlex.quote(str(database))} {shlex.quote(table)} "
            "…; to read the file anew, move the database away (its answers are in it)."
        )
    return True


def origin(conn: sqlite3.Connection, table: str) -> str | None:
    """The hash of the file that a table was made of, where a command noted it."""
    if not store.exists(conn):
        return None
    sql = "SELECT detail FROM openai_batch_log WHERE event = ? ORDER BY id DESC"
    for (detail,) in conn.execute(sql, [EVENT]):
        with suppress(ValueError, TypeError):
            noted = json.loads(detail)
            if isinstance(noted, dict) and noted.get("table") == table:
                return str(noted.get("sha256"))
    return None


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, in hex digits. Raises FileError."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror}.") from error
    return found.hexdigest()


def make_database(
    path: Path, database: Path, table: str, encoding: str | None = None
) -> tuple[int, list[str]]:
    """Make a database with one table of a CSV file; none where the file is wrong.

    Returns the number of rows, and what to tell the person. Raises FileError naming the line.
    """
    if table.lower().startswith(("openai_batch_", "sqlite_")):
        raise FileError(f"'{path.name}': a table can't be called {table}. Name another one.")
    unfinished = database.with_name(f".{database.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        notes = _fill(path, unfinished, table, encoding)
        with closing(connect(unfinished)) as conn:
            store.migrate(conn)
            with transaction(conn):
                store.log(conn, EVENT, file=path.name, table=table, sha256=fingerprint(path))
            (rows,) = conn.execute(f"SELECT count(*) FROM {quote(table)}")
        unfinished.replace(database)
    finally:
        for name in (unfinished.name, f"{unfinished.name}-journal"):
            unfinished.with_name(name).unlink(missing_ok=True)
    return int(rows[0]), notes


def _fill(path: Path, database: Path, table: str, encoding: str | None) -> list[str]:
    """Insert the rows as `sqlite-utils insert --csv` does, and find the types of the columns."""
    from sqlite_utils import Database
    from sqlite_utils.utils import TypeTracker

    encoding, notes = _encoding(path, encoding)
    names = _Names()
    tracker = TypeTracker()
    with closing(sqlite3.connect(database)) as conn:
        db = Database(conn, execute_plugins=False)
        rows = tracker.wrap(names.seen(_records(path, encoding, notes)))
        db.table(table).insert_all(rows)
        if not db.table(table).exists():
            raise FileError(f"'{path}' has a header and no rows: nothing to ask.")
        _set_types(db, table, {**tracker.types, **dict.fromkeys(names.found, "text")})
    return notes


def _set_types(db: Database, table: str, types: dict[str, str]) -> None:
    if set(types.values()) - {"text"}:
        db.table(table).transform(types=types)


class _Names:
    """Finds columns whose digits are names: with leading zeros, a plus, or too long to count."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def seen(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass the rows on."""
        match = _KEPT.match
        for row in rows:
            for column, value in row.items():
                if value and match(value):
                    self.found.add(column)
            yield row


def _encoding(path: Path, given: str | None) -> tuple[str, list[str]]:
    """How a file's letters are written, and what to say of it. Raises FileError."""
    if given is not None:
        try:
            "".encode(given)
        except LookupError:
            raise FileError(f"--encoding '{given}': there is no such encoding.") from None
        return given, []
    with path.open("rb") as file:
        start = file.read(4)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16", []
    if _reads(path, "utf-8-sig"):
        return "utf-8-sig", []
    if not _reads(path, "cp1252"):
        raise FileError(
            f"'{path}' is neither UTF-8 nor Windows-1252. Name its encoding with --encoding."
        )
    said = (
        f"{path.name} is not UTF-8, so it was read as Windows-1252. If letters look wrong, move "
        "the database away and name the encoding with --encoding."
    )
    return "cp1252", [said]


def _reads(path: Path, encoding: str) -> bool:
    """Whether all bytes of a file are text in this encoding."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(path: Path, encoding: str) -> str:
    """What stands between the fields: the mark that gives all first records as many as the header.

    Where several do, the one that gives the most.
    """
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        sample = file.read(SAMPLE_BYTES)
    whole = len(sample) < SAMPLE_BYTES
    best, most = ",", 1
    for mark in DELIMITERS:
        with suppress(csv.Error):
            records = [row for row in csv.reader(sample.splitlines(True), delimiter=mark) if row]
            records = (records if whole or len(records) < 2 else records[:-1])[:SAMPLE_RECORDS]
            fields = {len(row) for row in records}
            if len(fields) == 1 and fields != {1} and max(fields) > most:
                best, most = mark, max(fields)
    if most > 1:
        return best
    # Some record is longer or shorter: then the header decides, and that record is named.
    header = sample.partition("\n")[0]
    return max(DELIMITERS, key=header.count)


def _is_spaced(path: Path, encoding: str) -> bool:
    """Whether each name of the header but the first begins with a space, as `ID, Age` does."""
    with path.open(encoding=encoding, newline="") as file:
        rows = csv.reader(file, delimiter=_delimiter(path, encoding))
        header = next((row for row in rows if row), [])
    return len(header) > 1 and all(name.startswith(" ") for name in header[1:])


def _records(path: Path, encoding: str, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the records of a file by column. Raises FileError naming file and line."""
    csv.field_size_limit(LONGEST_CELL)
    delimiter = _delimiter(path, encoding)
    record: list[str] = []
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(
                _kept(file, record),
                delimiter=delimiter,
                skipinitialspace=_is_spaced(path, encoding),
            )
            header = _header(next((row for row in reader if row), None), path, notes)
            record.clear()
            for row in reader:
                if len(row) > len(header):
                    raise FileError(
                        f"'{path}', line {reader.line_num}: {len(row)} fields, and the header has "
                        f"{len(header)}. Is a text with {_said(delimiter)} in it not in quotes? "
                        "Mend it and run this again."
                    )
                if row:
                    yield dict(zip(header, row, strict=False))
                last = "".join(record)
                record.clear()
                if last.count('"') % 2 and _is_cut(last, delimiter):
                    raise FileError(
                        f"'{path}', line {reader.line_num}: the file ends inside a text in quotes, "
                        "so it was cut, or a quote is missing. Nothing was made of it."
                    )
    except UnicodeError as error:
        raise FileError(f"'{path}' is not {encoding}: {error}.") from error
    except csv.Error as error:
        raise FileError(f"'{path}', line {reader.line_num}: {error}.") from error
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror}.") from error


def _kept(lines: Iterator[str] | Any, record: list[str]) -> Iterator[str]:
    """Pass lines on, and keep those of the record that is being read."""
    for line in lines:
        record.append(line)
        yield line


def _is_cut(record: str, delimiter: str) -> bool:
    """Whether a record ends inside a text in quotes."""
    try:
        list(csv.reader(record.splitlines(True), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "unexpected end" in str(error)
    return False


def _said(delimiter: str) -> str:
    return {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(delimiter, f"a {delimiter}")


def _header(row: Sequence[str] | None, path: Path, notes: list[str]) -> list[str]:
    """The names of the columns: each one named, none twice."""
    if row is None:
        raise FileError(f"'{path}' is empty: there is nothing to ask.")
    given = [name.strip() or f"untitled_{number}" for number, name in enumerate(row, 1)]
    taken = {name.lower() for name in given}
    seen: set[str] = set()
    names, renamed = [], []
    for name in given:
        if name.lower() in seen:
            name = _free(name, lambda one: one.lower() in taken)
            taken.add(name.lower())
            renamed.append(cut(name, 60))
        seen.add(name.lower())
        names.append(name)
    if renamed:
        notes.append(
            f"{path.name} has columns of the same name; they are called: {listed(renamed)}."
        )
    return names


def _free(name: str, is_taken: Callable[[str], bool]) -> str:
    number = 2
    while is_taken(f"{name}_{number}"):
        number += 1
    return f"{name}_{number}"


# A folder of files: a row for each, its columns called as `sqlite-utils insert-files` calls them.

FILES = "files"
_HEAD = 8_192


def is_folder_of_files(path: Path) -> bool:
    """Whether a path is a folder whose files may be asked about: not one named like a database."""
    return path.is_dir() and path.suffix.lower() not in (".db", ".sqlite", ".sqlite3")


def database_of_folder(path: Path) -> Path:
    """The database that belongs to a folder: beside it, of the same name."""
    whole = path.resolve()
    beside = path if path.name and path.name != ".." else whole
    return beside.with_name(f"{whole.name}.db")


def check_folder_database(database: Path, table: str) -> bool:
    """Whether there is a database of a folder; FileError where one of its name isn't one."""
    if not database.exists():
        return False
    with closing(connect(database)) as conn:
        if origin(conn, table) is None:
            raise FileError(
                f"'{database}' is there already, and wasn't made of a folder. Move it away, or "
                "rename the folder."
            )
    return True


def list_files(folder: Path, recursive: bool) -> tuple[list[Path], int]:
    """The files of a folder in the order of their names, and how many folders are left out.

    Hidden ones, whose names begin with a dot, are no part of it. Raises FileError.
    """
    found: list[Path] = []
    left = 0
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            entries = sorted(here.iterdir())
        except OSError as error:
            raise FileError(f"'{here}' can't be read: {error.strerror}.") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                found.append(entry)
            elif entry.is_dir() and not entry.is_symlink():
                left += not recursive
                if recursive:
                    waiting.append(entry)
    return sorted(found), left


def take_folder(
    conn: sqlite3.Connection, folder: Path, table: str, files: Sequence[Path]
) -> tuple[int, int]:
    """Bring a table of files up to date. Files that are gone keep their rows and answers.

    Returns how many are new, and how many are in the table.
    """
    from sqlite_utils import Database

    store.migrate(conn)
    rows = Database(conn, execute_plugins=False).table(table)
    with transaction(conn):
        if not rows.exists():
            types = dict.fromkeys(("path", "name", "type"), str)
            rows.create(
                {**types, "size": int, "sha256": str, "mtime_iso": str}, pk="path"
            )  # the names of insert-files
            store.log(conn, EVENT, file=folder.resolve().name, table=table, sha256="")
        name = quote(table)
        known = {
            path: (size, changed)
            for path, size, changed in conn.execute(f"SELECT path, size, mtime_iso FROM {name}")
        }
        new = 0
        for file in files:
            path = file.relative_to(folder).as_posix()
            size, changed = _stamp(file)
            if known.get(path) == (size, changed):
                continue
            new += path not in known
            conn.execute(
                f"INSERT INTO {name} (path, name, type, size, sha256, mtime_iso) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET type = excluded.type, "
                "size = excluded.size, sha256 = excluded.sha256, mtime_iso = excluded.mtime_iso",
                [path, file.name, _type(file), size, fingerprint(file), changed],
            )
        (count,) = conn.execute(f"SELECT count(*) FROM {name}").fetchone()
    return new, int(count)


def _stamp(file: Path) -> tuple[int, str]:
    """Bytes of a file, and when it was changed."""
    try:
        found = file.stat()
    except OSError as error:
        raise FileError(f"'{file}' can't be read: {error.strerror}.") from error
    return found.st_size, datetime.fromtimestamp(found.st_mtime, timezone.utc).isoformat()


def _type(file: Path) -> str:
    """The media type of a file: by its bytes, for text by its name."""
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if b"%PDF-" in head[:1024]:
        return "application/pdf"
    import filetype

    guessed: str | None = filetype.guess_mime(head)
    if guessed is not None:
        return guessed
    try:
        # Only the last character may be cut.
        head[: -4 if len(head) == _HEAD else None].decode("utf-8-sig", "strict")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return "application/octet-stream"
    return mimetypes.guess_type(file.name)[0] or "text/plain"
