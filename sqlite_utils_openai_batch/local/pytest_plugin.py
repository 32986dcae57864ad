"""Fixtures for anyone whose tests talk to the Batch API.

pytest finds them where this package is installed; they do nothing in a test that doesn't ask for
them. `openai_batch_server` is a server on a free port of this machine, up in a tenth of a second,
whose answers repeat their prompts. `openai_batch_client` is an `openai.OpenAI` client of it. To
have another kind of server, define a fixture `openai_batch_server_options` that returns arguments
of `LocalServer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import openai

    from . import LocalServer


@pytest.fixture
def openai_batch_server_options(batch_server_options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `LocalServer`; override it to have another server."""
    return batch_server_options


@pytest.fixture
def openai_batch_server(openai_batch_server_options: dict[str, Any]) -> Iterator[LocalServer]:
    """A batch server of this test's own."""
    from . import LocalServer

    with LocalServer(**openai_batch_server_options) as server:
        yield server


@pytest.fixture
def openai_batch_client(openai_batch_server: LocalServer) -> Iterator[openai.OpenAI]:
    """A client of `openai_batch_server`."""
    with connect(openai_batch_server) as client:
        yield client


# The same by the names that they had before this was a plugin.


@pytest.fixture
def batch_server_options() -> dict[str, Any]:
    """Older name of `openai_batch_server_options`."""
    from . import SimulatedAnswerer

    return {"answerer": SimulatedAnswerer(echo=True)}


@pytest.fixture
def batch_server(openai_batch_server: LocalServer) -> LocalServer:
    """Older name of `openai_batch_server`."""
    return openai_batch_server


@pytest.fixture
def batch_client(openai_batch_client: openai.OpenAI) -> openai.OpenAI:
    """Older name of `openai_batch_client`."""
    return openai_batch_client


def connect(server: LocalServer) -> openai.OpenAI:
    """Return a client of a server that doesn't retry, so that faults are seen."""
    import openai

    # Plain HTTP needs no certificates, and loading them takes longer than starting the server.
    http_client = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(
        base_url=server.base_url, api_key=server.key, max_retries=0, http_client=http_client
    )
