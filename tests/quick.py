"""What spares the tests minutes: no pandas, few authorities, a client that soon retries."""

from __future__ import annotations

import os
from pathlib import Path

import certifi


def retry_soon() -> None:
    """Let the client of this process wait for milliseconds before it tries again, not seconds."""
    from openai import _base_client

    _base_client.INITIAL_RETRY_DELAY, _base_client.MAX_RETRY_DELAY = 0.02, 0.2


def one_authority(path: Path) -> Path:
    """A file with one of the authorities that are trusted: no test speaks to a foreign host.

    To read them all takes each client 50 ms.
    """
    end = "-----END CERTIFICATE-----\n"
    path.write_text(certifi.contents().partition(end)[0] + end)
    return path


def without_pandas() -> dict[str, str]:
    """The environment of a program that doesn't find pandas (nor numpy), as with most people.

    sqlite-utils imports it where it is, Datasette imports numpy, and the tests start a thousand
    programs.
    """
    paths = [str(Path(__file__).with_name("absent")), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
