"""Rows → lines, a few hundred at a time: what is the same for each row is then done once (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from ..base.errors import UnrenderableRow
from ..tables.hashing import source_hashes, stored_hashes
from ..tables.sql import SQLiteValue
from .lines import Columns, Lines, Ready, decoded
from .template import Renderer
from .verbatim import GivenLines

#: Rows that are rendered together: enough to spare most of the work around each row, few enough
#: that what is made of them stays in the processor's cache.
ROWS = 256
#: The same where lines hold images, each of which may be as large as all the others together.
ROWS_WITH_IMAGES = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that aren't blank, rendered: each by its index in all of these."""

    positions: Sequence[int]
    """Where each row stands in the source, from 0."""
    row_keys: Sequence[SQLiteValue]
    hashes: Sequence[bytes]
    sizes: Sequence[int]
    """Bytes of each line with its newline; 0 where there is none."""
    line: Callable[[int], bytes]
    """Gives the line of an index."""
    problems: Mapping[int, str]
    """Why there is no line, by index."""
    blank_keys: Sequence[SQLiteValue] = ()
    """The keys of the rows that were left out."""


#: Lines of many rows, put together when they are wanted.
ManyLines = Lines | Ready | GivenLines


@dataclass(frozen=True, slots=True)
class Made:
    """What rows were made into."""

    lines: ManyLines
    hashes: list[bytes]
    problems: dict[int, str]
    """Why there is no line, by index."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Makes chunks of the rows of one job."""

    renderer: Renderer
    hashed: Sequence[int]
    """Which of the renderer's columns a row's hash covers."""
    prefix: str
    """What stands before the request id in a custom_id."""
    first_id: int = 1
    """The request id of the first row of the source."""
    keep_blank: bool = False

    def of(
        self, position: int, rows: Sequence[tuple[SQLiteValue, ...]], *, stored: bool
    ) -> Iterator[Chunk]:
        """Yield the chunks of rows, the first of which is at `position`.

        A row is its key and the values of the renderer's columns; what follows them is left
        alone. With `stored` the TEXT in values is bytes, and there is no BLOB among them.
        """
        step = ROWS_WITH_IMAGES if self.renderer.has_images else ROWS
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            row_keys, *columns = zip(*some, strict=True)
            yield self.chunk(
                range(position + start, position + start + len(some)),
                row_keys,
                columns[: len(self.renderer.columns)],
                stored,
            )

    def chunk(
        self,
        positions: Sequence[int],
        row_keys: Sequence[SQLiteValue],
        columns: Columns,
        stored: bool,
    ) -> Chunk:
        """Render rows together, given column by column."""
        blank = [] if self.keep_blank else self.renderer.blanks(columns, stored=stored)
        blank_keys = [row_keys[index] for index in blank]
        if blank:
            kept = [True] * len(row_keys)
            for index in blank:
                kept[index] = False
            positions = list(compress(positions, kept))
            row_keys = list(compress(row_keys, kept))
            columns = [list(compress(column, kept)) for column in columns]
        if not row_keys:
            return Chunk((), (), (), (), _no_line, {}, blank_keys)
        made = self.made(shifted(positions, self.first_id), columns, stored)
        lines = made.lines
        return Chunk(
            positions, row_keys, made.hashes, lines.sizes(), lines.line, made.problems, blank_keys
        )

    def made(self, ids: Sequence[int], columns: Columns, stored: bool) -> Made:
        """Return the lines of requests with these ids, which ascend, and the hashes of rows."""
        if stored:
            fast = self.renderer.stored_lines(self.prefix, ids, columns)
            if fast is not None:
                return Made(fast, stored_hashes(self.hashed_columns(columns), len(ids)), {})
            columns = decoded(columns)
        hashed = self.hashed_columns(columns)
        hashes = source_hashes(list(zip(*hashed, strict=True)) if hashed else [()] * len(ids))
        lines, problems = self.lines(ids, columns)
        return Made(lines, hashes, problems)

    def hashed_columns(self, columns: Columns) -> Columns:
        """Return the columns that the hashes of rows cover."""
        return [columns[index] for index in self.hashed]

    def lines(self, ids: Sequence[int], columns: Columns) -> tuple[ManyLines, dict[int, str]]:
        """Return the lines of rows, b"" for one that can't be rendered, and why it can't."""
        try:
            return self.renderer.lines(self.prefix, ids, columns), {}
        except UnrenderableRow:
            # which of them it is shows when each is rendered by itself
            pass
        lines, problems = [], {}
        for index, (request_id, row) in enumerate(
            zip(ids, zip(*columns, strict=True), strict=True)
        ):
            try:
                lines.append(self.renderer.line(f"{self.prefix}{request_id}", row))
            except UnrenderableRow as error:
                lines.append(b"")
                problems[index] = str(error)
        return Ready(lines), problems


def shifted(numbers: Sequence[int], by: int) -> Sequence[int]:
    """Return numbers with another one added to each."""
    if isinstance(numbers, range):
        return range(numbers.start + by, numbers.stop + by)
    return [number + by for number in numbers]


def _no_line(index: int) -> Any:
    raise IndexError(index)
