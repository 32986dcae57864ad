"""Datasette's pages over a large table: a new job from the form, and the answers of a finished one.

    python benchmarks/pages.py --rows 1000000

makes a seeded table, serves it, and does over HTTP what a person would: open the form, look, save
the job. Beside the look and the preparing a reader asks for a row's page again and again,
and so does one before them, for comparison. Then all of the job's requests are given answers, by
SQL, and its pages are asked for. Times are those that a client waits for.
"""

from __future__ import annotations

import argparse
import http.cookiejar
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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

SEED = 7
WORDS = "the delivery was late again but she said that it works and I would buy one more".split()  # noqa: SIM905
MOODS = ("good", "bad", "mixed")
ROW = "/data/reviews/777"
NEW = "/data/-/openai-batch/new"
PEOPLE = {
    "permissions": {"openai-batch-create": True, "openai-batch-manage": True},
    "plugins": {"sqlite-utils-openai-batch": {"base_url": "http://127.0.0.1:9/v1", "key": "none"}},
}


def make(path: Path, rows: int) -> None:
    """Make a database with a table of reviews."""
    rng = random.Random(SEED)
    text = " ".join(rng.choice(WORDS) for _ in range(100_000))
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT, rating INTEGER)")
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO reviews VALUES (?, ?, ?)", reviews(rng, text, rows))
        conn.execute("COMMIT")


def reviews(rng: random.Random, text: str, rows: int) -> Iterator[tuple[int, str, int]]:
    """Rows with bodies of 50 to 300 characters."""
    for number in range(1, rows + 1):
        start = rng.randrange(len(text) - 300)
        yield number, text[start : start + rng.randrange(50, 300)], rng.randrange(1, 6)


def answer_all(path: Path) -> None:
    """Give each request of the job an answer, as if a provider had."""
    mood = "CASE id % 10 WHEN 0 THEN 'mixed' WHEN 1 THEN 'bad' ELSE 'good' END"
    answer = f"""'{{"mood":"' || {mood} || '","why":"because of number ' || id || '"}}'"""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("BEGIN")
        conn.execute(
            "UPDATE openai_batch_requests SET status = CASE WHEN id % 50000 = 0 THEN 'refused' "
            f"ELSE 'ok' END, answer = {answer}, write_status = 'written', prompt_tokens = 40, "
            "completion_tokens = 9"
        )
        for (part,) in conn.execute("SELECT id FROM openai_batch_parts").fetchall():
            found = conn.execute(
                "SELECT status, count(*) FROM openai_batch_requests WHERE part_id = ? GROUP BY 1",
                [part],
            ).fetchall()
            conn.execute(
                "UPDATE openai_batch_parts SET status = 'completed', batch_id = 'batch_' || id, "
                "submitted_at = '2026-11-20T14:02:00.000Z', collected_at = "
                "'2026-11-20T15:02:00.000Z', outcomes = ? WHERE id = ?",
                [json.dumps(dict(found)), part],
            )
        conn.execute(
            "UPDATE openai_batch_jobs SET status = 'completed', "
            "finished_at = '2026-11-20T15:02:00.000Z'"
        )
        conn.execute("COMMIT")


class Client:
    """Somebody with a browser that runs no scripts."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._open = build_opener(HTTPCookieProcessor(http.cookiejar.CookieJar())).open
        self.page = ""
        self.at = ""

    def get(self, path: str) -> float:
        """Ask for a page. Returns the milliseconds until it was there."""
        return self._timed(path, None)

    def post(self, path: str, **fields: str) -> float:
        """Send the hidden fields of the page that is shown, with these."""
        hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', self.page)
        return self._timed(path, urlencode({**dict(hidden), **fields}).encode())

    def _timed(self, path: str, data: bytes | None) -> float:
        began = time.perf_counter()
        try:
            with self._open(path if "://" in path else self.base + path, data, 600) as response:
                page, self.at = response.read(), response.url
        except HTTPError as error:
            raise SystemExit(f"{path}: {error.code} {error.read().decode()[:2000]}") from error
        took = (time.perf_counter() - began) * 1000
        self.page = page.decode()
        return took


class Reader:
    """Somebody who asks for a page every 50 ms while something else happens."""

    def __init__(self, base: str) -> None:
        self.client, self.waits = Client(base), [0.0]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Reader:
        self.waits = []
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.is_set():
            self.waits.append(self.client.get(ROW))
            self._stop.wait(0.05)

    def line(self, what: str) -> str:
        """The middle and the slowest twentieth of the waits."""
        ordered = sorted(self.waits)
        late = ordered[int(len(ordered) * 0.95)] if ordered else 0
        return f"| {what} | {statistics.median(ordered):.0f} | {late:.0f} | {len(ordered)} |"


@contextmanager
def datasette(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve the database; gives the base URL, and the process."""
    (folder / "config.json").write_text(json.dumps(PEOPLE))
    import datasette.app

    option = "-c" if hasattr(datasette.app.Datasette, "allowed") else "-m"
    words = ["data.db", "-p", "0", option, "config.json"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "datasette", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while not (found := re.search(r"Uvicorn running on (http://\S+)", said)):
        line = process.stdout.readline()
        if not line:
            raise SystemExit(said)
        said += line
    threading.Thread(target=process.stdout.read, daemon=True).start()
    try:
        yield found[1], process.pid
    finally:
        process.terminate()
        process.wait()


def until(client: Client, ended: Callable[[], bool]) -> list[int]:
    """Look at the draft's page until something ended. Returns the numbers of rows that it said."""
    seen: list[int] = []
    page = client.at
    while not ended():
        if found := re.search(r"([\d,]+) (?:so far|of [\d,]+ rows)", client.page):
            seen.append(int(found[1].replace(",", "")))
        time.sleep(0.2)
        client.get(page)
    return seen


def new_job(base: str, seconds: float) -> None:
    """From the form to a prepared job, timed."""
    client = Client(base)
    print("| page or button | ms |\n|---|---:|")
    print(f"| 1. the form, first (it counts the rows) | {client.get(f'{NEW}?table=reviews'):.0f} |")
    print(f"| the form again | {client.get(f'{NEW}?table=reviews'):.0f} |", flush=True)
    with Reader(base) as before:
        time.sleep(seconds)
    asked = {"table": "reviews", "prompt": "Judge: {{ body }}", "model": "gpt-4o-mini",
             "schema": "mood good|bad|mixed, why", "price_as": "gpt-4o-mini",
             "max_tokens": "60"}  # fmt: skip
    looked = client.post(NEW, do="look", **asked)
    print(f"| 2. *Look* | {looked:.0f} |", flush=True)
    with Reader(base) as looking:
        began = time.perf_counter()
        read = until(client, lambda: 'value="save"' in client.page)
        took = time.perf_counter() - began
    print(f"| the page of what was looked at | {client.get(client.at):.0f} |", flush=True)
    saved = client.post(NEW, do="save")
    print(f"| 3. *Save* | {saved:.0f} |", flush=True)
    with Reader(base) as saving:
        began = time.perf_counter()
        made = until(client, lambda: bool(re.search(r"/openai-batch/\d+$", client.at)))
        made_in = time.perf_counter() - began
    print(f"\nReading the rows took {took:.0f} s, making the job {made_in:.0f} s.")
    for what, rows in (("read", read), ("made", made)):
        moved = len(set(rows))
        print(f"Rows {what}, as the page said: {moved} different numbers in {len(rows)} looks.")
    print("\n| a reader's page of a row | middle, ms | slowest twentieth, ms | pages |")
    print("|---|---:|---:|---:|")
    print(before.line("before"))
    print(looking.line("while the rows are read"))
    print(saving.line("while the job is made"), flush=True)


ANSWERS = "/data/-/openai-batch/1/answers"
PAGES = {
    "the jobs of the database": "/data/-/openai-batch",
    "the job": "/data/-/openai-batch/1",
    "answers": ANSWERS,
    "answers, from the last": f"{ANSWERS}?_order=desc",
    "answers, after the 500,000th": f"{ANSWERS}?_after=500000",
    "answers, an outcome that is rare": f"{ANSWERS}?_status=refused",
    "answers, a label": f"{ANSWERS}?mood=bad",
    "answers, a label and an outcome": f"{ANSWERS}?mood=mixed&_status=ok",
    "answers, searched: in one row of many": f"{ANSWERS}?_search=number+777777",
    "answers, searched: in no row": f"{ANSWERS}?_search=nowhere",
    "answers, a crosstab": f"{ANSWERS}?_answer=mood&_by=rating",
}


def pages(base: str, process: int, again: int) -> None:
    """The pages of a finished job, timed."""
    client = Client(base)
    print("\n| page of the finished job | middle, ms | first, ms | CPU, ms |")
    print("|---|---:|---:|---:|")
    for what, path in PAGES.items():
        waits = [client.get(path)]
        began = cpu_of(process)
        waits += [client.get(path) for _ in range(again)]
        cpu = (cpu_of(process) - began) / again
        middle = statistics.median(waits[1:])
        print(f"| {what} | {middle:.0f} | {waits[0]:.0f} | {cpu:.0f} |", flush=True)


def cpu_of(process: int) -> float:
    """Milliseconds of CPU that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure it all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--again", type=int, default=9, help="how often each page is asked for")
    parser.add_argument("--seconds", type=float, default=5, help="of reading before the look")
    parser.add_argument("--folder", type=Path, help="where to work  [default: a temporary one]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pages-", dir=asked.folder) as name:
        folder = Path(name)
        make(folder / "data.db", asked.rows)
        print(f"{asked.rows:,} rows\n")
        with datasette(folder) as (base, _):
            new_job(base, asked.seconds)
        answer_all(folder / "data.db")
        with datasette(folder) as (base, process):
            pages(base, process, asked.again)


if __name__ == "__main__":
    main()
