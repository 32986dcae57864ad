"""Bad input: a clear sentence that names the thing and the next step, and nothing is written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ASK = ("--prompt", "Say: {{ text }}")
LIBRARY = """
CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, mark INTEGER, Überschrift TEXT);
INSERT INTO notes VALUES (1, 'one', 5, 'A'), (2, 'two', NULL, 'B'), (3, 'two', 7, NULL);
CREATE TABLE empty (id INTEGER PRIMARY KEY, text TEXT);
CREATE TABLE codes (code TEXT PRIMARY KEY, text TEXT);
INSERT INTO codes VALUES ('a', 'one'), (NULL, 'two'), (NULL, 'three');
CREATE TABLE made (id INTEGER PRIMARY KEY, text TEXT, loud TEXT AS (upper(text)));
INSERT INTO made (text) VALUES ('one');
CREATE VIRTUAL TABLE search USING fts5(text);
INSERT INTO search VALUES ('one');
CREATE TABLE filled (id INTEGER PRIMARY KEY, answer TEXT);
INSERT INTO filled VALUES (1, 'there'), (77, 'already');
CREATE TABLE keyless (id INTEGER, answer TEXT);
CREATE VIEW shown AS SELECT id, text FROM notes;
"""
NAMES = "notes, codes, made, empty, shown, filled, search, keyless"


@pytest.fixture
def library(database: Any) -> Path:
    """`data.db` with sources of every awkward kind."""
    path: Path = database(LIBRARY)
    return path


# What is asked for can't be done: (arguments after the database, the sentence, the exit code).
WRONG: dict[str, tuple[tuple[str, ...], str, int]] = {
    "no such table": (
        ("note", *ASK),
        "No such table: 'note'. Tables: TABLES.",
        1,
    ),
    "no table at all": (
        ASK,
        "Which rows? Name a table or view after the database, or give --sql. "
        "Tables: codes, empty, filled, keyless, made, notes, search, shown.",
        2,
    ),
    "a prompt's file that isn't there": (
        ("notes", "--prompt", "ask.tx"),
        "--prompt 'ask.tx' has no placeholder, and there is no file of that name. "
        "Look at its spelling, or give the prompt itself: 'Summarise: {{ title }}'.",
        1,
    ),
    "a table and a query": (
        ("notes", "--sql", "SELECT 1", *ASK),
        "Name a table or view, or give --sql: one of them.",
        2,
    ),
    "no such column in --where": (
        ("notes", *ASK, "--where", "txt = 'one'"),
        "--where can't be read: no such column: txt. Columns: id, text, mark, Überschrift.",
        1,
    ),
    "no such column in --order": (
        ("notes", *ASK, "--order", "txt"),
        "--order can't be read: no such column: txt. Columns: id, text, mark, Überschrift.",
        1,
    ),
    "--where is no expression": (
        ("notes", *ASK, "--where", "id ="),
        '--where can\'t be read: near ")": syntax error.',
        1,
    ),
    "--where that writes": (
        ("notes", *ASK, "--where", "1); DELETE FROM notes; --"),
        "--where can't be read: it must be one SELECT.",
        1,
    ),
    "a parameter is missing": (
        ("notes", *ASK, "--where", "mark = :mark"),
        "--where can't be read: You did not supply a value for binding parameter :mark "
        "(parameters are named, :name, and given by -p NAME VALUE).",
        1,
    ),
    "a view without a key": (
        ("shown", *ASK),
        "The view shown has no primary key: name its key by --pk. Columns: id, text.",
        1,
    ),
    "a query without a key": (
        ("--sql", "SELECT id, text FROM notes", *ASK),
        "The query has no primary key: name its key by --pk. Columns: id, text.",
        1,
    ),
    "no such key": (
        ("shown", "--pk", "ID2", *ASK),
        "No such column: 'ID2' in shown. Columns: id, text.",
        1,
    ),
    "a query with an error": (
        ("--sql", "SELECT id, txt FROM notes", "--pk", "id", *ASK),
        "The query can't be read: no such column: txt.",
        1,
    ),
    "a query that writes": (
        ("--sql", "DELETE FROM notes RETURNING id, text", "--pk", "id", *ASK),
        'The query can\'t be read: near "DELETE": syntax error.',
        1,
    ),
    "a key twice": (
        ("--sql", "SELECT text AS id, text FROM notes", "--pk", "id", *ASK),
        "2 rows of the query have the key id 'two'; each row needs a key of its own. "
        "Name columns that are unique together by --pk.",
        1,
    ),
    "a NULL in the key of a query": (
        ("--sql", "SELECT mark, text FROM notes", "--pk", "mark", *ASK),
        "The key column mark of the query is NULL in 1 row; each row needs a key of its own.",
        1,
    ),
    "a NULL in the key of a table": (
        ("codes", *ASK),
        "The key column code of codes is NULL in 2 rows; each row needs a key of its own.",
        1,
    ),
    "no prompt": (
        ("notes",),
        "What do you want to ask? Give a prompt with a column in it: "
        "--prompt 'Summarise: {{ text }}'. Columns: id, text, mark, Überschrift",
        1,
    ),
    "a placeholder that names no column": (
        ("notes", "--prompt", "{{ txt }}"),
        "No column 'txt' in notes. Did you mean text? Columns: text, Überschrift, id, mark.",
        1,
    ),
    "a prompt without a placeholder": (
        ("notes", "--prompt", "Say something."),
        "The prompt has no placeholder, so each row would be asked the same. "
        "Name a column in it, like {{ id }}. Columns: id, text, mark, Überschrift.",
        1,
    ),
    "a placeholder that isn't closed": (
        ("notes", "--prompt", "Say\n{{ text }"),
        "The prompt, line 2: unexpected '}'.",
        1,
    ),
    "a schema of an unknown type": (
        ("notes", *ASK, "--schema", "mood, score 0.."),
        '"score" has the unknown type "0..". Types are str, int, float, bool, list, '
        "a range like 0..1 or 1..5 int, or values like good|bad.",
        1,
    ),
    "a schema that isn't JSON": (
        ("notes", *ASK, "--schema", '{"type": "objec'),
        "The answer schema is not valid JSON: Unterminated string starting at "
        "in line 1, column 10.",
        1,
    ),
    "a schema of no object": (
        ("notes", *ASK, "--schema", '{"type": "array", "items": {"type": "string"}}'),
        "An answer is an object, not a list. Put the list into a property: "
        '{"type": "object", "properties": {"items": {"type": "array", …}}}',
        1,
    ),
    "--schema with --output": (
        ("notes", *ASK, "--schema", "mood", "--output", "kind"),
        "With --schema each property is a column of its own: "
        "name them with --prefix instead of --output.",
        1,
    ),
    "an output column that holds values": (
        ("notes", *ASK, "--output", "MARK"),
        "Column 'MARK' of notes already holds values in 2 rows. Ask only rows without one with "
        "--missing, overwrite with --replace, or write elsewhere with --output, --prefix or "
        "--output-table.",
        1,
    ),
    "an output column that is the key": (
        ("notes", *ASK, "--output", "ID"),
        "Column 'ID' is the key of notes: answers can't be written there. "
        "Give them another name with --prefix or --output.",
        1,
    ),
    "an output column that is generated": (
        ("made", *ASK, "--output", "loud"),
        "Column 'loud' of made is generated: answers can't be written there. "
        "Give them another name with --prefix or --output.",
        1,
    ),
    "a virtual table": (
        ("search", *ASK),
        "search is a virtual table: columns can't be added to it. "
        "Write the answers to a table of their own with --output-table search_answers",
        1,
    ),
    "an output table that holds values": (
        ("notes", *ASK, "--output-table", "filled"),
        "Column 'answer' of filled already holds values in 1 row. Ask only rows without one with "
        "--missing, overwrite with --replace, or write elsewhere with --output, --prefix or "
        "--output-table.",
        1,
    ),
    "an output table without a key": (
        ("notes", *ASK, "--output-table", "keyless"),
        "Table 'keyless' exists, and its key is not declared, not 'id': answers couldn't be "
        "matched. Give another --output-table.",
        1,
    ),
    "an output table that is a view": (
        ("notes", *ASK, "--output-table", "shown"),
        "'shown' is a view: give another name with --output-table.",
        1,
    ),
    "an output table of ours": (
        ("notes", *ASK, "--output-table", "openai_batch_jobs"),
        "'openai_batch_jobs' can't be an output table: that prefix is taken.",
        1,
    ),
    "an unknown endpoint": (
        ("notes", *ASK, "--endpoint", "/v1/chat"),
        "--prompt cannot be used in the body of /v1/chat: give the whole body by --template.",
        2,
    ),
    "a name of digits": (
        ("notes", *ASK, "--name", "12"),
        "--name '12': a name can't be only digits, they mean a job's id.",
        2,
    ),
    "parts above the provider's cap": (
        ("notes", *ASK, "--part-requests", "50001"),
        "--part-requests 50,001 is above the cap of openai: 50,000.",
        2,
    ),
    "parts of more bytes than the provider takes": (
        ("notes", *ASK, "--part-bytes", "200000001"),
        "--part-bytes 200,000,001 is above the cap of openai: 200,000,000.",
        2,
    ),
    "blank rows are errors": (
        ("notes", "--prompt", "{{ Überschrift }}", "--blanks", "error"),
        "Row 3 of notes has nothing in Überschrift. Leave such rows out with --blanks skip, "
        "or ask all the same with --blanks send.",
        1,
    ),
    "two places": (
        ("notes", *ASK, "--local"),
        "--base-url is a server with batches, --local, --upstream and --ray make one: "
        "give only one of them.",
        2,
    ),
    "--concurrency of nobody": (
        ("notes", *ASK, "--concurrency", "4"),
        "--concurrency is for --upstream only.",
        2,
    ),
}


@pytest.mark.parametrize("journal", ["delete"], indirect=True)
@pytest.mark.parametrize("case", WRONG)
def test_wrong(case: str, run: Any, library: Path, unchanged: Any, server: Any) -> None:
    args, sentence, code = WRONG[case]
    sentence = sentence.replace("TABLES", NAMES)
    check = unchanged(library)
    posts = sum(entry["method"] == "POST" for entry in server.journal())

    for command in (("run", *run.there), ("prepare", "--base-url", run.base_url)):
        said = run(command[0], library, *args, *command[1:], code=code)
        assert (said.out, said.err) == ("", f"Error: {sentence}\n")

    check()
    assert sum(entry["method"] == "POST" for entry in server.journal()) == posts


NOTHING = {
    "empty source": (("empty", *ASK), "empty has no rows: nothing to ask.\n"),
    "no matching rows": (
        ("notes", *ASK, "--where", "id > 5"),
        "No rows of notes match: nothing to ask.\n",
    ),
    "a limit of 0": (
        ("notes", *ASK, "--limit", "0"),
        "No rows of notes match: nothing to ask.\n",
    ),
    "an empty query": (
        ("--sql", "SELECT * FROM notes WHERE 0", "--pk", "id", *ASK),
        "the query has no rows: nothing to ask.\n",
    ),
}


@pytest.mark.parametrize("case", NOTHING)
def test_nothing_to_ask_is_no_error(case: str, run: Any, library: Path, unchanged: Any) -> None:
    args, sentence = NOTHING[case]
    check = unchanged(library)
    for command in (("run", *run.there), ("prepare", "--base-url", run.base_url), ("preview",)):
        said = run(command[0], library, *args, *command[1:])
        assert (said.out, said.err) == ("", sentence)
    check()


def test_only_blank_rows(run: Any, database: Any, rows: Any) -> None:
    db = database("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                  "INSERT INTO t VALUES (1, NULL), (2, ' ');")  # fmt: skip
    for command in (("run", *run.there), ("prepare", "--base-url", run.base_url)):
        said = run(command[0], db, "t", *ASK, *command[1:])
        assert (said.out, said.err) == (
            "",
            "All 2 rows of t are blank in text: nothing to ask. "
            "Ask all the same with --blanks send.\n",
        )
    assert rows(db, "SELECT count(*) FROM openai_batch_jobs") == [(0,)]


# The database


def test_no_such_database(run: Any, tmp_path: Path) -> None:
    for command in ("run", "prepare", "preview"):
        said = run(command, "no such.db", "notes", *ASK, code=1)
        assert (
            said.err
            == (
                "Error: No such database: 'no such.db'. Make one with: "
                "sqlite-utils insert 'no such.db' mytable data.csv --csv\n"
            )
            or "No key" in said.err
        )
    for command in ("submit", "sync", "watch", "jobs", "show", "results"):
        said = run(command, "no such.db", code=1)
        assert "No such database: 'no such.db'." in said.err
    assert not (tmp_path / "no such.db").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("suvey.csv", "No such file: 'suvey.csv'. Did you mean survey.csv? Look at its name"),
        ("survey.tsv.gz", "No such file: 'survey.tsv.gz'. "),
        ("scans/", "No such folder: 'scans/'. "),
        ("survey.sqlite3", "No such database: 'survey.sqlite3'. Make one with: "),
    ],
)
def test_what_stands_for_a_database_and_is_not_there(
    run: Any, tmp_path: Path, typed: str, said: str
) -> None:
    """No advice to make a database that is called survey.csv."""
    (tmp_path / "survey.csv").write_text("text\nhello\n")
    for command in ("run", "preview"):
        assert run(command, typed, *ASK, code=1).err.startswith(f"Error: {said}")


@pytest.mark.parametrize("command", ["run", "prepare", "preview", "submit", "sync", "watch",
                                     "jobs", "show", "results"])  # fmt: skip
def test_not_a_database(command: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("CREATE TABLE notes\n" * 100)
    (tmp_path / "folder.db").mkdir()
    args = ("notes", *ASK, "--base-url", run.base_url) if command in (
        "run", "prepare", "preview") else ()  # fmt: skip
    yes = ("-y",) if command in ("run", "submit") else ()

    said = run(command, "notes.txt", *args, *yes, code=1)
    assert said.err == (
        "Error: 'notes.txt' is a text file, not a SQLite database. "
        "Name the database first: the file that your rows are in.\n"
    )
    said = run(command, "folder.db", *args, *yes, code=1)
    assert said.err == "Error: 'folder.db' is a folder, not a database.\n"

    assert (tmp_path / "notes.txt").read_text() == "CREATE TABLE notes\n" * 100
    assert list((tmp_path / "folder.db").iterdir()) == []


def test_a_locked_database(
    run: Any, library: Path, unchanged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlite_utils_openai_batch.store.connection.BUSY_SECONDS", 0.1)
    check = unchanged(library)
    with closing(sqlite3.connect(library, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for command in (("run", *run.there), ("prepare", "--base-url", run.base_url)):
            said = run(command[0], library, "notes", *ASK, *command[1:], code=1)
            assert said.err == (
                "Error: 'data.db' is locked: another program has been writing to it for "
                "0.1 seconds. Let it finish, then run this again.\n"
            )
        other.execute("ROLLBACK")
    check()


@pytest.fixture
def elsewhere(library: Path) -> Iterator[Path]:
    """`data.db` in a folder of root's (or our own) that the tests' user may not write to."""
    with tempfile.TemporaryDirectory(prefix="read-only-") as folder:
        copy = Path(folder) / "data.db"
        shutil.copy(library, copy)
        yield copy
        Path(folder).chmod(0o755)


def reader() -> tuple[str, ...]:
    """How to start a process that permissions stop: root has to give up its power first."""
    if os.geteuid() != 0:
        return ()
    powerless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")
    if not shutil.which("setpriv") or subprocess.run([*powerless, "true"], check=False).returncode:
        pytest.skip("root may write everything, and can't give that up here (no setpriv)")
    return powerless


WRITE = (
    "Error: 'data.db' can't be written: the file or its folder is read-only. "
    "Change its permissions, or work on a copy.\n"
)
OPEN = "Error: 'data.db' can't be opened. Look at the permissions of the file and its folder.\n"


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "sentence"),
    [(0o777, 0o444, WRITE), (0o555, 0o666, WRITE), (0o777, 0o000, OPEN)],
    ids=["file", "folder", "unreadable"],
)
def test_read_only(
    folder_mode: int, file_mode: int, sentence: str, run: Any, elsewhere: Path, journal: str
) -> None:
    before = elsewhere.read_bytes()
    elsewhere.chmod(file_mode)
    elsewhere.parent.chmod(folder_mode)
    options = {"by": reader(), "cwd": elsewhere.parent}

    said = run.process("run", "data.db", "notes", *ASK, *run.there, code=1, **options)

    assert said.err == sentence
    elsewhere.chmod(0o600)
    assert elsewhere.read_bytes() == before
    if journal == "delete" and file_mode:
        elsewhere.chmod(file_mode)
        assert "No jobs in 'data.db' yet." in run.process("jobs", "data.db", **options).err


def test_a_database_of_a_newer_version(run: Any, library: Path, unchanged: Any) -> None:
    run("prepare", library, "notes", *ASK, "--base-url", run.base_url)
    with closing(sqlite3.connect(library)) as conn:
        conn.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('openai_batch', 'm999_later', '2030-01-01')"
        )
        conn.commit()
    check = unchanged(library)
    sentence = (
        "Error: This database was written by a newer sqlite-utils-openai-batch "
        "(it has m999_later). Upgrade with: pip install -U sqlite-utils-openai-batch\n"
    )
    assert run("run", library, "notes", *ASK, *run.there, "--new", code=1).err == sentence
    for command in ("jobs", "show", "results", "sync", "watch"):
        assert run(command, library, code=1).err == sentence
    assert run("submit", library, "-y", code=1).err == sentence
    check()


# The server and its key


def test_no_key(run: Any, library: Path, unchanged: Any) -> None:
    check = unchanged(library)
    for command in (("run", "-y"), ("prepare",)):
        said = run(command[0], library, "notes", *ASK, *command[1:], code=1)
        assert said.err == (
            "Error: No key for OpenAI. Give one with --key, set OPENAI_API_KEY, "
            "or ask the small model on this machine with --local.\n"
        )
    check()


def test_nobody_answers(run: Any, library: Path, unchanged: Any, web: Any) -> None:
    check = unchanged(library)
    url = web.base_url
    web.http.server_close()
    said = run("run", library, "notes", *ASK, "-y", "--base-url", url, code=1)
    assert said.err == (
        f"Error: No server can be reached at {url} ([Errno 111] Connection refused). "
        "Look at the address and the network.\n"
    )
    check()


def test_a_server_that_can_only_chat(
    run: Any, library: Path, unchanged: Any, web: Any, reply: Any
) -> None:
    check = unchanged(library)
    web.reply("POST /chat/completions", reply(200, {"choices": []}))
    url = web.base_url
    for command in (("run", "-y"), ("prepare",)):
        said = run(command[0], library, "notes", *ASK, *command[1:], "--base-url", url, code=1)
        assert said.err == (
            f"Error: The server at {url} answers, but has no Batch API. If it has chat "
            f"completions, let the local batch server ask it: --upstream {url}\n"
        )
    # A batch of nothing tells whether batches are known there; nothing else was sent.
    assert {asked.body for asked in web.asked} == {b"", b"{}"}
    check()


@pytest.mark.parametrize("body", [b"<html>Welcome!</html>", b'{"hello": 1}', b""])
def test_a_server_of_something_else(
    body: bytes, run: Any, library: Path, unchanged: Any, web: Any, reply: Any
) -> None:
    check = unchanged(library)
    web.reply("GET /batches", reply(200, body, {"content-type": "text/html"}))
    url = web.base_url
    said = run("run", library, "notes", *ASK, "-y", "--base-url", url, code=1)
    assert said.err.startswith(f"Error: The server at {url} answers, but has no Batch API.")
    check()


def test_a_key_that_is_refused(
    run: Any, library: Path, unchanged: Any, web: Any, reply: Any
) -> None:
    check = unchanged(library)
    key = "sk-test-1234567890abcdef"
    words = f"Incorrect API key provided: {key}."
    web.reply("GET /batches", reply(401, {"error": {"message": words, "code": "invalid_api_key"}}))

    said = run(
        "run", library, "notes", *ASK, "-y", "--base-url", web.base_url, "--key", key, code=4
    )

    host = web.base_url.removeprefix("http://").removesuffix("/v1")
    assert said.err == (
        f"Error: {host} does not accept the key: Incorrect API key provided: (the key). "
        "Give another with --key or OPENAI_API_KEY.\n"
    )
    check()


def test_a_password_in_the_address(run: Any, library: Path, unchanged: Any) -> None:
    check = unchanged(library)
    url = run.base_url.replace("http://", "http://me:secret@")
    said = run("run", library, "notes", *ASK, "-y", "--base-url", url, code=2)
    assert said.err == (
        "Error: --base-url can't hold a user name or password: it is kept with the job. "
        "Give a key with --key.\n"
    )
    check()


# Jobs


def test_no_such_job(run: Any, library: Path) -> None:
    for command in (("show",), ("results",), ("sync",), ("watch",), ("submit", "-y")):
        said = run(command[0], library, *command[1:], "7", code=1)
        assert said.err == (
            "Error: No jobs in 'data.db' yet. "
            "Start one with: sqlite-utils openai-batch run data.db TABLE …\n"
        )
    run("prepare", library, "notes", *ASK, "--base-url", run.base_url, "--name", "first")
    for command in (("show",), ("results",), ("sync",), ("watch",), ("submit", "-y")):
        said = run(command[0], library, *command[1:], "7", code=1)
        assert said.err == "Error: No job '7' in 'data.db'. Jobs: 1 (first)\n"


def test_submit_without_a_job(run: Any, library: Path) -> None:
    sentence = (
        "Error: No job in 'data.db' waits to be submitted. "
        "Prepare one with: sqlite-utils openai-batch prepare data.db TABLE …\n"
    )
    assert run("submit", library, "-y", code=1).err == sentence
    for output in ("a", "b"):
        run("prepare", library, "notes", *ASK, "--base-url", run.base_url, "--output", output)
    assert run("submit", library, "-y", code=1).err == (
        "Error: Several jobs wait to be submitted: 2, 1. Name one of them.\n"
    )
    assert run("submit", library, "1", code=2).err == (
        "Error: Without a terminal to ask on, sending needs -y or --max-cost (or use preview).\n"
    )
    for job in ("1", "2"):
        run("submit", library, "-y", job)
    run("watch", library, "--poll", "0.05")
    assert run("submit", library, "-y", code=1).err == sentence
    assert run("submit", library, "-y", "2", code=1).err == (
        "Error: Job 2 is completed: only a prepared or paused job can be submitted. "
        "Look at it with: sqlite-utils openai-batch show data.db 2\n"
    )


def test_wrong_columns_and_outcomes(run: Any, library: Path) -> None:
    run("run", library, "notes", *ASK, *run.there)
    assert run("results", library, "-c", "txt", code=2).err == (
        "Error: No column 'txt' in the results of job 1. Did you mean text? "
        "Columns: id, text, mark, Überschrift, answer, status, error\n"
    )
    assert run("results", library, "--status", "good", code=2).err == (
        "Error: No outcome is called 'good'. There are: ok, pending, refused, content_filter, "
        "truncated, empty, invalid_json, schema_violation, http_error, api_error, rejected, "
        "expired, cancelled, missing, unrenderable, too_large\n"
    )
