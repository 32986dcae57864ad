"""Rows as CSV text, several times as fast as the csv module where cells are long.

The csv module looks at each character in turn; `in` and `replace` look at many at once. The rules
are those of RFC 4180: a cell is quoted where it holds a comma, a quote or a line break, and
NULL (nothing) is told from empty text (`""`). Numbers are written as SQLite's values.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..answers.schema import UNUSUAL
from ..base.text import PIECE_CHARACTERS
from .reader import Reader

# What spreadsheet programs take for the beginning of a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line(cells: Iterable[Any]) -> str:
    """One line with its line break."""
    written = []
    for cell in cells:
        if cell.__class__ is str:
            if '"' in cell:
                cell = '"' + cell.replace('"', '""') + '"'
            elif "," in cell or "\n" in cell or "\r" in cell or not cell:
                cell = f'"{cell}"'
            written.append(cell)
        elif cell is None:
            written.append("")
        elif isinstance(cell, bytes):
            written.append(base64.b64encode(cell).decode())
        else:
            written.append(repr(cell))
    return ",".join(written) + "\r\n"


def readable(cells: Sequence[Any]) -> Sequence[Any]:
    """Cells with BLOBs as base64."""
    return [base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in cells]


def text(rows: Iterable[Iterable[Any]]) -> str:
    """Several lines."""
    return "".join(map(line, rows))


def harmless(cells: Sequence[Any]) -> Sequence[Any]:
    """Cells with an apostrophe before text that a spreadsheet would run as a formula."""
    return [
        "'" + cell if cell.__class__ is str and cell.startswith(FORMULA) else cell for cell in cells
    ]


def pieces(reader: Reader, escape: bool, *, header: bool = True) -> Iterator[bytes]:
    """The CSV of a reader's rows, piece by piece; with `escape`, harmless to spreadsheets."""
    if header:
        yield line(reader.headers).encode("utf-8", "replace")
    if suits(reader) and not escape:
        fast = FastLines(reader)
        while (piece := fast.piece(PIECE_CHARACTERS)) is not None:
            yield piece
        return

    def form(cells: Sequence[Any]) -> str:
        return line(harmless(cells) if escape else cells)

    while (lines := reader.step(form, PIECE_CHARACTERS)) is not None:
        yield "".join(lines).encode("utf-8", "replace")


# CSV of a plain table's rows, column by column: what a million rows are mostly made of.
#
# The same bytes as `line` makes of `Reader.joined`'s rows. Text stays the UTF-8 that SQLite keeps:
# to decode it, only to encode it again, would take as long as all the rest, and twice that where it
# has accents. A column of a few dozen rows is looked at as a whole, so that most cells cost a few
# calls in C and no line of Python.
#
# Rows that are out of the ordinary (gone, with a BLOB where none is declared, an answer that was
# edited by hand) go the slower way, together with those that were read beside them.

# Rows that are formed together: so many that calls in C are most of the work, so few that rows
# of a megabyte each fit in memory.
ROWS = 64
GOAL = 64_000

_decode = msgspec.json.Decoder().decode


def suits(reader: Reader) -> bool:
    """Whether this way is open to this reader: one walk, and no BLOBs to link."""
    return reader.sql is not None and not reader.blobs and reader.columns is not None


class FastLines:
    """Makes pieces of CSV of a reader's rows."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.sql = reader.bytes_sql()
        self.rows = ROWS
        self.columns = reader.columns or []
        self.blank = {name: None for name, _ in self.columns}

    def piece(self, most: int) -> bytes | None:
        """The next lines, about `most` bytes of them; None at the end of the rows."""
        reader = self.reader
        if reader.after >= reader.last:
            return None
        conn, end, found, size = reader.conn, reader.end, [], 0
        conn.text_factory = bytes
        cursor = conn.execute(self.sql, reader.params)
        try:
            while size < most:
                page = cursor.fetchmany(self.rows)
                if not page:
                    reader.after = end
                    break
                lines = self.lines(page)
                found.append(lines)
                size += len(lines)
                reader.after = page[-1][0]
                self.rows = max(1, min(ROWS, GOAL * len(page) // (len(lines) or 1)))
        finally:
            cursor.close()
            conn.text_factory = reader.text
        return valid(b"".join(found))

    def lines(self, page: list[Sequence[Any]]) -> bytes:
        """The lines of some rows."""
        ids, statuses, answers, errors, *cells = zip(*page, strict=True)
        if None in statuses:
            return self.slowly(ids[0], ids[-1])
        try:
            answered = self.answered(statuses, answers)
        except (msgspec.MsgspecError, *UNUSUAL):
            return self.slowly(ids[0], ids[-1])
        if self.reader.results.judged:
            answered += self.judged(ids, answered)
        columns = [*map(column, cells), *map(column, answered), statuses, column(errors)]
        if (places := self.reader.results.places) is not None:
            columns = [columns[place] for place in places]
        return b"\r\n".join([*map(b",".join, zip(*columns, strict=True)), b""])

    def answered(self, statuses: Sequence[bytes], answers: Sequence[Any]) -> list[Sequence[Any]]:
        """The answer columns of some rows. Raises where an answer isn't as collecting left it."""
        if not self.columns:
            return [[a if s == b"ok" else None for s, a in zip(statuses, answers, strict=True)]]
        blank = self.blank
        values = [
            _decode(answer) if status == b"ok" else blank
            for status, answer in zip(statuses, answers, strict=True)
        ]
        return [
            [value[name] for value in values]
            if convert is None
            else [convert(value[name]) for value in values]
            for name, convert in self.columns
        ]

    def judged(self, ids: Sequence[int], answered: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """What people say of some rows, and what counts, for each column that they judged."""
        found = map(self.reader.results.judgements, ids, zip(*answered, strict=True))
        return list(zip(*found, strict=True))

    def slowly(self, first: int, last: int) -> bytes:
        """The lines of the requests from one id to another, row by row."""
        reader = self.reader
        conn, after, end = reader.conn, reader.after, reader.last
        conn.text_factory = reader.text
        reader.after, reader.last = first - 1, last
        try:
            found = []
            while (lines := reader.step(line, GOAL)) is not None:
                found += lines
        finally:
            reader.after, reader.last = after, end
            conn.text_factory = bytes
        return "".join(found).encode("utf-8", "replace")


def column(cells: Sequence[Any]) -> Sequence[bytes]:
    """The cells of one column as they stand in the file."""
    kinds = set(map(type, cells))
    if NOTHING in kinds:
        if len(kinds) == 1:
            return [b""] * len(cells)
        written = iter(column([cell for cell in cells if cell is not None]))
        return [b"" if cell is None else next(written) for cell in cells]
    form = FORMS.get(kinds.pop()) if len(kinds) == 1 else None
    return form(cells) if form else [one(cell) for cell in cells]


def texts(cells: Sequence[bytes]) -> Sequence[bytes]:
    """Text, quoted where it must be."""
    whole = b"".join(cells)
    if b'"' in whole:
        return [cell_text(cell) for cell in cells]
    if b"," in whole or b"\n" in whole or b"\r" in whole or b"" in cells:
        return [
            b'"%b"' % cell if b"," in cell or b"\n" in cell or b"\r" in cell or not cell else cell
            for cell in cells
        ]
    return cells


# What forms a column of one kind of values; `%a` is what `repr` gives, as bytes.
FORMS: dict[type, Callable[[Sequence[Any]], Sequence[bytes]]] = {
    bytes: texts,
    str: lambda cells: texts([cell.encode("utf-8", "replace") for cell in cells]),
    int: lambda cells: list(map(b"%d".__mod__, cells)),
    float: lambda cells: list(map(b"%a".__mod__, cells)),
}
NOTHING = type(None)


def cell_text(cell: bytes) -> bytes:
    """One text, quoted where it must be."""
    if b'"' in cell:
        return b'"%b"' % cell.replace(b'"', b'""')
    if b"," in cell or b"\n" in cell or b"\r" in cell or not cell:
        return b'"%b"' % cell
    return cell


def one(cell: Any) -> bytes:
    """One cell of a column that holds several kinds of values."""
    if cell.__class__ is bytes:
        return cell_text(cell)
    if cell.__class__ is str:
        return cell_text(cell.encode("utf-8", "replace"))
    return repr(cell).encode()


def valid(piece: bytes) -> bytes:
    """The piece, with U+FFFD for what isn't UTF-8: SQLite keeps any bytes as TEXT."""
    if piece.isascii():
        return piece
    try:
        piece.decode()
    except UnicodeDecodeError:
        return piece.decode("utf-8", "replace").encode()
    return piece
