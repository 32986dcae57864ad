"""Build `demo.db` from the sources in this folder.

    python demo/build.py [OUT]

The tables come out row for row the same on each machine. Nothing is computed that a library, a
clock or a platform could change: text is read as it stands in UTF-8 files, ids are written in the
sources, and pictures are the committed files of `images/`, byte for byte. (Packing pixels here
would not do: PNG files go through zlib, and its builds pack differently.) The database *file* may
still differ, since SQLite writes its own version into the header.
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

# What is done to the file once its tables are there, in this order: each step gets the path of
# the database. The finished job is such a step: the product makes it, from answers that are kept.
AFTER_TABLES: tuple[Callable[[Path], None], ...] = ()


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
