"""A request body with placeholders, bound to columns: rows in, request lines out.

Placeholders are rendered inside each JSON string value, once, so data does no harm whatever it
holds. What doesn't change from row to row is JSON already when the first row comes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..base.errors import TemplateError, UnrenderableRow
from ..base.json import kept_json, without_surrogates
from ..base.parameters import EMBEDDINGS
from ..base.text import listed
from ..tables.columns import fold
from ..tables.output import Output
from ..tables.sql import SQLiteValue, is_blank
from .attachments import Attachments, attached, is_content
from .images import SIZE, Images
from .lines import Columns, Lines, Marked, StoredSlot, all_filled, decoded, is_number, stored_slot
from .placeholders import Slot, Text, Texts, one_by_one, read_slot
from .values import json_bytes, json_string, json_strings, json_value, one_line
from .verbatim import GivenLines, as_line, given_lines, span_of

if TYPE_CHECKING:
    from ..store import Job
    from ..tables.source import Source


# The strings of a request body: where each stands, and what it is there for (pure).

JSONPath = tuple[str | int, ...]

#: Parts of a body whose placeholders ask nothing.
_ASIDE = frozenset({"model", "metadata", "user", "safety_identifier", "prompt_cache_key"})
_SYSTEM_ROLES = frozenset({"system", "developer"})


def strings_of(value: Any, path: JSONPath = ()) -> Iterator[tuple[JSONPath, str]]:
    """Yield each string value of a body with its path, in order; keys aren't rendered."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from strings_of(one, (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from strings_of(one, (*path, index))


def is_image(path: JSONPath) -> bool:
    """Whether a string of a body is an image's URL, in chat completions or in responses."""
    return path[-2:] == ("image_url", "url") or path[-1] == "image_url"


def asking_columns(body: dict[str, Any], slots: dict[JSONPath, Slot]) -> frozenset[str]:
    """Return the columns that say what is asked of a row: a row where they are blank is blank.

    They are those of the prompt; where it has none, those of the system text.
    """
    texts = {path: slot for path, slot in slots.items() if path[0] not in _ASIDE}
    prompts = [slot for path, slot in texts.items() if not is_system(path, body)]
    for some in (prompts, texts.values()):
        shows = frozenset[str]().union(*(slot.shows for slot in some))
        if shows := shows or frozenset[str]().union(*(slot.reads for slot in some)):
            return shows
    return frozenset()


def is_system(path: JSONPath, body: dict[str, Any]) -> bool:
    """Whether a string tells the model how to behave, and asks nothing itself."""
    return path == ("instructions",) or _role(path, body) in _SYSTEM_ROLES


def _role(path: JSONPath, body: dict[str, Any]) -> Any:
    """Return the role of the message that a string stands in, None outside messages."""
    if path[0] in ("messages", "input") and len(path) > 2:
        message = body[str(path[0])][path[1]]
        return message.get("role") if isinstance(message, dict) else None
    return None


def place_of(path: JSONPath, body: dict[str, Any]) -> str:
    """Name a string for a person: the prompt, the system text, or its path."""
    role = _role(path, body)
    if is_system(path, body) and len(path) in (1, 3):
        return "The system text"
    if path in (("input",), ("prompt",)) or (role == "user" and len(path) == 3):
        return "The prompt"
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return steps[1:]


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
        """Read what `to_json` wrote. Raises TemplateError if it is not a JSON object."""
        try:
            body = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise TemplateError(f"The template is not JSON: {error}.") from error
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
        TemplateError for a name that is not a column, a syntax error, what the sandbox forbids, and
        a prompt with no placeholder.
        """
        slots: dict[JSONPath, Slot] = {}
        for path, text in strings_of(self.body):
            place = place_of(path, self.body)
            clean = without_surrogates(text)
            file = attached(clean) if is_content(path) else None
            slot = read_slot(file or clean, place, columns, source, hidden)
            if slot is not None:
                slots[path] = slot if file is None else replace(slot, native=True, attached=True)
        return Renderer(self, slots, columns, images or Images())


class Renderer:
    """A template bound to columns; built by `Template.bind`."""

    columns: tuple[str, ...]
    """Source columns that the template reads, in the order of the source."""
    prompt_columns: tuple[str, ...]
    """Those that are blank together when a row has nothing to ask."""
    takes_stored: bool
    """Whether `stored_lines` makes lines of most rows."""
    has_images: bool
    """Whether lines hold images or files, each of which may be large."""
    attaches: bool
    """Whether lines hold files that their rows attach."""
    fixed_inputs: int | None
    """How many inputs each line has, None where that differs from row to row."""

    def __init__(
        self, template: Template, slots: dict[JSONPath, Slot], source: Sequence[str], images: Images
    ) -> None:
        reads = {column for slot in slots.values() for column in slot.reads}
        shows = asking_columns(template.body, slots)
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
            _Maker(
                before,
                *_texts(path, slot, self.columns, images, template.endpoint),
                slot.native,
                _stored(path, slot, self.columns),
            )
            for before, (path, slot) in zip(starts, slots.items(), strict=True)
        ]
        self.takes_stored = all(maker.stored for maker in self._makers)
        self.has_images = any(is_image(path) or slot.attached for path, slot in slots.items())
        self.attaches = any(slot.attached for slot in slots.values())
        self.fixed_inputs = _fixed_inputs(template, slots)

    def line(self, custom_id: str, row: Sequence[SQLiteValue]) -> bytes:
        r"""Return one JSONL line with its newline, in UTF-8.

        `row` holds the values of `columns`, in that order. Raises UnrenderableRow. U+0085,
        U+2028 and U+2029 are escaped: they end a line for readers that use ``splitlines()``.
        """
        parts = [b'{"custom_id":', json_string(custom_id)]
        for maker in self._makers:
            text = maker.text(row)
            parts += maker.before, json_value(text) if maker.native else json_string(text)
        parts.append(self._end)
        return b"".join(parts)

    def lines(self, prefix: str, numbers: Sequence[int], columns: Columns) -> Lines | GivenLines:
        """Return the lines of many rows, the same bytes as `line` gives, several times as fast.

        The rows are given column by column. A custom_id is `prefix` and one of `numbers`, which
        ascend; there is one for each row. Raises UnrenderableRow if any one of the rows can't be
        rendered.
        """
        found: list[tuple[bytes, Sequence[bytes] | Marked]] = []
        quote = b'"'
        for maker in self._makers:
            texts = maker.texts(columns)
            made = list(map(json_value, texts)) if maker.native else json_strings(texts)
            found.append((quote + maker.before, made))
            quote = b""
        return Lines(_start(prefix), numbers, found, quote + self._end)

    def stored_lines(
        self, prefix: str, numbers: Sequence[int], columns: Columns
    ) -> Lines | GivenLines | None:
        """Return the same lines as `lines` from rows whose TEXT is bytes, as it is stored.

        None where that can't be done, as for filters and text that isn't UTF-8. There must be no
        BLOB among the values.
        """
        found: list[tuple[bytes, Sequence[bytes] | Marked]] = []
        for maker in self._makers:
            made = maker.stored.strings(columns) if maker.stored else None
            if made is None:
                return None
            # the string before ends with the quote, as the number does
            found.append((b'"' + maker.before + b'"', made))
        return Lines(_start(prefix), numbers, found, b'"' + self._end)

    def inputs(self, line: bytes) -> int:
        """Return how many inputs a rendered line has: texts to embed; 1 at other endpoints."""
        return self.fixed_inputs or count_inputs(orjson.loads(line)["body"].get("input"))

    def body(self, row: Sequence[SQLiteValue]) -> dict[str, Any]:
        """Return the rendered body as data, for previews. Raises UnrenderableRow."""
        body: dict[str, Any] = orjson.loads(self.line("", row))["body"]
        return body

    def is_blank(self, row: Sequence[SQLiteValue]) -> bool:
        """Whether the prompt's placeholders are all NULL, empty or only spaces."""
        return all(is_blank(row[index]) for index in self._blank)

    def blanks(self, columns: Columns, *, stored: bool = False) -> list[int]:
        """Return which of many rows, given column by column, are blank.

        With `stored`, TEXT is bytes.
        """
        # a column that is filled throughout settles it, and numbers are told the soonest
        asked = sorted((columns[index] for index in self._blank), key=_begins_with_text)
        if any(map(all_filled, asked)):
            return []
        rows = zip(*(decoded(columns) if stored else columns), strict=True)
        return [position for position, row in enumerate(rows) if self.is_blank(row)]


class Verbatim(Renderer):
    """Lines that stand in a table as somebody made them; only their custom_id is replaced."""

    def __init__(
        self, column: str, endpoint: str, changes: Mapping[str, Any], fresh: bool = False
    ) -> None:
        """`column` holds the lines; `changes` are a retry's changes to the body of each.

        Lines that are `fresh` were checked a moment ago.
        """
        self._fresh = fresh
        self.columns = self.prompt_columns = (column,)
        self.takes_stored, self.has_images, self.attaches = True, False, False
        self.fixed_inputs = None if endpoint == EMBEDDINGS else 1
        self._changes = changes

    def line(self, custom_id: str, row: Sequence[SQLiteValue]) -> bytes:
        """Return one line with its newline. Raises UnrenderableRow."""
        line = as_line(row[0], self._changes)
        start, end = span_of(line)
        return line[:start] + json_string(custom_id) + line[end:] + b"\n"

    def lines(self, prefix: str, numbers: Sequence[int], columns: Columns) -> GivenLines:
        """Return the lines of many rows, given column by column. Raises UnrenderableRow."""
        return given_lines(prefix, numbers, columns[0], self._changes, fresh=self._fresh)

    def stored_lines(
        self, prefix: str, numbers: Sequence[int], columns: Columns
    ) -> GivenLines | None:
        """Return the same lines from TEXT as it is stored; None where one of them is none."""
        try:
            return self.lines(prefix, numbers, columns)
        except UnrenderableRow:
            # which of them it is shows when each is rendered by itself
            return None

    def is_blank(self, row: Sequence[SQLiteValue]) -> bool:
        """Whether a row asks nothing: a line always asks something."""
        return False

    def blanks(self, columns: Columns, *, stored: bool = False) -> list[int]:
        """Return which of many rows are blank: none."""
        return []


def _begins_with_text(column: Sequence[SQLiteValue]) -> bool:
    return not is_number(column[0])


def _start(prefix: str) -> bytes:
    """Return a line up to the number in its custom_id."""
    return b'{"custom_id":' + json_string(prefix)[:-1]


@dataclass(frozen=True)
class _Maker:
    """What makes one string of a body: what stands before it, and its text."""

    before: bytes
    text: Text
    texts: Texts
    native: bool
    stored: StoredSlot | None


def _texts(
    path: JSONPath, slot: Slot, columns: Sequence[str], images: Images, endpoint: str
) -> tuple[Text, Texts]:
    """Return the functions that make a slot's text, of one row and of many."""
    if slot.attached:
        part = _attachment(slot, columns, Attachments(images, endpoint))
        return part, one_by_one(part)
    if is_image(path):
        url = _image(slot, columns, images)
        return url, one_by_one(url)
    return slot.text(columns), slot.texts(columns)


def _stored(path: JSONPath, slot: Slot, columns: Sequence[str]) -> StoredSlot | None:
    """Return what makes a slot's text of rows as they are stored, None where nothing does."""
    if slot.native or is_image(path):
        return None
    return stored_slot(slot.pieces(columns))


def _image(slot: Slot, columns: Sequence[str], images: Images) -> Text:
    """Return the function that makes the URL of an image, also of a BLOB."""
    column = slot.column
    if column is not None:
        index = columns.index(column)
        return lambda row: images.url(row[index], column)
    text = slot.text(columns)
    return lambda row: images.url(text(row), slot.place)


def _attachment(slot: Slot, columns: Sequence[str], files: Attachments) -> Text:
    """Return the function that makes a content part of what a column holds, or a text names."""
    column = slot.column
    if column is not None:
        index = columns.index(column)
        return lambda row: files.part(row[index], column)
    text = slot.text(columns)
    return lambda row: files.part(text(row), slot.place)


def _fixed_inputs(template: Template, slots: dict[JSONPath, Slot]) -> int | None:
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


def _placeholder(column: str) -> str:
    return f"{{{{ {column} }}}}" if column.isidentifier() else f'{{{{ row["{column}"] }}}}'


def _segments(template: Template, slots: dict[JSONPath, Slot]) -> list[bytes]:
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
    return one_line(b"," + line[1:] + b"\n").split(b"\x00")


#: Where the lines of somebody's own file of requests stand, in a table of their own.
LINE_COLUMN = "request"

# A template over a source, for one job: what it may read, and how it reads images.


def bind(
    template: Template, source: Source, output: Output, settings: Mapping[str, Any]
) -> Renderer:
    """Bind a template to a source. Raises TemplateError.

    The columns that the job itself writes to the source are no part of `row` as a whole: there
    is nothing in them when the job is planned, and there is when its answers are checked.
    `settings` may hold `image_dir` and `image_size`.
    """
    own = {name.lower() for name in output.names} if output.table is None else set()
    folder = settings.get("image_dir")
    images = Images(Path(folder) if folder else None, int(settings.get("image_size", SIZE)))
    return template.bind(source.columns, source.name, hidden=own, images=images)


def bind_job(job: Job, source: Source, overrides: str | None = None) -> Renderer:
    """Bind a stored job's template; `overrides` are a retry's changes to the body, as JSON."""
    template = Template.from_json(job.template, job.endpoint)
    changes = kept_json(overrides or "{}", dict, "openai_batch_parts.overrides")
    changes = {name: one for name, one in changes.items() if not name.startswith("$")}
    if job.settings.get("lines"):
        return bind_lines(source, job.endpoint, changes)
    if changes:
        template = Template({**template.body, **changes}, job.endpoint)
    return bind(template, source, Output.of(job), job.settings)


def bind_lines(
    source: Source,
    endpoint: str,
    changes: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
) -> Verbatim:
    """The renderer of a source whose rows are request lines. Raises TemplateError."""
    if LINE_COLUMN not in source.columns:
        raise TemplateError(
            f"{source.name} has no column '{LINE_COLUMN}', which the requests of a file go to. "
            f"Columns: {listed(source.columns)}."
        )
    return Verbatim(LINE_COLUMN, endpoint, changes or {}, fresh)


def hashed_columns(renderer: Renderer, output: Output) -> tuple[int, ...]:
    """Which of the rendered columns a row's hash covers: all but those the job writes itself."""
    written = {fold(name) for name in output.names} if output.table is None else set()
    return tuple(index for index, name in enumerate(renderer.columns) if fold(name) not in written)
