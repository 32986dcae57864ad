"""What a page says to readers who didn't start its jobs: only what is theirs to see, and true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from html import unescape
from pathlib import Path
from typing import Any

import job_data
import pytest
from click.testing import CliRunner
from serving import cells, fetch
from sqlite_utils.cli import cli

JOBS = "/films/-/openai-batch"
PENDING = dict.fromkeys(range(12), "pending")


def command(*arguments: Any) -> str:
    """Run a command of the core package."""
    result = CliRunner().invoke(cli, ["openai-batch", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def change(path: Path, *statements: str) -> None:
    """Change a database."""
    conn = job_data.connect(path)
    for statement in statements:
        conn.execute(statement)
    conn.close()


# Who paused it


def test_a_job_paused_by_somebody_says_so_to_everybody(serve, page, db: Path) -> None:
    command("pause", db, "2")
    datasette = serve(db)
    for address in ("/2", "", "/2.json", ".json"):
        html = page(datasette, JOBS + address)
        assert "by you" not in html
        assert "aused by hand" in html
    assert "paused by hand" in command("jobs", db)
    assert "paused: paused" not in command("jobs", db)


# Started, and batches of a paused job


@pytest.mark.parametrize("status", ["prepared", "paused", "cancelled"])
def test_a_job_that_was_never_sent_has_no_start(serve, page, db: Path, status: str) -> None:
    change(
        db,
        f"UPDATE openai_batch_jobs SET status = '{status}', submitted_at = NULL, "
        "finished_at = NULL WHERE id = 3",
    )
    head, first, *others = cells(page(serve(db), JOBS))
    started = head.index("Started (UTC)")
    assert first[started] == ""
    assert all(line[started] for line in others)


@pytest.mark.parametrize(
    ("under_way", "said"),
    [
        (1, "1 of 2 parts with OpenAI, 1 not sent yet."),
        (2, "2 parts with OpenAI."),
    ],
)
def test_a_paused_job_tells_of_its_open_batches(
    serve, page, db: Path, under_way: int, said: str
) -> None:
    conn = job_data.connect(db)
    job = job_data.add_job(
        conn, list(range(1, 13)), PENDING, parts=2, part_status="in_progress", status="paused",
        cost_nanousd=None, finished_at=None, message="paused by hand",
    )  # fmt: skip
    if under_way == 1:
        conn.execute(
            "UPDATE openai_batch_parts SET status = 'prepared', batch_id = NULL "
            "WHERE job_id = ? AND number = 2",
            [job],
        )
    conn.close()
    html = page(serve(db), f"{JOBS}/{job}")
    assert f"<p>{said} " in html
    assert "will still answer.</p>" in html


def test_a_paused_job_without_open_batches(serve, page, db: Path) -> None:
    html = page(serve(db), f"{JOBS}/3")
    assert "<p>1 part not sent yet.</p>" in html
    assert "still answer" not in html


# A database that is locked


@pytest.mark.parametrize("address", ["/1", "", "/1.json", ".json", "/1.csv"])
def test_a_locked_database_is_waited_for_a_moment(serve, page, db: Path, address: str) -> None:
    datasette = serve(db)
    page(datasette, JOBS)
    conn = job_data.connect(db)
    conn.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    try:
        response = fetch(datasette, JOBS + address)
    finally:
        conn.execute("ROLLBACK")
        conn.close()
    assert "Another program has been writing to this database" in response.text
    # The time-out of a connection that nobody told otherwise is 10 s for each statement.
    assert time.monotonic() - began < 9
    assert page(datasette, JOBS + address)


# --get


@pytest.mark.parametrize("suffix", [".xlsx", "/image?_request=1&_column=overview"])
def test_what_get_cant_print_is_said_in_a_sentence(db: Path, suffix: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "datasette", str(db), "--get", f"{JOBS}/1{suffix}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not text, and text is all that --get prints." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_get_prints_what_is_text(db: Path, suffix: str) -> None:
    change(db, "UPDATE openai_batch_responses SET line = x'ff7b7d' WHERE id = 1")
    done = subprocess.run(
        [sys.executable, "-m", "datasette", str(db), "--get", f"{JOBS}/1{suffix}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 12


def test_a_workbook_for_everybody_else(serve, db: Path) -> None:
    assert fetch(serve(db), f"{JOBS}/1.xlsx").content.startswith(b"PK")


# The list as JSON


def test_the_list_as_json(serve, page, db: Path) -> None:
    datasette = serve(db)
    found = json.loads(page(datasette, f"{JOBS}.json"))
    assert (found["database"], found["count"], found["next"]) == ("films", 3, None)
    assert [job["id"] for job in found["jobs"]] == [3, 2, 1]
    first = found["jobs"][-1]
    assert first["outcomes"] == {"ok": 10, "refused": 1, "truncated": 1}
    assert (first["requests"], first["done"], first["failed"]) == (12, 12, 2)
    assert (first["cost_usd"], first["status_words"]) == (1.07, "done, 2 failed")
    one = json.loads(page(datasette, first["json"]))
    assert {key: one[key] for key in first.keys() & one.keys()} == {
        key: first[key] for key in first.keys() & one.keys()
    }
    assert page(datasette, first["href"])
    everything = json.loads(page(datasette, "/-/openai-batch.json"))
    assert [one["database"] for one in everything["databases"]] == ["films"]
    assert everything["databases"][0]["jobs"] == found["jobs"]


def test_pages_and_choices_of_the_list(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 1)
    for n in range(53):
        job_data.add_job(conn, [1], status="paused" if n < 2 else "completed", message=None)
    conn.close()
    datasette = serve(path)
    first = json.loads(page(datasette, f"{JOBS}.json"))
    assert (len(first["jobs"]), first["count"]) == (50, 53)
    rest = json.loads(page(datasette, first["next"]))
    assert [job["id"] for job in rest["jobs"]] == [3, 2, 1]
    assert rest["next"] is None
    paused = json.loads(page(datasette, f"{JOBS}.json?_status=paused"))
    assert [job["id"] for job in paused["jobs"]] == [2, 1]
    nothing = json.loads(page(datasette, f"{JOBS}.json?_table=none"))
    assert (nothing["jobs"], nothing["count"]) == ([], 0)


def test_the_list_of_a_database_without_jobs(serve, page, tmp_path: Path) -> None:
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn, 1)
    conn.close()
    found = json.loads(page(serve(path), f"{JOBS}.json"))
    assert (found["jobs"], found["trouble"]) == ([], None)


# What is made of another job


HIDDEN = {"databases": {"films": {"tables": {"secret": {"allow": {"id": "ana"}}}}}}


@pytest.fixture
def partners(tmp_path: Path) -> Path:
    """Job 1 and 2 about the same rows; 2 writes to a table that only ana may see, 3 as well."""
    path = tmp_path / "films.db"
    conn = job_data.connect(path)
    job_data.movies(conn)
    keys = list(range(1, 13))
    job_data.add_job(conn, keys, {1: "refused"})
    job_data.add_job(conn, keys, output_table="secret", write=False, name="in secret")
    job_data.add_job(conn, keys, output_table="secret", write=False, name="in secret too")
    job_data.add_job(conn, keys, name="open")
    conn.execute("CREATE TABLE secret (id INTEGER PRIMARY KEY, category TEXT, score INTEGER)")
    conn.close()
    for pair in (("1", "2"), ("3", "1"), ("1", "4")):
        command("compare", path, *pair)
    return path


def test_figures_of_a_partner_that_may_not_be_seen(serve, page, partners: Path) -> None:
    datasette = serve(partners, config=HIDDEN)
    everything = unescape(page(datasette, f"{JOBS}/1", "ana"))
    for title in ("Job 1 and job 2", "Job 3 and job 1", "Job 1 and job 4"):
        assert f"<h3>{title}</h3>" in everything
    for actor in ("ben", None):
        some = unescape(page(datasette, f"{JOBS}/1", actor))
        assert re.findall(r"<h3>(Job \d and job \d)</h3>", some) == ["Job 1 and job 4"]
        log = some[some.index("Log, the newest line first") :]
        assert "with 2" not in log
        assert "with 4" in log
        for suffix in ("/2", "/3"):
            page(datasette, JOBS + suffix, actor, status=403)
        listed = json.loads(page(datasette, f"{JOBS}.json", actor))
        assert ([job["id"] for job in listed["jobs"]], listed["count"]) == ([4, 1], 2)
        assert "secret" not in page(datasette, "/-/openai-batch.json", actor)


def test_where_answers_went_before(serve, page, db: Path) -> None:
    change(
        db,
        "INSERT INTO openai_batch_log (at, job_id, event, detail) VALUES "
        '(\'2026-11-20T14:00:00.000Z\', 1, \'moved\', \'{"table": "secret", "columns": ["x"]}\'),'
        "('2026-11-20T14:01:00.000Z', 1, 'moved', '{\"table\": null, \"columns\": [\"y\"]}')",
    )
    html = unescape(page(serve(db), f"{JOBS}/1"))
    assert "secret" not in html
    assert "columns ['y']" in html


def test_a_partner_in_another_shape(serve, page, partners: Path) -> None:
    for detail in ('{"with": "2"}', '{"with": [2]}', '{"with": {"a": 1}}', "[1]", "3", "null"):
        change(
            partners,
            "INSERT INTO openai_batch_log (at, job_id, event, detail) VALUES "
            f"('2026-11-20T14:00:00.000Z', 1, 'compared', '{detail}')",
        )
    page(serve(partners, config=HIDDEN), f"{JOBS}/1", "ben")
