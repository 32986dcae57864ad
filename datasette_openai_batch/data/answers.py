"""Answers as they are stored → values of the output columns."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec

from sqlite_utils_openai_batch.answers.schema import AnswerSchema, read_json, reader
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.tables.output import Output

Cells = tuple[Any, ...]

# What reading an answer raises that was edited by hand since it was collected.
UNUSUAL = (ValueError, LookupError, TypeError, AttributeError, OverflowError)

_decode = msgspec.json.Decoder().decode


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
    get = _getter([column.name for column in columns])
    # Text is as it comes; a call that changes nothing is still a call, a million times.
    converters = [
        (place, reader(column)) for place, column in enumerate(columns) if column.kind != "string"
    ]

    def read(status: str, answer: Any) -> Cells:
        if status != "ok":
            return nothing
        try:
            cells = get(decode(answer))
            if not converters:
                return cells
            found = list(cells)
            for place, convert in converters:
                found[place] = convert(found[place])
            return tuple(found)
        except UNUSUAL:
            # Edited by hand since: an empty cell, not a page or file that ends here.
            return nothing

    return read


def answer_columns(job: Job) -> list[tuple[str, Callable[[Any], Any] | None]] | None:
    """The properties of an answer, each with what makes its value a cell (None for text).

    Empty where answers are text as a whole, None where a schema tells no columns.
    """
    if job.answer_schema is None:
        return []
    try:
        columns = AnswerSchema.from_json(job.answer_schema).columns
    except OpenAIBatchError:
        return None
    found = [(one.name, None if one.kind == "string" else reader(one)) for one in columns]
    return found or None


def _getter(names: list[str]) -> Callable[[Any], Cells]:
    """The function that takes these properties out of an answer."""
    if len(names) == 1:
        (name,) = names
        return lambda value: (value[name],)
    return itemgetter(*names)


def decode(answer: Any) -> Any:
    """The JSON of an answer; one in a code fence, or that no tidy encoder wrote, is forgiven."""
    try:
        return _decode(answer)
    except msgspec.MsgspecError:
        return read_json(answer)[0]
