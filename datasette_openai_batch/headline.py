"""The first lines of a job's page: where it stands, what it waits for, what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from sqlite_utils_openai_batch import words
from sqlite_utils_openai_batch.figures import counted
from sqlite_utils_openai_batch.prices import usd
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.words import COMMAND

from . import times
from .parts import PartHead

# A command in a message runs to its end, or to the full stop or bracket after which text goes on.
_COMMAND = re.compile(rf"({COMMAND}(?:[^.,;()]|[.,](?=\S))*[^\s.,;()])")


@dataclass(frozen=True, slots=True)
class Headline:
    """What stands above everything else. `box` is set apart: it needs somebody to act."""

    status: str
    facts: list[str]
    waits: Markup | None
    box: Markup | None
    command: str | None
    alone: Markup | None


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
        box=box(job),
        command=command(job, outcomes, file, bool(alone) and not immutable),
        alone=alone,
    )


def box(job: Job) -> Markup | None:
    """Why a job stopped, the commands in its message marked as such."""
    if job.status not in ("paused", "failed", "cancelled") or not job.message:
        return None
    pieces = _COMMAND.split(job.message)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if n % 2 else escape(piece)
        for n, piece in enumerate(pieces)
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
        found.append(Markup("finished {}").format(times.moment(job.finished_at, zone=True)))
    elif job.checked_at:
        found.append(Markup("last checked {}").format(times.ago(job.checked_at)))
    return found


def waits(job: Job, parts: Sequence[PartHead]) -> Markup | None:
    """What a running job waits for, and for how long that may be."""
    if job.status not in ("running", "cancelling"):
        return None
    under_way = sum(part.status in words.UNDER_WAY for part in parts)
    unsent = sum(part.status == "prepared" for part in parts)
    whole = f"{under_way:,} of {counted(len(parts), 'part')}"
    pieces = []
    if under_way:
        where = "under way" if words.own_server(job) else f"with {words.host_words(job)}"
        pieces.append(f"{whole if under_way < len(parts) else counted(under_way, 'part')} {where}")
    if unsent:
        pieces.append(f"{unsent:,} not sent yet" if under_way else f"{unsent:,} parts not sent yet")
    if not pieces:
        return None
    said = Markup("{}.").format(", ".join(pieces))
    if words.own_server(job):
        return said
    ends = [part.expires_at for part in parts if part.expires_at and not part.ended_at]
    if not ends or unsent:
        return said + " Usually within 24 h."
    last = times.moment(max(ends), zone=True)
    return said + Markup(" Usually within 24 h, at the latest {}.").format(last)


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
