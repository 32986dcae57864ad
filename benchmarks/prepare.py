"""From rows to request lines: `prepare` and `export-requests`, and what others do.

    python benchmarks/prepare.py --rows 100000

makes a seeded table of reviews, then measures, each in a process of its own over a fresh copy:

    read + write       read the same rows with sqlite3, write the same bytes (made beforehand)
    by hand            sqlite3, an f-string and orjson: the loop that one would write, to one file
    sqlite3 + Jinja    a Jinja template and orjson, a row at a time, lines to a file
    pandas             read_sql, iterrows, json.dumps: the way of OpenAI's cookbook
    prepare            as the command does it: rows, hashes, plan, token estimate, request rows,
                       indexes; nothing is rendered to disk
    export-requests    the files of the job that prepare left

Ratios of CPU time are against the loop by hand. pandas runs where it is installed, or where
`--pandas PYTHON` has it; `--ways WAY …` runs only some.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SEED = 20261121
SYSTEM = "You read reviews. Answer with one word: good, bad or mixed."
PROMPT = "{{ title }} ({{ category }}, {{ price }} EUR)\n\n{{ body }}"
COLUMNS = ("id", "title", "body", "price", "category")
CATEGORIES = ("kitchen", "garden", "books", "toys & games", "müsli")
WORDS = (
    *"the and of to it is was very good bad never again naïve größer café 東京 😀 👩‍👩‍👧".split(),  # noqa: SIM905
    *('"quoted"', "don't", "broken\n", "<b>bold</b>", "{{ braces }}", "back\\slash", "tab\there"),
    *"people would recommend because after three weeks wonderful delivery 100% colour".split(),  # noqa: SIM905
)


# The data


def make(path: Path, rows: int) -> None:
    """Make a database with the table `reviews`; the same rows each time."""
    rng = random.Random(SEED)
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute(
        "CREATE TABLE reviews "
        "(id INTEGER PRIMARY KEY, title TEXT, body TEXT, price REAL, category TEXT)"
    )
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO reviews VALUES (?, ?, ?, ?, ?)", reviews(rng, rows))
    conn.execute("COMMIT")
    conn.close()


def reviews(rng: random.Random, rows: int) -> Iterator[tuple[Any, ...]]:
    """Rows with bodies of 200 to 1,500 characters."""
    # long runs of words are cut anew for each row: making them takes longer than reading them
    text = " ".join(rng.choice(WORDS) for _ in range(200_000))
    for number in range(1, rows + 1):
        size = rng.randrange(200, 1_500)
        start = rng.randrange(len(text) - size)
        title = " ".join(rng.choice(WORDS) for _ in range(4))
        price = rng.randrange(1, 100_000) / 100
        yield number, title, text[start : start + size], price, rng.choice(CATEGORIES)


# The ways


def connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "data.db", isolation_level=None)


def read_and_write(folder: Path) -> None:
    conn = connect(folder)
    whole = (folder / "lines.jsonl").stat().st_size
    rows = 0
    for _ in conn.execute(f"SELECT {', '.join(COLUMNS)} FROM reviews ORDER BY id"):
        rows += 1
    line = b"x" * (whole // rows)
    with (folder / "out.jsonl").open("wb") as file:
        for _ in range(rows):
            file.write(line)
    conn.close()


def by_hand(folder: Path) -> None:
    import orjson

    conn = connect(folder)
    with (folder / "out.jsonl").open("wb") as file:
        for number, title, body, price, category in conn.execute(
            f"SELECT {', '.join(COLUMNS)} FROM reviews ORDER BY id"
        ):
            prompt = f"{title} ({category}, {price} EUR)\n\n{body}"
            file.write(orjson.dumps(line_of(number, prompt)) + b"\n")
    conn.close()


def jinja(folder: Path) -> None:
    import orjson
    from jinja2 import Environment

    conn = connect(folder)
    template = Environment(autoescape=False).from_string(PROMPT)
    with (folder / "out.jsonl").open("wb") as file:
        for row in conn.execute(f"SELECT {', '.join(COLUMNS)} FROM reviews ORDER BY id"):
            values = dict(zip(COLUMNS, row, strict=True))
            file.write(orjson.dumps(line_of(values["id"], template.render(values))) + b"\n")
    conn.close()


def with_pandas(folder: Path) -> None:
    import pandas as pd

    conn = connect(folder)
    frame = pd.read_sql("SELECT * FROM reviews", conn)
    tasks = []
    for index, row in frame.iterrows():
        prompt = f"{row['title']} ({row['category']}, {row['price']} EUR)\n\n{row['body']}"
        tasks.append(line_of(index, prompt))
    with (folder / "out.jsonl").open("w") as file:
        for task in tasks:
            file.write(json.dumps(task) + "\n")
    conn.close()


def line_of(number: Any, prompt: str) -> dict[str, Any]:
    """One request as the cookbook writes it."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    return {
        "custom_id": f"task-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 5},
    }


def prepare(folder: Path, *options: str) -> None:
    command(
        folder, "prepare", "data.db", "reviews", "--prompt", PROMPT, "-s", SYSTEM,
        "-o", "max_tokens", "5", "--base-url", "https://api.openai.com/v1", "--key", "none",
        *options,
    )  # fmt: skip


def export(folder: Path, *options: str) -> None:
    command(folder, "export-requests", "data.db", "1", "requests", *options)


def command(folder: Path, *arguments: str) -> None:
    """Run a command in this process, without asking a provider whether it is there."""
    import os

    from click.testing import CliRunner
    from sqlite_utils.cli import cli

    from sqlite_utils_openai_batch.jobs import new_job

    nobody = (True, [])
    new_job.look_at_place = lambda *_: nobody  # type: ignore[assignment]
    new_job.check_model = lambda *_: []  # type: ignore[assignment]
    os.chdir(folder)
    result = CliRunner().invoke(cli, ["openai-batch", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


WAYS: dict[str, Callable[[Path], None]] = {
    "read + write": read_and_write,
    "by hand": by_hand,
    "sqlite3 + Jinja": jinja,
    "pandas": with_pandas,
    "prepare": prepare,
    "export-requests": export,
}


# Measuring


def measured(way: str, folder: Path) -> dict[str, float]:
    """Run one way in this process. Returns CPU and wall seconds, and MB at the peak.

    Seconds of CPU are those of the processes that it starts too; the peak is that of the largest.
    """
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    WAYS[way](folder)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    log = folder / "data.db-wal"
    return {
        "cpu": after.ru_utime
        + after.ru_stime
        - before.ru_utime
        - before.ru_stime
        + others.ru_utime
        + others.ru_stime,
        "wall": wall,
        "peak": max(after.ru_maxrss, others.ru_maxrss) / 1024,
        "log": log.stat().st_size / 1e6 if log.exists() else 0.0,
    }


def run(python: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [python, __file__, *arguments], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(rows: int, python: str, again: int, ways: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="prepare-") as name:
        folder = Path(name)
        # in processes of their own: a child's peak of memory begins at its parent's
        run(sys.executable, "--rows", str(rows), "--way", "make", "--folder", name)
        # the bytes that the first way writes are those of the last
        shutil.copy(folder / "data.db", folder / "fresh.db")
        for way in ("prepare", "export-requests"):
            run(sys.executable, "--way", way, "--folder", name)
        size = sum(path.stat().st_size for path in (folder / "requests").iterdir())
        with (folder / "lines.jsonl").open("wb") as file:
            file.truncate(size)
        prepared = folder / "prepared.db"
        shutil.move(folder / "data.db", prepared)
        print(f"{rows:,} rows, {size / 1e6:,.0f} MB of requests; best of {again}\n")
        best: dict[str, dict[str, float]] = {}
        # in turn, so that a busy minute falls on all of them alike
        for _ in range(again):
            for way in ways:
                for left in folder.glob("data.db*"):
                    left.unlink()
                shutil.rmtree(folder / "requests", ignore_errors=True)
                shutil.copy(prepared if way.startswith("export") else folder / "fresh.db",
                            folder / "data.db")  # fmt: skip
                try:
                    chosen = python if way == "pandas" else sys.executable
                    found = run(chosen, "--way", way, "--folder", name)
                except (subprocess.CalledProcessError, FileNotFoundError):
                    if way != "pandas":
                        raise
                    continue
                if way not in best or found["cpu"] < best[way]["cpu"]:
                    best[way] = found
        base = best.get("by hand", best[next(iter(best))])["cpu"]
        print("| way | CPU s | ratio | wall s | peak MB | log MB |")
        print("|---|---:|---:|---:|---:|---:|")
        for way, one in best.items():
            print(
                f"| {way} | {one['cpu']:.2f} | {one['cpu'] / base:.2f} | {one['wall']:.2f} | "
                f"{one['peak']:.0f} | {one['log']:.0f} |"
            )
        if "pandas" in ways and "pandas" not in best:
            print("\npandas isn't there: name a Python that has it by --pandas")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--again", type=int, default=2, help="runs of each; the best counts")
    parser.add_argument("--pandas", default=sys.executable, help="a Python that has pandas")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS])
    parser.add_argument("--way", choices=[*WAYS, "make"])
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.way == "make":
        make(asked.folder / "data.db", asked.rows)
        print("{}")
    elif asked.way:
        print(json.dumps(measured(asked.way, asked.folder)))
    else:
        compare(asked.rows, asked.pandas, asked.again, asked.ways)


if __name__ == "__main__":
    main()
