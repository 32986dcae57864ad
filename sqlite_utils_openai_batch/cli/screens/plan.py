"""The screens before anything is sent: requests, what they would cost, the question."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...base.text import counted, cut, oneline, size
from ...requests.attachments import read_attached
from .estimate import confirmation_line, estimate_rows, same_words
from .text import row, row_words

if TYPE_CHECKING:
    from ...jobs.plan.plan import Plan
    from ...jobs.plan.render import Rendered, Tally
    from ...store import Job
    from ..destination import Place


def request_lines(plan: Plan, shown: Rendered, number: int, total: int) -> str:
    """One rendered request, made readable."""
    body = json.loads(shown.line)["body"]
    pairs = [(label, cut(text, 100)) for label, text in said(body)]
    if plan.schema is not None:
        pairs.append(("schema", oneline(plan.schema.describe())))
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
        elif (words := attached_words(part)) is not None:
            yield words
        else:
            yield role, str(part.get("text") or json.dumps(part, ensure_ascii=False))


def attached_words(part: dict[str, Any]) -> tuple[str, str] | None:
    """A PDF or sound in a request: its name, how large it is, its pages; None for other parts."""
    found = read_attached(part)
    if found is None:
        return None
    holder = part.get("file") or part.get("input_audio") or part
    data = str(holder.get("file_data") or holder.get("data") or "").rpartition(",")[2]
    named = holder.get("filename") or holder.get("file_url") or holder.get("format") or ""
    words = [str(named), size(len(data) * 3 // 4)] if data else [str(named)]
    if found.pages is not None:
        words.append(counted(found.pages, "page"))
    return found.kind, f"{', '.join(words)}, tokens not estimated"


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
    first: str | None = None,
) -> str:
    """What a job would ask, where, and what it would write.

    `total` is the number of all rows of the source where only some of them were chosen; `limit`
    (tokens) and `pace` (seconds a part) are those of the provider's queue. `first` is what there is
    to say of the part that goes ahead.
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
        row("Model", f"{oneline(plan.model)} at {place.host}{key}"),
        row("Parts", parts_words(tally, free)),
        *([row("First", first)] if first else []),
    ]
    if found is not None:
        lines += [row(*one) for one in estimate_rows(found, plan, place, limit=limit, pace=pace)]
    lines.append(row("Writes", oneline(writes_words(plan))))
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
    return oneline(plan.source.name or "the query")


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
    rows = f"{counted(tally.asked, 'row')} of {source_name(plan)}"
    lines = [f"Ask {oneline(plan.model)} about {rows}?"]
    if tally.estimate is not None:
        lines.append(confirmation_line(tally.estimate, place.host))
    if plan.output.write:
        lines.append(oneline(f"Columns: {', '.join(plan.output.names)}."))
    return "\n".join(lines)
