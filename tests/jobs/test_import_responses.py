"""`import-responses`: answers made elsewhere, back into their rows, whatever the files hold."""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from finished import chat_line, error_line, sent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base import clock
from sqlite_utils_openai_batch.base.errors import FileError
from sqlite_utils_openai_batch.jobs import queue
from sqlite_utils_openai_batch.jobs.files.import_ import bring_in
from sqlite_utils_openai_batch.jobs.files.survey import Surveyor
from sqlite_utils_openai_batch.provider.accounts import NO_KEY
from sqlite_utils_openai_batch.store.connection import connect
from sqlite_utils_openai_batch.store.costs import Committed, committed

ASK = ("--prompt", "Say: {{ text }}")
PRICES = ("--price-input", "1", "--price-output", "2")
STATUSES = "SELECT status, count(*) FROM openai_batch_requests GROUP BY 1 ORDER BY 1"


# What is said needs no second journal mode.
one_journal = pytest.mark.parametrize("journal", ["wal"], indirect=True)


def uid_of(path: Path, job: int = 1) -> str:
    with closing(sqlite3.connect(path)) as conn:
        (uid,) = conn.execute("SELECT uid FROM openai_batch_jobs WHERE id = ?", [job]).fetchone()
        return str(uid)


def lines_of(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def change(path: Path, script: str, *params: Any) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(script, params)


def made(name: str | Path, lines: Iterable[bytes]) -> Path:
    path = Path(name)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def answers(path: Path, ids: Iterable[int], text: str = "answer", job: int = 1) -> list[bytes]:
    return [chat_line(f"{uid_of(path, job)}-{n}", f"{text} {n}") for n in ids]


@pytest.fixture
def prepared(run: Any, notes: Path) -> Path:
    """A job of two parts, seven and five requests, that was never sent."""
    run("prepare", notes, "notes", *ASK, *PRICES, "--part-requests", "7", *run.there[:2])
    return notes


def figures(said: str) -> dict[str, int]:
    """The table that says what became of lines, by its first words."""
    found = {}
    for line in said.splitlines():
        if line.startswith("  ") and not line.startswith("  See") and line[16:26].strip():
            name, count = line[2:16].strip(), line[17:26].strip().replace(",", "")
            if count.isdigit():
                found[name] = int(count)
    told = sum(count for name, count in found.items() if name != "sum")
    assert found["sum"] == told
    return found


# The round trip


def by_hand(base_url: str, file: Path) -> list[Path]:
    """What a web console does: upload a file, make a batch of it, download what came."""
    with closing(OpenAI(base_url=base_url, api_key="any")) as client:
        uploaded = client.files.create(file=file, purpose="batch")
        batch = client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        deadline = time.monotonic() + 30
        while batch.status != "completed":
            assert time.monotonic() < deadline, batch
            batch = client.batches.retrieve(batch.id)
        found = []
        for number, file_id in enumerate((batch.output_file_id, batch.error_file_id)):
            if file_id:
                path = file.with_name(f"{file.stem}-{number}.answers")
                path.write_bytes(client.files.content(file_id).content)
                found.append(path)
        return found


def test_the_whole_round_trip_by_another_client(
    run: Any, notes: Path, rows: Any, server: Any
) -> None:
    change(notes, "UPDATE notes SET text = '[http 400]' WHERE id = 3")
    run("prepare", notes, "notes", *ASK, "--part-requests", "7", *run.there[:2])
    files = [
        brought
        for name in run("export-requests", notes, "1", "out").out.split()
        for brought in by_hand(server.base_url, Path(name))
    ]
    assert len(files) == 3

    said = run("import-responses", notes, *files, code=3)

    assert figures(said.err) == {"answers": 11, "failed": 1, "sum": 12}
    assert "Read 12 lines of 3 files." in said.err
    assert "Done. 11 of 12 rows answered; 1 failed (1 http_error)." in said.err
    assert "Written to notes.answer." in said.err
    assert rows(notes, "SELECT status, finished_at IS NOT NULL FROM openai_batch_jobs") == [
        ("completed", 1)
    ]
    assert rows(notes, "SELECT status, collected_at IS NULL FROM openai_batch_parts") == [
        ("completed", 0), ("completed", 0),
    ]  # fmt: skip
    found = rows(notes, "SELECT id, answer FROM notes")
    assert [row for row, answer in found if answer is None] == [3]
    assert all(str(answer).endswith(f"Say: note {row}") for row, answer in found if answer)
    assert "answers brought by hand until" in run("show", notes, "1").out
    report = run("report", notes, "1").out
    assert "12 rows of `notes` were each put to gpt-4o-mini" in report
    assert "by hand, and the answers brought in from files, by " in report
    assert report.count("- Brought in by hand: ") == 3


@one_journal
def test_what_export_prints_is_what_to_type(run: Any, prepared: Path) -> None:
    said = run("export-requests", prepared, "1", "my files")
    vllm, then = (line.strip() for line in said.err.splitlines()[2:4])
    assert vllm.partition("vllm run-batch")[0].endswith("for n in 1 2; do ")
    assert "-i 'my files'/part-$n.jsonl -o 'my files'/answers-$n.jsonl" in vllm
    made("my files/answers-1.jsonl", answers(prepared, range(1, 8)))
    made("my files/answers-2.jsonl", answers(prepared, range(8, 13)))
    command = then.removeprefix("Then ").strip()
    assert command.startswith("sqlite-utils openai-batch import-responses data.db ")
    done = run.process(by=("bash", "-c", f'shift; shift; "$0" openai-batch {command[26:]}'))
    assert "Done. 12 of 12 rows answered." in done.err


@one_journal
def test_one_file_is_named_by_its_part(run: Any, prepared: Path) -> None:
    made("first", answers(prepared, range(1, 8)))
    run("import-responses", prepared, "first")
    said = run("export-requests", prepared, "1", "out")
    assert said.out == "out/part-2.jsonl\n"
    assert "-i out/part-2.jsonl -o out/answers-2.jsonl --model gpt-4o-mini" in said.err
    assert said.err.count("import-responses data.db out/answers-2.jsonl") == 1


# What is answered is never sent


def sent_ids(server: Any, uid: str) -> list[int]:
    """The requests of a job in all files that a server was given."""
    found = []
    with closing(OpenAI(base_url=server.base_url, api_key=NO_KEY)) as client:
        for file in client.files.list(purpose="batch"):
            for line in client.files.content(file.id).content.splitlines():
                owner, _, number = json.loads(line)["custom_id"].rpartition("-")
                found += [int(number)] if owner == uid else []
    return sorted(found)


def test_only_what_is_unanswered_goes_out(run: Any, prepared: Path, rows: Any, server: Any) -> None:
    uid = uid_of(prepared)
    lines = [*answers(prepared, [2, 4, *range(8, 13)]), error_line(f"{uid}-5")]
    said = run("import-responses", prepared, made("some", lines))
    assert "Job 1: 8/12 done · prepared, not sent" in said.err
    assert rows(prepared, "SELECT status FROM openai_batch_parts") == [
        ("prepared",), ("completed",),
    ]  # fmt: skip
    run("sync", prepared)
    assert sent_ids(server, uid) == []
    # Those that were brought were sent by hand, once.
    attempts = "SELECT attempts, count(*) FROM openai_batch_requests GROUP BY 1"
    assert rows(prepared, attempts) == [(0, 4), (1, 8)]

    for command in (("submit", prepared, "-y"), ("watch", prepared, "--poll", "0.05")):
        run.start(*command).communicate(timeout=60)

    assert sent_ids(server, uid) == [1, 3, 6, 7]
    assert rows(prepared, attempts) == [(1, 12)]
    assert rows(prepared, STATUSES) == [("http_error", 1), ("ok", 11)]
    assert rows(prepared, "SELECT answer FROM notes WHERE id = 2") == [("answer 2",)]
    run("retry", prepared, "1", "-y", "--poll", "0.05")
    assert sent_ids(server, uid) == [1, 3, 5, 6, 7]


def test_a_paused_job_ends_by_hand_and_sends_nothing(
    run: Any, prepared: Path, rows: Any, server: Any
) -> None:
    change(prepared, "UPDATE openai_batch_jobs SET status = 'paused', message = 'out of credit', "
           "approved_at = ?", clock.now())  # fmt: skip
    first = run("import-responses", prepared, made("a", answers(prepared, range(1, 10))))
    assert "Job 1: 9/12 done · paused: out of credit" in first.err
    assert "submit data.db 1" in first.err
    run("import-responses", prepared, made("b", answers(prepared, range(10, 13))))
    assert rows(prepared, "SELECT status, message FROM openai_batch_jobs") == [("completed", None)]
    run("submit", prepared, "1", "-y", code=1)
    run("sync", prepared)
    assert sent_ids(server, uid_of(prepared)) == []


@one_journal
def test_exporting_what_a_running_job_would_send(run: Any, prepared: Path) -> None:
    change(prepared, "UPDATE openai_batch_jobs SET status = 'running', approved_at = created_at")
    said = run("export-requests", prepared, "1", "out")
    assert said.err.splitlines()[-1] == (
        "Warning: job 1 is running, so sync sends these as well. Keep it from that: "
        "sqlite-utils openai-batch pause data.db 1"
    )
    run("pause", prepared, "1")
    assert "Warning" not in run("export-requests", prepared, "1", "again").err
    made("all", answers(prepared, range(1, 13)))
    assert "Done. 12 of 12 rows answered." in run("import-responses", prepared, "all").err


def test_what_failed_by_hand_is_run_by_hand_again(
    run: Any, prepared: Path, rows: Any, server: Any
) -> None:
    uid = uid_of(prepared)
    lines = [*answers(prepared, range(1, 11)), error_line(f"{uid}-11"), error_line(f"{uid}-12")]
    ended = run("import-responses", prepared, made("first", lines), code=3)
    assert "export-requests data.db 1 DIR --failed" in ended.err

    said = run("export-requests", prepared, "1", "out", "--failed")

    assert said.out == "out/part-3.jsonl\n"
    asked = [json.loads(line)["custom_id"] for line in lines_of("out/part-3.jsonl")]
    assert asked == [f"{uid}-11", f"{uid}-12"]
    assert rows(prepared, "SELECT status, finished_at FROM openai_batch_jobs") == [
        ("prepared", None)
    ]
    again = run("import-responses", prepared, "first")
    assert figures(again.err) == {"answers": 0, "nothing new": 12, "sum": 12}
    run("import-responses", prepared, made("second", answers(prepared, [11, 12])))
    assert rows(prepared, "SELECT status FROM openai_batch_jobs") == [("completed",)]
    run("export-requests", prepared, "1", "more", "--failed", code=1)
    run("sync", prepared)
    assert sent_ids(server, uid) == []


def test_what_failed_at_the_provider_can_be_run_by_hand(run: Any, notes: Path, rows: Any) -> None:
    change(notes, "UPDATE notes SET text = '[refuse]' WHERE id IN (4, 5)")
    run("run", notes, "notes", *ASK, *run.there, code=3)
    run("export-requests", notes, "1", "out", "--failed")
    assert rows(notes, "SELECT status, message FROM openai_batch_jobs") == [
        ("paused", "its failed requests wait for answers by hand")
    ]
    run("sync", notes, code=4)
    assert rows(notes, STATUSES) == [("ok", 10), ("pending", 2)]
    run("import-responses", notes, made("a", answers(notes, [4, 5])))
    assert rows(notes, STATUSES) == [("ok", 12)]
    assert rows(notes, "SELECT status, message FROM openai_batch_jobs") == [("completed", None)]


@one_journal
def test_a_job_that_goes_on_asks_again_by_itself(run: Any, prepared: Path, unchanged: Any) -> None:
    change(prepared, "UPDATE openai_batch_jobs SET status = 'running'")
    check = unchanged(prepared)
    said = run("export-requests", prepared, "1", "out", "--failed", code=1)
    assert "Job 1 is running: its failed requests may be asked again by itself." in said.err
    check()


@one_journal
def test_how_many_rows_submit_asks_about(run: Any, prepared: Path, terminal: Any) -> None:
    run("import-responses", prepared, made("some", answers(prepared, range(3, 13))))
    screen = terminal("submit", prepared, "1")
    screen.answer("[y/N]", "n\n")
    assert "about 2 rows?" in screen.end(0)


@one_journal
def test_the_rest_can_be_cancelled_and_all_taken_back(run: Any, prepared: Path, rows: Any) -> None:
    run("import-responses", prepared, made("some", answers(prepared, range(1, 10))))
    run("cancel", prepared, "1", code=3)
    assert rows(prepared, STATUSES) == [("cancelled", 3), ("ok", 9)]
    assert re.search("^Time      prepared .*, cancelled ", run("show", prepared, "1").out, re.M)
    late = run("import-responses", prepared, made("late", answers(prepared, [10])))
    assert figures(late.err) == {"answers": 1, "sum": 1}
    assert rows(prepared, "SELECT status FROM openai_batch_jobs") == [("cancelled",)]
    assert rows(prepared, "SELECT count(answer) FROM notes") == [(10,)]
    run("revert", prepared, "1")
    assert "answer" not in [name for (name,) in rows(
        prepared, "SELECT name FROM pragma_table_info('notes')")]  # fmt: skip


def test_what_never_ran_waits_in_a_new_part(run: Any, prepared: Path, rows: Any) -> None:
    uid = uid_of(prepared)
    expired = {"code": "batch_expired", "message": "Too late."}
    lines = [*answers(prepared, range(1, 6)), error_line(f"{uid}-6", 429), json.dumps(
        {"custom_id": f"{uid}-7", "response": None, "error": expired}).encode()]  # fmt: skip
    said = run("import-responses", prepared, made("first", lines))
    assert figures(said.err) == {"answers": 5, "failed": 2, "sum": 7}
    assert "2 requests that never ran wait to be asked again" in said.err
    assert rows(prepared, "SELECT number, status, requests FROM openai_batch_parts") == [
        (1, "completed", 7), (2, "prepared", 5), (3, "prepared", 2),
    ]  # fmt: skip
    run("export-requests", prepared, "1", "again")
    asked = [json.loads(line)["custom_id"] for line in lines_of("again/part-3.jsonl")]
    assert asked == [f"{uid}-6", f"{uid}-7"]


def test_what_is_left_of_a_part_is_cut_to_fit_the_queue(run: Any, prepared: Path) -> None:
    run("import-responses", prepared, made("some", answers(prepared, range(1, 6))))
    with closing(connect(prepared)) as conn:
        job = store.get_job(conn, 1)
        queue.split(conn, job, store.get_part(conn, 1), 7)
        assert [part.counts for part in store.list_parts(conn, 1)] == [
            {"ok": 5, "pending": 1}, {"pending": 5}, {"pending": 1},
        ]  # fmt: skip
        conn.execute("UPDATE openai_batch_requests SET status = 'ok' WHERE part_id = 1")
        store.count_outcomes(conn, 1)
        queue.split(conn, job, store.get_part(conn, 1), 2)
        assert store.get_part(conn, 1).counts == {"ok": 6}


# Once, and no more


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as conn:
        return list(conn.iterdump())


@pytest.mark.parametrize("keep", ["all", "failed", "none"])
def test_the_same_file_again_changes_nothing(run: Any, notes: Path, keep: str) -> None:
    run("prepare", notes, "notes", *ASK, *PRICES, "--responses", keep, *run.there[:2])
    uid = uid_of(notes)
    lines = [*answers(notes, range(1, 11)), error_line(f"{uid}-11"),
             *answers(notes, [1, 2], "second"), b"{", b'{"custom_id": "other-1"}']  # fmt: skip
    path = made("file", lines)
    said = run("import-responses", notes, path)
    assert figures(said.err) == {
        "answers": 10, "failed": 1, "second answers": 2, "unknown": 1, "broken": 1, "sum": 15,
    }  # fmt: skip
    before = dump(notes)

    again = run("import-responses", notes, path, made("under another name", lines))

    assert dump(notes) == before
    assert figures(again.err) == {
        "answers": 0, "second answers": 2, "nothing new": 11, "unknown": 1, "broken": 1, "sum": 15,
    }  # fmt: skip


def test_a_cut_file_then_the_whole_one_cost_it_once(run: Any, prepared: Path, rows: Any) -> None:
    lines = answers(prepared, range(1, 13))
    cut = Path("cut")
    cut.write_bytes(b"\n".join(lines)[: len(lines[0]) * 5 // 2])
    first = run("import-responses", prepared, cut)
    assert figures(first.err) == {"answers": 2, "broken": 1, "sum": 3}
    money = "SELECT sum(prompt_tokens), sum(completion_tokens), sum(cost_nanousd) FROM "
    assert rows(prepared, f"{money} openai_batch_parts") == [(40, 10, 60_000)]
    assert "Counted as less than $0.0001, at batch prices" in first.err

    whole = run("import-responses", prepared, made("whole", lines))

    assert figures(whole.err) == {"answers": 10, "nothing new": 2, "sum": 12}
    assert rows(prepared, f"{money} openai_batch_parts") == [(240, 60, 360_000)]
    assert rows(prepared, "SELECT cost_nanousd FROM openai_batch_jobs") == [(360_000,)]


def test_answers_that_cost_nothing(run: Any, prepared: Path, rows: Any) -> None:
    said = run("import-responses", prepared, "--free", made("a", answers(prepared, range(1, 13))))
    assert "ounted" not in said.err
    assert rows(prepared, "SELECT cost_nanousd FROM openai_batch_jobs") == [(0,)]
    assert rows(prepared, "SELECT sum(prompt_tokens) FROM openai_batch_parts") == [(240,)]


def test_what_was_brought_counts_below_the_ceiling(run: Any, prepared: Path, rows: Any) -> None:
    run("import-responses", prepared, made("a", answers(prepared, range(2, 13))))
    ((spent,),) = rows(prepared, "SELECT cost_nanousd FROM openai_batch_jobs")
    with closing(connect(prepared)) as conn:
        assert committed(conn, 1) == committed(conn, 1, but=1) == Committed(spent, 0, 0)


def test_a_part_at_the_provider_is_answered_from_two_sides(
    run: Any, notes: Path, rows: Any, held: Any
) -> None:
    server, answerer = held
    there = ("--base-url", server.base_url, "-y")
    run("run", notes, "notes", *ASK, *PRICES, "--no-wait", *there)
    said = run("import-responses", notes, made("mine", answers(notes, range(1, 7))))
    assert "What they cost is counted when their batch is collected." in said.err
    assert "Job 1: 6/12 done · " in said.err
    assert "watch data.db 1" in said.err
    assert rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs") == [(None,)]

    answerer.release()
    run("watch", notes, "--poll", "0.05")

    texts = dict(rows(notes, "SELECT id, answer FROM notes"))
    assert [texts[n] for n in range(1, 7)] == [f"answer {n}" for n in range(1, 7)]
    assert all(texts[n].endswith(f"Say: note {n}") for n in range(7, 13))
    assert rows(notes, STATUSES) == [("ok", 12)]
    assert rows(notes, "SELECT kind, count(*) FROM openai_batch_responses GROUP BY 1") == [
        ("import", 6), ("output", 12),
    ]  # fmt: skip
    ((cost,),) = rows(notes, "SELECT cost_nanousd FROM openai_batch_jobs")
    assert cost > 0


def test_an_attempt_is_counted_with_the_first_outcome(run: Any, prepared: Path, rows: Any) -> None:
    cut = chat_line(f"{uid_of(prepared)}-2", "cu", finish_reason="length")
    run("import-responses", prepared, made("some", [*answers(prepared, [1]), cut]))
    attempts = "SELECT id, status, attempts FROM openai_batch_requests WHERE id < 4"
    assert rows(prepared, attempts) == [(1, "ok", 1), (2, "truncated", 1), (3, "pending", 0)]
    # A better answer to the second one, and the first once more: nothing was asked again.
    run("import-responses", prepared, made("more", answers(prepared, [1, 2], "late")))
    assert rows(prepared, attempts) == [(1, "ok", 1), (2, "ok", 1), (3, "pending", 0)]


def test_a_late_answer_replaces_a_failure(run: Any, notes: Path, rows: Any) -> None:
    change(notes, "UPDATE notes SET text = '[refuse]' WHERE id = 4")
    run("run", notes, "notes", *ASK, *run.there, code=3)
    said = run("import-responses", notes, made("late", answers(notes, range(3, 6), "late")))
    assert figures(said.err) == {"answers": 1, "second answers": 2, "sum": 3}
    assert rows(notes, "SELECT answer FROM notes WHERE id = 4") == [("late 4",)]
    assert rows(notes, STATUSES) == [("ok", 12)]
    assert rows(notes, "SELECT outcomes FROM openai_batch_parts") == [('{"ok": 12}',)]


def test_a_job_none_of_whose_rows_could_be_asked(run: Any, notes: Path, rows: Any) -> None:
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    now = clock.now()
    change(notes, "UPDATE openai_batch_requests SET status = 'rejected'")
    change(notes, "UPDATE openai_batch_parts SET outcomes = '{\"rejected\": 12}', "
           "status = 'completed', collected_at = ?, written_at = ?", now, now)  # fmt: skip
    change(notes, "UPDATE openai_batch_jobs SET status = 'failed', message = 'none'")
    run("import-responses", notes, made("a", answers(notes, [1])), code=3)
    assert rows(notes, "SELECT status, message FROM openai_batch_jobs") == [("completed", None)]


# Rows


def test_rows_that_changed_or_went_are_left_alone(run: Any, prepared: Path, rows: Any) -> None:
    run("export-requests", prepared, "1", "out")
    change(prepared, "UPDATE notes SET text = 'another' WHERE id = 2")
    change(prepared, "DELETE FROM notes WHERE id = 3")
    said = run("import-responses", prepared, made("a", answers(prepared, range(1, 13))))
    assert "1 row changed after it was asked about" in said.err
    assert "1 row is gone" in said.err
    assert rows(prepared, "SELECT answer FROM notes WHERE id < 5") == [
        ("answer 1",), (None,), ("answer 4",),
    ]  # fmt: skip
    run("revert", prepared, "1")
    assert rows(prepared, "SELECT name FROM pragma_table_info('notes')") == [
        ("id",), ("text",), ("mark",),
    ]  # fmt: skip


def test_answers_are_checked_by_the_schema(run: Any, notes: Path, rows: Any) -> None:
    run("prepare", notes, "notes", *ASK, "--schema", "mood good|bad, stars int", *run.there[:2])
    uid = uid_of(notes)
    said = run("import-responses", notes, made("a", [
        chat_line(f"{uid}-1", {"mood": "good", "stars": 4}),
        chat_line(f"{uid}-2", {"mood": "so so", "stars": 4}),
        chat_line(f"{uid}-3", '{"mood": "good", "sta'),
    ]))  # fmt: skip
    assert figures(said.err) == {"answers": 1, "failed": 2, "sum": 3}
    assert "1 invalid_json" in said.err
    assert rows(notes, "SELECT id, mood, stars FROM notes WHERE mood IS NOT NULL") == [
        (1, "good", 4)
    ]


def test_columns_that_cant_be_written(run: Any, prepared: Path, rows: Any) -> None:
    change(prepared, "CREATE TRIGGER no BEFORE UPDATE ON notes "
           "BEGIN SELECT RAISE(ROLLBACK, 'out of the question'); END")  # fmt: skip
    lines = [*answers(prepared, range(1, 13)), *answers(prepared, [1, 2], "second")]
    said = run("import-responses", prepared, made("a", lines), code=1)
    assert "apply data.db 1" in said.err
    assert rows(prepared, STATUSES) == [("ok", 12)]
    # What is taken in once more, without being written, has cost no more.
    assert rows(prepared, "SELECT sum(cost_nanousd) FROM openai_batch_parts") == [(14 * 30_000,)]
    change(prepared, "DROP TRIGGER no")
    run("apply", prepared, "1", "--output", "said")
    assert rows(prepared, "SELECT said FROM notes WHERE id = 7") == [("answer 7",)]
    assert rows(prepared, "SELECT status FROM openai_batch_jobs") == [("completed",)]


SAME = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO t (text) VALUES "
    + ", ".join(f"('{letter}')" for letter in "aaabbc")
)


def test_rows_that_share_an_answer(run: Any, database: Any, rows: Any) -> None:
    db = database(SAME)
    run("prepare", db, "t", *ASK, "--reuse", *run.there[:2])
    run("import-responses", db, made("a", answers(db, [1, 4, 6])))
    assert rows(db, "SELECT answer FROM t") == [(f"answer {n}",) for n in (1, 1, 1, 4, 4, 6)]
    assert rows(db, "SELECT status FROM openai_batch_jobs") == [("completed",)]


def test_rows_whose_leader_changed_before_the_export_are_asked_themselves(
    run: Any, database: Any, rows: Any
) -> None:
    db = database(SAME)
    run("prepare", db, "t", *ASK, "--reuse", *run.there[:2])
    change(db, "UPDATE t SET text = 'changed' WHERE id = 1")
    run("export-requests", db, "1", "out")
    run("import-responses", db, made("a", answers(db, [1, 4, 6])))
    assert rows(db, "SELECT answer FROM t") == [
        ("answer 1",), (None,), (None,), ("answer 4",), ("answer 4",), ("answer 6",),
    ]  # fmt: skip
    assert rows(db, "SELECT status FROM openai_batch_jobs") == [("prepared",)]
    run("import-responses", db, made("b", answers(db, [2, 3])))
    assert rows(db, "SELECT answer FROM t WHERE id < 4") == [
        ("answer 1",), ("answer 2",), ("answer 3",),
    ]  # fmt: skip
    assert rows(db, "SELECT status FROM openai_batch_jobs") == [("completed",)]


# What files hold


def test_files_that_mix_jobs_and_parts(run: Any, prepared: Path, rows: Any) -> None:
    run("prepare", prepared, "notes", *ASK, "--output", "other", *run.there[:2])
    first, second = (answers(prepared, ids, f"job {job}", job) for job, ids in
                     ((1, range(1, 13)), (2, range(13, 25))))  # fmt: skip
    mixed = [b"", b"junk", *(line for pair in zip(first, second, strict=True) for line in pair)]
    mixed.insert(9, chat_line("nobody-1", "lost"))
    path = made("mixed", [*mixed[:5], b"", *mixed[5:]])
    packed = Path("mixed.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))

    said = run("import-responses", prepared, packed)

    assert figures(said.err) == {"answers": 24, "unknown": 1, "broken": 1, "sum": 26}
    assert "'nobody-1' (line 11)" in said.err
    assert said.err.count("Done. 12 of 12 rows answered.") == 2
    found = rows(prepared, "SELECT id, answer, other FROM notes")
    assert found == [(n, f"job 1 {n}", f"job 2 {n + 12}") for n in range(1, 13)]
    kept = dict(rows(prepared, "SELECT line_number, line FROM openai_batch_responses"))
    there = {n: line.decode() for n, line in enumerate(path.read_bytes().split(b"\n"), 1) if line}
    assert kept == there
    again = run("import-responses", prepared, path)
    assert figures(again.err) == {
        "answers": 0, "nothing new": 24, "unknown": 1, "broken": 1, "sum": 26,
    }  # fmt: skip


@one_journal
def test_a_pipe_and_line_ends_of_windows(run: Any, prepared: Path, rows: Any) -> None:
    data = b"\xef\xbb\xbf" + b"\r\n".join(answers(prepared, range(1, 13), "a\u2028b"))
    os.mkfifo("pipe")
    waiting = run.start("import-responses", prepared, "pipe")
    with open("pipe", "wb") as pipe:
        pipe.write(data)
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, said
    assert rows(prepared, "SELECT answer FROM notes WHERE id = 12") == [("a\u2028b 12",)]


@one_journal
def test_what_vllm_writes(run: Any, prepared: Path, rows: Any) -> None:
    uid = uid_of(prepared)
    body = json.loads(chat_line("x", "from vLLM"))["response"]["body"]
    lines = [
        {"id": "vllm-1", "custom_id": f"{uid}-1", "error": None,
         "response": {"status_code": 200, "request_id": "vllm-batch-1", "body": body}},
        {"id": "vllm-2", "custom_id": f"{uid}-2", "error": {"message": "too long", "code": 400},
         "response": {"status_code": 400, "request_id": "vllm-batch-2", "body": None}},
    ]  # fmt: skip
    run("import-responses", prepared, made("a", [json.dumps(line).encode() for line in lines]))
    found = rows(prepared, "SELECT status, answer, error_message FROM openai_batch_requests "
                 "WHERE id < 3")  # fmt: skip
    assert found == [("ok", "from vLLM", None), ("http_error", None, "too long")]


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a requests file": (
        lambda path: path.write_bytes(Path("out/part-1.jsonl").read_bytes()),
        "'wrong' holds requests, not answers (line 1 has a body, and no response). "
        "Bring the file that was made of it: a batch's output or error file.",
    ),
    "an empty file": (lambda path: path.touch(), "'wrong' is empty: there is no answer in it."),
    "blank lines": (
        lambda path: path.write_text("\n\n"),
        "'wrong' is empty: there is no answer in it.",
    ),
    "a table": (
        lambda path: path.write_text("id,text\n1,one\n"),
        "'wrong' is a CSV file, no file of answers. To ask about its rows: sqlite-utils insert "
        "wrong.db wrong wrong --csv, then sqlite-utils openai-batch run wrong.db wrong …",
    ),
    "a folder": (lambda path: path.mkdir(), "'wrong' is a folder. Name the files in it."),
    "nothing": (lambda path: None, "No such file: 'wrong'."),
    "a broken archive": (
        lambda path: path.write_bytes(gzip.compress(b"x" * 1_000)[:20]),
        "'wrong' can't be read: Compressed file ended before the end-of-stream marker was reached.",
    ),
    "another database's": (
        lambda path: path.write_bytes(chat_line("request-1", "x")),
        "No line of 'wrong' answers a request in 'data.db': its custom_ids are like "
        "'request-1' (line 1), those of job 1 are like 'UID-1'.",
    ),
}


@one_journal
@pytest.mark.parametrize("kind", WRONG)
def test_what_isnt_a_file_of_answers(run: Any, prepared: Path, unchanged: Any, kind: str) -> None:
    make, sentence = WRONG[kind]
    run("export-requests", prepared, "1", "out")
    good = made("good", answers(prepared, [1]))
    make(Path("wrong"))
    check = unchanged(prepared)
    said = run("import-responses", prepared, good, "wrong", code=1)
    assert said.err.replace(uid_of(prepared), "UID") == f"Error: {sentence}\n"
    check()


@one_journal
def test_a_database_without_jobs(run: Any, notes: Path, unchanged: Any) -> None:
    path = made("a", [chat_line("x-1", "x")])
    check = unchanged(notes)
    said = run("import-responses", notes, path, code=1)
    assert "No jobs in 'data.db' yet" in said.err
    check()


@one_journal
@pytest.mark.parametrize("status", ["uploading", "uploaded", "creating"])
def test_a_part_that_may_be_on_its_way(
    run: Any, prepared: Path, unchanged: Any, status: str
) -> None:
    change(prepared, "UPDATE openai_batch_parts SET status = ? WHERE number = 2", status)
    path = made("a", answers(prepared, range(1, 13)))
    check = unchanged(prepared)
    said = run("import-responses", prepared, path, code=1)
    assert f"Part 2 of job 1 is on its way to the provider ({status})" in said.err
    check()


@one_journal
@pytest.mark.parametrize("table", ["jobs", "parts"])
def test_what_another_process_works_on(run: Any, prepared: Path, rows: Any, table: str) -> None:
    change(prepared, f"UPDATE openai_batch_{table} SET lease_owner = 'other-1-x', "
           "lease_until = ?", clock.now(600))  # fmt: skip
    path = made("a", answers(prepared, range(1, 13)))
    assert "Another process works on job 1" in run("import-responses", prepared, path, code=1).err
    assert rows(prepared, STATUSES) == [("pending", 12)]


# Cut anywhere


def test_cut_at_any_point_and_brought_again(run: Any, prepared: Path, tmp_path: Path) -> None:
    run("prepare", prepared, "notes", *ASK, *PRICES, "--output", "other", *run.there[:2])
    uid = uid_of(prepared)
    path = made("a", [*answers(prepared, range(1, 7)), error_line(f"{uid}-7"),
                      error_line(f"{uid}-8", 500), *answers(prepared, range(9, 13)), b"junk",
                      *answers(prepared, range(13, 20), job=2)])  # fmt: skip
    whole = tmp_path / "whole.db"
    whole.write_bytes(prepared.read_bytes())
    steps = brought(whole, path, None)
    expected = state(whole)
    for stop in range(1, steps, max(steps // 40, 1)):
        cut = tmp_path / "cut.db"
        cut.write_bytes(prepared.read_bytes())
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            brought(cut, path, stop)
        brought(cut, path, None)
        assert state(cut) == expected, stop
        cut.unlink()


def brought(db: Path, path: Path, stop: int | None) -> int:
    """Bring a file; SQLite interrupts at a number of steps, if wanted. Returns the steps taken."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return int(stop is not None and steps >= stop)

    with closing(connect(db)) as conn:
        files = Surveyor(conn, str(db), db.parent, print).survey([str(path)])
        conn.set_progress_handler(step, 20)
        try:
            bring_in(conn, files, db.parent)
        finally:
            conn.set_progress_handler(None, 0)
    return steps


def state(db: Path) -> list[Any]:
    """What a database says of its jobs, times and the log left out."""
    with closing(sqlite3.connect(db)) as conn:
        return [
            conn.execute(sql).fetchall()
            for sql in (
                "SELECT * FROM notes",
                "SELECT id, status, cost_nanousd FROM openai_batch_jobs",
                "SELECT id, number, status, requests, outcomes, prompt_tokens, completion_tokens, "
                "cost_nanousd, collected_at IS NULL, written_at IS NULL FROM openai_batch_parts",
                "SELECT id, part_id, status, attempts, answer, write_status, previous "
                "FROM openai_batch_requests",
                "SELECT request_id, line_number, line FROM openai_batch_responses ORDER BY 2",
            )
        ]


NAMES = st.sampled_from([f"{uid}-{n}" for uid in ("A", "B", "nobody") for n in range(5)])


@st.composite
def some_lines(draw: st.DrawFn) -> bytes:
    name = draw(NAMES)
    kind = draw(st.integers(0, 5))
    line = error_line(name, draw(st.sampled_from([400, 429, 500])))
    if kind < 3:
        line = chat_line(name, f"answer to {name}")
    if kind == 4:
        return line[: draw(st.integers(0, len(line)))]
    return draw(st.binary(max_size=20)) if kind == 5 else line


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.lists(st.lists(some_lines(), max_size=10), min_size=1, max_size=3))
def test_any_lines_reach_no_wrong_row_and_sums_hold(
    run: Any, files: list[list[bytes]], tmp_path: Path
) -> None:
    db = tmp_path / "any.db"
    db.unlink(missing_ok=True)
    sqlite3.connect(db).close()
    with closing(connect(db)) as conn:
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
        jobs = [sent(conn, "t", output=name, part_requests=size, new=True)
                for name, size in (("a", 1), ("b", 2))]  # fmt: skip
        conn.execute("UPDATE openai_batch_parts SET status = 'prepared', batch_id = NULL")
        conn.execute("UPDATE openai_batch_jobs SET status = 'prepared', approved_at = NULL")
        conn.execute("UPDATE openai_batch_requests SET attempts = 0")
        lines = 0
        for number, some in enumerate(files):
            data = b"\n".join(some)
            for job, letter in zip(jobs, "AB", strict=True):
                data = data.replace(f'"{letter}-'.encode(), f'"{job.uid}-'.encode())
                data = data.replace(f" {letter}-".encode(), f" {job.uid}-".encode())
            (tmp_path / str(number)).write_bytes(data)
            lines += sum(1 for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
                         if line.strip())  # fmt: skip
        try:
            names = [str(tmp_path / str(number)) for number in range(len(files))]
            found = Surveyor(conn, str(db), tmp_path, print).survey(names)
        except FileError:
            return
        done = bring_in(conn, found, tmp_path)
        assert done.lines <= lines
        told = sum(done.outcomes.values()) + done.surplus + done.unknown + done.broken
        assert told + done.nothing_new == done.lines
        written = conn.execute("SELECT id, a, b FROM t").fetchall() if table_has(conn) else []
        for row, a, b in written:
            first = {job.uid: 2 * n for n, job in enumerate(jobs)}
            assert a is None or a == f"answer to {jobs[0].uid}-{row}"
            assert b is None or b == f"answer to {jobs[1].uid}-{row + first[jobs[1].uid]}"
        for job in jobs:
            parts = store.list_parts(conn, job.id)
            there = dict(conn.execute(
                "SELECT status, count(*) FROM openai_batch_requests WHERE job_id = ? GROUP BY 1",
                [job.id]).fetchall())  # fmt: skip
            assert store.outcome_counts(parts) == there
            for part in parts:
                waits = part.counts.get("pending", 0)
                assert (part.status == "prepared") == bool(waits), (part, there)


def table_has(conn: sqlite3.Connection) -> bool:
    names = {name for _, name, *_ in conn.execute("PRAGMA table_info(t)").fetchall()}
    return {"a", "b"} <= names


@settings(max_examples=50, deadline=None)
@given(
    held=st.lists(st.sampled_from([1, 2, 3, 4, None]), min_size=12, max_size=12),
    named=st.lists(
        st.tuples(st.sampled_from("abx"), st.sampled_from([*map(str, range(15)), "01", ""])),
        max_size=9,
    ),
)
def test_whose_lines_are_wherever_requests_went(
    held: list[int | None], named: list[tuple[str, str]]
) -> None:
    """Parts 1 and 2 are of one job, 3 and 4 of another, and both hold any of its requests."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        store.migrate(conn)
        for uid in "ab":
            job = store.insert_job(
                conn,
                {"uid": uid, "status": "prepared", "endpoint": "/v1/chat/completions",
                 "template": "{}", "template_hash": b"", "key_columns": '["id"]', "output": "{}",
                 "provider": "openai", "created_at": clock.now()},
            )  # fmt: skip
            for number in (1, 2):
                store.insert_part(
                    conn, job_id=job, number=number, status="prepared", requests=0, bytes=0
                )
        whose = {}
        for n, part in enumerate(held, 1):
            job = 1 if n % 2 or part is None or part < 3 else 2
            conn.execute(
                "INSERT INTO openai_batch_requests (id, job_id, part_id, row_key) "
                "VALUES (?, ?, ?, ?)",
                [n, job, part if part is None or job == (part + 1) // 2 else 2 * job, n],
            )
            (part_id,) = conn.execute(
                "SELECT part_id FROM openai_batch_requests WHERE id = ?", [n]
            ).fetchone()
            if part_id is not None:
                whose[f"{' ab'[job]}-{n}"] = (job, part_id)
        found = Surveyor(conn, "any.db", Path(), print).owners(
            [*("-".join(one) for one in named), None]
        )
        assert found == [*(whose.get("-".join(one)) for one in named), None]


@one_journal
def test_progress_on_a_terminal(run: Any, prepared: Path, terminal: Any) -> None:
    made("a", answers(prepared, range(1, 13)))
    screen = terminal("import-responses", prepared, "a").end(0)
    assert "\ra: 12 lines read" in screen
    assert "\r12 answers of job 1 taken in" in screen
    assert " \rRead 12 lines of a.\n" in screen
