"""A few bytes that stand for billions of pixels cost their row, not memory, nor the screen."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sqlite_utils_openai_batch.base.errors import UnrenderableRow
from sqlite_utils_openai_batch.requests.images import Images


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int) -> bytes:
    """A white PNG of one bit a pixel."""
    rows = zlib.compress((b"\0" + b"\xff" * (-(-width // 8))) * height)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def saved(kind: str, size: tuple[int, int], mode: str = "L", **options: Any) -> bytes:
    out = BytesIO()
    Image.new(mode, size, 1).save(out, kind, **options)
    return out.getvalue()


BMP = saved("BMP", (8, 8))
BOMBS = {
    "PNG": lambda: png(13_300, 13_300),
    "TIFF": lambda: saved("TIFF", (9_000, 9_000), "1", compression="group4"),
    "GIF": lambda: saved("GIF", (65_000, 1_000), "P"),
    "BMP": lambda: BMP[:18] + struct.pack("<ii", 30_000, 30_000) + BMP[26:],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_costs_its_row(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnrenderableRow) as raised:
            Images().data_url(BOMBS[kind](), "notes.image")
    assert "too large to be made smaller here (64 million pixels at most)" in str(raised.value)
    assert "--image-size 0" in str(raised.value)


def test_as_they_are_nothing_is_decoded() -> None:
    assert Images(size=0).data_url(png(13_300, 13_300), "x").startswith("data:image/png;base64,")


def test_a_large_photo_is_read_at_less_than_its_size() -> None:
    photo = saved("JPEG", (12_000, 9_000), "L")
    assert Images().data_url(photo, "x").startswith("data:image/jpeg;base64,")


def test_what_pillow_warns_of_stays_off_the_screen() -> None:
    # Transparency of a palette as bytes, of which Pillow warns when it converts.
    out = BytesIO()
    Image.new("P", (3_000, 10)).save(out, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Images().data_url(out.getvalue(), "x").startswith("data:image/png")


def test_the_other_rows_go_on_and_memory_stays_small(run: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as conn, conn:
        conn.execute("CREATE TABLE pictures (id INTEGER PRIMARY KEY, image BLOB)")
        rows = [(png(13_300, 13_300),), (png(40, 30),), (png(20_000, 20_000),)]
        conn.executemany("INSERT INTO pictures (image) VALUES (?)", rows)
    script = (
        "import sys; from sqlite_utils.cli import cli\n"
        "try: cli(sys.argv[1:])\n"
        "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], "
        "file=sys.stderr)"
    )
    command = ("openai-batch", "preview", "a.db", "pictures", "--prompt", "See", "-a", "image")
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "Request 1 of 1" in done.stdout
    assert "DecompressionBomb" not in done.stderr
    assert int(done.stderr.split()[-1]) < 250_000
