"""Batches and files as the provider shows them, in our words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import clock
from .states import ENDED

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
    """A client's object as BatchState. The client is lenient, so any field may be missing.

    Raises ValueError where even the id is.
    """
    if not batch.id:
        raise ValueError("a batch without an id")
    counts = getattr(batch, "request_counts", None)
    errors = getattr(getattr(batch, "errors", None), "data", None) or []
    ended = (getattr(batch, f"{status}_at", None) for status in ENDED)
    return BatchState(
        id=batch.id,
        status=normalised(str(batch.status)),
        said=str(batch.status),
        input_file_id=getattr(batch, "input_file_id", None) or None,
        output_file_id=getattr(batch, "output_file_id", None) or None,
        error_file_id=getattr(batch, "error_file_id", None) or None,
        completed=getattr(counts, "completed", None),
        failed=getattr(counts, "failed", None),
        created_at=float(getattr(batch, "created_at", None) or 0),
        in_progress_at=clock.from_unix(getattr(batch, "in_progress_at", None)),
        finalizing_at=clock.from_unix(getattr(batch, "finalizing_at", None)),
        ended_at=clock.from_unix(next((at for at in ended if at), None)),
        expires_at=clock.from_unix(getattr(batch, "expires_at", None)),
        errors=[error.to_dict() for error in errors],
        metadata=dict(getattr(batch, "metadata", None) or {}),
    )
