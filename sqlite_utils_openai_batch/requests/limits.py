"""What each provider accepts in one batch, and the planner that cuts requests into parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..base.endpoints import BATCH_EMBEDDING_INPUTS, BATCH_FILE_BYTES, BATCH_REQUESTS
from ..base.errors import UsageError

EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Cap:
    """What a provider takes in one batch at most, and how far below it parts stay."""

    requests: int
    bytes: int
    part_bytes: int
    """Bytes of a part unless asked otherwise: rows may grow between planning and sending."""
    embedding_inputs: int
    without: tuple[str, ...] = ()
    """Endpoints that it has no batches for, though others have."""


#: Sources: OpenAI's batch guide (50,000 requests; 200 MB; 50,000 embedding inputs over all
#: lines) and Azure's batch documentation (100,000 requests; 200 MB; no embeddings).
CAPS = {
    "openai": Cap(
        requests=BATCH_REQUESTS,
        bytes=BATCH_FILE_BYTES,
        part_bytes=190_000_000,
        embedding_inputs=BATCH_EMBEDDING_INPUTS,
    ),
    "azure": Cap(
        requests=100_000,
        bytes=BATCH_FILE_BYTES,
        part_bytes=190_000_000,
        embedding_inputs=BATCH_EMBEDDING_INPUTS,
        without=(EMBEDDINGS,),
    ),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one part may hold."""

    requests: int
    bytes: int
    """Encoded lines with their newlines."""
    embedding_inputs: int | None = None
    """Inputs over all lines of a part; None where they aren't counted."""
    tokens: int | None = None
    """Estimated input tokens of a part; None for no limit. One request may exceed it alone."""


def known_provider(provider: str) -> str:
    """The row of `CAPS` for a provider: OpenAI's where it has none, since they imitate its API."""
    return provider if provider in CAPS else "openai"


def cap_for(provider: str) -> Cap:
    """What a provider takes in one batch at most."""
    return CAPS[known_provider(provider)]


def limits_for(
    provider: str,
    endpoint: str,
    *,
    requests: int | None = None,
    bytes: int | None = None,
    tokens: int | None = None,
) -> Limits:
    """Return what a part may hold at this provider.

    `requests`, `bytes` and `tokens` lower it (--part-requests, --part-bytes, --part-tokens).
    A provider that isn't in the table is held to OpenAI's limits, which its API imitates.
    Raises UsageError for a value below 1 or above the provider's cap, and for an endpoint that
    the provider has no batches for.
    """
    known = known_provider(provider)
    cap = CAPS[known]
    if endpoint in cap.without:
        raise UsageError(f"{known.title()} has no batches for {endpoint}.")
    _check("--part-tokens", tokens, None, known)
    return Limits(
        requests=_check("--part-requests", requests, cap.requests, known) or cap.requests,
        bytes=_check("--part-bytes", bytes, cap.bytes, known) or cap.part_bytes,
        embedding_inputs=cap.embedding_inputs if endpoint == EMBEDDINGS else None,
        tokens=tokens,
    )


def _check(option: str, value: int | None, cap: int | None, provider: str) -> int | None:
    if value is None:
        return None
    if value < 1:
        raise UsageError(f"{option} must be at least 1, not {value:,}.")
    if cap is not None and value > cap:
        raise UsageError(f"{option} {value:,} is above the cap of {provider}: {cap:,}.")
    return value


class Planner:
    """Cuts a run of requests into parts: in their order, each part as full as it may be.

    The same sizes in the same order give the same parts.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._requests = self._bytes = self._inputs = self._tokens = 0

    def too_large(self, size: int, inputs: int = 1) -> bool:
        """Whether a request of `size` bytes (and `inputs` embedding inputs) fits no part."""
        allowed = self.limits.embedding_inputs
        return size > self.limits.bytes or (allowed is not None and inputs > allowed)

    def add(self, size: int, inputs: int = 1, tokens: int = 0) -> bool:
        """Add the next request; True when it starts a new part (as the first one does).

        `size` is the line's bytes with its newline, `tokens` its estimated input tokens.
        Raises ValueError for a request that is `too_large`: leave those out.
        """
        if self.too_large(size, inputs):
            raise ValueError(f"a request of {size} bytes and {inputs} inputs fits no part")
        starts = self._requests == 0 or not self._fits(size, inputs, tokens)
        if starts:
            self._requests = self._bytes = self._inputs = self._tokens = 0
        self._requests += 1
        self._bytes += size
        self._inputs += inputs
        self._tokens += tokens
        return starts

    def add_all(self, sizes: Sequence[int], inputs: int = 1) -> bool:
        """Add requests if all of them fit in the part that is open; else nothing is added.

        `sizes` are as for `add`; `inputs` is what each of them has. Tokens aren't counted.
        """
        limits, count, size = self.limits, len(sizes), sum(sizes)
        fits = (
            self._requests > 0
            and limits.tokens is None
            and self._requests + count <= limits.requests
            and self._bytes + size <= limits.bytes
            and (
                limits.embedding_inputs is None
                or self._inputs + inputs * count <= limits.embedding_inputs
            )
        )
        if fits:
            self._requests += count
            self._bytes += size
            self._inputs += inputs * count
        return fits

    def _fits(self, size: int, inputs: int, tokens: int) -> bool:
        limits = self.limits
        return (
            self._requests < limits.requests
            and self._bytes + size <= limits.bytes
            and (
                limits.embedding_inputs is None or self._inputs + inputs <= limits.embedding_inputs
            )
            and (limits.tokens is None or self._tokens + tokens <= limits.tokens)
        )
