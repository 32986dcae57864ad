"""What a file is that was given, by its first bytes: to say so where another kind belongs."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
import zlib
from pathlib import Path
from typing import Any

from .errors import FileError

HEAD = 65_536
SQLITE = b"SQLite format 3\x00"

DATABASE = "a SQLite database"
WORKBOOK = "an Excel workbook"
CSV = "a CSV file"
TSV = "a TSV file"
JSON_LIST = "a JSON list"
PRETTY = "JSON that is printed over several lines"
JSON_LINES = "JSON lines"
ANTHROPIC = "a batch file of Anthropic's"
GEMINI = "a batch file of Gemini's"
BEDROCK = "a batch file of Bedrock's"
TEXT = "a text file"
GZIPPED = "a gzip file"

#: Kinds that their first bytes tell.
_MAGIC = (
    (SQLITE, DATABASE),
    (b"PK\x03\x04", "a ZIP file"),
    (b"\xd0\xcf\x11\xe0", WORKBOOK),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x1f\x8b", GZIPPED),
    (b"PAR1", "a Parquet file"),
)
DOCUMENT = "a Word document"
#: Kinds that no text can be read from as it stands.
NO_TEXT = frozenset((*(kind for _, kind in _MAGIC), DOCUMENT))
#: Fields that lines of other services' batches have, and OpenAI's don't.
_OTHERS = (
    (ANTHROPIC, {"custom_id", "params"}),
    (ANTHROPIC, {"custom_id", "result"}),
    (GEMINI, {"key", "request"}),
    (GEMINI, {"key", "response"}),
    (GEMINI, {"request", "response", "status"}),
    (BEDROCK, {"recordId", "modelInput"}),
)


def kind_of(path: Path) -> str | None:
    """One of the kinds above; None for what is none of them, is empty or can't be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as opened:
            head = opened.read(HEAD)
    except (OSError, ValueError):
        # Whoever opens it next says why.
        return None
    for start, kind in _MAGIC:
        if head.startswith(start):
            inside = {b"xl/": WORKBOOK, b"word/": DOCUMENT} if kind == "a ZIP file" else {}
            return next((one for mark, one in inside.items() if mark in head), kind)
    return _text_kind(head, whole=len(head) < HEAD)


def is_database(path: Path) -> bool:
    """Whether a file is a SQLite database, or may become one: it is empty."""
    try:
        return path.is_file() and (path.stat().st_size == 0 or kind_of(path) == DATABASE)
    except (OSError, ValueError):
        return False


def _text_kind(head: bytes, *, whole: bool) -> str | None:
    try:
        # Only the last character may be cut.
        text = head.decode("utf-8-sig") if whole else head[:-4].decode("utf-8-sig", "ignore")
    except UnicodeDecodeError:
        return None
    if "\x00" in text or not text.strip():
        return None
    text = text.lstrip()
    if text[0] in "{[":
        return _json_kind(text, whole=whole)
    return _table_kind(text) or TEXT


def _json_kind(text: str, *, whole: bool) -> str | None:
    first = text.partition("\n")[0]
    value = _read(first)
    if text[0] == "[":
        inside = text[1:].lstrip()[:1]
        return JSON_LIST if inside == "{" else None
    if value is None:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
            over_lines = "\n" in text[:end]
        except (ValueError, RecursionError):
            value, over_lines = None, not whole and first.strip() == "{"
        return PRETTY if over_lines else None
    fields = set(value) if isinstance(value, dict) else set()
    if isinstance(value, dict) and isinstance(value.get("requests"), list):
        inner = value["requests"][:1]
        fields = set(inner[0]) if inner and isinstance(inner[0], dict) else fields
    for kind, names in _OTHERS:
        if names <= fields and not {"body", "error"} & fields:
            return kind
    if isinstance(value, dict) and set(value) == {"request"} and "contents" in str(value)[:200]:
        return GEMINI
    return JSON_LINES


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _table_kind(text: str) -> str | None:
    """CSV or TSV: some first lines of the same number of fields, at least two."""
    lines = text.splitlines()[:20]
    for mark, kind in (("\t", TSV), (",", CSV), (";", CSV)):
        try:
            # The last line may be cut.
            rows = list(csv.reader(lines[:-1] if len(lines) > 2 else lines, delimiter=mark))
        except csv.Error:
            continue
        header = rows[0] if rows else []
        named = all(name.strip() and name.isprintable() for name in header)
        even = all(len(row) == len(header) for row in rows)
        if len(header) > 1 and len(lines) > 1 and named and even:
            return kind
    return None


def no_database(path: Path) -> str:
    """The sentence for a file that stands where a database belongs."""
    kind = kind_of(path)
    said = f"'{path}' is not a SQLite database."
    if kind is None or kind == DATABASE:
        return said
    said = f"'{path}' is {kind}, not a SQLite database."
    form = {CSV: " --csv", TSV: " --tsv", JSON_LIST: "", JSON_LINES: " --nl", PRETTY: ""}.get(kind)
    new = shlex.quote(str(path.with_suffix(".db")))
    table, file = shlex.quote(path.stem or "rows"), shlex.quote(str(path))
    if kind == WORKBOOK:
        sheet = shlex.quote(str(path.with_suffix(".csv")))
        return (
            f"{said} Save its sheet as CSV, then make one of that with: "
            f"sqlite-utils insert {new} {table} {sheet} --csv"
        )
    if form is not None:
        return f"{said} Make one of it with: sqlite-utils insert {new} {table} {file}{form}"
    return f"{said} Name the database first: the file that your rows are in."


def refuse_others(path: Path, what: str) -> None:
    """Raise FileError for a file that can't be the requests or answers (`what`) of a batch.

    A file that is packed, and says so by its name, is unpacked by who reads it.

    JSON over several lines is left to the caller: only its form is wrong. So is other text: its
    lines tell what is wrong with them.
    """
    kind = None if path.suffix.lower() == ".gz" else kind_of(path)
    file = shlex.quote(str(path))
    if kind in (None, PRETTY, JSON_LIST, JSON_LINES, TEXT):
        return
    said = f"'{path}' is {kind}, no file of {what}."
    if kind in (ANTHROPIC, GEMINI, BEDROCK):
        table = shlex.quote(path.stem or "rows")
        raise FileError(
            f"{said} OpenAI's have custom_id, method, url and body in each line. To ask the same "
            f"here, make a table of it: sqlite-utils insert {table}.db {table} {file} --nl"
        )
    if kind == DATABASE:
        raise FileError(
            f"{said} To ask about its rows: sqlite-utils openai-batch run {file} TABLE …"
        )
    if kind in (CSV, TSV):
        table = shlex.quote(path.stem or "rows")
        form = "--csv" if kind == CSV else "--tsv"
        raise FileError(
            f"{said} To ask about its rows: sqlite-utils insert {table}.db {table} {file} {form}, "
            f"then sqlite-utils openai-batch run {table}.db {table} …"
        )
    raise FileError(f"{said} It has one JSON object a line, such as export-requests writes.")


def one_a_line(path: Path, *, name: str | None = None) -> str | None:
    """What is wrong with JSON that isn't one object a line, and the mend; None for other files.

    What gzip packed is looked into. `name` is what the person calls it, where it is a copy.
    """
    kind = kind_of(path)
    packed = kind == GZIPPED
    if packed:
        kind = _packed_kind(path)
    form = {PRETTY: ".", JSON_LIST: "'.[]'"}.get(kind or "")
    if form is None:
        return None
    said = f"{kind}, where each request is one line."
    if name not in (None, str(path)):
        return f"{said} Let it go through: jq -c {form}"
    file = shlex.quote(str(path))
    read = f"gzip -dc {file} | jq -c {form}" if packed else f"jq -c {form} {file}"
    lines = shlex.quote(f"{path.name.partition('.')[0] if packed else path.stem}-lines.jsonl")
    return f"{said} Mend it with: {read} > {lines}"


def _packed_kind(path: Path) -> str | None:
    try:
        with gzip.open(path) as opened:
            head = opened.read(HEAD)
    except (OSError, EOFError, zlib.error):
        # Whoever unpacks it next says why.
        return None
    return _text_kind(head, whole=len(head) < HEAD)
