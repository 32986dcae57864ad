"""Errors by message, the most frequent first, with what helps."""

from __future__ import annotations

import shlex
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils_openai_batch.base.statuses import FAILED, OUTCOMES
from sqlite_utils_openai_batch.results.recipe import more_room
from sqlite_utils_openai_batch.results.words import COMMAND

from ..access.job import Opened
from ..access.keys import Key, key_of
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
        help={status: what_helps(opened, status) for status in kinds},
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
    sentence, options = OUTCOMES[status].help, OUTCOMES[status].retry
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
