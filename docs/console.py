"""Runs the commands that a page shows, and writes down what they printed.

Cog runs this (`just cog`), and CI sees whether a page still tells the truth. The commands run one
after the other in a folder with a copy of demo.db and nothing else, against a batch server on this
machine that makes answers up. What is different every time is made the same: times of day,
durations, ids, free disk space.
"""

from __future__ import annotations

import atexit
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlite_utils_openai_batch.local import LocalServer

DEMO = Path(__file__).resolve().parent.parent / "demo.db"
# As pages write it; a port of as many digits is what the server really gets.
SHOWN_ADDRESS = "127.0.0.1:18900"

SAME_EVERY_TIME = (
    # What a terminal writes over while a job runs.
    (r"(?m)^\r?Job \d+: [\d,/]+ done · [\d,/]+ parts · .*\n", ""),
    (r"(today|\d\d? [A-Z][a-z]{2}) \d\d:\d\d", "today 14:02"),
    (r"Done in [\d.]+ s", "Done in 0.4 s"),
    (r"(?m)(requests?)  [\d.]+ s$", r"\1  0.4 s"),
    (r"[\d.]+ [KMGT]B free", "120 GB free"),
    (r"(?m) · [\d.]+ s$", " · 0.1 s"),
    (r"out, [\d.]+ s\.", "out, 0.2 s."),
    (r"simulated answer to [a-z0-9]{10}-", "simulated answer to k3v9x2m7qa-"),
    (r"direct-[0-9a-f]{8}", "direct-5d81c09e"),
    # Of the package that prices come from, which has newer ones now and then.
    (r"batch prices of \d{4}-\d\d-\d\d", "batch prices of 2026-10-14"),
    (r"on \d\d? [A-Z][a-z]+ \d{4}\.", "on 14 November 2026."),
    (r"batch_[0-9a-f]{32}", "batch_67080c3e2b9c8190a5f1d4e6b7c89d01"),
)


class Console:
    """One reader at a terminal. `write` gets a code block for each `show`."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._home = tempfile.TemporaryDirectory()
        self._server = LocalServer().start()
        atexit.register(self._server.stop)
        self._address = self._server.base_url.removeprefix("http://").removesuffix("/v1")
        self.folder = Path(self._home.name) / "folder"
        self.folder.mkdir()
        self.fresh()

    def fresh(self) -> None:
        """Begin again with a demo.db that nothing was asked about."""
        for file in self.folder.iterdir():
            file.unlink()
        shutil.copyfile(DEMO, self.folder / "demo.db")

    def hold(self) -> None:
        """From now on the server answers nothing, so that a job is seen on its way."""
        self._server.faults.add("stuck:validating")

    def misbehave(self, *faults: str) -> None:
        """From now on the server does what these faults say, until `release`."""
        for fault in faults:
            self._server.faults.add(fault)

    def release(self) -> None:
        """The server answers again."""
        self._server.faults.clear()

    def quietly(self, command: str) -> None:
        """Run what the page doesn't show. Raises CalledProcessError where it fails."""
        subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self._environment(), check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def show(self, command: str, *, typed: str | None = None, code: bool = False) -> None:
        """Run a command and write it down with its output, and with its exit code if wanted.

        With `typed` it runs on a terminal, where that is typed at the first question.
        """
        real = command.replace(SHOWN_ADDRESS, self._address)
        status, printed = self._on_terminal(real, typed) if typed else self._in_pipe(real)
        text = f"$ {command}\n{self._same_every_time(printed)}"
        if code:
            text += f"$ echo $?\n{status}\n"
        self._write(f"\n```console\n{text}```\n")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH") if name in os.environ}
        return kept | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": self._home.name,
            "LLM_USER_PATH": self._home.name,
            "TZ": "UTC",
            "COLUMNS": "80",
            "OPENAI_BASE_URL": self._server.base_url,
            "OPENAI_API_KEY": "any",
        }

    def _in_pipe(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.folder, env=self._environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _on_terminal(self, command: str, typed: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["sh", "-c", command], cwd=self.folder, env=self._environment(),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            printed = self._converse(ours, typed)
        os.close(ours)
        return process.returncode, printed.replace("\r\n", "\n")

    def _converse(self, ours: int, typed: str) -> str:
        printed, asked = b"", False
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:
                # How Linux says that the other end is closed.
                return printed.decode()
            if not more:
                return printed.decode()
            printed += more
            if not asked and printed.endswith(b"[y/N]: "):
                asked = True
                os.write(ours, typed.encode())

    def _same_every_time(self, printed: str) -> str:
        text = printed.replace(self._address, SHOWN_ADDRESS)
        for pattern, replacement in SAME_EVERY_TIME:
            text = re.sub(pattern, replacement, text)
        return text
