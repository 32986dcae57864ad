"""Source rows as they are now, for the few rows that a page shows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from datasette.utils import sqlite_timelimit

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.requests.images import check_folder
from sqlite_utils_openai_batch.requests.template import Renderer, bind_job
from sqlite_utils_openai_batch.store import Job
from sqlite_utils_openai_batch.tables.source import Source, source_of_job
from sqlite_utils_openai_batch.tables.sql import SQLiteValue, decode_key, encode_key, quote

# A view or query may take any time to find a row; a page doesn't wait for it.
LIMIT_MS = 500

Row = tuple[SQLiteValue, ...]


def open_rows(conn: sqlite3.Connection, job: Job) -> Source | None:
    """The source of a job, to ask for its columns; None where it is gone."""
    try:
        return source_of_job(conn, job)
    except OpenAIBatchError:
        # Dropped or changed since it was asked about: the job's own tables are still shown.
        return None


def bind(job: Job, source: Source | None) -> Renderer | None:
    """The job's template over its source; None where they no longer fit each other.

    And where it would read files of a folder that nobody named on this machine.
    """
    if source is None:
        return None
    try:
        check_folder(job)
        return bind_job(job, source)
    except OpenAIBatchError:
        return None


def fetch(
    conn: sqlite3.Connection, source: Source, columns: Sequence[str], keys: Sequence[SQLiteValue]
) -> Mapping[SQLiteValue, Row]:
    """Values of `columns` by row key. Absent rows are absent, and all are if it takes too long."""
    if not keys:
        return {}
    width = len(source.key_columns)
    params: dict[str, Any] = dict(source.params)
    conditions = []
    for n, row_key in enumerate(keys):
        for m, value in enumerate(decode_key(row_key, width)):
            params[f"openai_batch_{n}_{m}"] = value
        same = " AND ".join(
            f"{quote(name)} = :openai_batch_{n}_{m}" for m, name in enumerate(source.key_columns)
        )
        conditions.append(f"({same})")
    names = ", ".join(quote(name) for name in (*source.key_columns, *columns))
    origin = quote(str(source.name)) if source.sql is None else f"(\n{source.sql}\n)"
    sql = f"SELECT {names} FROM {origin} WHERE {' OR '.join(conditions)}"
    cursor = conn.cursor()
    cursor.row_factory = None
    try:
        with sqlite_timelimit(conn, LIMIT_MS):
            found = cursor.execute(sql, params).fetchall()
    except sqlite3.OperationalError:
        # Interrupted, or a function or table that a view needs is missing here.
        return {}
    finally:
        cursor.close()
    return {encode_key(row[:width]): row[width:] for row in found}
