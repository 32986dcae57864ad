"""The Files API: what may be uploaded, and how a file looks to its owner."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from typing import Any

import orjson

from ..protocol.errors import APIError, invalid_type, invalid_value, missing, no_file
from ..settings import DAY, Clock, Folders, ServerLimits
from .store import FileRecord, Store
from .uploads import Upload, first_line_is_json, too_large

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
LETTERS = string.ascii_letters + string.digits
EXPIRY = range(3600, 30 * DAY + 1)
"""Seconds that `expires_after` may name."""


def new_file_id() -> str:
    """Return an id in the service's manner."""
    return "file-" + "".join(secrets.choice(LETTERS) for _ in range(22))


class Files:
    """The files of all keys; an `owner` is the fingerprint of a key."""

    def __init__(self, store: Store, folders: Folders, clock: Clock, limits: ServerLimits) -> None:
        self._store = store
        self._folders = folders
        self._clock = clock
        self._limits = limits

    def add(self, owner: str, upload: Upload, *, reads_until_processed: int = 0) -> FileRecord:
        """Check an upload and keep it; raises APIError and keeps nothing when it's no good."""
        try:
            purpose = self._purpose(upload)
            expires_at = self._expires_at(upload.fields, purpose)
            self._check_content(upload, purpose)
        except APIError:
            upload.discard()
            raise
        file_id = new_file_id()
        self._folders.keep(upload.path, file_id)
        with self._store.transaction():
            self._store.add_file(
                id=file_id,
                owner=owner,
                filename=upload.filename or "file",
                purpose=purpose,
                bytes=upload.bytes,
                created_at=self._clock.now(),
                expires_at=expires_at,
                reads_until_processed=reads_until_processed,
            )
        return self.get(owner, file_id)

    @staticmethod
    def _purpose(upload: Upload) -> str:
        purpose = upload.fields.get("purpose")
        if purpose is None:
            raise missing("purpose")
        if purpose not in PURPOSES:
            raise invalid_value("purpose", purpose, PURPOSES)
        return purpose

    def _expires_at(self, fields: Mapping[str, str], purpose: str) -> int | None:
        given = _expires_after(fields)
        seconds, anchor = given.get("seconds"), given.get("anchor")
        if not given:
            return self._clock.now() + EXPIRY[-1] if purpose == "batch" else None
        if anchor != "created_at":
            raise invalid_value("expires_after.anchor", anchor, ["created_at"])
        return self._clock.now() + check_expiry("expires_after.seconds", seconds)

    def _check_content(self, upload: Upload, purpose: str) -> None:
        if not upload.bytes:
            raise APIError(400, "File is empty.", param="file", code="empty_file")
        if purpose != "batch":
            return
        if upload.bytes > self._limits.batch_file_bytes:
            raise too_large(self._limits.batch_file_bytes)
        if not first_line_is_json(upload.path):
            message = "Invalid file format for Batch API. Must be .jsonl, one object to a line."
            raise APIError(400, message, param="file", code="invalid_file_format")

    def get(self, owner: str, file_id: str) -> FileRecord:
        """Return a file of this owner; APIError 404 when there is none."""
        self.drop_expired()
        record = self._store.file(file_id, owner)
        if record is None:
            raise no_file(file_id)
        return record

    def read(self, owner: str, file_id: str) -> FileRecord:
        """Return a file and count the read: a slow file is processed after some of them."""
        record = self.get(owner, file_id)
        self._store.count_file_read(file_id)
        return record

    def delete(self, owner: str, file_id: str) -> dict[str, Any]:
        """Delete a file with its bytes."""
        record = self.get(owner, file_id)
        self._remove(record.id)
        return {"id": file_id, "object": "file", "deleted": True}

    def drop_expired(self) -> None:
        """Delete the files whose time is over."""
        for file_id in self._store.expired_files(self._clock.now()):
            self._remove(file_id)

    def _remove(self, file_id: str) -> None:
        self._store.delete_file(file_id)
        self._folders.file(file_id).unlink(missing_ok=True)

    def list(
        self, owner: str, query: Mapping[str, str], *, until: float | None = None
    ) -> dict[str, Any]:
        """Return a page of files; `query` has limit, after, order and purpose.

        `until` leaves out what was created after that time.
        """
        self.drop_expired()
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid_value("order", order, ["asc", "desc"])
        limit = page_limit(query.get("limit"), default=10_000, most=10_000)
        after = self.get(owner, query["after"]).seq if query.get("after") else None
        records = self._store.list_files(
            owner,
            purpose=query.get("purpose"),
            after=after,
            limit=limit + 1,
            descending=order == "desc",
            until=until,
        )
        return page([file_object(record) for record in records[:limit]], len(records) > limit)


def _expires_after(fields: Mapping[str, str]) -> dict[str, Any]:
    """`expires_after` of a form: fields with brackets, or one part that is JSON."""
    whole = fields.get("expires_after")
    if whole is None:
        names = ("anchor", "seconds")
        found = {name: fields.get(f"expires_after[{name}]") for name in names}
        return found if any(value is not None for value in found.values()) else {}
    try:
        value = orjson.loads(whole)
    except orjson.JSONDecodeError:
        value = whole
    if not isinstance(value, dict):
        raise invalid_type("expires_after", "an object", value)
    return {"anchor": None, "seconds": None, **value}


def file_object(record: FileRecord) -> dict[str, Any]:
    """A file as the API shows it."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.bytes,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "uploaded" if record.reads_until_processed else "processed",
        "status_details": None,
    }


def page(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def page_limit(given: str | None, *, default: int, most: int) -> int:
    """Read the `limit` of a list; APIError when it's out of range."""
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= most:
        message = f"Invalid 'limit': expected a whole number from 1 to {most}, got '{given}'."
        raise APIError(400, message, param="limit", code="invalid_value")
    return int(given)


def check_expiry(param: str, seconds: Any) -> int:
    """Read the seconds after which a file expires; APIError when out of range."""
    text = str(seconds)
    if not text.isascii() or not text.isdigit() or int(text) not in EXPIRY:
        message = (
            f"Invalid '{param}': expected a whole number from {EXPIRY[0]} to {EXPIRY[-1]},"
            f" got '{text}'."
        )
        raise APIError(400, message, param=param, code="invalid_value")
    return int(text)
