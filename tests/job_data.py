"""Databases that hold jobs, written through the store as the command line writes them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.requests.template import Template, hashed_columns
from sqlite_utils_openai_batch.tables.hashing import source_hash
from sqlite_utils_openai_batch.tables.output import Output
from sqlite_utils_openai_batch.tables.source import source_of_job

SCRIPT = "<script>alert('x')</script>"
#: A server that isn't there: what is done is kept, and goes on when it is.
AWAY = "http://127.0.0.1:9/v1"
SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"type": "string", "enum": ["drama", "comedy", "crime"]},
        "score": {"type": "integer"},
    },
    "required": ["category", "score"],
    "additionalProperties": False,
}
CHAT = {
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": "You catalogue films."},
        {"role": "user", "content": "{{ title }}: {{ overview }}"},
    ],
    "temperature": 0,
}
COLUMNS = [
    {"name": "category", "type": "TEXT", "property": "category"},
    {"name": "score", "type": "INTEGER", "property": "score"},
]


def connect(path: Path, *, journal: str = "delete") -> sqlite3.Connection:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute(f"PRAGMA journal_mode = {journal}")
    return conn


def movies(conn: sqlite3.Connection, count: int = 12, table: str = "movies") -> None:
    conn.execute(
        f'CREATE TABLE "{table}" (id INTEGER PRIMARY KEY, title TEXT, overview TEXT, '
        "category TEXT, score INTEGER)"
    )
    conn.executemany(
        f'INSERT INTO "{table}" (id, title, overview) VALUES (?, ?, ?)',
        [(n, f"Film {n}", f"What happens in film {n}.") for n in range(1, count + 1)],
    )


def add_job(
    conn: sqlite3.Connection,
    keys: list[Any],
    outcomes: dict[int, str] | None = None,
    *,
    parts: int = 1,
    part_status: str = "completed",
    source: str | None = "movies",
    key_columns: tuple[str, ...] = ("id",),
    schema: dict[str, Any] | None = SCHEMA,
    columns: list[dict[str, Any]] | None = None,
    output_table: str | None = None,
    template: dict[str, Any] | None = None,
    answers: dict[int, Any] | None = None,
    messages: dict[str, str] | None = None,
    write: bool = True,
    **values: Any,
) -> int:
    """A job over rows with these keys; `outcomes` by position, the others are `ok`."""
    store.migrate(conn)
    outcomes = outcomes or {}
    columns = (
        COLUMNS
        if columns is None and schema
        else columns or [{"name": "answer", "type": "TEXT", "property": None}]
    )
    job_id = store.insert_job(
        conn,
        {
            "uid": store.new_uid(),
            "status": "completed",
            "source": source,
            "key_columns": json.dumps(key_columns),
            "endpoint": "/v1/chat/completions",
            "model": "gpt-4o-mini",
            "template": json.dumps(template or CHAT),
            "template_hash": b"0123456789abcdef",
            "answer_schema": json.dumps(schema) if schema else None,
            "output": json.dumps(
                {
                    "table": output_table,
                    "columns": columns,
                    "replace": False,
                    "write": write,
                    "responses": "all",
                }
            ),
            "provider": "openai",
            "requests": len(keys),
            "skipped": 2,
            "estimated_input_tokens": 1000,
            "estimated_cost_nanousd": 1_090_000_000,
            "upper_cost_nanousd": 9_010_000_000,
            "max_cost_nanousd": 10_000_000_000,
            "cost_nanousd": 1_070_000_000,
            "created_at": "2026-11-20T14:00:00.000Z",
            "submitted_at": "2026-11-20T14:02:00.000Z",
            "checked_at": "2026-11-20T15:41:00.000Z",
            "finished_at": "2026-11-20T15:41:00.000Z",
            "versions": json.dumps({"sqlite-utils-openai-batch": "0.1"}),
            **values,
        },
    )
    hashes = asked_hashes(conn, job_id, keys)
    first = store.reserve_ids(conn, job_id, len(keys))
    size = -(-len(keys) // parts)
    for number in range(1, parts + 1):
        chosen = range((number - 1) * size, min(number * size, len(keys)))
        part_id = store.insert_part(
            conn,
            job_id=job_id,
            number=number,
            status=part_status,
            requests=len(chosen),
            bytes=len(chosen) * 900,
            **part_history(job_id, number, part_status, len(chosen)),
        )
        add_requests(
            conn, job_id, part_id, first, keys, hashes, chosen, outcomes, columns, answers, messages
        )
        store.count_outcomes(conn, part_id)
        count_tokens(conn, part_id)
    store.drop_placeholder(conn, first, len(keys))
    store.build_indexes(conn)
    store.log(conn, "prepared", job_id=job_id, requests=len(keys), parts=parts)
    if write and source and not output_table:
        write_back(conn, job_id, source, key_columns, columns)
    return job_id


def add_running_job(conn: sqlite3.Connection, keys: list[Any], **values: Any) -> int:
    """A job whose batch is at the provider, and no row of which is answered yet."""
    waiting = {
        "status": "running",
        "part_status": "in_progress",
        "cost_nanousd": None,
        "finished_at": None,
        "checked_at": recently(),
    }
    pending = dict.fromkeys(range(len(keys)), "pending")
    return add_job(conn, keys, pending, **{**waiting, **values})


def count_tokens(conn: sqlite3.Connection, part_id: int) -> None:
    """Give a part the tokens that its answers used, as collecting does."""
    (answered,) = conn.execute(
        "SELECT count(*) FROM openai_batch_requests WHERE part_id = ? AND status <> 'pending'",
        [part_id],
    ).fetchone()
    if answered:
        store.update_part(
            conn,
            part_id,
            prompt_tokens=20 * answered,
            cached_tokens=5 * answered,
            completion_tokens=7 * answered,
            reasoning_tokens=0,
        )


def part_history(job_id: int, number: int, status: str, requests: int) -> dict[str, Any]:
    """What is known of a part in this state: ids and times."""
    found: dict[str, Any] = {}
    if status != "prepared":
        found |= {
            "batch_id": f"batch_{job_id}_{number}",
            "input_file_id": f"file-in-{job_id}-{number}",
            "submitted_at": "2026-11-20T14:02:00.000Z",
            "in_progress_at": "2026-11-20T14:05:00.000Z",
            "expires_at": "2026-11-21T14:02:00.000Z",
            "sends": 1,
        }
    if status == "completed":
        found |= {
            "output_file_id": f"file-out-{job_id}-{number}",
            "completed": requests,
            "failed": 0,
            "finalizing_at": "2026-11-20T15:30:00.000Z",
            "ended_at": "2026-11-20T15:33:00.000Z",
            "collected_at": "2026-11-20T15:40:00.000Z",
            "written_at": "2026-11-20T15:41:00.000Z",
        }
    return found


def asked_hashes(conn: sqlite3.Connection, job_id: int, keys: list[Any]) -> dict[Any, bytes]:
    """What the rows held that the template reads; nothing where they don't fit each other."""
    job = store.get_job(conn, job_id)
    try:
        source = source_of_job(conn, job)
    except OpenAIBatchError:
        return {}
    try:
        renderer = Template.from_json(job.template, job.endpoint).bind(source.columns)
        read = [renderer.columns[n] for n in hashed_columns(renderer, Output.from_json(job.output))]
        return {key: source_hash(row) for key, row in source.fetch(read, keys).items()}
    except OpenAIBatchError:
        return {}
    finally:
        source.close()


def add_requests(
    conn: sqlite3.Connection,
    job_id: int,
    part_id: int,
    first: int,
    keys: list[Any],
    hashes: dict[Any, bytes],
    chosen: range,
    outcomes: dict[int, str],
    columns: list[dict[str, Any]],
    answers: dict[int, Any] | None,
    messages: dict[str, str] | None,
) -> None:
    store.insert_requests(
        conn,
        [
            (first + n, job_id, part_id, keys[n], hashes.get(keys[n]), "pending", None)
            for n in chosen
        ],
    )
    lines = []
    for n in chosen:
        status = outcomes.get(n, "ok")
        if status == "pending":
            continue
        if answers and n in answers:
            answer = answers[n]
        elif columns[0].get("property"):
            answer = json.dumps({"category": ["drama", "comedy", "crime"][n % 3], "score": n})
        else:
            answer = f"Answer {n}"
        message = (messages or {}).get(status, f"Failed: {status}")
        conn.execute(
            "UPDATE openai_batch_requests SET status = ?, answer = ?, error_message = ?, "
            "attempts = 1, finish_reason = 'stop', model = 'gpt-4o-mini-2024-07-18', "
            "prompt_tokens = 20, cached_tokens = 5, completion_tokens = 7, "
            "reasoning_tokens = 0, write_status = ? WHERE id = ?",
            [
                status,
                answer if status == "ok" else None,
                None if status == "ok" else message,
                "written" if status == "ok" else None,
                first + n,
            ],
        )
        line = json.dumps({"custom_id": f"uid-{first + n}", "response": {"status_code": 200}})
        lines.append((first + n, part_id, "output", f"file-out-{part_id}", n + 1, line))
    store.insert_responses(conn, lines)
    conn.execute(
        "UPDATE openai_batch_parts SET prompt_tokens = 20 * :n, cached_tokens = 5 * :n, "
        "completion_tokens = 7 * :n, reasoning_tokens = 0 WHERE id = :id",
        {"n": len(lines) or None, "id": part_id},
    )


def write_back(
    conn: sqlite3.Connection,
    job_id: int,
    source: str,
    key_columns: tuple[str, ...],
    columns: list[dict[str, Any]],
) -> None:
    there = {row[1] for row in conn.execute(f'PRAGMA table_info("{source}")')}
    for column in columns:
        if column["name"] not in there:
            conn.execute(f'ALTER TABLE "{source}" ADD COLUMN "{column["name"]}" {column["type"]}')
    match = " AND ".join(f'"{name}" = ?' for name in key_columns)
    for key, answer in conn.execute(
        "SELECT row_key, answer FROM openai_batch_requests WHERE job_id = ? AND status = 'ok'",
        [job_id],
    ).fetchall():
        values = json.loads(key) if len(key_columns) > 1 else [key]
        for column in columns:
            value = json.loads(answer)[column["property"]] if column["property"] else answer
            conn.execute(
                f'UPDATE "{source}" SET "{column["name"]}" = ? WHERE {match}', [value, *values]
            )


def recently() -> str:
    return clock.now(-120)
