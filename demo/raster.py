"""Draw flat shapes and write them as PNG files, with nothing but whole numbers.

Every coordinate is an integer and no float is ever used, so the pixels are the same on each
machine. (The *file* may differ: how tightly zlib packs is up to its build. That is why the drawn
files are committed, and the database is built from them; see `build.py`.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isqrt
from struct import pack

SIZE = 128  # pixels on each side
SUB = 4  # samples per pixel in each direction, averaged to smooth the edges
SAMPLES = SIZE * SUB

Point = tuple[int, int]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Canvas:
    """A square picture. Coordinates are pixels from the top left; colours are `#rrggbb`."""

    def __init__(self, background: str) -> None:
        self._colours = [background]
        self._rows = [bytearray(SAMPLES) for _ in range(SAMPLES)]

    def rect(self, x: int, y: int, width: int, height: int, colour: str) -> None:
        """Fill a rectangle."""
        for row in range(y * SUB, (y + height) * SUB):
            self._span(row, x * SUB, (x + width) * SUB, colour)

    def round_rect(self, x: int, y: int, width: int, height: int, r: int, colour: str) -> None:
        """Fill a rectangle whose corners are rounded with radius `r`."""
        self.rect(x + r, y, width - 2 * r, height, colour)
        self.rect(x, y + r, width, height - 2 * r, colour)
        for cx in (x + r, x + width - r):
            for cy in (y + r, y + height - r):
                self.ellipse(cx, cy, r, r, colour)

    def ellipse(self, cx: int, cy: int, rx: int, ry: int, colour: str) -> None:
        """Fill an ellipse given by its centre and its two radii."""
        unit = 2 * SUB
        self._ellipse(unit * cx, unit * cy, unit * rx, unit * ry, colour)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        """Fill the area inside a closed outline."""
        self._fill([(2 * SUB * x, 2 * SUB * y) for x, y in points], colour)

    def line(self, points: Sequence[Point], width: int, colour: str) -> None:
        """Draw a line of an even `width` through the points, with round ends and joints."""
        for start, end in pairwise(points):
            self._stroke(start, end, width, colour)
        for x, y in points:
            self._ellipse(2 * SUB * x, 2 * SUB * y, SUB * width, SUB * width, colour)

    def png(self) -> bytes:
        """Return the picture as a PNG file (8 bits per channel, RGB, unfiltered rows)."""
        header = pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
        pixels = b"".join(b"\0" + row for row in self._pixel_rows())
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
        return PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)

    # Below, lengths are in half samples: a sample's centre is then an odd number, its edges even.

    def _ellipse(self, cx: int, cy: int, rx: int, ry: int, colour: str) -> None:
        for row in range((cy - ry) // 2, (cy + ry) // 2):
            distance = 2 * row + 1 - cy
            half = isqrt(rx * rx * (ry * ry - distance * distance)) // ry
            self._span(row, (cx - half + 1) // 2, (cx + half + 1) // 2, colour)

    def _stroke(self, start: Point, end: Point, width: int, colour: str) -> None:
        (x0, y0), (x1, y1) = start, end
        dx, dy = x1 - x0, y1 - y0
        # The normal, half a width long; the shift keeps the rounding of isqrt small.
        length = isqrt((dx * dx + dy * dy) << 16)
        nx, ny = (n * width * SUB * 256 // length for n in (-dy, dx))
        a, b = (2 * SUB * x0, 2 * SUB * y0), (2 * SUB * x1, 2 * SUB * y1)
        corners = ((a, 1), (b, 1), (b, -1), (a, -1))
        self._fill([(x + side * nx, y + side * ny) for (x, y), side in corners], colour)

    def _fill(self, outline: Sequence[Point], colour: str) -> None:
        edges = [*pairwise(outline), (outline[-1], outline[0])]
        heights = [y for _, y in outline]
        for row in range(min(heights) // 2, max(heights) // 2 + 1):
            level = 2 * row + 1
            crossings = sorted(
                x0 + (level - y0) * (x1 - x0) // (y1 - y0)
                for (x0, y0), (x1, y1) in edges
                if (y0 <= level) != (y1 <= level)
            )
            for left, right in zip(crossings[::2], crossings[1::2], strict=True):
                self._span(row, (left + 1) // 2, (right + 1) // 2, colour)

    def _span(self, row: int, left: int, right: int, colour: str) -> None:
        left, right = max(left, 0), min(right, SAMPLES)
        if 0 <= row < SAMPLES and left < right:
            self._rows[row][left:right] = bytes([self._number(colour)]) * (right - left)

    def _number(self, colour: str) -> int:
        if colour not in self._colours:
            self._colours.append(colour)
        return self._colours.index(colour)

    def _pixel_rows(self) -> Iterable[bytes]:
        palette = [tuple(bytes.fromhex(colour[1:])) for colour in self._colours]
        for top in range(0, SAMPLES, SUB):
            band = self._rows[top : top + SUB]
            yield b"".join(
                _average([palette[n] for row in band for n in row[left : left + SUB]])
                for left in range(0, SAMPLES, SUB)
            )


def _average(colours: Sequence[tuple[int, ...]]) -> bytes:
    half = len(colours) // 2
    return bytes((sum(channel) + half) // len(colours) for channel in zip(*colours, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))
