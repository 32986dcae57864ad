"""The end of a batch: its output and error file appear, and its last status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from .lines import numbered_lines, parse_line
from .run import Run
from .settings import DAY, Clock, Folders
from .store import BatchRecord, Store
from .work import request_id

EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
ENDS = {
    "finalizing": ("completed", "completed_at"),
    "cancelling": ("cancelled", "cancelled_at"),
    "in_progress": ("expired", "expired_at"),
}
"""Status on the way → last status, and the time that is set with it."""


class Finisher:
    """Puts finished files in their place; to do it again after a kill changes nothing."""

    def __init__(self, store: Store, folders: Folders, clock: Clock) -> None:
        self._store = store
        self._folders = folders
        self._clock = clock

    async def finish(self, run: Run) -> None:
        """Bring a batch to its end: completed, cancelled or expired."""
        batch = run.batch
        output, errors = self._folders.output(batch.id), self._folders.errors(batch.id)
        if batch.status == "in_progress":
            self._expire_the_rest(batch, errors)
        lines = (
            self._place(output, batch.output_file_id),
            self._place(errors, batch.error_file_id),
        )
        self._end(batch, lines)

    def _expire_the_rest(self, batch: BatchRecord, errors: Path) -> None:
        """Write a line for each request that wasn't run."""
        answered = {
            int(line["id"][-8:], 16)
            for path in (self._folders.output(batch.id), errors)
            for line in _results(path)
        }
        with errors.open("ab") as file:
            for number, data in numbered_lines(self._folders.file(batch.input_file_id)):
                if number not in answered:
                    file.write(unrun_line(batch.id, number, data, EXPIRED))

    def _place(self, path: Path, file_id: str) -> int:
        """Move a work file to the files; returns the number of its lines, 0 for no file."""
        target = self._folders.file(file_id)
        if path.exists():
            path.replace(target)
        lines = _count_lines(target)
        if not lines:
            target.unlink(missing_ok=True)
        return lines

    def _end(self, batch: BatchRecord, lines: tuple[int, int]) -> None:
        status, time_column = ENDS[batch.status]
        now = self._clock.now()
        expired = lines[1] - batch.failed if status == "expired" else 0
        with self._store.transaction():
            for file_id, kind, count in zip(
                (batch.output_file_id, batch.error_file_id), ("output", "error"), lines, strict=True
            ):
                if count:
                    self._add_file(batch, file_id, kind, now)
            ended: dict[str, Any] = {"status": status, time_column: now}
            self._store.update_batch(
                batch.id,
                output_lines=lines[0],
                error_lines=lines[1],
                failed=batch.failed + expired,
                **ended,
            )

    def _add_file(self, batch: BatchRecord, file_id: str, kind: str, now: int) -> None:
        self._store.add_file(
            id=file_id,
            owner=batch.owner,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            bytes=self._folders.file(file_id).stat().st_size,
            created_at=now,
            expires_at=now + (batch.output_expires_after or 30 * DAY),
        )


def unrun_line(batch_id: str, number: int, data: bytes, error: dict[str, str]) -> bytes:
    """The line of a request that was never run."""
    custom_id = (parse_line(data) or {}).get("custom_id")
    line = {
        "id": request_id(batch_id, number),
        "custom_id": custom_id,
        "response": None,
        "error": error,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _results(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [line for _, data in numbered_lines(path) if (line := parse_line(data))]


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    return sum(1 for _ in numbered_lines(path))
