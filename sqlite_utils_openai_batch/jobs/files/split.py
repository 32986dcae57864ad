"""Cut any JSONL file of requests into files that a provider takes; lines stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from ...answers.jsonl import CutLine, iter_lines
from ...base.errors import FileError, UsageError
from ...base.text import size
from ...pricing.tokens import count_requests, counter_for
from ...requests.limits import Limits, Planner, limits_for
from .validate import check_kind, inputs_in

# Requests whose tokens are counted together.
AT_ONCE = 256


@dataclass(frozen=True)
class Wish:
    """How a file is to be cut: by the limits of a provider, lowered, or into so many parts."""

    provider: str = "openai"
    requests: int | None = None
    bytes: int | None = None
    tokens: int | None = None
    parts: int | None = None


@dataclass
class Piece:
    """One file that was cut off, and what is in it."""

    path: Path
    requests: int = 0
    bytes: int = 0
    tokens: int | None = None


def split(path: Path, folder: Path, wish: Wish) -> list[Piece]:
    """Cut a file into `NAME-1.jsonl`, `NAME-2.jsonl` … in a folder. Returns what was written.

    The order stays, and so do the lines, byte for byte. Raises FileError, with nothing written,
    where the file can't be read, a line fits no part, or files of these names are there.
    """
    check_kind(path, "requests")
    first = first_line(path)
    limits = limits_of(path, first, wish)
    refuse_others(path, folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    pieces: list[Piece] = []
    try:
        for piece in cut_off(path, folder, limits, first):
            pieces.append(piece)
    except BaseException:
        for left in folder.glob(f"{name_of(path)}-*.unfinished"):
            left.unlink()
        if made:
            folder.rmdir()
        raise
    for piece in pieces:
        unfinished(piece.path).replace(piece.path)
    return pieces


def limits_of(path: Path, first: dict[str, Any], wish: Wish) -> list[Limits]:
    """What each part may hold, the last of them every further one. Raises UsageError."""
    endpoint = str(first.get("url") or "")
    endpoint = endpoint if endpoint.startswith("/v1/") else f"/v1{endpoint}"
    limits = limits_for(
        wish.provider, endpoint, requests=wish.requests, bytes=wish.bytes, tokens=wish.tokens
    )
    if wish.parts is None:
        return [limits]
    if wish.requests is not None:
        raise UsageError("--parts or --part-requests: give one of them.")
    share, more = divmod(count_lines(path), wish.parts)
    shares = [share + 1] * more + [share] * (1 if share else 0)
    return [replace(limits, requests=min(one, limits.requests)) for one in shares]


def cut_off(
    path: Path, folder: Path, each: Sequence[Limits], first: dict[str, Any]
) -> Iterator[Piece]:
    """Write the parts, one after the other, under the names that they have until all are whole."""
    limits = each[0]
    planner = Planner(limits)
    piece: Piece | None = None
    with path.open("rb") as source, ExitStack() as opened:
        target: BinaryIO | None = None
        number = 0
        for numbers, lines in iter_lines(source):
            figures = measured(lines, limits, first)
            for at, line, (inputs, tokens) in zip(numbers, lines, figures, strict=True):
                length = len(line) + 1
                if isinstance(line, CutLine) or planner.too_large(length, inputs):
                    whole = line.size if isinstance(line, CutLine) else length
                    raise FileError(
                        f"Line {at:,} of '{path}' fits no part: {size(whole)}, {inputs:,} inputs. "
                        "Leave it out, or raise the limit."
                    )
                if planner.add(length, inputs, tokens):
                    if piece is not None:
                        yield piece
                    opened.close()
                    planner.limits = each[min(number, len(each) - 1)]
                    number += 1
                    piece = Piece(folder / f"{name_of(path)}-{number}.jsonl")
                    target = opened.enter_context(unfinished(piece.path).open("wb"))
                assert piece is not None
                assert target is not None
                target.write(line + b"\n")
                piece.requests += 1
                piece.bytes += length
                if limits.tokens is not None:
                    piece.tokens = (piece.tokens or 0) + tokens
    if piece is not None:
        yield piece


def measured(lines: list[bytes], limits: Limits, first: dict[str, Any]) -> list[tuple[int, int]]:
    """Embedding inputs and estimated input tokens of lines, as far as a limit asks for them."""
    if limits.tokens is None and limits.embedding_inputs is None:
        return [(1, 0)] * len(lines)
    bodies = [body_of(line) for line in lines]
    inputs = [1 if limits.embedding_inputs is None else inputs_in(body) for body in bodies]
    tokens = [0] * len(lines) if limits.tokens is None else tokens_of(bodies, first)
    return list(zip(inputs, tokens, strict=True))


def tokens_of(bodies: list[dict[str, Any]], first: dict[str, Any]) -> list[int]:
    """Estimated input tokens of request bodies; those of images that aren't known count as none."""
    endpoint = str(first.get("url") or "")
    counter = counter_for(str(body_in(first).get("model") or ""))
    counts: list[int] = []
    for start in range(0, len(bodies), AT_ONCE):
        some = count_requests(counter, bodies[start : start + AT_ONCE], endpoint)
        counts += [one.tokens or 0 for one in some]
    return counts


def body_of(line: bytes) -> dict[str, Any]:
    """The body of a request line; empty where there is none to be read."""
    try:
        return body_in(orjson.loads(line))
    except orjson.JSONDecodeError:
        return {}


def body_in(request: Any) -> dict[str, Any]:
    """The body of a request, if it has one."""
    body = request.get("body") if isinstance(request, dict) else None
    return body if isinstance(body, dict) else {}


def first_line(path: Path) -> dict[str, Any]:
    """The first line of a file as JSON. Raises FileError where it isn't a JSON object."""
    with path.open("rb") as opened:
        for _, lines in iter_lines(opened, block=4096):
            if lines:
                try:
                    value = orjson.loads(lines[0])
                except orjson.JSONDecodeError:
                    value = None
                if isinstance(value, dict):
                    return value
                raise FileError(f"'{path}' is not JSONL: its first line is not a JSON object.")
    raise FileError(f"'{path}' is empty: there is nothing to cut.")


def count_lines(path: Path) -> int:
    """How many lines of a file aren't blank."""
    with path.open("rb") as opened:
        return sum(len(lines) for _, lines in iter_lines(opened))


def refuse_others(path: Path, folder: Path) -> None:
    """Raise FileError where the folder has files that would be taken for parts of this one."""
    if folder.exists() and not folder.is_dir():
        raise FileError(f"'{folder}' is not a folder.")
    mine = re.compile(re.escape(name_of(path)) + r"-\d+\.jsonl")
    for there in sorted(folder.glob("*.jsonl")) if folder.exists() else ():
        if mine.fullmatch(there.name):
            raise FileError(f"'{there}' is there already. Name another folder.")


def name_of(path: Path) -> str:
    """What the names of a file's parts begin with."""
    return path.name.removesuffix(".jsonl")


def unfinished(path: Path) -> Path:
    """The name of a part until all parts are whole."""
    return path.with_suffix(".unfinished")
