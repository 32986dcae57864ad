"""What helps a request that failed, by its outcome: one table for all screens and pages."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import store
from ..answers.outcome import is_providers_fault, out_of_credit
from ..base.errors import DatabaseError
from ..base.statuses import ONLY, OUTCOMES, RETRY, Help
from ..base.text import COMMAND
from ..pricing.ceiling import again_most
from ..pricing.prices import usd
from ..pricing.tokens import answers_asked, output_cap
from ..store import Job

#: Parameters that cap an answer's tokens, as the endpoints name them.
CAPS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
#: Other parameters by which an answer may become shorter, or its room larger.
LENGTH = {"model", "messages", "input", "instructions", "reasoning", "reasoning_effort",
          "verbosity", "text", "response_format"}  # fmt: skip
#: Advice that a screen has room for.
SHOWN = 3


#: Labels of what surely helps.
CERTAIN = ("Repair", "Top up")

#: By outcome; of errors by whose fault they are: `provider`, `credit`, or the request's own.
HELP: Mapping[str, Help] = {
    **{name: kind.help for name, kind in OUTCOMES.items() if kind.help is not None},
    "too long": Help(
        "Shorten",
        "The model's own limit was reached: ask for shorter answers.",
        again="cut at the model's own limit once more",
    ),
    "request": Help(
        "Change",
        "Read the message, it is the provider's: change what it names, then ask again.",
        f"{ONLY} --set NAME=VALUE",
        "refused once more",
    ),
    "provider": Help("Ask again", "Ask again.", RETRY),
    "credit": Help(
        "Top up",
        "The account is out of credit: top it up, then ask again.",
        ONLY,
        "refused once more, unless the account was topped up",
    ),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What helps some failures of a job."""

    status: str
    count: int
    label: str
    sentence: str
    command: str | None
    """The whole command; None where no command helps."""
    plain: bool
    """Whether it is a `retry` without a change."""
    certain: bool
    """Whether it surely helps, as it stands."""
    cost: str = ""
    """What the command may cost, after some space."""


def kind_of(status: str, code: str | None) -> str:
    """Under which name a failure stands in the table."""
    if status not in ("http_error", "api_error"):
        return status
    if out_of_credit(code):
        return "credit"
    return "provider" if is_providers_fault(status, code) or not code else "request"


def kinds(
    conn: sqlite3.Connection, job: Job, counts: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """How many requests failed, by outcome and name in the table, most frequent first."""
    found: dict[tuple[str, str], int] = {}
    for status, count in counts.items():
        if status in ("http_error", "api_error"):
            for code, some in store.codes(conn, job.id, status):
                name = (status, kind_of(status, code))
                found[name] = found.get(name, 0) + some
        elif status in HELP and count:
            found[status, status] = count
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def advise(
    conn: sqlite3.Connection, job: Job, counts: Mapping[str, int], path: str
) -> list[Advice]:
    """What helps the failures of a job, the most frequent first; `path` is its database."""
    where = f"{shlex.quote(path)} {job.id}"
    room = more_room(conn, job) if counts.get("truncated") else None
    made = []
    for (status, kind), count in kinds(conn, job, counts).items():
        helps = HELP["too long" if kind == "truncated" and room is None else kind]
        words = {"where": where, "status": status, "cap": "", "twice": 0}
        if room is not None:
            words |= {"cap": room[0], "twice": room[1]}
        cost = cost_again(conn, job, count, room) if kind == "truncated" and room else ""
        command = None if helps.command is None else f"{COMMAND} {helps.command.format(**words)}"
        plain = helps.command == RETRY
        certain = helps.label in CERTAIN or bool(kind == "truncated" and room)
        made.append(
            Advice(status, count, helps.label, helps.sentence, command, plain, certain, cost)
        )
    return made


def lines(found: Sequence[Advice], job: Job, path: str) -> list[tuple[str, str]]:
    """Advice as lines of a screen: a label, and a command or a sentence."""
    told: list[tuple[str, str]] = []
    plain = list(dict.fromkeys(one.status for one in found if one.plain))
    for one in found:
        if one.plain:
            again = f"{COMMAND} retry {shlex.quote(path)} {job.id}"
            alone = all(other.plain for other in found)
            line = again if alone else " ".join([again, *(f"--status {name}" for name in plain)])
        else:
            line = f"{one.command}{one.cost}" if one.command else one.sentence
        if (one.label, line) not in told:
            told.append((one.label, line))
    return told[:SHOWN]


def in_vain(
    conn: sqlite3.Connection,
    job: Job,
    asked: Mapping[tuple[str, str | None], int],
    changes: Mapping[str, Any],
) -> list[str]:
    """What asking again, with these changes, can't help: a sentence for each kind of failure.

    `asked` is how many would be asked again, by outcome and error code.
    """
    counts: dict[tuple[str, str], int] = {}
    for (status, code), count in asked.items():
        name = (status, kind_of(status, code))
        counts[name] = counts.get(name, 0) + count
    room = more_room(conn, job)
    told = []
    for (status, kind), count in counts.items():
        if status == "ok":
            # Asked for a better answer, which may be another one.
            continue
        helps = HELP["too long" if kind == "truncated" and room is None else kind]
        if helps.again is None or may_help(kind, changes, room):
            continue
        most = room[1] // 2 if room else 0
        raised = f" Add --set {room[0]}={room[1]}." if kind == "truncated" and room else ""
        told.append(
            f"{count:,} {status}: asked again as {'it was' if count == 1 else 'they were'}, "
            f"{'it is' if count == 1 else 'they are'} {helps.again.format(most=most)}."
            f"{raised or f' {helps.sentence}'}"
        )
    return told


def may_help(kind: str, changes: Mapping[str, Any], room: tuple[str, int] | None) -> bool:
    """Whether changes of the body may bring another outcome than the last one."""
    if kind != "truncated":
        return bool(changes) and kind != "credit"
    caps = [value for name, value in changes.items() if name in CAPS]
    most = room[1] // 2 if room else 0
    return any(isinstance(cap, int) and cap > most for cap in caps) or any(
        name in LENGTH for name in changes
    )


def more_room(conn: sqlite3.Connection, job: Job) -> tuple[str, int] | None:
    """The parameter that caps a job's answers, and twice its value; None where it has no cap.

    Of what a retry raised already, twice that.
    """
    found = []
    for overrides in store.overrides(conn, job.id, "truncated"):
        try:
            body = {**job.body, **json.loads(overrides or "{}")}
            cap = output_cap(body)
        except (TypeError, ValueError, DatabaseError):
            # Changed by hand: then nothing is known of its cap.
            continue
        if cap is not None:
            name = next(name for name in CAPS if name in body)
            found.append((2 * cap // answers_asked(body), name))
    twice, name = max(found, default=(0, ""))
    return (name, twice) if name else None


def cost_again(conn: sqlite3.Connection, job: Job, cut: int, room: tuple[str, int]) -> str:
    """What asking again with more room costs at most, for the end of a line."""
    parts = store.list_parts(conn, job.id)
    most = again_most(job, parts[0], cut, {room[0]: room[1]}) if parts else None
    return "" if most is None else f"     at most {usd(most, up=True)}"
