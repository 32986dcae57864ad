from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

import openai
import pytest

from sqlite_utils_openai_batch.local import Webhook

from .bench import Bench, Serve, chat, request_lines

SECRET = "whsec_" + base64.b64encode(b"a secret for the tests").decode()
Call = tuple[dict[str, str], str]


class Receiver:
    """An HTTP server that keeps what is posted to it; it fails the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: Queue[Call] = Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                receiver.calls.put((dict(self.headers), body))
                receiver.failures -= 1
                self.send_response(503 if receiver.failures >= 0 else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.failures = failures
        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/hook"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def next(self) -> Call:
        return self.calls.get(timeout=30)

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def told(serve_with: Serve, receiver: Receiver, *faults: str) -> tuple[Bench, str]:
    bench = serve_with(webhook=Webhook(receiver.url, SECRET), faults=faults)
    return bench, bench.run(request_lines([chat()])).id


def unwrap(bench: Bench, call: Call) -> object:
    headers, body = call
    return bench.client.webhooks.unwrap(body, headers, secret=SECRET)


def test_the_client_accepts_the_webhook(serve_with: Serve, receiver: Receiver) -> None:
    bench, batch_id = told(serve_with, receiver)
    event = unwrap(bench, receiver.next())
    assert isinstance(event, openai.types.webhooks.BatchCompletedWebhookEvent)
    assert (event.type, event.data.id, event.object) == ("batch.completed", batch_id, "event")


@pytest.mark.parametrize(
    ("fault", "content", "kind"),
    [
        ("expire:1", request_lines([chat()] * 2), "batch.expired"),
        ("crlf", "{}\n", "batch.failed"),
    ],
)
def test_other_ends(
    serve_with: Serve, receiver: Receiver, fault: str, content: str, kind: str
) -> None:
    bench = serve_with(webhook=Webhook(receiver.url, SECRET), faults=[fault])
    bench.run(content)
    assert unwrap(bench, receiver.next()).type == kind  # type: ignore[attr-defined]


def test_twice(serve_with: Serve, receiver: Receiver) -> None:
    told(serve_with, receiver, "webhook-twice")
    first, second = receiver.next(), receiver.next()
    assert first[0]["webhook-id"] == second[0]["webhook-id"]


@pytest.mark.parametrize("fault", ["webhook-forged", "webhook-old"])
def test_the_client_refuses(serve_with: Serve, receiver: Receiver, fault: str) -> None:
    bench, _ = told(serve_with, receiver, fault)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(bench, receiver.next())


def test_late(serve_with: Serve, receiver: Receiver) -> None:
    bench, _ = told(serve_with, receiver, "webhook-late:0.2")
    assert receiver.calls.empty()
    unwrap(bench, receiver.next())


def test_tried_again(serve_with: Serve, receiver: Receiver) -> None:
    receiver.failures = 1
    told(serve_with, receiver)
    assert receiver.next()[0]["webhook-id"] == receiver.next()[0]["webhook-id"]
