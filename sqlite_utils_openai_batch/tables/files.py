"""A file that somebody brings (CSV, TSV, JSON lines, a workbook) becomes a table.

Rows are read and their types found as sqlite-utils does; what would lose something by that
(leading zeros, a plus, figures beyond 64 bits) stays text. The database is made beside the file
under another name and renamed once it is whole.
"""

from __future__ import annotations

import csv
import datetime
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ..base.errors import FileError
from ..base.text import counted
from .sql import quote

SQLITE = b"SQLite format 3\x00"
#: Bytes at the beginning that tell encoding and delimiter.
SNIFFED = 200_000
DELIMITERS = ",;\t|"
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}
WORKBOOKS = (".xlsx", ".xls", ".xlsb", ".ods")
LINES = (".jsonl", ".ndjson", ".nl")
STAGE = "openai_batch_staging"
# A number by Python's reading that isn't the text any more: 0012, +49 30, 1_000, nan.
_NOT_A_NUMBER = re.compile(r"\s*(?:[+-]?0\d|\+|.*_|[+-]?(?:nan|inf))", re.IGNORECASE)
# Names of columns that tell rows apart.
_KEY = re.compile(r"(?:^|[^a-z])(?:id|key|uid|uuid|code|no|nr|number|isbn|doi)$|[a-z]I[dD]$")
_KEY_ANYHOW = re.compile(r"(?:^|[^a-z])(?:id|key|uid|uuid)$", re.IGNORECASE)

Row = dict[str, Any]


@dataclass(slots=True)
class Loaded:
    """A table that was made of a file, and what was taken for granted on the way."""

    db: Path
    table: str
    rows: int
    notes: list[str] = field(default_factory=list)


def is_database(file: Path) -> bool:
    """Whether a file is a SQLite database, by its first bytes; an empty `.db` is one too."""
    with file.open("rb") as opened:
        start = opened.read(len(SQLITE))
    return start == SQLITE or (not start and file.suffix in (".db", ".sqlite", ".sqlite3"))


def table_of(file: Path) -> str:
    """What the table of a file is called: by the file's name."""
    name = re.sub(r"\W+", "_", file.stem).strip("_")
    return name or "rows"


def load(file: Path) -> Loaded:
    """Make `NAME.db` beside a file, with its rows as a table. Raises FileError.

    A `NAME.db` that has that table already is left as it is: answers may stand in it.
    """
    db, table = file.with_suffix(".db"), table_of(file)
    if db.exists():
        return there_already(file, db, table)
    notes: list[str] = []
    made = db.with_name(f".{db.name}.partial")
    made.unlink(missing_ok=True)
    try:
        rows = fill(made, table, file, notes)
        made.rename(db)
    except OSError as error:
        raise FileError(f"'{db}' can't be made: {error.strerror or error}.") from error
    finally:
        made.unlink(missing_ok=True)
    return Loaded(db, table, rows, notes)


def there_already(file: Path, db: Path, table: str) -> Loaded:
    """The database that was made of a file before. Raises FileError where it is another's."""
    if not is_database(db):
        raise FileError(f"'{db}' is there already and is no SQLite database: move it away.")
    with closing(sqlite3.connect(db)) as conn:
        found = conn.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", [table]
        ).fetchone()
        if found is None:
            raise FileError(f"'{db}' is there already, without a table {table}: move it away.")
        (count,) = conn.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()
    note = f"{db.name} is there already: opened as it is. Move it away to read {file.name} anew."
    return Loaded(db, table, count, [note])


def fill(db: Path, table: str, file: Path, notes: list[str]) -> int:
    """Put the rows of a file into a new database. Returns how many. Raises FileError."""
    from sqlite_utils import Database
    from sqlite_utils.utils import TypeTracker

    with closing(sqlite3.connect(db)) as conn:
        # the file is made anew where this is cut
        conn.execute("PRAGMA journal_mode = OFF")
        conn.execute("PRAGMA synchronous = OFF")
        target = Database(conn, execute_plugins=False)
        types, rows = TypeTracker(), read_rows(file, notes)
        stage = target.table(STAGE)
        typed = Numbers(file.suffix.lower() not in (*LINES, *WORKBOOKS, ".json"))
        try:
            stage.insert_all(types.wrap(typed.watch(rows)), alter=True)
        except (csv.Error, UnicodeDecodeError, sqlite3.Error) as error:
            raise FileError(f"'{file}' can't be read: {error}.") from error
        if not stage.exists():
            raise FileError(f"'{file}' has no rows.")
        columns = stage.columns_dict
        if typed.is_text:
            found = {name: kind for name, kind in types.types.items() if name not in typed.texts}
            columns = {name: found.get(name, "text") for name in columns}
        count = stage.count
        key = key_of(conn, list(columns), count)
        settle(conn, table, columns, key, notes)
    return int(count)


class Numbers:
    """Watches rows of text for what would lose something if it were made a number."""

    def __init__(self, is_text: bool) -> None:
        self.is_text = is_text
        self.texts: set[str] = set()

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, blank cells as None."""
        if not self.is_text:
            yield from rows
            return
        for row in rows:
            for name, value in row.items():
                if isinstance(value, str) and name not in self.texts and loses(value):
                    self.texts.add(name)
            yield row


def loses(value: str) -> bool:
    """Whether a text would not be the same if it were read as a number and written again."""
    if not value or value[0] not in "+-0123456789. niNI":
        return False
    figures = value.strip().lstrip("-")
    if figures.isdigit() and len(figures) > 18:
        return True
    return _NOT_A_NUMBER.match(value) is not None


def key_of(conn: sqlite3.Connection, columns: list[str], count: int) -> str | None:
    """The column that tells the rows apart: one that is called so, else the first; None for none.

    Its cells are all there, all different, and short.
    """
    named = [name for name in columns if _KEY_ANYHOW.search(name) or _KEY.search(name)]
    for name in dict.fromkeys([*named, *columns[:1]]):
        column = quote(name)
        sql = (
            f"SELECT count(DISTINCT {column}), max(length({column})), "
            f"sum(instr({column}, char(10)) > 0) FROM {STAGE}"
        )
        different, longest, lines = conn.execute(sql).fetchone()
        if different == count and (longest or 0) <= 64 and not lines:
            return name
    return None


def settle(
    conn: sqlite3.Connection,
    table: str,
    columns: dict[str, Any],
    key: str | None,
    notes: list[str],
) -> None:
    """Make the table with its types and key out of what was read."""
    from sqlite_utils import Database

    target = Database(conn, execute_plugins=False)
    made: dict[str, Any] = dict(columns)
    names = ", ".join(map(quote, columns))
    chosen = names
    if key is None:
        taken = {name.lower() for name in columns}
        key = next(name for name in ("id", "row_id", "row_number", "_id") if name not in taken)
        made = {key: int, **columns}
        names, chosen = f"{quote(key)}, {names}", f"rowid, {chosen}"
        notes.append(f"No column tells the rows apart: a new column {key} numbers them.")
    else:
        notes.append(f"The key is {key}.")
    target.table(table).create(made, pk=key)
    rows = f"SELECT {chosen} FROM {STAGE} ORDER BY rowid"
    conn.execute(f"INSERT INTO {quote(table)} ({names}) {rows}")
    conn.execute(f"DROP TABLE {STAGE}")
    conn.commit()
    conn.execute("VACUUM")


# Reading


def read_rows(file: Path, notes: list[str]) -> Iterator[Row]:
    """The rows of a file, by what it is. Raises FileError."""
    suffix = file.suffix.lower()
    if suffix in WORKBOOKS:
        return workbook_rows(file, notes)
    encoding = encoding_of(file)
    if encoding != "utf-8":
        said = {"utf-8-sig": "UTF-8 (with a mark at its start)", "cp1252": "Windows-1252"}
        notes.append(f"{file.name} is read as {said.get(encoding, encoding.upper())}.")
    if suffix in LINES:
        return json_rows(file, encoding)
    with file.open(encoding=encoding, errors="replace", newline="") as opened:
        start = opened.read(SNIFFED)
    if suffix == ".json" or start.lstrip()[:1] in ("{", "["):
        is_list = start.lstrip()[:1] == "["
        return json_list(file, encoding) if is_list else json_rows(file, encoding)
    return csv_rows(file, encoding, delimiter_of(file, start, notes))


def encoding_of(file: Path) -> str:
    """The encoding of a text file: by its mark, else UTF-8 if it is that, else Windows-1252."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as opened:
        start = opened.read(4)
        if start.startswith(codecs.BOM_UTF8):
            return "utf-8-sig"
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        opened.seek(0)
        try:
            while piece := opened.read(1_000_000):
                if b"\0" in piece:
                    raise FileError(f"'{file}' is not a text file, a workbook or a database.")
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def delimiter_of(file: Path, start: str, notes: list[str]) -> str:
    """What stands between the cells of a line: the sign that cuts most lines alike."""
    if file.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    found = max(DELIMITERS, key=lambda sign: evenness(start, sign))
    if found != ",":
        notes.append(f"The columns of {file.name} are divided by {NAMES[found]}.")
    return found


def evenness(start: str, sign: str) -> tuple[float, int]:
    """How many of the first lines have as many cells as the header has, and how many those are."""
    lines = list(islice(csv.reader(start.splitlines(keepends=True), delimiter=sign), 100))
    # the last line may be cut
    widths = [len(row) for row in lines if row][: max(len(lines) - 1, 1)]
    if not widths or widths[0] < 2:
        return (0.0, 0)
    return (sum(width == widths[0] for width in widths) / len(widths), widths[0])


def csv_rows(file: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    """The rows of a CSV file; a blank cell is None. Raises FileError for too many cells."""
    csv.field_size_limit(2**31 - 1)
    # Windows-1252 leaves five bytes without a sign: such a cell is still read.
    with file.open(encoding=encoding, errors="replace", newline="") as opened:
        reader = csv.reader(opened, delimiter=delimiter)
        names = column_names(next(reader, []))
        for row in reader:
            if len(row) > len(names):
                if any(cell.strip() for cell in row[len(names) :]):
                    raise FileError(
                        f"'{file}', line {reader.line_num}: {counted(len(row), 'cell')}, and "
                        f"{counted(len(names), 'column')} in the header. Is a quotation mark "
                        "missing before it?"
                    )
                row = row[: len(names)]
            if any(row):
                cells = [cell if cell.strip() else None for cell in row]
                cells += [None] * (len(names) - len(cells))
                yield dict(zip(names, cells, strict=True))


def column_names(header: Iterable[Any]) -> list[str]:
    """The header as names of columns: none is blank, none comes twice."""
    names: list[str] = []
    taken: set[str] = set()
    for number, cell in enumerate(header, 1):
        begin = name = " ".join(str(cell if cell is not None else "").split()) or f"column_{number}"
        more = 2
        while name.lower() in taken:
            name, more = f"{begin}_{more}", more + 1
        taken.add(name.lower())
        names.append(name)
    return names


def json_rows(file: Path, encoding: str) -> Iterator[Row]:
    """The rows of JSON lines. Raises FileError for a line that is not an object."""
    with file.open(encoding=encoding) as opened:
        for number, line in enumerate(opened, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise FileError(f"'{file}', line {number} is not JSON: {error}.") from error
                if not isinstance(row, dict):
                    raise FileError(f"'{file}', line {number} is not an object with columns.")
                yield row


def json_list(file: Path, encoding: str) -> Iterator[Row]:
    """The rows of a JSON array. Raises FileError."""
    try:
        rows = json.loads(file.read_text(encoding=encoding))
    except ValueError as error:
        raise FileError(f"'{file}' is not JSON: {error}.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise FileError(f"'{file}' is not a list of objects with columns.")
    yield from rows


def workbook_rows(file: Path, notes: list[str]) -> Iterator[Row]:
    """The rows of a workbook's first sheet that has some. Raises FileError."""
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(str(file))
        sheets = [(name, book.get_sheet_by_name(name)) for name in book.sheet_names]
    except (CalamineError, OSError) as error:
        raise FileError(f"'{file}' can't be read as a workbook: {error}.") from error
    name, sheet = next(((name, one) for name, one in sheets if one.height > 1), (None, None))
    if sheet is None:
        raise FileError(f"'{file}' has no sheet with rows.")
    if len(sheets) > 1:
        notes.append(f"Of {file.name} the sheet {name} is read.")
    rows = sheet.iter_rows()
    names = column_names(next(rows, []))
    for row in rows:
        cells = [workbook_value(cell) for cell in row[: len(names)]]
        if any(cell is not None for cell in cells):
            yield dict(zip(names, cells, strict=False))


def workbook_value(cell: Any) -> Any:
    """A cell as SQLite holds it: whole numbers whole, days and times as ISO text."""
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, (datetime.date, datetime.time, datetime.datetime)):
        return cell.isoformat()
    return str(cell) if isinstance(cell, datetime.timedelta) else cell
