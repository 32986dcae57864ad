"""The lines of a part, from its rows as they are now: for a send, and for a file by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from . import store
from .chunks import ROWS, ROWS_WITH_IMAGES, Chunks
from .fetching import fetch_groups
from .keys import SQLiteValue
from .source import Source

GONE = "the row is gone"


@dataclass(frozen=True, slots=True)
class PartLines:
    """Some of a part's requests, in the order of their ids."""

    ids: list[int]
    """Those that have a line."""
    lines: list[bytes]
    changed: list[tuple[bytes, int]]
    """The hash of each row that isn't as it was when last asked or planned, and its request."""
    problems: list[tuple[int, str]]
    """Requests that have no line, and why."""


def part_lines(
    conn: sqlite3.Connection, source: Source, chunks: Chunks, part_id: int
) -> Iterator[PartLines]:
    """Render the requests of a part that wait for an answer, a few hundred at a time.

    No cursor is open on the database while lines are with the caller.
    """
    renderer = chunks.renderer
    most = ROWS_WITH_IMAGES if renderer.has_images else ROWS
    after = 0
    while page := store.pending_page(conn, part_id, after):
        after = page[-1][0]
        groups = fetch_groups(
            source,
            renderer.columns,
            [key for _, key, _ in page],
            stored=renderer.takes_stored,
            most=most,
        )
        start = 0
        for rows, stored in groups:
            asked = page[start : start + len(rows)]
            start += len(rows)
            there = [
                (request_id, digest, row)
                for (request_id, _, digest), row in zip(asked, rows, strict=True)
                if row is not None
            ]
            gone = [one for (one, *_), row in zip(asked, rows, strict=True) if row is None]
            yield _rendered(chunks, there, gone, stored)


def _rendered(
    chunks: Chunks,
    rows: list[tuple[int, bytes | None, tuple[SQLiteValue, ...]]],
    gone: list[int],
    stored: bool,
) -> PartLines:
    problems = [(request_id, GONE) for request_id in gone]
    if not rows:
        return PartLines([], [], [], problems)
    ids = [request_id for request_id, _, _ in rows]
    made = chunks.made(ids, list(zip(*(values for _, _, values in rows), strict=True)), stored)
    lines, failed = made.lines.all(), made.problems
    problems += [(ids[index], message) for index, message in failed.items()]
    changed = [
        (digest, request_id)
        for (request_id, asked, _), digest, line in zip(rows, made.hashes, lines, strict=True)
        if digest != asked and line
    ]
    if failed:
        ids = [request_id for index, request_id in enumerate(ids) if index not in failed]
        lines = [line for line in lines if line]
    return PartLines(ids, lines, changed, sorted(problems))
