"""Build `demo.db` from the sources in this folder.

    python demo/build.py [OUT]

The tables come out row for row the same on each machine. Nothing is computed that a library, a
clock or a platform could change: text is read as it stands in UTF-8 files, ids are written in the
sources, and pictures are the committed files of `images/`, byte for byte. (Packing pixels here
would not do: PNG files go through zlib, and its builds pack differently.) The finished job is made
by the product from answers that are kept, so these are the same too; its uid and times are not.
The database *file* differs with them, and with SQLite's own version in the header.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent

Value = str | int | float | bytes | None
Row = dict[str, Value]

# Column names and types as `CREATE TABLE` takes them; personas keeps the columns of its source.
TABLES: dict[str, dict[str, str]] = {
    "movies": {
        "id": "INTEGER PRIMARY KEY",
        "title": "TEXT",
        "year": "INTEGER",
        "director": "TEXT",
        "runtime": "INTEGER",
        "genre": "TEXT",
        "overview": "TEXT",
    },
    "personas": {
        "ID": "INTEGER PRIMARY KEY",
        "Age": "INTEGER",
        "College": "TEXT",
        "Description": "TEXT",
    },
    "reviews": {
        "id": "INTEGER PRIMARY KEY",
        "product": "TEXT",
        "rating": "INTEGER",
        "language": "TEXT",
        "body": "TEXT",
    },
    "furniture": {
        "id": "INTEGER PRIMARY KEY",
        "name": "TEXT",
        "category": "TEXT",
        "material": "TEXT",
        "price": "REAL",
        "image": "BLOB",
    },
}


def add_finished_job(path: Path) -> None:
    """Let the product make its job; without the product, say so and leave the job out."""
    try:
        from finished_job import RecordedAnswers, make_job
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "sqlite_utils_openai_batch":
            raise
        sys.stderr.write("No finished job: sqlite-utils-openai-batch is not installed here.\n")
        return
    make_job(path, RecordedAnswers())


# What is done to the file once its tables are there, in this order: each step gets the path of
# the database.
AFTER_TABLES: tuple[Callable[[Path], None], ...] = (add_finished_job,)


def rows_of(table: str) -> Iterator[Row]:
    """Return the rows of one table as its source has them, in the order of the source."""
    if table in ("movies", "reviews"):
        return _json_rows(HERE / f"{table}.jsonl")
    rows = _csv_rows(HERE / f"{table}.csv")
    return _with_images(rows) if table == "furniture" else rows


def build(out: Path) -> None:
    """Write the database to `out`; a file that is there is replaced once the new one is whole.

    Raises `FileExistsError` while a write-ahead log lies beside `out`: SQLite would play the old
    log into the new file.
    """
    log = out.with_name(f"{out.name}-wal")
    if log.exists():
        raise FileExistsError(f"{log} exists: close the programs that use {out.name} first.")
    unfinished = out.with_name(f"{out.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    write_tables(unfinished)
    for step in AFTER_TABLES:
        step(unfinished)
    unfinished.replace(out)


def write_tables(path: Path) -> None:
    """Create the four tables of `TABLES` in the database at `path` and fill them."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in TABLES.items():
            declared = ",\n  ".join(f"{name} {kind}" for name, kind in columns.items())
            connection.execute(f"CREATE TABLE {table} (\n  {declared}\n)")
            places = ", ".join(f":{name}" for name in columns)
            connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows_of(table))


def _json_rows(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _csv_rows(source: Path) -> Iterator[Row]:
    # Numbers arrive as text: the types of the columns turn them into numbers.
    with source.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _with_images(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        yield {**row, "image": (HERE / "images" / str(row["image"])).read_bytes()}


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "demo.db"))
