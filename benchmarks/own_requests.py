"""A batch file of one's own (`--requests FILE`) beside the same rows of a table.

    python benchmarks/own_requests.py --rows 100000

makes a seeded table of reviews and the file that a script would have written of it, then measures
`prepare` and the whole of `run` (against `serve --simulate`, in a process of its own) of both, each
in a process of its own over a fresh database. Ratios of CPU time are those of the file to the
table; the seconds of the server aren't in them.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import prepare as table

WAYS = ("prepare", "run")


def name_rows(path: Path) -> None:
    """Give the rows of the table keys of text, as the custom_ids of a file are."""
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(
            "CREATE TABLE named (id TEXT PRIMARY KEY, title TEXT, body TEXT, price REAL, "
            "category TEXT);"
            "INSERT INTO named SELECT 'task-' || id, title, body, price, category FROM reviews;"
            "DROP TABLE reviews; ALTER TABLE named RENAME TO reviews; VACUUM;"
        )


def write_file(folder: Path) -> None:
    """Write the requests of the table's rows as a script would."""
    with (
        closing(sqlite3.connect(folder / "table.db")) as conn,
        (folder / "own.jsonl").open("w") as file,
    ):
        for row in conn.execute(f"SELECT {', '.join(table.COLUMNS)} FROM reviews ORDER BY rowid"):
            number, title, body, price, category = row
            name = str(number).removeprefix("task-")
            line = table.line_of(name, f"{title} ({category}, {price} EUR)\n\n{body}")
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def work(way: str, source: str, folder: Path, base_url: str) -> None:
    """Do one thing in this process."""
    asked = (
        ["--requests", "own.jsonl"]
        if source == "file"
        else ["reviews", "--prompt", table.PROMPT, "-s", table.SYSTEM, "-o", "max_tokens", "5"]
    )
    # Prices as OpenAI's, so that tokens are counted as there.
    there = ["--base-url", base_url, "--key", "none", "--price-as", "gpt-4o-mini"]
    more = ["-y", "--poll", "1", "--first-part", "0"] if way == "run" else []
    command(folder, way, f"{source}-now.db", *asked, *there, *more)


def command(folder: Path, *arguments: str) -> None:
    """Run a command in this process."""
    import os

    from click.testing import CliRunner
    from sqlite_utils.cli import cli

    os.chdir(folder)
    result = CliRunner().invoke(cli, ["openai-batch", *arguments], catch_exceptions=False)
    # 3: the simulator answers with more words than five tokens allow
    assert result.exit_code in (0, 3), result.output


def measured(way: str, source: str, folder: Path, base_url: str) -> dict[str, float]:
    """Do one thing in this process. Returns CPU and wall seconds, and MB at the peak."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work(way, source, folder, base_url)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu": cpu + others.ru_utime + others.ru_stime,
        "wall": wall,
        "peak": max(after.ru_maxrss, others.ru_maxrss) / 1024,
    }


@contextmanager
def server() -> Iterator[str]:
    """A batch server that makes its answers up, in a process of its own."""
    script = str(Path(sys.executable).with_name("sqlite-utils"))
    running = subprocess.Popen(
        [script, "openai-batch", "serve", "--port", "0", "--simulate"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    try:
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait()


def compare(rows: int, again: int, ways: Sequence[str], keys: str) -> None:
    """Measure it all, and print a table."""
    with tempfile.TemporaryDirectory(prefix="own-") as name, server() as base_url:
        folder = Path(name)
        table.make(folder / "table.db", rows)
        if keys == "text":
            name_rows(folder / "table.db")
        write_file(folder)
        size = (folder / "own.jsonl").stat().st_size
        print(f"{rows:,} requests ({keys} keys), {size / 1e6:,.0f} MB; best of {again}\n")
        print("| command | of a table, CPU s | of a file, CPU s | ratio | peak MB |")
        print("|---|---:|---:|---:|---:|")
        for way in ways:
            best: dict[str, dict[str, float]] = {}
            for _ in range(again):
                for source in ("table", "file"):
                    found = fresh(way, source, folder, base_url)
                    if source not in best or found["cpu"] < best[source]["cpu"]:
                        best[source] = found
            one, other = best["table"], best["file"]
            print(
                f"| {way} | {one['cpu']:.2f} | {other['cpu']:.2f} | "
                f"{other['cpu'] / one['cpu']:.2f} | {one['peak']:.0f} and {other['peak']:.0f} |",
                flush=True,
            )


def fresh(way: str, source: str, folder: Path, base_url: str) -> dict[str, float]:
    """Measure one thing over a fresh database, in a process of its own."""
    for left in folder.glob("*-now.db*"):
        left.unlink()
    if source == "table":
        shutil.copy(folder / "table.db", folder / "table-now.db")
    chosen = ["--way", way, "--source", source, "--folder", str(folder), "--base-url", base_url]
    done = subprocess.run(
        [sys.executable, __file__, *chosen], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Compare, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--again", type=int, default=2, help="runs of each; the best counts")
    parser.add_argument("--keys", choices=("text", "integer"), default="text",
                        help="keys of the table's rows: those of the file are text")  # fmt: skip
    parser.add_argument("--only", choices=WAYS, action="append", help="only this, repeatable")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--source", choices=("table", "file"))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--base-url", default="")
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measured(asked.way, asked.source, asked.folder, asked.base_url)))
    else:
        compare(asked.rows, asked.again, asked.only or WAYS, asked.keys)


if __name__ == "__main__":
    main()
