"""`failed`: every outcome but answered and awaited, wherever an outcome is named."""

from __future__ import annotations

import csv
import io
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import chat_line, custom_id, error_line, request_ids, sent, take

from sqlite_utils_openai_batch.base.errors import UsageError
from sqlite_utils_openai_batch.base.statuses import FAILED, OUTCOMES, outcomes_of
from sqlite_utils_openai_batch.store.connection import connect


@pytest.fixture
def mixed(notes: Path, tmp_path: Path) -> Path:
    """Answered, refused, cut, with an error, missing: eight of twelve failed."""
    with closing(connect(tmp_path / "data.db")) as conn:
        job = sent(conn, "notes")
        ids = request_ids(conn, job)
        name = {key: custom_id(job, one) for key, one in ids.items()}
        lines = [chat_line(name[n], "yes") for n in range(1, 5)]
        lines += [chat_line(name[5], "half", finish_reason="length"), error_line(name[6])]
        take(conn, job, tmp_path, lines)
    return notes


def statuses(printed: str) -> list[str]:
    """The column `status` of a CSV."""
    return [row["status"] for row in csv.DictReader(io.StringIO(printed))]


def test_results_of_all_that_failed(run: Any, mixed: Path) -> None:
    found = statuses(run("results", mixed, "--csv", "--status", "failed").out)
    assert found == ["truncated", "http_error", *["missing"] * 6]
    both = statuses(run("results", mixed, "--csv", "--status", "ok", "--status", "failed").out)
    assert len(both) == 12
    run("results", mixed, "--xlsx", "failed.xlsx", "--status", "failed")
    assert "8 failed" in run("jobs", mixed).out


def test_retry_of_all_that_failed(run: Any, mixed: Path, server: Any) -> None:
    for status in ("failed", "truncated"):
        said = run("retry", mixed, "1", "--status", status, code=2)
        assert "needs -y" in said.err
    said = run("retry", mixed, "1", "--status", "ok", "-y", code=2)
    assert "--status ok: failed outcomes are refused, " in said.err


def test_names_of_outcomes() -> None:
    assert outcomes_of(["failed"]) == FAILED
    assert outcomes_of(["failed", "refused", "ok"]) == (*FAILED, "ok")
    assert outcomes_of([]) == ()
    assert set(OUTCOMES) - set(FAILED) == {"ok", "pending"}
    with pytest.raises(UsageError, match=r"No outcome is called 'fail'\. Did you mean failed\?"):
        outcomes_of(["fail"])
