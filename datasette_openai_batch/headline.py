"""The first lines of a job's page: where it stands, what it waits for, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlite_utils_openai_batch import words
from sqlite_utils_openai_batch.figures import counted
from sqlite_utils_openai_batch.prices import usd
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.words import COMMAND

from . import times
from .queries import PartHead


@dataclass(frozen=True, slots=True)
class Headline:
    """What stands above everything else. `box` is set apart: it needs somebody to act."""

    status: str
    facts: list[str]
    waits: str | None
    box: str | None
    command: str | None
    alone: str | None


def headline(
    job: Job, parts: Sequence[PartHead], outcomes: Mapping[str, int], *, file: str, immutable: bool
) -> Headline:
    """The headline of a job in the database file that is called `file`."""
    text = words.status_words(job, outcomes, {part.status for part in parts})
    # The reason of a job that stopped is told in full in the box.
    text = job.status if job.status in ("paused", "failed") else text
    alone = times.left_alone(job, immutable=immutable)
    return Headline(
        status=text[:1].upper() + text[1:],
        facts=facts(job, outcomes),
        waits=waits(job, parts),
        box=job.message if job.status in ("paused", "failed", "cancelled") else None,
        command=command(job, outcomes, file, bool(alone) and not immutable),
        alone=alone,
    )


def facts(job: Job, outcomes: Mapping[str, int]) -> list[str]:
    """Answered rows, cost, time: the figures of the headline."""
    total = sum(outcomes.values())
    found = [f"{outcomes.get('ok', 0):,} of {counted(total, 'row')} answered"]
    if job.cost_nanousd is not None:
        found.append(usd(job.cost_nanousd))
    elif words.own_server(job):
        found.append("no cost (own server)")
    if job.finished_at:
        found.append(f"finished {times.moment(job.finished_at)} UTC")
    elif job.checked_at:
        found.append(f"last checked {times.ago(job.checked_at)}")
    return found


def waits(job: Job, parts: Sequence[PartHead]) -> str | None:
    """What a running job waits for, and for how long that may be."""
    if job.status not in ("running", "cancelling"):
        return None
    there = sum(part.status in words.UNDER_WAY for part in parts)
    unsent = sum(part.status == "prepared" for part in parts)
    pieces = []
    if there:
        where = "under way" if words.own_server(job) else f"with {words.host_words(job)}"
        pieces.append(f"{counted(there, 'part')} {where}")
    if unsent:
        pieces.append(f"{counted(unsent, 'part')} not sent yet")
    if not pieces:
        return None
    ends = [part.expires_at for part in parts if part.expires_at and not part.ended_at]
    until = f", at the latest {times.moment(max(ends))} UTC" if ends and not unsent else ""
    usually = "" if words.own_server(job) else f" Usually within 24 h{until}."
    return f"{' and '.join(pieces)}.{usually}"


def command(job: Job, outcomes: Mapping[str, int], file: str, alone: bool) -> str | None:
    """The command that takes this job further; None where there is nothing to do."""
    where = f"{shlex.quote(file)} {job.id}"
    if job.status == "prepared":
        return f"{COMMAND} submit {where}"
    if job.status == "paused":
        # Many messages name the command themselves; then one is enough.
        return None if COMMAND in (job.message or "") else f"{COMMAND} submit {where}"
    if job.status in ("running", "cancelling") and alone:
        return f"{COMMAND} sync {where}"
    if job.status in ("completed", "failed", "cancelled") and words.failures(outcomes):
        return f"{COMMAND} retry {where}"
    return None
