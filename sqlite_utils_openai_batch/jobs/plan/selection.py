"""Which of a source's rows are asked about: --sample, --missing and --changed.

What they choose is settled before the first row is rendered, and kept as a list of row keys in a
private temporary database.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ... import store
from ...base.errors import UsageError
from ...base.statuses import UNRUN
from ...store.history import Asked, asked_before
from ...tables.columns import fold, output_keys, table_columns
from ...tables.hashing import source_hash
from ...tables.output import Output
from ...tables.source import PAGE_BYTES, Source, open_source
from ...tables.sql import Row, SQLiteValue, are_blank, weight
from ...tables.undo import recall

if TYPE_CHECKING:
    from .ask import Ask


# What was asked about rows before, and what became of it: for --missing and --changed.

KEYS_AT_ONCE = 500


class Last(NamedTuple):
    """The newest request about a row, and a hash of what was last written to its cells."""

    source_hash: bytes
    status: str
    in_flight: bool
    wrote: bytes | None

    @property
    def never_ran(self) -> bool:
        """Whether it ended without having been asked."""
        return self.status in UNRUN

    @property
    def may_ask(self) -> bool:
        """Whether the row may be asked again: not in flight, and not failed for good."""
        return not self.in_flight and (self.status == "ok" or self.never_ran)


class Before:
    """The newest request about each row, in a private temporary database."""

    def __init__(self) -> None:
        self.conn = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.conn.execute(
            "CREATE TABLE last (row_key PRIMARY KEY, source_hash, status, in_flight, wrote) "
            "WITHOUT ROWID"
        )

    def close(self) -> None:
        """Delete it."""
        self.conn.close()

    def add(self, page: Sequence[Asked], unfinished: set[int], writing: set[int]) -> None:
        """Take in requests, older ones first."""
        self.conn.execute("BEGIN")
        self.conn.executemany(
            "INSERT INTO last VALUES (?, ?, ?, ?, ?) ON CONFLICT (row_key) DO UPDATE SET "
            "source_hash = excluded.source_hash, status = excluded.status, "
            "in_flight = excluded.in_flight, wrote = coalesce(excluded.wrote, wrote)",
            [
                (
                    one.row_key,
                    one.source_hash,
                    one.status,
                    is_in_flight(one, unfinished, writing),
                    wrote(one),
                )
                for one in page
            ],
        )
        self.conn.execute("COMMIT")

    def of(self, keys: Sequence[SQLiteValue]) -> dict[SQLiteValue, Last]:
        """Return what is known of these rows, by key."""
        found: dict[SQLiteValue, Last] = {}
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            rows = self.conn.execute(
                f"SELECT * FROM last WHERE row_key IN ({', '.join('?' * len(some))})", some
            )
            found |= {row[0]: Last(row[1], row[2], bool(row[3]), row[4]) for row in rows}
        return found


def is_in_flight(one: Asked, unfinished: set[int], writing: set[int]) -> bool:
    """Whether an answer to a request may still come, or be written."""
    if one.job_id not in unfinished:
        return False
    waits = one.status == "ok" and one.write_status is None and one.job_id in writing
    return one.status == "pending" or waits


def wrote(one: Asked) -> bytes | None:
    """The hash of the cells that a request's answer left, None where it wrote none."""
    if one.write_status != "written" or not one.previous:
        return None
    return bytes.fromhex(recall(one.previous).wrote)


def before(conn: sqlite3.Connection, ask: Ask, source: Source, output: Output) -> Before:
    """Read what earlier jobs asked about the rows of a source.

    For --changed those are the jobs of the same name, else those that write the same columns.
    """
    jobs = [job for job in store.list_jobs(conn) if is_over(job, source)]
    if ask.changed:
        jobs = [job for job in jobs if job.name == ask.name]
    else:
        jobs = [job for job in jobs if writes_same(Output.of(job), output)]
    known = Before()
    try:
        unfinished = {job.id for job in jobs if job.unfinished}
        writing = {job.id for job in jobs if job.writes["write"]}
        if jobs:
            for page in asked_before(conn, [job.id for job in jobs]):
                known.add(page, unfinished, writing)
    except BaseException:
        known.close()
        raise
    return known


def is_over(job: store.Job, source: Source) -> bool:
    """Whether a job asks about the rows of this source, by the same key."""
    same = job.source == source.name and job.source_sql == source.sql
    return same and job.keys == source.key_columns


def writes_same(one: Output, other: Output) -> bool:
    """Whether two jobs write to a column of the same table."""
    names = {name.lower() for name in one.names} & {name.lower() for name in other.names}
    return one.write and one.table == other.table and bool(names)


Key = SQLiteValue
#: Keys that are fetched together at most.
CHUNK = 500


class Chosen:
    """Row keys in the order of their source. Closed with it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.conn = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self.conn.execute("CREATE TABLE chosen (position INTEGER PRIMARY KEY, row_key)")

    def close(self) -> None:
        """Delete the list."""
        self.conn.close()

    def add(self, keys: Sequence[tuple[int, Key]]) -> None:
        """Take in rows: their positions in the source and their keys."""
        self.conn.execute("BEGIN")
        self.conn.executemany("INSERT INTO chosen VALUES (?, ?)", keys)
        self.conn.execute("COMMIT")

    def count(self) -> int:
        """Return how many rows were chosen."""
        (count,) = self.conn.execute("SELECT count(*) FROM chosen").fetchone()
        return int(count)

    def pages(
        self, columns: Sequence[str], *, page_bytes: int = PAGE_BYTES
    ) -> Iterator[list[tuple[Key, Row]]]:
        """Yield pages of (row key, values of `columns`), as `Source.pages` does."""
        step, after = 16, -1
        while keys := self._keys(after, step):
            after = keys[-1][0]
            found = self.source.fetch(columns, [key for _, key in keys])
            page = [(key, found[key]) for _, key in keys if key in found]
            yield page
            size = weight([row for _, row in page]) if page else 0
            step = max(1, min(CHUNK, page_bytes * step // max(size, 1), 2 * step))

    def _keys(self, after: int, count: int) -> list[tuple[int, Key]]:
        return self.conn.execute(
            "SELECT position, row_key FROM chosen WHERE position > ? ORDER BY position LIMIT ?",
            [after, count],
        ).fetchall()


@dataclass(frozen=True)
class Choosing:
    """What `choose` goes by: the columns that a row's hash covers, and where answers go."""

    hashed: tuple[str, ...]
    output: Output


def check_choice(ask: Ask, output: Output) -> None:
    """Raise UsageError where the options that choose rows contradict each other."""
    if ask.seed is not None and ask.sample is None:
        raise UsageError(
            "--seed goes with --sample N: it says which rows are drawn. "
            "The model's own seed is given by -o seed."
        )
    if ask.sample is not None and ask.limit is not None:
        raise UsageError("--sample and --limit both say how many rows: give one of them.")
    if ask.missing and ask.changed:
        raise UsageError("--changed takes rows that were never asked too: leave out --missing.")
    if (ask.missing or ask.changed) and ask.replace:
        option = "--missing" if ask.missing else "--changed"
        raise UsageError(f"{option} never overwrites what others wrote: leave out --replace.")
    if ask.missing and not output.write:
        raise UsageError("--missing goes by the columns that are written: leave out --no-write.")
    if ask.changed and not ask.name:
        raise UsageError(
            "--changed goes by what was asked under a name: give it by --name, or by --like JOB."
        )


def choose(conn: sqlite3.Connection, ask: Ask, source: Source, by: Choosing) -> Chosen | None:
    """Read the source once and list the rows that are asked about; None for all of them.

    `source` was opened without --limit where this chooses. Raises OpenAIBatchError.
    """
    if not chooses(ask):
        return None
    chosen = Chosen(source)
    try:
        wanted = candidates(conn, ask, source, by)
        if ask.sample is not None:
            chosen.add(sample(wanted, ask.sample, ask.seed or 0))
        else:
            fill(chosen, wanted, ask.limit)
    except BaseException:
        chosen.close()
        raise
    return chosen


def chooses(ask: Ask) -> bool:
    """Whether rows are chosen by more than SQL."""
    return ask.sample is not None or ask.missing or ask.changed


def fill(chosen: Chosen, wanted: Iterator[tuple[int, Key]], limit: int | None) -> None:
    """List rows, a page at a time, up to `limit` of them."""
    page: list[tuple[int, Key]] = []
    for one in islice(wanted, limit):
        page.append(one)
        if len(page) == 10_000:
            chosen.add(page)
            page.clear()
    chosen.add(page)


def sample(wanted: Iterator[tuple[int, Key]], size: int, seed: int) -> list[tuple[int, Key]]:
    """Draw rows: the same for the same seed, and mostly the same when rows were added since.

    A row's place in the draw is a hash of the seed and its key.
    """
    drawn: list[tuple[int, int, Key]] = []
    for position, key in wanted:
        place = -int.from_bytes(sha256(b"%d " % seed + source_hash([key])).digest()[:8], "big")
        if len(drawn) < size:
            heapq.heappush(drawn, (place, -position, key))
        elif drawn and place > drawn[0][0]:
            heapq.heapreplace(drawn, (place, -position, key))
    return sorted(((-position, key) for _, position, key in drawn), key=lambda one: one[0])


def candidates(
    conn: sqlite3.Connection, ask: Ask, source: Source, by: Choosing
) -> Iterator[tuple[int, Key]]:
    """Yield (position, key) of each row that --missing or --changed lets through."""
    position = -1
    if not (ask.missing or ask.changed):
        for page in source.pages(()):
            for key, _ in page:
                position += 1
                yield position, key
        return
    cells = Cells(conn, source, by.output)
    known = before(conn, ask, source, by.output)
    try:
        width = len(by.hashed)
        for page in source.pages((*by.hashed, *cells.beside)):
            held = cells.of(page, width)
            asked = known.of([key for key, _ in page])
            for key, row in page:
                position += 1
                last = asked.get(key)
                if ask.missing:
                    # A blank that is an answer, as a job wrote it, is no missing one.
                    wanted = held[key].blank and (
                        last is None or (last.may_ask and last.wrote != held[key].digest)
                    )
                elif last is not None and last.in_flight:
                    wanted = False
                else:
                    digest = source_hash(row[:width])
                    changed = last is None or last.never_ran or last.source_hash != digest
                    ours = held[key].blank or (last is not None and last.wrote == held[key].digest)
                    wanted = changed and (ours or not by.output.write)
                if wanted:
                    yield position, key
    finally:
        known.close()
        cells.close()


class Held(NamedTuple):
    """What the cells of a row hold: whether that says nothing, and a hash of it."""

    blank: bool
    digest: bytes | None


class Cells:
    """The cells that answers go to, as they are now."""

    def __init__(self, conn: sqlite3.Connection, source: Source, output: Output) -> None:
        table = output.table or source.name
        there = table_columns(conn, str(table)) if output.write else {}
        self.names = [
            there[fold(name)].name if fold(name) in there else None for name in output.names
        ]
        found = tuple(name for name in self.names if name is not None)
        self.beside = found if output.table is None else ()
        """Columns of the source itself that are to be read with its rows."""
        self.rows: Source | None = None
        if output.table is not None and found:
            keys = output_keys(source.key_columns)
            self.rows = open_source(conn, output.table, pk=keys)
        self.found = found

    def close(self) -> None:
        """Close the output table."""
        if self.rows is not None:
            self.rows.close()

    def of(self, page: Sequence[tuple[Key, Row]], width: int) -> dict[Key, Held]:
        """Return for each row what its cells hold."""
        if self.rows is not None:
            rows = self.rows.fetch(self.found, [key for key, _ in page])
        else:
            rows = {key: row[width:] for key, row in page}
        return {key: self._held(rows.get(key)) for key, _ in page}

    def _held(self, row: Row | None) -> Held:
        if row is None:
            return Held(True, None)
        left = iter(row)
        cells = [None if name is None else next(left) for name in self.names]
        return Held(are_blank(cells), source_hash(cells))
