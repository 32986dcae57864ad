"""Confidence beside accuracy, where people labelled rows: against figures by another way."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from job_data import add_job

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.results.calibration import STEPS, calibrations
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.reviews import Review, record

SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "mood_confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    },
    "required": ["mood", "mood_confidence"],
    "additionalProperties": False,
}
COLUMNS = [
    {"name": "mood", "type": "TEXT", "property": "mood"},
    {"name": "mood_confidence", "type": "REAL", "property": "mood_confidence"},
]


def test_calibration_by_another_way(tmp_path: Path, run: Any) -> None:
    source = random.Random(4)
    sure = {n: round(source.random(), 3) if n % 17 else None for n in range(400)}
    right = {n: source.random() < (sure[n] or 0.5) for n in sure}
    with closing(sqlite3.connect(tmp_path / "data.db", isolation_level=None)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT, overview TEXT)")
        conn.executemany("INSERT INTO t VALUES (?, 't', 'x')", [(n,) for n in sure])
        answers = {n: json.dumps({"mood": "good", "mood_confidence": sure[n]}) for n in sure}
        add_job(
            conn, list(sure), source="t", schema=SCHEMA, columns=COLUMNS, answers=answers,
            options=json.dumps({"confidence": ["mood"]}),
        )  # fmt: skip
    with closing(connect("data.db")) as conn:
        first = conn.execute("SELECT min(id) FROM openai_batch_requests").fetchone()[0]
        labelled = [n for n in sure if n % 2]
        record(
            conn, 1,
            [Review(first + n, "mood", "good" if right[n] else "bad", "anna") for n in labelled],
        )  # fmt: skip
        (found,) = calibrations(conn, store.get_job(conn, 1))
    known = [n for n in labelled if sure[n] is not None]
    low = -1.0
    for step, high in zip(found.steps, STEPS, strict=True):
        inside = [n for n in known if low < (sure[n] or 0) <= high]
        assert step.rows == len(inside)
        assert step.right == sum(right[n] for n in inside)
        assert step.mean == pytest.approx(
            sum(sure[n] or 0 for n in inside) / len(inside) if inside else 0
        )
        low = high
    assert found.rows == len(known)
    report = run("report", "data.db", "1").out
    assert "## Confidence and accuracy" in report
    assert report.count("| 0.50 to 0.60 |") == 1
