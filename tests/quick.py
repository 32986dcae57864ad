"""What spares the tests minutes: programs that do not load pandas, a client that soon retries."""

from __future__ import annotations

import os
from pathlib import Path


def retry_soon() -> None:
    """Let the client of this process wait for milliseconds before it tries again, not seconds."""
    from openai import _base_client

    _base_client.INITIAL_RETRY_DELAY, _base_client.MAX_RETRY_DELAY = 0.02, 0.2


def without_pandas() -> dict[str, str]:
    """The environment of a program that doesn't find pandas, as with most people.

    sqlite-utils imports it where it is, and the tests start a thousand programs.
    """
    paths = [str(Path(__file__).with_name("absent")), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
