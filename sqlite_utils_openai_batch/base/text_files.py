"""Options that take a text or the name of a file with it: which of the two somebody means."""

from __future__ import annotations

from pathlib import Path

from .errors import OpenAIBatchError, TemplateError
from .file_kinds import NO_TEXT, kind_of
from .text import near

#: Endings of files that hold prompts, bodies and schemas, or that are given by mistake.
ENDINGS = frozenset(
    (".csv", ".docx", ".htm", ".html", ".j2", ".jinja", ".jinja2", ".json", ".json5", ".jsonc",
     ".jsonl", ".log", ".markdown", ".md", ".mdx", ".ndjson", ".odt", ".pdf", ".prompt", ".py",
     ".rst", ".rtf", ".schema", ".sql", ".tex", ".text", ".tmpl", ".toml", ".tpl", ".tsv", ".txt",
     ".xlsx", ".xml", ".yaml", ".yml")
)  # fmt: skip
#: No name of a file is longer.
LONGEST = 1_000


class Text(str):
    """A text that is one, whatever files there are: read from a file, or kept with a job."""

    file: str | None
    """The name of the file that it was just read from."""

    def __new__(cls, text: str, file: str | None = None) -> Text:
        """A text, and the name of the file that held it."""
        made = super().__new__(cls, text)
        made.file = file
        return made


def text_or_file(
    value: str | None, option: str, error: type[OpenAIBatchError] = TemplateError
) -> str | None:
    """The text of the file of that name where there is one, else the value itself.

    Raises `error` for a file that can't be read or is empty, and for a name that looks like a
    file's where there is none: sent as text, it would be paid for. A space after it makes it a
    text.
    """
    if value is None or isinstance(value, Text):
        return value
    if (text := read_text(value, option, error)) is not None:
        if not text.strip():
            raise error(
                f"{option} '{value}': the file is empty. Save the text in it, or leave it out."
            )
        # The line end that editors put last is not a part of a prompt.
        return Text(text.removesuffix("\n"), value)
    if looks_like_a_file(value):
        raise error(
            f"{option} '{value}': there is no such file. {meant_file(value)}"
            f"If these are the words themselves, put a space after them: {option} '{value} '"
        )
    bare = value.strip()
    return Text(bare if looks_like_a_file(bare) else value)


def read_text(value: str, option: str, error: type[OpenAIBatchError]) -> str | None:
    """The text of the file of that name; None where there is none."""
    if "\n" in value or len(value) > LONGEST:
        return None
    try:
        file = Path(value)
        if not file.is_file():
            return None
    except (OSError, ValueError):
        # A prompt may well be no possible file name.
        return None
    try:
        if (kind := kind_of(file)) in NO_TEXT:
            raise error(f"{option} '{value}' is {kind}, no text. Save what it says as plain text.")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as failed:
        raise error(
            f"{option} '{value}' can't be read: the file is not UTF-8 text. Save it as UTF-8."
        ) from failed
    except OSError as failed:
        reason = failed.strerror or str(failed)
        raise error(f"{option} '{value}' can't be read: {reason}.") from failed


def decoded(path: str, error: type[OpenAIBatchError], before: str = "") -> str:
    """The text of a file that a spreadsheet may have written: UTF-8, UTF-16, Windows' letters.

    Raises `error` for one that can't be read; `before` stands before its name.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as failed:
        raise error(f"{before}'{path}' can't be read: {failed.strerror}.") from failed
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise error(f"{before}'{path}' is a workbook. Save it as CSV, and give that.")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def looks_like_a_file(value: str) -> bool:
    """Whether somebody meant a file by this: no white space, and a usual ending or a slash."""
    if not value or len(value) > LONGEST or any(letter.isspace() for letter in value):
        return False
    if value[0] in '{["' or "{{" in value or "{%" in value:
        return False
    ends = Path(value).suffix.lower() in ENDINGS
    return ends or ("/" in value and not any(mark in value for mark in ",|"))


def meant_file(value: str) -> str:
    """Return "Did you mean …? " with the files whose names are near to this one, or nothing."""
    try:
        wanted = Path(value).expanduser()
        folder = wanted.parent if wanted.parent.is_dir() else Path()
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except (OSError, RuntimeError):
        # A folder that can't be read, or nobody's home: then no name can be told.
        return ""
    found = [str(folder / name) for name in near(wanted.name, names)]
    return f"Did you mean {' or '.join(found)}? " if found else ""
