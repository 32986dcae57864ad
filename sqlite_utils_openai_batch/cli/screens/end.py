"""What is said when a job has ended, or its watching was stopped."""

from __future__ import annotations

import shlex
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...base import clock
from ...base.statuses import NOT_WRITTEN
from ...base.text import COMMAND, counted, duration, oneline
from ...results.words import cost_words, failures, host_words

if TYPE_CHECKING:
    from ...results.advice import Advice
    from ...store import Job, Part


def ended_screen(
    job: Job,
    counts: dict[str, int],
    written: dict[str, Any],
    path: str,
    again_at: str | None = None,
    advice: Sequence[Advice] = (),
    tells: Sequence[str] = (),
) -> str:
    """What is said when a job has ended; `again_at` is when it was last asked again, if it was.

    `advice` is what helps its failures, `tells` what there is to say of answers asked again.
    """
    from ...jobs.writeback import not_written_lines, refused_lines
    from ...results.advice import lines as advice_lines
    from ...tables.output import Output

    db = shlex.quote(path)
    failed = failures(counts)
    took = clock.seconds_between(again_at or job.submitted_at, job.finished_at)
    begin = "Cancelled" if job.status == "cancelled" else "Done"
    spent = f" in {duration(took)}" if took is not None else ""
    times = int(job.settings.get("times") or 1)
    of = counted(job.requests or 0, "row" if times == 1 else "request")
    words = f"{counts.get('ok', 0):,} of {of} answered"
    if failed:
        kinds = ", ".join(f"{count:,} {status}" for status, count in failed.items())
        words += f"; {sum(failed.values()):,} failed ({kinds})"
    lines = [f"{begin}{spent}. {words}.", *tells]
    output = Output.of(job)
    refused: dict[str, int] = written.get("refused", {})
    left = sum(written.get(status, 0) for status in NOT_WRITTEN) + sum(refused.values())
    if output.write and counts.get("ok", 0) > left:
        table = output.table or job.source
        names = ", ".join(oneline(f"{table}.{name}") for name in output.names)
        cost = "" if cost_words(job) in ("-", "none") else f" Cost {cost_words(job)}."
        lines.append(f"Written to {names}.{cost}")
    lines += not_written_lines(written)
    lines += refused_lines(refused)
    lines.append(f"  See them    datasette {db}     → {page_of(job, path)}")
    if failed and job.status == "completed":
        told = advice_lines(advice, job, path)
        lines += [f"  {label:<10}  {helps}" for label, helps in told]
    lines += pilot_lines(job, db)
    lines.append(f"  As a file   {COMMAND} results {db} {job.id} --csv > answers.csv")
    return "\n".join(lines)


def pilot_lines(job: Job, db: str) -> list[str]:
    """After a pilot: what to look at, and how to go on."""
    if not job.settings.get("pilot") or job.status != "completed":
        return []
    name = shlex.quote(job.name or str(job.id))
    whole = int(job.settings.get("source_rows", 0))
    left = whole - (job.requests or 0) - (job.skipped or 0)
    rest = f" ({counted(left, 'row')} more)" if whole else ""
    look = [
        f"  Label some  {COMMAND} review {db} {job.id}",
        f"  Read some   {COMMAND} results {db} {job.id}",
    ]
    pilot = f"Pilot of {counted(job.requests or 0, 'row')}"
    if whole and left <= 0:
        return [f"{pilot}, and there are no others: see whether the answers are good.", *look]
    return [
        f"{pilot}: before the rest, see whether the answers are good.",
        *look,
        f"  The rest    {COMMAND} run {db} --like {name} --missing{rest}",
    ]


def page_of(job: Job, path: str) -> str:
    """The path of a job's page in Datasette."""
    from pathlib import Path

    return f"/{tilde_encoded(Path(path).stem)}/-/openai-batch/{job.id}"


def tilde_encoded(name: str) -> str:
    """A name as Datasette writes it in paths.

    https://docs.datasette.io/en/stable/internals.html#tilde-encoding
    """
    plain = string.ascii_letters + string.digits + "_-"
    return "".join(
        chr(byte) if chr(byte) in plain else "+" if byte == 32 else f"~{byte:02X}"
        for byte in name.encode()
    )


def stopped_sentence(job: Job, parts: Sequence[Part], path: str) -> str:
    """What Ctrl-C is answered with."""
    db = shlex.quote(path)
    going = sum(1 for part in parts if part.batch_id and not part.ended_at)
    unsent = sum(1 for part in parts if part.status == "prepared")
    batches = counted(going, "batch", "batches")
    words = f"{batches} {'goes' if going == 1 else 'go'} on at {host_words(job)}"
    if job.provider == "local":
        words = f"{batches} on this machine {'waits' if going == 1 else 'wait'}"
    rest = (
        f", {counted(unsent, 'part')} {'is' if unsent == 1 else 'are'} not sent yet"
        if unsent
        else ""
    )
    return f"Stopped watching. {words}{rest}. Go on with: {COMMAND} watch {db} {job.id}"
