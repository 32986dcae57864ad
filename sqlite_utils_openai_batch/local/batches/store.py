"""What files and batches there are: the server's tables, and every statement on them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import orjson

from ...base.errors import ConfigurationError

# Rows of the server's tables.

OPEN_STATUSES = ("validating", "in_progress", "finalizing", "cancelling")
"""The statuses of batches that are not at their end."""


class FileRecord(msgspec.Struct, kw_only=True):
    """One row of `files`."""

    seq: int
    id: str
    owner: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None
    reads_until_processed: int


class BatchRecord(msgspec.Struct, kw_only=True):
    """One row of `batches`; times are Unix seconds, `deadline` None when it can't expire."""

    seq: int
    id: str
    owner: str
    endpoint: str
    completion_window: str
    input_file_id: str
    status: str
    model: str | None
    errors: str | None
    output_file_id: str
    error_file_id: str
    created_at: int
    deadline: float | None
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    visible_at: float | None
    total: int
    completed: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    enqueued_tokens: int
    output_lines: int
    error_lines: int
    metadata: str | None
    output_expires_after: int | None
    faults: str

    @property
    def bound_faults(self) -> dict[str, Any]:
        """The faults that this batch was created with: name → argument."""
        return dict(orjson.loads(self.faults))

    @property
    def is_open(self) -> bool:
        """Tell whether the batch is still on its way."""
        return self.status in OPEN_STATUSES


VERSION = 1
"""Of the tables; a state directory of another version is refused."""

SCHEMA = """
create table if not exists files (
    seq integer primary key, id text not null unique, owner text not null, filename text not null,
    purpose text not null, bytes integer not null, created_at integer not null,
    expires_at integer, reads_until_processed integer not null default 0
);
create table if not exists batches (
    seq integer primary key, id text not null unique, owner text not null, endpoint text not null,
    completion_window text not null, input_file_id text not null, status text not null,
    model text, errors text, output_file_id text not null, error_file_id text not null,
    created_at integer not null, deadline real, in_progress_at integer, finalizing_at integer,
    completed_at integer, failed_at integer, expired_at integer, cancelling_at integer,
    cancelled_at integer, visible_at real, total integer not null default 0,
    completed integer not null default 0, failed integer not null default 0,
    input_tokens integer not null default 0, cached_tokens integer not null default 0,
    output_tokens integer not null default 0, reasoning_tokens integer not null default 0,
    enqueued_tokens integer not null default 0, output_lines integer not null default 0,
    error_lines integer not null default 0, metadata text, output_expires_after integer,
    faults text not null default '{}'
);
create index if not exists batches_status on batches(status);
create table if not exists journal (
    id integer primary key, at real not null, method text not null, path text not null,
    key text, status integer, detail text not null default '{}'
);
create table if not exists secrets (name text primary key, value text not null);
"""

JOURNAL_ENTRIES = 20_000
"""So many entries of the journal are kept."""


class Store:
    """One connection to the state database; its statements are short.

    With `durable` False nothing waits for the disk: for state that nobody will read again.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._lock = threading.RLock()
        self._conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._conn.row_factory = sqlite3.Row
        self._conn.execute("pragma journal_mode = wal")
        self._durable = durable
        self._synchronous("normal")
        self._create(path)

    def _create(self, path: Path) -> None:
        version = self._conn.execute("pragma user_version").fetchone()[0]
        if version not in (0, VERSION):
            self._conn.close()
            raise ConfigurationError(
                f"{path.parent} was written by another version of the local batch server."
                " Use that version, or another directory."
            )
        self._conn.executescript(f"begin; {SCHEMA} pragma user_version = {VERSION}; commit;")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._conn.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements inside one transaction, on the disk when it ends.

        Single statements outside of it survive a kill, but the last may be lost in a power cut.
        """
        with self._lock:
            self._synchronous("full")
            self._conn.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._conn.execute("rollback")
                raise
            self._conn.execute("commit")
            self._synchronous("normal")

    def _synchronous(self, mode: str) -> None:
        self._conn.execute(f"pragma synchronous = {mode if self._durable else 'off'}")

    def _all(self, sql: str, *values: Any, **named: Any) -> list[sqlite3.Row]:
        # No ?1 and ?2: the first releases of Python 3.12 take them for names.
        with self._lock:
            return self._conn.execute(sql, named or values).fetchall()

    def _insert(self, table: str, values: Mapping[str, Any]) -> int:
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._lock:
            cursor = self._conn.execute(
                f"insert into {table} ({columns}) values ({marks})", list(values.values())
            )
            return cursor.lastrowid or 0

    # files

    def add_file(self, **values: Any) -> None:
        """Record a file whose bytes are already in their place."""
        self._insert("files", values)

    def file(self, file_id: str, owner: str | None = None) -> FileRecord | None:
        """Return a file, if there is one of that id (and of that owner)."""
        rows = self._all(
            "select * from files where id = :id and (:owner is null or owner = :owner)",
            id=file_id,
            owner=owner,
        )
        return FileRecord(**dict(rows[0])) if rows else None

    def list_files(
        self,
        owner: str,
        *,
        purpose: str | None,
        after: int | None,
        limit: int,
        descending: bool,
        until: float | None = None,
    ) -> list[FileRecord]:
        """Return files in order of their creation; `after` is a `seq`, `until` a time."""
        compare, order = ("<", "desc") if descending else (">", "asc")
        rows = self._all(
            "select * from files where owner = :owner and (:purpose is null or purpose = :purpose)"
            f" and (:after is null or seq {compare} :after)"
            " and (:until is null or created_at <= :until)"
            f" order by seq {order} limit :limit",
            owner=owner, purpose=purpose, after=after, limit=limit, until=until,
        )  # fmt: skip
        return [FileRecord(**dict(row)) for row in rows]

    def delete_file(self, file_id: str) -> None:
        """Forget a file."""
        self._all("delete from files where id = ?", file_id)

    def count_file_read(self, file_id: str) -> None:
        """Bring a file one read nearer to `processed`."""
        self._all(
            "update files set reads_until_processed = reads_until_processed - 1"
            " where id = ? and reads_until_processed > 0",
            file_id,
        )

    def expired_files(self, now: int) -> list[str]:
        """Return the ids of files past their time."""
        return [row[0] for row in self._all("select id from files where expires_at <= ?", now)]

    # batches

    def add_batch(self, **values: Any) -> None:
        """Record a new batch."""
        with self.transaction():
            self._insert("batches", values)

    def batch(self, batch_id: str, owner: str | None = None) -> BatchRecord | None:
        """Return a batch, if there is one of that id (and of that owner)."""
        rows = self._all(
            "select * from batches where id = :id and (:owner is null or owner = :owner)",
            id=batch_id,
            owner=owner,
        )
        return BatchRecord(**dict(rows[0])) if rows else None

    def list_batches(
        self, owner: str, *, after: int | None, limit: int, until: float | None = None
    ) -> list[BatchRecord]:
        """Return batches, newest first; `until` leaves out what was created after that time."""
        rows = self._all(
            "select * from batches where owner = :owner and (:after is null or seq < :after)"
            " and (:until is null or created_at <= :until) order by seq desc limit :limit",
            owner=owner, after=after, until=until, limit=limit,
        )  # fmt: skip
        return [BatchRecord(**dict(row)) for row in rows]

    def open_batches(self) -> list[str]:
        """Return the ids of batches that are not at their end, oldest first."""
        marks = ", ".join("?" * len(OPEN_STATUSES))
        sql = f"select id from batches where status in ({marks}) order by seq"
        return [row[0] for row in self._all(sql, *OPEN_STATUSES)]

    def update_batch(self, batch_id: str, **values: Any) -> None:
        """Set columns of a batch."""
        columns = ", ".join(f"{name} = ?" for name in values)
        self._all(f"update batches set {columns} where id = ?", *values.values(), batch_id)

    def enqueued_tokens(self, owner: str, model: str) -> int:
        """Return the tokens that a model's open batches hold in the queue."""
        marks = ", ".join("?" * len(OPEN_STATUSES))
        sql = (
            f"select coalesce(sum(enqueued_tokens), 0) from batches"
            f" where owner = ? and model = ? and status in ({marks})"
        )
        return int(self._all(sql, owner, model, *OPEN_STATUSES)[0][0])

    def batches_since(self, owner: str, since: int) -> int:
        """Count the batches created at or after a time."""
        sql = "select count(*) from batches where owner = ? and created_at >= ?"
        return int(self._all(sql, owner, since)[0][0])

    # journal

    def add_journal(self, **values: Any) -> None:
        """Record a request: at, method, path, key, status (None: no reply was sent), detail."""
        values["detail"] = orjson.dumps(values["detail"]).decode()
        entry = self._insert("journal", values)
        if entry % 1000 == 0:
            self._all("delete from journal where id <= ?", entry - JOURNAL_ENTRIES)

    def clear_journal(self) -> None:
        """Forget all requests."""
        self._all("delete from journal")

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests that arrived, oldest first, flat."""
        rows = self._all(
            "select j.*, b.total as requests from journal j left join batches b"
            " on b.id = json_extract(j.detail, '$.batch_id') order by j.at, j.id"
        )
        return [self._journal_entry(row) for row in rows]

    @staticmethod
    def _journal_entry(row: sqlite3.Row) -> dict[str, Any]:
        entry = dict(row)
        detail = orjson.loads(entry.pop("detail"))
        requests = entry.pop("requests")
        counted = {} if requests is None else {"requests": requests}
        return {**entry, **counted, **detail}

    # secrets

    def secret(self, name: str, fresh: str) -> str:
        """Return a stored secret, storing `fresh` if there is none."""
        self._all("insert or ignore into secrets (name, value) values (?, ?)", name, fresh)
        return str(self._all("select value from secrets where name = ?", name)[0][0])
