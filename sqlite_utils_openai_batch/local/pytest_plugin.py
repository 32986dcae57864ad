"""Fixtures for anyone whose tests talk to the Batch API.

In `conftest.py`:

```python
pytest_plugins = ["sqlite_utils_openai_batch.local.pytest_plugin"]
```

Then `batch_server` is a server on a free port of this machine, up in a tenth of a second, whose
answers repeat their prompts, and `batch_client` is an `openai.OpenAI` client of it. To have
another kind of server, define a fixture `batch_server_options` that returns arguments of
`LocalServer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from . import LocalServer, SimulatedAnswerer


@pytest.fixture
def batch_server_options() -> dict[str, Any]:
    """Arguments of `LocalServer`; override it to have another server."""
    return {"answerer": SimulatedAnswerer(echo=True)}


@pytest.fixture
def batch_server(batch_server_options: dict[str, Any]) -> Iterator[LocalServer]:
    """A batch server of this test's own."""
    with LocalServer(**batch_server_options) as server:
        yield server


@pytest.fixture
def batch_client(batch_server: LocalServer) -> Iterator[openai.OpenAI]:
    """A client of `batch_server`."""
    with connect(batch_server) as client:
        yield client


def connect(server: LocalServer) -> openai.OpenAI:
    """Return a client of a server that doesn't retry, so that faults are seen."""
    # Plain HTTP needs no certificates, and loading them takes longer than starting the server.
    http_client = openai.DefaultHttpxClient(verify=False)
    return openai.OpenAI(
        base_url=server.base_url, api_key=server.key, max_retries=0, http_client=http_client
    )
