"""Images of rows, as the URLs that a request holds: BLOBs, files of one folder, or URLs.

What kind of image some bytes are is told by `filetype`. Pillow (the extra `images`) is loaded
only where an image has to be made smaller, or into a kind that models take.
"""

from __future__ import annotations

import base64
import binascii
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filetype

from .. import store
from ..base.errors import ConfigurationError, UnrenderableRow
from ..tables.sql import SQLiteValue, is_blank

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: What models take. Source: OpenAI's guide "Images and vision", requirements of image inputs.
TAKEN = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
#: Pixels of the longer side: models scale down what is larger themselves (same guide).
SIZE = 2048
#: A file that is larger is not a photo of a row.
MOST_BYTES = 100_000_000
#: Pixels of an image that is decoded: 250 MB of memory, and no photo of a row has more.
MOST_PIXELS = 64_000_000
#: A JPEG names its size after its metadata, which may be long.
HEAD = 4 * 65_536
QUALITY = 90
WEB = ("http://", "https://")


# Which folder a job reads is remembered on the machine where a person named it: a database may be
# somebody else's, and must not decide which files of this machine go to which server.


def remember_folder(uid: str, folder: str) -> None:
    """Keep that a person named this folder, on this machine, for the job with this uid.

    Raises ConfigurationError where that can't be kept.
    """
    try:
        notes().mkdir(parents=True, exist_ok=True)
        note_of(uid).write_text(folder, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"Which folder the job reads can't be kept on this machine: {error}"
        ) from error


def check_folder(job: store.Job) -> None:
    """Raise ConfigurationError where a job reads files of a folder that nobody named here."""
    folder = job.settings.get("image_dir")
    if folder is None:
        return
    note = note_of(job.uid)
    if not note.is_file() or note.read_text(encoding="utf-8") != folder:
        raise ConfigurationError(
            f"Job {job.id} reads files of '{folder}', as its database says, and nobody named that "
            "folder on this machine. No file was read and nothing of it was sent. If it is right, "
            f"say so once: submit DB {job.id} --image-dir DIR"
        )


def check_named(folder: str | None) -> None:
    """Raise ConfigurationError where a folder is taken over that nobody ever named here."""
    known = (note.read_text(encoding="utf-8") for note in notes().glob("*") if note.is_file())
    if folder is not None and folder not in known:
        raise ConfigurationError(
            f"Files of '{folder}' were to be read, as the database says, and nobody named that "
            "folder on this machine. If it is right, type --image-dir."
        )


def notes() -> Path:
    """Where this machine keeps which folders were named, a file a job."""
    import platformdirs

    return platformdirs.user_data_path("sqlite-utils-openai-batch") / "folders"


def note_of(uid: str) -> Path:
    """The file that holds which folder a job reads. Raises ConfigurationError for no uid."""
    if not store.is_uid(uid):
        raise ConfigurationError(f"No folder was named for '{uid}': that is not a uid of a job.")
    return notes() / uid


@dataclass(frozen=True)
class Images:
    """How images are read: files from `folder` only, none larger than `size` pixels a side.

    With a `size` of 0 they stay as they are.
    """

    folder: Path | None = None
    size: int = SIZE

    def url(self, value: SQLiteValue, place: str) -> str:
        """Return the URL of an image: the one given, or a data URL of its bytes.

        `place` names it in messages. Raises UnrenderableRow for what is not an image, and
        ConfigurationError where Pillow is needed and isn't installed.
        """
        if isinstance(value, bytes):
            return self.data_url(value, place)
        if is_blank(value):
            raise UnrenderableRow(f"{place} holds no image.")
        text = str(value).strip()
        if text.lower().startswith(WEB):
            return text
        if text[:5].lower() == "data:":
            if not text[5:].lower().startswith("image/"):
                raise UnrenderableRow(f"{place} holds a data URL that is not an image.")
            return text
        return self.data_url(self.read(text, place), place)

    def read(self, name: str, place: str) -> bytes:
        """Return the bytes of a file in the folder, and of none outside it."""
        if self.folder is None:
            raise UnrenderableRow(
                f"{place} holds {name[:100]!r}, which is no URL; files need --image-dir."
            )
        try:
            folder = self.folder.resolve(strict=True)
            path = (folder / name).resolve(strict=True)
            if not path.is_relative_to(folder):
                raise UnrenderableRow(f"{place}: {name[:100]!r} is outside of --image-dir.")
            if not path.is_file():
                raise UnrenderableRow(f"{place}: {name[:100]!r} is not a file.")
            if path.stat().st_size > MOST_BYTES:
                raise UnrenderableRow(f"{place}: {name[:100]!r} is larger than 100 MB.")
            return path.read_bytes()
        except FileNotFoundError:
            raise UnrenderableRow(f"{place}: no file {name[:100]!r} in --image-dir.") from None
        except (OSError, ValueError, RuntimeError) as error:
            # a name too long, with a NUL byte, or of links in a circle
            reason = getattr(error, "strerror", None) or str(error)
            raise UnrenderableRow(f"{place}: {name[:100]!r} can't be read: {reason}.") from None

    def data_url(self, data: bytes, place: str) -> str:
        """Return an image's bytes as a data URL, made smaller or converted where need be."""
        guessed = filetype.guess_mime(data)
        kind = guessed if guessed and guessed.startswith("image/") else None
        if kind is None:
            raise UnrenderableRow(f"{place} holds {_said(data, guessed)}, which is not an image.")
        if kind in TAKEN:
            found = pixels(data[:HEAD])
            if found is None:
                raise UnrenderableRow(f"{place} holds an image that can't be read ({kind}).")
            if not self.size or max(found) <= self.size:
                return encoded(kind, data)
        elif not self.size:
            raise UnrenderableRow(
                f"{place} holds {kind}, which models don't take; without --image-size 0 it is "
                "converted."
            )
        return encoded(*remade(data, kind, self.size, place))


def _said(data: bytes, kind: str | None) -> str:
    return "an empty BLOB" if not data else kind or f"a BLOB of {len(data):,} bytes"


def encoded(kind: str, data: bytes) -> str:
    """Return a data URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def remade(data: bytes, kind: str, size: int, place: str) -> tuple[str, bytes]:
    """Return kind and bytes of an image of at most `size` pixels a side that models take."""
    open_image = pillow(kind, place)
    from PIL import Image as PillowImage
    from PIL import ImageOps

    try:
        with warnings.catch_warnings(), open_image_quietly(open_image, data) as image:
            refuse_bomb(image, size, place)
            # Smaller first: a JPEG is never decoded at its full size then.
            image.thumbnail((size, size))
            upright = ImageOps.exif_transpose(image)
            return saved(upright, lossless=kind in ("image/png", "image/gif"))
    except UnrenderableRow:
        raise
    except PillowImage.DecompressionBombError as error:
        raise too_many_pixels("an image", place) from error
    # Pillow's readers raise whatever the bytes bring them to (SyntaxError, struct.error,
    # DecompressionBombError): it costs this row only
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnrenderableRow(f"{place} holds an image that can't be read: {reason}") from error


def open_image_quietly(open_image: Any, data: bytes) -> Any:
    """Open an image, only its header read; what Pillow warns of is for no screen of ours."""
    warnings.simplefilter("ignore")
    return open_image(BytesIO(data))


def refuse_bomb(image: Picture, size: int, place: str) -> None:
    """Raise UnrenderableRow for an image that would take too much memory to be made smaller.

    A few bytes may stand for billions of pixels. Only its header has been read yet.
    """
    width, height = image.size
    # A JPEG can be read in halves, quarters or eighths, down to twice the size that is wanted.
    shrink = min(1.0, 2 * size / max(width, height, 1))
    image.draft(None, (int(width * shrink), int(height * shrink)))
    if image.size[0] * image.size[1] > MOST_PIXELS:
        raise too_many_pixels(f"an image of {width:,} × {height:,} pixels", place)


def too_many_pixels(what: str, place: str) -> UnrenderableRow:
    """The error of an image that isn't decoded."""
    return UnrenderableRow(
        f"{place} holds {what}, too large to be made smaller here "
        f"({MOST_PIXELS // 1_000_000} million pixels at most). Make it smaller first, or send "
        "images as they are with --image-size 0."
    )


def saved(image: Picture, *, lossless: bool) -> tuple[str, bytes]:
    """Return an image as PNG, or as JPEG where it was photographed."""
    out = BytesIO()
    if lossless or image.mode in ("RGBA", "LA", "PA"):
        plain = image if image.mode in ("RGB", "RGBA", "L", "LA", "P") else image.convert("RGB")
        plain.save(out, "PNG")
        return "image/png", out.getvalue()
    image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return "image/jpeg", out.getvalue()


def pillow(kind: str, place: str) -> Any:
    """Return Pillow's `open`, HEIC known to it. Raises ConfigurationError naming the extra."""
    try:
        from PIL import Image

        if kind in ("image/heic", "image/heif"):
            from pillow_heif import register_heif_opener

            register_heif_opener()
    except ImportError as error:
        raise ConfigurationError(
            f"{place} holds images that must be made smaller or converted ({kind}), which takes "
            "Pillow: pip install 'sqlite-utils-openai-batch[images]'. To send them as they are: "
            "--image-size 0"
        ) from error
    return Image.open


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a request; its size in pixels is None where it isn't in the request itself."""

    size: tuple[int, int] | None
    detail: str = "auto"


def read_image(part: Mapping[str, Any]) -> Image | None:
    """The image that a content part of chat completions or responses holds, or None."""
    if part.get("type") not in ("image_url", "input_image"):
        return None
    given = part.get("image_url")
    holder = given if isinstance(given, dict) else part
    url = holder.get("url") if isinstance(given, dict) else given
    return Image(
        size_of(url) if isinstance(url, str) else None, str(holder.get("detail") or "auto")
    )


def size_of(url: str) -> tuple[int, int] | None:
    """Width and height of the image in a data URL, by its first bytes; None where unknown."""
    kind, _, data = url.partition(",")
    if not kind.startswith("data:") or not kind.endswith(";base64"):
        return None
    try:
        # A JPEG names its size after its metadata, which may be long.
        start = base64.b64decode(data[: 4 * 65_536])
    except (binascii.Error, ValueError):
        return None
    return pixels(start)


def pixels(start: bytes) -> tuple[int, int] | None:
    """Width and height of an image by its first bytes; None where they don't tell."""
    try:
        return _png(start) or _gif(start) or _webp(start) or _jpeg(start)
    except (struct.error, IndexError):
        return None


def _png(data: bytes) -> tuple[int, int] | None:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _gif(data: bytes) -> tuple[int, int] | None:
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    width, height = struct.unpack("<HH", data[6:10])
    return width, height


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if data[12:16] == b"VP8X":
        return _three(data[24:27]) + 1, _three(data[27:30]) + 1
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _three(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _jpeg(data: bytes) -> tuple[int, int] | None:
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])
        # Start of frame, of whatever coding; C4, C8 and CC are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length
    return None
