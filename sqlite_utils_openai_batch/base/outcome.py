"""What became of one request, as it goes from a response line to a row of the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    Text = str | bytes | None
    Cells = tuple[str | int | float | bytes | None, ...]
else:
    # msgspec decodes no union of text and bytes; any value is what was packed.
    Text, Cells = Any, tuple[Any, ...]


class Outcome(msgspec.Struct, gc=False, array_like=True):
    """What became of one request. It packs as an array of its fields.

    `status` is one of STATUSES. `answer` is text, or bytes for an embedding; kept too where the
    answer was cut or breaks its schema. `error_code` begins with the HTTP status where that is
    not 200: `429 rate_limit_exceeded`, or `502` if the provider gave no code of its own.
    `error_message` has at most 1,000 characters. `values` are the schema's columns, if ok.
    `note` says what was forgiven in an answer that is ok. `confidence` is how sure it is of each of
    its labels (--confidence), until that stands in the answer and its values.
    """

    custom_id: str | None
    status: str
    answer: Text = None
    error_code: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    values: Cells | None = None
    note: str | None = None
    confidence: tuple[float | None, ...] | None = None


def is_plain(outcome: Outcome) -> bool:
    """Whether an outcome is an answer, and neither checked nor odd in any way."""
    return (
        outcome.status == "ok"
        and outcome.values is None
        and outcome.note is None
        and outcome.confidence is None
        and outcome.error_code is None
        and outcome.error_message is None
    )


@dataclass(slots=True)
class Outcomes:
    """Many outcomes, column by column: an object for each would take longer to make and to find.

    Where one is no more than an answer (`is_plain`), `answers` has that, and the other columns the
    rest of it. Any other stands in `answers` itself, and the other columns are None there.
    """

    answers: list[Text | Outcome]
    reasons: list[str | None]
    models: list[str | None]
    prompt: list[int | None]
    cached: list[int | None]
    completion: list[int | None]
    reasoning: list[int | None]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Outcomes:
        """From one object each."""
        found = list(outcomes)
        plain = list(map(is_plain, found))
        told = [one if ok else _NOTHING for one, ok in zip(found, plain, strict=True)]
        return cls(
            [one.answer if ok else one for one, ok in zip(found, plain, strict=True)],
            [one.finish_reason for one in told],
            [one.model for one in told],
            [one.prompt_tokens for one in told],
            [one.cached_tokens for one in told],
            [one.completion_tokens for one in told],
            [one.reasoning_tokens for one in told],
        )

    def __len__(self) -> int:
        """How many there are."""
        return len(self.answers)

    def one(self, n: int) -> Outcome:
        """The outcome at a place, as an object, but for its `custom_id`."""
        said = self.answers[n]
        if isinstance(said, Outcome):
            return said
        return Outcome(
            None,
            "ok",
            said,
            None,
            None,
            self.reasons[n],
            self.models[n],
            self.prompt[n],
            self.cached[n],
            self.completion[n],
            self.reasoning[n],
        )

    def all(self) -> list[Outcome]:
        """All of them, as objects."""
        return list(map(self.one, range(len(self))))

    def odd(self) -> list[int]:
        """The places of those that are objects."""
        return [n for n, one in enumerate(self.answers) if one.__class__ is Outcome]

    def put(self, places: Sequence[int], others: Outcomes) -> None:
        """Put others at some places."""
        for mine, theirs in zip(self.columns, others.columns, strict=True):
            for n, value in zip(places, theirs, strict=True):
                mine[n] = value

    @property
    def columns(self) -> tuple[list[Any], ...]:
        """The columns."""
        return (
            self.answers,
            self.reasons,
            self.models,
            self.prompt,
            self.cached,
            self.completion,
            self.reasoning,
        )

    def take(self, places: Sequence[int]) -> Outcomes:
        """Those at some places."""
        return Outcomes(*(picked(column, places) for column in self.columns))


_NOTHING = Outcome(None, "")


def picked(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """The values at some places."""
    if len(places) < 2:
        return [values[n] for n in places]
    return list(itemgetter(*places)(values))
