"""The screens before anything is sent: requests, what they would cost, the question."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from ...base.text import counted, cut, oneline, size, visible
from ...jobs.plan.words import (
    first_words,
    reads_words,
    row_words,
    said,
    source_name,
    writes_words,
)
from ...jobs.queue import queue_figures
from ...pricing.prices import usd
from ...pricing.words import confirmation_line, estimate_rows, same_words
from .text import row

if TYPE_CHECKING:
    import sqlite3

    from ...jobs.plan.plan import Plan
    from ...jobs.plan.render import Rendered, Tally
    from ...pricing.estimate import Estimate
    from ...provider.places import Place
    from ...store import Job


def request_lines(plan: Plan, shown: Rendered, number: int, total: int, word: str = "") -> str:
    """One rendered request, made readable; `word` stands before how many there are."""
    body = json.loads(shown.line)["body"]
    whole = plan.codebook.instructions() if plan.codebook and number == 1 else None
    pairs = [
        # What a codebook says is shown word by word: it is what people will ask about.
        (label, indented(text) if whole and whole in text else cut(text, 100))
        for label, text in said(body)
    ]
    if plan.schema is not None:
        pairs.append(("schema", oneline(plan.schema.describe())))
    width = max([7, *(len(label) for label, _ in pairs)])
    lines = [f"Request {number} of {word}{total:,}   {row_words(plan, shown.row_key)}"]
    return "\n".join([*lines, *(f"  {label:<{width}} {text}" for label, text in pairs)])


def indented(text: str) -> str:
    """A text of several lines below its first."""
    first, *lines = visible(text).split("\n")
    return "\n".join([first, *(line and f"{'':<10}{line}" for line in lines)])


def summary_screen(
    conn: sqlite3.Connection, plan: Plan, tally: Tally, place: Place, free_bytes: int | None
) -> str:
    """What a job would ask, where, and what it would write."""
    total, first = plan.whole(), first_words(conn, plan, tally, place)
    queue = queue_figures(conn, plan.ask.money, plan.model)
    rows = f"{counted(tally.rows if total is None else total, 'row')} in {source_name(plan)}"
    if total is not None:
        rows += f" · {tally.rows:,} chosen"
    rows += f" · {tally.asked:,} to ask"
    if plan.ask.times:
        whole = counted(tally.asked * plan.ask.times, "request")
        rows += f", {plan.ask.times} times each: {whole}"
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
        lines += [row(*one) for one in estimate_rows(found, plan.model, place.host, **queue)]
    if plan.ask.repair:
        again = "once" if plan.ask.repair == 1 else f"up to {plan.ask.repair} times"
        lines.append(row("Repair", f"a wrong answer goes back {again}{repair_words(plan, found)}"))
    lines.append(row("Writes", oneline(writes_words(plan))))
    lines.append(row("Database", growth_words(plan, tally)))
    if tally.first_problem:
        lines.append(row("Problems", cut(tally.first_problem, 100)))
    return "\n".join(lines)


def glance_screen(plan: Plan, about: Tally, place: Place) -> str:
    """What is likely of a large table, before all of its rows were read."""
    rows = f"about {about.rows:,} in {source_name(plan)}, by some from all over it"
    lines = [row("Rows", rows), row("Parts", f"about {about.parts:,} ({size(about.bytes)})")]
    if about.estimate is not None:
        found = estimate_rows(about.estimate, plan.model, place.host, limit=None, pace=None)
        lines += [row(*one) for one in found if one[0] in ("Tokens", "Cost")]
    return "\n".join([*lines, row("Database", growth_words(plan, about))])


def growth_words(plan: Plan, tally: Tally) -> str:
    """How much larger the database becomes."""
    from ...jobs.plan.prepare import growth

    whole, raw = growth(plan, tally)
    less = f", {size(raw)} of it raw responses (--responses failed keeps fewer)" if raw else ""
    return f"about {size(whole)} more when all answers are in{less}"


def repair_words(plan: Plan, found: Estimate | None) -> str:
    """What repairs may cost beside the rest, where all answers were wrong."""
    if found is None or found.money.own or found.most is None:
        return ""
    if found.money.max_cost is not None:
        return ", as far as the ceiling bears it"
    # The question, the wrong answer and what was wrong with it go out once more.
    turn = replace(
        found, input=replace(found.input, most=found.input.most and 3 * found.input.most)
    )
    most = turn.most_with(found.cap.tokens or 0)
    return "" if most is None else f", at most {usd(most * (plan.ask.repair or 1), up=True)} more"


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


def confirmation(job: Job, plan: Plan, place: Place, tally: Tally, path: str) -> str:
    """The question before anything is sent."""
    rows = f"{counted(tally.asked, 'row')} of {source_name(plan)}"
    if plan.ask.times:
        rows += f", {plan.ask.times} times each"
    lines = [f"Ask {oneline(plan.model)} about {rows}?"]
    if tally.estimate is not None:
        lines.append(confirmation_line(tally.estimate, place.host))
    if plan.output.write:
        lines.append(oneline(f"Columns: {', '.join(plan.output.names)}."))
    return "\n".join(lines)
