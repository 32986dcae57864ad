"""The fields of a row's form, a column of the answer each, and what was filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils_openai_batch.base.errors import FileError
from sqlite_utils_openai_batch.results.review.columns import Question
from sqlite_utils_openai_batch.results.review.turns import Turn

from ..access.request import Typed

#: What stands for NULL, and for a list without elements, where labels are chosen.
NULL, NONE = "∅ null", "∅ none"
#: Texts longer than this are typed in a field of several lines, where Enter ends a line.
LONG = 80


@dataclass(frozen=True, slots=True)
class Choice:
    """A label as a button."""

    value: str
    text: str
    key: str
    """The key that chooses it; empty for the tenth and later ones."""
    chosen: bool
    definition: str = ""
    example: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of the answer as a coder fills it in."""

    name: str
    title: str
    kind: str
    """`one` or `some` of its choices, `number`, `line` or `area`."""
    definition: str
    choices: list[Choice]
    value: str
    model: str | None
    """What the model says, in words; None while that is hidden."""
    before: str
    """What this coder said before, in words."""
    wrong: str
    step: str = "any"
    hint: str = ""


def name_of(question: Question) -> str:
    """The name of a column's field."""
    return f"say-{question.place}"


def fields(
    turn: Turn,
    asked: Sequence[Question],
    typed: Typed | None = None,
    wrong: Mapping[str, str] | None = None,
) -> list[Field]:
    """The fields of a row; what was `typed` just now stays as it is, with what is `wrong` of it."""
    return [field(turn, place, one, typed, (wrong or {}).get(name_of(one), ""))
            for place, one in enumerate(asked)]  # fmt: skip


def field(turn: Turn, place: int, question: Question, typed: Typed | None, wrong: str) -> Field:
    """One of them."""
    said = turn.said.get(question.column)
    has_said = said is not None and not said.skipped
    chosen: list[Any] = []
    if said is not None and not said.skipped:
        chosen = [said.value]
    elif said is None and turn.answer is not None:
        chosen = [turn.answer[place]]
    name = name_of(question)
    words = typed.all(name) if typed is not None else given_words(question, chosen)
    text = words[0] if words and words[0] not in (NULL, NONE) else ""
    return Field(
        name=name,
        title=question.name,
        kind=kind_of(question, text),
        definition=question.definition or "",
        choices=choices(question, words),
        value=text,
        model=None if turn.answer is None else question.shown(turn.answer[place]),
        before=question.shown(said.value) if has_said and said is not None else "",
        wrong=wrong,
        step="1" if question.kind == "integer" else "any",
        hint=hint(question),
    )


def kind_of(question: Question, text: str) -> str:
    """How a column is filled in."""
    if question.labels:
        return "some" if question.is_list else "one"
    if question.kind in ("integer", "number") and not question.allows_null:
        return "number"
    return "area" if len(text) > LONG or "\n" in text else "line"


def hint(question: Question) -> str:
    """What has to be known of a field without choices."""
    if question.is_list:
        return "several, with semicolons between them"
    return "null for no value" if question.allows_null else ""


def given_words(question: Question, chosen: Sequence[Any]) -> list[str]:
    """What is filled in beforehand, as a form would send it."""
    if not chosen:
        return []
    value = chosen[0]
    if value is None:
        return [NULL] if question.labels else ["null"]
    if question.is_list and question.labels:
        try:
            return [str(one) for one in json.loads(value)] or [NONE]
        except (TypeError, ValueError):
            return []
    if question.is_list:
        try:
            return ["; ".join(map(str, json.loads(value)))]
        except (TypeError, ValueError):
            return [str(value)]
    return [question.shown(value)]


def choices(question: Question, words: Sequence[str]) -> list[Choice]:
    """The labels of a column as buttons."""
    if not question.labels:
        return []
    numbers = question.kind == "integer" and all(0 <= int(one) <= 9 for one in question.labels)
    found = [
        Choice(
            value=word,
            text=word,
            key=word if numbers else str(place) if place < 10 else "",
            chosen=word in words,
            definition=question.notes.get(word, ("", ""))[0],
            example=question.notes.get(word, ("", ""))[1],
        )
        for place, word in enumerate(question.words, start=1)
    ]
    key = str(len(found) + 1) if len(found) < 9 and not numbers else ""
    if question.is_list:
        found.append(Choice(NONE, "none of them", key, NONE in words))
    elif question.allows_null:
        found.append(Choice(NULL, "no value (NULL)", key, NULL in words))
    return found


def read(asked: Sequence[Question], typed: Typed) -> tuple[dict[str, Any], dict[str, str]]:
    """What a coder says, by column, and what is wrong, by field. A field left empty says nothing.

    Where nothing is filled in at all, that is wrong.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for question in asked:
        name = name_of(question)
        words = [word for word in typed.all(name) if word]
        if not words:
            continue
        try:
            values[question.column] = read_words(question, words)
        except FileError as error:
            wrong[name] = str(error)
    if not values and not wrong and asked:
        wrong[name_of(asked[0])] = (
            "Choose a label, or skip the row." if asked[0].labels else "Fill this in, or skip it."
        )
    return values, wrong


def read_words(question: Question, words: Sequence[str]) -> Any:
    """The value that a field's words stand for. Raises FileError."""
    if words == [NULL]:
        return question.read("null")
    if question.is_list and question.labels:
        chosen = [one for one in words if one != NONE]
        if len(chosen) < len(words) and chosen:
            raise FileError("None of them, or some of them?")
        labels = dict(zip(question.words, question.labels, strict=True))
        return question.read(json.dumps([labels.get(one, one) for one in chosen]))
    for word, label in zip(question.words, question.labels, strict=True):
        if word.strip() == words[-1]:
            return label
    return question.read(words[-1])
