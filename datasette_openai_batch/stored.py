"""Answers as they are stored → values of the output columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlite_utils_openai_batch.errors import OpenAIBatchError
from sqlite_utils_openai_batch.output import Output
from sqlite_utils_openai_batch.schema import AnswerSchema, read_json
from sqlite_utils_openai_batch.schema_columns import reader
from sqlite_utils_openai_batch.store import Job

Cells = tuple[Any, ...]


def answer_reader(job: Job) -> Callable[[str, Any], Cells]:
    """The function from (outcome, answer) to the values of the job's output columns.

    An answer was checked against the schema when it was collected, so it isn't again.
    """
    nothing = (None,) * len(Output.from_json(job.output).columns)
    if job.answer_schema is None:
        return lambda status, answer: (answer,) if status == "ok" else nothing
    try:
        columns = AnswerSchema.from_json(job.answer_schema).columns
    except OpenAIBatchError:
        # A schema of a later version: its answers can't be told apart into columns here.
        return lambda status, answer: nothing
    readers = [(column.name, reader(column)) for column in columns]

    def read(status: str, answer: Any) -> Cells:
        if status != "ok":
            return nothing
        try:
            value, _ = read_json(answer)
            return tuple([cell(value[name]) for name, cell in readers])
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            # Edited by hand since: an empty cell, not a page or file that ends here.
            return nothing

    return read
