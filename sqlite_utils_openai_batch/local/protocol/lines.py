"""The lines of an input file with their numbers, read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, bytes) of each line that isn't blank; splits at b"\\n" only."""
    with path.open("rb", buffering=1 << 20) as file:
        for number, line in enumerate(file, 1):
            if stripped := line.strip():
                yield number, stripped


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the line's JSON object; None when it is something else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def batch_url(url: str) -> str:
    """Bring `/chat/completions`, as Azure writes it, to `/v1/chat/completions`."""
    return url if url.startswith("/v1/") else "/v1" + url
