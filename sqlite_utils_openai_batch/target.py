"""The table and columns that answers are written to: made where they aren't there yet.

Tables are changed by ALTER TABLE ADD COLUMN only, never rebuilt: a rebuild loses triggers.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import store
from .database import explain, transaction
from .errors import OutputError
from .keys import quote
from .memory import Values, plain, remember
from .output import Output, output_keys, table_columns


@dataclass(frozen=True)
class Target:
    """Where the answers of a job go; names are spelled as the table does.

    `separate` tells an output table from the source itself. `exact` tells that the table keeps
    what it is given: no other affinity, no trigger.
    """

    table: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    separate: bool
    exact: bool

    @property
    def update(self) -> str:
        """The statement that writes one row: its answers, then its key."""
        sets = ", ".join(f"{quote(name)} = ?" for name in self.names)
        where = " AND ".join(f"{quote(key)} = ?" for key in self.keys)
        return f"UPDATE {quote(self.table)} SET {sets} WHERE {where}"

    @property
    def insert(self) -> str:
        """The statement that makes one row of an output table: its answers, then its key."""
        names = ", ".join(map(quote, (*self.names, *self.keys)))
        marks = ", ".join("?" * (len(self.names) + len(self.keys)))
        return f"INSERT INTO {quote(self.table)} ({names}) VALUES ({marks})"

    def remember(self, old: Values | None, given: Values, stored: Values | None = None) -> str:
        """What has to be remembered of one write (see `memory`)."""
        if stored is None and old is not None and old.count(None) == len(old):
            return plain(given)
        return remember(self.names, old, given, stored)


def created(job: store.Job) -> list[str]:
    """Columns that a job made, its key's too where it made the whole output table."""
    return list(json.loads(job.created_columns or "[]"))


def made_table(job: store.Job, output: Output) -> bool:
    """Whether a job made its output table."""
    return output.table is not None and set(output_keys(job.keys)) <= set(created(job))


def make_target(conn: sqlite3.Connection, job: store.Job, output: Output) -> Target:
    """Make the columns, or the table, that aren't there; record in the job what was made.

    Raises OutputError where SQLite refuses.
    """
    table = output.table or str(job.source)
    there = table_columns(conn, table)
    if not all(name.lower() in there for name in output.names):
        try:
            with transaction(conn):
                _make(conn, store.get_job(conn, job.id), output, table)
        except sqlite3.OperationalError as error:
            if explain(error, "") is not None:
                raise  # it is about the file: locked, full, damaged
            raise OutputError(
                f"Answers can't be written to {table}: {error}. They are kept in the job: write "
                "them elsewhere with apply and --output-table."
            ) from error
        there = table_columns(conn, table)
    return Target(
        table,
        job.keys if output.table is None else output_keys(job.keys),
        tuple(there[name.lower()][0] for name in output.names),
        output.table is not None,
        _is_exact(conn, table, output, [there[name.lower()][1] for name in output.names]),
    )


def _make(conn: sqlite3.Connection, job: store.Job, output: Output, table: str) -> None:
    made = created(job)
    there = table_columns(conn, table)
    if not there:
        conn.execute(_create_table(conn, job, output, table))
        made = [*output_keys(job.keys), *output.names]
    else:
        for column in output.columns:
            if column.name.lower() not in there:
                conn.execute(
                    f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column.name)} {column.type}"
                )
                made.append(column.name)
    store.update_job(conn, job.id, created_columns=json.dumps(made, ensure_ascii=False))


def _create_table(conn: sqlite3.Connection, job: store.Job, output: Output, table: str) -> str:
    """Return the statement that makes an output table: the source's key, then the answers."""
    source = {}
    if job.source is not None and job.source_sql is None:
        source = table_columns(conn, job.source)
    keys = output_keys(job.keys)
    lines = []
    for name, key in zip(keys, job.keys, strict=True):
        declared = source[key.lower()][1] if key.lower() in source else ""
        kind = "INTEGER" if key != name else plain_type(declared)
        lines.append(f"{quote(name)} {kind}".rstrip())
    lines += [f"{quote(column.name)} {column.type}" for column in output.columns]
    names = ", ".join(map(quote, keys))
    lines.append(f"PRIMARY KEY ({names})")
    if _is_own_key(source, job.keys):
        parents = ", ".join(map(quote, job.keys))
        lines.append(f"FOREIGN KEY ({names}) REFERENCES {quote(str(job.source))} ({parents})")
    return f"CREATE TABLE {quote(table)} (\n    " + ",\n    ".join(lines) + "\n)"


def _is_own_key(source: dict[str, tuple[str, str, int, int]], keys: Sequence[str]) -> bool:
    """Whether columns are a table's primary key: only then a foreign key may refer to them."""
    own = sorted((row for row in source.values() if row[2]), key=lambda row: row[2])
    return bool(own) and [row[0].lower() for row in own] == [key.lower() for key in keys]


def plain_type(declared: str) -> str:
    """Return a declared type as one of SQLite's, which a STRICT table would take too."""
    kind = declared.upper()
    if "INT" in kind:
        return "INTEGER"
    if any(word in kind for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if any(word in kind for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return ""


def _is_exact(
    conn: sqlite3.Connection, table: str, output: Output, declared: Sequence[str]
) -> bool:
    if triggers(conn, table):
        return False
    types = [column.type for column in output.columns]
    return types == [kind.upper() for kind in declared]


def triggers(conn: sqlite3.Connection, table: str) -> list[str]:
    """Return the names of a table's triggers."""
    found: list[tuple[Any, ...]] = conn.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE "
        "ORDER BY name",
        [table],
    ).fetchall()
    return [str(name) for (name,) in found]
