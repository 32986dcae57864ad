"""How far a job is, for who waits: a function of theirs, or a bar in a notebook."""

from __future__ import annotations

import html
import sys
from importlib import import_module
from typing import Any, Protocol


class Shown(Protocol):
    """What a bar shows of a job."""

    id: int

    @property
    def name(self) -> str | None:
        """Its name."""

    @property
    def status(self) -> str:
        """What it is doing."""

    @property
    def requests(self) -> int:
        """All of them."""

    @property
    def done(self) -> int:
        """Those that have an outcome."""


def bar_of_notebook() -> Bar | None:
    """A bar below the cell that runs; None where this is not a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return Bar()


class Bar:
    """A bar that is drawn again in its place at each pass."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._last = ""

    def __call__(self, job: Shown) -> None:
        """Draw it."""
        drawn = bar(job.done, job.requests, job.name or f"job {job.id}", job.status)
        if drawn == self._last:
            return
        self._last = drawn
        notebook: Any = import_module("IPython.display")
        if self._shown is None:
            self._shown = notebook.display(notebook.HTML(drawn), display_id=True)
        else:
            self._shown.update(notebook.HTML(drawn))


def bar(done: int, requests: int, name: str, status: str) -> str:
    """A bar as HTML, with its figures beside it."""
    words = f"{html.escape(name)}: {done:,} of {requests:,} answered, {html.escape(status)}"
    return f'<progress max="{max(requests, 1)}" value="{done}"></progress> {words}'
