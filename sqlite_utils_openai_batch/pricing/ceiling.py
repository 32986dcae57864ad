"""The ceiling of a job's cost (`--max-cost`): checked before anything is sent, and at each send.

A part is sent only if what the job has cost, what its other sent parts may still cost, and the
bound of this part together stay below the ceiling. The bound is made of the very lines that are
about to be sent: their tokens as counted, or their bytes where no tokenizer is known, and every
answer as long as it may be.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_UP, Decimal
from typing import Any

import orjson

from ..base.errors import CeilingError, NeedsAttention, UsageError
from ..store import Job, Part, update_part
from ..store.costs import Committed, committed
from .estimate import Estimate, cap_of, most_cost
from .prices import CENT, PER_TOKEN, Prices, job_is_own, parse_usd, part_prices, rounded, usd
from .tokens import Counter, answers_asked, count_requests, counter_for

AT_ONCE = 256
#: Lines with files are large.
AT_ONCE_BYTES = 8_000_000


def parse_ceiling(text: str) -> int:
    """The value of --max-cost in nano-dollars. Raises UsageError for none and for nothing."""
    nanousd = rounded(parse_usd("--max-cost", text) * 1_000_000_000)
    if nanousd == 0:
        raise UsageError(
            f"--max-cost {text}: nothing could be sent for that. Was it $10? "
            "A shell makes 0 of an unquoted $10: leave the dollar sign out."
        )
    return nanousd


def check_ceiling(estimate: Estimate, model: str, *, own_lines: bool = False) -> None:
    """Raise CeilingError where a job might cost more than its ceiling, with what would mend it.

    With `own_lines` requests are sent as somebody wrote them: no option can cap their answers.
    """
    ceiling = estimate.money.max_cost
    if ceiling is None or estimate.money.own or estimate.requests == 0:
        return
    if estimate.most is not None and estimate.most <= ceiling:
        return
    if estimate.input.most is None and estimate.input.attached:
        raise CeilingError(
            f"The ceiling of {usd(ceiling)} can't hold: how many tokens are in what is attached "
            f"({estimate.input.attached}) isn't known. Say the most that one PDF or sound may "
            "have, by --attach-tokens N; a page of a PDF has 1,000 to 3,000. Or leave --max-cost "
            "out."
        )
    if estimate.input.most is None:
        raise CeilingError(
            f"The ceiling of {usd(ceiling)} can't hold: how many tokens the images are for "
            f"{model} isn't known. Leave --max-cost out, or ask without images."
        )
    cap = cap_that_holds(estimate, ceiling)
    raise CeilingError(
        f"The ceiling of {usd(ceiling)} can't hold: {why(estimate, model, cap, own_lines)}",
        None if own_lines else cap,
    )


def why(estimate: Estimate, model: str, cap: int | None, own_lines: bool) -> str:
    """What a job may cost, and the cap, the ceiling or the number of rows that would do."""
    asked = f"{estimate.requests:,} {'request' if estimate.requests == 1 else 'requests'}"
    may = (
        f"{asked} may cost up to {usd(estimate.most, up=True)}."
        if estimate.most is not None
        else f"nothing bounds the cost of {asked}."
    )
    if estimate.cap.source == "model":
        may = may[:-1] + f", since {model} writes up to {estimate.cap.tokens:,} tokens uncapped."
    if cap is None:
        least = estimate.most_with(0) or 0
        return (
            f"{may} The questions alone may cost up to {usd(least, up=True)}: "
            "ask fewer rows with --limit, or raise --max-cost."
        )
    bound = estimate.most_with(cap * estimate.answers) or 0
    how = f'Write "max_tokens": {cap} into each line' if own_lines else f"Add -o max_tokens {cap}"
    return f"{may} {how}: then at most {usd(bound, up=True)}."


def cap_that_holds(estimate: Estimate, ceiling: int) -> int | None:
    """The largest round cap of an answer that keeps a job below a ceiling; None without one."""
    prices, least = estimate.money.prices, estimate.most_with(0)
    if prices is None or least is None or least >= ceiling:
        return None
    room = cap_for(prices, ceiling - least, estimate.requests * estimate.answers, estimate.longest)
    while room is not None and (estimate.most_with(room * estimate.answers) or 0) > ceiling:
        room = room - 1 or None
    return room


def cap_for(prices: Prices, nanousd: int, answers: int, longest: int) -> int | None:
    """Tokens, as a round number, that so many answers may each have for that money."""
    output = max(band.output for band in prices.bands if band.above < max(longest, 1))
    if not output or not answers:
        return None
    exact = int(Decimal(nanousd) / (output * PER_TOKEN * answers))
    step = 10 ** max(len(str(exact)) - 2, 0)
    return exact // step * step or None


@dataclass
class PartBound:
    """The bound of what the lines of one part can cost, a line at a time."""

    prices: Prices
    counter: Counter
    endpoint: str
    models: tuple[str, ...]
    window: int | None = None
    requests: int = 0
    answers: int = 0
    prompt: int | None = 0
    completion: int | None = 0
    longest: int = 1
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _waiting_bytes: int = 0

    @classmethod
    def of_part(cls, job: Job, part: Part) -> PartBound | None:
        """A bound for a part; None where its job has no ceiling, or no prices are known."""
        prices = part_prices(job.model, job.base_url, job.settings, part.overrides)
        if job.max_cost_nanousd is None or prices is None:
            return None
        models = models_of(job, prices, part.changes)
        window = job.settings.get("context_window")
        counter = replace(counter_for(*models), attached=job.settings.get("attach_tokens"))
        return cls(prices, counter, job.endpoint, models, window)

    def add(self, line: bytes) -> None:
        """Take a line that is about to be sent."""
        self.longest = max(self.longest, len(line))
        self._waiting.append(orjson.loads(line)["body"])
        self._waiting_bytes += len(line)
        if len(self._waiting) >= AT_ONCE or self._waiting_bytes >= AT_ONCE_BYTES:
            self.count()

    def count(self) -> PartBound:
        """Count the lines that were taken so far: before a transaction, since it takes its time."""
        for body in self._waiting:
            cap = cap_of(body, self.endpoint, self.models, self.window).tokens
            self.completion = plus(self.completion, cap)
            self.answers += answers_asked(body)
        for counted in count_requests(self.counter, self._waiting, self.endpoint):
            self.prompt = plus(self.prompt, counted.most)
            self.longest = max(self.longest, counted.most or 0)
        self.requests += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return self

    @property
    def nanousd(self) -> int | None:
        """The bound of the lines counted; None where nothing bounds it."""
        return most_cost(self.prices, self.prompt, self.completion, self.longest)

    @property
    def input_nanousd(self) -> int | None:
        """The bound if the answers had no tokens at all."""
        return most_cost(self.prices, self.prompt, 0, self.longest)


def models_of(job: Job, prices: Prices, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the model that is asked, and of the one that it is priced as."""
    asked = str(overrides.get("model", job.model or ""))
    return (asked, prices.model) if prices.model and prices.model != asked else (asked,)


def again_most(
    job: Job,
    part: Part,
    requests: int,
    overrides: Mapping[str, Any],
    *,
    more_tokens: int = 0,
) -> int | None:
    """What so many requests of a part may cost when they are asked again, in nano-dollars.

    By their share of its estimated tokens, and `more_tokens` in all; when they are sent it is
    counted anew. None where nothing bounds it or no prices are known.
    """
    prices = part_prices(job.model, job.base_url, job.settings, json.dumps(dict(overrides)))
    if prices is None or part.estimated_tokens is None:
        return None
    body = {**job.body, **overrides}
    models = models_of(job, prices, overrides)
    cap = cap_of(body, job.endpoint, models, job.settings.get("context_window")).tokens
    tokens = -(-part.estimated_tokens * requests // max(part.requests, 1)) + more_tokens
    return most_cost(prices, tokens, None if cap is None else cap * requests, tokens)


def plus(sum_: int | None, more: int | None) -> int | None:
    """A sum that is unknown as soon as one of its pieces is."""
    return None if sum_ is None or more is None else sum_ + more


def reserve(conn: sqlite3.Connection, job: Job, part: Part, bound: PartBound | None) -> None:
    """Take a part's bound out of what is left below the ceiling, or raise NeedsAttention.

    Call it in the transaction that records the intent to send, with the job as it is there: two
    processes that send at once can't both take the same money.
    """
    ceiling = job.max_cost_nanousd
    if ceiling is None or job_is_own(job.provider, job.base_url, job.settings):
        return
    most = bound.nanousd if bound else None
    taken = committed(conn, job.id, but=part.id)
    if most is not None and not taken.unknown and taken.total + most <= ceiling:
        update_part(conn, part.id, upper_cost_nanousd=most)
        return
    raise NeedsAttention(refusal(ceiling, part, taken, bound))


def refusal(ceiling: int, part: Part, taken: Committed, bound: PartBound | None) -> str:
    """Why a part wasn't sent, and the ceiling or the cap with which it would be."""
    most = bound.nanousd if bound else None
    if bound is None:
        return (
            f"The ceiling of {usd(ceiling)} can't hold for part {part.number}: "
            "no batch price of its model is known."
        )
    if most is None or taken.unknown:
        return (
            f"The ceiling of {usd(ceiling)} can't hold for part {part.number}: nothing bounds "
            "what its answers may cost. Ask again with -o max_tokens, in a new job."
        )
    told = [f"{usd(taken.spent)} is spent"] if taken.spent else []
    if taken.open:
        told.append(f"up to {usd(taken.open, up=True)} may come of what was sent")
    told.append(f"part {part.number} may cost up to {usd(most, up=True)}")
    needed = cents_up(taken.total + most)
    room = ceiling - taken.total - (bound.input_nanousd or 0)
    cap = cap_for(bound.prices, room, bound.answers, bound.longest) if room > 0 else None
    capped = f", or cap the answers of a new job with -o max_tokens {cap}" if cap else ""
    return (
        f"The ceiling of {usd(ceiling)} can't hold: {', '.join(told)}. "
        f"Raise it with --max-cost {needed}{capped}."
    )


def cents_up(nanousd: int) -> str:
    """An amount for --max-cost: whole cents where it is a cent or more, never less than asked."""
    step = CENT if nanousd >= CENT else 1_000
    amount = Decimal(-(-nanousd // step) * step) / 1_000_000_000
    places = Decimal("0.01") if step == CENT else Decimal("0.000001")
    return f"{amount.quantize(places, rounding=ROUND_UP):f}"
