"""Files that rows attach to their requests, as links: BLOBs, addresses, files of a folder.

Pictures are shown (`images`). All else is handed out for keeping, as what its bytes are and nothing
else, so that no page of it runs here. A file of the disk is handed out only where the row holds its
SHA-256, as a table of a folder does: who can write a path into a row gets no other file by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from ..access.job import Opened
from ..text import urls
from .images import kind as picture

#: Columns of a table of files (`run FOLDER`): where a file is, and what its bytes hash to.
PATH, HASH = "path", "sha256"
WEB = ("http://", "https://")
#: What is handed out, and as what. Sources of the limits: `requests/attachments`.
TYPES = {
    "PDF": ("application/pdf", ".pdf"),
    "wav": ("audio/wav", ".wav"),
    "mp3": ("audio/mpeg", ".mp3"),
    "text": ("text/plain; charset=utf-8", ".txt"),
}
WORDS = {"PDF": "PDF", "wav": "sound (WAV)", "mp3": "sound (MP3)", "text": "text"}
#: Bytes of a file that are read.
MOST = 50_000_000


def kind(data: bytes) -> str | None:
    """PDF, wav, mp3 or text; None for pictures, and for what can't be attached."""
    from sqlite_utils_openai_batch.requests.attachments import kind_of

    found = kind_of(data)
    if found is None:
        try:
            found = "text" if data and "\0" not in data.decode("utf-8-sig") else None
        except UnicodeDecodeError:
            return None
    return found if found in TYPES else None


def href(
    opened: Opened, request_id: int, column: str, value: Any, columns: Sequence[str]
) -> str | None:
    """Where a cell's file is; None where the cell holds none. `columns` are those of the row."""
    if isinstance(value, str):
        if value.strip().lower().startswith(WEB):
            return value.strip() if not re.search(r"\s", value.strip()) else None
        if column != PATH or HASH not in columns or not opened.job.settings.get("image_dir"):
            return None
    elif not isinstance(value, bytes) or picture(value) is not None or kind(value) is None:
        return None
    return urls.job(
        opened.datasette, opened.db, opened.job.id, "/attachment",
        _request=request_id, _column=column,
    )  # fmt: skip


def words(data: bytes) -> str | None:
    """What a BLOB is, in a word or two; None for what can't be attached."""
    found = kind(data)
    return None if found is None else WORDS[found]


def read(folder: str | None, value: Any, fingerprint: Any) -> bytes | None:
    """The bytes of a cell's file: a BLOB, or the file of a path whose SHA-256 the row holds."""
    if isinstance(value, bytes):
        return value
    if folder is None or not isinstance(value, str) or not isinstance(fingerprint, str):
        return None
    try:
        root = Path(folder).resolve()
        file = (root / value).resolve()
        if not file.is_relative_to(root) or not file.is_file() or file.stat().st_size > MOST:
            return None
        data = file.read_bytes()
    except (OSError, ValueError):
        # gone since, or no name of a file
        return None
    return data if hashlib.sha256(data).hexdigest() == fingerprint.lower() else None


def name(value: Any, column: str, request_id: int, ending: str) -> str:
    """What a file is called that somebody keeps."""
    own = PurePath(value).name if isinstance(value, str) else f"{column}-{request_id}"
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", own).strip("._") or f"file-{request_id}"
    return plain if plain.lower().endswith(ending) else plain + ending
