"""The table and columns that answers are written to: made where they aren't there yet."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from .. import store
from ..base.errors import OutputError
from ..store.connection import explain, transaction
from .columns import fold, insert_sql, making, output_keys, table_columns, triggers, update_sql
from .output import Output
from .undo import Values, plain, remember


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
        return update_sql(self.table, self.names, self.keys)

    @property
    def insert(self) -> str:
        """The statement that makes one row of an output table: its answers, then its key."""
        return insert_sql(self.table, self.names, self.keys)

    def remember(self, old: Values | None, given: Values, stored: Values | None = None) -> str:
        """What has to be remembered of one write (see `undo`)."""
        if stored is None and old is not None and old.count(None) == len(old):
            return plain([given])[0]
        return remember(self.names, old, given, stored)


def created(job: store.Job) -> list[str]:
    """Columns that a job made, its key's too where it made the whole output table."""
    return job.made_columns


def made_table(job: store.Job, output: Output) -> bool:
    """Whether a job made its output table."""
    return output.table is not None and set(output_keys(job.keys)) <= set(created(job))


def make_target(conn: sqlite3.Connection, job: store.Job, output: Output) -> Target:
    """Make the columns, or the table, that aren't there; record in the job what was made.

    Raises OutputError where SQLite refuses.
    """
    table = output.table or str(job.source)
    there = table_columns(conn, table)
    if not all(fold(name) in there for name in output.names):
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
        tuple(there[fold(name)].name for name in output.names),
        output.table is not None,
        _is_exact(conn, table, output, [there[fold(name)].type for name in output.names]),
    )


def _make(conn: sqlite3.Connection, job: store.Job, output: Output, table: str) -> None:
    there = table_columns(conn, table)
    names = output.names if there else (*output_keys(job.keys), *output.names)
    new = [name for name in names if fold(name) not in there]
    made = list(dict.fromkeys([*created(job), *new]))
    for sql in making(conn, job.source, job.keys, output):
        conn.execute(sql)
    store.update_job(conn, job.id, created_columns=json.dumps(made, ensure_ascii=False))


def _is_exact(
    conn: sqlite3.Connection, table: str, output: Output, declared: Sequence[str]
) -> bool:
    types = [column.type for column in output.columns]
    return types == [kind.upper() for kind in declared] and not triggers(conn, table)
