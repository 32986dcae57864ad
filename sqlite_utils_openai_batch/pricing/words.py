"""What is said of money: what a job will cost, and what that rests on."""

from __future__ import annotations

import math

from ..base.errors import UsageError
from ..base.text import counted, duration
from .ceiling import check_ceiling
from .estimate import Estimate
from .prices import CENT, about_usd, usd

DAY = 86_400


def amount(tokens: int) -> str:
    """A number of tokens: `9,412`, `0.61M`, `10.9M`."""
    if tokens < 100_000:
        return f"{tokens:,}"
    return f"{tokens / 1e6:.2f}M" if tokens < 1_000_000 else f"{tokens / 1e6:,.1f}M"


def estimate_rows(
    found: Estimate, model: str, host: str, *, limit: int | None, pace: float | None
) -> list[tuple[str, str]]:
    """Label and text of the lines about tokens and money on the screen of a plan."""
    cost = ("Cost", cost_words(found, model, host))
    if found.money.own:
        return [cost]
    lines = [("Tokens", f"{input_words(found)} · {output_words(found)}"), cost]
    if found.money.max_cost is not None:
        lines.append(("Ceiling", ceiling_words(found, model)))
    return [*lines, ("Time", time_words(found, limit, pace))]


def same_words(found: Estimate) -> str | None:
    """How many requests are asked more than once; None where none is."""
    if not found.same:
        return None
    saved = found.saved() or 0
    would = f"would save {usd(saved)}" if saved >= CENT else "would send them once"
    return f"{counted(found.same, 'identical request')} (--reuse {would})"


def input_words(found: Estimate) -> str:
    """Tokens of the questions, and how they are known."""
    tokens = found.input
    if tokens.tokens is None:
        attached = tokens.attached
        return f"not estimated ({attached})" if attached else "not known (images)"
    how = {
        "counted": "counted",
        "sampled": f"sampled, ±{percent(tokens.error)}",
        "bytes": f"from bytes, {amount(tokens.low)} to {amount(tokens.high)}",
    }[tokens.how]
    about = "about " if tokens.how == "bytes" else ""
    as_model = f" as {tokens.vocabulary} counts" if tokens.vocabulary else ""
    return f"{about}{amount(tokens.tokens)} in ({how}{as_model})"


def percent(share: float) -> str:
    """A small share: `0.2 %`; two significant digits below a tenth of a percent."""
    value = 100 * share
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2g} %"


def output_words(found: Estimate) -> str:
    """Tokens of the answers, as earlier ones were or as their cap is."""
    if found.earlier is not None and found.output is not None:
        return f"about {amount(found.output)} out (as in job {found.earlier.job_id})"
    if found.output_most is None:
        return "answers without a bound"
    if found.output_most == 0:
        return "none out"
    return f"at most {amount(found.output_most)} out"


def cost_words(found: Estimate, model: str, host: str) -> str:
    """What it costs: about, at most, and what that rests on."""
    if found.money.own:
        return "none (own server)"
    if found.money.prices is None:
        return (
            f"unknown: no batch price of {model} at {host} is known "
            "(--price-as MODEL, or --price-input and --price-output)"
        )
    if found.input_cost is None:
        attached = found.input.attached
        what = f"what is attached has ({attached}" if attached else "the images are"
        return f"unknown: how many tokens {what}{')' if attached else ''} isn't published"
    notes = f" ({'; '.join(price_notes(found))})"
    if found.most is None:
        return f"{usd(found.input_cost)} for the questions; nothing bounds the answers{notes}"
    most = f"at most {usd(found.most, up=True)}"
    if found.about is None:
        return f"{usd(found.input_cost)} for the questions, {most} with answers{notes}"
    if found.earlier is None and found.cap.tokens:
        return f"{most}{notes}"
    if usd(found.about) == usd(found.most):
        return f"{usd(found.most, up=True)}{notes}"
    return f"{about_usd(found.about)}, {most}{notes}"


def price_notes(found: Estimate) -> list[str]:
    """What a bound rests on: the cap of the answers, and whose prices."""
    prices = found.money.prices
    assert prices is not None
    notes = []
    if found.cap.tokens:
        whose = {
            "schema": ", by the schema",
            "model": ", the model's own cap",
            "context": ", all that the model holds",
        }.get(found.cap.source, "")
        notes.append(f"answers ≤ {found.cap.tokens:,} tokens{whose}")
    if found.money.price_as:
        notes.append(f"priced as {found.money.price_as}")
    dated = f"of {prices.since}" if prices.since else f"by {prices.source}"
    notes.append(f"batch prices {dated}" if prices.model else "prices as stated")
    return notes


def ceiling_words(found: Estimate, model: str) -> str:
    """Whether the ceiling holds, and what would make it."""
    ceiling = usd(found.money.max_cost or 0)
    try:
        check_ceiling(found, model)
    except UsageError as error:
        why = str(error).partition(": ")[2]
        return f"{ceiling}: does not hold. {why[:1].upper()}{why[1:]}"
    return f"{ceiling}: holds"


def time_words(found: Estimate, limit: int | None, pace: float | None) -> str:
    """How long it may take: rounds of the queue, at the pace seen so far."""
    if limit is None:
        return "up to 24 h per part; your queue limit isn't known yet"
    rounds = math.ceil((found.input.tokens or 0) / limit) or 1
    queue = f"{amount(limit)} queued tokens"
    if rounds == 1:
        seen = f"; {duration(pace)} a part so far" if pace else ""
        return f"up to 24 h; all of it fits in your queue of {queue}{seen}"
    seconds = rounds * (pace or 3_600)
    days = f"{seconds / DAY:,.0f} days" if seconds >= 2 * DAY else duration(seconds)
    each = f"{duration(pace)} a round as so far" if pace else "1 round an hour"
    return f"{counted(rounds, 'round')} of {queue}; at {each}, about {days}"


def confirmation_line(found: Estimate, host: str) -> str:
    """The line of the question before sending that says what it costs."""
    goes = f"Data goes to {host}."
    if found.money.own:
        return goes
    if found.money.prices is None or found.input_cost is None:
        return f"What it costs isn't known. {goes}"
    words = cost_words(found, "", host).partition(" (")[0]
    ceiling = found.money.max_cost
    held = f" (ceiling {usd(ceiling)})" if ceiling is not None else ""
    return f"{words[0].upper()}{words[1:]}{held}. {goes}"
