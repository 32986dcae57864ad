"""`sqlite-utils`, started once: each command is a fork of a process that has imported everything.

Most of what a short command takes is the start of Python and its imports. A `Warm` is a folder for
PATH with a program `sqlite-utils` in it, which hands its arguments, folder, environment and open
files to the process that waits, passes signals on to the fork, and ends as that ends. What the fork
runs is the real command, with the terminal or pipe of whoever typed it.

Tests of how a program starts, or dies, start it by themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import marshal
import os
import pkgutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from quick import retry_soon

PACKAGE = "sqlite_utils_openai_batch"
MODEL = "gpt-4o-mini"
#: What commands load when they need it.
LATER = ("openai.types", "openai.resources.batches", "openai.resources.files",
         "openai.resources.chat.completions", "uvicorn.protocols.http.h11_impl")  # fmt: skip
PROGRAM = """#!{python} -IS
import marshal, os, signal, socket, struct, sys

ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
signal.pthread_sigmask(signal.SIG_BLOCK, ours)
there = socket.socket(socket.AF_UNIX)
there.connect({address!r})
order = marshal.dumps((sys.argv, os.getcwd(), dict(os.environ)))
there.sendmsg([struct.pack("I", len(order))],
              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))])
there.sendall(order)
(fork,) = struct.unpack("i", there.recv(4))
for one in ours:
    signal.signal(one, lambda number, frame: os.kill(fork, number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)
ended = there.recv(4)
sys.exit(struct.unpack("i", ended)[0] if ended else 1)
"""


class Warm:
    """The process that waits, and the folder with the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        address = folder / "socket"
        program = folder / "sqlite-utils"
        program.write_text(PROGRAM.format(python=sys.executable, address=str(address)))
        program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(address)], stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._process.stdout.close()

    def close(self) -> None:
        """End it, and whatever forks are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def import_all() -> None:
    """Import what commands may need."""
    importlib.import_module("sqlite_utils.cli")
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not module.name.endswith(".pytest_plugin"):
            importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)
    client = importlib.import_module(f"{PACKAGE}.provider.client")
    client.authorities()
    importlib.import_module(f"{PACKAGE}.pricing.prices").find_prices(MODEL, client.OPENAI_URL)
    tokens = importlib.import_module(f"{PACKAGE}.pricing.tokens")
    if tokens.available():
        tokens.count(["a"], tokens.encoding_of(MODEL))


def serve(address: str) -> None:
    """Fork at each order."""
    import_all()
    retry_soon()
    # Nobody waits for forks: who typed the command hears from the fork itself.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            order, _ = listening.accept()
            with order:
                if os.fork() == 0:
                    listening.close()
                    obey(order)


def obey(order: socket.socket) -> None:
    """Become the process that somebody typed, run the command, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(order, 4, 3)
    (length,) = struct.unpack("I", head)
    written = b""
    while len(written) < length:
        written += order.recv(length - len(written))
    sys.argv, folder, environment = marshal.loads(written)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw(0, "r")), "utf-8")
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw(1, "w")), "utf-8", line_buffering=os.isatty(1)
    )
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw(2, "w")), "utf-8", "backslashreplace", line_buffering=True
    )
    order.sendall(struct.pack("i", os.getpid()))
    code = ended(run())
    order.sendall(struct.pack("i", code))
    os._exit(code)


def raw(number: int, mode: str) -> io.FileIO:
    """A file that was open already."""
    return io.FileIO(number, mode, closefd=False)


def run() -> Any:
    """Run the command. Returns what it exits with."""
    from sqlite_utils.cli import cli

    try:
        cli()
    except SystemExit as left:
        return left.code
    except BaseException:  # noqa: BLE001  # as Python itself does at the end of a program
        traceback.print_exc()
        return 1
    return 0


def ended(code: Any) -> int:
    """Do what Python does at its end. Returns the exit code as a number."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    return int(code or 0)


if __name__ == "__main__":
    serve(sys.argv[1])
