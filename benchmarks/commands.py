"""Whole commands over a large database, beside what one would type without them.

    python benchmarks/commands.py --rows 1000000

makes a seeded table of about 0.9 KB a row and two finished jobs about all of it, then measures each
command as a process of its own, imports and all, in turn with what it is compared with:

    results --csv    sqlite3 -csv: the same columns in one join
    results --xlsx   sqlite3 and xlsxwriter in constant memory, for the first 200,000 rows
    compare          reading both columns of answers in one join
    jobs, show       sqlite-utils tables
    sync             sqlite-utils tables, in a database of 200 finished jobs

Figures are medians of seconds of CPU (user and system), children included.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import export

JOBS = 200
WORKBOOK_ROWS = 200_000
BIN = Path(sys.executable).parent
PLAIN = (
    "SELECT t.id, t.title, t.body, t.stars, t.author, t.category, t.score, t.summary, r.status, "
    "r.error_message FROM openai_batch_requests AS r JOIN reviews AS t ON t.id = r.row_key "
    "WHERE r.job_id = 1 ORDER BY r.id"
)
WORKBOOK = f"""
import sqlite3, xlsxwriter
book = xlsxwriter.Workbook("by-hand.xlsx", {{"constant_memory": True}})
sheet = book.add_worksheet()
for number, row in enumerate(sqlite3.connect("small.db").execute({PLAIN!r})):
    for column, value in enumerate(row):
        if isinstance(value, str):
            sheet.write_string(number, column, value)
        elif value is not None:
            sheet.write_number(number, column, value)
book.close()
"""
JOIN = """
import sqlite3
for _ in sqlite3.connect("data.db").execute(
    "SELECT a.answer, b.answer FROM openai_batch_requests AS a JOIN openai_batch_requests AS b "
    "ON b.row_key = a.row_key AND b.job_id = 2 WHERE a.job_id = 1"
):
    pass
"""


def ours(*arguments: str) -> list[str]:
    """A command of ours."""
    return [str(BIN / "sqlite-utils"), "openai-batch", *arguments]


TABLES = [str(BIN / "sqlite-utils"), "tables"]
# What is measured: its name, the command, and the one that it is compared with.
PAIRS: dict[str, tuple[list[str], list[str]]] = {
    "results --csv": (ours("results", "data.db", "1", "--csv"),
                      ["sqlite3", "-csv", "data.db", PLAIN]),
    "results --xlsx": (ours("results", "small.db", "1", "--xlsx", "ours.xlsx"),
                       [sys.executable, "-c", WORKBOOK]),
    "compare": (ours("compare", "data.db", "1", "2"), [sys.executable, "-c", JOIN]),
    "jobs": (ours("jobs", "data.db"), [*TABLES, "data.db"]),
    "show": (ours("show", "data.db", "1"), [*TABLES, "data.db"]),
    "sync": (ours("sync", "jobs.db"), [*TABLES, "jobs.db"]),
}  # fmt: skip


def make(folder: Path, rows: int) -> None:
    """Make the databases of all commands."""
    export.make(folder / "data.db", rows)
    second_job(folder / "data.db", rows)
    export.make(folder / "small.db", min(rows, WORKBOOK_ROWS))
    export.make(folder / "jobs.db", 1_000)
    for _ in range(JOBS - 1):
        second_job(folder / "jobs.db", 100)


def second_job(path: Path, rows: int) -> None:
    """Another job over the same rows; a tenth of its labels differ."""
    from sqlite_utils_openai_batch import store

    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA synchronous = OFF")
    conn.execute("BEGIN")
    job = store.insert_job(conn, export.job(store.new_uid(), rows))
    (first,) = conn.execute("SELECT max(id) FROM openai_batch_requests").fetchone()
    for start in range(0, rows, export.PART):
        count = min(export.PART, rows - start)
        part = export.insert_part(conn, job, start, count)
        conn.execute(
            "INSERT INTO openai_batch_requests "
            "(id, job_id, part_id, row_key, status, attempts, answer, error_message, model) "
            "SELECT id + ?, ?, ?, row_key, status, attempts, "
            "CASE WHEN id % 10 THEN answer ELSE replace(answer, 'drama', 'crime') END, "
            "error_message, model FROM openai_batch_requests WHERE job_id = 1 AND id > ? "
            "AND id <= ?",
            [first, job, part, start, start + count],
        )
    conn.execute("COMMIT")
    conn.close()


def seconds(command: list[str], folder: Path) -> float:
    """CPU seconds of a command, as the system counts them; its output goes to a file."""
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit((folder / "err").read_text() or (folder / "out").read_text())
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Make the data, run all pairs in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each; the median counts")
    parser.add_argument("--only", nargs="+", choices=[*PAIRS], default=[*PAIRS])
    parser.add_argument("--folder", type=Path, help="where to work, kept  [default: temporary]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        if not (folder / "jobs.db").exists():
            folder.mkdir(exist_ok=True)
            make(folder, asked.rows)
        print("| command | CPU s | beside it | ratio |\n|---|---:|---:|---:|")
        for name in asked.only:
            own, other = PAIRS[name]
            found = [(seconds(own, folder), seconds(other, folder)) for _ in range(asked.rounds)]
            ours_, theirs = (statistics.median(times) for times in zip(*found, strict=True))
            print(f"| {name} | {ours_:.2f} | {theirs:.2f} | {ours_ / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
