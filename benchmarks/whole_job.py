"""A whole job over a very large table, command by command, as somebody would type them.

    python benchmarks/whole_job.py --rows 10000000 --responses none

makes a table of rows of about 200 bytes, starts `serve --simulate` in a process of its own, and
runs preview, prepare, submit, watch (send, wait, collect, write back), show, jobs and results.
For each command: seconds on the clock, seconds of CPU, and the most memory it had. For preview also
when the estimate of a sample was there; for watch when the first answers came, when the last part
was sent, and how many lines were said. At the end: the size of the database, and of its log at its
largest.

Ten million rows take about half an hour on two cores, and 20 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
COMMAND = [str(BIN / "sqlite-utils"), "openai-batch"]
SCHEMA = "mood good|bad, note"


@dataclass
class Ran:
    """What a command took."""

    name: str
    wall: float
    cpu: float
    memory: int
    note: str = ""


def make(path: Path, rows: int) -> None:
    """A table of rows of about 200 bytes."""
    rng = random.Random(20261129)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyzäé", k=6)) for _ in range(5_000)]
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("CREATE TABLE reviews (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
    conn.execute("BEGIN")
    conn.executemany(
        "INSERT INTO reviews (title, body) VALUES (?, ?)",
        (
            (words[n % 5_000], " ".join(words[start : start + 25]))
            for n, start in ((n, rng.randrange(4_970)) for n in range(rows))
        ),
    )
    conn.execute("COMMIT")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


def run(name: str, args: list[str], out: Path, env: dict[str, str]) -> Ran:
    """Run a command; what it prints goes to files."""
    began = time.monotonic()
    with out.open("wb") as said, out.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen([*COMMAND, *args], stdout=said, stderr=errors, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{name}: {out.with_suffix('.err').read_text()[-2_000:]}")
    ran = Ran(name, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
    print(f"{name}: {took:,.1f} s, {ran.cpu:,.1f} s of CPU, {ran.memory / 1e6:,.0f} MB", flush=True)
    return ran


class Watched(threading.Thread):
    """Looks at sizes of files now and then: the largest of each is kept."""

    def __init__(self, *paths: Path) -> None:
        super().__init__(daemon=True)
        self.largest = dict.fromkeys(paths, 0)

    def run(self) -> None:
        while True:
            for path in self.largest:
                if path.exists():
                    self.largest[path] = max(self.largest[path], path.stat().st_size)
            time.sleep(0.5)


def first_look(args: list[str], env: dict[str, str]) -> str:
    """When preview has said what it knows without having read all rows; then it is stopped."""
    began = time.monotonic()
    command = [*COMMAND, *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env) as it:
        assert it.stdout is not None
        for line in it.stdout:
            if line.startswith(b"Cost"):
                break
        took = time.monotonic() - began
        it.kill()
    return f"the estimate of a sample after {took:.1f} s"


def seconds(conn: sqlite3.Connection, start: str, end: str) -> float:
    """Seconds between two times of the log."""
    (days,) = conn.execute("SELECT julianday(?) - julianday(?)", [end, start]).fetchone()
    return float(days) * 86_400


def main() -> None:
    """Do it all, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--responses", choices=("all", "failed", "none"), default="none")
    parser.add_argument("--folder", type=Path, help="where to work  [default: a temporary one]")
    given: Any = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        measure(given, Path(name))


def measure(given: Any, folder: Path) -> None:
    """Measure in a folder."""
    db = folder / "data.db"
    make(db, given.rows)
    rows_bytes = db.stat().st_size
    server = subprocess.Popen(
        [*COMMAND, "serve", "--simulate", "--port", "18999"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    env = {
        **os.environ,
        "OPENAI_BASE_URL": "http://127.0.0.1:18999/v1",
        "OPENAI_API_KEY": "any",
    }
    watched = Watched(db.with_name("data.db-wal"))
    watched.start()
    ask = [str(db), "reviews", "-m", "gpt-4o-mini", "--prompt", "{{ title }}: {{ body }}"]
    ask += ["--schema", SCHEMA]
    try:
        time.sleep(3)
        early = first_look(["preview", *ask], env)
        ran = [run("preview", ["preview", *ask], folder / "preview", env)]
        ran[-1].note = early
        ran.append(
            run("prepare", ["prepare", *ask, "--responses", given.responses], folder / "made", env)
        )
        ran.append(run("submit", ["submit", str(db), "--yes"], folder / "submitted", env))
        ran.append(run("watch", ["watch", str(db), "--poll", "1"], folder / "watched", env))
    finally:
        server.terminate()
        server.wait()
    conn = sqlite3.connect(db)
    begun, sent, came = conn.execute(
        "SELECT min(submitted_at), max(submitted_at), min(collected_at) FROM openai_batch_parts"
    ).fetchone()
    said = (folder / "watched.err").read_text().count("\n")
    ran[-1].note = (
        f"first answers in the database {seconds(conn, begun, came):,.0f} s after the first batch, "
        f"the last batch after {seconds(conn, begun, sent):,.0f} s; {said} lines said"
    )
    conn.close()
    for name, args in {
        "show": ["show", str(db)],
        "jobs": ["jobs", str(db)],
        "results --csv": ["results", str(db), "--csv"],
        "results --nl": ["results", str(db), "--nl"],
    }.items():
        out = folder / "out"
        ran.append(run(name, args, out, env))
        ran[-1].note = f"{out.stat().st_size / 1e6:,.0f} MB" if "results" in name else ""
    print(f"\n{given.rows:,} rows of {rows_bytes / given.rows:.0f} bytes, --responses "
          f"{given.responses}\n\n| command | on the clock, s | CPU s | peak MB | |\n"
          "|---|---:|---:|---:|---|")  # fmt: skip
    for one in ran:
        print(
            f"| `{one.name}` | {one.wall:,.1f} | {one.cpu:,.1f} | {one.memory / 1e6:,.0f} "
            f"| {one.note} |"
        )
    (log,) = watched.largest.values()
    print(
        f"\nThe table took {rows_bytes / 1e9:.2f} GB, the database at the end "
        f"{db.stat().st_size / 1e9:.2f} GB, its log {log / 1e6:,.0f} MB at most."
    )


if __name__ == "__main__":
    main()
