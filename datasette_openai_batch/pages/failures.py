"""Errors by message, the most frequent first, with what helps."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch.base.statuses import FAILED
from sqlite_utils_openai_batch.results.advice import advise

from ..access.job import Key, Opened, key_of
from ..data import samples
from ..text import urls

EXAMPLES = 3
SHOWN = 12


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
    read: int = samples.MESSAGES


def failures(conn: sqlite3.Connection, opened: Opened) -> Failures:
    """The failures of a job by message, counted in at most `samples.MESSAGES` of each kind."""
    groups: dict[tuple[str, str | None, str], Group] = {}
    kinds = [status for status in opened.outcomes if status in FAILED]
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
        help=what_helps(conn, opened),
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


def what_helps(conn: sqlite3.Connection, opened: Opened) -> dict[str, tuple[str, str | None]]:
    """For each kind of failure a sentence, and the command that mends it."""
    helps: dict[str, tuple[str, str | None]] = {}
    for one in advise(conn, opened.job, opened.outcomes, opened.file):
        command = f"{one.command} --status {one.status}" if one.plain else one.command
        before, first = helps.get(one.status, ("", command))
        helps[one.status] = (f"{before} {one.sentence}".lstrip(), first)
    return helps


def link(opened: Opened, status: str) -> str:
    """The address of the requests with this outcome."""
    return urls.job(opened.datasette, opened.db, opened.job.id, _status=status) + "#rows"
