"""The screens of a job: `show`, and the list that `jobs` prints."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...base import clock, waits
from ...base.json import kept_counts, kept_words
from ...base.text import COMMAND, counted, cut, duration, key_words, oneline, percent
from ...results.words import cost_words, failures, job_cost_line, own_server, status_words
from .text import progress, row, table, when, when_later

if TYPE_CHECKING:
    from ...results.advice import Advice
    from ...results.again import Round
    from ...store import Job, Part
    from ...tables.output import Output


# What the log calls result files of which only some came.
SHORT = ("file cut", "file short", "lines missing")
#: Of the labels that became others, so many are shown.
SHOWN_CHANGES = 6
# What a job's message says where its ceiling is in the way.
RAISE = re.compile(r"--max-cost [\d.]*\d")


def jobs_screen(found: Sequence[tuple[Job, dict[str, int], str | None]]) -> str:
    """The list of jobs: each with its outcomes, and when it is tried again at a full queue."""
    return table(
        ["id", "name", "table", "model", "status", "done", "cost", "started"],
        (
            [
                str(job.id),
                job.name or "-",
                job.source or "(query)",
                cut(job.model or "-", 24),
                cut(status_words(job, counts, full=full), 50 if full else 40),
                progress(job, counts),
                cost_words(job),
                when(job.submitted_at),
            ]
            for job, counts, full in found
        ),
        right=(0,),
    )


def title(job: Job, output: Output) -> str:
    """What a job does: `answers → category, confidence`."""
    where = f"{output.table}." if output.table else ""
    columns = ", ".join(where + name for name in output.names) if output.write else "(not written)"
    return oneline(f"{job.source or 'a query'} → {columns}")


def show_screen(
    job: Job,
    parts: Sequence[Part],
    counts: dict[str, int],
    examples: dict[str, tuple[str | None, list[Any]]],
    output: Output,
    models: Sequence[str],
    path: str,
    queue: str | None = None,
    full: str | None = None,
    files: Sequence[str] = (),
    advice: Sequence[Advice] = (),
    again: Sequence[Round] = (),
    *,
    by_answers: bool = False,
) -> str:
    """Everything about one job; `queue` is what it waits for at the provider, `full` until when.

    `files` tells what happened to its result files, `advice` what helps its failures; `by_answers`
    whether its first answers stopped it.
    """
    words = status_words(job, counts, full=full)
    stopped = job.needs_you or job.status == "failed"
    head = f"Job {job.id}  {title(job, output)}"
    lines = [f"{head:<46}  {job.status if stopped else words}"]
    if stopped:
        lines.append(f"{job.message or 'no reason is known'}")
        if job.needs_you:
            lines += mend_lines(job, path, advice if by_answers else ())
    lines += asked_lines(job, counts, examples)
    answered = f", answered by {', '.join(models)}" if models and models != [job.model] else ""
    lines.append(row("Model", oneline(f"{job.model or '-'}{answered}")))
    lines += token_lines(job, parts)
    lines.append(row("Cost", job_cost_line(job)))
    lines += again_rows(job, again)
    lines.append(row("Time", time_line(job)))
    if queue is not None:
        lines.append(row("Queue", queue))
    lines += part_lines(parts)
    lines += [row("" if n else "Files", told) for n, told in enumerate(files)]
    lines += next_lines(job, counts, path, () if stopped and by_answers else advice)
    return "\n".join(lines)


def mend_lines(job: Job, path: str, advice: Sequence[Advice]) -> list[str]:
    """What lets a job go on; first what helps its answers, where they are what stopped it."""
    from ...results.advice import lines as advice_lines

    told = [("Mend", helps) for _, helps in advice_lines(advice, job, path)]
    told.append(("Or go on" if told else "Mend", mend(job, path)))
    return [row(label if n in (0, len(told) - 1) else "", line)
            for n, (label, line) in enumerate(told)]  # fmt: skip


def mend(job: Job, path: str) -> str:
    """The command that lets a paused job go on, or one that couldn't be cancelled."""
    if job.status == "cancelling":
        return f"{COMMAND} cancel {shlex.quote(path)} {job.id}"
    found = RAISE.search(job.message or "")
    raised = f" {found[0]}" if found else ""
    return f"{COMMAND} submit {shlex.quote(path)} {job.id}{raised}"


def asked_lines(
    job: Job, counts: dict[str, int], examples: dict[str, tuple[str | None, list[Any]]]
) -> list[str]:
    """How many rows were asked, and what became of them: the sum is the job's requests."""
    requests = job.requests or 0
    skipped = job.skipped or 0
    times = int(job.settings.get("times") or 1)
    rows = max(int(job.settings.get("source_rows", 0)), requests // times + skipped)
    left = {"blank": skipped, "not chosen": rows - requests // times - skipped}
    others = ", ".join(f"{count:,} {word}" for word, count in left.items() if count)
    of_rows = f"{requests:,} of {counted(rows, 'row')}"
    if times > 1:
        about = counted(requests // times, "row")
        of_rows = f"{requests:,} requests about {about}, {times} each, which vote"
    lines = [row("Asked", f"{of_rows} ({others})" if others else of_rows)]
    ordered = {
        status: counts[status] for status in ("ok", "pending") if counts.get(status)
    } | failures(counts)
    width = max(12, *(len(status) for status in ordered)) if ordered else 12
    messages = {status: cut(message or "", 44) for status, (message, _) in examples.items()}
    widest = max(map(len, messages.values()), default=0)
    for status, count in ordered.items():
        line = f"  {status:<{width}} {count:>9,}   {percent(count, requests):>7}"
        message, keys = messages.get(status, ""), examples.get(status, (None, []))[1]
        if message or keys:
            line += f"   {message:<{widest}}"
        if keys:
            more = " …" if count > len(keys) else ""
            names = oneline(".".join(filter(None, (job.source, "/".join(job.keys)))))
            line += f"   {names} {', '.join(key_words(key, job.keys) for key in keys)}{more}"
        lines.append(line.rstrip())
    lines.append(f"  {'sum':<{width}} {sum(counts.values()):>9,}")
    return lines


def token_lines(job: Job, parts: Sequence[Part]) -> list[str]:
    """Tokens as the provider counted them; no line where it counted none."""
    sums = [
        sum(getattr(part, name) or 0 for part in parts)
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    ]
    if not any(sums):
        return []
    cached = f" ({sums[1]:,} cached)" if sums[1] else ""
    reasoned = f" ({sums[3]:,} reasoning)" if sums[3] else ""
    expected = job.estimated_input_tokens
    told = expected is not None and not own_server(job)
    estimate = f" · estimate {expected:,} in" if told else ""
    return [row("Tokens", f"{sums[0]:,} in{cached} · {sums[2]:,} out{reasoned}{estimate}")]


def again_rows(job: Job, found: Sequence[Round]) -> list[str]:
    """What was asked again: how many rows, what that cost, which labels it changed."""
    from ...results.again import cost_words, round_words, worth_words

    lines: list[str] = []
    for one in found:
        cost = cost_words(job, one)
        added = f", {cost} of the cost" if cost else ""
        lines.append(row("" if lines else "Again", f"{round_words(one)}{added}"))
        for column, changes in one.changed.items():
            for old, new, count in changes[:SHOWN_CHANGES]:
                said = f"{cut(old, 24)} → {cut(new, 24)}"
                lines.append(row("", f"  {cut(column, 20)}  {said:<32} {count:>9,}"))
            if len(changes) > SHOWN_CHANGES:
                lines.append(row("", f"  … {len(changes) - SHOWN_CHANGES:,} more"))
        lines += [row("", f"  {column}: {worth_words(one, column)}") for column in one.worth]
    return lines


def time_line(job: Job) -> str:
    """From when to when, and how fresh that is."""
    if job.submitted_at is None:
        if job.finished_at:
            done = when_later(job.finished_at, job.created_at)
            how = "answers brought by hand until" if job.status == "completed" else job.status
            if "vote" in job.settings:
                return f"counted {when(job.created_at)}"
            return f"prepared {when(job.created_at)}, {how} {done}"
        return f"prepared {when(job.created_at)}, not sent"
    end = when_later(job.finished_at, job.submitted_at) if job.finished_at else "…"
    seen = when_later(job.checked_at, job.submitted_at)
    checked = f", last checked {seen}" if job.checked_at else ""
    return f"{when(job.submitted_at)} → {end}{checked}"


def part_lines(parts: Sequence[Part]) -> list[str]:
    """One line a part; of many the first few and those that are still under way."""
    shown = (
        list(parts)
        if len(parts) <= 12
        else [*parts[:5], *(p for p in parts[5:] if not p.collected_at)][:12]
    )
    lines: list[str] = []
    width = max((len(str(part.number)) for part in shown), default=1)
    for part in shown:
        took = clock.seconds_between(part.submitted_at, part.ended_at)
        spent = f"  {duration(took)}" if took is not None else ""
        ran = f"  {part.completed:,} ok so far" if part.completed and not part.ended_at else ""
        text = (
            f"{part.number:>{width}}  {part.batch_id or '-'}  {part.status}  "
            f"{part.requests:,}{ran}{spent}{overdue(part)}"
        )
        lines.append(row("Parts" if not lines else "", text))
    if len(shown) < len(parts):
        lines.append(row("", f"… {len(parts) - len(shown):,} more parts"))
    return lines


def file_lines(parts: Sequence[Part], log: Sequence[Any]) -> list[str]:
    """What happened to result files that came short, by the log of a job."""
    by_number = {part.number: part for part in parts}
    told: dict[int, str] = {}
    for line in log:
        part = by_number.get(line["number"] or 0)
        if part is not None and line["event"] in SHORT:
            told[part.number] = f"part {part.number}: {short_words(part, line)}"
    lines = list(told.values())
    return lines if len(lines) <= 3 else [*lines[:3], f"… {len(lines) - 3:,} more"]


def short_words(part: Part, line: Any) -> str:
    """What happened to the files of one part, by a line of the log."""
    numbers = kept_counts(line["detail"])
    unit = "bytes" if "bytes" in numbers else kept_words(line["detail"]).get("unit", "lines")
    came = next((numbers[name] for name in ("came", "bytes", "lines") if name in numbers), 0)
    of = f"{numbers['of']:,} {unit}" if "of" in numbers else "a result file"
    some = f"only {came:,} of {of}" if "of" in numbers else f"only {counted(came, 'byte')} of {of}"
    if not came:
        some = f"nothing of {of}"
    if line["event"] == "lines missing":
        return f"{some} came, in a whole file: those that are missing are asked again"
    if part.collected_at is not None:
        return f"{some} came at first, so it was downloaded again"
    again = f", next try {clock.hour(part.next_try_at)}" if part.next_try_at else ""
    return f"{some} came, and nothing is bought again{again}"


def overdue(part: Part) -> str:
    """That a part's batch should have ended long ago; nothing where it shouldn't."""
    if not part.expires_at or part.ended_at or part.expires_at > clock.now(-waits.STUCK_SECONDS):
        return ""
    return f"  should have ended by {when(part.expires_at)}"


def next_lines(
    job: Job, counts: dict[str, int], path: str, advice: Sequence[Advice] = ()
) -> list[str]:
    """The commands that one would want now."""
    from ...results.advice import lines as advice_lines

    db = shlex.quote(path)
    if job.status == "prepared":
        return [row("Next", f"{COMMAND} submit {db} {job.id}")]
    if job.status in ("running", "cancelling"):
        return [row("Next", f"{COMMAND} watch {db} {job.id}")]
    lines = []
    if job.status in ("completed", "paused"):
        # Of an ended job only what is sure to help: what failed stands above, with its message.
        helping = [one for one in advice if one.certain or job.status == "paused"]
        lines += [helps for _, helps in advice_lines(helping, job, path)]
    if counts.get("ok"):
        lines.append(f"{COMMAND} results {db} {job.id} --csv > answers.csv")
    if lines:
        return [row("" if n else "Next", line) for n, line in enumerate(lines)]
    if job.status == "failed":
        return [row("Next", f"{COMMAND} results {db} {job.id}")]
    return []
