"""Rejected lines, retry, pause, cancel, delete: what people do with a job that was sent."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.cli.screens.text import Teller
from sqlite_utils_openai_batch.jobs import manage
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.store.connection import connect

from .conftest import KEY, Paid, Zygote, answers, asking, check_all_answered, make_table
from .conftest import outcome_sums as sums


def rows(db: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(db)) as conn:
        return conn.execute(sql).fetchall()


def held(*faults: str) -> LocalServer:
    return LocalServer(answerer=SimulatedAnswerer(echo=True), faults=list(faults))


def test_rejected_lines_cost_their_rows_only(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Validation names rows 2 and 3; the rest of their part goes out again as it was."""
    db = make_table(tmp_path / "notes.db", rows=6)
    template = tmp_path / "body.json"
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Echo {{ body }}"}],
        "stream": "{{ (id == 2 or id == 3) | json }}",
    }
    template.write_text(json.dumps(body))
    arguments = asking(db, server, "--template", str(template), key="rejected")
    at = arguments.index("--prompt")
    done = zygote.run(*arguments[:at], *arguments[at + 2 :])
    assert done["code"] == 3, done["output"]
    assert sums(db) == {"ok": 4, "rejected": 2}
    assert [key for key, answer in answers(db).items() if answer is None] == [2, 3]
    found = rows(
        db,
        "SELECT row_key, error_code, error_message FROM openai_batch_requests "
        "WHERE status = 'rejected'",
    )
    assert [(key, code) for key, code, _ in found] == [
        (2, "streaming_unsupported"),
        (3, "streaming_unsupported"),
    ]
    assert all("Streaming is not supported" in str(message) for _, _, message in found)
    assert Paid(server, "rejected").twice == {}
    attempts = rows(db, "SELECT DISTINCT attempts FROM openai_batch_requests WHERE status = 'ok'")
    assert attempts == [(1,)]


def test_retry_asks_only_what_failed(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with held("fail-lines:2*1") as server:
        done = zygote.run(*asking(db, server))
        assert done["code"] == 3
        assert sums(db) == {"ok": 8, "http_error": 2}
        again = zygote.run("retry", str(db), "1", "--key", KEY, "-y", "--poll", "0.05",
                           "--set", "max_tokens=50")  # fmt: skip
        assert again["code"] == 0, again["output"]
        asked = Paid(server, KEY)
    check_all_answered(db)
    assert sorted(asked.times.values()) == [1] * 8 + [2] * 2
    with closing(connect(db)) as conn:
        newest = store.list_parts(conn, 1)[-1]
    assert json.loads(newest.overrides or "{}") == {"max_tokens": 50}
    assert newest.requests == 2


def test_what_is_asked_again_is_counted_once(zygote: Zygote, tmp_path: Path) -> None:
    """Its first batch counted it too: a job of ten rows was at 10/12, then at 12/12."""
    db = make_table(tmp_path / "notes.db")
    with held("fail-lines:2*1") as server:
        assert zygote.run(*asking(db, server))["code"] == 3
    with closing(connect(db)) as conn:
        job = store.get_job(conn, 1)
        manage.retry(conn, job, manage.plan_retry(conn, job, ()), {})
        part = store.list_parts(conn, 1)[-1]
        for values, line in (
            ({}, "Job 1: 8/10 done · 3/4 parts · "),
            ({"completed": 1, "failed": 0}, "Job 1: 9/10 done · 3/4 parts · "),
        ):
            store.update_part(conn, part.id, **values, status="in_progress")
            assert Teller(conn, silent=True).line(job).startswith(line)


def test_retry_of_nothing_says_so(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    zygote.run(*asking(db, server, key="nothing"))
    done = zygote.run("retry", str(db), "1", "--key", "nothing", "-y")
    assert done["code"] == 0
    assert "nothing to ask again" in done["output"]


def test_paused_job_is_collected_and_goes_on(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    with held() as server:
        zygote.run(*asking(db, server, "--no-wait"))
        assert zygote.run("pause", str(db), "1")["code"] == 0
        sent = len(Paid(server, KEY).batches)
        for _ in range(3):
            zygote.run("sync", str(db), "--key", KEY)
        assert len(Paid(server, KEY).batches) == sent, "a paused job sends nothing"
        assert sums(db).get("ok", 0) == 4 * sent, "what was sent is collected"
        assert zygote.run("submit", str(db), "1", "-y", "--key", KEY)["code"] == 0
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] == 0, done["output"]
        assert Paid(server, KEY).twice == {}
    check_all_answered(db)


def test_cancelled_batches_keep_what_they_answered(zygote: Zygote, tmp_path: Path) -> None:
    """A cancelled job's paid answers still come in, also of a batch that completes all the same."""
    db = make_table(tmp_path / "notes.db")
    with held("stuck:in_progress", "cancel-race") as server:
        zygote.run(*asking(db, server, "--no-wait"))
        assert sums(db) == {"pending": 10}
        refused = zygote.run("delete", str(db), "1", "-y", "--key", KEY)
        assert refused["code"] == 1
        assert "would be lost" in refused["output"]
        zygote.run("cancel", str(db), "1", "--key", KEY)
        server.faults.remove("stuck")
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] in (0, 3), done["output"]
        sent = len(Paid(server, KEY).batches)
        found = sums(db)
        assert found.get("ok", 0) == 4 * sent
        assert found.get("cancelled", 0) == 10 - 4 * sent
    with closing(connect(db)) as conn:
        assert store.get_job(conn, 1).status == "cancelled"
    assert zygote.run("cancel", str(db), "1")["code"] == 1


def test_a_cancelled_batch_that_names_what_never_ran(zygote: Zygote, tmp_path: Path) -> None:
    """Its error file says of each such request that it was cancelled: nothing is asked again."""
    db = make_table(tmp_path / "notes.db")
    with held("stuck:in_progress", "cancelled-lines") as server:
        zygote.run(*asking(db, server, "--no-wait"))
        zygote.run("cancel", str(db), "1", "--key", KEY)
        server.faults.remove("stuck")
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05")
        assert done["code"] in (0, 3), done["output"]
        found = sums(db)
        assert found.get("ok", 0) + found.get("cancelled", 0) == sum(found.values()) == 10
        assert found.get("cancelled", 0) >= 6
    with closing(connect(db)) as conn:
        assert store.get_job(conn, 1).status == "cancelled"


def test_delete_leaves_the_columns(zygote: Zygote, server: LocalServer, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db")
    zygote.run(*asking(db, server, key="delete"))
    before = answers(db)
    remote = zygote.run("delete", str(db), "1", "-y", "--only", "remote", "--key", "delete")
    assert remote["code"] == 0, remote["output"]
    assert "6 files deleted" in remote["output"]
    assert zygote.run("delete", str(db), "1", "-y", "--only", "responses")["code"] == 0
    assert rows(db, "SELECT count(*) FROM openai_batch_responses") == [(0,)]
    assert zygote.run("delete", str(db), "1", "-y")["code"] == 0
    for table in ("jobs", "parts", "requests", "batches", "responses"):
        assert rows(db, f"SELECT count(*) FROM openai_batch_{table}") == [(0,)]
    assert answers(db) == before


def test_stuck_past_its_expiry_is_reported(zygote: Zygote, tmp_path: Path) -> None:
    db = make_table(tmp_path / "notes.db", rows=2)
    with held("stuck:in_progress") as server:
        zygote.run(*asking(db, server, "--no-wait"))
        with closing(sqlite3.connect(db)) as conn:
            conn.execute("UPDATE openai_batch_parts SET expires_at = '2020-01-02T12:00:00.000Z'")
            conn.commit()
        assert "should have ended by 2 Jan 2020" in zygote.run("show", str(db))["output"]
        done = zygote.run("sync", str(db), "--key", KEY)
    assert "should have expired" in done["output"], done["output"]


def test_a_prepared_job_for_the_same_column_is_warned_of(
    zygote: Zygote, server: LocalServer, tmp_path: Path
) -> None:
    """Nobody has paid for it yet, and perhaps nobody will."""
    db = make_table(tmp_path / "notes.db", rows=2)
    for prompt, warned in (("A {{ body }}", False), ("B {{ body }}", True)):
        arguments = asking(db, server, key="rivals")
        arguments[arguments.index("--prompt") + 1] = prompt
        done = zygote.run("prepare", *arguments[1:-3])
        assert done["code"] == 0, done["output"]
        assert (
            "job 1, which isn't finished, writes answer of notes too" in done["output"]
        ) == warned


def test_cells_that_a_sent_job_will_fill_are_refused(zygote: Zygote, tmp_path: Path) -> None:
    """Each would be paid for, and only one could be written."""
    db = make_table(tmp_path / "notes.db")
    with held("stuck:in_progress") as server:
        first = asking(db, server, "--no-wait", "--where", "id <= 6")
        assert zygote.run(*first)["code"] == 0
        second = asking(db, server, "--no-wait")
        second[second.index("--prompt") + 1] = "Tell of {{ body }}"
        refused = zygote.run(*second)
        assert refused["code"] == 1, refused["output"]
        assert "Job 1 is still asking about 6 rows of these and writes answer" in refused["output"]
        assert len(rows(db, "SELECT id FROM openai_batch_jobs")) == 1
        for way_out in (
            ("--where", "id > 6"),
            ("--missing", "--output", "other"),
            ("--new", "--where", "id = 1"),
        ):
            done = zygote.run(*second, *way_out)
            assert done["code"] == 0, done["output"]
        server.faults.clear()
        done = zygote.run("watch", str(db), "--key", KEY, "--poll", "0.05", seconds=60)
        assert done["code"] == 0, done["output"]
