"""What a job will cost: its tokens, its prices, and what follows from both.

Each figure says what it rests on. "About" is what is likely, by earlier answers to the same
template; "at most" is a bound: the input as counted (or its upper bound) and every answer as long
as it may be.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from ..answers.schema import AnswerSchema
from ..requests.body import adapt, never_reasons
from ..store.costs import Earlier, earlier_answers
from .prices import PER_TOKEN, Prices, rounded
from .sampling import InputTokens, Sample, TooLong
from .tokens import CAPS, Counter, answers_asked, counter_for, model_cap, output_cap

EMBEDDINGS = "/v1/embeddings"
#: Sources of a cap that the requests themselves have.
CAPPED = ("request", "schema")


@dataclass(frozen=True, slots=True)
class Money:
    """What is known of the money before rows are read. `max_cost` is in nano-dollars.

    `own` is a server of one's own, where nothing is paid: its prices are None and not unknown.
    `window` is the model's context in tokens.
    """

    prices: Prices | None = None
    own: bool = False
    max_cost: int | None = None
    price_as: str | None = None
    window: int | None = None
    base_url: str | None = None
    account: str = ""
    attach_tokens: int | None = None
    """The most tokens that one attached PDF or sound is said to have."""

    def counter(self, model: str) -> Counter:
        """What counts the tokens. Where nothing is paid a figure from bytes is enough."""
        if self.own:
            return Counter(model, attached=self.attach_tokens)
        found = counter_for(model, self.price_as) if self.price_as else counter_for(model)
        return replace(found, attached=self.attach_tokens)


@dataclass(slots=True)
class Distinct:
    """Counts how many of many digests came before: four bytes of memory each.

    44 bits of each are kept, so of ten million different ones about three seem to be the same.
    """

    _buckets: defaultdict[int, array[int]] = field(
        default_factory=lambda: defaultdict(lambda: array("I"))
    )

    def add_all(self, digests: Sequence[bytes]) -> None:
        """Take digests of 16 bytes."""
        buckets = self._buckets
        for number in array("Q", b"".join(digests))[::2]:
            buckets[number & 4095].append(number >> 32)

    def repeated(self) -> int:
        """How many digests were the same as one before them."""
        return sum(len(bucket) - len(set(bucket)) for bucket in self._buckets.values())


@dataclass(frozen=True, slots=True)
class Cap:
    """The most tokens that the answers to one request have, and who says so.

    `source` is `request` (the template caps it), `schema` (it does, since the answer schema bounds
    what may be said), `model` (the published maximum of the model),
    `context` (the model's whole context) or `none` where nothing bounds it.
    """

    tokens: int | None
    source: str


def cap_of(
    body: Mapping[str, Any], endpoint: str, models: Sequence[str], window: int | None
) -> Cap:
    """What bounds the answers to a request; by the first model that something is known of."""
    if endpoint == EMBEDDINGS:
        return Cap(0, "request")
    capped = output_cap(body)
    if capped is not None:
        return Cap(capped, "request")
    own = next((cap for cap in map(model_cap, models) if cap is not None), None)
    for tokens, source in ((own, "model"), (window, "context")):
        if tokens is not None:
            return Cap(tokens * answers_asked(body), source)
    return Cap(None, "none")


def capped_by_schema(
    body: Mapping[str, Any], endpoint: str, schema: AnswerSchema | None
) -> dict[str, Any] | None:
    """Return a body with a cap of its answers that is ample by their schema; None without one.

    Not where the body has one, nor for a model that may think before it answers, nor beside
    tools, whose calls are longer.
    """
    model = str(body.get("model") or "")
    if schema is None or any(name in body for name in ("tools", "functions", *CAPS)):
        return None
    enough = schema.enough_tokens()
    most = model_cap(model)
    if enough is None or (most is not None and enough >= most) or not never_reasons(model):
        return None
    return {**body, **adapt(endpoint, model, {"max_tokens": enough})}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the requests of a job will cost. Money is in nano-dollars, None where unknown."""

    requests: int
    input: InputTokens
    cap: Cap
    money: Money
    output: int | None
    """Output tokens of all answers, as earlier ones were; None where there were none."""
    earlier: Earlier | None
    input_cost: int | None
    about: int | None
    most: int | None
    longest: int
    """A bound of the longest request's input tokens."""
    same: int
    answers: int = 1
    """How many answers a request asks for, each as long as its cap."""
    too_long: tuple[TooLong, ...] = ()

    @property
    def output_most(self) -> int | None:
        """Output tokens if every answer is as long as it may be."""
        return None if self.cap.tokens is None else self.cap.tokens * self.requests

    def saved(self) -> int | None:
        """About what asking identical requests once would save."""
        if self.about is None or not self.requests:
            return None
        return self.about * self.same // self.requests

    def most_with(self, cap: int) -> int | None:
        """The bound of the cost if each answer had at most `cap` tokens."""
        return most_cost(self.money.prices, self.input.most, cap * self.requests, self.longest)

    def repeated(self, times: int) -> Estimate:
        """The estimate if every request is made so many times."""

        def more(value: int | None) -> int | None:
            return None if value is None else value * times

        tokens = self.input
        return replace(
            self,
            requests=self.requests * times,
            input=replace(
                tokens,
                tokens=more(tokens.tokens),
                low=tokens.low * times,
                high=tokens.high * times,
                most=more(tokens.most),
            ),
            output=more(self.output),
            input_cost=more(self.input_cost),
            about=more(self.about),
            most=more(self.most),
        )

    def share(self, size: int, whole: int) -> int | None:
        """The input tokens of a part that has `size` of the job's `whole` bytes."""
        if self.input.tokens is None or not whole:
            return None
        return -(-self.input.tokens * size // whole)

    def share_of_most(self, size: int, requests: int, whole: int) -> int | None:
        """The bound of the cost of a part with `size` of the `whole` bytes and so many requests."""
        if self.input.most is None or self.cap.tokens is None or not whole:
            return None
        tokens = -(-self.input.most * size // whole)
        return most_cost(self.money.prices, tokens, self.cap.tokens * requests, self.longest)

    def to_data(self) -> dict[str, Any]:
        """What a job keeps of it beside its own columns, for comparing and for reports."""
        return {
            "how": self.input.how,
            "low": self.input.low,
            "high": self.input.high,
            "output_tokens": self.output,
            "earlier_job": self.earlier.job_id if self.earlier else None,
            "cap": self.cap.tokens,
            "cap_source": self.cap.source,
            "same": self.same,
        }


def most_cost(
    prices: Prices | None, prompt: int | None, completion: int | None, longest: int
) -> int | None:
    """The bound of a cost; None where prices, tokens or answers have none."""
    if prices is None or prompt is None or completion is None:
        return None
    return prices.most(prompt, completion, longest)


def estimate(
    conn: sqlite3.Connection | None,
    sample: Sample,
    money: Money,
    *,
    body: Mapping[str, Any],
    template_hash: bytes,
    model: str,
    same: int = 0,
    capped_by_schema: bool = False,
) -> Estimate:
    """Estimate a job whose lines all went through `sample`.

    `conn` is asked for earlier answers to the template; None where the tables aren't there.
    """
    found = sample.result()
    longest = max(sample.longest, *sample.per_request(), 1)
    models = [model, *([money.price_as] if money.price_as else [])]
    cap = cap_of(body, sample.endpoint, models, money.window)
    if capped_by_schema:
        cap = replace(cap, source="schema")
    earlier = earlier_answers(conn, template_hash, money.base_url) if conn else None
    output = 0 if sample.endpoint == EMBEDDINGS else None
    if earlier is not None:
        output = round(earlier.tokens / earlier.answers * sample.lines)
        if cap.tokens is not None:
            output = min(output, cap.tokens * sample.lines)
    counted = sample.per_request()
    input_cost = likely_input(money.prices, counted, found.tokens)
    most = most_cost(
        money.prices,
        found.most,
        None if cap.tokens is None else cap.tokens * sample.lines,
        longest,
    )
    return Estimate(
        requests=sample.lines,
        input=found,
        cap=cap,
        money=money,
        output=output,
        earlier=earlier,
        input_cost=input_cost,
        about=likely(money.prices, input_cost, output, counted, cap, sample.lines),
        most=most,
        longest=longest,
        same=same,
        answers=answers_asked(body),
        too_long=tuple(sample.too_long),
    )


def likely_input(prices: Prices | None, counted: list[int], tokens: int | None) -> int | None:
    """About what the input costs: each request by its own band, as the counted ones are."""
    if prices is None or tokens is None:
        return None
    if not counted or not sum(counted):
        return 0
    cost = sum((prices.request(one, 0, 0) for one in counted), Decimal(0))
    return rounded(cost * tokens / sum(counted))


def likely(
    prices: Prices | None,
    input_cost: int | None,
    output: int | None,
    counted: list[int],
    cap: Cap,
    requests: int,
) -> int | None:
    """About what a job costs; where no earlier answer tells, as if each was as long as its cap."""
    if output is None and cap.source in CAPPED and cap.tokens is not None:
        output = cap.tokens * requests
    if prices is None or input_cost is None or output is None:
        return None
    mean = sum(counted) // len(counted) if counted else 0
    return input_cost + rounded(prices.band(mean).output * output * PER_TOKEN)
