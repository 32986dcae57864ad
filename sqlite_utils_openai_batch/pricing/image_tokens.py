"""How many tokens an image is, by the rules that OpenAI publishes.

Source: OpenAI's guide "Images and vision", section on calculating costs. Some models are billed
by tiles of 512 pixels, others by patches of 32. For a model that is in neither table nothing is
guessed.
"""

from __future__ import annotations

import math
import re

from ..requests.images import Image

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
