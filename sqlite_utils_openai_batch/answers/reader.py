"""The lines of result files: read as their job asked, and the requests they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ..base.outcome import Outcome, Outcomes
from .confidence import Confidence, take_up
from .outcome import check_answer, read_response, read_usual
from .schema import AnswerSchema, Check, Values, quick_check, unsure
from .wire import read_each

_ID_DIGITS = 18  # more than any request id has; SQLite's integers end at 19 digits


class Reader:
    """Reads lines, in two steps: an answer is checked when it is its turn to be written."""

    def __init__(
        self,
        endpoint: str,
        schema: AnswerSchema | None = None,
        *,
        json_mode: bool = False,
        confidence: Sequence[str] = (),
    ) -> None:
        """`confidence` are label columns whose probability is put beside them in the answer."""
        is_chat = endpoint.removeprefix("/v1") == "/chat/completions"
        self.schema = schema
        self.quick: Check = (schema and quick_check(schema)) or unsure
        self.usual = is_chat and not json_mode
        """Whether lines are such as `read_usual` reads."""
        self.whole = partial(read_response, endpoint=endpoint, schema=schema, json_mode=json_mode)
        self.sure = Confidence(schema, confidence) if schema and confidence else None

    def read(self, lines: Sequence[bytes]) -> list[Outcome]:
        """What lines say. An `ok` without the values of the schema isn't checked yet."""
        custom_ids, outcomes = self.read_all(lines)
        found = outcomes.all()
        for outcome, custom_id in zip(found, custom_ids, strict=True):
            outcome.custom_id = custom_id
        return found

    def read_all(self, lines: Sequence[bytes]) -> tuple[list[str | None], Outcomes]:
        """Whom lines name, and what they say, column by column: else as `read`."""
        custom_ids, outcomes = self.read_columns(lines)
        if self.sure is None:
            return custom_ids, outcomes
        found = outcomes.all()
        for line, outcome in zip(lines, found, strict=True):
            if outcome.status == "ok":
                outcome.confidence = self.sure.of(line, outcome.answer)
        return custom_ids, Outcomes.of(found)

    def read_columns(self, lines: Sequence[bytes]) -> tuple[list[str | None], Outcomes]:
        """As `read_all`, however sure a model is."""
        if not self.usual:
            found = list(map(self.whole, lines))
            return [one.custom_id for one in found], Outcomes.of(found)
        custom_ids, outcomes, others = read_usual(lines)
        if others:
            found = [self.whole(lines[n]) for n in others]
            outcomes.put(others, Outcomes.of(found))
            for n, one in zip(others, found, strict=True):
                custom_ids[n] = one.custom_id
        return custom_ids, outcomes

    def cells(self, outcomes: Outcomes) -> list[Values | None]:
        """The columns of answers; None where one has to be checked as an object (`check`)."""
        if self.schema is None:
            return [None if isinstance(one, Outcome) else (one,) for one in outcomes.answers]
        cells: list[Values | None] = read_each(self.quick, outcomes.answers, None)
        return cells

    def check(self, outcomes: Iterable[Outcome]) -> None:
        """Check the answers that aren't checked yet."""
        if self.sure is None:
            self.check_values(outcomes)
            return
        found = list(outcomes)
        self.check_values(found)
        for outcome in found:
            if outcome.confidence is not None:
                take_up(outcome, self.sure.columns)

    def check_values(self, outcomes: Iterable[Outcome]) -> None:
        """Check answers by the schema, and read its columns."""
        schema = self.schema
        if schema is None:
            return
        found = [one for one in outcomes if one.status == "ok" and one.values is None]
        answers = iter([one.answer for one in found])
        values: list[Values | None] = []
        while len(values) < len(found):
            try:
                values.extend(map(self.quick, answers))
            except (ValueError, RecursionError):  # what msgspec raises is a ValueError
                # Those before it are in the list, and the iterator stands behind it.
                values.append(None)
        for outcome, cells in zip(found, values, strict=True):
            if cells is None:
                check_answer(outcome, schema)
            else:
                outcome.values = cells


def own_id(prefix: str, custom_id: str | None) -> int | None:
    """Return the request that a `custom_id` names, None where it isn't this job's: never guessed.

    Only the spelling that was sent is ours: ASCII digits, no leading zero.
    """
    if custom_id is None or len(custom_id) > len(prefix) + _ID_DIGITS:
        return None
    try:
        number = int(custom_id[len(prefix) :])
    except ValueError:
        return None
    # int() reads other spellings too
    return number if number > 0 and f"{prefix}{number}" == custom_id else None


def own_ids(prefix: str, custom_ids: Sequence[str | None]) -> list[int | None]:
    """`own_id` of each of many, in less time."""
    start = len(prefix)
    try:
        numbers = [int(one[start:]) for one in custom_ids]  # type: ignore[index]
    except (ValueError, TypeError):
        return [own_id(prefix, one) for one in custom_ids]
    whole = numbers and min(numbers) > 0 and max(numbers) < 10**_ID_DIGITS
    if whole and [f"{prefix}{number}" for number in numbers] == custom_ids:
        return list(numbers)
    return [own_id(prefix, one) for one in custom_ids]


def as_stored(line: bytes) -> str | bytes:
    """The bytes as received: TEXT when valid UTF-8, else BLOB."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return bytes(line)


def asks_for_json(body: dict[str, Any]) -> bool:
    """Whether a request body asks for JSON without a schema (JSON mode)."""
    text = body.get("text")
    wanted = [body.get("response_format"), text.get("format") if isinstance(text, dict) else None]
    return any(isinstance(one, dict) and one.get("type") == "json_object" for one in wanted)
