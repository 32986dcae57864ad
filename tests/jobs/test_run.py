"""`run`, and what is seen of its job afterwards: preview, jobs, show, results."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

ASK = ("--prompt", "Say: {{ text }}")


def steady(text: str) -> str:
    """A screen without what differs from run to run: times, random ids, free bytes."""
    text = re.sub(r"\b(?:\d+ h )?\d+(?:\.\d)? (?:s|min)\b", "TIME", text)
    text = re.sub(r"\b\d\d:\d\d\b(?!\d|/)", "NOW", text)
    text = re.sub(r"batch_[0-9a-f]+", "batch_ID", text)
    text = re.sub(r"answer to [a-z0-9]+-", "answer to JOB-", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
    return re.sub(r"[\d.]+ [KMGT]?B free", "LOTS free", text)


def ending(text: str) -> str:
    """What `run` or `watch` says at the end, without the progress before it."""
    return steady(text[text.index("Done in ") :])


def test_times_are_short() -> None:
    from sqlite_utils_openai_batch.cli.screens.text import when, when_later

    last_year, first, second, next_day = (
        f"{day}T{time}:00.000Z"
        for day, time in (
            ("2019-11-20", "12:00"), ("2020-11-20", "12:02"), ("2020-11-20", "12:41"),
            ("2020-11-22", "12:00"),
        )
    )  # fmt: skip
    assert when(last_year) == "20 Nov 2019"
    assert re.fullmatch(r"\d\d:\d\d", when_later(second, first))
    assert when_later(next_day, first) == "22 Nov 2020"
    assert when_later(second, None) == when(second)
    assert (when(None), when_later(None, first)) == ("-", "-")


def asked(answer: str) -> str:
    """The prompt that an answer repeats."""
    return answer.partition(": ")[2]


# The way of a job


def test_run_says_what_it_did_and_what_to_do_next(run: Any, notes: Any, rows: Any) -> None:
    said = run("run", notes, "notes", *ASK, *run.there)

    assert (said.out, ending(said.err)) == (
        "",
        "Done in TIME. 12 of 12 rows answered.\n"
        "Written to notes.answer.\n"
        "  See them    datasette data.db     → /data/-/openai-batch/1\n"
        "  As a file   sqlite-utils openai-batch results data.db 1 --csv > answers.csv\n",
    )
    answered = rows(notes, "SELECT 'Say: ' || text, answer FROM notes")
    assert all(asked(answer) == prompt for prompt, answer in answered)


def test_run_sends_one_file_and_one_batch_for_each_part(
    run: Any, notes: Any, rows: Any, server: Any
) -> None:
    before = len(server.journal())

    run("run", notes, "notes", *ASK, *run.there, "--part-requests", "5")

    parts = rows(notes, "SELECT number, requests, status FROM openai_batch_parts")
    assert parts == [(1, 5, "completed"), (2, 5, "completed"), (3, 2, "completed")]
    journal = server.journal()[before:]
    posts = [entry["path"] for entry in journal if entry["method"] == "POST"]
    assert posts == ["/v1/files", "/v1/batches"] * 3
    uploads = [entry["bytes"] for entry in journal if entry.get("filename")]
    assert uploads == [size for (size,) in rows(notes, "SELECT bytes FROM openai_batch_parts")]
    batches = [entry["batch_id"] for entry in journal if entry["path"] == "/v1/batches"
               and entry["method"] == "POST"]  # fmt: skip
    assert batches == [i for (i,) in rows(notes, "SELECT batch_id FROM openai_batch_parts")]


def test_parts_are_cut_by_bytes(run: Any, notes: Any, rows: Any) -> None:
    lines = run("preview", notes, "notes", *ASK, "--raw", "-n", "12").out.splitlines(True)
    size = len(lines[0].encode())  # "preview-1"; the real uid has three characters more

    run("run", notes, "notes", *ASK, *run.there, "--part-bytes", str(4 * (size + 3)))

    parts = rows(notes, "SELECT requests, bytes FROM openai_batch_parts")
    assert [requests for requests, _ in parts][:2] == [4, 4]
    assert sum(requests for requests, _ in parts) == 12
    assert all(total <= 4 * (size + 3) for _, total in parts)
    answered = rows(notes, "SELECT 'Say: ' || text, answer FROM notes")
    assert all(asked(answer) == prompt for prompt, answer in answered)


def test_one_row_over_the_limit_fails_alone(run: Any, database: Any, rows: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'one'), (2, hex(zeroblob(400))), (3, 'three'), (4, 'four');"
    )

    said = run("run", db, "t", *ASK, *run.there, "--part-bytes", "350", code=3)

    assert ending(said.err).splitlines()[:2] == [
        "Done in TIME. 3 of 4 rows answered; 1 failed (1 too_large).",
        "Written to t.answer.",
    ]
    ((message,),) = rows(
        db, "SELECT error_message FROM openai_batch_requests WHERE status = 'too_large'"
    )
    assert message == "one line of 952 bytes; the limit is 350"
    answered = rows(db, "SELECT id, answer IS NULL FROM t")
    assert answered == [(1, 0), (2, 1), (3, 0), (4, 0)]


def test_when_no_row_fits_nothing_is_sent(run: Any, notes: Any, rows: Any, server: Any) -> None:
    before = len(server.journal())

    said = run("run", notes, "notes", *ASK, *run.there, "--part-bytes", "100", code=3)

    assert said.err == (
        "Job 1 failed: none of its 12 rows could be asked "
        "(12 too_large: one line of 158 bytes; the limit is 100).\n"
        "  Look at them    sqlite-utils openai-batch results data.db 1\n"
    )
    assert {entry["method"] for entry in server.journal()[before:]} == {"GET"}
    assert rows(notes, "SELECT status, requests FROM openai_batch_jobs") == [("failed", 12)]


def test_a_failed_job_ends_with_one_full_stop(run: Any, database: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text);INSERT INTO t VALUES (1, x'89504e47');"
    )
    said = run("run", db, "t", *ASK, *run.there, code=3)
    assert said.err.splitlines()[0] == (
        "Job 1 failed: its only row could not be asked "
        "(1 unrenderable: text holds a BLOB, which cannot be put into text)."
    )


FAILING = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
    "INSERT INTO t VALUES (1, 'one'), (2, 'two [refuse]'), (3, 'three [http 400]'),"
    "(4, 'four [cut]'), (5, 'five [empty]'), (6, 'six'), (7, 'seven [refuse]');"
)


def test_failed_requests_are_counted_and_named(run: Any, database: Any, rows: Any) -> None:
    db = database(FAILING)

    said = run("run", db, "t", *ASK, *run.there, code=3)

    assert ending(said.err).splitlines()[0] == (
        "Done in TIME. 2 of 7 rows answered; "
        "5 failed (2 refused, 1 empty, 1 http_error, 1 truncated)."
    )
    outcomes = rows(db, "SELECT row_key, status, error_code, error_message "
                        "FROM openai_batch_requests WHERE status <> 'ok'")  # fmt: skip
    assert outcomes == [
        (2, "refused", None, "I can't help with that."),
        (3, "http_error", "400 bad_luck", "Bad luck."),
        (4, "truncated", None, "stopped at 13 tokens"),
        (5, "empty", None, "the answer is empty"),
        (7, "refused", None, "I can't help with that."),
    ]
    assert [key for (key,) in rows(db, "SELECT id FROM t WHERE answer IS NOT NULL")] == [1, 6]
    kinds = rows(db, "SELECT kind, count(*) FROM openai_batch_responses GROUP BY kind")
    assert kinds == [("error", 1), ("output", 6)]


BLANK = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT, more TEXT);"
    "INSERT INTO t VALUES (1, 'one', NULL), (2, NULL, NULL), (3, '', ' '), (4, ' \n\t', ''),"
    "(5, NULL, 'five');"
)


def test_blank_rows_are_skipped_and_counted(run: Any, database: Any, rows: Any) -> None:
    db = database(BLANK)
    run("run", db, "t", "--prompt", "{{ text }}{{ more }}", *run.there)
    assert rows(db, "SELECT requests, skipped FROM openai_batch_jobs") == [(2, 3)]
    assert rows(db, "SELECT row_key FROM openai_batch_requests") == [(1,), (5,)]
    assert rows(db, "SELECT id FROM t WHERE answer IS NOT NULL") == [(1,), (5,)]


def test_blank_rows_are_sent_when_asked_for(run: Any, database: Any, rows: Any) -> None:
    db = database(BLANK)
    run("run", db, "t", "--prompt", "<{{ text }}>", *run.there, "--blanks", "send")
    assert rows(db, "SELECT requests, skipped FROM openai_batch_jobs") == [(5, 0)]
    answers = [asked(answer) for (answer,) in rows(db, "SELECT answer FROM t")]
    assert answers == ["<one>", "<>", "<>", "< \n\t>", "<>"]


SCHEMA = "mood good|bad, score 0..1, stars 1..5 int, sure bool, note, tags list"


def test_a_schema_gives_typed_columns(run: Any, notes: Any, rows: Any) -> None:
    said = run("run", notes, "notes", *ASK, *run.there, "--schema", SCHEMA)

    assert (
        "\nWritten to notes.mood, notes.score, notes.stars, notes.sure, notes.note, notes.tags.\n"
        in said.err
    )
    columns = rows(notes, "SELECT name, type FROM pragma_table_info('notes') LIMIT -1 OFFSET 3")
    assert columns == [
        ("mood", "TEXT"), ("score", "REAL"), ("stars", "INTEGER"), ("sure", "INTEGER"),
        ("note", "TEXT"), ("tags", "TEXT"),
    ]  # fmt: skip
    answered = rows(notes, "SELECT text, mood, score, stars, sure, note, tags FROM notes")
    for text, mood, score, stars, sure, note, tags in answered:
        assert asked(note) == f"Say: {text}"
        assert all(asked(tag) == f"Say: {text}" for tag in json.loads(tags))
        assert mood in ("good", "bad")
        assert isinstance(score, float)
        assert 0 <= score <= 1
        assert stars in range(1, 6)
        assert sure in (0, 1)


# Where the answers go


def test_output_names_the_column(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--output", "the kind")
    assert rows(notes, 'SELECT count("the kind") FROM notes') == [(12,)]


def test_prefix_begins_the_names(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--schema", "mood good|bad", "--prefix", "ai_")
    assert rows(notes, "SELECT count(ai_mood) FROM notes") == [(12,)]


def test_replace_overwrites_and_remembers(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--output", "mark", "--replace", "--limit", "2")
    first, second, third = rows(notes, "SELECT mark FROM notes LIMIT 3")
    assert asked(first[0]) == "Say: note 1"
    assert asked(second[0]) == "Say: note 2"
    assert third == (0,)
    previous = [json.loads(p)["was"] for (p,) in rows(
        notes, "SELECT previous FROM openai_batch_requests")]  # fmt: skip
    assert previous == [{"mark": 1}, {"mark": 2}]


def test_no_write_leaves_the_table_alone(run: Any, notes: Any, rows: Any) -> None:
    before = rows(notes, "SELECT sql FROM sqlite_master WHERE name = 'notes'")

    said = run("run", notes, "notes", *ASK, *run.there, "--no-write")

    assert rows(notes, "SELECT sql FROM sqlite_master WHERE name = 'notes'") == before
    assert "Written" not in said.err
    ((answer,),) = rows(notes, "SELECT answer FROM openai_batch_results WHERE row_key = 7")
    assert asked(answer) == "Say: note 7"


def test_a_second_question_to_the_same_output_table(run: Any, notes: Any, rows: Any) -> None:
    there = (*run.there, "--output-table", "said")
    run("run", notes, "notes", "--prompt", "A {{ text }}", *there, "--output", "a")
    run("run", notes, "notes", "--prompt", "B {{ text }}", *there, "--output", "b",
        "--where", "id > 10")  # fmt: skip
    said = [(key, asked(a), asked(b or "")) for key, a, b in rows(notes, "SELECT * FROM said")]
    assert said[8:] == [(9, "A note 9", ""), (10, "A note 10", ""),
                        (11, "A note 11", "B note 11"), (12, "A note 12", "B note 12")]  # fmt: skip


def test_a_cell_filled_meanwhile_is_kept(run: Any, notes: Any, rows: Any, held: Any) -> None:
    server, answerer = held
    run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait")
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("ALTER TABLE notes ADD COLUMN answer TEXT")
        conn.execute("UPDATE notes SET answer = 'mine' WHERE id = 3")
        conn.execute("UPDATE notes SET text = 'changed' WHERE id = 4")
        conn.execute("UPDATE notes SET mark = 77 WHERE id = 5")
        conn.execute("DELETE FROM notes WHERE id = 6")
        conn.commit()
    answerer.release()

    said = run("watch", notes, "--poll", "0.05")

    assert ending(said.err).splitlines()[:5] == [
        "Done in TIME. 12 of 12 rows answered.",
        "Written to notes.answer.",
        "1 row changed after it was asked about: its answer is kept in the job, not written.",
        "1 row held a value by then, which was left as it is.",
        "1 row is gone: its answer is kept in the job.",
    ]
    assert rows(notes, "SELECT answer FROM notes WHERE id IN (3, 4)") == [("mine",), (None,)]
    statuses = rows(notes, "SELECT row_key, write_status FROM openai_batch_requests "
                           "WHERE write_status <> 'written'")  # fmt: skip
    assert statuses == [(3, "kept_existing"), (4, "stale"), (6, "row_gone")]


def test_what_was_not_written_is_told_for_all_parts(
    run: Any, notes: Any, held: Any, rows: Any
) -> None:
    server, answerer = held
    run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait",
        "--part-requests", "4", "--first-part", "0")  # fmt: skip
    run("sync", notes)  # until one part is accepted, the others wait
    assert rows(notes, "SELECT count(batch_id) FROM openai_batch_parts") == [(3,)]
    with closing(sqlite3.connect(notes)) as conn:
        conn.execute("UPDATE notes SET text = 'changed'")
        conn.commit()
    answerer.release()

    said = run("watch", notes, "--poll", "0.05")

    assert said.err.splitlines()[-3:] == [
        "12 rows changed after they were asked about: "
        "their answers are kept in the job, not written.",
        "  See them    datasette data.db     → /data/-/openai-batch/1",
        "  As a file   sqlite-utils openai-batch results data.db 1 --csv > answers.csv",
    ]
    assert "Written" not in said.err


# What goes out


def request_of(run: Any, *args: Any) -> dict[str, Any]:
    """The first request that these options make."""
    line: dict[str, Any] = json.loads(run("preview", *args, "--raw", "-n", "1").out)
    return line


def test_the_request_as_it_is_sent(run: Any, notes: Any) -> None:
    assert request_of(
        run, notes, "notes", *ASK, "-s", "You judge notes.", "-m", "gpt-4.1-mini",
        "-o", "temperature", "0.2", "-o", "max_tokens", "50",
    ) == {
        "custom_id": "preview-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-4.1-mini",
            "messages": [
                {"role": "system", "content": "You judge notes."},
                {"role": "user", "content": "Say: note 1"},
            ],
            "temperature": 0.2,
            "max_tokens": 50,
        },
    }  # fmt: skip


def test_prompt_and_system_from_files(run: Any, notes: Any, tmp_path: Any) -> None:
    (tmp_path / "ask.txt").write_text("Ünï {{ text }}\n", encoding="utf-8")
    (tmp_path / "codebook.md").write_text("# Codes\n", encoding="utf-8")
    body = request_of(run, notes, "notes", "--prompt", "ask.txt", "-s", "codebook.md")["body"]
    assert [message["content"] for message in body["messages"]] == ["# Codes", "Ünï note 1"]


def test_what_previews_is_what_is_sent(run: Any, notes: Any, server: Any) -> None:
    raw = run("preview", notes, "notes", *ASK, "--raw", "-n", "12").out
    run("run", notes, "notes", *ASK, *run.there)
    upload = next(e for e in reversed(server.journal()) if e.get("filename"))
    sent = (server.state_dir / "files" / upload["file_id"]).read_text(encoding="utf-8")
    uid = json.loads(sent.splitlines()[0])["custom_id"].partition("-")[0]
    assert sent == raw.replace("preview-", f"{uid}-")


# Before anything is sent


def test_preview_shows_requests_and_figures_and_writes_nothing(
    run: Any, notes: Any, unchanged: Any
) -> None:
    check = unchanged(notes)

    said = run("preview", notes, "notes", *ASK, "-s", "Be brief.", "-n", "2",
               "--schema", "mood good|bad, score 0..1", "--base-url", run.base_url)  # fmt: skip

    assert said.out == (
        "Request 1 of 12   notes.id = 1\n"
        "  system  Be brief.\n"
        "  user    Say: note 1\n"
        "  schema  mood (2 labels), score 0..1\n"
        "Request 2 of 12   notes.id = 2\n"
        "  system  Be brief.\n"
        "  user    Say: note 2\n"
        "  schema  mood (2 labels), score 0..1\n"
    )
    assert steady(said.err) == (
        "\n"
        "Rows      12 rows in notes · 12 to ask\n"
        "Reads     text (1 of 3 columns)\n"
        "Model     gpt-4o-mini at HOST, no key\n"
        "Parts     1 (5.7 KB; disk 5.7 KB in a temporary file per part, LOTS free)\n"
        "Cost      none (own server)\n"
        "Writes    notes.mood TEXT, notes.score REAL\n"
        "Database  about 22.0 KB more when all answers are in, 15.0 KB of it raw responses "
        "(--responses failed keeps fewer)\n"
        "\n"
        "Nothing was sent. Next: run with the same options.\n"
    )
    check()


def test_preview_needs_no_key(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-n", "0")
    assert said.err.splitlines()[2] == "Model     gpt-4o-mini at api.openai.com, no key yet"


def test_preview_tells_chosen_rows_from_all(run: Any, notes: Any) -> None:
    said = run("preview", notes, "notes", *ASK, "-n", "0", "--where", "mark = 1")
    assert said.err.splitlines()[0] == "Rows      12 rows in notes · 4 chosen · 4 to ask"
    said = run("preview", notes, "notes", *ASK, "-n", "0", "--limit", "1")
    assert said.err.splitlines()[0] == "Rows      12 rows in notes · 1 chosen · 1 to ask"


def test_dry_run_is_preview(run: Any, notes: Any, unchanged: Any) -> None:
    check = unchanged(notes)
    there = ("notes", *ASK, "--base-url", run.base_url)
    assert steady(run("run", notes, *there, "--dry-run").err) == steady(
        run("preview", notes, *there).err
    )
    check()


def test_without_a_terminal_sending_needs_yes(run: Any, notes: Any, unchanged: Any) -> None:
    check = unchanged(notes)
    said = run("run", notes, "notes", *ASK, "--base-url", run.base_url, code=2)
    assert (
        said.err
        == "Error: Without a terminal to ask on, sending needs -y or --max-cost (or use preview).\n"
    )
    check()


QUESTION = "Ask gpt-4o-mini about 12 rows of notes?\nData goes to HOST.\nColumns: answer.\n"


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_a_declined_job_leaves_nothing(terminal: Any, run: Any, notes: Any, rows: Any) -> None:
    screen = terminal("run", notes, "notes", *ASK, "--base-url", run.base_url)
    screen.answer("Send? [y/N]", "n\n")
    assert steady(screen.end(0)) == QUESTION + "Send? [y/N]: n\nNothing was sent.\n"
    for table in ("jobs", "parts", "requests", "batches", "responses", "log"):
        assert rows(notes, f"SELECT count(*) FROM openai_batch_{table}") == [(0,)]
    assert rows(notes, "SELECT * FROM notes LIMIT 1") == [(1, "note 1", 1)]


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
def test_leaving_at_the_question_leaves_nothing(
    terminal: Any, run: Any, notes: Any, rows: Any, key: str
) -> None:
    screen = terminal("run", notes, "notes", *ASK, "--base-url", run.base_url)
    screen.wait_for("Send? [y/N]")
    screen.insist(key)
    assert screen.end(130).endswith("\nNothing was sent.\n")
    assert rows(notes, "SELECT count(*) FROM openai_batch_jobs") == [(0,)]
    assert rows(notes, "SELECT count(*) FROM openai_batch_requests") == [(0,)]


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
def test_a_confirmed_job_runs(terminal: Any, run: Any, notes: Any, rows: Any) -> None:
    screen = terminal("run", notes, "notes", *ASK, "--base-url", run.base_url, "--poll", "0.05")
    screen.answer("Send? [y/N]", "y\n")
    assert "12 of 12 rows answered." in screen.end(0)
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_no_wait_leaves_after_the_first_sends(run: Any, notes: Any, rows: Any, held: Any) -> None:
    server, answerer = held

    said = run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait")

    assert steady(said.err) == (
        "Job 1: 0/12 done · waiting for HOST\n"
        "  Go on with    sqlite-utils openai-batch watch data.db 1\n"
    )
    answerer.release()
    run("watch", notes, "--poll", "0.05")
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_an_unfinished_twin_is_refused_unless_new(
    run: Any, notes: Any, rows: Any, held: Any, unchanged: Any
) -> None:
    server, answerer = held
    there = ("-y", "--base-url", server.base_url, "--no-wait")
    run("run", notes, "notes", *ASK, *there)
    check = unchanged(notes)

    said = run("run", notes, "notes", *ASK, *there, code=1)

    assert said.err == (
        "Error: Job 1 asks the same of notes and isn't finished (running). Go on with: "
        "sqlite-utils openai-batch watch data.db 1 (or ask once more with --new)\n"
    )
    check()
    run("run", notes, "notes", *ASK, *there, "--new")
    run("run", notes, "notes", *ASK, *there, "--output", "other")
    said = run("run", notes, "notes", "--prompt", "Else: {{ text }}", *there, code=1)
    assert said.err.startswith(
        "Error: Job 1 is still asking about 12 rows of these and writes answer of notes too: "
    )
    run("run", notes, "notes", "--prompt", "Else: {{ text }}", *there, "--new")
    assert rows(notes, "SELECT id FROM openai_batch_jobs ORDER BY id") == [(1,), (2,), (3,), (4,)]
    answerer.release()


# Looking at it


@pytest.fixture
def finished(run: Any, database: Any) -> Any:
    """A database with one finished job, some of whose requests failed."""
    db = database(FAILING)
    run("run", db, "t", *ASK, *run.there, "--name", "first", code=3)
    return db


def test_jobs(run: Any, finished: Any) -> None:
    run("prepare", finished, "t", *ASK, "--base-url", run.base_url, "--output", "second")
    said = run("jobs", finished)
    assert steady(said.out) == (
        "id  name   table  model        status              done  cost  started\n"
        " 2  -      t      gpt-4o-mini  prepared, not sent  0/7   none  -\n"
        " 1  first  t      gpt-4o-mini  done, 5 failed      7/7   none  today NOW\n"
    )
    assert said.err == "Details: sqlite-utils openai-batch show data.db 2\n"


def test_jobs_of_a_database_without_any(run: Any, notes: Any, unchanged: Any) -> None:
    check = unchanged(notes)
    said = run("jobs", notes)
    assert (said.out, said.err) == (
        "",
        "No jobs in 'data.db' yet. Start one with: sqlite-utils openai-batch run data.db TABLE …\n",
    )
    assert run("jobs", notes, "--csv").out.count("\n") == 1
    check()


def test_jobs_as_data(run: Any, finished: Any) -> None:
    (job,) = [json.loads(line) for line in run("jobs", finished, "--nl").out.splitlines()]
    assert {key: job[key] for key in job if not key.endswith("_at")} == {
        "id": 1, "name": "first", "source": "t", "model": "gpt-4o-mini", "status": "completed",
        "requests": 7, "done": 7, "failed": 5, "cost_usd": None, "message": None,
    }  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(run("jobs", finished, "--csv").out))
    assert (row["id"], row["failed"], row["created_at"]) == ("1", "5", job["created_at"])


def test_show(run: Any, finished: Any) -> None:
    said = run("show", finished)
    assert steady(said.out) == (
        "Job 1  t → answer                               done, 5 failed\n"
        "Asked     7 of 7 rows\n"
        "  ok                   2    28.6 %\n"
        "  refused              2    28.6 %   I can't help with that.   t.id 2, 7\n"
        "  empty                1    14.3 %   the answer is empty       t.id 5\n"
        "  http_error           1    14.3 %   Bad luck.                 t.id 3\n"
        "  truncated            1    14.3 %   stopped at 13 tokens      t.id 4\n"
        "  sum                  7\n"
        "Model     gpt-4o-mini, answered by gpt-4o-mini-simulated\n"
        "Tokens    47 in · 75 out\n"
        "Cost      none (own server)\n"
        "Time      today NOW → NOW, last checked NOW\n"
        "Parts     1  batch_ID  completed  7  TIME\n"
        "Next      sqlite-utils openai-batch results data.db 1 --csv > answers.csv\n"
    )


def test_show_by_name_and_log(run: Any, finished: Any) -> None:
    assert run("show", finished, "first").out == run("show", finished, "1").out
    events = [re.split(r"  +", line) for line in run(
        "show", finished, "--log").out.splitlines()]  # fmt: skip
    assert [event[1] for event in events] == [
        "prepared", "approved", "part 1", "part 1", "part 1", "part 1", "completed",
    ]  # fmt: skip
    assert [event[2] for event in events[2:6]] == ["intent", "uploaded", "created", "collected"]


RESULTS = [
    {"id": 1, "text": "one", "answer": "simulated answer to JOB-1: Say: one",
     "status": "ok", "error": None},
    {"id": 2, "text": "two [refuse]", "answer": None,
     "status": "refused", "error": "I can't help with that."},
    {"id": 3, "text": "three [http 400]", "answer": None,
     "status": "http_error", "error": "Bad luck."},
]  # fmt: skip


def test_results_in_each_format(run: Any, finished: Any) -> None:
    def out(*args: str) -> str:
        return steady(run("results", finished, *args).out)

    assert json.loads(out())[:3] == RESULTS
    assert [json.loads(line) for line in out("--nl").splitlines()][:3] == RESULTS
    assert json.loads(out("--arrays"))[2] == list(RESULTS[2].values())
    assert out("--csv").splitlines()[:3] == [
        "id,text,answer,status,error",
        "1,one,simulated answer to JOB-1: Say: one,ok,",
        "2,two [refuse],,refused,I can't help with that.",
    ]
    assert out("--tsv", "--no-headers").splitlines()[1] == (
        "2\ttwo [refuse]\t\trefused\tI can't help with that."
    )
    assert out("-t", "-c", "id", "-c", "status", "--status", "refused") == (
        "  id  status\n----  --------\n   2  refused\n   7  refused\n"
    )
    assert out("--fmt", "github", "-c", "id", "--status", "ok").splitlines()[2:] == [
        "|    1 |",
        "|    6 |",
    ]


@pytest.mark.parametrize("size", [1, 150])
def test_json_is_the_same_in_pieces_of_any_size(
    run: Any, finished: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    forms = ((), ("--nl",), ("--arrays",), ("--status", "expired"))
    whole = [run("results", finished, *form).out for form in forms]
    assert whole[0].count("\n") == 7
    assert whole[3] == "[]\n"
    monkeypatch.setattr("sqlite_utils_openai_batch.cli.jobs.PIECE_CHARACTERS", size)
    assert [run("results", finished, *form).out for form in forms] == whole


def test_results_of_a_schema_have_its_columns(run: Any, notes: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--schema", "stars 1..5 int, tags list")
    columns = ("-c", "id", "-c", "stars", "-c", "tags", "--status", "ok")
    (first, *_) = json.loads(run("results", notes, *columns, "--json-cols").out)
    assert list(first) == ["id", "stars", "tags"]
    assert isinstance(first["stars"], int)
    assert [asked(tag) for tag in first["tags"]] == ["Say: note 1"] * len(first["tags"])


def test_results_after_the_source_is_gone(run: Any, finished: Any) -> None:
    with closing(sqlite3.connect(finished)) as conn:
        conn.execute("DROP TABLE t")
    (row,) = [r for r in json.loads(steady(run("results", finished).out)) if r["id"] == 1]
    assert row == {"id": 1, "answer": "simulated answer to JOB-1: Say: one", "status": "ok",
                   "error": None}  # fmt: skip


def test_looking_changes_nothing(run: Any, finished: Any, unchanged: Any) -> None:
    check = unchanged(finished)
    for command in (("jobs",), ("show",), ("show", "--log"), ("results",), ("results", "--csv")):
        run(command[0], finished, *command[1:])
    check()


def test_a_name_that_a_shell_would_split(run: Any, database: Any, rows: Any) -> None:
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                  "INSERT INTO t VALUES (1, 'one');", name="my data.db")  # fmt: skip
    said = run("prepare", db, "t", *ASK, "--base-url", run.base_url)
    assert said.err.endswith("Next: sqlite-utils openai-batch submit 'my data.db' 1\n")
    said = run("prepare", db, "t", *ASK, "--base-url", run.base_url, code=1)
    assert " submit 'my data.db' 1 (or" in said.err
    assert run("jobs", db).err == "Details: sqlite-utils openai-batch show 'my data.db' 1\n"
    run("submit", db, "-y")
    said = run("run", db, "t", *ASK, *run.there, "--output", "b")
    assert "datasette 'my data.db'     → /my+data/-/openai-batch/2\n" in said.err


@pytest.mark.parametrize("stem", ["data", "my data", "a.b", "50%", "Ünï", "a~b", "x/y", "a-b_c"])
def test_pages_are_named_as_datasette_names_them(stem: str) -> None:
    from datasette.utils import tilde_encode

    from sqlite_utils_openai_batch.cli.screens.end import tilde_encoded

    assert tilde_encoded(stem) == tilde_encode(stem)
