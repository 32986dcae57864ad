"""A file of requests of somebody's own becomes a table: a row for each line, as it came.

The file is read twice: once to find whatever a provider would refuse, before anything is written,
and once to copy its lines. So parts can be rendered later from the database alone.
"""

from __future__ import annotations

import gzip
import re
import sqlite3
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from ...answers.jsonl import iter_lines
from ...base.endpoints import ASKED
from ...base.errors import FileError
from ...base.file_kinds import one_a_line
from ...base.parameters import refused_words
from ...base.text import counted
from ...pricing.tokens import answers_asked, output_cap
from ...requests.template import LINE_COLUMN
from ...requests.values import json_bytes
from ...requests.verbatim import Shape, have_one_id, id_span, id_spans
from ...store.connection import Commits, cached, transaction
from ...store.owner import is_dead, me
from ...tables.columns import fold, table_columns
from ...tables.lines import KEY
from ...tables.relation import inspect_table
from ...tables.sql import quote
from .validate import Names, Problem, RequestFile, check_readable

#: Parts of a body that say what is asked; what else is the same in all lines is the job's body.
ASKS = frozenset({"model", "messages", "input", "prompt", "instructions"})
CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens", "n", "best_of")
#: What stands in a line that asks for an answer in JSON mode.
JSON_MODE = b"json_object"
SHOWN = 5
#: Bytes of lines that are written together.
AT_ONCE = 4_000_000
#: What the name of a table begins with while lines are copied into it; its owner follows.
LOADING = "openai_batch_loading_"
GZIP = b"\x1f\x8b"
#: No custom_id and no body: what a line says that needs a look of its own.
NOTHING: tuple[str, None] = ("", None)


@dataclass
class Common:
    """What the bodies of many requests have in common, and the longest answer that one may get."""

    shared: dict[str, Any] | None = None
    caps: dict[str, Any] = field(default_factory=dict)
    most: int | None = 0
    """Tokens of that answer; None where one of them has no bound."""
    last: dict[str, Any] | None = None

    def add(self, body: dict[str, Any]) -> None:
        """Take in one body, without what it asks."""
        # Most are as the one before: all else is for those that aren't.
        if body == self.last:
            return
        self.last = body
        rest = {name: value for name, value in body.items() if name not in ASKS}
        if self.shared is None:
            self.shared = dict(rest)
        elif rest != self.shared:
            same = self.shared
            self.shared = {name: same[name] for name in same if rest.get(name, ...) == same[name]}
        cap = output_cap(body)
        if cap is None:
            # of those without a cap the one that asks for the most answers
            asked = answers_asked(body)
            if self.most is not None or asked > answers_asked(self.caps):
                self.most, self.caps = None, {"n": asked} if asked > 1 else {}
        elif self.most is not None and cap > self.most:
            self.most = cap
            self.caps = {name: body[name] for name in CAPS if name in body}

    def body(self, model: str | None) -> dict[str, Any]:
        """The body that stands for all of them, in a job's record and in its estimate."""
        shared = {name: one for name, one in (self.shared or {}).items() if name not in CAPS}
        return {**({"model": model} if model else {}), **shared, **self.caps}


class Ids:
    """Tells whether a text may have come before: four bytes of memory for each."""

    def __init__(self) -> None:
        self.buckets = tuple(array("I") for _ in range(4096))

    def add_all(self, ids: Iterable[str]) -> None:
        """Take in custom_ids; an empty one is none."""
        for number in map(hash, filter(None, ids)):
            self.buckets[number & 4095].append(number >> 12 & 0xFFFFFFFF)

    def add(self, custom_id: str, line: int) -> None:
        """Take in the custom_id of one line."""
        self.add_all([custom_id])

    def may_repeat(self) -> bool:
        """Whether two are the same, or seem to be: a million different ones rarely do."""
        return any(len(bucket) != len(set(bucket)) for bucket in self.buckets)


class OwnFile(RequestFile):
    """A file that is going to be sent, of whatever size: it is cut into parts."""

    def __init__(self, path: Path, provider: str, name: str) -> None:
        """`name` is what the person calls it."""
        super().__init__(path, provider)
        self.name = name
        self.common = Common()
        self.right: bytes | None = None
        """The body of the last line that was looked at and found right, without what it asks."""
        self.shape: Shape | None = None
        self.state: tuple[int, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """What a provider would refuse, line by line; last the lines whose custom_id is taken."""
        ids = Ids()
        add = self.common.add
        for numbers, lines in self.blocks():
            self.requests += len(lines)
            alike = self.shape.custom_ids(lines) if self.shape else None
            if alike is not None:
                ids.add_all(alike)
                continue
            self.shape = None
            found = list(map(self.usual, lines)) if have_one_id(lines) else [NOTHING] * len(lines)
            ids.add_all([custom_id for custom_id, _ in found])
            for place, (_, body) in enumerate(found):
                if body is None:
                    yield from self.unusual(numbers[place], lines[place], ids)
                else:
                    add(body)
            if found and found[-1][1] is not None:
                self.shape = self.shape_of(numbers[-1], lines[-1])
        if not self.requests:
            yield Problem(None, "empty_file", "there is no request in it")
        if ids.may_repeat():
            yield from self.twice()

    def blocks(self) -> Iterator[tuple[Sequence[int], list[bytes]]]:
        """The lines of the file, some at a time, and their numbers."""
        with opened(self.path, self.name) as file:
            yield from iter_lines(file)

    def twice(self) -> Iterator[Problem]:
        """Lines whose custom_id an earlier line has: looked for where there may be some."""
        names = Names()
        try:
            for numbers, lines in self.blocks():
                for number, line in zip(numbers, lines, strict=True):
                    with suppress(ValueError, TypeError, KeyError):
                        # What is not a request was told before.
                        names.add(orjson.loads(line)["custom_id"], number)
            yield from names.twice()
        finally:
            names.close()

    def unusual(self, number: int, line: bytes, ids: Ids) -> Iterator[Problem]:
        """What is wrong with a line that needs a look of its own; maybe nothing."""
        problems = list(self.line(number, line, ids))
        if not problems:
            try:
                id_span(line)
            except ValueError as error:
                problems = [Problem(number, "invalid_value", str(error))]
            else:
                body = self.without_words(orjson.loads(line)["body"])
                self.right = json_bytes(body)
                self.common.add(body)
        yield from problems

    def shape_of(self, number: int, line: bytes) -> Shape | None:
        """The shape of a line, which those that follow may have; None where it isn't right."""
        if list(self.line(number, line, Ids())) or JSON_MODE in line:
            # In JSON mode a text without the word JSON is refused.
            return None
        return Shape.of(line)

    def usual(self, line: bytes) -> tuple[str, dict[str, Any] | None]:
        """The custom_id and the body of a line like those before it; else None for a body.

        A line is like them where all is that of one that was found to be right, but for what it
        asks: only that is looked at. The body comes without it.
        """
        endpoint = self.endpoint or ""
        try:
            request = orjson.loads(line)
            custom_id, body = request["custom_id"], request["body"]
            if (
                request["url"] == endpoint
                and request["method"] == "POST"
                and custom_id
                and type(custom_id) is str
                and body[ASKED[endpoint]] is not None
                and not any(refused_words(endpoint, body))
                and json_bytes(self.without_words(body)) == self.right
            ):
                return custom_id, body
        except (ValueError, TypeError, KeyError, AttributeError):
            # What is wrong with it, if anything is, another look finds.
            pass
        return NOTHING

    def without_words(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take out of a body what it asks."""
        body.pop(ASKED.get(self.endpoint or "", ""), None)
        return body

    def check(self) -> None:
        """Read it all. Raises FileError with the first problems and the number of all."""
        if (form := one_a_line(self.path, name=self.name)) is not None:
            raise FileError(f"'{self.name}' is {form}")
        first: list[Problem] = []
        count = 0
        self.state = state_of(self.path)
        for problem in self.problems():
            count += 1
            if len(first) < SHOWN:
                first.append(problem)
        if count:
            raise FileError(refusal(self.name, first, count))


def refusal(name: str, first: list[Problem], count: int) -> str:
    """Why a file isn't sent: its first problems, and how to see all of them."""
    lines = [f"'{name}' can't be sent: {counted(count, 'problem')}. Nothing was sent."]
    for one in sorted(first, key=lambda one: one.line or 0):
        where = "whole file" if one.line is None else f"line {one.line:,}"
        lines.append(f"  {where:<10}  {one.message}")
    if count > len(first):
        lines.append(f"  … and {count - len(first):,} more")
    return "\n".join(lines)


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """A file, what gzip packed unpacked. Raises FileError where it is cut or damaged."""
    with path.open("rb") as raw:
        packed = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast("BinaryIO", file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(
                f"'{name}' is cut or damaged: it can't be unpacked to its end ({error}). "
                "Nothing was sent. Bring it here once more."
            ) from error


# Its lines in a table.


@dataclass
class Loaded:
    """A file's lines in a table, and what they have in common."""

    conn: sqlite3.Connection
    table: str
    endpoint: str
    body: dict[str, Any]
    made: bool
    """Whether the table wasn't there before."""
    after: int = 0
    """The place of the last row that was there before."""

    def undo(self) -> None:
        """Take the lines out again: nothing is going to be asked."""
        with transaction(self.conn):
            if self.made:
                self.conn.execute(f"DROP TABLE {quote(self.table)}")
            else:
                self.conn.execute(f"DELETE FROM {quote(self.table)} WHERE rowid > ?", [self.after])


@dataclass(frozen=True)
class Wanted:
    """Which file goes where. `table` is None where it is named after the file."""

    path: Path
    name: str
    provider: str
    table: str | None = None
    again: bool = False
    """Whether only rows are asked that weren't before: a table of other lines won't do."""


def load(
    conn: sqlite3.Connection, wanted: Wanted, there: sqlite3.Connection | None = None
) -> Loaded:
    """Check a file, then put its lines into a table of `conn`.

    A table that holds them already is used as it is, and lines that were added to the file since
    are added to it. With `there`, `conn` is a private database for a preview of what would be
    done in that one. Raises FileError; then nothing is changed.
    """
    check_readable(wanted.path)
    file = OwnFile(wanted.path, wanted.provider, wanted.name)
    file.check()
    endpoint, body = str(file.endpoint), file.common.body(file.model)
    name, old = place_for(there or conn, file, wanted)
    if old and there is not None and rows_in(there, name) == file.requests:
        return Loaded(there, name, endpoint, body, False)
    if old and there is None:
        (last,) = conn.execute(f"SELECT coalesce(max(rowid), 0) FROM {quote(name)}").fetchone()
        loaded = Loaded(conn, name, endpoint, body, False, int(last))
        with undone(loaded.undo), cached(conn):
            # Those that are there already are the same: that was looked at.
            copy(conn, file, f"INSERT OR IGNORE INTO {quote(name)} ({KEY}, {LINE_COLUMN})")
        return loaded
    make(conn, file, name)
    return Loaded(conn, name, endpoint, body, True)


def make(conn: sqlite3.Connection, file: OwnFile, table: str) -> None:
    """Make a table of the lines of a file; nobody sees it before it is whole."""
    loading = quote(LOADING + me().replace("-", "_"))
    sweep(conn)
    columns = f"{KEY} TEXT NOT NULL PRIMARY KEY, {LINE_COLUMN} TEXT NOT NULL"
    conn.execute(f"CREATE TABLE {loading} ({columns})")
    with undone(lambda: conn.execute(f"DROP TABLE {loading}")), cached(conn):
        copy(conn, file, f"INSERT INTO {loading}")
        conn.execute(f"ALTER TABLE {loading} RENAME TO {quote(table)}")


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` where the block raises."""
    try:
        yield
    except BaseException:
        undo()
        raise


def copy(conn: sqlite3.Connection, file: OwnFile, insert: str) -> None:
    """Write the lines of a file that was checked, in short transactions. Raises FileError."""
    count = 0
    (encoding,) = conn.execute("PRAGMA encoding").fetchone()
    # SQLite takes the bytes as they are where text is stored so; else Python makes text of them.
    as_text = "CAST(? AS TEXT)" if encoding == "UTF-8" else "?"
    with opened(file.path, file.name) as source, Commits(conn) as commits:
        for ids, lines in batches(source):
            values = lines if encoding == "UTF-8" else map(bytes.decode, lines)
            commits.begin()
            try:
                conn.executemany(f"{insert} VALUES (?, {as_text})", zip(ids, values, strict=True))
            except sqlite3.IntegrityError as error:
                raise changed(file) from error
            # Between these others write: a file is read while nothing is locked.
            commits.end()
            count += len(lines)
    if count != file.requests or file.state != state_of(file.path):
        raise changed(file)


def state_of(path: Path) -> tuple[int, ...]:
    """What tells whether a file was written to."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def changed(file: OwnFile) -> FileError:
    """The error of a file that isn't what it was a moment ago."""
    return FileError(f"'{file.name}' has changed while it was read. Nothing was sent: try again.")


def batches(source: BinaryIO) -> Iterator[tuple[list[str], list[bytes]]]:
    """Lines of about AT_ONCE bytes: their custom_ids, and they themselves."""
    ids: list[str] = []
    kept: list[bytes] = []
    size = 0
    for _, lines in iter_lines(source):
        ids += ids_of(lines)
        kept += lines
        size += sum(map(len, lines))
        if size > AT_ONCE:
            yield ids, kept
            ids, kept, size = [], [], 0
    if kept:
        yield ids, kept


def ids_of(lines: Sequence[bytes]) -> list[str]:
    """The custom_ids of lines."""
    if not lines:
        return []
    found = [line[start:end] for line, (start, end) in zip(lines, id_spans(lines), strict=True)]
    return cast("list[str]", orjson.loads(b"[%b]" % b",".join(found)))


def sweep(conn: sqlite3.Connection) -> None:
    """Drop what processes that are gone left of their loading."""
    found = conn.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE ? ESCAPE '!'",
        [LOADING.replace("_", "!_") + "%"],
    ).fetchall()
    for (name,) in found:
        owner = name.removeprefix(LOADING).replace("_", "-")
        if owner == me() or is_dead(owner):
            conn.execute(f"DROP TABLE IF EXISTS {quote(name)}")


def named_after(name: str) -> str:
    """The name of a table for a file."""
    stem = Path(name).name
    for ending in (".gz", ".jsonl", ".ndjson", ".json", ".txt"):
        stem = stem.removesuffix(ending)
    stem = re.sub(r"[^\w-]+", "_", stem).strip("_-")
    return "requests" if name == "-" or not stem or stem[0].isdigit() else stem


def place_for(target: sqlite3.Connection, file: OwnFile, wanted: Wanted) -> tuple[str, bool]:
    """The table for a file's lines, and whether it is there and holds some of them already.

    Raises FileError where a table that has to be it holds something else.
    """
    name = wanted.table or named_after(wanted.name)
    if fold(name).startswith(("openai_batch_", "sqlite_")):
        raise FileError(f"'{name}' can't be the table of a file: that prefix is taken.")
    candidate, number = name, 1
    while table_columns(target, candidate):
        why = unfit(target, candidate) or differs(target, candidate, file)
        if why is None:
            return candidate, True
        if wanted.table is not None or wanted.again:
            raise FileError(
                f"Table '{candidate}' {why}: the lines of '{wanted.name}' can't go there. "
                "Name another table after the database. Nothing was sent."
            )
        number += 1
        candidate = f"{name}_{number}"
    return candidate, False


def unfit(conn: sqlite3.Connection, name: str) -> str | None:
    """Why a table can't hold request lines; None where it can."""
    relation = inspect_table(conn, name)
    fits = relation.kind == "table" and relation.rowid and LINE_COLUMN in relation.columns
    return None if fits and relation.own_key == (KEY,) else "is one of something else"


def differs(conn: sqlite3.Connection, table: str, file: OwnFile) -> str | None:
    """Why the rows of a table aren't lines of a file; None where all of them are."""
    rows = rows_in(conn, table)
    find = f"SELECT {LINE_COLUMN} FROM {quote(table)} WHERE {KEY} = ?"
    with opened(file.path, file.name) as source:
        for batch in batches(source):
            for custom_id, line in zip(*batch, strict=True):
                found = conn.execute(find, [custom_id]).fetchone()
                if found is not None and found[0] != line.decode():
                    return f"has another request for the custom_id '{custom_id}'"
                rows -= found is not None
    return f"holds {counted(rows, 'request')} that the file hasn't" if rows else None


def rows_in(conn: sqlite3.Connection, table: str) -> int:
    """How many rows a table has."""
    (rows,) = conn.execute(f"SELECT count(*) FROM {quote(table)}").fetchone()
    return int(rows)
