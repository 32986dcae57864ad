"""Answers of any batch, whoever sent it, beside the rows of a table: by their custom_ids.

All lines are read and matched before the first cell is written, so that a file with a custom_id
that no row has changes nothing.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...answers.jsonl import iter_lines
from ...answers.reader import Reader
from ...answers.schema import AnswerSchema
from ...base.errors import OutputError, SourceError, UsageError
from ...base.outcome import Outcome
from ...base.text import counted, listed, nearest_first
from ...store.connection import Commits
from ...tables.columns import fold, making, rehearse, table_columns, update_sql
from ...tables.output import Output, check_columns, check_names, is_virtual, plan_output
from ...tables.source import Source, open_source
from ...tables.sql import SQLiteValue, decode_key, quote
from .extract import endpoint_of, shown

SHOWN = 5
_PATTERN = re.compile(r"(?P<before>[^{}]*)\{(?P<column>[^{}]+)\}(?P<after>[^{}]*)", re.DOTALL)


@dataclass(frozen=True)
class Key:
    """How a custom_id is made of a column: what stands before and after its value."""

    column: str
    before: str = ""
    after: str = ""

    @classmethod
    def read(cls, given: str, columns: Sequence[str]) -> Key:
        """Read `--key custom_id=COLUMN`, or `custom_id=task-{COLUMN}`. Raises UsageError."""
        name, equals, value = given.partition("=")
        if name.strip() != "custom_id" or not equals or not value.strip():
            raise UsageError(f"--key {given}: write it as custom_id=COLUMN.")
        found = _PATTERN.fullmatch(value)
        key = cls(found["column"], found["before"], found["after"]) if found else cls(value.strip())
        known = {fold(column): column for column in columns}
        if fold(key.column) not in known:
            near = listed(nearest_first(key.column, columns))
            raise UsageError(f"--key: no column '{key.column}'. Columns: {near}.")
        return cls(known[fold(key.column)], key.before, key.after)

    def value(self, custom_id: str) -> str | None:
        """The value of the column that a custom_id names; None where it isn't made so."""
        fits = custom_id.startswith(self.before) and custom_id.endswith(self.after)
        if not fits or len(custom_id) < len(self.before) + len(self.after):
            return None
        return custom_id[len(self.before) : len(custom_id) - len(self.after)]


@dataclass(frozen=True)
class Wish:
    """Where answers go, as `run` has it."""

    table: str
    key: str
    schema: AnswerSchema | None = None
    endpoint: str | None = None
    output: str | None = None
    prefix: str = ""
    replace: bool = False
    skip_unknown: bool = False


@dataclass
class Beside:
    """What became of the lines; their sum is all of them."""

    table: str
    columns: tuple[str, ...]
    written: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Lines without an answer, by outcome."""
    unknown: int = 0
    broken: int = 0
    """Lines that name no custom_id: cut, or no JSON."""
    second: int = 0
    """Lines of a custom_id that has its answer."""


def put_beside(conn: sqlite3.Connection, paths: Sequence[Path], wish: Wish) -> Beside:
    """Write the answers of files beside the rows that their custom_ids name.

    Raises OpenAIBatchError, with nothing written, where a custom_id names no row (unless those
    are to be skipped) or several rows, or where columns hold values already.
    """
    source = open_source(conn, wish.table)
    try:
        key = Key.read(wish.key, source.columns)
        output = plan_output(
            source, wish.schema, output=wish.output, prefix=wish.prefix, replace=wish.replace
        )
        check_place(conn, source, output)
        with Matching(output) as matching:
            done = Beside(str(source.name), output.names)
            for path in paths:
                matching.read(path, wish, done, key)
            matching.find(source, key)
            unknown = matching.unknown()
            done.unknown = len(unknown)
            if unknown and not wish.skip_unknown:
                raise SourceError(no_rows(unknown, source, key, conn))
            write(conn, source, output, matching, done)
        return done
    finally:
        source.close()


def check_place(conn: sqlite3.Connection, source: Source, output: Output) -> None:
    """Raise OutputError where answers can't be written, or would overwrite something."""
    table = str(source.name)
    if source.kind != "table" or is_virtual(conn, table):
        raise OutputError(f"{table} is not a table that columns can be added to.")
    check_names(source, output)
    check_columns(conn, table, output)
    there = table_columns(conn, table)
    for name in output.names if not output.replace else ():
        if fold(name) in there and (count := source.filled(there[fold(name)].name)):
            raise OutputError(
                f"Column '{name}' of {table} already holds values in {counted(count, 'row')}. "
                "Overwrite them with --replace, or name another column with --output or --prefix."
            )
    if (why := rehearse(conn, source.name, source.key_columns, output)) is not None:
        raise OutputError(f"Answers can't be written to {table}: {why}.")


class Matching:
    """Answers and the rows that they are for, in a private temporary database."""

    def __init__(self, output: Output) -> None:
        self.cells = [f"a{n}" for n in range(len(output.columns))]
        # SQLite deletes the file (named by the empty string) when the connection closes.
        self.conn = sqlite3.connect("", isolation_level=None)
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute(
            "CREATE TABLE found (value TEXT PRIMARY KEY, custom_id, line, status, row_key, "
            f"{', '.join(self.cells)})"
        )
        self.conn.execute("BEGIN")

    def __enter__(self) -> Matching:
        return self

    def __exit__(self, *_: object) -> None:
        self.conn.close()

    def read(self, path: Path, wish: Wish, done: Beside, key: Key) -> None:
        """Take in the lines of a file: the first answer to a custom_id stays."""
        reader = Reader(wish.endpoint or endpoint_of(path), wish.schema)
        with path.open("rb") as opened:
            for numbers, lines in iter_lines(opened):
                outcomes = reader.read(lines)
                reader.check(outcomes)
                for number, outcome in zip(numbers, outcomes, strict=True):
                    self.take(number, outcome, wish, done, key)

    def take(self, number: int, outcome: Outcome, wish: Wish, done: Beside, key: Key) -> None:
        """Keep what one line says."""
        custom_id = outcome.custom_id
        if custom_id is None:
            done.broken += 1
            return
        value = key.value(custom_id)
        # What no row can have stands under a name that no value has.
        name = value if value is not None else f"\0{custom_id}"
        ok = outcome.status == "ok"
        cells = self.cells_of(outcome, wish) if ok else [None] * len(self.cells)
        marks = ", ".join("?" * (5 + len(self.cells)))
        there = self.conn.execute("SELECT status FROM found WHERE value = ?", [name]).fetchone()
        if there is not None and (there[0] == "ok" or not ok):
            done.second += 1
            return
        done.second += there is not None
        self.conn.execute(
            f"INSERT OR REPLACE INTO found VALUES ({marks})",
            [name, custom_id, number, outcome.status, None, *cells],
        )

    def cells_of(self, outcome: Outcome, wish: Wish) -> Sequence[SQLiteValue]:
        """The cells of an answer."""
        return outcome.values or () if wish.schema else (shown(outcome.answer),)

    def find(self, source: Source, key: Key) -> None:
        """Find the row of each. Raises SourceError for a value that stands in two of them."""
        update = "UPDATE found SET row_key = ? WHERE value = ? AND row_key IS NULL"
        for page in source.pages((key.column,)):
            for row_key, (value,) in page:
                if value is None or isinstance(value, bytes):
                    continue
                name = text_of(value)
                if not self.conn.execute(update, [row_key, name]).rowcount and self.has(name):
                    raise SourceError(
                        f"{key.column} {name!r} stands in several rows of {source.name}: which of "
                        "them the answer is for can't be said. Nothing was written."
                    )

    def has(self, name: str) -> bool:
        """Whether a line names this value."""
        found = self.conn.execute("SELECT 1 FROM found WHERE value = ?", [name]).fetchone()
        return found is not None

    def unknown(self) -> list[tuple[int, str]]:
        """The lines whose custom_ids no row has."""
        return self.conn.execute(
            "SELECT line, custom_id FROM found WHERE row_key IS NULL ORDER BY line"
        ).fetchall()

    def pages(self) -> Iterator[list[tuple[SQLiteValue, ...]]]:
        """Cells and row key of each answer."""
        cursor = self.conn.execute(
            f"SELECT {', '.join(self.cells)}, row_key FROM found "
            "WHERE row_key IS NOT NULL AND status = 'ok' ORDER BY row_key"
        )
        while page := cursor.fetchmany(1_000):
            yield page

    def statuses(self) -> Counter[str]:
        """How many custom_ids of a row there are of each outcome."""
        return Counter(
            dict(
                self.conn.execute(
                    "SELECT status, count(*) FROM found WHERE row_key IS NOT NULL GROUP BY status"
                ).fetchall()
            )
        )


def text_of(value: SQLiteValue) -> str:
    """A value as a custom_id has it: 7.0 is 7 to whoever numbers rows."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def write(
    conn: sqlite3.Connection, source: Source, output: Output, matching: Matching, done: Beside
) -> None:
    """Make the columns that aren't there yet, and write the answers, in short transactions."""
    done.failed = matching.statuses()
    done.written = done.failed.pop("ok", 0)
    if not done.written:
        return
    with Commits(conn) as commits:
        commits.begin()
        for sql in making(conn, source.name, source.key_columns, output):
            conn.execute(sql)
        sql = update_sql(str(source.name), output.names, source.key_columns)
        width = len(source.key_columns)
        for page in matching.pages():
            commits.begin()
            conn.executemany(sql, [(*row[:-1], *decode_key(row[-1], width)) for row in page])
            commits.wrote(len(page))


def no_rows(
    unknown: Sequence[tuple[int, str]], source: Source, key: Key, conn: sqlite3.Connection
) -> str:
    """Which custom_ids no row has, and what one may do."""
    first = ", ".join(f"line {line:,} '{custom_id}'" for line, custom_id in unknown[:SHOWN])
    more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
    example = conn.execute(
        f"SELECT {quote(key.column)} FROM {quote(str(source.name))} LIMIT 1"
    ).fetchone()
    like = f" ({key.column} is like {example[0]!r})" if example else ""
    return (
        f"No row of {source.name} has the custom_id of {counted(len(unknown), 'line')}: "
        f"{first}{more}{like}. Nothing was written. Say how a custom_id is made, as in "
        f"--key 'custom_id=task-{{{key.column}}}', or leave these lines out with --skip-unknown."
    )
