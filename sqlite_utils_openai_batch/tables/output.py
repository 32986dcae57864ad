"""Where a job's answers go: which table, which columns. `conflicts` says what speaks against it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .conflicts import check_output
from .errors import OutputError
from .kept import kept_json, unreadable
from .making import fold, output_keys, table_columns

__all__ = [
    "Output",
    "OutputColumn",
    "check_output",
    "output_keys",
    "plan_output",
    "table_columns",
]

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
        """From `openai_batch_jobs.output`. Raises DatabaseError."""
        column = "openai_batch_jobs.output"
        data: dict[str, Any] = kept_json(text, dict, column)
        try:
            data["columns"] = tuple(OutputColumn(**column) for column in data["columns"])
            found = cls(**data)
        except (TypeError, KeyError) as error:
            raise unreadable(text, column) from error
        if not all(isinstance(name, str) for name in (found.table or "", *found.names)):
            raise unreadable(text, column)
        return found


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
