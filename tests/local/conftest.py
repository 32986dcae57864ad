"""Servers for the tests of the local batch server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.local.pytest_plugin import (  # noqa: F401
    batch_client,
    batch_server,
    batch_server_options,
    connect,
)

from .bench import Bench, Serve


@pytest.fixture
def bench(batch_server: LocalServer, batch_client: openai.OpenAI) -> Bench:  # noqa: F811
    """A server of this test's own."""
    return Bench(batch_server, batch_client)


@pytest.fixture
def serve_with() -> Iterator[Serve]:
    """Start servers with other arguments; they stop when the test ends."""
    opened: list[Any] = []

    def start(key: str | None = None, **arguments: Any) -> Bench:
        server = LocalServer(key=key, **arguments).start()
        client = connect(server)
        opened.extend((client.close, server.stop))
        return Bench(server, client)

    yield start
    for close in opened:
        close()
