"""Files and pages over HTTP, beside what Datasette itself does with the same rows.

    python benchmarks/export.py --rows 1000000

makes a seeded table of about 0.9 KB a row and its finished job, then asks a Datasette on loopback,
a new process for each measure:

    Datasette's stream   the table's own CSV (?_stream=on&_size=max): the answers are its columns
    job.csv              the job's CSV: the same columns, and status and error
    job.jsonl, job.xlsx  with --all; the workbook is minutes of work at a million rows
    pages                the middle of 20 requests: jobs page, job page, JSON

CPU is the server's; beside each download another client asks for a row's page every 50 ms, and the
slowest twentieth of its waits is what others notice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SEED = 20261121
PART = 50_000
WORDS = "river stone quick lamp plain figure window ocean paper snow the of and".split()  # noqa: SIM905
ACCENTS = ("café", "été", "“quoted”", "naïve")
LABELS = ("drama", "comedy", "crime")
SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": list(LABELS)},
        "score": {"type": "number"},
        "summary": {"type": "string"},
    },
    "required": ["category", "score", "summary"],
    "additionalProperties": False,
}
TEMPLATE = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "{{ title }}: {{ body }}"}],
}


# The data


def make(path: Path, rows: int) -> None:
    """A table `reviews`, and a job about all of it; each hundredth request was refused."""
    from sqlite_utils_openai_batch import store

    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = OFF")
    store.migrate(conn)
    conn.execute(
        "CREATE TABLE reviews (id INTEGER PRIMARY KEY, title TEXT, body TEXT, stars INTEGER, "
        "author TEXT, category TEXT, score REAL, summary TEXT)"
    )
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO reviews VALUES (?, ?, ?, ?, ?, ?, ?, ?)", reviews(rows))
    job_id = store.insert_job(conn, job(store.new_uid(), rows))
    for start in range(0, rows, PART):
        add_part(conn, job_id, start, min(PART, rows - start))
    conn.execute("COMMIT")
    store.build_indexes(conn)
    conn.close()


def reviews(rows: int) -> Iterator[tuple[object, ...]]:
    """Rows of English as people write it: a comma in each, accents or curly quotes in a tenth."""
    rng = random.Random(SEED)
    # long runs of words are cut anew for each row: making them takes longer than reading them
    text = " ".join(rng.choices(WORDS, k=200_000))
    for n in range(1, rows + 1):
        start = rng.randrange(len(text) - 750)
        words = text[start : start + 700]
        if n % 10 == 0:
            words = f"{rng.choice(ACCENTS)} {words}"
        body = f"{words[:350]}, {words[350:]}."
        label = LABELS[n % 3]
        yield n, f"Review {n}", body, n % 5 + 1, f"author {n % 997}", label, n / 10, body[:60]


def job(uid: str, rows: int) -> dict[str, object]:
    """The columns of the job."""
    columns = [
        {"name": name, "type": kind, "property": name}
        for name, kind in (("category", "TEXT"), ("score", "REAL"), ("summary", "TEXT"))
    ]
    output = {
        "table": None,
        "columns": columns,
        "replace": False,
        "write": True,
        "responses": "all",
    }
    return {
        "uid": uid,
        "status": "completed",
        "source": "reviews",
        "key_columns": '["id"]',
        "endpoint": "/v1/chat/completions",
        "model": "gpt-4o-mini",
        "template": json.dumps(TEMPLATE),
        "template_hash": b"0123456789abcdef",
        "answer_schema": json.dumps(SCHEMA),
        "output": json.dumps(output),
        "provider": "openai",
        "requests": rows,
        "skipped": 0,
        "cost_nanousd": 10**10,
        "created_at": "2026-11-20T14:00:00.000Z",
        "submitted_at": "2026-11-20T14:00:00.000Z",
        "finished_at": "2026-11-20T15:00:00.000Z",
    }


def insert_part(conn: sqlite3.Connection, job_id: int, start: int, count: int) -> int:
    """A part that has ended. Returns its id."""
    from sqlite_utils_openai_batch import store

    refused = count // 100
    return store.insert_part(
        conn,
        job_id=job_id,
        number=start // PART + 1,
        status="completed",
        requests=count,
        bytes=900 * count,
        outcomes=json.dumps({"ok": count - refused, "refused": refused}),
        prompt_tokens=200 * count,
        completion_tokens=20 * count,
    )


def add_part(conn: sqlite3.Connection, job_id: int, start: int, count: int) -> None:
    """One part with its requests, and a response line for each."""
    from sqlite_utils_openai_batch import store

    part = insert_part(conn, job_id, start, count)
    rows = conn.execute(
        "SELECT id, category, score, summary FROM reviews WHERE id > ? AND id <= ?",
        [start, start + count],
    ).fetchall()
    conn.executemany(
        "INSERT INTO openai_batch_requests (id, job_id, part_id, row_key, status, attempts, "
        "answer, error_message, model) VALUES (?, ?, ?, ?, ?, 1, ?, ?, 'gpt-4o-mini-2024-07-18')",
        (request(job_id, part, *row) for row in rows),
    )
    store.insert_responses(
        conn,
        (
            (row[0], part, "output", f"file-{part}", n, json.dumps({"custom_id": f"job-{row[0]}"}))
            for n, row in enumerate(rows)
        ),
    )


def request(
    job_id: int, part: int, key: int, category: str, score: float, summary: str
) -> tuple[object, ...]:
    """One request: its answer is what the row holds."""
    if key % 100 == 0:
        return key, job_id, part, key, "refused", None, "I can't help with that"
    answer = {"category": category, "score": score, "summary": summary}
    return key, job_id, part, key, "ok", json.dumps(answer, ensure_ascii=False), None


# The server and its clients


@dataclass(frozen=True)
class Measure:
    """What one download took."""

    rows: int
    megabytes: float
    wall: float
    cpu: float
    peak: float
    others: float


@contextmanager
def server(path: Path) -> Iterator[tuple[str, int]]:
    """A Datasette of its own; yields its base URL and process id."""
    options = ["-p", "0", "--setting", "max_csv_mb", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "datasette", str(path), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield listening(process, log), process.pid
        finally:
            process.terminate()
            process.wait(30)


def listening(process: subprocess.Popen[bytes], log: object) -> str:
    """Where the server listens, by what it says itself."""
    while process.poll() is None:
        log.seek(0)  # type: ignore[attr-defined]
        if found := re.search(r"running on (http://\S+)", log.read()):  # type: ignore[attr-defined]
            return found[1]
        time.sleep(0.05)
    raise SystemExit("Datasette didn't start.")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_megabytes(pid: int) -> float:
    """The most memory that a process held at once."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def get(address: str) -> tuple[int, int]:
    """Read a whole body: its bytes and lines."""
    size = lines = 0
    with urllib.request.urlopen(address) as response:
        while chunk := response.read(1 << 16):
            size += len(chunk)
            lines += chunk.count(b"\n")
    return size, lines


class Others(threading.Thread):
    """Another client, and how long it waited each time."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.waits: list[float] = []
        self.stop = threading.Event()

    def run(self) -> None:
        """Ask every 50 ms."""
        while not self.stop.wait(0.05):
            start = time.perf_counter()
            get(self.address)
            self.waits.append(time.perf_counter() - start)

    @property
    def slowest_twentieth(self) -> float:
        """The 95th percentile of the waits, in milliseconds."""
        return 1000 * statistics.quantiles(self.waits, n=20)[-1] if len(self.waits) > 1 else 0.0


def download(path: Path, address: str) -> Measure:
    """Measure one file, from a server that has served nothing but a first page."""
    with server(path) as (base, pid):
        row = f"{base}/bench/reviews/1"
        get(row)
        others = Others(row)
        others.start()
        start, before = time.perf_counter(), cpu_seconds(pid)
        size, lines = get(base + address)
        wall, cpu = time.perf_counter() - start, cpu_seconds(pid) - before
        others.stop.set()
        others.join()
        return Measure(lines, size / 1e6, wall, cpu, peak_megabytes(pid), others.slowest_twentieth)


def alone(path: Path, address: str) -> float:
    """The server's CPU seconds for one file while nobody else asks for anything."""
    with server(path) as (base, pid):
        get(f"{base}/bench/reviews/1")
        before = cpu_seconds(pid)
        get(base + address)
        return cpu_seconds(pid) - before


def pages(path: Path) -> None:
    """Print the middle of 20 waits for each page."""
    with server(path) as (base, _):
        for address in (
            "/bench/-/openai-batch",
            "/bench/-/openai-batch/1",
            "/bench/-/openai-batch/1.json",
        ):
            waits = []
            for _ in range(20):
                start = time.perf_counter()
                get(base + address)
                waits.append(time.perf_counter() - start)
            print(f"{address:40} {1000 * statistics.median(waits):6.0f} ms")


def main() -> None:
    """Run all measures and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--all", action="store_true", help="raw responses and the workbook too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        make(path, asked.rows)
        print(f"{asked.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB\n")
        pages(path)
        own, ours = "/bench/reviews.csv?_stream=on&_size=max", "/bench/-/openai-batch/1.csv"
        against, ratio = alone(path, own), alone(path, ours)
        print(
            f"\nCSV, nobody else asking: Datasette's stream {against:.1f} s of CPU, "
            f"job.csv {ratio:.1f} s: {against / ratio:.1f} times as fast\n"
        )
        print(f"{'':22}{'MB':>8}{'wall s':>9}{'CPU s':>8}{'peak MB':>9}{'others ms':>11}")
        named = {"Datasette's stream": own, "job.csv": ours}
        if asked.all:
            named |= {
                "job.jsonl": ours.replace(".csv", ".jsonl"),
                "job.xlsx": ours.replace(".csv", ".xlsx"),
            }
        for name, address in named.items():
            one = download(path, address)
            print(
                f"{name:22}{one.megabytes:8,.0f}{one.wall:9.1f}{one.cpu:8.1f}{one.peak:9.0f}"
                f"{one.others:11.0f}"
            )


if __name__ == "__main__":
    main()
