"""Any output or error files → rows: what each line answers, in no need of a job.

Lines are read as a job's are (`outcome`). With the file of requests beside them, each row has its
prompt, rows come in the order of the requests, and those without an answer are `missing`.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from ...answers.jsonl import iter_lines
from ...answers.reader import Reader
from ...answers.schema import AnswerSchema
from ...answers.wire import BUILDING
from ...base.errors import FileError, UsageError
from ...base.outcome import Outcome
from ...base.text import counted, listed, meant
from .validate import check_kind

CHAT = "/v1/chat/completions"
#: Endpoints by what their bodies call themselves (`object`).
OBJECTS = {
    "chat.completion": CHAT,
    "text_completion": "/v1/completions",
    "response": "/v1/responses",
}
AFTER = ("finish_reason", "model", "prompt_tokens", "cached_tokens", "completion_tokens",
         "reasoning_tokens")  # fmt: skip

Row = tuple[Any, ...]


class _Body(msgspec.Struct, gc=False):
    object: Any = None
    data: Any = None
    results: Any = None


class _Reply(msgspec.Struct, gc=False):
    status_code: Any = None
    body: _Body | None = None


class _Line(msgspec.Struct, gc=False):
    response: _Reply | None = None
    error: Any = None
    body: Any = None
    url: Any = None


with BUILDING:
    _look = msgspec.json.Decoder(_Line).decode


class Extractor:
    """The rows of files of answers. `headers` names the columns; `counts` is filled by `rows`."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        schema: AnswerSchema | None = None,
        endpoint: str | None = None,
        requests: Path | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        self.paths = paths
        self.schema = schema
        self.endpoints = {path: endpoint or endpoint_of(path) for path in paths}
        self.with_prompts = requests is not None
        self.chosen = self.choose(columns)
        self.asked = Asked(requests) if requests else None
        self.counts: Counter[str] = Counter()
        self.extra = 0
        """Lines that answer no request of the file of requests, or one that has its answer."""

    @property
    def headers(self) -> list[str]:
        """The names of the columns that are wanted."""
        return [self.every[n] for n in self.chosen]

    def choose(self, columns: Sequence[str]) -> list[int]:
        """Places of the columns wanted, in that order. Raises UsageError for one that isn't."""
        every = self.every
        for name in columns:
            if name not in every:
                raise UsageError(
                    f"No column '{name}'. {meant(name, every)}Columns: {listed(every)}"
                )
        return [every.index(name) for name in columns] or list(range(len(every)))

    @property
    def every(self) -> list[str]:
        """The names of all columns."""
        answers = [column.name for column in self.schema.columns] if self.schema else ["answer"]
        prompt = ["prompt"] if self.with_prompts else []
        return ["custom_id", *prompt, *answers, "status", "error", *AFTER]

    def close(self) -> None:
        """Drop what was read of the requests."""
        if self.asked is not None:
            self.asked.close()

    def rows(self) -> Iterator[Row]:
        """A row for each line; with requests a row for each of these, in their order."""
        for row in self.whole_rows():
            yield tuple(row[n] for n in self.chosen)

    def whole_rows(self) -> Iterator[Row]:
        """The rows with all columns."""
        if self.asked is None:
            for outcome in self.outcomes():
                self.counts[outcome.status] += 1
                yield self.row(outcome, ())
            return
        for outcome in self.outcomes():
            self.extra += not self.asked.answer(outcome)
        for custom_id, prompt, outcome in self.asked.all():
            self.counts[outcome.status] += 1
            outcome.custom_id = custom_id
            yield self.row(outcome, (prompt,))

    def outcomes(self) -> Iterator[Outcome]:
        """What the lines of all files say."""
        for path in self.paths:
            reader = Reader(self.endpoints[path], self.schema)
            with path.open("rb") as opened:
                for _, lines in iter_lines(opened):
                    outcomes = reader.read(lines)
                    reader.check(outcomes)
                    yield from outcomes

    def row(self, outcome: Outcome, prompt: Row) -> Row:
        """One row of the table."""
        found = outcome.values if self.schema else (shown(outcome.answer),)
        if outcome.status != "ok":
            found = None
        width = len(self.schema.columns) if self.schema else 1
        answers = found if found is not None else (None,) * width
        failed = outcome.status != "ok"
        error = (outcome.error_message or outcome.error_code) if failed else None
        rest = [getattr(outcome, name) for name in AFTER]
        return (outcome.custom_id, *prompt, *answers, outcome.status, error, *rest)


class Asked:
    """The requests of a file, in a private temporary database: their order, prompts, outcomes."""

    def __init__(self, path: Path) -> None:
        check_kind(path, "requests")
        # SQLite deletes the file (named by the empty string) when the connection closes.
        self.conn = sqlite3.connect("", isolation_level=None)
        self.conn.execute("PRAGMA journal_mode = OFF")
        self.conn.execute(
            "CREATE TABLE asked (n INTEGER PRIMARY KEY, custom_id TEXT, prompt TEXT, "
            "ok INTEGER, packed BLOB)"
        )
        self.conn.execute("BEGIN")
        with path.open("rb") as opened:
            for _, lines in iter_lines(opened):
                self.conn.executemany(
                    "INSERT INTO asked (custom_id, prompt) VALUES (?, ?)", map(question, lines)
                )
        try:
            self.conn.execute("CREATE UNIQUE INDEX name ON asked (custom_id)")
        except sqlite3.IntegrityError as error:
            self.close()
            raise FileError(
                f"'{path}' has a custom_id twice: which of them an answer is for can't be said. "
                f"Look at it with: sqlite-utils openai-batch validate {shlex.quote(str(path))}"
            ) from error
        self.pack = msgspec.msgpack.Encoder().encode
        with BUILDING:
            self.unpack = msgspec.msgpack.Decoder(Outcome).decode

    def close(self) -> None:
        """Forget them."""
        self.conn.close()

    def answer(self, outcome: Outcome) -> bool:
        """Keep what came for a request; False where nobody asked it, or it has its answer."""
        packed, ok = self.pack(outcome), outcome.status == "ok"
        cursor = self.conn.execute(
            "UPDATE asked SET packed = ?, ok = ? WHERE custom_id = ? "
            "AND (packed IS NULL OR (? AND NOT ok))",
            [packed, ok, outcome.custom_id, ok],
        )
        return cursor.rowcount == 1

    def all(self) -> Iterator[tuple[str | None, str | None, Outcome]]:
        """The requests in their order: custom_id, prompt, and what became of each."""
        for custom_id, prompt, packed in self.conn.execute(
            "SELECT custom_id, prompt, packed FROM asked ORDER BY n"
        ):
            missing = Outcome(custom_id, "missing", error_message="no line came for it")
            yield custom_id, prompt, self.unpack(packed) if packed else missing


def question(line: bytes) -> tuple[str | None, str | None]:
    """The custom_id of a request, and the last text that its user says."""
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(request, dict):
        return None, None
    body, custom_id = request.get("body"), request.get("custom_id")
    name = custom_id if isinstance(custom_id, str) else None
    return name, last_text(body) if isinstance(body, dict) else None


def last_text(body: dict[str, Any]) -> str | None:
    """The last thing that a request's user says; of a list the texts in it."""
    said = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(said, list) and said and isinstance(said[-1], dict):
        said = said[-1].get("content")
    if isinstance(said, list):
        parts = [one.get("text") if isinstance(one, dict) else one for one in said]
        said = "\n".join(part for part in parts if isinstance(part, str))
    return said if isinstance(said, str) else None


def endpoint_of(path: Path) -> str:
    """The endpoint that a file's first answer is from. Raises FileError for no such file."""
    check_kind(path, "answers")
    lines_seen = objects = 0
    with path.open("rb") as opened:
        for _, lines in iter_lines(opened):
            for line in lines:
                lines_seen += 1
                try:
                    found = _look(line)
                except (msgspec.MsgspecError, ValueError, RecursionError):
                    objects += line.lstrip().startswith(b"{")
                    continue
                objects += 1
                if found.response is None and found.body is not None and found.url is not None:
                    raise FileError(
                        f"'{path}' holds requests, not answers. "
                        "Look at it with: sqlite-utils openai-batch validate "
                        f"{shlex.quote(str(path))}"
                    )
                if found.response is not None and found.response.status_code == 200:
                    return endpoint_of_body(found.response.body)
    if not lines_seen:
        raise FileError(f"'{path}' is empty: there is no answer in it.")
    if not objects:
        raise FileError(
            f"'{path}' is not an output file of a batch: none of its "
            f"{counted(lines_seen, 'line')} is a JSON object."
        )
    return CHAT


def endpoint_of_body(body: _Body | None) -> str:
    """The endpoint that a body is from, by what is in it."""
    if body is None:
        return CHAT
    if body.object in OBJECTS:
        return OBJECTS[body.object]
    if isinstance(body.data, list):
        is_vector = body.data and isinstance(body.data[0], dict) and "embedding" in body.data[0]
        return "/v1/embeddings" if is_vector else "/v1/images/generations"
    return "/v1/moderations" if body.results is not None else CHAT


def shown(answer: str | bytes | None) -> str | None:
    """An answer as text: of an embedding its numbers as a JSON list."""
    if isinstance(answer, bytes):
        return json.dumps(list(array("f", answer)))
    return answer
