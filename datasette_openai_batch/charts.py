"""Drawings as SVG text: no script, no library, readable without colour and by a screen reader.

Text and strokes take the page's own colour, backgrounds stay clear, and patterns tell segments
apart in black and white.
"""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

# Class of a segment in openai_batch.css. All failures share one family of patterns.
KIND = {"ok": "ok", "pending": "pending"}


def bar(outcomes: Mapping[str, int], total: int, *, width: int = 160, height: int = 12) -> Markup:
    """Requests by outcome as one stacked bar, described in words for those who don't see it."""
    label = ", ".join(f"{count:,} {status}" for status, count in outcomes.items()) or "no requests"
    shapes = []
    left = 0.0
    for status, count in outcomes.items():
        # A single failure in a million must still be seen.
        span = max(width * count / total, 1.5) if total else 0.0
        span = min(span, width - left)
        shapes.append(
            f'<rect class="ob-{KIND.get(status, "failed")}" x="{left:.2f}" y="0.5" '
            f'width="{span:.2f}" height="{height - 1}">'
            f"<title>{escape(status)}: {count:,}</title></rect>"
        )
        left += span
    return Markup(
        f'<svg class="ob-bar" role="img" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" aria-label="{escape(label)}">'
        f"{''.join(shapes)}"
        f'<rect class="ob-frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}"/></svg>'
    )
