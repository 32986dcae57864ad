"""What a job asked: the template with its placeholders marked, parameters, schema, command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from sqlite_utils_openai_batch.answers.schema import AnswerSchema
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.jobs.plan.options import command_line
from sqlite_utils_openai_batch.requests.template import LINE_COLUMN
from sqlite_utils_openai_batch.store import Job

from ..access.job import Opened

_PLACEHOLDER = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)


# What a job keeps of the choice of its rows and images, as it is called on its page.
CHOSEN = {
    "where": "Only rows where",
    "order": "In the order of",
    "limit": "At most so many rows",
    "sample": "Rows drawn at random",
    "seed": "Seed of the draw",
    "image_dir": "Folder of images",
    "image_detail": "Detail of images",
    "image_size": "Longest side of images",
}
FLAGS = {
    "missing": ("Only", "rows without an answer"),
    "changed": ("Only", "new and changed rows"),
    "reuse": ("Identical requests", "asked once"),
}


@dataclass(frozen=True, slots=True)
class Said:
    """One text of the template: who says it, and the text with its placeholders marked."""

    role: str
    text: Markup


@dataclass(frozen=True, slots=True)
class SchemaColumn:
    """One property of the answer schema, as a column."""

    name: str
    type: str
    allowed: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that every row was asked with."""

    said: list[Said]
    parameters: list[tuple[str, str]]
    schema: list[SchemaColumn]
    source: str
    source_sql: str | None
    chosen: list[tuple[str, str]]
    writes: str
    command: str | None


def asked(opened: Opened) -> Asked:
    """What the job asked, for its page."""
    job = opened.job
    body = job.body
    return Asked(
        said=[Said(role, marked(text)) for role, text in texts(body)],
        parameters=[(name, shown(value)) for name, value in parameters(body)],
        schema=schema_columns(job),
        source=job.source or "a query",
        source_sql=job.source_sql,
        chosen=choices(job),
        writes=writes(opened),
        command=command_line(job, opened.file),
    )


def marked(text: str) -> Markup:
    """Text with its placeholders inside `<mark>`; everything is escaped."""
    pieces = _PLACEHOLDER.split(text)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if n % 2 else escape(piece)
        for n, piece in enumerate(pieces)
    )


def shown(value: Any) -> str:
    """A value of the body as text: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def texts(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who says what: messages, instructions, input, prompt."""
    for name in ("instructions", "prompt"):
        if isinstance(body.get(name), str):
            yield name, body[name]
    for name in ("messages", "input"):
        value = body.get(name)
        if isinstance(value, list):
            for one in value:
                yield from _message(name, one)
        elif value is not None:
            yield name, shown(value)


def _message(name: str, message: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(message, dict):
        yield name, shown(message)
        return
    role = str(message.get("role", name))
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield role, part["text"]
        elif isinstance(part, dict) and (address := _image(part)) is not None:
            yield f"{role}, image", address
        else:
            yield role, shown(part)


def _image(part: Mapping[str, Any]) -> str | None:
    """The address of an image in a message, as chat completions or responses write it."""
    image = part.get("image_url")
    address = image.get("url") if isinstance(image, dict) else image
    return address if isinstance(address, str) else None


def parameters(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What else the body holds; a schema that is shown as columns is left out."""
    for name, value in body.items():
        if name in ("messages", "input", "instructions", "prompt", "model"):
            continue
        if _is_schema(name, value):
            continue
        yield name, value


def _is_schema(name: str, value: Any) -> bool:
    if name == "response_format":
        return isinstance(value, dict) and value.get("type") == "json_schema"
    return name == "text" and isinstance(value, dict) and "format" in value


def schema_columns(job: Job) -> list[SchemaColumn]:
    """The answer schema as a list of columns; none where there is no schema."""
    if not job.answer_schema:
        return []
    try:
        schema = AnswerSchema.from_json(job.answer_schema)
    except OpenAIBatchError:
        return []
    nodes = schema.json.get("properties", {})
    return [
        SchemaColumn(column.name, column.sqlite_type, _allowed(nodes.get(column.name, {})))
        for column in schema.columns
    ]


def _allowed(node: Mapping[str, Any]) -> str:
    """What a property may be, in a few words: its labels, its range, its note."""
    found = []
    if isinstance(node.get("enum"), list):
        found.append(" | ".join(str(label) for label in node["enum"]))
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None or high is not None:
        found.append(f"{'' if low is None else low}..{'' if high is None else high}")
    if node.get("description"):
        found.append(str(node["description"]))
    return "; ".join(found)


def writes(opened: Opened) -> str:
    """Where the answers go, as `table.column`."""
    if opened.table is None:
        return "nowhere: the answers stay in the job"
    return ", ".join(f"{opened.table}.{name}" for name in opened.output.names)


def choices(job: Job) -> list[tuple[str, str]]:
    """Which rows were asked about, and how, where that was chosen."""
    kept = {**job.settings, **(job.settings.get("recipe") or {})}
    found = [
        (label, str(kept[name])) for name, label in CHOSEN.items() if kept.get(name) is not None
    ]
    found += [(label, said) for name, (label, said) in FLAGS.items() if kept.get(name)]
    if kept.get("lines"):
        found.append(("Requests", f"as they stand in column {LINE_COLUMN}, from a batch file"))
    found += [(f"Parameter {name}", str(value)) for name, value in job.params.items()]
    if kept.get("blanks", "skip") != "skip":
        found.append(("Blank rows", {"send": "asked about too"}.get(kept["blanks"], "an error")))
    return found
