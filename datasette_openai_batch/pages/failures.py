"""Errors by message, the most frequent first, with what helps."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch.results.recipe import more_room
from sqlite_utils_openai_batch.results.words import COMMAND

from ..access.job import Opened
from ..access.keys import Key, key_of
from ..data import samples
from ..text import urls

EXAMPLES = 3
SHOWN = 12

# What helps, by outcome, and what `retry` needs for it; None where asking again alone is no help.
HELP: Mapping[str, tuple[str, str | None]] = {
    "truncated": ("The model's own limit was reached: ask for shorter answers.", None),
    "refused": ("Reword the prompt, or ask another model about these rows.", None),
    "content_filter": ("Reword the prompt, or leave these rows out with --where.", None),
    "empty": ("Ask again.", ""),
    "invalid_json": ("Ask again, with more tokens if answers were cut.", ""),
    "schema_violation": ("Ask again, or loosen the schema.", ""),
    "http_error": ("Read the message: it is the provider's. Then ask again.", ""),
    "api_error": ("Ask again.", ""),
    "rejected": ("The line itself was refused: mend the row or the template, then ask again.", ""),
    "expired": ("Ask again.", ""),
    "cancelled": ("Ask again.", ""),
    "missing": ("Ask again.", ""),
    "unrenderable": ("Mend the rows, then ask about them in a new job with --missing.", None),
    "too_large": ("Shorten what the template takes from these rows.", None),
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
    help: dict[str, tuple[str, str | None]]


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


def what_helps(opened: Opened, status: str) -> tuple[str, str | None]:
    """A sentence, and the command that mends this kind of failure."""
    sentence, options = HELP[status]
    if status == "truncated" and (room := more_room(opened.job)):
        sentence = "Ask again with room for more tokens."
        options = f"--set {room[0]}={room[1]}"
    if options is None:
        return sentence, None
    where = f"{shlex.quote(opened.file)} {opened.job.id}"
    return sentence, f"{COMMAND} retry {where} --status {status} {options}".rstrip()


def link(opened: Opened, status: str) -> str:
    """The address of the requests with this outcome."""
    return urls.job(opened.datasette, opened.db, opened.job.id, _status=status) + "#rows"
