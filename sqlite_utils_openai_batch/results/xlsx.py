"""Rows as an Excel workbook, written one after the other in constant memory."""

from __future__ import annotations

import base64
import json
import math
import mimetypes
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from ..base.errors import OutputError, UsageError
from ..base.text import PIECE_CHARACTERS

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
    told: Callable[[int], None] = lambda count: None,
) -> int:
    """Write rows to a workbook of one sheet. Returns how many there were.

    Integers of more digits than Excel keeps are text: ids lose none. Columns in `lists` hold JSON
    arrays, which become "a; b". Text is never taken for a formula or a link. `told` hears how many
    rows there are so far. The file is there when it is whole. Raises OutputError where it can't be
    written.
    """
    path = Path(path)
    # what isn't a file, such as /dev/stdout, can't be put in place afterwards
    direct = path.exists() and not path.is_file()
    target = path if direct else Path(f"{os.path.realpath(path)}.unfinished")
    try:
        try:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as book:
                count = fill(book, headers, rows, lists, told)
            if not direct:
                target.replace(os.path.realpath(path))
        finally:
            if not direct:
                target.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"'{path}' can't be written: {error}") from error
    return count


# The workbook around the rows is xlsxwriter's. The rows themselves are written here, as it would
# write them in its mode of constant memory: it takes six times as long, a few calls for each cell.

SHEET = "xl/worksheets/sheet1.xml"
#: Of zlib: a seventh more bytes than its usual level, in a third of the time.
LEVEL = 3
#: Rows that are put together at once.
PIECE_ROWS = 256
#: What the format of the file, or Python's `zipfile` as it streams, takes in one sheet.
MOST_BYTES = 2_000_000_000

# Characters that Excel writes as _x000B_ (ECMA-376, ST_Xstring), and what reads like that.
CONTROLS = bytes([*range(9), *range(0x0B, 0x20)])
_control = re.compile("[\x00-\x08\x0b-\x1f]")
_like_control = re.compile("(_x[0-9a-fA-F]{4}_)")
# How the sheet ends whose second row is one long number: where rows go, and the style of it.
_end = re.compile(rb'<row r="2".*? s="(\d+)".*?</row>(.*)', re.DOTALL)
_dimension = re.compile(rb"<dimension [^>]*/>")


def fill(
    book: zipfile.ZipFile,
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    lists: Sequence[str],
    told: Callable[[int], None],
) -> int:
    """Write a whole workbook. Returns how many rows there were."""
    with zipfile.ZipFile(shell(headers)) as around:
        for name in around.namelist():
            if name != SHEET:
                book.writestr(name, around.read(name))
        # how many rows there will be isn't known yet; the element may be left out
        start = _dimension.sub(b"", around.read(SHEET))
    end = _end.search(start)
    assert end is not None
    form = Rows([name in lists for name in headers], int(end[1]))
    size = 0
    with book.open(SHEET, "w") as sheet:
        sheet.write(start[: end.start()])
        for piece in form.pieces(rows):
            size += len(piece)
            if size > MOST_BYTES:
                raise OutputError(
                    f"An Excel sheet holds {MOST_BYTES // 10**9} GB of text, and after "
                    f"{form.count:,} rows this is more. Take fewer with --status or -c, or all "
                    "of them with --csv."
                )
            sheet.write(piece)
            told(form.count)
        sheet.write(end[2])
    return form.count


def shell(headers: Sequence[str]) -> BytesIO:
    """A workbook with the headers and one long number below them."""
    import xlsxwriter

    file = BytesIO()
    book = xlsxwriter.Workbook(file, {"constant_memory": True})
    sheet = book.add_worksheet("answers")
    sheet.freeze_panes(1, 0)
    bold = book.add_format({"bold": True})
    for column, name in enumerate(headers):
        sheet.write_string(0, column, name[:CELL_CHARACTERS], bold)
    # integers that Excel would otherwise show as 1.23E+11
    sheet.write_number(1, 0, LONG, book.add_format({"num_format": "0"}))
    book.close()
    file.seek(0)
    return file


class Rows:
    """Makes the XML of rows, those below the headers."""

    def __init__(self, lists: Sequence[bool], whole: int) -> None:
        """`lists` tells which columns hold JSON arrays, `whole` is the style of long integers."""
        from xlsxwriter.utility import xl_col_to_name

        self.count = 0
        self.names = [(f'<c r="{xl_col_to_name(n)}', is_list) for n, is_list in enumerate(lists)]
        self.whole = f'" s="{whole}"><v>'

    def pieces(self, rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
        """The XML of all rows, many at a time."""
        waiting: list[Sequence[Any]] = []
        size = 0
        for row in rows:
            waiting.append(row)
            size += sum([len(value) for value in row if value.__class__ is str])
            if size > PIECE_CHARACTERS or len(waiting) == PIECE_ROWS:
                yield self.piece(waiting)
                waiting, size = [], 0
        if waiting:
            yield self.piece(waiting)

    def piece(self, rows: Sequence[Sequence[Any]]) -> bytes:
        """The XML of some rows."""
        made = self.made(rows, escaped)
        odd = len(made.translate(None, CONTROLS)) < len(made) or b"_x" in made
        if odd or b"\xef\xbf" in made:
            made = self.made(rows, with_controls)
        self.count += len(rows)
        return made

    def made(self, rows: Sequence[Sequence[Any]], text: Callable[[str], str]) -> bytes:
        """The XML of some rows, whose text `text` makes into XML."""
        parts: list[str] = []
        add, names, whole = parts.append, self.names, self.whole
        for number, row in enumerate(rows, self.count + 2):
            add(f'<row r="{number}">')
            for (cell, is_list), value in zip(names, row, strict=True):
                if value is None:
                    continue
                shown = value if value.__class__ is float else shown_as(value, is_list)
                if shown.__class__ is str:
                    spaced = shown[:1].isspace() or shown[-1:].isspace()
                    start = ' xml:space="preserve">' if spaced else ">"
                    add(f'{cell}{number}" t="inlineStr"><is><t{start}{text(shown)}</t></is></c>')
                elif -math.inf < shown < math.inf:
                    long = shown.__class__ is int and abs(shown) >= LONG
                    add(f"{cell}{number}{whole if long else NUMBER}{shown:.16G}</v></c>")
                else:
                    add(f'{cell}{number}" t="inlineStr"><is><t>{shown}</t></is></c>')
            add("</row>")
        return "".join(parts).encode("utf-8", "replace")


NUMBER = '"><v>'


def escaped(text: str) -> str:
    """Text as it stands in XML."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    return text.replace(">", "&gt;") if ">" in text else text


def with_controls(text: str) -> str:
    """The same for text with characters that XML can't hold."""
    text = _like_control.sub(r"_x005F\1", text.translate(NOT_XML))
    return escaped(_control.sub(lambda found: f"_x{ord(found[0]):04X}_", text))


def shown_as(value: Any, is_list: bool) -> Any:
    """What a cell shows: text, or a number."""
    if is_list:
        value = joined(value)
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    if isinstance(value, str):
        return value if 2 * len(value) <= CELL_CHARACTERS else cut(value)
    return value if isinstance(value, float) or abs(value) <= LARGEST_INTEGER else str(value)


def cut(text: str) -> str:
    """As much of a text as a cell holds, which counts in UTF-16."""
    units = text.encode("utf-16-le", "replace")
    if len(units) <= 2 * CELL_CHARACTERS:
        return text
    return units[: 2 * (CELL_CHARACTERS - len(CUT))].decode("utf-16-le", "ignore") + CUT


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
