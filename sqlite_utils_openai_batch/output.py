"""Where a job's answers go: which table, which columns, and whether they may be written there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .errors import OutputError
from .source import quote

if TYPE_CHECKING:
    from .schema import AnswerSchema
    from .source import Source


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """One column that answers are written to; `property` is the schema's, None for the text."""

    name: str
    type: str
    property: str | None = None


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

    def to_json(self) -> str:
        """As kept in `openai_batch_jobs.output`."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Output:
        """From `openai_batch_jobs.output`."""
        data: dict[str, Any] = json.loads(text)
        data["columns"] = tuple(OutputColumn(**column) for column in data["columns"])
        return cls(**data)


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
    if source.name and output_table and output_table.lower() == source.name.lower():
        output_table = None
    return Output(output_table, columns, replace=replace, write=write, responses=responses)


def table_columns(conn: sqlite3.Connection, table: str) -> dict[str, tuple[str, str, int, int]]:
    """Columns of a table by lower-case name: (name, type, place in the key, hidden)."""
    found = conn.execute("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", [table])
    return {name.lower(): (name, kind, pk, hidden) for name, kind, pk, hidden in found.fetchall()}


def check_output(conn: sqlite3.Connection, source: Source, output: Output) -> None:
    """Raise OutputError where writing the answers would overwrite something or can't be done."""
    if not output.write:
        return
    lowered = [name.lower() for name in output.names]
    for name in output.names:
        if lowered.count(name.lower()) > 1:
            raise OutputError(f"Two answer columns would be called '{name}'.")
        if name.lower() in {key.lower() for key in source.key_columns}:
            raise OutputError(
                f"Column '{name}' is the key of {source.name or 'the query'}: answers can't be "
                "written there. Give them another name with --prefix or --output."
            )
    if output.table is None:
        check_source_table(conn, source, output)
    else:
        check_output_table(conn, source, output, output.table)


def check_source_table(conn: sqlite3.Connection, source: Source, output: Output) -> None:
    """The checks for answers that become columns of the source table itself."""
    assert source.name is not None
    (sql,) = conn.execute(
        "SELECT sql FROM sqlite_master WHERE name = ? COLLATE NOCASE AND type = 'table'",
        [source.name],
    ).fetchone()
    if sql.upper().lstrip().startswith("CREATE VIRTUAL"):
        raise OutputError(
            f"{source.name} is a virtual table: columns can't be added to it. "
            f"Write the answers to a table of their own with --output-table {source.name}_answers"
        )
    there = table_columns(conn, source.name)
    for name in output.names:
        if name.lower() not in there:
            continue
        if there[name.lower()][3] in (2, 3):
            raise OutputError(
                f"Column '{name}' of {source.name} is generated: answers can't be written there. "
                "Give them another name with --prefix or --output."
            )
        if not output.replace:
            refuse_values(source.name, name, source.filled(name))


def check_output_table(
    conn: sqlite3.Connection, source: Source, output: Output, table: str
) -> None:
    """The checks for answers that go to a table of their own."""
    if table.lower().startswith(("openai_batch_", "sqlite_")):
        raise OutputError(f"'{table}' can't be an output table: that prefix is taken.")
    there = table_columns(conn, table)
    if not there:
        return
    kind = conn.execute(
        "SELECT type FROM sqlite_master WHERE name = ? COLLATE NOCASE", [table]
    ).fetchone()[0]
    if kind != "table":
        raise OutputError(f"'{table}' is a {kind}: give another name with --output-table.")
    keys = [row[0] for row in sorted(there.values(), key=lambda row: row[2]) if row[2]]
    wanted = list(output_keys(source.key_columns))
    if [key.lower() for key in keys] != [key.lower() for key in wanted]:
        raise OutputError(
            f"Table '{table}' exists, and its key is {listed(keys) or 'not declared'}, not "
            f"{listed(wanted)}: answers couldn't be matched. Give another --output-table."
        )
    if output.replace:
        return
    for name in output.names:
        if name.lower() in there:
            (count,) = conn.execute(
                f"SELECT count(*) FROM {quote(table)} WHERE {quote(name)} IS NOT NULL"
            ).fetchone()
            refuse_values(table, name, count)


def refuse_values(table: str, name: str, count: int) -> None:
    """Raise OutputError where `count` cells of a column that is to be written hold values."""
    if count:
        cells = "1 row" if count == 1 else f"{count:,} rows"
        raise OutputError(
            f"Column '{name}' of {table} already holds values in {cells}. "
            "Ask only rows without one with --missing, overwrite with --replace, "
            "or write elsewhere with --output, --prefix or --output-table."
        )


def output_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Names that the key columns have in an output table: a rowid can't keep its own."""
    return tuple("source_rowid" if key in ("rowid", "_rowid_", "oid") else key for key in keys)


def listed(names: Sequence[str]) -> str:
    """Names for a sentence."""
    return ", ".join(f"'{name}'" for name in names)
