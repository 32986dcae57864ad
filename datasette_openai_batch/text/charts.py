"""Drawings as SVG text: no script, no library, readable without colour and by a screen reader.

Text and strokes take the page's own colour and backgrounds stay clear, so they hold on dark pages
too; patterns, not only colours, tell segments apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

from sqlite_utils_openai_batch.base import clock, text
from sqlite_utils_openai_batch.store import Part

from . import times

# Classes of shapes in openai_batch.css; all failures look the same, whatever their kind.
KIND = {"ok": "ok", "pending": "pending"}


def bar(outcomes: Mapping[str, int], total: int, *, width: int = 160, height: int = 12) -> Markup:
    """Requests by outcome as one stacked bar, described in words for those who don't see it."""
    label = ", ".join(f"{count:,} {status}" for status, count in outcomes.items()) or "no requests"
    shapes = []
    left = 0.0
    for status, count in outcomes.items():
        # A single failure in a million must still be seen.
        span = min(max(width * count / total, 1.5), width - left) if total else 0.0
        kind = KIND.get(status, "failed")
        shapes.append(
            f'<rect class="ob-{kind}" x="{left:.2f}" y="0.5" width="{span:.2f}" '
            f'height="{height - 1}"><title>{escape(status)}: {count:,}</title></rect>'
        )
        if kind == "failed":
            shapes.append(_hatch(left, span, height))
        left += span
    return Markup(
        f'<svg class="ob-bar" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" aria-label="{escape(label)}">{"".join(shapes)}'
        f'<rect class="ob-frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}"/></svg>'
    )


def _hatch(left: float, span: float, height: int) -> str:
    """Slanted lines over a segment: failures are told apart in black and white."""
    lines = []
    x = left
    while x + 2 < left + span:
        end = min(x + 4, left + span)
        lines.append(f"M{x:.1f} {height - 1}L{end:.1f} 1")
        x += 6
    return f'<path class="ob-hatch" d="{"".join(lines)}"/>' if lines else ""


def bars(name: str, counts: Sequence[tuple[str, int]], total: int) -> Markup:
    """Labels with their counts, one bar each; a table, so that it reads without the drawing."""
    most = max((count for _, count in counts), default=0) or 1
    rows = []
    for label, count in counts:
        width = 200 * count / most
        rows.append(
            f'<tr><th scope="row">{escape(text.cut(label, 40))}</th>'
            f'<td><svg aria-hidden="true" width="204" height="12" viewBox="0 0 204 12">'
            f'<rect class="ob-ok" x="0" y="1" width="{width:.1f}" height="10"/></svg></td>'
            f'<td class="ob-figure">{count:,}</td>'
            f'<td class="ob-figure">{text.percent(count, total)}</td></tr>'
        )
    return Markup(
        f'<table class="ob-bars"><caption class="ob-unseen">{escape(name)}</caption>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


@dataclass(frozen=True, slots=True)
class Share:
    """One label: its share by the model, and (lowest, middle, highest) by the sample of labels."""

    label: str
    model: float
    corrected: tuple[float, float, float] | None


def shares(name: str, found: Sequence[Share], *, is_mean: bool = False) -> Markup:
    """Shares by the model as bars, corrected ones as a dot with its interval; a table as well."""
    ends = [one.corrected[2] if one.corrected else 0.0 for one in found]
    most = max([*ends, *(one.model for one in found)], default=0.0) or 1.0

    def words(value: float) -> str:
        return f"{value:.2f}" if is_mean else f"{100 * value:.1f} %"

    rows = []
    for one in found:
        shapes = (
            f'<rect class="ob-late" x="0" y="4" width="{200 * max(one.model, 0) / most:.1f}" '
            'height="8"/>'
        )
        cells = ["-", "-"]
        if one.corrected is not None:
            low, middle, high = (200 * max(value, 0) / most for value in one.corrected)
            shapes += (
                f'<path class="ob-whisker" d="M{low:.1f} 8H{high:.1f}M{low:.1f} 4V12'
                f'M{high:.1f} 4V12"/><circle class="ob-dot" cx="{middle:.1f}" cy="8" r="3.5"/>'
            )
            cells = [
                words(one.corrected[1]),
                f"{words(one.corrected[0])} to {words(one.corrected[2])}",
            ]
        rows.append(
            f'<tr><th scope="row">{escape(text.cut(one.label, 40))}</th>'
            '<td><svg aria-hidden="true" width="208" height="16" viewBox="-4 0 208 16">'
            f'{shapes}</svg></td><td class="ob-figure">{words(one.model)}</td>'
            f'<td class="ob-figure">{cells[0]}</td><td class="ob-figure">{cells[1]}</td></tr>'
        )
    return Markup(
        f'<table class="ob-bars ob-shares"><caption class="ob-unseen">Shares of {escape(name)}'
        '</caption><thead><tr><td></td><td></td><th scope="col" class="ob-figure">model</th>'
        '<th scope="col" class="ob-figure">corrected</th>'
        '<th scope="col" class="ob-figure">95 % interval</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def timeline(parts: Sequence[Part], now: str) -> Markup | None:
    """The parts of a job over time: waiting, running, being collected; None where none was sent."""
    sent = [part for part in parts if part.submitted_at]
    if not sent:
        return None
    start = min(clock.parse(part.submitted_at or now) for part in sent)
    end = max(_end(part, now) for part in sent)
    seconds = max((end - start).total_seconds(), 1.0)
    width, left, line = 640, 60, 16
    shapes = [_lane(part, n, start, seconds, now) for n, part in enumerate(sent)]
    height = line * len(sent) + 22
    first, last = clock.timestamp(start), clock.timestamp(end)
    begin, finish = times.plain(first), times.plain(last)
    return Markup(
        f'<svg class="ob-timeline" role="img" viewBox="0 0 {width + left} {height}" '
        f'width="{width + left}" height="{height}" '
        f'aria-label="Parts over time, from {begin} to {finish} UTC; all times are listed below">'
        f"{''.join(shapes)}"
        f'<text x="{left}" y="{height - 6}" data-at="{first}">{begin} UTC</text>'
        f'<text x="{width + left}" y="{height - 6}" text-anchor="end" data-at="{last}">'
        f"{finish} UTC</text></svg>"
    )


def _end(part: Part, now: str) -> datetime:
    return clock.parse(part.written_at or part.collected_at or part.ended_at or now)


def _lane(part: Part, n: int, start: datetime, seconds: float, now: str) -> str:
    """One part: its stages side by side in a lane of its own."""
    stages = [
        ("pending", part.submitted_at, part.in_progress_at or part.ended_at or now),
        ("ok", part.in_progress_at, part.ended_at or now),
        ("late", part.ended_at, part.written_at or part.collected_at or part.ended_at),
    ]
    shapes = [f'<text x="0" y="{16 * n + 11}">part {part.number}</text>']
    for kind, begin, end in stages:
        if not begin or not end or end <= begin:
            continue
        x = 60 + 640 * (clock.parse(begin) - start).total_seconds() / seconds
        span = 640 * (clock.parse(end) - clock.parse(begin)).total_seconds() / seconds
        shapes.append(
            f'<rect class="ob-{kind} ob-stage" x="{x:.1f}" y="{16 * n + 2}" '
            f'width="{max(span, 1.0):.1f}" height="10"/>'
        )
    return "".join(shapes)
