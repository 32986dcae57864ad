"""Rows of the jobs and parts tables as Python objects."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..base import clock
from ..base.json import kept_counts, kept_json, kept_words, unreadable

T = TypeVar("T")
HASHES = ("template_hash", "sha256")
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
        found = kept_json(self.key_columns, list, column)
        if not found or not all(isinstance(name, str) for name in found):
            raise unreadable(self.key_columns, column)
        return tuple(found)

    @property
    def params(self) -> dict[str, str]:
        """Values of the named parameters of `--where` and `--sql`."""
        return kept_json(self.source_params or "{}", dict, "openai_batch_jobs.source_params")

    @property
    def writes(self) -> dict[str, Any]:
        """Where the answers go: `table`, `columns`, `replace`, `write`."""
        return kept_json(self.output, dict, "openai_batch_jobs.output")

    @property
    def settings(self) -> dict[str, Any]:
        """What else was asked for: rows chosen, limits of a part, how the local server answers."""
        return kept_json(self.options, dict, "openai_batch_jobs.options")

    @property
    def body(self) -> dict[str, Any]:
        """The body that every request was made of, with its placeholders."""
        return kept_json(self.template, dict, "openai_batch_jobs.template")

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that answers must fit; None for answers that are text."""
        if self.answer_schema is None:
            return None
        return kept_json(self.answer_schema, dict, "openai_batch_jobs.answer_schema")

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
    sha256: Bytes | None
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
        return kept_json(self.overrides or "{}", dict, "openai_batch_parts.overrides")


COLUMNS: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Job, Part)
}


def read(kind: type[T], row: sqlite3.Row) -> T:
    """A record from a row that holds at least its columns, whatever their order.

    Other programs may write to these tables too: a time is one of ours or UNKNOWN, text is text.
    """
    values = {name: row[name] for name in COLUMNS[kind]}
    for name, value in values.items():
        if name.endswith(("_at", "_until")):
            values[name] = clock.kept(value)
        elif isinstance(value, bytes) and name not in HASHES:
            values[name] = value.decode(errors="replace")
    return kind(**values)
