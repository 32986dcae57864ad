"""Requests of several jobs side by side: by their keys, however far their ids are apart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store.outcomes import beside
from sqlite_utils_openai_batch.store.records import VOICE

# A job's rows: numbers, texts that look like them, and rows of another job in between (None).
KEYS = st.lists(st.sampled_from([*range(6), "1", "2", "é", None]), max_size=12)


def job_of(conn: sqlite3.Connection, keys: list[Any], n: int, voices: bool = False) -> int:
    """A job that asked about these keys, each once; None leaves a gap between ids."""
    job = store.insert_job(
        conn,
        {"uid": f"job{n}", "status": "completed", "endpoint": "/v1/chat/completions",
         "template": "{}", "template_hash": b"", "key_columns": '["id"]', "output": "{}",
         "provider": "openai", "created_at": "2026-11-20T14:00:00.000Z"},
    )  # fmt: skip
    for number, overrides in enumerate([None, f'{{"{VOICE}": 2}}'][: 1 + voices], 1):
        part = store.insert_part(conn, job_id=job, number=number, status="completed", requests=0,
                                 bytes=0, overrides=overrides)  # fmt: skip
        for key in dict.fromkeys(keys):
            owner = (0, None) if key is None else (job, part)
            conn.execute(
                "INSERT INTO openai_batch_requests (job_id, part_id, status, row_key) "
                "VALUES (?, ?, 'ok', ?)",
                [*owner, key],
            )
    return job


@given(st.lists(KEYS, min_size=1, max_size=3), st.integers(1, 4), st.booleans())
@example([[1, 2, 3, 4], [1, 2, 3, 4]], 2, False)
@example([[1, 2, 3, 4], [1, 2, "3", 3, 4]], 1, True)
@example([[1, 2, 3, 4], [1, 2, 4, 3], [1, 2, 3, 4]], 2, True)
def test_requests_beside_those_of_other_jobs(
    jobs: list[list[Any]], size: int, voices: bool
) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        store.migrate(conn)
        ids = [job_of(conn, keys, n, voices) for n, keys in enumerate(jobs)]
        store.build_indexes(conn)
        pages = list(beside(conn, ids, ["r0.row_key"], (), size))
        found = [row for page in pages for row in page]
        own = [
            dict(
                conn.execute(
                    "SELECT row_key, requests.id FROM openai_batch_requests AS requests "
                    "JOIN openai_batch_parts AS parts ON parts.id = part_id "
                    "WHERE requests.job_id = ? AND overrides IS NULL ORDER BY 2",
                    [job],
                ).fetchall()
            )
            for job in ids
        ]
        assert found == [(*(one.get(key) for one in own), key) for key in own[0]]
        assert all(len(page) == size for page in pages[:-1])
        after = found[len(found) // 2][0] if found else 0
        rest = [row for page in beside(conn, ids, ["r0.row_key"], (), size, after) for row in page]
        assert rest == [row for row in found if row[0] > after]
