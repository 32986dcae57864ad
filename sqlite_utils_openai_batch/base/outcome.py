"""What became of one request, as it goes from a response line to a row of the database."""

from __future__ import annotations

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
