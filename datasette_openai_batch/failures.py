"""Errors by message, the most frequent first, with what helps."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import samples, urls
from .headline import COMMAND
from .jobs import Opened
from .keys import Key, key_of

EXAMPLES = 3
SHOWN = 12

# What helps, by outcome; `{retry}` is the command for this kind of failure.
HELP: Mapping[str, str] = {
    "truncated": "Ask again with room for more tokens: {retry} --set max_tokens=1400",
    "refused": "Reword the prompt, or ask another model about these rows.",
    "content_filter": "Reword the prompt, or leave these rows out with --where.",
    "empty": "Ask again: {retry}",
    "invalid_json": "Ask again, with more tokens if answers were cut: {retry}",
    "schema_violation": "Ask again, or loosen the schema: {retry}",
    "http_error": "Read the message: it is the provider's. Then {retry}",
    "api_error": "Ask again: {retry}",
    "rejected": "The line itself was refused: mend the row or the template, then {retry}",
    "expired": "Ask again: {retry}",
    "cancelled": "Ask again: {retry}",
    "missing": "Ask again: {retry}",
    "unrenderable": "Mend the rows, then ask about them in a new job with --missing.",
    "too_large": "Shorten what the template takes from these rows.",
}


@dataclass(slots=True)
class Group:
    """Failures with one message."""

    status: str
    code: str | None
    message: str
    count: int = 0
    examples: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failures:
    """The groups of a job, and what helps by outcome. `sampled`: counts come from a sample."""

    groups: list[Group]
    more: int
    sampled: dict[str, int]
    help: dict[str, str]


def failures(conn: sqlite3.Connection, opened: Opened) -> Failures:
    """The failures of a job by message, counted in at most `samples.MESSAGES` of each kind."""
    groups: dict[tuple[str, str | None, str], Group] = {}
    kinds = [status for status in opened.outcomes if status not in ("ok", "pending")]
    for status in kinds:
        for row in samples.messages(conn, opened.job.id, status):
            _add(groups, opened, status, row)
    ordered = sorted(groups.values(), key=lambda group: -group.count)
    return Failures(
        groups=ordered[:SHOWN],
        more=max(len(ordered) - SHOWN, 0),
        sampled={
            status: opened.outcomes[status]
            for status in kinds
            if opened.outcomes[status] > samples.MESSAGES
        },
        help={status: what_helps(opened, status) for status in kinds if status in HELP},
    )


def _add(
    groups: dict[tuple[str, str | None, str], Group], opened: Opened, status: str, row: sqlite3.Row
) -> None:
    message: Any = row["error_message"]
    name = (status, row["error_code"], str(message or ""))
    group = groups.setdefault(name, Group(*name))
    group.count += 1
    if len(group.examples) < EXAMPLES:
        group.examples.append(key_of(opened, row["id"], row["row_key"]))


def what_helps(opened: Opened, status: str) -> str:
    """A sentence with the command that mends this kind of failure."""
    where = f"{shlex.quote(opened.file)} {opened.job.id}"
    retry = f"{COMMAND} retry {where} --status {status}"
    return HELP[status].format(retry=retry)


def link(opened: Opened, status: str) -> str:
    """The address of the requests with this outcome."""
    return urls.job(opened.datasette, opened.db, opened.job.id, _status=status) + "#rows"
