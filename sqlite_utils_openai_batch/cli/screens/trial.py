"""What `try` shows: answers, and what all rows would cost on their basis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...base.text import counted, cut, duration, oneline
from ..click_ext import talk
from .estimate import amount, cost_words, estimate_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...jobs.plan.plan import Plan
    from ...jobs.trial import Tried
    from ...pricing.estimate import Estimate
    from ...pricing.prices import Prices


def answer_lines(plan: Plan, one: Tried, number: int, total: int) -> str:
    """One row: what it was asked last, what it answered, and whether that is as asked."""
    import json

    from .plan import said
    from .text import row_words

    asked = [text for _, text in said(json.loads(one.row.line)["body"])]
    lines = [f"Row {number} of {total}   {row_words(plan, one.row.row_key)}"]
    pairs = [("asked", cut(asked[-1], 100))] if asked else []
    pairs += answer_pairs(plan, one)
    pairs.append((one.outcome.status, told(one)))
    width = max(len(label) for label, _ in pairs)
    return "\n".join([*lines, *(f"  {label:<{width}}  {text}".rstrip() for label, text in pairs)])


def answer_pairs(plan: Plan, one: Tried) -> list[tuple[str, str]]:
    """The columns that an answer would fill, or the answer itself."""
    outcome = one.outcome
    if outcome.values is not None:
        return [
            (oneline(column.name), cut("" if value is None else str(value), 200))
            for column, value in zip(plan.output.columns, outcome.values, strict=True)
        ]
    if isinstance(outcome.answer, bytes):
        return [("answer", f"{len(outcome.answer) // 4:,} numbers")]
    return [("answer", cut(outcome.answer, 400))] if outcome.answer else []


def told(one: Tried) -> str:
    """Why a row failed, its tokens, and its time."""
    outcome = one.outcome
    said = [oneline(outcome.error_message)] if outcome.error_message else []
    if outcome.prompt_tokens is not None:
        said.append(f"{outcome.prompt_tokens:,} tokens in, {outcome.completion_tokens or 0:,} out")
    return " · ".join([*said, duration(one.seconds)])


def tell(
    tried: Sequence[Tried],
    wanted: int,
    plan: Plan,
    found: Estimate,
    prices: Prices | None,
    seconds: float,
) -> None:
    """What came, what it cost, and what all rows would cost on that basis."""
    from ...jobs.trial import spent
    from ...pricing.prices import usd
    from .text import row

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


def all_rows(tried: Sequence[Tried], found: Estimate, plan: Plan) -> list[tuple[str, str]]:
    """What all rows would take and cost if their answers are as long as these."""
    from ...jobs.trial import spent
    from ...pricing.estimate import likely
    from ...store.costs import Earlier

    sums = spent(tried, None)
    output = round(sums.completion / sums.requests * found.requests)
    questions = "" if found.input.tokens is None else f"{amount(found.input.tokens)} in, "
    words = f"{counted(found.requests, 'request')}: about {questions}{amount(output)} out"
    lines = [("All rows", words)]
    about = likely(
        found.money.prices,
        found.input_cost,
        output,
        [sums.prompt // sums.requests],
        found.cap,
        found.requests,
    )
    # As if an earlier job had answered so.
    earlier = Earlier(0, sums.requests, sums.completion)
    basis = replace(found, output=output, about=about, earlier=earlier)
    return [*lines, ("Cost", cost_words(basis, plan.model, "this server"))]
