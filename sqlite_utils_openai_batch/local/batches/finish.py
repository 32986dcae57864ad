"""The end of a batch: its output and error file appear, and its last status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from ..faults.files import concerns, mangle
from ..protocol.lines import count_lines, numbered_lines, parse_line
from ..settings import DAY, Clock, Folders
from .store import BatchRecord, Store
from .work import Run, request_id

EXPIRED = {
    "code": "batch_expired",
    "message": "This request could not be executed before the completion window expired.",
}
CANCELLED = {
    "code": "batch_cancelled",
    "message": "This request was not run, because its batch was cancelled.",
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

    def finish(self, run: Run) -> None:
        """Bring a batch to its end: completed, cancelled or expired."""
        batch = run.batch
        faults = batch.bound_faults
        output, errors = self._folders.output(batch.id), self._folders.errors(batch.id)
        if batch.status == "in_progress":
            self._write_unrun(batch, output, errors, EXPIRED)
        elif batch.status == "cancelling" and "cancelled-lines" in faults:
            self._write_unrun(batch, output, errors, CANCELLED)
        lines = (
            self._place(output, batch.output_file_id, faults, is_output=True),
            self._place(errors, batch.error_file_id, faults, is_output=False),
        )
        self._end(batch, lines)

    def _write_unrun(
        self, batch: BatchRecord, output: Path, errors: Path, error: dict[str, str]
    ) -> None:
        """Write a line for each request that wasn't run."""
        answered = {_number(data) for path in (output, errors) for data in _lines(path)}
        with errors.open("ab") as file:
            for number, data in _numbered(self._folders.file(batch.input_file_id)):
                if number not in answered:
                    file.write(unrun_line(batch.id, number, data, error))

    def _place(
        self, path: Path, file_id: str, faults: Mapping[str, Any], *, is_output: bool
    ) -> int:
        """Move a work file to the files; returns the number of its lines, 0 for no file."""
        target = self._folders.file(file_id)
        if path.exists():
            if concerns(faults) and any(_lines(path)):
                spoiled = path.with_suffix(".spoiled")
                mangle(path, spoiled, faults, is_output=is_output)
                spoiled.replace(path)
            self._folders.keep(path, file_id)
        lines = count_lines(target) if target.exists() else 0
        if not lines and ("empty-error-file" not in faults or is_output):
            target.unlink(missing_ok=True)
        return lines

    def _end(self, batch: BatchRecord, lines: tuple[int, int]) -> None:
        status, time_column = ENDS[batch.status]
        faults = batch.bound_faults
        if status == "cancelled" and "cancel-race" in faults:
            status, time_column = ENDS["finalizing"]
        now = self._clock.now()
        late = faults.get("late-ids")
        ended: dict[str, Any] = {"status": status, time_column: now}
        with self._store.transaction():
            self._add_file(batch, batch.output_file_id, "output", now)
            self._add_file(batch, batch.error_file_id, "error", now)
            self._store.update_batch(
                batch.id,
                output_lines=lines[0],
                error_lines=lines[1],
                failed=lines[1],
                visible_at=None if late is None else self._clock.time() + late,
                **ended,
            )

    def _add_file(self, batch: BatchRecord, file_id: str, kind: str, now: int) -> None:
        path = self._folders.file(file_id)
        if not path.exists():
            return
        self._store.add_file(
            id=file_id,
            owner=batch.owner,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            bytes=path.stat().st_size,
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


def _numbered(path: Path) -> Iterable[tuple[int, bytes]]:
    return numbered_lines(path) if path.exists() else ()


def _lines(path: Path) -> Iterator[bytes]:
    return (data for _, data in _numbered(path))


def _number(data: bytes) -> int:
    """The number of the input line that an output line answers."""
    return int(str((parse_line(data) or {})["id"])[-8:], 16)
