"""Runs the real command in forked children that are killed at a chosen point.

A point is just before or just after an outside call (an HTTP request) or a commit. The child is
this process's fork, so it starts in no time; SIGKILL leaves it no chance to tidy up. One JSON line
in asks for one run, one JSON line out says how it ended and how many points it passed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import resource
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from quick import retry_soon
from warm import import_all

WRITES = ("INSERT", "UPDATE", "DELETE", "ALTER", "CREATE", "DROP")


class Points:
    """Counts the points that a run passes, and kills it at the chosen one."""

    def __init__(self, kill_at: int | None, log: Path):
        self.kill_at = kill_at
        self.log = log
        self.passed = 0

    def pass_by(self, what: str) -> None:
        self.passed += 1
        if self.passed == self.kill_at:
            self.log.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)


def patch(points: Points) -> None:
    """Have every outside call and every commit of this process pass by `points`."""
    import httpx2

    real_send = httpx2.Client.send

    def send(self: Any, request: Any, **options: Any) -> Any:
        points.pass_by(f"before {request.method} {request.url.path}")
        response = real_send(self, request, **options)
        points.pass_by(f"after {request.method} {request.url.path}")
        return response

    httpx2.Client.send = send  # type: ignore[method-assign]

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            word = sql.lstrip().split(None, 1)[0].upper() if sql.strip() else ""
            commits = word == "COMMIT" or (word in WRITES and not self.in_transaction)
            if not commits:
                return super().execute(sql, *args)
            points.pass_by(f"before {sql[:60]}")
            cursor = super().execute(sql, *args)
            points.pass_by(f"after {sql[:60]}")
            return cursor

    real_connect = sqlite3.connect

    def connect(database: Any, *args: Any, **options: Any) -> sqlite3.Connection:
        if str(database).endswith(".db"):
            options.setdefault("factory", Connection)
        return real_connect(database, *args, **options)

    sqlite3.connect = connect  # type: ignore[assignment]


def obey_permissions() -> None:
    """Give up what lets root write to files that are read-only (CAP_DAC_OVERRIDE).

    capset(2), with the 64-bit sets of linux/capability.h, version 3.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~(1 << 1)
        libc.capset(header, sets)


def child(order: dict[str, Any], points: Points, out: Path) -> None:
    """Run one command in this (forked) process and leave."""
    from sqlite_utils.cli import cli

    from sqlite_utils_openai_batch.base import waits
    from sqlite_utils_openai_batch.store import connection

    # Nothing here is eventually consistent unless a test says so: no need to wait for lists.
    waits.GRACE_SECONDS = order.get("grace", 0)
    waits.RETRY_SECONDS = 0.0
    waits.LATE_FILES_SECONDS = order.get("late", 0.0)
    connection.BUSY_SECONDS = order.get("busy", 10.0)
    os.environ.update(order.get("env", {}))
    stream = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    patch(points)
    if order.get("powerless"):
        obey_permissions()
    if order.get("disk"):
        # A disk that is full: no file may grow beyond that many bytes.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["disk"], order["disk"]))
    # A run that never ends is a failure to see, not one to wait for.
    seconds = order.get("seconds", 20)
    faulthandler.dump_traceback_later(seconds - 1)
    signal.alarm(seconds)
    code = 0
    try:
        cli(["openai-batch", *order["args"]], standalone_mode=True)
    except SystemExit as left:
        code = int(left.code or 0) if not isinstance(left.code, str) else 1
    out.with_suffix(".points").write_text(str(points.passed))
    sys.stdout.flush()
    os._exit(code)


def main() -> None:
    """Serve orders until stdin ends."""
    # Children are forked with all that they need imported already.
    import_all()
    retry_soon()
    gc.collect()
    gc.freeze()
    folder = Path(tempfile.mkdtemp())
    for number, line in enumerate(sys.stdin):
        order = json.loads(line)
        out, log = folder / f"{number}.out", folder / f"{number}.log"
        pid = os.fork()
        if pid == 0:
            child(order, Points(order.get("kill_at"), log), out)
        _, status = os.waitpid(pid, 0)
        passed = out.with_suffix(".points")
        print(
            json.dumps(
                {
                    "code": os.waitstatus_to_exitcode(status),
                    "output": out.read_text(errors="replace") if out.exists() else "",
                    "points": int(passed.read_text()) if passed.exists() else None,
                    "killed": log.read_text() if log.exists() else None,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
