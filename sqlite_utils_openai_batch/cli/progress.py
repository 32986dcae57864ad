"""The line that says how far watched jobs are."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from .framework import (
    talk,
)

if TYPE_CHECKING:
    import sqlite3

    from ..passes import Report
    from ..store import Job, Part


def done_of(part: Part) -> int:
    """How many of a part's requests are through, here or at the provider.

    Requests that are asked again have left it, though its batch counted them.
    """
    whole = sum(part.counts.values())
    settled = whole - part.counts.get("pending", 0)
    if part.collected_at:
        return settled
    return min(max(settled, (part.completed or 0) + (part.failed or 0)), whole)


class Teller:
    """Says how a watched job goes: over one line on a terminal, else a line for each change."""

    def __init__(self, conn: sqlite3.Connection, *, silent: bool):
        self.conn = conn
        self.silent = silent
        self.terminal = sys.stderr.isatty()
        self.last = ""
        self.width = 0

    def told(self, jobs: list[Job], report: Report) -> None:
        """Hear of a pass."""
        if self.silent:
            return
        from ..watch import goes_on

        line = " | ".join(self.line(job) for job in jobs if goes_on(self.conn, job, report))
        if line and report.waiting:
            line = f"{line} · {report.waiting[0]}"
        if line and line != self.last:
            # Noted first: Ctrl-C may come while the line is written, and it must be ended then.
            self.last = line
            self.say(line)

    def line(self, job: Job) -> str:
        """How far one job is."""
        from .. import store
        from ..words import host_words

        parts = store.list_parts(self.conn, job.id)
        done, whole = sum(map(done_of, parts)), sum(sum(part.counts.values()) for part in parts)
        ended = sum(1 for part in parts if part.collected_at)
        return (
            f"Job {job.id}: {done:,}/{whole:,} done · {ended}/{len(parts)} parts · "
            f"waiting for {host_words(job)}"
        )

    def say(self, line: str) -> None:
        """Print a line, over the last one on a terminal."""
        from ..figures import cut

        if not self.terminal:
            talk(line)
            return
        # A line that wraps couldn't be written over.
        line = cut(line, shutil.get_terminal_size().columns - 1)
        talk("\r" + line.ljust(self.width), nl=False)
        self.width = len(line)

    def end(self) -> None:
        """Leave the line that was written over."""
        if self.terminal and self.last:
            talk()
            self.last = ""
