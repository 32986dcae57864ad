"""Uploads: one multipart form, its file written to disk as it comes in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from ..protocol.errors import APIError, missing

FIELD_BYTES = 65_536
"""More than this is not a form field of this API."""


@dataclass
class Upload:
    """What came in: the form's fields, and its file (None when the form had none)."""

    path: Path
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    bytes: int = 0

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class _Form:
    """Receives the parser's calls for one form."""

    def __init__(self, target: BinaryIO, upload: Upload, limit: int) -> None:
        self._target = target
        self._upload = upload
        self._limit = limit
        self._header = [b"", b""]
        self._options: dict[bytes, bytes] = {}
        self._value = b""

    @property
    def _is_file(self) -> bool:
        return self._options.get(b"name") == b"file"

    def on_part_begin(self) -> None:
        self._options = {}
        self._value = b""

    def on_header_begin(self) -> None:
        self._header = [b"", b""]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._options = parse_options_header(self._header[1])[1]

    def on_headers_finished(self) -> None:
        if self._is_file:
            name = self._options.get(b"filename", b"").decode("utf-8", "replace")
            self._upload.filename = plain_name(name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._write(data[start:end])
        elif len(self._value) < FIELD_BYTES:
            self._value += data[start:end]

    def on_part_end(self) -> None:
        if not self._is_file:
            name = self._options.get(b"name", b"").decode("utf-8", "replace")
            self._upload.fields[name] = self._value.decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        self._upload.bytes += len(data)
        if self._upload.bytes > self._limit:
            raise too_large(self._limit)
        self._target.write(data)

    def callbacks(self) -> dict[str, object]:
        """The methods by the names that the parser knows them by."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}


def plain_name(name: str) -> str:
    """The last part of a path in any system's manner, without control characters."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable()) or "file"


def too_large(limit: int) -> APIError:
    """A file above the limit."""
    message = f"File is too large. The maximum size is {limit} bytes."
    return APIError(413, message, param="file", code="file_too_large")


async def receive_upload(request: Request, folder: Path, limit: int) -> Upload:
    """Write a form's file to a new file in `folder`, at most `limit` bytes of it.

    Raises APIError for a form that can't be read, has no file, or is too large. Nothing stays
    behind then.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not (boundary := options.get(b"boundary")):
        raise APIError(400, "The request must be a multipart/form-data form with a file.")
    upload = Upload(folder / secrets.token_hex(16))
    try:
        with upload.path.open("wb") as target:
            form = _Form(target, upload, limit)
            parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
            async for chunk in request.stream():
                parser.write(chunk)
            parser.finalize()
        if upload.filename is None:
            raise missing("file")
    except MultipartParseError as error:
        upload.discard()
        raise APIError(400, f"The form could not be read: {error}.") from error
    except BaseException:
        upload.discard()
        raise
    return upload


def first_line_is_json(path: Path) -> bool:
    """Tell whether a file begins with a line that is a JSON object."""
    with path.open("rb") as file:
        line = file.readline(64 * 1024 * 1024)
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False
