"""prepare, submit, sync and watch: from separate processes, stopped anywhere, gone on with."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.cli.screens import text
from sqlite_utils_openai_batch.jobs.sync import engine

ASK = ("--prompt", "Say: {{ text }}")
PATIENCE = 30.0


def asked(answer: str) -> str:
    """The prompt that an answer repeats."""
    return answer.partition(": ")[2]


def posts(server: Any) -> list[str]:
    """What the server was sent, in order."""
    return [entry["path"] for entry in server.journal() if entry["method"] == "POST"]


def wait_for(rows: Any, db: Path, sql: str, wanted: list[tuple[Any, ...]]) -> None:
    """Wait until a statement gives these rows."""
    deadline = time.monotonic() + PATIENCE
    while (found := rows(db, sql)) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def answered(rows: Any, db: Path) -> None:
    """Each row of `notes` has the answer to its own question."""
    found = rows(db, "SELECT text, answer FROM notes")
    assert len(found) == 12
    assert all(answer and asked(answer) == f"Say: {text}" for text, answer in found)


# Step by step

only_delete = pytest.mark.parametrize("journal", ["delete"], indirect=True)


@only_delete
def test_prepare_submit_and_sync_from_separate_processes(
    run: Any, notes: Path, rows: Any, held: Any
) -> None:
    server, answerer = held
    there = ("--base-url", server.base_url, "--part-requests", "5", "--first-part", "0")

    said = run.process("prepare", notes, "notes", *ASK, *there)
    assert said.out == "1\n"
    assert "\nNothing was sent. Next: sqlite-utils openai-batch submit data.db 1\n" in said.err
    assert posts(server) == []
    assert rows(notes, "SELECT status, approved_at FROM openai_batch_jobs") == [("prepared", None)]

    said = run.process("sync", notes)
    assert said.err.startswith("Job 1: 0/12 done · prepared, not sent\n")
    assert posts(server) == []

    run.process("submit", notes, "-y")
    assert posts(server)[:2] == ["/v1/files", "/v1/batches"]
    run.process("sync", notes)
    assert posts(server) == ["/v1/files", "/v1/batches"] * 3
    said = run.process("sync", notes, "1")
    assert re.match(r"Job 1: 0/12 done · waiting for 127\.0\.0\.1:\d+\n", said.err)
    assert posts(server) == ["/v1/files", "/v1/batches"] * 3

    answerer.release()
    deadline = time.monotonic() + PATIENCE
    while rows(notes, "SELECT status FROM openai_batch_jobs") != [("completed",)]:
        assert time.monotonic() < deadline
        run.process("sync", notes)
    answered(rows, notes)
    assert posts(server) == ["/v1/files", "/v1/batches"] * 3
    said = run.process("sync", notes)
    assert said.err == "Nothing to do: no unfinished job in 'data.db'.\n"


def test_sync_sends_nothing_that_nobody_approved(
    run: Any, notes: Path, rows: Any, server: Any, unchanged: Any
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url)
    before = posts(server)
    check = unchanged(notes)
    for _ in range(3):
        run("sync", notes)
        run("sync", notes, "1")
    said = run("watch", notes, "--poll", "0.05")
    assert said.err == (
        "Job 1: 0/12 done · prepared, not sent\n"
        "  Send it with    sqlite-utils openai-batch submit data.db 1\n"
    )
    assert posts(server) == before
    check()


def test_a_prepared_job_stays_beside_a_running_one(
    run: Any, notes: Path, rows: Any, server: Any
) -> None:
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url, "--output", "later")
    run("run", notes, "notes", *ASK, *run.there)
    run("sync", notes)
    statuses = rows(notes, "SELECT id, status, approved_at IS NULL FROM openai_batch_jobs")
    assert statuses == [(1, "prepared", 1), (2, "completed", 0)]
    answered(rows, notes)


def test_answers_are_written_part_by_part(run: Any, notes: Path, rows: Any, server: Any) -> None:
    run("run", notes, "notes", *ASK, "--base-url", run.base_url, "-y", "--no-wait",
        "--part-requests", "4")  # fmt: skip
    seen = set()
    deadline = time.monotonic() + PATIENCE
    while rows(notes, "SELECT status FROM openai_batch_jobs") != [("completed",)]:
        assert time.monotonic() < deadline
        run("sync", notes)
        columns = [name for (name,) in rows(notes, "SELECT name FROM pragma_table_info('notes')")]
        if "answer" in columns:
            ((count,),) = rows(notes, "SELECT count(answer) FROM notes")
            written = rows(
                notes, "SELECT sum(requests) FROM openai_batch_parts WHERE written_at IS NOT NULL"
            )
            assert written == [(count,)]
            seen.add(count)
    assert seen <= {4, 8, 12}
    assert max(seen) == 12


def test_syncing_again_changes_nothing(run: Any, notes: Path, server: Any, unchanged: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there)
    before = posts(server)
    check = unchanged(notes)
    for command in (("sync",), ("sync", "1"), ("watch",), ("sync", "1", "--silent")):
        run(command[0], notes, *command[1:])
    assert posts(server) == before
    check()


def test_silent_says_nothing_unless_needed(
    run: Any, notes: Path, held: Any, web: Any, reply: Any
) -> None:
    server, answerer = held
    run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait")
    said = run("sync", notes, "--silent")
    assert (said.out, said.err) == ("", "")
    answerer.release()
    deadline = time.monotonic() + PATIENCE
    while "completed" not in run("jobs", notes, "--csv").out:
        assert time.monotonic() < deadline
        said = run("sync", notes, "--silent")
        assert (said.out, said.err) == ("", "")
    said = run("sync", notes, "--silent")
    assert (said.out, said.err) == ("", "")


# Stopped


@only_delete
@pytest.mark.parametrize("command", ["watch", "run"])
def test_ctrl_c_leaves_the_batches_and_sync_goes_on(
    command: str, run: Any, notes: Path, rows: Any, held: Any, terminal: Any
) -> None:
    server, answerer = held
    there = ("notes", *ASK, "--base-url", server.base_url, "--part-requests", "6",
             "--first-part", "0")  # fmt: skip
    if command == "run":
        screen = terminal("run", notes, *there, "--poll", "0.05", "-y")
    else:
        run("prepare", notes, *there)
        run("submit", notes, "-y")
        screen = terminal("watch", notes, "--poll", "0.05")
    screen.wait_for("Job 1: 0/12 done")
    wait_for(rows, notes, "SELECT count(*) FROM openai_batch_parts "
                          "WHERE status = 'in_progress'", [(2,)])  # fmt: skip

    screen.type("\x03")

    assert screen.end(130).splitlines()[-1] == (
        f"Stopped watching. 2 batches go on at {host_of(server)}. "
        "Go on with: sqlite-utils openai-batch watch data.db 1"
    )
    assert rows(notes, "SELECT status FROM openai_batch_jobs") == [("running",)]
    answerer.release()
    deadline = time.monotonic() + PATIENCE
    while rows(notes, "SELECT status FROM openai_batch_jobs") != [("completed",)]:
        assert time.monotonic() < deadline
        run("sync", notes)
    answered(rows, notes)
    assert posts(server) == ["/v1/files", "/v1/batches"] * 2


@only_delete
def test_sigint_without_a_terminal(run: Any, notes: Path, rows: Any, held: Any) -> None:
    import signal

    server, answerer = held
    run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait")
    process = run.start("watch", notes, "--poll", "0.05")
    line = process.stderr.readline()
    assert line.startswith("Job 1: 0/12 done · 0/1 parts · waiting for ")

    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("Stopped watching. 1 batch goes on at 127.0.0.1:")
    answerer.release()
    run("watch", notes, "--poll", "0.05")
    answered(rows, notes)


@only_delete
def test_a_killed_watch_is_gone_on_with(run: Any, notes: Path, rows: Any, held: Any) -> None:
    server, answerer = held
    run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait")
    process = run.start("watch", notes, "--poll", "0.05")
    process.stderr.readline()
    process.kill()
    process.communicate(timeout=PATIENCE)
    answerer.release()

    run("watch", notes, "--poll", "0.05")

    answered(rows, notes)
    assert posts(server) == ["/v1/files", "/v1/batches"]


@only_delete
def test_a_long_line_of_progress_is_cut_to_the_terminal(
    run: Any, notes: Path, held: Any, terminal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, answerer = held
    monkeypatch.setenv("COLUMNS", "50")
    screen = terminal("run", notes, "notes", *ASK, "--base-url", server.base_url, "-y",
                      "--poll", "0.05", "--part-requests", "6")  # fmt: skip
    screen.wait_for("Job 1: 0/12 done")
    answerer.release()
    before_the_end = screen.end(0).partition("Done in")[0]
    lines = before_the_end.replace("\n", "\r").split("\r")
    assert max(map(len, lines)) <= 49


# Paused

NO_BATCHES = {"object": "list", "data": [], "has_more": False}


def host_of(server: Any) -> str:
    """Host and port, as sentences name a server."""
    return str(server.base_url.removeprefix("http://").removesuffix("/v1"))


def test_a_refused_key_pauses_with_the_way_out(run: Any, notes: Path, web: Any, reply: Any) -> None:
    web.reply("GET /batches", reply(200, NO_BATCHES))
    run("prepare", notes, "notes", *ASK, "--base-url", web.base_url)
    error = {"message": "Key revoked.", "code": "invalid_api_key"}
    web.reply("POST /files", reply(401, {"error": error}))

    said = run("submit", notes, "-y", code=4)

    why = (
        f"{host_of(web)} does not accept the key: Key revoked. "
        "Give another with --key or OPENAI_API_KEY."
    )
    assert said.err == (
        f"Job 1 is paused: {why}\n  Go on with    sqlite-utils openai-batch submit data.db 1\n"
    )
    screen = run("show", notes).out.splitlines()
    assert screen[0].endswith("  paused")
    assert screen[1:3] == [why, "Mend      sqlite-utils openai-batch submit data.db 1"]
    assert f"  paused: {host_of(web)} does not acc" in run("jobs", notes).out
    assert run("sync", notes, "--silent", code=4).err == said.err
    assert run("watch", notes, "--poll", "0.05", code=4).err == said.err
    assert [asked.path for asked in web.asked if asked.method == "POST"] == ["/v1/files"]


def test_another_key_is_another_account(run: Any, notes: Path, rows: Any, server: Any) -> None:
    first, second = "a-first-key-0001", "a-second-key-0002"
    run("prepare", notes, "notes", *ASK, "--base-url", run.base_url, "--key", first)
    before = posts(server)

    said = run("submit", notes, "-y", "--key", second, code=1)

    assert said.err == (
        f"Error: The key of --key would go to {host_of(run)}, and job 1 never had it there: it "
        f"began with another one, or with none. Nothing was sent. Where you trust {host_of(run)} "
        "with this key, say so with submit --accept-account.\n"
    )
    assert posts(server) == before
    run("submit", notes, "1", "-y", "--key", first)
    run("watch", notes, "--poll", "0.05", "--key", first)
    answered(rows, notes)


def test_another_account_is_accepted_when_told(
    run: Any, notes: Path, rows: Any, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches of the first account can't be read with the key of the second."""
    server, answerer = held
    first, second = "a-first-key-0001", "a-second-key-0002"
    run("run", notes, "notes", *ASK, "-y", "--no-wait", "--base-url", server.base_url,
        "--part-requests", "6", "--key", first)  # fmt: skip
    said = run("sync", notes, "--key", second, code=1)
    assert "job 1 never had it there" in said.err
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    # The person has named the host: now the key may be tried there.
    said = run("sync", notes, "--key", second, code=4)
    assert "and its batches can't be read with this one" in said.err
    run("watch", notes, "--key", second, "--poll", "0.05", code=4)
    answerer.release()
    run("watch", notes, "--key", first, "--poll", "0.05", code=4)
    run("submit", notes, "1", "-y", "--key", first)
    run("watch", notes, "--key", first, "--poll", "0.05")
    answered(rows, notes)
    monkeypatch.delenv("OPENAI_BASE_URL")

    run("prepare", notes, "notes", *ASK, "--output", "later", "--base-url", server.base_url,
        "--key", first)  # fmt: skip
    run("submit", notes, "2", "-y", "--key", second, code=1)
    run("submit", notes, "2", "-y", "--key", second, "--accept-account")
    run("watch", notes, "--key", second, "--poll", "0.05")
    assert rows(notes, "SELECT count(later) FROM notes") == [(12,)]


def test_a_rotated_key_that_reads_the_batches_is_the_same_account(
    run: Any, notes: Path, rows: Any, web: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are rotated: what can read the newest batch is taken down as the account from now on."""
    batch = {
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1", "completion_window": "24h", "status": "in_progress",
        "created_at": 1700000000,
    }  # fmt: skip
    web.reply("GET /batches", reply(200, NO_BATCHES))
    web.reply("POST /files", reply(200, {"id": "file-1", "object": "file"}))
    web.reply("POST /batches", reply(200, {**batch, "status": "validating"}))
    web.reply("GET /batches/batch_1", reply(200, batch))
    run("run", notes, "notes", *ASK, "-y", "--no-wait", "--base-url", web.base_url,
        "--key", "sk-test-0001")  # fmt: skip
    ((first,),) = rows(notes, "SELECT account FROM openai_batch_jobs")

    monkeypatch.setenv("OPENAI_BASE_URL", web.base_url)
    run("sync", notes, "--key", "sk-test-0002")

    ((second,),) = rows(notes, "SELECT account FROM openai_batch_jobs")
    assert first != second
    assert "key changed" in run("show", notes, "--log").out
    assert "sk-test" not in "".join(map(str, rows(notes, "SELECT * FROM openai_batch_log")))


def test_a_retry_counts_its_own_time(run: Any, notes: Path, rows: Any, database: Any) -> None:
    """`Done in` is the time of this retry, not the days since the job was sent first."""
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                  "INSERT INTO t VALUES (1, 'one'), (2, 'two [refuse]');", "two.db")  # fmt: skip
    said = run("run", db, "t", *ASK, *run.there, code=3)
    assert "\n  Ask again   sqlite-utils openai-batch retry two.db 1\n" in said.err
    with closing(sqlite3.connect(db)) as conn:
        for table, column in (("jobs", "submitted_at"), ("log", "at")):
            conn.execute(f"UPDATE openai_batch_{table} SET {column} = '2026-01-01T00:00:00.000Z'")
        conn.commit()
    said = run("retry", db, "1", "-y", "--poll", "0.05", code=3)
    assert re.search(r"^Done in \d+\.\d s\.", said.err, re.M), said.err


def test_show_says_how_many_rows_there_were(run: Any, notes: Path, server: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--limit", "5")
    assert "\nAsked     5 of 12 rows (7 not chosen)\n" in run("show", notes).out
    run("run", notes, "notes", *ASK, *run.there, "--output", "b")
    assert "\nAsked     12 of 12 rows\n" in run("show", notes).out


def test_show_log_tells_what_happened(run: Any, notes: Path, server: Any) -> None:
    run("run", notes, "notes", *ASK, *run.there, "--part-requests", "6")
    lines = run("show", notes, "--log").out.splitlines()
    told = [re.split(r"  +", line)[1:3] for line in lines]
    assert told[0][-1] == "prepared" or "approved" in told[0] + told[1]
    of_one = [event for part, event in (pair for pair in told if len(pair) == 2)
              if part == "part 1"]  # fmt: skip
    assert of_one == ["intent", "uploaded", "created", "collected"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", lines[0].split("  ")[0])
    assert "completed" in lines[-1]


def test_out_of_credit_pauses_with_a_sentence(
    run: Any, notes: Path, rows: Any, web: Any, reply: Any
) -> None:
    web.reply("GET /batches", reply(200, NO_BATCHES))
    words = "You exceeded your current quota."
    error = {"message": words, "type": "insufficient_quota", "code": "insufficient_quota"}
    web.reply("POST /files", reply(429, {"error": error}))

    said = run("run", notes, "notes", *ASK, "-y", "--base-url", web.base_url, code=4)

    assert said.err.splitlines()[-2:] == [
        f"Job 1 is paused: {host_of(web)} is out of credit: {words}",
        "  Go on with    sqlite-utils openai-batch submit data.db 1",
    ]
    assert rows(notes, "SELECT status, sends FROM openai_batch_parts") == [("prepared", 1)]


def test_a_server_that_is_down_is_waited_for(
    run: Any, notes: Path, rows: Any, tmp_path_factory: Any
) -> None:
    from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer

    folder, answerer = tmp_path_factory.mktemp("down"), SimulatedAnswerer(echo=True)
    with LocalServer(folder, answerer=answerer) as server:
        url = server.base_url
        run("prepare", notes, "notes", *ASK, "--base-url", url)

    said = run("submit", notes, "-y", code=1)

    assert said.err.splitlines()[-1].startswith(f"Job 1: No server can be reached at {url} (")
    assert rows(notes, "SELECT status FROM openai_batch_jobs") == [("running",)]
    port = int(url.rpartition(":")[2].removesuffix("/v1"))
    with LocalServer(folder, answerer=answerer, port=port):
        run("watch", notes, "--poll", "0.05")
    answered(rows, notes)


# Exit codes and other jobs


def test_watch_follows_all_jobs(run: Any, notes: Path, rows: Any, held: Any) -> None:
    server, answerer = held
    for output in ("a", "b"):
        run("run", notes, "notes", *ASK, "-y", "--base-url", server.base_url, "--no-wait",
            "--output", output)  # fmt: skip
    answerer.release()
    said = run("watch", notes, "--poll", "0.05")
    assert len(re.findall(r"^Done in .* 12 of 12 rows answered\.$", said.err, re.M)) == 2
    assert rows(notes, "SELECT count(a), count(b) FROM notes") == [(12, 12)]


def test_sync_exits_3_in_the_pass_in_which_a_job_ended_with_failures(
    run: Any, database: Any, held: Any
) -> None:
    server, answerer = held
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                  "INSERT INTO t VALUES (1, 'one'), (2, 'two [refuse]');")  # fmt: skip
    run("run", db, "t", *ASK, "-y", "--base-url", server.base_url, "--no-wait")
    assert run("sync", db).code == 0
    answerer.release()
    deadline = time.monotonic() + PATIENCE
    while not ended(server):
        assert time.monotonic() < deadline
    run("sync", db, code=3)
    assert run("sync", db).code == 0


def ended(server: Any) -> bool:
    """Whether the only batch of a server has ended."""
    import urllib.request

    request = urllib.request.Request(
        f"{server.base_url}/batches", headers={"Authorization": "Bearer none"}
    )
    with urllib.request.urlopen(request) as response:
        (batch,) = json.load(response)["data"]
    return bool(batch["status"] == "completed")


# Sends, looks and collects take turns


def in_turns(run: Any, notes: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One pass over twelve parts that looks at what was sent after each of them."""
    monkeypatch.setattr(engine, "TURN_SECONDS", 0.0)
    there = ("--base-url", run.base_url, "--part-requests", "1", "--first-part", "0")
    run("prepare", notes, "notes", *ASK, *there)
    return run("submit", notes, "-y")


def test_answers_come_in_while_later_parts_go_out(
    run: Any, notes: Path, rows: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(posts(server))
    in_turns(run, notes, monkeypatch)
    log = rows(notes, "SELECT event FROM openai_batch_log ORDER BY id")
    events = [event for (event,) in log]
    last_sent = max(n for n, event in enumerate(events) if event == "created")
    assert events.index("collected") < last_sent
    assert events.count("created") == 12
    run("watch", notes, "--poll", "0.05")
    answered(rows, notes)
    assert posts(server)[before:] == ["/v1/files", "/v1/batches"] * 12


def test_a_line_now_and_then_where_there_is_no_terminal(
    run: Any, notes: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MINUTE", 0.0)
    said = in_turns(run, notes, monkeypatch)
    lines = [line for line in said.err.splitlines() if " parts · waiting for " in line]
    assert len(lines) > 1
    assert len(set(lines)) == len(lines)


def test_no_line_before_a_minute_is_over(
    run: Any, notes: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = in_turns(run, notes, monkeypatch)
    assert " parts · waiting for " not in said.err
