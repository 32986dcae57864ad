"""Jobs without a network: prepared for real, answered by result files that a test writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.jobs.plan.ask import Ask
from sqlite_utils_openai_batch.jobs.plan.conflicts import check_free
from sqlite_utils_openai_batch.jobs.plan.plan import settle
from sqlite_utils_openai_batch.jobs.plan.prepare import prepare
from sqlite_utils_openai_batch.jobs.sync.collect import Collected, ResultFile, finish, take_files
from sqlite_utils_openai_batch.jobs.sync.settle import settle_job
from sqlite_utils_openai_batch.jobs.writeback import Writer

CHAT = "/v1/chat/completions"


def sent(conn: sqlite3.Connection, table: str | None = None, **ask: Any) -> store.Job:
    """A job all of whose batches have ended at the provider and aren't collected yet."""
    ask.setdefault("prompt", "{{ text }}")
    plan = settle(conn, Ask(table=table, **ask))
    try:
        check_free(conn, plan, "data.db")
        job, _ = prepare(
            conn,
            plan,
            uid=store.new_uid(),
            provider="openai",
            base_url="https://api.openai.com/v1",
            account=None,
            settings={},
        )
    finally:
        plan.close()
    conn.execute(
        "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at WHERE id = ?",
        [job.id],
    )
    conn.execute(
        "UPDATE openai_batch_parts SET status = 'completed', sends = 1, ended_at = ?, "
        "batch_id = 'batch_' || id WHERE job_id = ?",
        [clock.now(), job.id],
    )
    conn.execute("UPDATE openai_batch_requests SET attempts = 1 WHERE job_id = ?", [job.id])
    return store.get_job(conn, job.id)


class Copies:
    """Databases in memory that are made once, and copied for each example of a property."""

    def __init__(self) -> None:
        self.made: dict[Any, sqlite3.Connection] = {}

    @contextmanager
    def of(
        self, make: Callable[..., object], *options: Any
    ) -> Iterator[tuple[sqlite3.Connection, store.Job]]:
        """A copy of what `make` does to a database with these options, and its first job."""
        if (make, options) not in self.made:
            first = self.made[make, options] = in_memory()
            make(first, *options)
        with closing(in_memory()) as conn:
            self.made[make, options].backup(conn)
            yield conn, store.get_job(conn, 1)

    def close(self) -> None:
        """Forget them all."""
        for conn in self.made.values():
            conn.close()


def in_memory() -> sqlite3.Connection:
    """An empty database."""
    return sqlite3.connect(":memory:", isolation_level=None)


def request_ids(conn: sqlite3.Connection, job: store.Job) -> dict[Any, int]:
    """The request of each row, by row key."""
    return dict(
        conn.execute(
            "SELECT row_key, id FROM openai_batch_requests WHERE job_id = ?", [job.id]
        ).fetchall()
    )


def custom_id(job: store.Job, request_id: int) -> str:
    """The `custom_id` of a request."""
    return f"{job.uid}-{request_id}"


def chat_line(name: str, content: Any, **choice: Any) -> bytes:
    """A line of an output file with a chat completion."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    message = {"role": "assistant", "content": text, "refusal": None}
    body = {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    line = {"id": "batch_req_1", "custom_id": name, "response": response, "error": None}
    return json.dumps(line, ensure_ascii=False).encode()


def error_line(name: str, status: int = 400, message: str = "Bad luck.") -> bytes:
    """A line of an error file with an HTTP error."""
    response = {"status_code": status, "body": {"error": {"message": message, "code": "bad"}}}
    return json.dumps({"custom_id": name, "response": response, "error": None}).encode()


def take(
    conn: sqlite3.Connection,
    job: store.Job,
    folder: Path,
    lines: Iterable[bytes] | bytes,
    *,
    ended: str = "completed",
    part: store.Part | None = None,
    file_id: str = "file-1",
    write: bool = True,
) -> Collected:
    """Take in one output file of a part (the first), and finish the part."""
    path = folder / f"{file_id}.jsonl"
    path.write_bytes(lines if isinstance(lines, bytes) else b"\n".join(lines) + b"\n")
    part = part or store.list_parts(conn, job.id)[0]
    writer = Writer(conn, job) if write else None
    try:
        collected = take_files(conn, job, part, [ResultFile("output", file_id, path)], writer)
        finish(conn, job, part, ended, collected)
    finally:
        if writer is not None:
            writer.close()
    settle_job(conn, job.id, [], [])
    return collected


def answered(
    conn: sqlite3.Connection,
    folder: Path,
    table: str | None,
    answers: Mapping[Any, Any],
    **ask: Any,
) -> store.Job:
    """A finished job: `answers` are the contents by row key; rows without one are missing."""
    job = sent(conn, table, **ask)
    ids = request_ids(conn, job)
    lines = [chat_line(custom_id(job, ids[key]), content) for key, content in answers.items()]
    take(conn, job, folder, reversed(lines), file_id=f"file-{job.id}")
    return store.get_job(conn, job.id)


def statuses(conn: sqlite3.Connection, job: store.Job) -> dict[Any, tuple[str, str | None]]:
    """Outcome and write status of each request, by row key."""
    found = conn.execute(
        "SELECT row_key, status, write_status FROM openai_batch_requests WHERE job_id = ?",
        [job.id],
    ).fetchall()
    return {row[0]: (row[1], row[2]) for row in found}


def user_dump(conn: sqlite3.Connection) -> tuple[list[Any], dict[str, list[Any]]]:
    """The user's own part of a database: the schema, and the rows of every table and view.

    What full-text search keeps in tables of its own is left out: it is right or wrong, not equal.
    """
    hidden = ("openai\\_batch\\_%", "\\_%")
    own = " AND ".join(f"tbl_name NOT LIKE '{one}' ESCAPE '\\'" for one in hidden)
    schema = conn.execute(
        f"SELECT type, name, tbl_name, sql FROM sqlite_master WHERE {own} ORDER BY name"
    ).fetchall()
    names = [name for kind, name, _, _ in schema if kind in ("table", "view")]
    virtual = [name for _, name, _, sql in schema if sql and sql.startswith("CREATE VIRTUAL")]
    rows = {}
    for name in names:
        if any(name.startswith(f"{one}_") for one in virtual):
            continue
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            rows[name] = sorted(conn.execute(f"SELECT * FROM {quoted}").fetchall(), key=repr)
        except sqlite3.OperationalError as error:
            rows[name] = [str(error)]  # a broken view stays as broken as it was
    return schema, rows
