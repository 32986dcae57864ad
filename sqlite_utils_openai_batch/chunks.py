"""Rows → lines, a few hundred at a time: what is the same for each row is then done once (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from .errors import UnrenderableRow
from .hashing import source_hashes, stored_hashes
from .keys import SQLiteValue
from .stored import decoded_rows
from .template import Renderer

#: Rows that are rendered together: enough to spare most of the work around each row, few enough
#: that what is made of them stays in the processor's cache.
ROWS = 256
#: The same where lines hold images, each of which may be as large as all the others together.
ROWS_WITH_IMAGES = 4

Keyed = tuple[SQLiteValue, tuple[SQLiteValue, ...]]


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

    def of(self, position: int, rows: Sequence[Keyed], *, stored: bool) -> Iterator[Chunk]:
        """Yield the chunks of rows, (key, values) each, the first of which is at `position`.

        With `stored` the TEXT in values is bytes, and there is no BLOB among them.
        """
        step = ROWS_WITH_IMAGES if self.renderer.has_images else ROWS
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            yield self.chunk(
                range(position + start, position + start + len(some)),
                [key for key, _ in some],
                [values for _, values in some],
                stored,
            )

    def chunk(
        self,
        positions: Sequence[int],
        row_keys: list[SQLiteValue],
        rows: list[tuple[SQLiteValue, ...]],
        stored: bool,
    ) -> Chunk:
        """Render rows together."""
        blank = [] if self.keep_blank else self.renderer.blanks(rows, stored=stored)
        blank_keys = [row_keys[index] for index in blank]
        if blank:
            out = frozenset(blank)
            kept = [index for index in range(len(rows)) if index not in out]
            positions = [positions[index] for index in kept]
            row_keys = [row_keys[index] for index in kept]
            rows = [rows[index] for index in kept]
        if not rows:
            return Chunk((), (), (), (), _no_line, {}, blank_keys)
        lines, hashes, problems = self.made(
            [self.first_id + one for one in positions], rows, stored
        )
        sizes = list(map(len, lines))
        return Chunk(positions, row_keys, hashes, sizes, lines.__getitem__, problems, blank_keys)

    def made(
        self, ids: Sequence[int], rows: list[tuple[SQLiteValue, ...]], stored: bool
    ) -> tuple[list[bytes], list[bytes], dict[int, str]]:
        """Return the lines, the hashes, and why there is no line, by index."""
        if stored:
            fast = self.renderer.stored_lines(self.prefix, ids, rows)
            if fast is not None:
                return fast, stored_hashes(self.hashed_values(rows)), {}
            rows = decoded_rows(rows)
        lines, problems = self.lines(ids, rows)
        return lines, source_hashes(self.hashed_values(rows)), problems

    def hashed_values(
        self, rows: Sequence[tuple[SQLiteValue, ...]]
    ) -> Sequence[Sequence[SQLiteValue]]:
        """Return the values that the hashes of rows cover."""
        if len(self.hashed) == len(self.renderer.columns):
            return rows
        if len(self.hashed) == 1:
            return [(row[self.hashed[0]],) for row in rows]
        return list(map(itemgetter(*self.hashed), rows)) if self.hashed else [()] * len(rows)

    def lines(
        self, ids: Sequence[int], rows: Sequence[tuple[SQLiteValue, ...]]
    ) -> tuple[list[bytes], dict[int, str]]:
        """Return the lines of rows, b"" for one that can't be rendered, and why it can't."""
        try:
            return self.renderer.lines(self.prefix, ids, rows), {}
        except UnrenderableRow:
            # which of them it is shows when each is rendered by itself
            pass
        lines, problems = [], {}
        for index, (request_id, row) in enumerate(zip(ids, rows, strict=True)):
            try:
                lines.append(self.renderer.line(f"{self.prefix}{request_id}", row))
            except UnrenderableRow as error:
                lines.append(b"")
                problems[index] = str(error)
        return lines, problems


def _no_line(index: int) -> Any:
    raise IndexError(index)
