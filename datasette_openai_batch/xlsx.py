"""The rows of a job as an Excel workbook, written row by row to a temporary file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

# What a sheet and a cell of Excel hold, by Microsoft's "Excel specifications and limits".
SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
CUT = "… (cut: the CSV has all of it)"
# Excel's numbers are doubles: larger integers would lose digits.
LARGEST_INTEGER = 999_999_999_999_999


class Book:
    """A workbook whose rows are written one after the other; memory stays flat."""

    def __init__(self, path: Path, headers: Sequence[str]) -> None:
        import xlsxwriter

        self.book = xlsxwriter.Workbook(
            str(path),
            {
                "constant_memory": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
                "nan_inf_to_errors": False,
                "tmpdir": str(path.parent),
            },
        )
        self.bold = self.book.add_format({"bold": True})
        self.headers = headers
        self.sheets = 0
        self.sheet, self.row = self.next_sheet()

    def next_sheet(self) -> tuple[Worksheet, int]:
        """A new sheet with the header line; Excel has room for about a million rows in each."""
        self.sheets += 1
        sheet = self.book.add_worksheet("answers" if self.sheets == 1 else f"answers {self.sheets}")
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(self.headers):
            sheet.write_string(0, column, name[:CELL_CHARACTERS], self.bold)
        return sheet, 1

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write some rows."""
        for cells in rows:
            if self.row >= SHEET_ROWS:
                self.sheet, self.row = self.next_sheet()
            for column, value in enumerate(cells):
                if value is not None:
                    self.write(column, value)
            self.row += 1

    def write(self, column: int, value: Any) -> None:
        """Write one cell: numbers as numbers, all else as text that is never a formula."""
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        if isinstance(value, str):
            if len(value) > CELL_CHARACTERS:
                value = value[: CELL_CHARACTERS - len(CUT)] + CUT
            self.sheet.write_string(self.row, column, value)
        elif abs(value) <= LARGEST_INTEGER:
            self.sheet.write_number(self.row, column, value)
        else:
            self.sheet.write_string(self.row, column, repr(value))

    def close(self) -> None:
        """Finish the file."""
        self.book.close()

    def drop(self) -> None:
        """Let go of what is open, also where the file was never finished."""
        for sheet in self.book.worksheets():
            if sheet.row_data_fh is not None:
                sheet.row_data_fh.close()
