"""The answer schema: what is asked for, how an answer is checked, and the columns it fills.

One object per answer; each of its properties is a column. The JSON schema is sent as strict
`json_schema` and used again to check what comes back, since not every server enforces it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
from msgspec.structs import replace

from ..base.errors import OpenAIBatchError, SchemaError
from ..base.json import kept_json, loads, well_formed
from ..base.text_files import text_or_file
from .shortform import TYPES, parse_short_form
from .strict import flattened, longest_answer, make_strict, resolve
from .wire import BUILDING, LARGEST, SMALLEST

# From the properties of an answer schema to columns of SQLite, and to words for people.
#
# string → TEXT, integer and boolean → INTEGER, number → REAL, arrays and objects → TEXT as JSON.
# Where a property may have several types the column is TEXT: a string as it is, anything else as
# JSON. Null is NULL.

SQLiteValue = None | int | float | str | bytes
Reader = Callable[[Any], SQLiteValue]

_SQLITE_TYPES = {"integer": "INTEGER", "boolean": "INTEGER", "number": "REAL"}
_SHORT_TYPES = {json_type: word for word, json_type in TYPES.items()}


class AnswerColumn(msgspec.Struct, frozen=True):
    """A column of an answer.

    `sqlite_type` is TEXT, INTEGER or REAL. `kind` is the JSON type it holds: string, integer,
    number, boolean, array, object, or mixed where the schema allows several.
    """

    name: str
    sqlite_type: str
    kind: str


def columns_of(schema: dict[str, Any]) -> tuple[AnswerColumn, ...]:
    """Return a column for each property of a strict schema.

    Raises:
        SchemaError: a name can't be a column, or not beside another.
    """
    columns = tuple(_column(schema, name, node) for name, node in schema["properties"].items())
    _check_names(columns)
    return columns


def reader(column: AnswerColumn) -> Reader:
    """Return the function that makes a checked value what SQLite stores.

    The function raises OverflowError for a number that doesn't fit.
    """
    return _READERS[column.kind]


def summary(node: dict[str, Any], kind: str) -> str:
    """Return what `describe` says after a property's name."""
    or_null = " or null" * ("null" in _as_list(node.get("type")))
    if "enum" in node:
        labels = len([value for value in node["enum"] if value is not None])
        return f" ({labels} label{'s' * (labels != 1)}){or_null}"
    if kind in ("integer", "number") and "minimum" in node and "maximum" in node:
        return f" {node['minimum']}..{node['maximum']}{' int' * (kind == 'integer')}{or_null}"
    if kind == "array":
        return f" {_list_summary(node)}{or_null}"
    text = {"string": "", "object": " (object)", "mixed": " (mixed)"}
    return text.get(kind, f" {_SHORT_TYPES.get(kind)}") + or_null


def _list_summary(node: dict[str, Any]) -> str:
    items = node.get("items", {})
    type_ = items.get("type")
    if type_ == "string" and "enum" not in items:
        return "list"
    return "list of" + summary(items, type_ if isinstance(type_, str) else "mixed")


def _integer(value: Any) -> SQLiteValue:
    if value is None:
        return None
    number = int(value)  # JSON schema counts 3.0 as an integer
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _real(value: Any) -> SQLiteValue:
    if value is None:
        return None
    number = float(value)
    if math.isinf(number):
        raise OverflowError
    return number


def _text(value: Any) -> SQLiteValue:
    return value  # type: ignore[no-any-return]  # the schema was checked: a string or None


def _json(value: Any) -> SQLiteValue:
    return None if value is None else msgspec.json.encode(value).decode()


def _mixed(value: Any) -> SQLiteValue:
    return value if isinstance(value, str) else _json(value)


_READERS: dict[str, Reader] = {
    "string": _text,
    "integer": _integer,
    "boolean": _integer,
    "number": _real,
    "array": _json,
    "object": _json,
    "mixed": _mixed,
}


def _column(root: dict[str, Any], name: str, node: dict[str, Any]) -> AnswerColumn:
    kinds = _kinds(root, node) - {"null"}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    kind = kinds.pop() if len(kinds) == 1 else "mixed"
    return AnswerColumn(name, _SQLITE_TYPES.get(kind, "TEXT"), kind)


def _kinds(root: dict[str, Any], node: dict[str, Any]) -> set[str]:
    """Return the JSON types that a strict schema allows."""
    kinds: set[str] = set()
    followed: set[str] = set()
    left = [node]
    while left:
        one = left.pop()
        if reference := one.get("$ref"):
            if reference not in followed:
                followed.add(reference)
                left.append(resolve(root, reference))
        elif "anyOf" in one:
            left += one["anyOf"]
        else:
            kinds.update(_as_list(one["type"]))
    return kinds


def _check_names(columns: tuple[AnswerColumn, ...]) -> None:
    """Refuse property names that can't be columns side by side."""
    seen: dict[bytes, str] = {}
    for column in columns:
        name = column.name
        if not name.strip() or "\0" in name or well_formed(name) != name:
            raise SchemaError(f"The property name {name!r} can't be a column. Rename it.")
        # SQLite folds ASCII letters only, and so does bytes.lower().
        other = seen.setdefault(name.encode().lower(), name)
        if other is not name:
            raise SchemaError(
                f'"{other}" and "{name}" differ only by case, which SQLite columns can\'t. '
                "Rename one."
            )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


FENCE_NOTE = "the JSON was taken out of a code fence"
AROUND_NOTE = "the JSON was taken out of the text around it"

_decode = msgspec.json.Decoder().decode
_NAME = "answer"  # structured outputs want one; it is never shown
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\r?\n(.*?)\s*```\s*", re.DOTALL | re.IGNORECASE)
# What local models leave in their answers: thoughts, and the marks between turns. Templates of some
# models write the beginning of a thought themselves, so that only its end is in the answer.
_THOUGHT = re.compile(r"\s*(?:<(?:think|thinking|thought|reasoning)>|\[THINK\])", re.IGNORECASE)
_THOUGHT_ENDS = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_END_MARK = re.compile(r"(?:<[|｜][^|｜<>]{1,30}[|｜]>|</s>|<eos>|<end_of_turn>)$")
_MARK_LENGTH = 40
_FENCED = re.compile(r"```[a-z]*[ \t]*\r?\n(.*)```", re.DOTALL | re.IGNORECASE)
_MESSAGE_LENGTH = 300
_DEEPEST = 200  # the compiled validator explains nothing that is nested more than 255 deep


class Checked(msgspec.Struct, frozen=True):
    """What `AnswerSchema.check` found.

    `status` is ok, invalid_json or schema_violation; `values` has one value per column if it is
    ok, else None; `message` says what is wrong and where; `note` says what was forgiven. `text` is
    the answer itself where it was in a tool call.
    """

    values: tuple[SQLiteValue, ...] | None
    status: str
    message: str | None = None
    note: str | None = None
    text: str | None = None


class AnswerSchema:
    """A strict JSON schema and the columns it fills."""

    def __init__(self, schema: Any):
        """Make a JSON schema strict and compile its check.

        Raises:
            SchemaError: the schema can't be made strict, or its names can't be columns.
        """
        self.json: dict[str, Any] = make_strict(schema)
        try:
            self._validator = jsonschema_rs.Draft202012Validator(flattened(self.json))
        except ValueError as error:  # jsonschema_rs's own errors are ValueErrors
            raise SchemaError(f"The answer schema is not valid: {_first_line(error)}.") from error
        self.columns: tuple[AnswerColumn, ...] = columns_of(self.json)
        self._readers = [(column.name, reader(column)) for column in self.columns]

    @classmethod
    def parse(cls, spec: str) -> AnswerSchema:
        """Read the short form, or the text of a JSON schema (it starts with `{`).

        Raises:
            SchemaError: names what can't be used, and what to write instead.
        """
        text = spec.removeprefix("\ufeff").strip()
        if not text.startswith(("{", "[", '"')) and not _is_json(text):
            return cls(parse_short_form(text))
        try:
            return cls(loads(text))
        except json.JSONDecodeError as error:
            raise SchemaError(
                f"The answer schema is not valid JSON: {error.msg} "
                f"in line {error.lineno}, column {error.colno}."
            ) from error
        except ValueError as error:
            raise SchemaError(f"The answer schema is not valid JSON: {error}.") from error

    @classmethod
    def load(cls, value: str) -> AnswerSchema:
        """Read the file that `value` names; if there is none, `value` is the schema itself.

        Raises:
            SchemaError: as `parse`; also for what looks like a file that isn't there.
        """
        return cls.parse(text_or_file(value, "--schema", SchemaError) or "")

    @classmethod
    def from_json(cls, text: str) -> AnswerSchema:
        """Read back what `to_json` wrote. Raises DatabaseError, SchemaError."""
        return cls(kept_json(text, dict, "openai_batch_jobs.answer_schema"))

    def to_json(self) -> str:
        """Return the schema as sent, as JSON text."""
        return json.dumps(self.json, ensure_ascii=False, separators=(",", ":"))

    def response_format(self, endpoint: str) -> dict[str, Any]:
        """Return the part of a request body that asks for this schema.

        Raises:
            SchemaError: the endpoint answers no schema.
        """
        fields = {"name": _NAME, "strict": True, "schema": self.json}
        match endpoint.removeprefix("/v1"):
            case "/chat/completions":
                return {"response_format": {"type": "json_schema", "json_schema": fields}}
            case "/responses":
                return {"text": {"format": {"type": "json_schema", **fields}}}
        raise SchemaError(
            f"{endpoint} answers no schema. Leave out --schema, or use /v1/chat/completions "
            "or /v1/responses."
        )

    def enough_tokens(self) -> int | None:
        """Tokens that any answer fits in, with an ample margin; None where none would do."""
        size = longest_answer(self.json)
        # A token has at least a character; 16 more for the braces and some white space.
        return None if size is None else -(-(size + 16) * 5 // 40) * 10

    def describe(self) -> str:
        """Return one line for people: `category (6 labels), confidence 0..1`."""
        nodes = self.json["properties"]
        return ", ".join(
            f"{column.name}{summary(nodes[column.name], column.kind)}" for column in self.columns
        )

    def check(self, text: str) -> Checked:
        """Check an answer and read its columns. Never raises, whatever the text."""
        try:
            value, note = read_json(text)
        except ValueError:
            return Checked(None, "invalid_json", "the answer is not valid JSON")
        if not self._validator.is_valid(value):
            return self._called(value, note)
        try:
            values = tuple([read(value[name]) for name, read in self._readers])
        except OverflowError:
            return Checked(None, "schema_violation", self._misfit(value), note)
        return Checked(values, "ok", None, note)

    def _called(self, value: Any, note: str | None) -> Checked:
        """Check what isn't as asked once more, where it is a tool call: its arguments answer."""
        calls = arguments_in(value)
        if not calls:
            return Checked(None, "schema_violation", self._explain(value), note)
        if len(calls) > 1:
            message = f"{len(calls)} tool calls came, and the schema's columns hold one answer"
            return Checked(None, "schema_violation", message, note)
        checked = self.check(calls[0])
        return replace(checked, text=calls[0]) if checked.status == "ok" else checked

    def _explain(self, value: Any) -> str:
        errors = list(self._validator.iter_errors(value))
        first = errors[0]
        path = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first.instance_path
        )
        message = _cut(first.message)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return f"{path.removeprefix('.')}: {message}{more}" if path else f"{message}{more}"

    def _misfit(self, value: dict[str, Any]) -> str:
        for name, read in self._readers:
            try:
                read(value[name])
            except OverflowError:
                return f"{name}: {_cut(str(value[name]))} is too large for SQLite"
        raise AssertionError("every value fits")


def arguments_in(value: Any) -> list[str]:
    """The arguments of tool calls, as JSON; none if it is no list of them, nor one alone."""
    calls = value if isinstance(value, list) else [value]
    found = [_arguments(call) for call in calls]
    return [text for text in found if text is not None] if None not in found else []


def _arguments(call: Any) -> str | None:
    if not isinstance(call, dict):
        return None
    inner = call.get("function", call)
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return None
    given = inner.get("arguments", inner.get("input"))
    return msgspec.json.encode(given).decode() if isinstance(given, dict) else _string(given)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def read_json(text: object) -> tuple[Any, str | None]:
    """Read an answer that should be JSON: also out of what models write around it.

    That are thoughts before it, marks of the turn's end behind it, and a code fence, with prose
    around it or not; anything that could be a second value is too much.

    Returns:
        The value, and a note if something was forgiven.

    Raises:
        ValueError: it is not JSON, or nested more than 200 deep.
    """
    note = None
    if not isinstance(text, str):
        raise ValueError("it is not text")
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        text, note = _json_in(text)
        value = loads(text)
    if len(text) > _DEEPEST and _is_too_deep(value, text):
        raise ValueError("nested too deeply")
    return value, note


def _json_in(text: str) -> tuple[str, str | None]:
    """Return what may be the JSON of an answer, and a note where something is around it."""
    if fence := _FENCE.fullmatch(text):
        return fence[1], FENCE_NOTE
    bare = _without_marks(_after_thoughts(text.removeprefix("\ufeff")))
    fence = _FENCED.search(bare)
    # Braces in the prose could be a second answer.
    if fence and "{" not in bare[: fence.start()] + bare[fence.end() :]:
        return fence[1], AROUND_NOTE
    return (text, None) if bare == text.removeprefix("\ufeff").rstrip() else (bare, AROUND_NOTE)


def _after_thoughts(text: str) -> str:
    """Return what comes behind thoughts. Raises ValueError where they don't end."""
    end = _THOUGHT_ENDS.search(text)
    if end is None:
        if _THOUGHT.match(text):
            raise ValueError("there is nothing but thoughts")
        return text
    text = text[end.end() :]
    # Thoughts may tell of thoughts; what is behind a brace is the answer's.
    while (end := _THOUGHT_ENDS.search(text)) and "{" not in text[: end.start()]:
        text = text[end.end() :]
    return text


def _without_marks(text: str) -> str:
    text = text.rstrip()
    while mark := _END_MARK.search(text[-_MARK_LENGTH:]):
        text = text.removesuffix(mark[0]).rstrip()
    return text


def _is_too_deep(value: Any, text: str) -> bool:
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _is_json(text: str) -> bool:
    """Whether a text is a JSON value: true, null, a number."""
    try:
        loads(text)
    except ValueError:
        return False
    return True


def _first_line(error: ValueError) -> str:
    return _cut(str(error).partition("\n")[0])


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_LENGTH else text[:_MESSAGE_LENGTH] + "…"


# Answers as they are stored → the values of their columns. They were checked when they were
# collected, so they aren't again.

Stored = tuple[Any, ...]

#: What reading an answer raises that was edited by hand since it was collected.
UNUSUAL = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


def stored_cells(answer_schema: str | None, width: int) -> Callable[[str | None, Any], Stored]:
    """Return the function from (outcome, answer) to the `width` values of a job's output columns.

    `answer_schema` is the job's as it is stored, None where an answer is text as a whole.
    """
    nothing = (None,) * width
    if answer_schema is None:
        return lambda status, answer: (answer,) if status == "ok" else nothing
    columns = stored_columns(answer_schema)
    if columns is None:
        return lambda status, answer: nothing
    get = _getter([name for name, _ in columns])
    # Text is as it comes; a call that changes nothing is still a call, a million times.
    converters = [(place, convert) for place, (_, convert) in enumerate(columns) if convert]

    def read(status: str | None, answer: Any) -> Stored:
        if status != "ok":
            return nothing
        try:
            cells = get(stored_json(answer))
            if not converters:
                return cells
            found = list(cells)
            for place, convert in converters:
                found[place] = convert(found[place])
            return tuple(found)
        except UNUSUAL:
            # Edited by hand since: an empty cell, not a page or file that ends here.
            return nothing

    return read


def stored_columns(answer_schema: str | None) -> list[tuple[str, Reader | None]] | None:
    """The properties of an answer, each with what makes its value a cell (None for text).

    Empty where answers are text as a whole; None where a schema tells no columns, or is of a later
    version and can't be read.
    """
    if answer_schema is None:
        return []
    try:
        columns = AnswerSchema.from_json(answer_schema).columns
    except OpenAIBatchError:
        return None
    found = [(one.name, None if one.kind == "string" else reader(one)) for one in columns]
    return found or None


def _getter(names: list[str]) -> Callable[[Any], Stored]:
    if len(names) == 1:
        (name,) = names
        return lambda value: (value[name],)
    return itemgetter(*names)


def stored_json(answer: Any) -> Any:
    """The JSON of an answer; one in a code fence, or that no tidy encoder wrote, is forgiven."""
    try:
        return _decode(answer)
    except msgspec.MsgspecError:
        return read_json(answer)[0]


# The same check, and the same cells, by a typed decoder in one pass: for schemas that are made of
# plain values. Whatever it isn't sure of is left to `AnswerSchema.check`.

Values = tuple[SQLiteValue, ...]
Check = Callable[[Any], Values]

_SILENT = {"title", "description"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}


def quick_check(schema: AnswerSchema) -> Check | None:
    """Return a function that reads an answer's columns, and raises where it isn't sure.

    None where the schema has more than plain values: strings and labels, numbers in a range,
    booleans, lists of strings; and where msgspec makes no decoder for it.
    """
    decoder = _plain_decoder(schema)
    if decoder is None:
        return None
    decode, cells = decoder.decode, msgspec.structs.astuple
    if _is_plain(schema):
        return lambda text: cells(decode(text))
    return lambda text: tuple(map(_cell, cells(decode(text))))


def quick_check_all(schema: AnswerSchema) -> Callable[[Sequence[bytes]], list[Values]] | None:
    """As `quick_check`, for many answers at once, in UTF-8: which takes less time."""
    check_lines, check = quick_check_lines(schema), quick_check(schema)
    if check_lines is None or check is None:
        return None

    def check_all(texts: Sequence[bytes]) -> list[Values]:
        found = check_lines(b"\n".join(texts), len(texts))
        return list(map(check, texts)) if found is None else found

    return check_all


def quick_check_lines(schema: AnswerSchema) -> Callable[[bytes, int], list[Values] | None] | None:
    """As `quick_check`, for so many answers that stand one to a line; None where they don't."""
    decoder = _plain_decoder(schema)
    if decoder is None:
        return None
    decode_lines, is_plain = decoder.decode_lines, _is_plain(schema)

    def check_lines(lines: bytes, count: int) -> list[Values] | None:
        # The decoder goes by values, not by lines. Each text has to be one object: where all of
        # them are in braces and as many objects are found, no two stand in one, none goes on in
        # the next (a line ends in no string, and these objects hold no others).
        ends = (lines[:1], lines[-1:], lines.count(b"\n"), lines.count(b"}\n{"))
        if ends != (b"{", b"}", count - 1, count - 1):
            return None
        found = list(map(msgspec.structs.astuple, decode_lines(lines)))
        if len(found) != count:
            return None
        return found if is_plain else [tuple(map(_cell, values)) for values in found]

    return check_lines


def _is_plain(schema: AnswerSchema) -> bool:
    """Whether SQLite stores what is decoded as it is."""
    return all(column.kind in ("string", "integer", "number") for column in schema.columns)


def _plain_decoder(schema: AnswerSchema) -> msgspec.json.Decoder[Any] | None:
    """A decoder of plain answers; None where the schema has more, or msgspec makes none."""
    if set(schema.json) - {"type", "properties", "required", "additionalProperties", *_SILENT}:
        return None
    kinds = [_type_of(schema.json["properties"][column.name]) for column in schema.columns]
    if None in kinds:
        return None
    try:
        return _decoder([column.name for column in schema.columns], kinds)
    except (ValueError, TypeError):
        # Names with quotes, backslashes or control characters, bounds beyond 64 bits.
        return None


def _decoder(names: list[str], kinds: list[Any]) -> msgspec.json.Decoder[Any]:
    """A decoder of objects of just these properties. Raises ValueError, TypeError."""
    fields = [f"f{n}" for n in range(len(names))]
    struct = msgspec.defstruct(
        "Answer",
        list(zip(fields, kinds, strict=True)),
        rename=dict(zip(fields, names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )
    with BUILDING:
        return msgspec.json.Decoder(struct)


def unsure(text: str) -> Values:
    """The check of answers that no typed decoder can check. Raises ValueError."""
    raise ValueError(text)


def _cell(value: Any) -> SQLiteValue:
    """What SQLite stores of a value: lists as JSON text, booleans as 0 or 1."""
    if isinstance(value, list):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value


def _type_of(node: dict[str, Any]) -> Any:
    """Return the type that takes what a property's schema allows, None where that isn't plain."""
    rest = {key: value for key, value in node.items() if key not in _SILENT}
    kind = rest.pop("type", None)
    nullable = isinstance(kind, list) and len(kind) == 2 and "null" in kind
    if nullable:
        (kind,) = (one for one in kind if one != "null")
    found: Any = None
    if kind == "string" and not rest:
        found = str
    elif kind == "string" and set(rest) == {"enum"}:
        labels = tuple(label for label in rest["enum"] if label is not None)
        found = Literal[labels] if labels and all(isinstance(one, str) for one in labels) else None
    elif kind in ("integer", "number"):
        found = _number(kind, rest)
    elif kind == "boolean" and not rest:
        found = bool
    elif kind == "array" and set(rest) == {"items"} and rest["items"] == {"type": "string"}:
        found = list[str]
    return found | None if nullable and found is not None else found


def _number(kind: str, rest: dict[str, Any]) -> Any:
    whole = kind == "integer"
    bounds: dict[str, Any] = {"ge": SMALLEST, "le": LARGEST} if whole else {}
    for name, bound in rest.items():
        if name not in _BOUNDS or type(bound) not in ((int,) if whole else (int, float)):
            return None
        bounds[_BOUNDS[name]] = bound
    if ("ge" in bounds and "gt" in bounds) or ("le" in bounds and "lt" in bounds):
        return None
    return Annotated[int if whole else float, msgspec.Meta(**bounds)] if bounds else float
