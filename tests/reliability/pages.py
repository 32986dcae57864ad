"""Datasette over a database, which kills itself at a chosen point of its background sync.

    python pages.py DATABASE CONFIG KILL_AT COUNT

A point is as in `zygote.py`: just before or after a request or a commit of ours. COUNT is a file
that says how many were passed, and which was the last.
"""

from __future__ import annotations

import sys
from pathlib import Path

from zygote import Points, patch


class Counted(Points):
    """Points whose count is written down as it grows."""

    def pass_by(self, what: str) -> None:
        self.log.with_suffix(".count").write_text(f"{self.passed + 1} {what}")
        super().pass_by(what)


def main() -> None:
    """Serve until somebody ends it."""
    from datasette.app import Datasette
    from datasette.cli import cli

    from sqlite_utils_openai_batch.base import waits

    database, config, kill_at, log = sys.argv[1:]
    waits.GRACE_SECONDS = 0
    waits.RETRY_SECONDS = 0.0
    patch(Counted(int(kill_at) or None, Path(log)))
    flag = "-c" if hasattr(Datasette, "allowed") else "-m"
    cli(["serve", database, "-p", "0", flag, config])


if __name__ == "__main__":
    main()
