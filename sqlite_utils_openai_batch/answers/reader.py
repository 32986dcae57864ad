"""The lines of result files: read as their job asked, and the requests they name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from ..base.outcome import Outcome
from .confidence import Confidence, take_up
from .outcome import check_answer, read_response, read_usual
from .schema import AnswerSchema, Check, Values, quick_check, unsure

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
        self.usual = read_usual if is_chat and not json_mode else None
        self.whole = partial(read_response, endpoint=endpoint, schema=schema, json_mode=json_mode)
        self.sure = Confidence(schema, confidence) if schema and confidence else None

    def read(self, lines: Iterable[bytes]) -> list[Outcome]:
        """What lines say. An `ok` without the values of the schema isn't checked yet."""
        if self.sure is not None:
            return [self.read_sure(line, self.sure) for line in lines]
        usual, whole = self.usual, self.whole
        if usual is None:
            return [whole(line) for line in lines]
        return [usual(line) or whole(line) for line in lines]

    def read_sure(self, line: bytes, sure: Confidence) -> Outcome:
        """What a line says, and how sure it is of its labels."""
        outcome = (self.usual and self.usual(line)) or self.whole(line)
        if outcome.status == "ok":
            outcome.confidence = sure.of(line, outcome.answer)
        return outcome

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
