"""What the server needs of whoever answers: a model, an upstream server, or a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Answer(NamedTuple):
    """An HTTP reply to one request: what goes into `response` of an output line."""

    status_code: int
    body: dict[str, Any]


class NoAnswer(NamedTuple):
    """No HTTP reply at all: what goes into the top-level `error` of a line."""

    code: str
    message: str


class Answerer(Protocol):
    """Answers requests one at a time, `concurrency` of them at once."""

    @property
    def label(self) -> str:
        """Who answers, in a few words."""
        ...

    @property
    def concurrency(self) -> int:
        """How many requests are answered at once."""
        ...

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Answer one request; `url` is a path such as `/v1/chat/completions`."""
        ...

    async def models(self) -> list[str]:
        """Names for `GET /v1/models`; may raise Unreachable."""
        ...

    async def allowed_models(self) -> list[str] | None:
        """The only names that requests may use; None for any."""
        ...

    async def close(self) -> None:
        """Give back what is held: connections, memory."""
        ...


@runtime_checkable
class ImmediateAnswerer(Answerer, Protocol):
    """An answerer that never waits, so that lines need no task each."""

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        ...

    def pace(self, requests: int) -> float | None:
        """Lines per second for a batch of so many requests; None for no brake."""
        ...


Said = tuple[list[str], list[int], list[int]]
"""Texts of answers, and the tokens of what was asked and of what was said."""


class AnswerForm(Protocol):
    """What the answers to bodies have in common that differ in their last text only."""

    def body(self, custom_id: str, text: str, prompt: int, completion: int) -> dict[str, Any]:
        """The body of an answer that says a text and took so many tokens."""
        ...

    def fill(self, custom_ids: Sequence[str], asked: Sequence[str]) -> Said | None:
        """What is said to last texts; None where a body of an answer has other parts."""
        ...


@runtime_checkable
class FormAnswerer(ImmediateAnswerer, Protocol):
    """An answerer at once whose answers are so much alike that few are made from nothing."""

    def form(self, url: str, body: Mapping[str, Any]) -> AnswerForm | None:
        """The form of the answers to bodies like this one, whose last text is LAST_TEXT.

        None where they have none.
        """
        ...


@runtime_checkable
class BlockAnswerer(Answerer, Protocol):
    """An answerer of many lines in one go, `concurrency` blocks of them at once."""

    @property
    def knows_bodies(self) -> bool:
        """Whether those who answer refuse a bad request themselves."""
        ...

    def connect(self) -> Answerer:
        """Be ready to answer; a server does so before it listens. Raises ConfigurationError."""
        ...

    def refusal(self, url: str, body: Mapping[str, Any]) -> Answer | None:
        """The error of a request that can't be answered at all, None for others."""
        ...

    def block_size(self, lines: int) -> int:
        """Lines of a block in a batch of so many."""
        ...

    async def answer_block(self, lines: Sequence[bytes]) -> list[Answer | NoAnswer]:
        """Answer lines of an input file, all of them in their order."""
        ...


def api_error(
    status_code: int, message: str, *, type: str, param: str | None = None, code: str | None = None
) -> Answer:
    """Build an error reply in the shape of the API."""
    error = {"message": message, "type": type, "param": param, "code": code}
    return Answer(status_code, {"error": error})
