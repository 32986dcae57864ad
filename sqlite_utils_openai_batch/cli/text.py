"""The screens: what a job's figures look like to people. Nothing here reads or writes."""

from __future__ import annotations

import json
import re
import shlex
import string
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .. import clock, waits
from ..figures import counted, cut, duration, percent, size
from ..words import COMMAND, cost_words, failures, host_words, own_server, status_words
from .accounts import cut_answers, job_cost_line
from .costs import confirmation_line, estimate_rows, same_words

if TYPE_CHECKING:
    from ..output import Output
    from ..plan import Plan
    from ..rendering import Rendered, Tally
    from ..store import Job, Part
    from .options import Place

LABEL = 10

# Why an answer wasn't written: for one row, and for several.
LEFT_ALONE = {
    "stale": (
        "changed after it was asked about: its answer is kept in the job, not written",
        "changed after they were asked about: their answers are kept in the job, not written",
    ),
    "kept_existing": (
        "held a value by then, which was left as it is",
        "held values by then, which were left as they are",
    ),
    "row_gone": (
        "is gone: its answer is kept in the job",
        "are gone: their answers are kept in the job",
    ),
}

# What a job's message says where its ceiling is in the way.
RAISE = re.compile(r"--max-cost [\d.]*\d")


def row(label: str, text: str) -> str:
    """One line of a screen: a label, and what there is to say."""
    return f"{label:<{LABEL}}{text}"


def when(at: str | None) -> str:
    """A stored time in the reader's time zone: `today 03:00`, `20 Nov 14:02`, `-`."""
    if not at or clock.told(at) is None:
        return "-"
    local = clock.parse(at).astimezone()
    today = datetime.now(timezone.utc).astimezone()
    if local.date() == today.date():
        return f"today {local:%H:%M}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M}"
    return f"{local.day} {local:%b %Y}"


def when_later(at: str | None, first: str | None) -> str:
    """A time that stands after another: without the day where that is the same."""
    if not (at and first and clock.told(at) and clock.told(first)):
        return when(at)
    local = clock.parse(at).astimezone()
    same_day = local.date() == clock.parse(first).astimezone().date()
    return f"{local:%H:%M}" if same_day else when(at)


def progress(job: Job, counts: dict[str, int]) -> str:
    """How many requests have an outcome: `12,000/20,000`."""
    whole = job.requests or 0
    return f"{whole - counts.get('pending', 0):,}/{whole:,}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns under their headers, two spaces apart, no trailing spaces."""
    cells = [list(headers), *(list(line) for line in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(headers))]
    lines = [
        "  ".join(
            cell.rjust(widths[n]) if n in right else cell.ljust(widths[n])
            for n, cell in enumerate(line)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


def jobs_screen(found: Sequence[tuple[Job, dict[str, int]]]) -> str:
    """The list of jobs."""
    return table(
        ["id", "name", "table", "model", "status", "done", "cost", "started"],
        (
            [
                str(job.id),
                job.name or "-",
                job.source or "(query)",
                cut(job.model or "-", 24),
                cut(status_words(job, counts), 40),
                progress(job, counts),
                cost_words(job),
                when(job.submitted_at),
            ]
            for job, counts in found
        ),
        right=(0,),
    )


def key_words(key: Any, columns: Sequence[str]) -> str:
    """A row's key as people read it, given its columns."""
    if len(columns) > 1:
        return "/".join(str(value) for value in json.loads(key))
    return str(key)


def row_words(plan: Plan, key: Any) -> str:
    """A row and its key: `movies.title = Heat`."""
    name = ".".join(filter(None, (plan.source.name, "/".join(plan.source.key_columns))))
    return f"{name} = {key_words(key, plan.source.key_columns)}"


def title(job: Job, output: Output) -> str:
    """What a job does: `answers → category, confidence`."""
    where = f"{output.table}." if output.table else ""
    columns = ", ".join(where + name for name in output.names) if output.write else "(not written)"
    return f"{job.source or 'a query'} → {columns}"


def show_screen(
    job: Job,
    parts: Sequence[Part],
    counts: dict[str, int],
    examples: dict[str, tuple[str | None, list[Any]]],
    output: Output,
    models: Sequence[str],
    path: str,
    queue: str | None = None,
) -> str:
    """Everything about one job; `queue` is what it waits for at the provider."""
    words = status_words(job, counts)
    stopped = job.needs_you or job.status == "failed"
    head = f"Job {job.id}  {title(job, output)}"
    lines = [f"{head:<46}  {job.status if stopped else words}"]
    if stopped:
        lines.append(f"{job.message or 'no reason is known'}")
        if job.needs_you:
            lines.append(row("Mend", mend(job, path)))
    lines += asked_lines(job, counts, examples)
    answered = f", answered by {', '.join(models)}" if models and models != [job.model] else ""
    lines.append(row("Model", f"{job.model or '-'}{answered}"))
    lines += token_lines(job, parts)
    lines.append(row("Cost", job_cost_line(job)))
    lines.append(row("Time", time_line(job)))
    if queue is not None:
        lines.append(row("Queue", queue))
    lines += part_lines(parts)
    lines += next_lines(job, parts, counts, path)
    return "\n".join(lines)


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
    rows = max(int(job.settings.get("source_rows", 0)), requests + skipped)
    left = {"blank": skipped, "not chosen": rows - requests - skipped}
    others = ", ".join(f"{count:,} {word}" for word, count in left.items() if count)
    of_rows = f"{requests:,} of {counted(rows, 'row')}"
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
            names = ".".join(part for part in (job.source, "/".join(job.keys)) if part)
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


def time_line(job: Job) -> str:
    """From when to when, and how fresh that is."""
    if job.submitted_at is None:
        if job.finished_at:
            done = when_later(job.finished_at, job.created_at)
            return f"prepared {when(job.created_at)}, answers brought by hand until {done}"
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
    for part in shown:
        took = clock.seconds_between(part.submitted_at, part.ended_at)
        spent = f"  {duration(took)}" if took is not None else ""
        ran = f"  {part.completed:,} ok so far" if part.completed and not part.ended_at else ""
        text = (
            f"{part.number:>2}  {part.batch_id or '-'}  {part.status}  "
            f"{counted(part.requests, 'request')}{ran}{spent}{overdue(part)}"
        )
        lines.append(row("Parts" if not lines else "", text))
    if len(shown) < len(parts):
        lines.append(row("", f"… {len(parts) - len(shown):,} more parts"))
    return lines


def overdue(part: Part) -> str:
    """That a part's batch should have ended long ago; nothing where it shouldn't."""
    if not part.expires_at or part.ended_at or part.expires_at > clock.now(-waits.STUCK_SECONDS):
        return ""
    return f"  should have ended by {when(part.expires_at)}"


def next_lines(job: Job, parts: Sequence[Part], counts: dict[str, int], path: str) -> list[str]:
    """The commands that one would want now."""
    db = shlex.quote(path)
    if job.status == "prepared":
        return [row("Next", f"{COMMAND} submit {db} {job.id}")]
    if job.status in ("running", "cancelling"):
        return [row("Next", f"{COMMAND} watch {db} {job.id}")]
    lines = []
    if again := cut_answers(job, parts, counts.get("truncated", 0)):
        lines.append(f"{COMMAND} retry {db} {job.id} {again[0]}{again[1]}")
    if counts.get("ok"):
        lines.append(f"{COMMAND} results {db} {job.id} --csv > answers.csv")
    if lines:
        return [row("" if n else "Next", line) for n, line in enumerate(lines)]
    if job.status == "failed":
        return [row("Next", f"{COMMAND} results {db} {job.id}")]
    return []


def request_lines(plan: Plan, shown: Rendered, number: int, total: int) -> str:
    """One rendered request, made readable."""
    body = json.loads(shown.line)["body"]
    pairs = [(label, cut(text, 100)) for label, text in said(body)]
    if plan.schema is not None:
        pairs.append(("schema", plan.schema.describe()))
    width = max([7, *(len(label) for label, _ in pairs)])
    lines = [f"Request {number} of {total:,}   {row_words(plan, shown.row_key)}"]
    return "\n".join([*lines, *(f"  {label:<{width}} {text}" for label, text in pairs)])


def said(body: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Who says what in a request's body."""
    if "instructions" in body:
        yield "system", str(body["instructions"])
    for message in body.get("messages", []):
        yield from told(str(message.get("role")), message.get("content"))
    if "input" in body:
        value = body["input"]
        if isinstance(value, list) and all(isinstance(one, dict) for one in value):
            for message in value:
                yield from told(str(message.get("role")), message.get("content"))
        else:
            yield from told("input", value)


def told(role: str, content: Any) -> Iterable[tuple[str, str]]:
    """What one message says: its text, and the images that it shows."""
    parts = content if isinstance(content, list) else [content]
    if not all(isinstance(part, str | dict) for part in parts):
        parts = [json.dumps(content, ensure_ascii=False)]
    for part in parts:
        if isinstance(part, str):
            yield role, part
        elif "image_url" in part:
            given = part["image_url"]
            yield "image", image_words(str(given.get("url") if isinstance(given, dict) else given))
        else:
            yield role, str(part.get("text") or json.dumps(part, ensure_ascii=False))


def image_words(url: str) -> str:
    """An image in a request: its address, or what its data URL holds."""
    kind, comma, data = url.partition(";base64,")
    if not comma:
        return url
    return f"{kind.removeprefix('data:')}, {size(len(data) * 3 // 4)}"


def summary_screen(
    plan: Plan,
    tally: Tally,
    place: Place,
    free_bytes: int | None,
    total: int | None = None,
    *,
    limit: int | None = None,
    pace: float | None = None,
) -> str:
    """What a job would ask, where, and what it would write.

    `total` is the number of all rows of the source where only some of them were chosen; `limit`
    (tokens) and `pace` (seconds a part) are those of the provider's queue.
    """
    rows = f"{counted(tally.rows if total is None else total, 'row')} in {source_name(plan)}"
    if total is not None:
        rows += f" · {tally.rows:,} chosen"
    rows += f" · {tally.asked:,} to ask"
    if tally.blank:
        rows += f" · {tally.blank:,} blank, {'skipped' if plan.ask.blanks == 'skip' else 'sent'}"
    for count, word in ((tally.unrenderable, "unrenderable"), (tally.too_large, "too large")):
        if count:
            rows += f" · {count:,} {word}"
    free = f", {size(free_bytes)} free" if free_bytes is not None else ""
    known = not place.key_from.startswith("no key")
    key = f", key from {place.key_from}" if known else f", {place.key_from}"
    found = tally.estimate
    same = same_words(found) if found else None
    lines = [
        row("Rows", rows),
        row("Reads", reads_words(plan)),
        *([row("Same", same)] if same else []),
        *([row("Same", shared_words(tally))] if tally.shared or tally.reused else []),
        row("Model", f"{plan.model} at {place.host}{key}"),
        row("Parts", parts_words(tally, free)),
    ]
    if found is not None:
        lines += [row(*one) for one in estimate_rows(found, plan, place, limit=limit, pace=pace)]
    lines.append(row("Writes", writes_words(plan)))
    if tally.first_problem:
        lines.append(row("Problems", cut(tally.first_problem, 100)))
    return "\n".join(lines)


def reads_words(plan: Plan) -> str:
    """Which columns the requests are made of."""
    whole = len(plan.source.columns)
    used = plan.renderer.columns
    names = cut(", ".join(used), 80)
    return f"{names} ({len(used):,} of {counted(whole, 'column')})"


def parts_words(tally: Tally, free: str) -> str:
    """How many parts, and what sending them takes of the disk: one file at a time."""
    disk = f"disk {size(tally.largest_part)} in a temporary file per part"
    return f"{tally.parts:,} ({size(tally.bytes)}; {disk}{free})"


def shared_words(tally: Tally) -> str:
    """How many requests take the answers of others (--reuse)."""
    words = []
    if tally.shared:
        words.append(f"{counted(tally.shared, 'identical request')} not sent twice")
    if tally.reused:
        words.append(f"{tally.reused:,} answered by an earlier job")
    return " · ".join(words)


def source_name(plan: Plan) -> str:
    """The source, for a sentence."""
    return plan.source.name or "the query"


def writes_words(plan: Plan) -> str:
    """Which columns will be written, and where."""
    if not plan.output.write:
        return "nothing (--no-write): the answers stay in the job"
    table = plan.output.table or plan.source.name
    columns = ", ".join(f"{table}.{column.name} {column.type}" for column in plan.output.columns)
    if plan.output.table:
        return f"{columns} (table {plan.output.table})"
    return columns


def confirmation(job: Job, plan: Plan, place: Place, tally: Tally, path: str) -> str:
    """The question before anything is sent."""
    lines = [f"Ask {plan.model} about {counted(tally.asked, 'row')} of {source_name(plan)}?"]
    if tally.estimate is not None:
        lines.append(confirmation_line(tally.estimate, place.host))
    if plan.output.write:
        lines.append(f"Columns: {', '.join(plan.output.names)}.")
    return "\n".join(lines)


def ended_screen(
    job: Job,
    counts: dict[str, int],
    written: dict[str, int],
    path: str,
    again_at: str | None = None,
) -> str:
    """What is said when a job has ended; `again_at` is when it was last asked again, if it was."""
    from ..output import Output

    db = shlex.quote(path)
    failed = failures(counts)
    took = clock.seconds_between(again_at or job.submitted_at, job.finished_at)
    begin = "Cancelled" if job.status == "cancelled" else "Done"
    spent = f" in {duration(took)}" if took is not None else ""
    words = f"{counts.get('ok', 0):,} of {counted(job.requests or 0, 'row')} answered"
    if failed:
        kinds = ", ".join(f"{count:,} {status}" for status, count in failed.items())
        words += f"; {sum(failed.values()):,} failed ({kinds})"
    lines = [f"{begin}{spent}. {words}."]
    output = Output.from_json(job.output)
    left = sum(written.get(status, 0) for status in LEFT_ALONE)
    if output.write and counts.get("ok", 0) > left:
        table = output.table or job.source
        names = ", ".join(f"{table}.{name}" for name in output.names)
        cost = "" if cost_words(job) in ("-", "none") else f" Cost {cost_words(job)}."
        lines.append(f"Written to {names}.{cost}")
    for status, (one, many) in LEFT_ALONE.items():
        if count := written.get(status, 0):
            lines.append(f"{counted(count, 'row')} {one if count == 1 else many}.")
    lines.append(f"  See them    datasette {db}     → {page_of(job, path)}")
    if failed and job.status == "completed":
        lines.append(f"  Ask again   {COMMAND} retry {db} {job.id}")
    lines.append(f"  As a file   {COMMAND} results {db} {job.id} --csv > answers.csv")
    return "\n".join(lines)


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
