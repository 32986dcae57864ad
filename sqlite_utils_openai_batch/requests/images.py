"""Images of rows, as the URLs that a request holds: BLOBs, files of one folder, or URLs.

What kind of image some bytes are is told by `filetype`. Pillow (the extra `images`) is loaded
only where an image has to be made smaller, or into a kind that models take.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filetype

from ..base.errors import ConfigurationError, UnrenderableRow
from ..pricing.image_tokens import pixels
from ..tables.sql import SQLiteValue

if TYPE_CHECKING:
    from PIL.Image import Image

#: What models take. Source: OpenAI's guide "Images and vision", requirements of image inputs.
TAKEN = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
#: Pixels of the longer side: models scale down what is larger themselves (same guide).
SIZE = 2048
#: A file that is larger is no photo of a row.
MOST_BYTES = 100_000_000
#: A JPEG names its size after its metadata, which may be long.
HEAD = 4 * 65_536
QUALITY = 90
WEB = ("http://", "https://")


@dataclass(frozen=True)
class Images:
    """How images are read: files from `folder` only, none larger than `size` pixels a side.

    With a `size` of 0 they stay as they are.
    """

    folder: Path | None = None
    size: int = SIZE

    def url(self, value: SQLiteValue, place: str) -> str:
        """Return the URL of an image: the one given, or a data URL of its bytes.

        `place` names it in messages. Raises UnrenderableRow for what is no image, and
        ConfigurationError where Pillow is needed and isn't installed.
        """
        if isinstance(value, bytes):
            return self.data_url(value, place)
        text = "" if value is None else str(value).strip()
        if not text:
            raise UnrenderableRow(f"{place} holds no image.")
        if text.lower().startswith(WEB):
            return text
        if text[:5].lower() == "data:":
            if not text[5:].lower().startswith("image/"):
                raise UnrenderableRow(f"{place} holds a data URL that is no image.")
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
                raise UnrenderableRow(f"{place}: {name[:100]!r} is no file.")
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
            raise UnrenderableRow(f"{place} holds {_said(data, guessed)}, which is no image.")
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
    from PIL import ImageOps

    try:
        with open_image(BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            image.thumbnail((size, size))
            return saved(image, lossless=kind in ("image/png", "image/gif"))
    # Pillow's readers raise whatever the bytes bring them to (SyntaxError, struct.error,
    # DecompressionBombError): it costs this row only
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnrenderableRow(f"{place} holds an image that can't be read: {reason}") from error


def saved(image: Image, *, lossless: bool) -> tuple[str, bytes]:
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
