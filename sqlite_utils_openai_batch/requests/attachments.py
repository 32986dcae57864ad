"""What a row attaches to its request: PDFs, sound, images and text, each told by its bytes.

In a template a string of a content list that is exactly `{{ column | attach }}` becomes the
content part of what the column holds: a path of a file, a URL or a BLOB.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import filetype
import orjson

from ..base.errors import UnrenderableRow
from ..base.parameters import CHAT, RESPONSES, plain_name
from ..tables.sql import SQLiteValue, is_blank
from .images import WEB, Images

ATTACH = re.compile(r"\s*\{\{(.*)\|\s*attach\s*\}\}\s*", re.DOTALL)
#: Bytes of one file. Sources: OpenAI's guides "PDF files" (50 MB) and "Audio" (25 MB), the same
#: for all files of a request together; a text that is longer fits no model.
MOST_PDF, MOST_SOUND, MOST_TEXT = 50_000_000, 25_000_000, 25_000_000
#: How a PDF ends, in so many of its last bytes.
PDF_END, PDF_TAIL = b"%%EOF", 65_536
PDF_HEAD = 1_024
SOUNDS = {"audio/x-wav": "wav", "audio/wav": "wav", "audio/mpeg": "mp3"}
#: Endings that say what a file must be, as its bytes say it.
_NAMED = {".pdf": "PDF", ".wav": "wav", ".mp3": "mp3"}
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_COUNT = re.compile(rb"/Type\s*/Pages\b[^>]{0,200}?/Count\s+(\d+)|/Count\s+(\d+)")


def attached(text: str) -> str | None:
    """The placeholder that is attached, where a string is that and nothing else."""
    found = ATTACH.fullmatch(text)
    return None if found is None else "{{" + found[1] + "}}"


def is_content(path: tuple[str | int, ...]) -> bool:
    """Whether a string of a body stands where a content part may stand."""
    return len(path) > 1 and isinstance(path[-1], int) and path[-2] == "content"


@dataclass(frozen=True)
class Attachments:
    """Makes content parts for one endpoint; files are read as images are."""

    images: Images
    endpoint: str

    def part(self, value: SQLiteValue, place: str) -> str:
        """The content part of a value, as JSON. Raises UnrenderableRow for what can't be one."""
        return orjson.dumps(self.made(value, place)).decode()

    def made(self, value: SQLiteValue, place: str) -> dict[str, Any]:
        """The content part of a value, as data."""
        if isinstance(value, bytes):
            return self._of_bytes(value, place, None)
        if is_blank(value):
            raise UnrenderableRow(f"{place} holds nothing to attach.")
        text = str(value).strip()
        if text.lower().startswith(WEB):
            return self._of_address(text, place)
        if text[:5].lower() == "data:":
            return self._of_bytes(_from_data_url(text, place), place, None)
        return self._of_bytes(self.images.read(text, place), place, PurePath(text).name)

    def _of_bytes(self, data: bytes, place: str, name: str | None) -> dict[str, Any]:
        said = place if name is None else f"{place}: {name[:100]!r}"
        if not data:
            raise UnrenderableRow(f"{said} is empty.")
        kind = kind_of(data)
        _check_name(kind, name, said)
        if kind == "PDF":
            return self._pdf(data, name or f"{place}.pdf", said)
        if kind in ("wav", "mp3"):
            return self._sound(data, kind, said)
        if kind is not None and kind.startswith("image/"):
            return self._image(self.images.data_url(data, said))
        return self._text(data, kind, said)

    def _pdf(self, data: bytes, name: str, said: str) -> dict[str, Any]:
        _check_size(data, MOST_PDF, "a PDF", said)
        if PDF_END not in data[-PDF_TAIL:]:
            raise UnrenderableRow(f"{said} is a PDF without its end: it was cut.")
        url = f"data:application/pdf;base64,{base64.b64encode(data).decode()}"
        if self.endpoint == RESPONSES:
            return {"type": "input_file", "filename": name, "file_data": url}
        return {"type": "file", "file": {"filename": name, "file_data": url}}

    def _sound(self, data: bytes, kind: str, said: str) -> dict[str, Any]:
        if self.endpoint != CHAT:
            raise UnrenderableRow(f"{said} is sound, which only {CHAT} takes.")
        _check_size(data, MOST_SOUND, "sound", said)
        encoded = base64.b64encode(data).decode()
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": kind}}

    def _image(self, url: str) -> dict[str, Any]:
        if self.endpoint == RESPONSES:
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        return {"type": "image_url", "image_url": {"url": url}}

    def _text(self, data: bytes, kind: str | None, said: str) -> dict[str, Any]:
        try:
            text = data.decode("utf-8-sig") if kind is None else None
        except UnicodeDecodeError:
            text = None
        if text is None or "\0" in text:
            what = kind or f"{len(data):,} bytes of no known kind"
            raise UnrenderableRow(
                f"{said} holds {what}. What can be attached: PDF, WAV, MP3, images, UTF-8 text."
            )
        _check_size(data, MOST_TEXT, "text", said)
        return {"type": "input_text" if self.endpoint == RESPONSES else "text", "text": text}

    def _of_address(self, url: str, place: str) -> dict[str, Any]:
        """The provider fetches it, so its ending alone tells what it is."""
        ending = PurePath(urlsplit(url).path).suffix.lower()
        if ending == ".pdf":
            if self.endpoint == RESPONSES:
                return {"type": "input_file", "file_url": url}
            raise UnrenderableRow(
                f"{place} holds the address of a PDF, which only {RESPONSES} takes: use "
                f"--endpoint {RESPONSES}, or download it and attach the file."
            )
        if ending in ("", ".png", ".jpg", ".jpeg", ".gif", ".webp"):
            return self._image(url)
        raise UnrenderableRow(
            f"{place} holds the address of a {ending[1:]} file, which no endpoint takes: download "
            "it and attach the file."
        )


def kind_of(data: bytes) -> str | None:
    """What bytes are: PDF, wav, mp3, a type as filetype tells it; None for text and unknown."""
    if b"%PDF-" in data[:PDF_HEAD]:
        return "PDF"
    guessed: str | None = filetype.guess_mime(data)
    return SOUNDS.get(guessed or "", guessed)


def _check_name(kind: str | None, name: str | None, said: str) -> None:
    """Raise UnrenderableRow for a file whose name promises something else."""
    promised = _NAMED.get(PurePath(name or "").suffix.lower())
    if promised is not None and promised != kind:
        raise UnrenderableRow(f"{said} is no {promised.upper()}, as its bytes tell.")


def _check_size(data: bytes, most: int, what: str, said: str) -> None:
    if len(data) > most:
        raise UnrenderableRow(
            f"{said} is {what} of {len(data):,} bytes; OpenAI takes {most:,} at most."
        )


def _from_data_url(text: str, place: str) -> bytes:
    head, _, data = text.partition(",")
    try:
        if head.endswith(";base64"):
            return base64.b64decode(data, validate=True)
    except binascii.Error:
        pass
    raise UnrenderableRow(f"{place} holds a data URL that can't be read.")


@dataclass(frozen=True, slots=True)
class Attached:
    """A PDF or sound in a request, whose tokens nobody publishes."""

    kind: str
    pages: int | None = None


def read_attached(part: Mapping[str, Any]) -> Attached | None:
    """The PDF or sound that a content part of chat completions or responses holds, or None."""
    kind = part.get("type")
    if kind == "input_audio":
        return Attached("sound")
    if kind not in ("file", "input_file"):
        return None
    given = part.get("file")
    holder = given if isinstance(given, dict) else part
    data = holder.get("file_data")
    return Attached("PDF", _pages_of(data) if isinstance(data, str) else None)


#: OpenAI's models, and which of them read what. Source: the pages of OpenAI's model reference
#: ("modalities"); guide "PDF files": models with vision read PDFs.
_OPENAI = r"(ft:)?(gpt-[3456]|chatgpt|o[134]).*"
_HEARS = r".*audio.*"
_TEXT_ONLY = (
    r"(ft:)?(gpt-3\.5.*|gpt-4(-\d{4})?|gpt-4-(\d{4}-preview|32k.*)|o1-mini.*|o3-mini.*)|.*audio.*"
)


def cannot_read(model: str, file: Attached) -> str | None:
    """A sentence where a model of OpenAI's is known not to read a file of this kind."""
    name = plain_name(model)
    if not re.fullmatch(_OPENAI, name):
        return None
    if file.kind == "sound" and not re.fullmatch(_HEARS, name):
        return f"{model} hears no sound, for OpenAI at least. Name a model that does: -m gpt-audio"
    if file.kind == "PDF" and re.fullmatch(_TEXT_ONLY, name):
        return f"{model} reads no PDF, for OpenAI at least. Name a model that does: -m gpt-4o-mini"
    return None


def _pages_of(url: str) -> int | None:
    try:
        return pages(base64.b64decode(url.partition(",")[2]))
    except (binascii.Error, ValueError):
        return None


def pages(data: bytes) -> int | None:
    """Pages of a PDF, as far as they can be told without unpacking it; None where they can't."""
    count = sum(1 for _ in _PAGE.finditer(data))
    counts = [int(one or two) for one, two in _COUNT.findall(data)]
    return count or max(counts, default=0) or None
