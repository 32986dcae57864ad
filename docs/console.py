"""Types a page along, from what a reader sees of it, and writes down what the commands print.

    python docs/console.py docs/*.md            write it into the pages
    python docs/console.py --check docs/*.md    say where a page no longer tells the truth

A page is typed in an empty folder, from its visible text alone: HTML comments are left out. A block
marked `sh` is pasted as it is; in a block marked `console` each command begins with `$ `, and what
it prints stands below it. Where that ends with the answer to a question (`[y/N]: y`), the answer is
typed. What is different every time is made the same: times of day, durations, ids, free disk space,
ports.
"""

from __future__ import annotations

import difflib
import os
import pty
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```(?P<kind>console|sh)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"\[y/N\]: (\w+)$", re.MULTILINE)
# As pages write them; ports of as many digits are what the servers really get.
PORTS = ("18900", "18901")

SAME_EVERY_TIME = (
    # What a terminal writes over while a job runs.
    (r"(?m)^\r?Job \d+: [\d,/]+ done · [\d,/]+ parts · .*\n", ""),
    (r"(today|\d\d? [A-Z][a-z]{2}) \d\d:\d\d", "today 14:02"),
    (r"Done in [\d.]+ (s|min)", "Done in 0.4 s"),
    (r"(?m)(requests?)  [\d.]+ s$", r"\1  0.4 s"),
    (r"[\d.]+ [KMGT]B free", "120 GB free"),
    (r"(?m) · [\d.]+ s$", " · 0.1 s"),
    (r"out, [\d.]+ s\.", "out, 0.2 s."),
    (r"simulated answer to [a-z0-9]{10}-", "simulated answer to k3v9x2m7qa-"),
    (r"custom_id '[a-z0-9]{10}-", "custom_id 'k3v9x2m7qa-"),
    (r"direct-[0-9a-f]{8}", "direct-5d81c09e"),
    # Of the package that prices come from, which has newer ones now and then.
    (r"batch prices of \d{4}-\d\d-\d\d", "batch prices of 2026-10-14"),
    (r"on \d\d? [A-Z][a-z]+ \d{4}\.", "on 14 November 2026."),
    (r"batch_[0-9a-f]{32}", "batch_67080c3e2b9c8190a5f1d4e6b7c89d01"),
)


def seen(page: str) -> str:
    """The text that a reader sees, each character at its place."""
    return re.sub(r"<!--.*?-->", lambda hidden: " " * len(hidden[0]), page, flags=re.DOTALL)


def typed_along(page: str, programs: Path | None = None) -> str:
    """Type a page along. Returns it with what its commands print now.

    Programs are looked for in the folder `programs` first.
    """
    parts, end = [], 0
    with tempfile.TemporaryDirectory() as home:
        reader = Reader(Path(home), programs)
        try:
            for block in BLOCK.finditer(seen(page)):
                parts += [page[end : block.start("text")], reader.block(*block.groups())]
                end = block.end("text")
        finally:
            reader.leave()
    return "".join([*parts, page[end:]])


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what is printed below it."""
    lines = block.splitlines()
    while lines:
        command = lines.pop(0).removeprefix("$ ")
        while unfinished(command) and lines:
            command += f"\n{lines.pop(0)}"
        printed = ""
        while lines and not lines[0].startswith("$ "):
            printed += f"{lines.pop(0)}\n"
        yield command, printed


def unfinished(command: str) -> bool:
    """Whether a shell would wait for another line."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return command.endswith(("\\", "|"))


class Reader:
    """Somebody at a terminal, in an empty folder."""

    def __init__(self, home: Path, programs: Path | None = None) -> None:
        self._folder = home / "folder"
        self._folder.mkdir()
        self._servers: list[subprocess.Popen[bytes]] = []
        self._status = 0
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH") if name in os.environ}
        folders = [str(folder) for folder in (programs, Path(sys.executable).parent) if folder]
        self._environment = kept | {
            "PATH": os.pathsep.join([*folders, os.defpath]),
            "HOME": str(home),
            "LLM_USER_PATH": str(home),
            "TMPDIR": str(home),
            "TZ": "UTC",
            "COLUMNS": "80",
        }

    def leave(self) -> None:
        """End the servers that were started."""
        for server in self._servers:
            server.terminate()
            server.wait()

    def block(self, kind: str, text: str) -> str:
        """Type a block. Returns it with what its commands print."""
        if kind == "sh":
            status, printed = self._in_pipe(text)
            if status:
                raise SystemExit(f"A block ended with {status}:\n{text}{printed}")
            return text
        return "".join(
            f"$ {command}\n{self._typed(command, ANSWER.search(printed))}"
            for command, printed in commands(text)
        )

    def _typed(self, command: str, answer: re.Match[str] | None) -> str:
        if command == "echo $?":
            return f"{self._status}\n"
        real = self._swapped(command, self._ports)
        if command.startswith("export "):
            given = (word.partition("=") for word in shlex.split(real)[1:])
            self._environment |= {name: value for name, _, value in given}
            return ""
        if command.endswith(" &"):
            self._serve(real.removesuffix(" &"))
            return ""
        self._status, printed = (
            self._on_terminal(real, f"{answer[1]}\n") if answer else self._in_pipe(real)
        )
        text = self._swapped(printed, {port: shown for shown, port in self._ports.items()})
        for pattern, replacement in SAME_EVERY_TIME:
            text = re.sub(pattern, replacement, text)
        return text

    @staticmethod
    def _swapped(text: str, ports: dict[str, str]) -> str:
        return re.sub("|".join(map(re.escape, ports)), lambda port: ports[port[0]], text)

    def _serve(self, command: str) -> None:
        """Start a server, which says on its first line that it is there."""
        server = subprocess.Popen(
            ["sh", "-c", f"exec {command.partition(' > ')[0]}"], cwd=self._folder,
            env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._servers.append(server)
        assert server.stdout is not None
        if not server.stdout.readline().startswith(b"http://"):
            raise SystemExit(f"No server started: {command}")
        server.stdout.close()

    def _in_pipe(self, command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", command], cwd=self._folder, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _on_terminal(self, command: str, answer: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            ["sh", "-c", command], cwd=self._folder, env=self._environment,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            printed = self._converse(ours, answer)
        os.close(ours)
        return process.returncode, printed.replace("\r\n", "\n")

    def _converse(self, ours: int, answer: str) -> str:
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
                os.write(ours, answer.encode())


def free_ports(number: int) -> list[str]:
    """Ports of five digits that nobody uses, so that no column of an output moves."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    found = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return found


def difference(name: str, programs: Path | None = None) -> str:
    """How a page differs from what its commands print now; nothing where it doesn't."""
    before = Path(name).read_text(encoding="utf-8")
    after = typed_along(before, programs)
    lines = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(*lines, name, "typed along"))


def main(arguments: list[str]) -> int:
    """Type pages along. Returns how many of them would change, with --check."""
    check, changed = "--check" in arguments, 0
    for name in arguments:
        if name == "--check":
            continue
        page = Path(name)
        text = page.read_text(encoding="utf-8")
        if not BLOCK.search(seen(text)):
            continue
        if not check:
            page.write_text(typed_along(text), encoding="utf-8")
        elif found := difference(name):
            changed += 1
            sys.stdout.write(found)
    return changed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
