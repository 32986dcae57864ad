"""Batches and files as the provider shows them, in our words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import clock
from ..base.statuses import ENDED
from ..store.records import is_id

if TYPE_CHECKING:
    from openai.types import Batch

# Spellings of other servers, in our (OpenAI's) words.
STATUS_WORDS = {
    "queued": "validating",
    "pending": "validating",
    "running": "in_progress",
    "progress": "in_progress",
    "processing": "in_progress",
    "succeeded": "completed",
    "done": "completed",
    "canceled": "cancelled",
    "canceling": "cancelling",
    "error": "failed",
}


@dataclass(frozen=True)
class BatchState:
    """A batch as the provider shows it; falsy file ids (null, absent, empty) are None."""

    id: str
    status: str
    said: str
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    completed: int | None
    failed: int | None
    created_at: float
    in_progress_at: str | None
    finalizing_at: str | None
    ended_at: str | None
    expires_at: str | None
    errors: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    model: str | None = None
    total: int | None = None

    @property
    def files(self) -> dict[str, str]:
        """The ids of its files, by what they are: input, output, error."""
        named = {
            "input": self.input_file_id,
            "output": self.output_file_id,
            "error": self.error_file_id,
        }
        return {name: file_id for name, file_id in named.items() if file_id}

    @property
    def ended(self) -> bool:
        """Whether the provider has finished with it."""
        return self.status in ENDED

    @property
    def hides_answers(self) -> bool:
        """Whether it has answers, or may have some, and names no file that holds them."""
        if self.output_file_id:
            return False
        if self.completed is None:
            return self.status == "completed" and not self.error_file_id
        return self.completed > 0


@dataclass(frozen=True)
class StoredFile:
    """A file that lies at the provider: what it is for, its bytes, and how long it is kept."""

    id: str
    name: str
    purpose: str
    size: int | None
    created_at: str | None
    expires_at: str | None


def read_file(file: Any) -> StoredFile:
    """A client's object as StoredFile. Raises ValueError where there is no id."""
    if not getattr(file, "id", None):
        raise ValueError("a file without an id")
    return StoredFile(
        id=str(file.id),
        name=str(getattr(file, "filename", None) or ""),
        purpose=str(getattr(file, "purpose", None) or ""),
        size=whole_number(getattr(file, "bytes", None)),
        created_at=clock.from_unix(clock.unix_of(getattr(file, "created_at", None))),
        expires_at=clock.from_unix(clock.unix_of(getattr(file, "expires_at", None))),
    )


class UploadedFile(NamedTuple):
    """A file as the provider lists it; `size` in bytes."""

    id: str
    name: str
    size: int | None


def normalised(status: str) -> str:
    """A status in OpenAI's words."""
    word = status.lower()
    return STATUS_WORDS.get(word, word)


def read_batch(batch: Batch) -> BatchState:
    """A client's object as BatchState: the client checks nothing, so a field may be anything.

    Raises ValueError where there is no id.
    """
    if not getattr(batch, "id", None):
        raise ValueError("a batch without an id")
    for name in ("id", "input_file_id", "output_file_id", "error_file_id"):
        if (given := _text(batch, name)) is not None and not is_id(given):
            raise ValueError(f"{name} is none: {given!r}")

    def moment(name: str) -> str | None:
        return clock.from_unix(clock.unix_of(getattr(batch, name, None)))

    counts = getattr(batch, "request_counts", None)
    metadata = getattr(batch, "metadata", None)
    return BatchState(
        id=str(batch.id),
        status=normalised(str(batch.status)),
        said=str(batch.status),
        input_file_id=_text(batch, "input_file_id"),
        output_file_id=_text(batch, "output_file_id"),
        error_file_id=_text(batch, "error_file_id"),
        completed=_count(counts, "completed"),
        failed=_count(counts, "failed"),
        created_at=clock.unix_of(getattr(batch, "created_at", None)) or 0.0,
        in_progress_at=moment("in_progress_at"),
        finalizing_at=moment("finalizing_at"),
        ended_at=next(filter(None, (moment(f"{status}_at") for status in ENDED)), None),
        expires_at=moment("expires_at"),
        errors=_errors(getattr(batch, "errors", None)),
        metadata=_texts(metadata),
        endpoint=_text(batch, "endpoint"),
        model=_text(batch, "model"),
        total=_count(counts, "total"),
    )


def _texts(metadata: Any) -> dict[str, str]:
    """Metadata as they are sent: texts by name, whatever else a server puts there left out."""
    given = metadata.items() if isinstance(metadata, dict) else ()
    return {str(name): value for name, value in given if isinstance(value, str)}


def _text(batch: Any, name: str) -> str | None:
    """An id; None where it is null, absent or empty."""
    value = getattr(batch, name, None)
    return str(value) if value and isinstance(value, (str, int)) else None


def _count(counts: Any, name: str) -> int | None:
    return whole_number(getattr(counts, name, None))


def whole_number(value: Any) -> int | None:
    """A whole number, also one that comes as text or with a fraction of nothing.

    None for one that no column can hold: nothing is counted that far.
    """
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19
    if digits or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < 2**63 else None


def _errors(found: Any) -> list[dict[str, Any]]:
    """What speaks against a batch: objects, where some servers have a bare list or bare texts."""
    told = getattr(found, "data", found)
    listed = told if isinstance(told, list) else [told] if told else []
    return [_error(one) for one in listed]


def _error(one: Any) -> dict[str, Any]:
    error = one if isinstance(one, dict) else getattr(one, "to_dict", lambda: None)()
    if not isinstance(error, dict):
        return {"message": str(one)}
    return {**error, "line": whole_number(error["line"])} if "line" in error else error
