"""Embedding vectors as the API writes them."""

from __future__ import annotations

import base64
import hashlib
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import orjson


def unit(numbers: Sequence[float]) -> list[float]:
    """Bring a vector to length 1; a vector of zeros stays as it is."""
    length = sum(n * n for n in numbers) ** 0.5 or 1.0
    return [n / length for n in numbers]


def made_up_vector(given: Any, size: int, seed: int) -> list[float]:
    """Return a vector of length 1 that follows from the input and the seed."""
    source = orjson.dumps([seed, given])
    numbers = array("h", hashlib.shake_128(source).digest(size * 2))
    return unit(numbers)


def encoded(vector: list[float], body: Mapping[str, Any]) -> list[float] | str:
    """The vector in the asked `encoding_format`: numbers, or base64 of little-endian float32."""
    if body.get("encoding_format") != "base64":
        return vector
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def shortened(vector: list[float], body: Mapping[str, Any]) -> list[float]:
    """The first `dimensions` numbers of a vector, at length 1 again."""
    size = body.get("dimensions")
    return unit(vector[:size]) if isinstance(size, int) and 0 < size < len(vector) else vector
