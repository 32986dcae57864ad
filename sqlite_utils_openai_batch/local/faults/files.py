"""Faults of files: how the lines of an output or error file look in the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from ..protocol.lines import numbered_lines, parse_line

LINE_FAULTS = (
    "missing-lines", "duplicate-lines", "foreign-lines", "nameless-lines", "garbage-lines",
    "no-final-newline", "crlf", "blank-lines", "bom", "body-as-string", "no-error-key",
    "error-type",
)  # fmt: skip
GARBAGE = (
    b'{"id":"batch_req_","custom_id":"cut',
    b"<html><body>502 Bad Gateway</body></html>",
    b"[]",
)
BOM = b"\xef\xbb\xbf"


def concerns(faults: Mapping[str, Any]) -> bool:
    """Tell whether any fault changes files."""
    return any(name in faults for name in LINE_FAULTS)


def mangle(source: Path, target: Path, faults: Mapping[str, Any], *, is_output: bool) -> None:
    """Write a work file as these faults leave it; lines come and go in the output file only."""
    end = b"\r\n" if "crlf" in faults else b"\n"
    end = end * 2 if "blank-lines" in faults else end
    lines = _lines(source, faults) if is_output else _plain(source)
    with target.open("wb") as file:
        file.write(BOM if "bom" in faults else b"")
        between = b""
        for line in lines:
            file.write(between + _dressed(line, faults))
            between = end
        if between and "no-final-newline" not in faults:
            file.write(end)


def _plain(source: Path) -> Iterator[bytes]:
    for _, data in numbered_lines(source):
        yield data


def _lines(source: Path, faults: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the lines that remain, and those that nobody asked for."""
    kinds = ("missing", "duplicate", "nameless", "foreign", "garbage")
    missing, twice, nameless, foreign, garbage = (faults.get(f"{k}-lines", 0) for k in kinds)
    strangers: list[bytes] = []
    for index, data in enumerate(_plain(source)):
        if index < foreign:
            strangers.append(_renamed(data, f"nobody-sent-this-{index + 1}"))
        if index < missing:
            continue
        position = index - missing
        if position < twice:
            yield data
        yield _renamed(data, None) if twice <= position < twice + nameless else data
    yield from strangers
    yield from (GARBAGE[index % len(GARBAGE)] for index in range(garbage))


def _renamed(data: bytes, custom_id: str | None) -> bytes:
    return orjson.dumps({**orjson.loads(data), "custom_id": custom_id})


def _dressed(data: bytes, faults: Mapping[str, Any]) -> bytes:
    dressing = ("body-as-string", "no-error-key", "error-type")
    if not any(name in faults for name in dressing) or (line := parse_line(data)) is None:
        return data
    reply, error = line.get("response"), line.get("error")
    if "body-as-string" in faults and reply:
        reply["body"] = orjson.dumps(reply["body"]).decode()
    if "no-error-key" in faults and not error:
        line.pop("error", None)
    if "error-type" in faults and error:
        error["type"] = error.pop("code")
    return orjson.dumps(line)
