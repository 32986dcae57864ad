"""What `try` shows: answers, and what all rows would cost on their basis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...base.text import counted, cut, duration
from ...jobs.plan.words import estimate_warnings, row_words, said
from ...jobs.trial import all_rows, answer_pairs, spent, told
from ...pricing.prices import usd
from ..click_ext import talk
from .text import row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...jobs.plan.plan import Plan
    from ...jobs.trial import Tried
    from ...pricing.estimate import Estimate
    from ...pricing.prices import Prices


def answer_lines(plan: Plan, one: Tried, number: int, total: int) -> str:
    """One row: what it was asked last, what it answered, and whether that is as asked."""
    asked = [text for _, text in said(json.loads(one.row.line)["body"])]
    lines = [f"Row {number} of {total}   {row_words(plan, one.row.row_key)}"]
    pairs = [("asked", cut(asked[-1], 100))] if asked else []
    pairs += answer_pairs(plan, one)
    pairs.append((one.outcome.status, told(one)))
    width = max(len(label) for label, _ in pairs)
    return "\n".join([*lines, *(f"  {label:<{width}}  {text}".rstrip() for label, text in pairs)])


def tell(
    tried: Sequence[Tried],
    wanted: int,
    plan: Plan,
    found: Estimate,
    prices: Prices | None,
    seconds: float,
) -> None:
    """What came, what it cost, and what all rows would cost on that basis."""
    good = sum(one.outcome.status == "ok" for one in tried)
    came = f"{good} of {counted(wanted, 'row')} answered"
    if plan.schema is not None and good:
        came += " as the schema asks"
    if len(tried) < wanted:
        came = f"Stopped after {counted(len(tried), 'answer')}. {came}"
    sums = spent(tried, prices)
    tokens = f"{sums.prompt:,} tokens in, {sums.completion:,} out"
    talk(f"\n{came}: {tokens}, {duration(seconds)}.")
    if sums.nanousd is not None:
        talk(row("This try", f"{usd(sums.nanousd)} (single requests, without a batch)"))
    if sums.requests:
        for label, text in all_rows(tried, found, plan):
            talk(row(label, text))
    for warning in [*plan.warnings, *estimate_warnings(found, plan)]:
        talk(f"Warning: {warning}")
