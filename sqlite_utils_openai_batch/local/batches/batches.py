"""The Batches API: what may be created, and how a batch looks to its owner."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ..protocol.errors import APIError, invalid_type, invalid_value, missing, no_batch, rate_limited
from ..protocol.lines import batch_url
from ..settings import DAY, ENDPOINTS, Clock, ServerLimits
from .files import check_expiry, new_file_id, page_limit
from .store import BatchRecord, Store

TIMES = (
    "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip


class Batches:
    """The batches of all keys; an `owner` is the fingerprint of a key.

    `window` is the seconds after which a batch expires, None for never.
    """

    def __init__(
        self, store: Store, clock: Clock, limits: ServerLimits, window: float | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._window = window

    def create(
        self, owner: str, body: Mapping[str, Any], faults: Callable[[], Mapping[str, Any]]
    ) -> BatchRecord:
        """Check a request and record the batch; `faults` tells what it will suffer."""
        checked = check_create(body)
        self._check_rate(owner)
        batch_id = "batch_" + secrets.token_hex(16)
        now = self._clock.time()
        self._store.add_batch(
            id=batch_id,
            owner=owner,
            status="validating",
            output_file_id=new_file_id(),
            error_file_id=new_file_id(),
            created_at=int(now),
            deadline=None if self._window is None else now + self._window,
            faults=orjson.dumps(faults()).decode(),
            **checked,
        )
        return self.get(owner, batch_id)

    def _check_rate(self, owner: str) -> None:
        most = self._limits.creates_per_hour
        if self._store.batches_since(owner, self._clock.now() - 3600) >= most:
            message = f"Rate limit reached: at most {most} batches per hour can be created."
            raise rate_limited(message, 60)

    def get(self, owner: str, batch_id: str) -> BatchRecord:
        """Return a batch of this owner; APIError 404 when there is none."""
        record = self._store.batch(batch_id, owner)
        if record is None:
            raise no_batch(batch_id)
        return record

    def list(
        self, owner: str, query: Mapping[str, str], *, until: float | None = None
    ) -> tuple[list[BatchRecord], bool]:
        """Return a page of batches, newest first, and whether there are more."""
        limit = page_limit(query.get("limit"), default=20, most=100)
        after = self.get(owner, query["after"]).seq if query.get("after") else None
        records = self._store.list_batches(owner, after=after, limit=limit + 1, until=until)
        return records[:limit], len(records) > limit

    def cancel(self, owner: str, batch_id: str) -> BatchRecord:
        """Ask for a batch to be cancelled; APIError 409 when it has ended otherwise."""
        record = self.get(owner, batch_id)
        if record.status in ("completed", "failed", "expired"):
            message = f"Cannot cancel a batch with status '{record.status}'."
            raise APIError(409, message)
        if record.status in ("validating", "in_progress", "finalizing"):
            now = self._clock.now()
            self._store.update_batch(batch_id, status="cancelling", cancelling_at=now)
        return self.get(owner, batch_id)


def check_create(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the body of a create request; APIError for what the service refuses."""
    for name in ("input_file_id", "endpoint", "completion_window"):
        if body.get(name) is None:
            raise missing(name)
        if not isinstance(body[name], str):
            raise invalid_type(name, "a string", body[name])
    if batch_url(body["endpoint"]) not in ENDPOINTS:
        raise invalid_value("endpoint", body["endpoint"], ENDPOINTS)
    if body["completion_window"] != "24h":
        raise invalid_value("completion_window", body["completion_window"], ["24h"])
    return {
        "input_file_id": body["input_file_id"],
        "endpoint": body["endpoint"],
        "completion_window": body["completion_window"],
        "metadata": check_metadata(body.get("metadata")),
        "output_expires_after": check_output_expiry(body.get("output_expires_after")),
    }


def check_metadata(metadata: Any) -> str | None:
    """Check metadata against the documented limits; returns it as JSON text."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise invalid_type("metadata", "an object", metadata)
    if len(metadata) > 16:
        message = f"Too many properties in 'metadata': at most 16, got {len(metadata)}."
        raise APIError(400, message, param="metadata", code="object_above_max_properties")
    for key, value in metadata.items():
        check_pair(key, value)
    return orjson.dumps(metadata).decode()


def check_pair(key: str, value: Any) -> None:
    """Check one pair of the metadata."""
    if not isinstance(value, str):
        raise invalid_type(f"metadata.{key}", "a string", value)
    for what, text, most in (("key", key, 64), ("value", value, 512)):
        if len(text) > most:
            message = f"Invalid 'metadata': a {what} may have {most} characters, got {len(text)}."
            raise APIError(400, message, param="metadata", code="string_above_max_length")


def check_output_expiry(given: Any) -> int | None:
    """Read `output_expires_after`, which counts from the creation of the output file."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_type("output_expires_after", "an object", given)
    if given.get("anchor") != "created_at":
        raise invalid_value("output_expires_after.anchor", given.get("anchor"), ["created_at"])
    return check_expiry("output_expires_after.seconds", given.get("seconds"))


def batch_object(record: BatchRecord, now: float) -> dict[str, Any]:
    """A batch as the API shows it; the ids of its files only once it has ended."""
    faults = record.bound_faults
    status = record.status
    if status == "in_progress" and "unknown-status" in faults:
        status = faults["unknown-status"]
    shown = {
        "id": record.id,
        "object": "batch",
        "endpoint": record.endpoint,
        "model": record.model,
        "errors": orjson.loads(record.errors) if record.errors else None,
        "input_file_id": record.input_file_id,
        "completion_window": record.completion_window,
        "status": status,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": record.created_at,
        **{name: getattr(record, name, None) for name in TIMES},
        "expires_at": int(record.deadline or record.created_at + DAY),
        "request_counts": {
            "total": record.total,
            "completed": record.completed,
            "failed": record.failed,
        },
        "usage": usage(record),
        "metadata": orjson.loads(record.metadata) if record.metadata else None,
    }
    if not record.is_open:
        _show_ids(shown, record, faults, now)
    return shown


def _show_ids(
    shown: dict[str, Any], record: BatchRecord, faults: Mapping[str, Any], now: float
) -> None:
    if "null-ids" in faults or (record.visible_at is not None and now < record.visible_at):
        return
    for name, exists in (
        ("output_file_id", record.output_lines > 0),
        ("error_file_id", record.error_lines > 0 or "empty-error-file" in faults),
    ):
        if exists:
            shown[name] = getattr(record, name)
        elif "empty-ids" in faults:
            shown[name] = ""
        elif "absent-ids" in faults:
            del shown[name]


def usage(record: BatchRecord) -> dict[str, Any]:
    """The tokens of a batch, all 0 until it has ended."""
    shown = 0 if record.is_open else 1
    tokens_in, tokens_out = record.input_tokens * shown, record.output_tokens * shown
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": record.cached_tokens * shown},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": record.reasoning_tokens * shown},
        "total_tokens": tokens_in + tokens_out,
    }
