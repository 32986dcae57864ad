"""Rows of the jobs and parts tables as Python objects.

Anybody may write to these tables, and a database may come from a stranger. So a record is looked
at where it is read (`check`): a column holds the one form that this program writes there, or the
record can't be used. Only then is anything of it a folder's name, an address, or SQL.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..base import clock
from ..base.json import kept_counts, kept_json, kept_words, unreadable
from ..base.statuses import STATES

T = TypeVar("T")
HASHES = ("template_hash", "fingerprint")
#: What stands among the changes to a body and is none: failed answers go back with the request.
REPAIR = "$repair"
#: The same of the requests about a row but the first: which voice of a vote they are (`--times`).
VOICE = "$voice"
# In a class with a column of that name the builtin is hidden.
Bytes = bytes


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `openai_batch_jobs`; the columns are described in docs/tables.md."""

    id: int
    uid: str
    name: str | None
    status: str
    source: str | None
    source_sql: str | None
    source_params: str | None
    key_columns: str
    endpoint: str
    model: str | None
    template: str
    template_hash: bytes
    answer_schema: str | None
    output: str
    created_columns: str | None
    provider: str
    base_url: str | None
    account: str | None
    options: str
    requests: int | None
    skipped: int | None
    estimated_input_tokens: int | None
    estimated_cost_nanousd: int | None
    upper_cost_nanousd: int | None
    max_cost_nanousd: int | None
    cost_nanousd: int | None
    created_at: str
    approved_at: str | None
    submitted_at: str | None
    checked_at: str | None
    finished_at: str | None
    message: str | None
    lease_owner: str | None
    lease_until: str | None
    versions: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the columns that make a row key."""
        column = "openai_batch_jobs.key_columns"
        found = kept_json(self.key_columns, list, column, self.id)
        if not found or not all(isinstance(name, str) for name in found):
            raise unreadable(self.key_columns, column, self.id)
        return tuple(found)

    @property
    def params(self) -> dict[str, str]:
        """Values of the named parameters of `--where` and `--sql`."""
        column = "openai_batch_jobs.source_params"
        return kept_json(self.source_params or "{}", dict, column, self.id)

    @property
    def writes(self) -> dict[str, Any]:
        """Where the answers go: `table`, `columns`, `replace`, `write`."""
        return kept_json(self.output, dict, "openai_batch_jobs.output", self.id)

    @property
    def settings(self) -> dict[str, Any]:
        """What else was asked for: rows chosen, limits of a part, how the local server answers."""
        column = "openai_batch_jobs.options"
        found = kept_json(self.options, dict, column, self.id)
        for name, fits in SETTINGS.items():
            if found.get(name) is not None and not fits(found[name]):
                raise unreadable(f"{name}: {found[name]}", column, self.id)
        return found

    @property
    def body(self) -> dict[str, Any]:
        """The body that every request was made of, with its placeholders."""
        return kept_json(self.template, dict, "openai_batch_jobs.template", self.id)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that answers must fit; None for answers that are text."""
        if self.answer_schema is None:
            return None
        return kept_json(self.answer_schema, dict, "openai_batch_jobs.answer_schema", self.id)

    @property
    def beside(self) -> tuple[str, ...]:
        """Properties of the answers that no model was asked for.

        How sure a label is, and its share of the votes.
        """
        settings = self.settings
        return tuple(
            f"{name}_{word}"
            for kept, word in (("confidence", "confidence"), ("voted", "share"))
            for name in settings.get(kept) or ()
        )

    @property
    def asked_schema(self) -> dict[str, Any] | None:
        """The JSON schema that the model was asked for: `schema` without what came beside."""
        schema, left = self.schema, set(self.beside)
        if schema is None or not left:
            return schema
        properties = {name: one for name, one in schema["properties"].items() if name not in left}
        return {**schema, "properties": properties, "required": list(properties)}

    @property
    def made_columns(self) -> list[str]:
        """Columns that the job made, its key's too where it made the whole output table."""
        column = "openai_batch_jobs.created_columns"
        found = kept_json(self.created_columns or "[]", list, column, self.id)
        if not all(isinstance(name, str) for name in found):
            raise unreadable(self.created_columns, column, self.id)
        return found

    @property
    def made_with(self) -> dict[str, str]:
        """The versions of what made the job, by name."""
        return kept_words(self.versions)

    @property
    def unfinished(self) -> bool:
        """Whether something may still be sent, polled, collected or written."""
        return self.status in ("prepared", "running", "paused", "cancelling")

    @property
    def needs_you(self) -> bool:
        """Whether only a person can bring it further: paused, or kept from being cancelled."""
        return self.status == "paused" or (self.status == "cancelling" and bool(self.message))


@dataclass(frozen=True, slots=True)
class Part:
    """One row of `openai_batch_parts`; the columns are described in docs/tables.md."""

    id: int
    job_id: int
    number: int
    status: str
    requests: int
    bytes: int
    estimated_tokens: int | None
    upper_cost_nanousd: int | None
    cost_nanousd: int | None
    sends: int
    overrides: str | None
    fingerprint: Bytes | None
    token: str | None
    intent_at: str | None
    next_try_at: str | None
    input_file_id: str | None
    batch_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    completed: int | None
    failed: int | None
    outcomes: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    errors: str | None
    created_at: str
    submitted_at: str | None
    in_progress_at: str | None
    finalizing_at: str | None
    ended_at: str | None
    expires_at: str | None
    collected_at: str | None
    written_at: str | None
    lease_owner: str | None
    lease_until: str | None

    @property
    def counts(self) -> dict[str, int]:
        """Requests of this part by outcome."""
        return kept_counts(self.outcomes)

    @property
    def changes(self) -> dict[str, Any]:
        """What a retry changed of the body."""
        return {name: one for name, one in self._overrides.items() if not name.startswith("$")}

    @property
    def marks(self) -> dict[str, Any]:
        """What stays with requests that are asked again: which voice of a vote they are."""
        return {name: one for name, one in self._overrides.items() if name == VOICE}

    @property
    def repairs(self) -> bool:
        """Whether failed answers go back to the model, with what was wrong with them."""
        return bool(self._overrides.get(REPAIR))

    @property
    def _overrides(self) -> dict[str, Any]:
        column = "openai_batch_parts.overrides"
        return kept_json(self.overrides or "{}", dict, column, self.job_id)


COLUMNS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Job, Part)
}
#: What each column may hold, by its declaration above; SQLite itself keeps anything anywhere.
KINDS: dict[type, tuple[tuple[str, type, bool], ...]] = {
    kind: tuple(
        (
            field.name,
            {"int": int, "str": str}.get(str(field.type).split(" ")[0], bytes),
            str(field.type).endswith("None"),
        )
        for field in fields(kind)
    )
    for kind in (Job, Part)
}

JOB_STATUSES = ("prepared", "running", "completed", "paused", "cancelling", "cancelled", "failed")
PROVIDERS = ("openai", "azure", "local")
_UID = re.compile(r"[a-z0-9]{1,12}")
_TOKEN = re.compile(r"[A-Za-z0-9-]{0,80}")
_STEP = re.compile(r"[A-Za-z0-9._~-]+")
_ACCOUNT = re.compile(r"(\S+):[0-9a-f]{10}")
_NOT_IN_IDS = re.compile(r"[\s\x00-\x1f\x7f-\x9f?#\\]")


def is_uid(value: str) -> bool:
    """Whether this can be the uid of a job: what a folder and a `custom_id` are named by."""
    return _UID.fullmatch(value) is not None


def is_id(value: str) -> bool:
    """Whether this can be the id of a batch or a file: one step of an address, and no way up."""
    if not 0 < len(value) <= 1_000 or _NOT_IN_IDS.search(value):
        return False
    decoded = value.lower().replace("%2f", "/").replace("%2e", ".")
    return all(value.split("/")) and not {".", ".."}.intersection(decoded.split("/"))


def is_token(value: str) -> bool:
    """Whether this can be the token of a send, which names its file too."""
    return _TOKEN.fullmatch(value) is not None


def check_id(value: object, column: str, job: int) -> None:
    """Raise DatabaseError for what can't be the id of a batch or a file."""
    if value is not None and not (isinstance(value, str) and is_id(value)):
        raise unreadable(value, column, job)


def is_address(value: str) -> bool:
    """Whether this can be a `base_url`: http or https, a host, a path, and nothing else."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not (parts.query or parts.fragment or value.endswith("/"))
        and value.isprintable()
        and not re.search(r"[\s\\]", value)
    )


def is_endpoint(value: str) -> bool:
    """Whether this can be an endpoint of the API: a path, with no way up and no other host."""
    first, *steps = value.split("/")
    return not first and all(_STEP.fullmatch(step) and step.strip(".") for step in steps)


def is_folder(value: object) -> bool:
    """Whether this is a folder as `--image-dir` is kept: absolute, and with no way up."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return any(
        path.is_absolute() and ".." not in path.parts
        for path in (PurePosixPath(value), PureWindowsPath(value))
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_name(value: object) -> bool:
    return isinstance(value, str)


#: Of what a job keeps beside, what its next pass goes by.
SETTINGS: dict[str, Callable[[Any], bool]] = {
    "attempts": _is_count,
    "concurrency": _is_count,
    "image_size": _is_count,
    "attach_tokens": _is_count,
    "context_window": _is_count,
    "repair": _is_count,
    "image_dir": is_folder,
    "reads": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "confidence": lambda value: isinstance(value, list) and all(map(_is_name, value)),
    "voted": lambda value: isinstance(value, list) and all(map(_is_name, value)),
    "vote": lambda value: isinstance(value, dict),
    "times": _is_count,
    "stride": _is_count,
    "pilot": _is_count,
    "pilot_job": _is_count,
    "recipe": lambda value: isinstance(value, dict),
    "prices": lambda value: isinstance(value, dict),
    "model_prices": lambda value: isinstance(value, dict),
}


def read(kind: type[T], row: sqlite3.Row) -> T:
    """A record from a row that holds at least its columns, whatever their order. It isn't checked.

    A time is one of ours or UNKNOWN, text is text.
    """
    values = {name: row[name] for name in COLUMNS[kind]}
    for name, value in values.items():
        if name.endswith(("_at", "_until")):
            values[name] = clock.kept(value)
        elif isinstance(value, bytes) and name not in HASHES:
            values[name] = value.decode(errors="replace")
    return kind(**values)


def check(record: Job | Part) -> None:
    """Raise DatabaseError where a record holds what this program never writes.

    JSON isn't looked at: it is where it is read.
    """
    table = "openai_batch_jobs" if isinstance(record, Job) else "openai_batch_parts"
    job = record.id if isinstance(record, Job) else record.job_id
    for name, kind, optional in KINDS[type(record)]:
        value = getattr(record, name)
        if not (isinstance(value, kind) or (optional and value is None)):
            raise unreadable(value, f"{table}.{name}", job)
    for name, fits in _job_forms(record) if isinstance(record, Job) else _part_forms(record):
        if not fits:
            raise unreadable(getattr(record, name), f"{table}.{name}", job)


def _job_forms(job: Job) -> list[tuple[str, bool]]:
    account = _ACCOUNT.fullmatch(job.account or "")
    return [
        ("uid", is_uid(job.uid)),
        # It would be taken for the id of another job.
        ("name", not (job.name or "").isdecimal()),
        ("status", job.status in JOB_STATUSES),
        ("endpoint", is_endpoint(job.endpoint)),
        ("provider", job.provider in PROVIDERS),
        ("base_url", job.base_url is None or is_address(job.base_url)),
        ("account", job.account in (None, "local") or account is not None),
        ("requests", job.requests is None or job.requests >= 0),
    ]


def _part_forms(part: Part) -> list[tuple[str, bool]]:
    ids = ("input_file_id", "batch_id", "output_file_id", "error_file_id")
    return [
        ("number", part.number > 0),
        ("status", part.status in STATES),
        ("requests", part.requests >= 0),
        ("token", part.token is None or is_token(part.token)),
        *((name, (one := getattr(part, name)) is None or is_id(one)) for name in ids),
    ]
