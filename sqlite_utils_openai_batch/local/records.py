"""Rows of the server's tables."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

OPEN_STATUSES = ("validating", "in_progress", "finalizing", "cancelling")
"""The statuses of batches that are not at their end."""


class FileRecord(msgspec.Struct, kw_only=True):
    """One row of `files`."""

    seq: int
    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    reads_until_processed: int


class BatchRecord(msgspec.Struct, kw_only=True):
    """One row of `batches`; times are Unix seconds, `deadline` None when it can't expire."""

    seq: int
    id: str
    owner: str
    endpoint: str
    completion_window: str
    input_file_id: str
    status: str
    model: str | None
    errors: str | None
    output_file_id: str
    error_file_id: str
    created_at: int
    deadline: float | None
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    visible_at: float | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    enqueued_tokens: int
    output_lines: int
    error_lines: int
    metadata: str | None
    output_expires_after: int | None
    faults: str

    @property
    def bound_faults(self) -> dict[str, Any]:
        """The faults that this batch was created with: name → argument."""
        return dict(orjson.loads(self.faults))

    @property
    def is_open(self) -> bool:
        """Tell whether the batch is still on its way."""
        return self.status in OPEN_STATUSES
