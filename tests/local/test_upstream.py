from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sqlite_utils_openai_batch.base.errors import Unreachable
from sqlite_utils_openai_batch.local import (
    Answer,
    NoAnswer,
    SimulatedAnswerer,
    UpstreamAnswerer,
    upstream_models,
)
from sqlite_utils_openai_batch.local.answerers.upstream import Server, Window, retry_after
from sqlite_utils_openai_batch.local.server import listen

from .bench import EMBEDDINGS, RESPONSES, Bench, Serve, chat, request_lines

GOOD = {"object": "chat.completion", "choices": [{"message": {"content": "yes"}}], "usage": {
    "prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}  # fmt: skip
Handler = Callable[[Request], Awaitable[Response]]


class Upstream:
    """A model server whose replies are queued: the last one is given again and again."""

    def __init__(self) -> None:
        self.replies: list[Response | float] = [JSONResponse(GOOD)]
        self.asked: list[Any] = []
        self.headers: list[Mapping[str, str]] = []
        self.names: list[str] | None = ["small", "large:latest"]

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(request.headers)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            return JSONResponse(GOOD)
        return reply

    async def models(self, request: Request) -> Response:
        if self.names is None:
            return PlainTextResponse("not here", 404)
        return JSONResponse({"data": [{"id": name} for name in self.names]})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A model server on a socket of its own; `url` is its base URL."""
    from threading import Thread

    server = Upstream()
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", server.answer, methods=["POST"]),
            Route("/v1/models", server.models),
        ]
    )
    listener = listen("127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"  # type: ignore[attr-defined]
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield server
    running.should_exit = True
    thread.join()


def through(serve_with: Serve, upstream: Any, **options: Any) -> Bench:
    return serve_with(answerer=UpstreamAnswerer(upstream.url, **options))


ONE = request_lines([chat(model="small")])


def test_answers_go_into_the_lines(serve_with: Serve, upstream: Any) -> None:
    bench = through(serve_with, upstream, key="secret")
    batch = bench.run(ONE)
    assert bench.lines(batch.output_file_id)["r-1"]["response"]["body"] == GOOD
    assert upstream.asked == [chat(model="small")]
    assert upstream.headers[0]["authorization"] == "Bearer secret"
    assert batch.usage is not None and batch.usage.total_tokens == 4


def test_without_a_key_none_is_sent(serve_with: Serve, upstream: Any) -> None:
    through(serve_with, upstream).run(ONE)
    assert "authorization" not in upstream.headers[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tried_again_after_the_asked_wait(serve_with: Serve, upstream: Any, status: int) -> None:
    upstream.replies[:0] = [JSONResponse({}, status, {"retry-after": "0.01"})] * 2
    bench = through(serve_with, upstream)
    batch = bench.run(ONE)
    assert bench.lines(batch.output_file_id)["r-1"]["response"]["body"] == GOOD
    assert len(upstream.asked) == 3


def test_patience_ends(serve_with: Serve, upstream: Any) -> None:
    error = {"error": {"message": "overloaded", "type": "x", "param": None, "code": None}}
    upstream.replies = [JSONResponse(error, 503, {"retry-after": "60"})]
    bench = through(serve_with, upstream, patience=1.0)
    line = bench.lines(bench.run(ONE).error_file_id)["r-1"]
    assert (line["response"]["status_code"], line["response"]["body"]) == (503, error)
    assert len(upstream.asked) == 1


def test_other_errors_pass_into_the_line(serve_with: Serve, upstream: Any) -> None:
    error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    upstream.replies = [JSONResponse(error, 400)]
    bench = through(serve_with, upstream)
    line = bench.lines(bench.run(ONE).error_file_id)["r-1"]
    assert (line["error"], line["response"]["status_code"]) == (None, 400)
    assert line["response"]["body"] == error
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("reply", "status"), [(PlainTextResponse("<html>", 200), 502), (JSONResponse([], 404), 404)]
)
def test_replies_that_are_no_json_object(
    serve_with: Serve, upstream: Any, reply: Response, status: int
) -> None:
    upstream.replies = [reply]
    bench = through(serve_with, upstream, patience=0)
    line = bench.lines(bench.run(ONE).error_file_id)["r-1"]
    assert line["response"]["status_code"] == status
    assert "no JSON object" in line["response"]["body"]["error"]["message"]


def test_timeout_of_a_line(serve_with: Serve, upstream: Any) -> None:
    upstream.replies = [1.0]
    bench = through(serve_with, upstream, timeout=0.05)
    line = bench.lines(bench.run(ONE).error_file_id)["r-1"]
    assert line["response"] is None
    assert line["error"] == {
        "code": "request_timeout",
        "message": "The upstream gave no answer within 0.05 seconds.",
    }


def test_unreachable(serve_with: Serve) -> None:
    url = "http://127.0.0.1:9/v1"
    bench = serve_with(answerer=UpstreamAnswerer(url, patience=0))
    line = bench.lines(bench.run(ONE).error_file_id)["r-1"]
    assert line["error"]["code"] == "upstream_unreachable"
    assert url in line["error"]["message"]
    with pytest.raises(openai.InternalServerError, match="can't be reached"):
        bench.client.models.list()
    with pytest.raises(Unreachable, match="Is it running"):
        upstream_models(url)


def test_unknown_model_names_those_that_there_are(serve_with: Serve, upstream: Any) -> None:
    bench = through(serve_with, upstream)
    [error] = bench.errors(bench.run(request_lines([chat(model="gpt-5")])))
    assert error == (
        "model_not_found", 1, "body.model",
        "The provided model 'gpt-5' is not supported by the Batch API. Supported models are:"
        " large, large:latest, small.",
    )  # fmt: skip
    assert upstream.asked == []


def test_names_with_and_without_latest(serve_with: Serve, upstream: Any) -> None:
    bench = through(serve_with, upstream)
    for name in ("large", "large:latest"):
        assert bench.run(request_lines([chat(model=name)])).status == "completed"


def test_model_of_the_server_instead_of_the_requests(serve_with: Serve, upstream: Any) -> None:
    bench = through(serve_with, upstream, model="small")
    assert bench.run(request_lines([chat(model="gpt-5")])).status == "completed"
    assert upstream.asked[0]["model"] == "small"


def test_upstream_without_a_list_takes_any_model(serve_with: Serve, upstream: Any) -> None:
    upstream.names = None
    bench = through(serve_with, upstream)
    assert bench.run(request_lines([chat(model="any")])).status == "completed"
    assert upstream_models(upstream.url) == []


def test_models_are_those_of_the_upstream(serve_with: Serve, upstream: Any) -> None:
    bench = through(serve_with, upstream)
    assert [m.id for m in bench.client.models.list()] == ["small", "large:latest"]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [(RESPONSES, {"model": "m", "input": "x"}), (EMBEDDINGS, {"model": "m", "input": "x"})],
)
def test_other_endpoints_of_a_server_like_ours(
    serve_with: Serve, endpoint: str, body: dict[str, Any]
) -> None:
    far = serve_with().server
    bench = serve_with(answerer=UpstreamAnswerer(far.base_url, key=far.key, model="m"))
    batch = bench.run(request_lines([body], endpoint), endpoint)
    assert bench.lines(batch.output_file_id)["r-1"]["response"]["status_code"] == 200


class Counting(SimulatedAnswerer):
    """Counts how many requests are there at once."""

    pace = None  # type: ignore[assignment]  # so that it counts as one that takes its time

    def __init__(self, concurrency: int) -> None:
        super().__init__()
        self.concurrency = concurrency
        self.now = self.most = 0

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return self.answer_now(url, body, custom_id)


def test_batches_share_the_concurrency(serve_with: Serve) -> None:
    answerer = Counting(5)
    bench = serve_with(answerer=answerer)
    batches = [bench.create(request_lines([chat(str(n)) for n in range(30)])) for _ in range(4)]
    for batch in batches:
        assert bench.ended(batch).status == "completed"
    assert answerer.most == 5


def test_cancel_lets_what_is_in_flight_finish(serve_with: Serve, upstream: Any) -> None:
    upstream.replies = [0.2]
    bench = through(serve_with, upstream, concurrency=2)
    created = bench.create(request_lines([chat(str(n), model="small") for n in range(20)]))
    while not upstream.asked:
        bench.client.batches.retrieve(created.id)
    bench.client.batches.cancel(created.id)
    batch = bench.ended(created)
    assert batch.status == "cancelled" and batch.request_counts is not None
    assert batch.request_counts.completed == len(upstream.asked) < 20


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_no_answer_at_all_directly(serve_with: Serve) -> None:
    bench = serve_with(answerer=UpstreamAnswerer("http://127.0.0.1:9/v1", patience=0))
    with pytest.raises(openai.InternalServerError) as caught:
        bench.client.embeddings.create(model="m", input="x")
    assert caught.value.code == "upstream_unreachable"
    assert NoAnswer("a", "b").code == "a"


# several servers, and how many requests each gets


class Busy:
    """A model server that counts what it has at once, and may refuse for a while."""

    def __init__(self) -> None:
        self.asked = self.now = self.most = 0
        self.refuse_above: int | None = None
        self.status, self.takes = 429, 0.01

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.refuse_above is not None and self.now > self.refuse_above:
                return JSONResponse({}, self.status, {"retry-after": "0.01"})
            await asyncio.sleep(self.takes)
            return JSONResponse(GOOD)
        finally:
            self.now -= 1


@pytest.fixture
def two() -> Iterator[list[Any]]:
    """Two such servers."""
    from threading import Thread

    opened = []
    for _ in range(2):
        server: Any = Busy()
        app = Starlette(routes=[Route("/v1/chat/completions", server.answer, methods=["POST"])])
        listener = listen("127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        opened.append((server, running, thread))
    yield [server for server, _, _ in opened]
    for _, running, thread in opened:
        running.should_exit = True
        thread.join()


def many(count: int) -> bytes:
    return request_lines([chat(model="small")] * count)


def test_several_servers_share_the_lines_and_each_is_bounded(
    serve_with: Serve, two: list[Any]
) -> None:
    for one in two:
        # longer than a busy machine takes to ask: else one of them could have nearly all
        one.takes = 0.1
    bench = serve_with(answerer=UpstreamAnswerer([one.url for one in two], concurrency=3))
    batch = bench.run(many(60))
    assert len(bench.lines(batch.output_file_id)) == 60
    assert sum(one.asked for one in two) == 60
    assert max(one.most for one in two) <= 3
    assert min(one.asked for one in two) >= 10


@pytest.mark.parametrize("status", [None, 500])
def test_a_server_that_fails_is_left_out(
    serve_with: Serve, two: list[Any], status: int | None
) -> None:
    good, bad = two
    bad.refuse_above, bad.status = 0, status or 500
    url = bad.url if status else "http://127.0.0.1:9/v1"
    bench = serve_with(answerer=UpstreamAnswerer([url, good.url], concurrency=2))
    batch = bench.run(many(40))
    assert len(bench.lines(batch.output_file_id)) == 40
    assert good.asked == 40
    assert bad.asked <= 6


def test_a_server_that_is_back_is_asked_again() -> None:
    server = Server("http://127.0.0.1:9/v1", 4)
    server.heard(NoAnswer("upstream_unreachable", "refused"), 0.1)
    assert 0.5 < server.out() <= 1
    server.heard(NoAnswer("upstream_unreachable", "refused"), 0.1)
    assert 1.5 < server.out() <= 2
    server.heard(Answer(200, {}), 0.1)
    assert server.out() == 0


def test_fewer_requests_at_once_where_a_server_has_no_room(
    serve_with: Serve, two: list[Any]
) -> None:
    server = two[0]
    server.refuse_above, server.takes = 3, 0.3
    answerer = UpstreamAnswerer(server.url, concurrency=8)
    batch = serve_with(answerer=answerer).run(many(30))
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 30
    assert answerer.servers[0].window.size < 8
    assert server.asked < 200


def test_the_window_grows_to_what_was_given_and_no_further() -> None:
    window = Window(20)
    assert window.size == 8
    for _ in range(200):
        window.good(0.1)
        assert window.size <= 20
    assert window.size == 20
    window.full()
    for _ in range(8):
        window.full()  # of the same round
    assert window.size == 10
    for _ in range(10):
        window.good(0.1)
    assert window.size == 11


def test_the_window_shrinks_where_more_at_once_get_less_done() -> None:
    window = Window(64)
    for _ in range(8 + 16 + 32 + 4 * 64):
        window.good(0.1)
    assert window.size == 64
    for _ in range(64):
        window.good(1.0)
    assert window.size == 32
    # Requests that are all longer are no fault of the server: it gets as many as before again.
    for _ in range(5_000):
        window.good(1.0)
    assert window.size == 64
