"""How many tokens an image is, by the rules that OpenAI publishes.

Source: OpenAI's guide "Images and vision", section on calculating costs. Some models are billed
by tiles of 512 pixels, others by patches of 32. For a model that is in neither table nothing is
guessed.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Billed as a base and so many tokens a tile, by the model's name.
TILES = (
    (r"gpt-4o-mini.*", 2_833, 5_667),
    (r"gpt-4\.1-(mini|nano).*", None, None),
    (r"(gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-4-turbo|gpt-4-vision).*", 85, 170),
    (r"(o1|o1-pro|o3)(-\d{4}.*)?", 75, 150),
    (r"(gpt-5|gpt-5-chat-latest)(-\d{4}.*)?", 70, 140),
)
#: Billed by patches, of which there are at most `PATCHES`, times this.
PATCHED = (
    (r"gpt-4\.1-mini.*", 1.62),
    (r"gpt-4\.1-nano.*", 2.46),
    (r"o4-mini.*", 1.72),
    (r"gpt-5-mini.*", 1.62),
    (r"gpt-5-nano.*", 2.46),
)
PATCH, PATCHES = 32, 1_536
TILE, LONGEST, SHORTEST = 512, 2_048, 768


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


def image_tokens(model: str, image: Image) -> int | None:
    """Tokens of an image for a model; the most that any size has where the size isn't known.

    None for a model whose rule isn't published.
    """
    name = model.rpartition("/")[2].lower().removeprefix("ft:")
    for pattern, factor in PATCHED:
        if re.fullmatch(pattern, name):
            return math.ceil(patches(image.size) * factor)
    for pattern, base, tile in TILES:
        if base is not None and tile is not None and re.fullmatch(pattern, name):
            return base if image.detail == "low" else base + tile * tiles(image.size)
    return None


def patches(size: tuple[int, int] | None) -> int:
    """Patches that cover an image, after it was shrunk to fit the most that there may be."""
    if size is None:
        return PATCHES
    width, height = size
    whole = math.ceil(width / PATCH) * math.ceil(height / PATCH)
    if whole <= PATCHES:
        return max(whole, 1)
    shrink = math.sqrt(PATCHES * PATCH**2 / (width * height))
    across, down = width * shrink / PATCH, height * shrink / PATCH
    # Shrunk once more, so that whole patches fit one way.
    shrink *= min(math.floor(across) / across, math.floor(down) / down)
    return min(
        math.ceil(round(width * shrink / PATCH, 6)) * math.ceil(round(height * shrink / PATCH, 6)),
        PATCHES,
    )


def tiles(size: tuple[int, int] | None) -> int:
    """Tiles that cover an image, shrunk into 2048 x 2048 and to 768 on its short side."""
    if size is None:
        return math.ceil(LONGEST / TILE) * math.ceil(SHORTEST / TILE)
    width, height = size
    shrink = min(1.0, LONGEST / max(width, height, 1))
    width, height = round(width * shrink), round(height * shrink)
    shrink = min(1.0, SHORTEST / max(min(width, height), 1))
    width, height = round(width * shrink), round(height * shrink)
    return max(math.ceil(width / TILE), 1) * max(math.ceil(height / TILE), 1)
