"""The lines of result files: read as their job asked, and the requests they name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ..base.outcome import Outcome
from .fastpath import Check, Values, quick_check, read_usual, unsure
from .outcome import check_answer, read_response
from .schema import AnswerSchema

_ID_DIGITS = 18  # more than any request id has; SQLite's integers end at 19 digits


class Reader:
    """Reads lines, in two steps: an answer is checked when it is its turn to be written."""

    def __init__(
        self, endpoint: str, schema: AnswerSchema | None = None, *, json_mode: bool = False
    ) -> None:
        is_chat = endpoint.removeprefix("/v1") == "/chat/completions"
        self.schema = schema
        self.quick: Check = (schema and quick_check(schema)) or unsure
        self.usual = read_usual if is_chat and not json_mode else None
        self.whole = partial(read_response, endpoint=endpoint, schema=schema, json_mode=json_mode)

    def read(self, lines: Iterable[bytes]) -> list[Outcome]:
        """What lines say. An `ok` without the values of the schema isn't checked yet."""
        usual, whole = self.usual, self.whole
        if usual is None:
            return [whole(line) for line in lines]
        return [usual(line) or whole(line) for line in lines]

    def check(self, outcomes: Iterable[Outcome]) -> None:
        """Check the answers that aren't checked yet."""
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
