"""Where a job's answers go: which table, which columns, and what speaks against it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..base.errors import OutputError
from ..base.json import kept_json, unreadable
from ..base.text import listed
from .columns import Column, OutputColumn, fold, key_of, output_keys, rehearse, table_columns
from .source import open_source
from .sql import filled_sql, is_blank, quote

if TYPE_CHECKING:
    from .source import Source


# What speaks against writing answers somewhere: found before anything is sent.

OTHER_NAME = "Give them another name with --prefix or --output."


def check_output(conn: sqlite3.Connection, source: Source, output: Output) -> None:
    """Raise OutputError where writing the answers would overwrite something or can't be done."""
    if not output.write:
        return
    check_names(source, output)
    if output.table is None:
        check_source_table(conn, source, output)
    else:
        check_output_table(conn, source, output, output.table)
    why = rehearse(conn, source.name, source.key_columns, output)
    if why is not None:
        raise OutputError(
            f"Answers can't be written to {output.table or source.name}: {why}. "
            "Write them to a table of their own with --output-table."
        )


def check_names(source: Source, output: Output) -> None:
    """Raise OutputError for a name that no column can have, or that another has."""
    keys = {fold(key) for key in source.key_columns}
    seen: dict[str, str] = {}
    for name in output.names:
        if not name.strip() or "\0" in name or not is_text(name):
            raise OutputError(f"No column can be called {name!r}. {OTHER_NAME}")
        if (other := seen.setdefault(fold(name), name)) is not name:
            raise OutputError(f"Two answer columns would be called '{other}'.")
        if fold(name) in keys:
            raise OutputError(
                f"Column '{name}' is the key of {source.name or 'the query'}: answers can't be "
                f"written there. {OTHER_NAME}"
            )


def is_text(name: str) -> bool:
    """Whether a name is made of whole characters, as UTF-8 wants."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_source_table(conn: sqlite3.Connection, source: Source, output: Output) -> None:
    """The checks for answers that become columns of the source table itself."""
    table = str(source.name)
    if is_virtual(conn, table):
        raise OutputError(
            f"{table} is a virtual table: columns can't be added to it. "
            f"Write the answers to a table of their own with --output-table {table}_answers"
        )
    check_columns(conn, table, output)
    if output.replace:
        return
    there = table_columns(conn, table)
    for name in output.names:
        if fold(name) in there:
            refuse_values(table, name, source.filled(there[fold(name)].name))


def check_output_table(
    conn: sqlite3.Connection, source: Source, output: Output, table: str
) -> None:
    """The checks for answers that go to a table of their own."""
    if not table.strip() or "\0" in table or not is_text(table):
        raise OutputError(f"No table can be called {table!r}: give another --output-table.")
    if fold(table).startswith(("openai_batch_", "sqlite_", "_sqlite_")):
        raise OutputError(f"'{table}' can't be an output table: that prefix is taken.")
    there = table_columns(conn, table)
    if not there:
        return
    kind = kind_of(conn, table)
    if kind != "table":
        raise OutputError(f"'{table}' is a {kind}: give another name with --output-table.")
    check_key(conn, source, table, there)
    check_columns(conn, table, output)
    written = {fold(name) for name in (*output.names, *output_keys(source.key_columns))}
    for column in there.values():
        if column.required and fold(column.name) not in written:
            raise OutputError(
                f"Table '{table}' wants a value in '{column.name}' of each row (NOT NULL, no "
                "default), which answers don't have. Give another --output-table."
            )
    if not output.replace:
        refuse_filled_rows(conn, source, output, table)


def check_key(
    conn: sqlite3.Connection, source: Source, table: str, there: dict[str, Column]
) -> None:
    """Raise OutputError where a table's rows can't be matched with the source's by their key."""
    wanted = output_keys(source.key_columns)
    folded = sorted(map(fold, wanted))
    unique = [key_of(there), *unique_columns(conn, table)]
    if folded not in [sorted(map(fold, key)) for key in unique]:
        raise OutputError(
            f"Table '{table}' exists, and its key is {quoted(key_of(there)) or 'not declared'}, "
            f"not {quoted(wanted)}: answers couldn't be matched. Give another --output-table."
        )


def quoted(names: Sequence[str]) -> str:
    """Names for a sentence."""
    return listed(f"'{name}'" for name in names)


def unique_columns(conn: sqlite3.Connection, table: str) -> list[tuple[str, ...]]:
    """Columns that are unique together in a table, by an index over all of its rows."""
    indexes = conn.execute(
        'SELECT name FROM pragma_index_list(?) WHERE "unique" AND NOT partial', [table]
    ).fetchall()
    found = []
    for (index,) in indexes:
        names = conn.execute("SELECT name FROM pragma_index_info(?)", [index]).fetchall()
        if all(name is not None for (name,) in names):  # no expression
            found.append(tuple(str(name) for (name,) in names))
    return found


def check_columns(conn: sqlite3.Connection, table: str, output: Output) -> None:
    """Raise OutputError for a column that is there and can't take answers."""
    there = table_columns(conn, table)
    strict = is_strict(conn, table)
    for wanted in output.columns:
        column = there.get(fold(wanted.name))
        if column is None:
            continue
        if column.hidden in (2, 3):
            raise OutputError(
                f"Column '{column.name}' of {table} is generated: answers can't be written "
                f"there. {OTHER_NAME}"
            )
        if strict and column.type.upper() not in (wanted.type, "ANY"):
            raise OutputError(
                f"Column '{column.name}' of {table} is {column.type} in a STRICT table, and "
                f"answers are {wanted.type}. {OTHER_NAME}"
            )


def refuse_filled_rows(
    conn: sqlite3.Connection, source: Source, output: Output, table: str
) -> None:
    """Raise OutputError where an output table holds answers for rows that are to be asked."""
    there = table_columns(conn, table)
    names = [there[fold(name)].name for name in output.names if fold(name) in there]
    for name in names:
        (filled,) = conn.execute(
            f"SELECT coalesce(sum({filled_sql(quote(name))}), 0) FROM {quote(table)}"
        ).fetchone()
        if filled:
            refuse_values(table, name, filled_rows(conn, source, table, name))


def filled_rows(conn: sqlite3.Connection, source: Source, table: str, name: str) -> int:
    """How many of the rows to be asked have a value in a column of an output table."""
    keys = output_keys(source.key_columns)
    with open_source(conn, table, pk=keys) as rows:
        return sum(
            not is_blank(cells[0])
            for page in source.pages(())
            for cells in rows.fetch([name], [key for key, _ in page]).values()
        )


def refuse_values(table: str, name: str, count: int) -> None:
    """Raise OutputError where `count` cells of a column that is to be written hold values."""
    if count:
        cells = "1 row" if count == 1 else f"{count:,} rows"
        raise OutputError(
            f"Column '{name}' of {table} already holds values in {cells}. "
            "Ask only rows without one with --missing, overwrite with --replace, "
            "or write elsewhere with --output, --prefix or --output-table."
        )


def kind_of(conn: sqlite3.Connection, table: str) -> str:
    """What a name stands for: table, virtual table, view, or shadow table."""
    (kind,) = conn.execute(
        "SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
        [table],
    ).fetchone()
    return {"virtual": "virtual table", "shadow": "part of a virtual table"}.get(kind, str(kind))


def is_virtual(conn: sqlite3.Connection, table: str) -> bool:
    """Whether a table is virtual, or belongs to one."""
    return "virtual" in kind_of(conn, table)


def is_strict(conn: sqlite3.Connection, table: str) -> bool:
    """Whether a table is STRICT."""
    (strict,) = conn.execute(
        "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
        [table],
    ).fetchone()
    return bool(strict)


__all__ = [
    "Output",
    "OutputColumn",
    "check_output",
    "output_keys",
    "plan_output",
    "table_columns",
]

if TYPE_CHECKING:
    from ..answers.schema import AnswerSchema
    from ..store import Job
    from .source import Source

#: Types that a column of answers can have.
COLUMN_TYPES = ("TEXT", "INTEGER", "REAL", "BLOB")


@dataclass(frozen=True, slots=True)
class Output:
    """Where answers go. `table` is None where that is the source table itself.

    `responses` tells which response lines are kept as they came: `all`, `failed`, `none`.
    """

    table: str | None
    columns: tuple[OutputColumn, ...]
    replace: bool = False
    write: bool = True
    responses: str = "all"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns written."""
        return tuple(column.name for column in self.columns)

    @property
    def answers(self) -> tuple[OutputColumn, ...]:
        """The columns of the answer itself, without those of what people say."""
        return tuple(column for column in self.columns if column.judged is None)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the columns of the answer itself."""
        return tuple(column.name for column in self.answers)

    def with_judged(self, properties: Collection[str]) -> Output:
        """The same with a `_reviewed` and a `_final` column for each of these properties.

        The property of an answer without a schema is `answer`.
        """
        judged = [
            replace(column, name=f"{column.name}_{word}", judged=word)
            for column in self.answers
            if (column.property or "answer") in properties
            for word in ("reviewed", "final")
        ]
        return replace(self, columns=(*self.answers, *judged))

    def to_json(self) -> str:
        """As kept in `openai_batch_jobs.output`."""
        data = asdict(self)
        for column in data["columns"]:
            if column["judged"] is None:
                del column["judged"]
        return json.dumps(data, ensure_ascii=False)

    @classmethod
    def of(cls, job: Job) -> Output:
        """Where the answers of a stored job go. Raises DatabaseError."""
        return cls.from_json(job.output, job.id)

    @classmethod
    def from_json(cls, text: str, job: int | None = None) -> Output:
        """From `openai_batch_jobs.output`. Raises DatabaseError."""
        column = "openai_batch_jobs.output"
        data: dict[str, Any] = kept_json(text, dict, column, job)
        try:
            data["columns"] = tuple(OutputColumn(**column) for column in data["columns"])
            found = cls(**data)
        except (TypeError, KeyError) as error:
            raise unreadable(text, column, job) from error
        if not found.fits():
            raise unreadable(text, column, job)
        return found

    def fits(self) -> bool:
        """Whether this is what `plan_output` makes, and nothing else can get into SQL."""
        texts = (self.table or "", self.responses, *self.names)
        taken = ("openai_batch_", "sqlite_", "_sqlite_")
        return (
            all(isinstance(text, str) for text in texts)
            and (self.table is None or (isinstance(self.table, str) and self.table != ""))
            and not fold(self.table or "").startswith(taken)
            and all(column.type in COLUMN_TYPES for column in self.columns)
            and all(isinstance(column.property, str | None) for column in self.columns)
            and all(column.judged in (None, "reviewed", "final") for column in self.columns)
            and isinstance(self.replace, bool)
            and isinstance(self.write, bool)
            and self.responses in ("all", "failed", "none")
        )


def plan_output(
    source: Source,
    schema: AnswerSchema | None,
    *,
    output: str | None = None,
    output_table: str | None = None,
    prefix: str = "",
    replace: bool = False,
    write: bool = True,
    responses: str = "all",
    answer_type: str = "TEXT",
) -> Output:
    """Settle where the answers of a job over `source` go.

    A view or query is never written to: its answers go to `output_table`, by default the view's
    name with `_answers`, or `answers`. Raises OutputError.
    """
    columns: tuple[OutputColumn, ...]
    if schema is not None:
        if output is not None:
            raise OutputError(
                "With --schema each property is a column of its own: "
                "name them with --prefix instead of --output."
            )
        columns = tuple(
            OutputColumn(prefix + column.name, column.sqlite_type, column.name)
            for column in schema.columns
        )
    else:
        columns = (OutputColumn(prefix + (output or "answer"), answer_type),)
    if output_table is None and source.kind != "table":
        output_table = f"{source.name}_answers" if source.name else "answers"
    if source.kind == "table" and output_table and fold(output_table) == fold(source.name or ""):
        output_table = None
    return Output(output_table, columns, replace=replace, write=write, responses=responses)
