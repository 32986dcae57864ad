"""What screens are made of: lines, tables, times, keys. Nothing here reads or writes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ...base import clock
from ...base.text import oneline
from ..click_ext import talk, talk_over

if TYPE_CHECKING:
    import sqlite3

    from ...jobs.sync.context import Report
    from ...store import Job, Part


LABEL = 10


def row(label: str, text: str) -> str:
    """One line of a screen: a label, and what there is to say."""
    return f"{label:<{LABEL}}{text}"


def when(at: str | None) -> str:
    """A stored time in the reader's time zone: `today 03:00`, `20 Nov 14:02`, `-`."""
    if not at or clock.told(at) is None:
        return "-"
    local = clock.parse(at).astimezone()
    today = datetime.now(timezone.utc).astimezone()
    if local.date() == today.date():
        return f"today {local:%H:%M}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M}"
    return f"{local.day} {local:%b %Y}"


def when_later(at: str | None, first: str | None) -> str:
    """A time that stands after another: without the day where that is the same."""
    if not (at and first and clock.told(at) and clock.told(first)):
        return when(at)
    local = clock.parse(at).astimezone()
    same_day = local.date() == clock.parse(first).astimezone().date()
    return f"{local:%H:%M}" if same_day else when(at)


def progress(job: Job, counts: dict[str, int]) -> str:
    """How many requests have an outcome: `12,000/20,000`."""
    whole = job.requests or 0
    return f"{whole - counts.get('pending', 0):,}/{whole:,}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns under their headers, two spaces apart, no trailing spaces."""
    cells = [list(map(oneline, line)) for line in (headers, *rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(headers))]
    lines = [
        "  ".join(
            cell.rjust(widths[n]) if n in right else cell.ljust(widths[n])
            for n, cell in enumerate(line)
        ).rstrip()
        for line in cells
    ]
    return "\n".join(lines)


# The line that says how far watched jobs are.

#: Seconds between two lines about long work where there is no terminal to write over, and on one.
MINUTE, SECOND = 60.0, 1.0


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
        self.heard = time.monotonic()

    def between(self, jobs: list[Job], report: Report) -> None:
        """Hear of a part in the middle of a pass: a word a minute, on a terminal more."""
        if time.monotonic() - self.heard >= (SECOND if self.terminal else MINUTE):
            self.tell(jobs, report)

    def told(self, jobs: list[Job], report: Report) -> None:
        """Hear of a pass."""
        self.tell_faults(report)
        self.tell(jobs, report)

    def tell(self, jobs: list[Job], report: Report) -> None:
        """Say how far jobs are, where that is another line than the last one."""
        self.heard = time.monotonic()
        if self.silent:
            return
        from ...jobs.sync.watch import goes_on

        line = " | ".join(self.line(job) for job in jobs if goes_on(self.conn, job, report))
        if line and report.waiting:
            line = f"{line} · {report.waiting[0]}"
        if line and line != self.last:
            # Noted first: Ctrl-C may come while the line is written, and it must be ended then.
            self.last = line
            self.say(line)

    def of_one_pass(self, jobs: list[Job], report: Report) -> None:
        """Hear of the only pass: how far each job is stands at the end."""
        self.tell_faults(report)

    def tell_faults(self, report: Report) -> None:
        """Say what is the matter with single jobs: also where nothing else is said."""
        for job_id, why in report.faults.items():
            self.end()
            talk(f"Error: Job {job_id}: {why}")

    def line(self, job: Job) -> str:
        """How far one job is."""
        from ... import store
        from ...results.words import host_words

        parts = store.list_parts(self.conn, job.id)
        done, whole = sum(map(done_of, parts)), sum(sum(part.counts.values()) for part in parts)
        ended = sum(1 for part in parts if part.collected_at)
        return (
            f"Job {job.id}: {done:,}/{whole:,} done · {ended}/{len(parts)} parts · "
            f"waiting for {host_words(job)}"
        )

    def say(self, line: str) -> None:
        """Print a line, over the last one on a terminal."""
        from ...base.text import cut

        if not self.terminal:
            talk(line)
            return
        # A line that wraps couldn't be written over.
        line = cut(line, shutil.get_terminal_size().columns - 1)
        talk_over(line.ljust(self.width))
        self.width = len(line)

    def end(self) -> None:
        """Leave the line that was written over."""
        if self.terminal and self.last:
            talk()
            self.last = ""


class Counting:
    """Says how far a command is: over one line of a terminal, elsewhere a line every minute."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.width = 0
        self.said = time.monotonic()

    def told(self, words: str) -> None:
        """Hear how far it is."""
        from ...base.text import cut

        now = time.monotonic()
        if self.terminal:
            # A line that wraps couldn't be written over.
            line = cut(words, shutil.get_terminal_size().columns - 1)
            talk_over(line.ljust(self.width))
            self.width = len(line)
        elif now - self.said >= MINUTE:
            self.said = now
            talk(words)

    def end(self) -> None:
        """Leave the line free for what comes next."""
        if self.width:
            talk_over(" " * self.width, back=True)


# The small model's weights, while they are fetched.


class Progress:
    """Says how much of a download is here, at each tenth."""

    def __init__(self) -> None:
        self.said = -1

    def told(self, done: int, total: int | None) -> None:
        """Hear of more bytes."""
        if self.said < 0:
            talk("Fetching the small model's weights (98 MB, kept for next time) …")
            self.said = 0
        if not total:
            return
        tenth = min(done * 10 // total, 10)
        if tenth > self.said:
            self.said = tenth
            talk(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB")
