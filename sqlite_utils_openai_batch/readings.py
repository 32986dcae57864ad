"""What answers and cells say, as values that can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from . import store
from .schema import AnswerSchema
from .usual import quick_check, unsure

TRUE, FALSE = ("1", "true", "yes", "y"), ("0", "false", "no", "n")

Values = tuple[Any, ...]


class Answers:
    """The answers of one job, as the values of their columns."""

    def __init__(self, job: store.Job) -> None:
        self.job = job
        schema = AnswerSchema.from_json(job.answer_schema) if job.answer_schema else None
        self.schema = schema
        self.names = [column.name for column in schema.columns] if schema else ["answer"]
        self.kinds = [column.kind for column in schema.columns] if schema else ["string"]
        self.quick: Callable[[Any], Values] = (schema and quick_check(schema)) or unsure

    def values(self, status: str | None, answer: Any) -> Values | None:
        """The values of an answer; None where there is none."""
        if status != "ok":
            return None
        if self.schema is None:
            return (answer,)
        try:
            return self.quick(answer)
        except (ValueError, RecursionError):  # what msgspec raises is a ValueError
            return self.schema.check(answer).values


def as_kind(value: Any, kind: str) -> Any:
    """A cell as the kind of value that an answer is, where it can be read so."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if kind in ("integer", "number"):
        try:
            return float(text)
        except ValueError:
            return value
    if kind == "boolean" and text.casefold() in (*TRUE, *FALSE):
        return int(text.casefold() in TRUE)
    return value


def as_list(text: str) -> list[str]:
    """The elements of a list: a JSON array, or text that is one element."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    found = value if isinstance(value, list) else [value]
    return [one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in found]
