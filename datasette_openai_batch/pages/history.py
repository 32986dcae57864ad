"""What is folded away at the end of a job's page: parts, sends, files, log."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.base import text as figures
from sqlite_utils_openai_batch.base.json import kept_json
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.store import Part

from ..access.job import Opened
from ..data.parts import some_parts
from ..text import charts, times

# Parts, and sends and lines of the log, that a page shows; the JSON and the tables have the rest.
PARTS = 40
SHOWN = 100


@dataclass(frozen=True, slots=True)
class PartShown:
    """A part in a line, and all that is known of it."""

    number: int
    title: str
    facts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class History:
    """Parts over time, every batch that was made, and the log."""

    drawing: Markup | None
    parts: list[PartShown]
    more_parts: int
    sends: list[tuple[str, ...]]
    log: list[tuple[str, str, str, str]]
    facts: list[tuple[str, str]]


def history(conn: sqlite3.Connection, opened: Opened) -> History:
    """The history of a job, its newest log lines first."""
    parts = some_parts(conn, opened.job.id, PARTS)
    return History(
        drawing=charts.timeline(parts, clock.now()),
        parts=[PartShown(part.number, part_title(part), part_facts(part)) for part in parts],
        more_parts=max(len(opened.parts) - PARTS, 0),
        sends=sends(conn, opened.job.id),
        log=log(conn, opened),
        facts=facts(opened),
    )


def part_title(part: Part) -> str:
    """A part in a line: `Part 2 · completed · 80 requests · 1 h 31 min`."""
    took = clock.seconds_between(part.submitted_at, part.ended_at)
    pieces = [f"Part {part.number}", part.status, figures.counted(part.requests, "request")]
    if took is not None:
        pieces.append(figures.duration(took))
    if part.batch_id:
        pieces.append(part.batch_id)
    return " · ".join(pieces)


def part_facts(part: Part) -> list[tuple[str, str]]:
    """All that is known of a part and its batch, in words; what is unknown is left out."""
    took = clock.seconds_between(part.submitted_at, part.ended_at)
    window = clock.seconds_between(part.submitted_at, part.expires_at)
    counted = (
        f"{part.completed or 0:,} completed, {part.failed or 0:,} failed"
        if part.completed is not None or part.failed is not None
        else ""
    )
    found = [
        ("Outcomes", ", ".join(f"{n:,} {status}" for status, n in part.counts.items())),
        ("Size", figures.size(part.bytes)),
        ("Sends", f"{part.sends}"),
        ("Batch", part.batch_id or ""),
        ("Input file", part.input_file_id or ""),
        ("Output file", part.output_file_id or ""),
        ("Error file", part.error_file_id or ""),
        ("Counted by the provider", counted),
        ("Cost", usd(part.cost_nanousd) if part.cost_nanousd is not None else ""),
        ("Submitted", times.moment(part.submitted_at)),
        ("In progress", times.moment(part.in_progress_at)),
        ("Finalizing", times.moment(part.finalizing_at)),
        ("Ended", times.moment(part.ended_at)),
        ("Took", figures.duration(took) if took is not None else ""),
        ("Window", figures.duration(window) if window is not None else ""),
        ("Expires", times.moment(part.expires_at)),
        ("Collected", times.moment(part.collected_at)),
        ("Written", times.moment(part.written_at)),
        ("Next try", times.moment(part.next_try_at)),
        ("Errors", errors(part.errors)),
    ]
    return [(name, value) for name, value in found if value]


def errors(text: str | None) -> str:
    """The errors that validation of a batch found, as their messages."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return str(text)
    lines = []
    for error in found if isinstance(found, list) else [found]:
        if not isinstance(error, dict):
            lines.append(str(error))
            continue
        line = f"line {error['line']}: " if error.get("line") else ""
        lines.append(f"{line}{error.get('message') or error.get('code')}")
    return "; ".join(lines[:20])


def sends(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, ...]]:
    """Every attempt to send a part: (part, send, batch, status, made, ended)."""
    found = store.rows(
        conn,
        "SELECT parts.number, batches.send, batches.batch_id, batches.status, "
        "batches.created_at, batches.ended_at FROM openai_batch_batches AS batches "
        "JOIN openai_batch_parts AS parts ON parts.id = batches.part_id "
        "WHERE parts.job_id = ? ORDER BY batches.id DESC LIMIT ?",
        [job_id, SHOWN],
    )
    return [
        (
            str(row["number"]),
            str(row["send"]),
            row["batch_id"] or "",
            row["status"] or "",
            times.moment(row["created_at"]),
            times.moment(row["ended_at"]),
        )
        for row in found
    ]


def log(conn: sqlite3.Connection, opened: Opened) -> list[tuple[str, str, str, str]]:
    """The newest lines of the log: (at, part, event, detail).

    What is made of another job, or of a table that answers went to before, is left out where the
    actor may not see that.
    """
    found = store.rows(
        conn,
        "SELECT log.at, parts.number, log.event, log.detail FROM openai_batch_log AS log "
        "LEFT JOIN openai_batch_parts AS parts ON parts.id = log.part_id "
        "WHERE log.job_id = ? AND log.event != 'by' ORDER BY log.id DESC LIMIT ?",
        [opened.job.id, SHOWN],
    )
    read = [(row, detail_of(row["detail"])) for row in found]
    return [
        (times.moment(row["at"]), str(row["number"] or ""), row["event"], detail_words(detail))
        for row, detail in read
        if may_show(opened, row["event"], detail)
    ]


def by_whom(conn: sqlite3.Connection, job_id: int) -> list[tuple[str, str, str]]:
    """Who did what with a job: (at, what, whom). For those only who may change it."""
    found = store.rows(
        conn,
        "SELECT at, detail FROM openai_batch_log WHERE job_id = ? AND event = 'by' "
        "ORDER BY id DESC LIMIT ?",
        [job_id, SHOWN],
    )
    told: list[tuple[str, str, str]] = []
    for row in found:
        kept = kept_json(row["detail"] or "{}", dict, "openai_batch_log.detail")
        whom = kept.get("actor")
        told.append((times.moment(row["at"]), str(kept.get("did")), str(whom or "nobody known")))
    return told


def may_show(opened: Opened, event: str, detail: Any) -> bool:
    """Whether a line of the log is made of nothing but what the actor may see."""
    if event == "compared":
        partner = detail.get("with") if isinstance(detail, dict) else None
        return partner is None or (isinstance(partner, int) and partner in opened.visible)
    if event == "moved":
        return isinstance(detail, dict) and detail.get("table") == opened.output.table
    return True


def detail_of(text: str | None) -> Any:
    """The detail of a log line: the object that it is, or text that somebody else wrote."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return str(text)


def detail_words(found: Any) -> str:
    """The detail of a log line as `name value, name value`."""
    if not isinstance(found, dict):
        return str(found)
    return ", ".join(f"{name} {figures.cut(str(value), 200)}" for name, value in found.items())


def facts(opened: Opened) -> list[tuple[str, str]]:
    """Where the job ran, and with what."""
    job = opened.job
    found = [
        ("Job", f"{job.id}, uid {job.uid}"),
        ("Provider", job.provider),
        ("Address", job.base_url or ""),
        ("Endpoint", job.endpoint),
        ("Account", job.account or ""),
        ("Created", times.moment(job.created_at)),
        ("Approved", times.moment(job.approved_at)),
        ("Submitted", times.moment(job.submitted_at)),
        ("Last checked", times.moment(job.checked_at)),
        ("Finished", times.moment(job.finished_at)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in job.made_with.items())),
    ]
    return [(name, value) for name, value in found if value]
