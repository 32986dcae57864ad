"""Answers of other OpenAI-compatible servers: Ollama, vLLM, LM Studio, a gateway, or several."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
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
NO_ROOM = (429, 503)

SLOW = 3.0
"""So many times its best time, and at half of its best rate, a server has too much to do."""
FORGETS = 0.1
"""A part of how far its best lies from now, which a server forgets a round: requests differ."""
FIRST_WINDOW = 8
"""Requests at once to begin with, where more are allowed: twice as many after each good round."""

Try = tuple[Answer | NoAnswer, "float | None"]


class Window:
    """How many requests a server gets at once: up by one a round while it is well, else halved.

    It is not well when it refuses for want of room (429, 503), or when more requests at once make
    it slow and get less done. `most` is never exceeded.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = float(min(most, FIRST_WINDOW))
        self._doubles = True
        self._best = self._best_rate = 0.0
        self._round: list[float] = []
        self._refused = 0

    def good(self, seconds: float) -> None:
        """Hear of a request that was answered in so many seconds."""
        self._refused = 0
        self._round.append(seconds)
        if len(self._round) < int(self.size):
            return
        mean = sum(self._round) / len(self._round)
        self._round.clear()
        if self._is_slow(mean):
            self._shrink()
        else:
            step = self.size if self._doubles else 1
            self.size = min(float(self.most), self.size + step)

    def _is_slow(self, mean: float) -> bool:
        rate = self.size / max(mean, 1e-6)
        if not self._best:
            self._best, self._best_rate = mean, rate
        slow = mean > self._best * SLOW and rate < self._best_rate / 2
        self._best = min(mean, self._best + (mean - self._best) * FORGETS)
        self._best_rate = max(rate, self._best_rate + (rate - self._best_rate) * FORGETS)
        return slow

    def full(self) -> None:
        """Hear that the server has no room. The refusals of one round count once."""
        if self._refused == 0:
            self._shrink()
        self._refused = (self._refused + 1) % max(1, int(self.size))

    def _shrink(self) -> None:
        self._doubles = False
        self._round.clear()
        self.size = max(1.0, self.size / 2)


class Server:
    """One of the servers: how many requests it has, and until when it is left out."""

    def __init__(self, url: str, most: int) -> None:
        self.url = url.rstrip("/")
        self.window = Window(most)
        self.busy = 0
        self._failures = 0
        self._out_until = 0.0

    @property
    def free(self) -> bool:
        """Whether it may get another request."""
        return self.busy < int(self.window.size)

    def out(self) -> float:
        """Seconds for which it is still left out; 0 when it isn't."""
        return max(0.0, self._out_until - time.monotonic())

    def heard(self, answer: Answer | NoAnswer, seconds: float) -> None:
        """Take account of what came back."""
        if _gone(answer):
            self._failures += 1
            self._out_until = time.monotonic() + min(2.0**self._failures / 2, LONGEST_WAIT)
            return
        self._failures = 0
        self._out_until = 0.0
        if isinstance(answer, Answer) and answer.status_code in NO_ROOM:
            self.window.full()
        elif isinstance(answer, Answer) and answer.status_code == 200:
            self.window.good(seconds)  # what is refused at once tells nothing of its speed


class UpstreamAnswerer:
    """Sends each request on to `url`, which is what an OpenAI client calls its base URL.

    `url` may be several, nearest first: the first with room is asked, and one that can't be
    reached or fails by itself is left out for a while. At most `concurrency` requests are at each
    of them at once, and fewer while it says 429 or 503 or becomes slow. Each try has `timeout`
    seconds. Refused connections, 429 and 5xx are tried again, elsewhere at once or after the
    upstream's own Retry-After if it sends one, for `patience` seconds in all; then the last error
    becomes the line's reply, as every other error of the upstream does at once. `model`, when
    given, is asked instead of the one that a request names.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        key: str | None = None,
        concurrency: int = 4,
        timeout: float = 600.0,
        *,
        model: str | None = None,
        patience: float = 300.0,
    ) -> None:
        urls = list(dict.fromkeys([url] if isinstance(url, str) else url))
        self.servers = [Server(one, concurrency) for one in urls]
        self.url = self.servers[0].url
        self.label = "answers of " + ", ".join(server.url for server in self.servers)
        self.concurrency = concurrency * len(self.servers)
        self.model = model
        self._key = key
        self._timeout = timeout
        self._patience = patience
        self._client: httpx2.AsyncClient | None = None
        self._changed: asyncio.Condition | None = None

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
        path = url.removeprefix("/v1")
        ends = time.monotonic() + self._patience
        wait = FIRST_WAIT
        while True:
            async with self._server() as server:
                began = time.monotonic()
                answer, told = await self._try(server.url + path, content)
                server.heard(answer, time.monotonic() - began)
            if not _again(answer):
                return answer
            pause = told if told is not None else wait * random.uniform(0.75, 1.25)
            if self._others(server):
                pause = min(pause, FIRST_WAIT / 10)  # another server is asked instead
            if time.monotonic() + pause > ends:
                return answer
            await asyncio.sleep(pause)
            wait = min(wait * 2, LONGEST_WAIT)

    def _others(self, server: Server) -> bool:
        return any(one is not server and not one.out() for one in self.servers)

    @contextlib.asynccontextmanager
    async def _server(self) -> AsyncIterator[Server]:
        """Wait for room at a server, the nearest first, and hold it."""
        if self._changed is None:
            self._changed = asyncio.Condition()
        async with self._changed:
            while (server := self._choose()) is None:
                await self._changed.wait()
            server.busy += 1
        try:
            yield server
        finally:
            server.busy -= 1
            async with self._changed:
                self._changed.notify_all()

    def _choose(self) -> Server | None:
        """The nearest server with room; while all are left out, the one that is back first."""
        well = [server for server in self.servers if not server.out()]
        if not well:
            well = [min(self.servers, key=Server.out)]
        return next((server for server in well if server.free), None)

    async def _try(self, target: str, content: bytes) -> Try:
        """Send one request; returns its answer and the wait that the upstream asks for."""
        import httpx2

        try:
            reply = await self._connected().post(target, content=content)
        except httpx2.TimeoutException:
            message = f"The upstream gave no answer within {self._timeout:g} seconds."
            return NoAnswer("request_timeout", message), None
        except httpx2.HTTPError as error:
            address = target.partition("/v1/")[0] + "/v1" if "/v1/" in target else target
            message = f"The upstream at {address} can't be reached: {error}"
            return NoAnswer("upstream_unreachable", message), None
        return _answer(reply.status_code, reply.content), retry_after(reply.headers)

    async def models(self) -> list[str]:
        """What the first server that replies lists; nothing when it has no list.

        Raises Unreachable when none does.
        """
        for server in self.servers[:-1]:
            with contextlib.suppress(Unreachable):
                return await self._models(server.url)
        return await self._models(self.servers[-1].url)

    async def _models(self, url: str) -> list[str]:
        import httpx2

        try:
            reply = await self._connected().get(url + "/models")
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"The upstream at {url} can't be reached: {error}. Is it running, and does"
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


def upstream_models(url: str | Sequence[str], key: str | None = None) -> list[str]:
    """Return what an upstream lists, from outside of any event loop. Raises Unreachable.

    Of several, it is what the first lists that replies.
    """
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


def _gone(answer: Answer | NoAnswer) -> bool:
    """Tell whether a server itself failed, so that it is better left out for a while."""
    if isinstance(answer, NoAnswer):
        return answer.code == "upstream_unreachable"
    return answer.status_code >= 500 and answer.status_code not in NO_ROOM


def _answer(status: int, content: bytes) -> Answer:
    """The upstream's reply as it goes into the line; what is not a JSON object is an error."""
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
