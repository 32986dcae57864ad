"""Answers of another OpenAI-compatible server: Ollama, vLLM, LM Studio, a gateway."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import orjson

from ...base.errors import Unreachable
from ..protocol.answers import Answer, NoAnswer, api_error

if TYPE_CHECKING:
    import httpx2

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
RETRIED = (408, 409, 425, 429)

Try = tuple[Answer | NoAnswer, "float | None"]


class UpstreamAnswerer:
    """Sends each request on to `url`, which is what an OpenAI client calls its base URL.

    At most `concurrency` requests are there at once; each try has `timeout` seconds. Refused
    connections, 429 and 5xx are tried again, after the upstream's own Retry-After if it sends
    one, for `patience` seconds in all; then the last error becomes the line's reply, as every
    other error of the upstream does at once. `model`, when given, is asked instead of the one
    that a request names.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        concurrency: int = 4,
        timeout: float = 600.0,
        *,
        model: str | None = None,
        patience: float = 300.0,
    ) -> None:
        self.url = url.rstrip("/")
        self.label = f"answers of {self.url}"
        self.concurrency = concurrency
        self.model = model
        self._key = key
        self._timeout = timeout
        self._patience = patience
        self._client: httpx2.AsyncClient | None = None

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2  # what the openai client itself speaks HTTP with

            headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
            self._client = httpx2.AsyncClient(
                headers={**headers, "content-type": "application/json"},
                timeout=self._timeout,
                limits=httpx2.Limits(max_connections=self.concurrency + 1),
            )
        return self._client

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Ask the upstream until it answers, or refuses, or patience ends."""
        asked = {**body, "model": self.model} if self.model else body
        content = orjson.dumps(asked)
        target = self.url + url.removeprefix("/v1")
        ends = time.monotonic() + self._patience
        wait = FIRST_WAIT
        while True:
            answer, told = await self._try(target, content)
            pause = told if told is not None else wait * random.uniform(0.75, 1.25)
            if not _again(answer) or time.monotonic() + pause > ends:
                return answer
            await asyncio.sleep(pause)
            wait = min(wait * 2, LONGEST_WAIT)

    async def _try(self, target: str, content: bytes) -> Try:
        """Send one request; returns its answer and the wait that the upstream asks for."""
        import httpx2

        try:
            reply = await self._connected().post(target, content=content)
        except httpx2.TimeoutException:
            message = f"The upstream gave no answer within {self._timeout:g} seconds."
            return NoAnswer("request_timeout", message), None
        except httpx2.HTTPError as error:
            message = f"The upstream at {self.url} can't be reached: {error}"
            return NoAnswer("upstream_unreachable", message), None
        return _answer(reply.status_code, reply.content), retry_after(reply.headers)

    async def models(self) -> list[str]:
        """What the upstream lists; nothing when it has no list. Raises Unreachable."""
        import httpx2

        try:
            reply = await self._connected().get(self.url + "/models")
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"The upstream at {self.url} can't be reached: {error}. Is it running, and does"
                " its address end as an OpenAI client's base URL does (usually /v1)?"
            ) from error
        listed = _json(reply.content) if reply.status_code == 200 else None
        data = listed.get("data") if isinstance(listed, dict) else None
        return [m["id"] for m in data or () if isinstance(m, dict) and isinstance(m.get("id"), str)]

    async def allowed_models(self) -> list[str] | None:
        """The names that requests may use; None for any.

        Any name goes when the upstream has no list, or when `model` replaces it. Ollama's
        `name:latest` may be called `name`.
        """
        if self.model is not None:
            return None
        try:
            names = await self.models()
        except Unreachable:  # it may be back when the first line is sent
            return None
        short = (name.removesuffix(":latest") for name in names)
        return list(dict.fromkeys([*names, *short])) or None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def upstream_models(url: str, key: str | None = None) -> list[str]:
    """Return what an upstream lists, from outside of any event loop. Raises Unreachable."""
    return asyncio.run(_models_once(UpstreamAnswerer(url, key, timeout=10.0)))


async def _models_once(answerer: UpstreamAnswerer) -> list[str]:
    try:
        return await answerer.models()
    finally:
        await answerer.close()


def _again(answer: Answer | NoAnswer) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(answer, NoAnswer):
        return answer.code == "upstream_unreachable"
    return answer.status_code in RETRIED or answer.status_code >= 500


def _answer(status: int, content: bytes) -> Answer:
    """The upstream's reply as it goes into the line; what is no JSON object is an error."""
    body = _json(content)
    if isinstance(body, dict):
        return Answer(status, body)
    text = content[:300].decode("utf-8", "replace")
    message = f"The upstream replied with status {status} and no JSON object: {text}"
    kind = "invalid_request_error" if 400 <= status < 500 else "server_error"
    return api_error(status if status >= 400 else 502, message, type=kind)


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks to wait, from either header and either notation."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    if given is None or (seconds := _number(given)) is not None:
        return seconds if given is not None else None
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number)
