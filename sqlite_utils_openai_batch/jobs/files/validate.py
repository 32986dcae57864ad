"""Any file of requests: what in it a provider would refuse, and why (no database of anybody's).

The file is read once, in blocks: its size doesn't matter.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from ...answers.jsonl import BOM, CutLine, iter_lines
from ...base.endpoints import MODEL_OPTIONAL, REQUIRED
from ...base.errors import FileError
from ...base.file_kinds import one_a_line, refuse_others
from ...base.parameters import refusals, unknown
from ...base.text import counted, cut, size
from ...requests.limits import EMBEDDINGS, cap_for

#: Every kind of problem, by the code that the service gives it where it has one.
CODES = (
    "empty_file", "file_too_large", "too_many_tasks", "byte_order_mark", "blank_line",
    "invalid_utf8", "invalid_json_line", "missing_required_parameter", "invalid_type",
    "invalid_value", "invalid_url", "invalid_request", "mismatched_model",
    "streaming_unsupported", "background_unsupported", "unsupported_parameter",
    "unsupported_value", "invalid_json_schema", "duplicate_custom_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a provider would refuse; `line` counts from 1, None for the whole file."""

    line: int | None
    code: str
    message: str


@dataclass(slots=True)
class Unknown:
    """A parameter that isn't known: where it stood first, what to say, in how many lines it is."""

    line: int
    said: str
    lines: int = 0


class Seen(Protocol):
    """What takes in the custom_ids of lines."""

    def add(self, custom_id: str, line: int) -> None:
        """Remember the custom_id of a line."""


class RequestFile:
    """A file of requests, checked as `problems` is read. Raises FileError for another file."""

    def __init__(self, path: Path, provider: str) -> None:
        self.path = path
        self.provider = provider
        self.cap = cap_for(provider)
        self.requests = 0
        self.inputs = 0
        """Embedding inputs over all lines."""
        self.endpoint: str | None = None
        self.model: str | None = None
        self.unknown: dict[str, Unknown] = {}
        """Parameters that aren't known, which is no problem where they are newer than this."""
        self.first: dict[str, int] = {}
        """In which line the endpoint and the model were named first."""
        check_readable(path)
        refuse_others(path, "requests")
        self.bytes = path.stat().st_size

    def problems(self) -> Iterator[Problem]:
        """What is wrong, line by line; last what only the whole file shows."""
        if (form := one_a_line(self.path)) is not None:
            yield Problem(1, "invalid_json_line", form)
            return
        seen = Names()
        try:
            with self.path.open("rb") as opened:
                if opened.read(len(BOM)) == BOM:
                    yield Problem(1, "byte_order_mark", "a byte order mark stands before it")
                opened.seek(0)
                after = 0
                for numbers, lines in iter_lines(opened):
                    for number, line in zip(numbers, lines, strict=True):
                        for blank in range(after + 1, number):
                            yield Problem(blank, "blank_line", "a blank line")
                        after = number
                        self.requests += 1
                        yield from self.line(number, line, seen)
                if self.requests and ends_blank(opened):
                    yield Problem(after + 1, "blank_line", "a blank line at the end")
            yield from self.whole()
            yield from seen.twice()
        finally:
            seen.close()

    def line(self, number: int, line: bytes, seen: Seen) -> Iterator[Problem]:
        """What is wrong with one line."""
        request = parsed(line)
        if isinstance(request, tuple):
            yield Problem(number, *request)
            return
        if self.requests == 1 and "body" not in request and "response" in request:
            raise FileError(
                f"'{self.path}' holds answers, not requests. "
                f"Read them with: sqlite-utils openai-batch extract {shlex.quote(str(self.path))}"
            )
        found = list(envelope_problems(request))
        elsewhere = list(self.url_problems(number, request.get("url")))
        found += elsewhere
        body = request.get("body")
        if isinstance(body, dict) and not elsewhere:
            found += self.body_problems(number, body)
        yield from (Problem(number, code, message) for code, message in found)
        custom_id = request.get("custom_id")
        if isinstance(custom_id, str) and custom_id:
            seen.add(custom_id, number)

    def url_problems(self, number: int, url: Any) -> Iterator[tuple[str, str]]:
        """What is wrong with a line's endpoint."""
        if not isinstance(url, str):
            return
        wanted = url if url.startswith("/v1/") or self.provider != "azure" else f"/v1{url}"
        if self.endpoint is None and wanted in REQUIRED:
            self.endpoint = wanted
            self.first["url"] = number
        elif wanted not in REQUIRED:
            yield "invalid_url", f"url is '{cut(url, 60)}'; batches take {', '.join(REQUIRED)}"
        elif wanted != self.endpoint:
            where = self.first["url"]
            yield "invalid_url", f"url is '{url}', in line {where:,} it is '{self.endpoint}'"

    def body_problems(self, number: int, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """What is wrong with a line's body."""
        model = body.get("model")
        if not isinstance(model, str) or not model:
            if self.endpoint not in MODEL_OPTIONAL:
                yield "invalid_request", "body.model is missing"
        elif self.model is None:
            self.model = model
            self.first["model"] = number
        elif model != self.model:
            where = f"in line {self.first['model']:,} it is '{cut(self.model, 60)}'"
            yield "mismatched_model", f"body.model is '{cut(model, 60)}', {where}"
        needed = REQUIRED.get(self.endpoint or "", ())
        if needed and all(body.get(name) is None for name in needed):
            yield "invalid_request", f"body.{needed[0]} is missing"
        for refused in refusals(self.endpoint or "", body):
            yield refused.code, f"body.{refused.message}"
        for name, said in unknown(self.endpoint or "", body):
            known = self.unknown.setdefault(name, Unknown(number, said))
            known.lines += 1
        if self.endpoint == EMBEDDINGS:
            self.inputs += inputs_in(body)

    def whole(self) -> Iterator[Problem]:
        """What is wrong with the file as a whole."""
        cap, provider = self.cap, self.provider
        if not self.requests:
            yield Problem(None, "empty_file", "there is no request in it")
        if self.bytes > cap.bytes:
            words = f"{size(self.bytes)}; {provider} takes {size(cap.bytes)}"
            yield Problem(None, "file_too_large", words)
        if self.requests > cap.requests:
            words = f"{counted(self.requests, 'request')}; {provider} takes {cap.requests:,}"
            yield Problem(None, "too_many_tasks", words)
        if self.inputs > cap.embedding_inputs:
            words = f"{self.inputs:,} embedding inputs; {provider} takes {cap.embedding_inputs:,}"
            yield Problem(None, "too_many_tasks", words)


class Names:
    """The custom_ids of a file, however many: in a private temporary database."""

    def __init__(self) -> None:
        # SQLite deletes the file (named by the empty string) when the connection closes.
        self.conn = sqlite3.connect("", isolation_level=None)
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute("CREATE TABLE names (custom_id, line)")
        self.conn.execute("BEGIN")
        self.waiting: list[tuple[str, int]] = []

    def add(self, custom_id: str, line: int) -> None:
        """Remember the custom_id of a line."""
        self.waiting.append((custom_id, line))
        if len(self.waiting) == 5_000:
            self.flush()

    def flush(self) -> None:
        """Write down what waits."""
        self.conn.executemany("INSERT INTO names VALUES (?, ?)", self.waiting)
        self.waiting.clear()

    def twice(self) -> Iterator[Problem]:
        """Lines whose custom_id an earlier line has."""
        self.flush()
        found = self.conn.execute(
            "SELECT line, custom_id, first FROM (SELECT line, custom_id, "
            "min(line) OVER (PARTITION BY custom_id) AS first FROM names) "
            "WHERE line > first ORDER BY line"
        )
        for line, custom_id, first in found:
            message = f"custom_id '{cut(custom_id, 60)}' is that of line {first:,} too"
            yield Problem(line, "duplicate_custom_id", message)

    def close(self) -> None:
        """Forget them."""
        self.conn.close()


def parsed(line: bytes) -> dict[str, Any] | tuple[str, str]:
    """The JSON object of a line, or what is wrong with it: (code, message)."""
    if isinstance(line, CutLine):
        return "invalid_json_line", f"a line of {size(line.size)}"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return "invalid_utf8", f"no UTF-8 at byte {wrong.start + 1:,}"
        return "invalid_json_line", f"no JSON: {error.msg} at character {error.pos + 1:,}"
    if not isinstance(value, dict):
        return "invalid_json_line", "no JSON object"
    return value


def envelope_problems(request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the fields that every request has."""
    for name, kind, article in (
        ("custom_id", str, "a string"),
        ("method", str, "a string"),
        ("url", str, "a string"),
        ("body", dict, "an object"),
    ):
        value = request.get(name)
        if value is None or value == "":
            yield "missing_required_parameter", f"{name} is missing"
        elif not isinstance(value, kind):
            yield "invalid_type", f"{name} is not {article}"
        elif name == "method" and value != "POST":
            yield "invalid_value", f"method is '{cut(str(value), 20)}', not 'POST'"


def inputs_in(body: dict[str, Any]) -> int:
    """How many inputs an embeddings request has: texts, or lists of tokens."""
    given = body.get("input")
    is_list = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return len(given) if is_list and isinstance(given, Sequence) else 1


def ends_blank(opened: BinaryIO) -> bool:
    """Whether a file ends with a blank line."""
    opened.seek(-min(opened.seek(0, os.SEEK_END), 64), os.SEEK_END)
    return opened.read().replace(b"\r", b"").endswith(b"\n\n")


def check_readable(path: Path) -> None:
    """Raise FileError for what is not a file that can be read."""
    try:
        if path.is_dir():
            raise FileError(f"'{path}' is a folder. Name a file in it.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise FileError(f"No such file: '{path}'.") from error
    except OSError as error:
        raise FileError(f"'{path}' can't be read: {error.strerror}.") from error


def check_kind(path: Path, what: str) -> None:
    """Raise FileError for what can't be read, or can't be requests or answers (`what`)."""
    check_readable(path)
    refuse_others(path, what)
    if (form := one_a_line(path)) is not None:
        raise FileError(f"'{path}' is {form}")
