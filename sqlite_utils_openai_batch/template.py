"""A request body with placeholders, bound to columns: rows in, request lines out.

Placeholders are rendered inside each JSON string value, once, so data does no harm whatever it
holds. What doesn't change from row to row is JSON already when the first row comes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .compiled import Slot, Text
from .errors import TemplateError
from .hashing import source_hash
from .images import Images
from .keys import SQLiteValue
from .nearest import listed
from .parameters import EMBEDDINGS
from .slots import read_slot
from .values import json_bytes, without_surrogates

__all__ = ["Renderer", "Template", "source_hash"]

#: Parts of a body whose placeholders ask nothing.
_ASIDE = frozenset({"model", "metadata", "user", "safety_identifier", "prompt_cache_key"})
_SYSTEM_ROLES = frozenset({"system", "developer"})

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Template:
    """A whole request body with placeholders, for one endpoint."""

    body: dict[str, Any]
    endpoint: str

    @property
    def hash(self) -> bytes:
        """16 bytes: the first half of SHA-256 over the canonical JSON of [endpoint, body]."""
        canonical = orjson.dumps(
            [self.endpoint, without_surrogates(self.body)], option=orjson.OPT_SORT_KEYS
        )
        return hashlib.sha256(canonical).digest()[:16]

    def to_json(self) -> str:
        """Return the body as JSON text, for the job's record."""
        return json_bytes(self.body).decode()

    @classmethod
    def from_json(cls, text: str, endpoint: str) -> Template:
        """Read what `to_json` wrote. Raises TemplateError if it is no JSON object."""
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise TemplateError(f"The template is no JSON: {error}.") from error
        if not isinstance(body, dict):
            raise TemplateError("The template must be an object: the body of a request.")
        return cls(body, endpoint)

    def bind(
        self,
        columns: Sequence[str],
        source: str | None = None,
        *,
        hidden: Collection[str] = (),
        images: Images | None = None,
    ) -> Renderer:
        """Check the placeholders against the columns of a source, and compile them.

        `source` is its name, for messages. Columns in `hidden` (lower case) are no part of `row`
        as a whole: the job itself writes them. `images` makes URLs of images. Raises
        TemplateError for a name that is no column, a syntax error, what the sandbox forbids, and
        a prompt with no placeholder.
        """
        slots: dict[Path, Slot] = {}
        for path, text in _strings(self.body):
            place = _place(path, self.body)
            slot = read_slot(without_surrogates(text), place, columns, source, hidden)
            if slot is not None:
                slots[path] = slot
        return Renderer(self, slots, columns, images or Images())


class Renderer:
    """A template bound to columns; built by `Template.bind`."""

    columns: tuple[str, ...]
    """Source columns that the template reads, in the order of the source."""
    prompt_columns: tuple[str, ...]
    """Those that are blank together when a row has nothing to ask."""

    def __init__(
        self, template: Template, slots: dict[Path, Slot], source: Sequence[str], images: Images
    ) -> None:
        reads = {column for slot in slots.values() for column in slot.reads}
        shows = _asking(template.body, slots)
        if not shows:
            raise TemplateError(
                "The prompt has no placeholder, so each row would be asked the same. "
                f"Name a column in it, like {_placeholder(source[0])}. Columns: {listed(source)}."
            )
        self.columns = tuple(column for column in source if column in reads)
        self.prompt_columns = tuple(column for column in source if column in shows)
        self._blank = [self.columns.index(column) for column in self.prompt_columns]
        *starts, self._end = _segments(template, slots)
        self._makers = [
            (
                before,
                _image(slot, self.columns, images) if _is_image(path) else slot.text(self.columns),
                _json_value if slot.native else _json_string,
            )
            for before, (path, slot) in zip(starts, slots.items(), strict=True)
        ]
        self._inputs = _fixed_inputs(template, slots)

    def line(self, custom_id: str, row: Sequence[SQLiteValue]) -> bytes:
        r"""Return one JSONL line with its newline, in UTF-8.

        `row` holds the values of `columns`, in that order. Raises UnrenderableRow. U+0085,
        U+2028 and U+2029 are escaped: they end a line for readers that use ``splitlines()``.
        """
        parts = [b'{"custom_id":', _json_string(custom_id)]
        for before, text, as_json in self._makers:
            parts += before, as_json(text(row))
        parts.append(self._end)
        return b"".join(parts)

    def inputs(self, line: bytes) -> int:
        """Return how many inputs a rendered line has: texts to embed; 1 at other endpoints."""
        return self._inputs or count_inputs(orjson.loads(line)["body"].get("input"))

    def body(self, row: Sequence[SQLiteValue]) -> dict[str, Any]:
        """Return the rendered body as data, for previews. Raises UnrenderableRow."""
        body: dict[str, Any] = orjson.loads(self.line("", row))["body"]
        return body

    def is_blank(self, row: Sequence[SQLiteValue]) -> bool:
        """Whether the prompt's placeholders are all NULL, empty or only spaces."""
        for index in self._blank:
            value = row[index]
            if value is None:
                continue
            if not isinstance(value, (str, bytes)) or value.strip():
                return False
        return True


def _image(slot: Slot, columns: Sequence[str], images: Images) -> Text:
    """Return the function that makes the URL of an image, also of a BLOB."""
    column = slot.column
    if column is not None:
        index = columns.index(column)
        return lambda row: images.url(row[index], column)
    text = slot.text(columns)
    return lambda row: images.url(text(row), slot.place)


def _is_image(path: Path) -> bool:
    """Whether a string of a body is an image's URL, in chat completions or in responses."""
    return path[-2:] == ("image_url", "url") or path[-1] == "image_url"


def _fixed_inputs(template: Template, slots: dict[Path, Slot]) -> int | None:
    """How many inputs each line has, None where that differs from row to row."""
    if template.endpoint != EMBEDDINGS:
        return 1
    native = any(slot.native for path, slot in slots.items() if path[0] == "input")
    return None if native else count_inputs(template.body.get("input"))


def count_inputs(given: Any) -> int:
    """Count the inputs of an embeddings request: a text or a list of tokens is one."""
    if isinstance(given, list) and not all(isinstance(one, int) for one in given):
        return len(given)
    return 1


def _json_string(text: str) -> bytes:
    """Return a JSON string that is one line for every reader."""
    try:
        made = orjson.dumps(text)
    except orjson.JSONEncodeError:
        made = json_bytes(text)
    return _one_line(made) if _breaks(text) else made


def _json_value(text: str) -> bytes:
    """Return text that is JSON already, as one line for every reader."""
    made = text.encode()
    return _one_line(made) if _breaks(text) else made


def _breaks(text: str) -> bool:
    # looking through str takes a tenth of the time of looking through its bytes
    return not text.isascii() and ("\u2028" in text or "\u2029" in text or "\x85" in text)


def _one_line(made: bytes) -> bytes:
    """Escape what ends a line for `splitlines()`; these bytes stand only inside strings."""
    return (
        made.replace(b"\xe2\x80\xa8", b"\\u2028")
        .replace(b"\xe2\x80\xa9", b"\\u2029")
        .replace(b"\xc2\x85", b"\\u0085")
    )


def _placeholder(column: str) -> str:
    return f"{{{{ {column} }}}}" if column.isidentifier() else f'{{{{ row["{column}"] }}}}'


def _segments(template: Template, slots: dict[Path, Slot]) -> list[bytes]:
    """Return what stands between the custom_id, the slots in order, and the end of the line."""
    # a NUL byte is never in JSON, so it marks the places
    mark = orjson.Fragment(b"\x00")
    body = without_surrogates(copy.deepcopy(template.body))
    for path in slots:
        inner: Any = body
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = mark
    try:
        line = orjson.dumps({"method": "POST", "url": template.endpoint, "body": body})
    except orjson.JSONEncodeError as error:
        raise TemplateError(f"The body can't be JSON: {error}.") from error
    return _one_line(b"," + line[1:] + b"\n").split(b"\x00")


def _strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield each string value of a body with its path, in order; keys aren't rendered."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _strings(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _strings(one, (*path, index))


def _asking(body: dict[str, Any], slots: dict[Path, Slot]) -> frozenset[str]:
    """Return the columns that say what is asked of a row: a row where they are blank is blank.

    They are those of the prompt; where it has none, those of the system text.
    """
    texts = {path: slot for path, slot in slots.items() if path[0] not in _ASIDE}
    prompts = [slot for path, slot in texts.items() if not _is_system(path, body)]
    for some in (prompts, texts.values()):
        shows = frozenset[str]().union(*(slot.shows for slot in some))
        if shows := shows or frozenset[str]().union(*(slot.reads for slot in some)):
            return shows
    return frozenset()


def _is_system(path: Path, body: dict[str, Any]) -> bool:
    return path == ("instructions",) or _role(path, body) in _SYSTEM_ROLES


def _role(path: Path, body: dict[str, Any]) -> Any:
    """Return the role of the message that a string stands in, None outside messages."""
    if path[0] in ("messages", "input") and len(path) > 2:
        message = body[str(path[0])][path[1]]
        return message.get("role") if isinstance(message, dict) else None
    return None


def _place(path: Path, body: dict[str, Any]) -> str:
    """Name a string for a person: the prompt, the system text, or its path."""
    role = _role(path, body)
    if _is_system(path, body) and len(path) in (1, 3):
        return "The system text"
    if path in (("input",), ("prompt",)) or (role == "user" and len(path) == 3):
        return "The prompt"
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return steps[1:]
