"""What people may say of a row: the columns of a job's answer, their labels, and how text is read.

A value is kept as the answer's own column would hold it, so that both can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import store
from ...answers.codebook import Variable, job_codebook
from ...answers.schema import AnswerSchema
from ...answers.strict import resolve
from ...base.errors import FileError, UsageError
from ...base.text import listed, meant
from ...tables.columns import fold
from ...tables.output import Output

TRUE, FALSE = ("true", "1", "yes", "y"), ("false", "0", "no", "n")
#: Whole numbers with more steps than this are typed, not chosen.
MOST_STEPS = 20


@dataclass(frozen=True)
class Question:
    """One column that people fill in."""

    column: str
    """The property of the answer; `answer` where answers have no schema."""
    name: str
    """What it is called in downloads and sheets: the output column."""
    place: int
    """Its place among the answer's columns."""
    kind: str
    """string, integer, number, boolean, array, object or mixed."""
    labels: tuple[Any, ...] = ()
    """What may be chosen, in the schema's order; none for free text and numbers."""
    allows_null: bool = False
    definition: str | None = None
    notes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What the codebook says of each label: its definition, and an example."""
    order: tuple[Any, ...] = ()
    """The labels as steps of a scale, where the codebook doesn't say that they are none."""
    schema: AnswerSchema | None = None
    """The schema of this column alone; None where answers have none."""

    @property
    def is_list(self) -> bool:
        """Whether a row may have several labels."""
        return self.kind == "array"

    def read(self, text: str) -> Any:
        """The value that a person typed. Raises FileError where it can't be one."""
        typed = text.strip()
        if not self.is_list and (label := self.label(typed)) is not None:
            return label
        if self.allows_null and typed.casefold() == "null":
            return None
        if self.labels and not self.is_list:
            raise FileError(
                f"'{typed}' is not a label of {self.name}. {meant(typed, self.words)}"
                f"Labels: {listed(self.words)}"
            )
        if self.schema is None:
            return typed
        try:
            said = self.candidate(typed)
        except ValueError:
            raise FileError(f"'{typed}' is no {self.wanted} of {self.name}.") from None
        checked = self.schema.check(json.dumps({self.column: said}))
        if checked.values is None:
            raise FileError(f"'{typed}' can't be {self.name}: {checked.message}.")
        return checked.values[0]

    def label(self, typed: str) -> Any:
        """The label that was meant, capitals forgiven where that leaves one; else None."""
        if self.kind == "boolean":
            word = typed.casefold()
            return 1 if word in TRUE else 0 if word in FALSE else None
        exact = [label for label in self.labels if str(label) == typed]
        folded = [label for label in self.labels if str(label).casefold() == typed.casefold()]
        found = exact or folded
        if not found and self.kind == "integer":
            # A spreadsheet may have made 3.0 of 3.
            found = [label for label in self.labels if typed in (f"{label}.0", f"{label},0")]
        return found[0] if len(found) == 1 else None

    def candidate(self, typed: str) -> Any:
        """The JSON value of what was typed. Raises ValueError."""
        if self.kind == "integer":
            return int(typed)
        if self.kind == "number":
            return float(typed.replace(",", ".") if typed.count(",") == 1 else typed)
        if self.kind == "array":
            return self.elements(typed)
        if self.kind in ("object", "mixed"):
            try:
                return json.loads(typed)
            except ValueError:
                if self.kind == "object":
                    raise
        return typed

    def elements(self, typed: str) -> list[Any]:
        """The elements of a list: a JSON array, or words between semicolons or commas."""
        if typed.startswith("["):
            found = json.loads(typed)
            return found if isinstance(found, list) else [found]
        words = [one.strip() for one in typed.replace(";", ",").split(",")]
        by_word = {str(label).casefold(): label for label in self.labels}
        return [by_word.get(word.casefold(), word) for word in words if word]

    @property
    def words(self) -> list[str]:
        """The labels as people read and type them."""
        if self.kind == "boolean":
            return ["true", "false"]
        return [str(label) for label in self.labels]

    @property
    def wanted(self) -> str:
        """What kind of value is wanted, for a sentence."""
        kinds = {"integer": "whole number", "number": "number", "array": "list"}
        return kinds.get(self.kind, "value")

    def shown(self, value: Any) -> str:
        """A value as people read it."""
        if value is None:
            return "NULL"
        if self.kind == "boolean":
            return "true" if value else "false"
        return str(value)


def questions(job: store.Job, wanted: Sequence[str] = ()) -> list[Question]:
    """The columns of a job that people can fill in, or those of them that are wanted.

    A column is found by its property or by the name of its output column. Raises UsageError.
    """
    output = Output.from_json(job.output)
    if output.columns and output.columns[0].type == "BLOB":
        raise UsageError(f"The answers of job {job.id} are embeddings: people can't judge them.")
    every = all_questions(job, output.answer_names)
    if not wanted:
        # Nobody labels how sure the model is.
        return [one for one in every if one.column not in job.beside]
    return [find_question(every, name) for name in dict.fromkeys(wanted)]


def find_question(every: Sequence[Question], name: str) -> Question:
    """The column of that name. Raises UsageError that names those that there are."""
    for question in every:
        if fold(name) in (fold(question.name), fold(question.column)):
            return question
    names = [question.name for question in every]
    raise UsageError(f"No answer '{name}'. {meant(name, names)}Answers: {listed(names)}")


def all_questions(job: store.Job, names: Sequence[str]) -> list[Question]:
    """Every column of a job's answer."""
    if job.answer_schema is None:
        return [Question("answer", names[0] if names else "answer", 0, "string")]
    schema = AnswerSchema.from_json(job.answer_schema)
    codebook = job_codebook(job.settings)
    found = []
    for place, column in enumerate(schema.columns):
        variable = codebook.variable(column.name) if codebook else None
        node = schema.json["properties"][column.name]
        name = names[place] if place < len(names) else column.name
        found.append(
            Question(
                column=column.name,
                name=name,
                place=place,
                kind=column.kind,
                labels=labels_of(schema.json, node, column.kind),
                allows_null=allows_null(schema.json, node),
                definition=node.get("description"),
                schema=alone(schema, column.name),
                notes=notes_of(variable),
                order=variable.order if variable else (),
            )
        )
    return found


def notes_of(variable: Variable | None) -> dict[str, tuple[str, str]]:
    """What a codebook says of each label of a variable."""
    labels = variable.labels if variable else ()
    return {str(one.value): (one.definition, one.example) for one in labels}


def alone(schema: AnswerSchema, name: str) -> AnswerSchema:
    """The schema of one column of another."""
    node: dict[str, Any] = {"type": "object", "properties": {name: schema.json["properties"][name]}}
    node |= {"required": [name], "additionalProperties": False}
    for key in ("$defs", "definitions"):
        if key in schema.json:
            node[key] = schema.json[key]
    return AnswerSchema(node)


def variants(root: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A node, or what it stands for: what it refers to, each of what it allows."""
    if reference := node.get("$ref"):
        return variants(root, resolve(root, reference))
    if "anyOf" in node:
        return [one for each in node["anyOf"] for one in variants(root, each)]
    return [node]


def allows_null(root: dict[str, Any], node: dict[str, Any]) -> bool:
    """Whether a schema takes null."""
    types = [one.get("type") for one in variants(root, node)]
    return any("null" in (each if isinstance(each, list) else [each]) for each in types)


def labels_of(root: dict[str, Any], node: dict[str, Any], kind: str) -> tuple[Any, ...]:
    """The labels that a schema names, in their order: of a list those of its elements."""
    found: list[Any] = []
    for one in variants(root, node):
        if kind == "array" and isinstance(one.get("items"), dict):
            return labels_of(root, one["items"], "string")
        found += [label for label in one.get("enum", []) if isinstance(label, str | int)]
        first, last = one.get("minimum"), one.get("maximum")
        if kind == "integer" and isinstance(first, int) and isinstance(last, int) and not found:
            found += range(first, last + 1) if last - first < MOST_STEPS else []
    if kind == "boolean":
        return (1, 0)
    return tuple(dict.fromkeys(found))
