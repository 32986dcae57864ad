"""JSON strings that are one line for every reader, also for one that uses `splitlines()` (pure)."""

from __future__ import annotations

import orjson

from .values import json_bytes


def json_string(text: str) -> bytes:
    """Return a JSON string. U+0085, U+2028 and U+2029 are escaped: for some they end a line."""
    try:
        made = orjson.dumps(text)
    except orjson.JSONEncodeError:
        made = json_bytes(text)
    return one_line(made) if breaks(text) else made


def json_strings(texts: list[str]) -> list[bytes]:
    """Return JSON strings, each as `json_string` makes it."""
    try:
        made = list(map(orjson.dumps, texts))
    except orjson.JSONEncodeError:
        return list(map(json_string, texts))
    for index, text in enumerate(texts):
        if breaks(text):
            made[index] = one_line(made[index])
    return made


def json_value(text: str) -> bytes:
    """Return text that is JSON already, as one line for every reader."""
    made = text.encode()
    return one_line(made) if breaks(text) else made


def breaks(text: str) -> bool:
    """Whether a text holds what ends a line for `splitlines()` and for nobody else."""
    # looking through str takes a tenth of the time of looking through its bytes
    return not text.isascii() and ("\u2028" in text or "\u2029" in text or "\x85" in text)


def one_line(made: bytes) -> bytes:
    """Escape what ends a line for `splitlines()`; these bytes stand only inside strings."""
    return (
        made.replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
        .replace(b"\xc2\x85", b"\\u0085")
    )
