"""Rows as an Excel workbook, written one after the other in constant memory."""

from __future__ import annotations

import base64
import json
import math
import mimetypes
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import OutputError, UsageError

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

# What a sheet and a cell hold, by Microsoft's "Excel specifications and limits".
SHEET_ROWS = 1_048_576
SHEET_COLUMNS = 16_384
CELL_CHARACTERS = 32_767
CUT = "… (cut: --csv has all of it)"
# Excel's numbers are doubles that show 15 digits: larger integers would lose some.
LARGEST_INTEGER = 999_999_999_999_999
LONG = 100_000_000_000

# How a workbook begins.
ZIP = b"PK"
# Formats of data whose names Python's list of types lacks, and Excel's own others.
OTHER_FORMATS = frozenset(
    {
        ".jsonl", ".ndjson", ".geojson", ".yaml", ".yml", ".toml", ".md", ".log", ".sql", ".ipynb",
        ".xls", ".xlsm", ".xlsb", ".xltx", ".ods", ".numbers",
        ".db", ".db3", ".sqlite", ".sqlite3", ".duckdb", ".parquet", ".feather", ".arrow", ".avro",
        ".dta", ".sav", ".por", ".rds", ".rda", ".rdata", ".sas7bdat", ".pkl", ".npy", ".npz",
    }
)  # fmt: skip

# Characters that XML can't hold, even escaped.
NOT_XML = {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}

Cell = Callable[[Any], Any]


def check_name(path: str | Path) -> None:
    """Raise UsageError for a name that says another format, or a file that isn't a workbook."""
    path = Path(path)
    kind, packed = mimetypes.guess_type(path.name, strict=False)
    suffix = path.suffix.lower()
    if suffix != ".xlsx" and (kind or packed or suffix in OTHER_FORMATS):
        raise UsageError(
            f"--xlsx writes an Excel workbook, and '{path}' is the name of another kind of file. "
            f"Call it '{path.with_suffix('.xlsx')}'{instead(suffix)}."
        )
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(2) != ZIP:
                raise UsageError(
                    f"'{path}' is there already and no Excel workbook: give --xlsx another name."
                )


def instead(suffix: str) -> str:
    """How the file is written that a name seems to ask for."""
    options = {
        ".csv": " --csv",
        ".tsv": " --tsv",
        ".json": "",
        ".jsonl": " --nl",
        ".ndjson": " --nl",
    }
    if suffix not in options:
        return ""
    return f", or in place of --xlsx write:{options[suffix]} > FILE"


def check_fits(rows: int, columns: int) -> None:
    """Raise UsageError where a sheet can't hold so many rows below its headers, or columns."""
    if rows > SHEET_ROWS - 1:
        raise UsageError(
            f"An Excel sheet holds {SHEET_ROWS - 1:,} rows, and these are {rows:,}. "
            "Take fewer with --status, or all of them with --csv."
        )
    if columns > SHEET_COLUMNS:
        raise UsageError(
            f"An Excel sheet holds {SHEET_COLUMNS:,} columns, and these are {columns:,}. "
            "Choose some with -c."
        )


def write_xlsx(
    path: str | Path,
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    lists: Sequence[str] = (),
) -> int:
    """Write rows to a workbook of one sheet. Returns how many there were.

    Integers of more digits than Excel keeps are text: ids lose none. Columns in `lists` hold JSON
    arrays, which become "a; b". Text is never taken for a formula or a link. Raises OutputError
    where the file can't be written.
    """
    import xlsxwriter
    from xlsxwriter.exceptions import XlsxWriterException

    cells = [cell_of(name in lists) for name in headers]
    book = xlsxwriter.Workbook(str(path), {"constant_memory": True})
    sheet = book.add_worksheet("answers")
    try:
        forms = book.add_format({"bold": True}), book.add_format({"num_format": "0"})
        count = fill(sheet, *forms, headers, rows, cells)
        book.close()
    except (XlsxWriterException, OSError) as error:
        raise OutputError(f"'{path}' can't be written: {error}") from error
    finally:
        if sheet.row_data_fh is not None:  # its temporary file, where the workbook never closed
            sheet.row_data_fh.close()
    return count


def fill(
    sheet: Worksheet,
    bold: Format,
    whole: Format,
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    cells: Sequence[Cell],
) -> int:
    """Write the headers in `bold` and the rows below them. Returns how many rows there were.

    `whole` is for integers that Excel would otherwise show as 1.23E+11.
    """
    sheet.freeze_panes(1, 0)
    for column, name in enumerate(headers):
        sheet.write_string(0, column, name[:CELL_CHARACTERS], bold)
    count = 0
    for count, row in enumerate(rows, 1):
        for column, (value, cell) in enumerate(zip(row, cells, strict=True)):
            shown = cell(value)
            if isinstance(shown, str):
                sheet.write_string(count, column, shown)
            elif shown is not None:
                long = isinstance(shown, int) and abs(shown) >= LONG
                sheet.write_number(count, column, shown, whole if long else None)
    return count


def cell_of(is_list: bool) -> Cell:
    """The function that makes a value what a cell shows: text, a number, or nothing."""

    def cell(value: Any) -> Any:
        if is_list:
            value = joined(value)
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        if isinstance(value, str):
            over = len(value) > CELL_CHARACTERS
            shown = value[: CELL_CHARACTERS - len(CUT)] + CUT if over else value
            return shown if shown.isascii() else shown.translate(NOT_XML)
        if value is None:
            return None
        exact = math.isfinite(value) and (isinstance(value, float) or abs(value) <= LARGEST_INTEGER)
        return value if exact else str(value)

    return cell


def joined(value: Any) -> Any:
    """A JSON array of plain values as "a; b"; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        items = json.loads(value)
    except ValueError:
        return value
    if not isinstance(items, list) or any(isinstance(item, dict | list) for item in items):
        return value
    return "; ".join(item if isinstance(item, str) else json.dumps(item) for item in items)
