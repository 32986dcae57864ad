"""Whole commands over a large database, beside what one would type without them.

    python benchmarks/commands.py --rows 1000000

makes a seeded table of about 0.9 KB a row and two finished jobs about all of it, then measures each
command as a process of its own, imports and all, in turn with what it is compared with:

    results --csv    sqlite3 -csv: the same columns in one join
    results --xlsx   sqlite3 and xlsxwriter in constant memory, for the first 200,000 rows
    compare          reading both columns of answers in one join
    vote             one UPDATE of the table from the join of three jobs, nothing else kept
    jobs, show       sqlite-utils tables
    sync             sqlite-utils tables, in a database of 200 finished jobs

Figures are medians of seconds of CPU (user and system), children included.
"""

from __future__ import annotations

import argparse
import os
import shutil
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
# What three jobs say of a row: two that agree have the majority, and so has one that others don't
# outvote. Each run has a copy of its own.
VOTE = """
import sqlite3
conn = sqlite3.connect("fresh.db")
conn.execute("ALTER TABLE reviews ADD COLUMN category_vote TEXT")
conn.execute("ALTER TABLE reviews ADD COLUMN category_vote_share REAL")
voice = "CASE WHEN {0}.status = 'ok' THEN json_extract({0}.answer, '$.category') END"
a, b, c = (f"said.{one}" for one in "abc")
conn.execute(
    f"UPDATE reviews SET category_vote = CASE WHEN {a} = {b} OR {a} = {c} THEN {a} "
    f"WHEN {b} = {c} THEN {b} WHEN ({a} IS NULL) + ({b} IS NULL) + ({c} IS NULL) = 2 "
    f"THEN coalesce({a}, {b}, {c}) END, category_vote_share = round(1.0 * "
    f"CASE WHEN {a} = {b} AND {b} = {c} THEN 3 WHEN {a} = {b} OR {a} = {c} OR {b} = {c} THEN 2 "
    f"ELSE 1 END / (({a} IS NOT NULL) + ({b} IS NOT NULL) + ({c} IS NOT NULL)), 9) FROM ("
    f"SELECT a.row_key, {voice.format('a')} AS a, {voice.format('b')} AS b, "
    f"{voice.format('c')} AS c FROM openai_batch_requests AS a "
    "JOIN openai_batch_requests AS b ON b.row_key = a.row_key AND b.job_id = 2 "
    "JOIN openai_batch_requests AS c ON c.row_key = a.row_key AND c.job_id = 3 "
    "WHERE a.job_id = 1) AS said WHERE reviews.id = said.row_key"
)
conn.commit()
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
    "vote": (ours("vote", "fresh.db", "1", "2", "3", "--column", "category"),
             [sys.executable, "-c", VOTE]),
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
    vote_jobs(folder / "vote.db", rows)


def vote_jobs(path: Path, rows: int) -> None:
    """Three jobs about rows that are as they were asked about."""
    from sqlite_utils_openai_batch.tables.hashing import source_hash

    export.make(path, rows)
    conn = sqlite3.connect(path)
    conn.create_function("hash", 2, lambda *values: source_hash(values))
    conn.execute(
        "UPDATE openai_batch_requests SET source_hash = hash(title, body) FROM reviews "
        "WHERE reviews.id = row_key"
    )
    conn.commit()
    conn.close()
    second_job(path, rows)
    second_job(path, rows, 1)
    conn = sqlite3.connect(path)
    conn.execute("UPDATE openai_batch_requests SET write_status = 'written' WHERE status = 'ok'")
    conn.execute(
        "UPDATE openai_batch_parts SET ended_at = now, collected_at = now, written_at = now "
        "FROM (SELECT '2026-11-20T15:00:00.000Z' AS now)"
    )
    conn.commit()
    conn.close()


def second_job(path: Path, rows: int, differ: int = 0) -> None:
    """Another job over the same rows; of a tenth of them, by `differ`, its labels are others."""
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
            "(id, job_id, part_id, row_key, source_hash, status, attempts, answer, error_message, "
            "model) SELECT id + ?, ?, ?, row_key, source_hash, status, attempts, "
            "CASE WHEN id % 10 <> ? THEN answer ELSE replace(answer, 'drama', 'crime') END, "
            "error_message, model FROM openai_batch_requests WHERE job_id = 1 AND id > ? "
            "AND id <= ?",
            [first, job, part, differ, start, start + count],
        )
    conn.execute("COMMIT")
    conn.close()


def seconds(command: list[str], folder: Path) -> float:
    """CPU seconds of a command, as the system counts them; its output goes to a file."""
    if any("fresh.db" in word for word in command):
        shutil.copyfile(folder / "vote.db", folder / "fresh.db")
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
        if not (folder / "vote.db").exists():
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
