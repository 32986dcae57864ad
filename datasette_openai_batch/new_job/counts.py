"""How many rows a form is about: counted once, and remembered until the file changes.

A page never waits long for a count. Where a table is too large for that, it is counted beside the
pages, and the next page knows.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from datasette.utils import sqlite_timelimit

from sqlite_utils_openai_batch.base.text import counted
from sqlite_utils_openai_batch.tables.sql import quote

from .filters import Chosen

logger = logging.getLogger(__name__)

#: Milliseconds that a page waits for a count.
COUNT_MS = 250
#: Counts that are remembered.
MOST = 500
TOO_MANY = "too many rows to count while you wait"

Key = tuple[str, str, str | None, tuple[tuple[str, str], ...]]
Stamp = tuple[int, ...]

_known: dict[Key, tuple[Stamp, int]] = {}
_counting: set[Key] = set()
_lock = threading.Lock()


def count_words(conn: sqlite3.Connection, path: str | None, table: str, chosen: Chosen) -> str:
    """How many rows there are, and how many of them were chosen."""
    whole = count(conn, path, table, None, {})
    if chosen.where is None or whole is None:
        return TOO_MANY if whole is None else counted(whole, "row")
    some = count(conn, path, table, chosen.where, chosen.params)
    return TOO_MANY if some is None else f"{some:,} of {counted(whole, 'row')}"


def are_more(conn: sqlite3.Connection, table: str, most: int) -> bool:
    """Whether a table or view has more rows than that, or takes long to tell."""
    try:
        with sqlite_timelimit(conn, COUNT_MS):
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {quote(table)} LIMIT ?)"
            (found,) = conn.execute(sql, [most + 1]).fetchone()
    except sqlite3.Error:
        return True
    return bool(found > most)


def count(
    conn: sqlite3.Connection,
    path: str | None,
    table: str,
    where: str | None,
    params: Mapping[str, str],
) -> int | None:
    """Count rows, or remember how many there were; None where that isn't known yet."""
    stamp = stamp_of(path)
    key = (str(path), table, where, tuple(sorted(params.items())))
    known = _known.get(key)
    if known is not None and stamp is not None and known[0] == stamp:
        return known[1]
    try:
        with sqlite_timelimit(conn, COUNT_MS):
            found = counted_now(conn, table, where, params)
    except sqlite3.Error:
        count_beside(key, path)
        # An older count is nearer to the truth than none.
        return None if known is None else known[1]
    remember(key, stamp, found)
    return found


def counted_now(
    conn: sqlite3.Connection, table: str, where: str | None, params: Mapping[str, Any]
) -> int:
    """Count the rows of a table for which a condition holds."""
    sql = f"SELECT count(*) FROM {quote(table)}" + (f" WHERE {where}" if where else "")
    return int(conn.execute(sql, dict(params)).fetchone()[0])


def remember(key: Key, stamp: Stamp | None, found: int) -> None:
    """Keep a count for as long as the file stays as it is."""
    if stamp is None:
        return
    with _lock:
        if len(_known) >= MOST:
            _known.clear()
        _known[key] = (stamp, found)


def count_beside(key: Key, path: str | None) -> None:
    """Count in a thread and on a connection of its own, once at a time."""
    with _lock:
        if path is None or key in _counting:
            return
        _counting.add(key)
    threading.Thread(target=_count, args=(key, path), daemon=True).start()


def _count(key: Key, path: str) -> None:
    _, table, where, params = key
    try:
        stamp = stamp_of(path)
        with closing(
            sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        ) as conn:
            remember(key, stamp, counted_now(conn, table, where, dict(params)))
    except sqlite3.Error as error:
        # A view that is broken, a function that is Datasette's own: pages say that nobody counted.
        logger.debug("The rows of %s can't be counted: %s", table, error)
    finally:
        with _lock:
            _counting.discard(key)


def stamp_of(path: str | None) -> Stamp | None:
    """What changes whenever somebody writes to a database; None where there is no file."""
    if path is None:
        return None
    found: list[int] = []
    for file in (path, f"{path}-wal"):
        try:
            about = Path(file).stat()
        except OSError:
            found += [0, 0]
        else:
            found += [about.st_mtime_ns, about.st_size]
    return tuple(found)
