"""`batches` and `fetch`: what an account holds, also what other tools sent."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

CHAT = "/v1/chat/completions"
Key = tuple[str, str]


def foreign(
    server: Any, key: str, ids: list[str], texts: list[str] | None = None, wait: bool = True
) -> str:
    """A batch that another tool sends. Returns its id."""
    said = texts or [f"about {one}" for one in ids]
    lines = [
        {"custom_id": one, "method": "POST", "url": CHAT, "body": {
            "model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}}
        for one, text in zip(ids, said, strict=True)
    ]  # fmt: skip
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    with closing(OpenAI(base_url=server.base_url, api_key=key)) as client:
        file = client.files.create(file=("mine.jsonl", data), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        deadline = time.monotonic() + 30
        while wait and batch.status != "completed":
            assert time.monotonic() < deadline, batch
            batch = client.batches.retrieve(batch.id)
    return batch.id


@pytest.fixture
def people(run: Any) -> str:
    """A table whose rows somebody else's batch asked about; the order isn't that of its lines."""
    with closing(sqlite3.connect("p.db")) as conn:
        conn.executescript(
            "CREATE TABLE people (name TEXT, code TEXT, number INTEGER);"
            "INSERT INTO people VALUES ('Cy', 'c-3', 3), ('Ann', 'a-1', 1), ('Bo', 'b 2', 2);"
        )
    return "p.db"


def rows_of(csv_text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text)))


# batches


def test_batches_of_all_tools_are_listed_with_their_jobs(
    run: Any, server: Any, people: str
) -> None:
    key = ("--key", "listed")
    theirs = foreign(server, "listed", ["a", "b"])
    run("run", people, "people", "--prompt", "{{ name }}", *run.there, *key)

    said = run("batches", people, *key, "--csv")
    plain = run("batches", "--base-url", server.base_url, *key, "--nl")
    screen = run("batches", people, *key)

    found = {one["id"]: one for one in rows_of(said.out)}
    assert len(found) == 2
    their = found.pop(theirs)
    assert (their["status"], their["requests"], their["completed"], their["failed"]) == (
        "completed", "2", "2", "0",
    )  # fmt: skip
    assert (their["endpoint"], their["job"]) == (CHAT, "")
    assert their["output_file_id"]
    assert their["created_at"].endswith("Z")
    assert [one["job"] for one in found.values()] == ["1"]
    assert {json.loads(line)["id"] for line in plain.out.splitlines()} == {theirs, *found}
    assert f"{theirs}  completed" in screen.out
    assert "2 batches at " in screen.err


def test_batches_are_chosen(run: Any, server: Any, held: Any) -> None:
    there = ("--base-url", held[0].base_url, "--key", "chosen")
    first = foreign(held[0], "chosen", ["a"], wait=False)
    second = foreign(held[0], "chosen", ["a"], wait=False)

    run("batches", *there, "--cancel", first, "-y")
    cancelled = run("batches", *there, "--status", "cancelled", "--status", "cancelling", "--nl")
    newest = run("batches", *there, "--limit", "1", "--nl")
    mistyped = run("batches", *there, "--status", "Canceled", "--nl")
    assert "canceled. There are: validating, in_progress, finalizing," in mistyped.err
    hyphen = run("batches", *there, "--status", "in-progress", "--nl")
    assert "Warning" not in hyphen.err
    nothing = run("batches", *there, "--status", "expired")

    assert [json.loads(line)["id"] for line in cancelled.out.splitlines()] == [first]
    assert json.loads(newest.out)["id"] == second
    assert "No batches that are expired at " in nothing.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--cancel", "batch_none", "-y"), 1, "has no batch 'batch_none' for this key"),
        (("--cancel", "x", "--files"), 2, "--cancel, --files and --delete-files: give one"),
        (("--delete-files",), 2, "--delete-files needs DB"),
    ],
)
def test_what_batches_refuses(
    run: Any, server: Any, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = run("batches", "--base-url", server.base_url, "--key", "none", *arguments, code=code)

    assert words in said.err


def test_cancel_asks_first(run: Any, held: Any, terminal: Any) -> None:
    there = ("--base-url", held[0].base_url, "--key", "asks")
    batch = foreign(held[0], "asks", ["a"], wait=False)

    refused = run("batches", *there, "--cancel", batch, code=2)
    screen = terminal("batches", *there, "--cancel", batch)
    screen.answer("Cancel it? [y/N]", "n\n")
    screen.end(0)

    assert "Without a terminal to ask on, this needs -y" in refused.err
    (line,) = run("batches", *there, "--nl").out.splitlines()
    assert json.loads(line)["status"] not in ("cancelling", "cancelled")


def test_an_ended_batch_is_not_cancelled(run: Any, server: Any) -> None:
    batch = foreign(server, "ended", ["a"])

    said = run("batches", "--base-url", server.base_url, "--key", "ended", "--cancel", batch, "-y")

    assert f"{batch} has ended already (completed)" in said.err


# files


def test_only_files_go_whose_answers_are_here(run: Any, held: Any, people: str) -> None:
    there = ("--base-url", held[0].base_url, "--key", "files")
    held[1].release()
    theirs = foreign(held[0], "files", ["a"])
    run("run", people, "people", "--prompt", "{{ name }}", *there, "-y", "--poll", "0.05")
    held[1].released = False
    run("run", people, "people", "--prompt", "{{ name }}!", "--output", "second", *there, "-y",
        "--no-wait")  # fmt: skip

    before = rows_of(run("batches", people, "--files", *there[2:], "--csv").out)
    screen = run("batches", people, "--files", *there[2:])
    refused = run("batches", people, "--delete-files", *there[2:], code=2)
    run("batches", people, "--delete-files", "-y", *there[2:])
    after = rows_of(run("batches", people, "--files", *there[2:], "--csv").out)

    # Theirs: input and output. Ours: input and output of the first job, input of the second.
    assert len(before) == 5
    assert [one["kept_here"] for one in before if one["job"] == "1"] == ["1", "1"]
    assert {one["kept_here"] for one in before if one["job"] != "1"} == {"0"}
    assert all(int(one["bytes"]) > 0 for one in before)
    assert "5 files at " in screen.err
    assert "this needs -y" in refused.err
    assert {one["id"] for one in after} == {one["id"] for one in before if one["job"] != "1"}
    assert theirs in {one["batches"] for one in after}
    held[1].release()
    run("watch", people, "--poll", "0.05", *there[2:])
    with closing(sqlite3.connect(people)) as conn:
        assert conn.execute("SELECT count(answer), count(second) FROM people").fetchone() == (3, 3)


# fetch


def test_fetch_to_a_folder(run: Any, server: Any) -> None:
    there = ("--base-url", server.base_url, "--key", "folder")
    one = foreign(server, "folder", ["a", "b"], ["x", "[http 400]"])
    other = foreign(server, "folder", ["c"])

    said = run("fetch", one, other, "--dir", "new/folder", *there)
    again = run("fetch", one, "--dir", "new/folder", *there)

    names = [f"{one}_output.jsonl", f"{one}_error.jsonl", f"{other}_output.jsonl"]
    assert said.out.split() == [f"new/folder/{name}" for name in names]
    assert again.out.split() == said.out.split()[:2]
    assert sorted(path.name for path in Path("new/folder").iterdir()) == sorted(names)
    ids = [
        json.loads(Path("new/folder", name).read_text())["custom_id"] for name in names
    ]  # fmt: skip
    assert ids == ["a", "b", "c"]


def test_files_that_have_gone_are_named(run: Any, web: Any, reply: Any) -> None:
    batch = {"id": "b1", "status": "completed", "output_file_id": "f1", "created_at": 1}
    web.reply("GET /batches/b1", reply(200, batch))

    said = run("fetch", "b1", "--dir", "d", "--base-url", web.base_url, code=1)

    assert "The output file of b1 isn't at 127.0.0.1" in said.err
    assert list(Path("d").iterdir()) == []


def test_fetch_into_the_job_that_asked(run: Any, held: Any, people: str) -> None:
    there = ("--base-url", held[0].base_url, "--key", "job")
    run("run", people, "people", "--prompt", "{{ name }}", *there, "-y", "--no-wait")
    (batch,) = (
        json.loads(line)["id"]
        for line in run("batches", people, *there[2:], "--nl").out.split("\n")
        if line
    )
    early = run("fetch", batch, "--into", people, *there, code=1)
    held[1].release()
    deadline = time.monotonic() + 30
    while '"completed"' not in run("batches", people, *there[2:], "--nl").out.split(",")[1]:
        assert time.monotonic() < deadline

    run("fetch", batch, "--into", people, *there)

    assert f"{batch} is " in early.err
    with closing(sqlite3.connect(people)) as conn:
        found = conn.execute("SELECT name, answer FROM people").fetchall()
    assert all(answer.endswith(f": {name}") for name, answer in found)


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        (["b 2", "a-1", "c-3"], "custom_id=code"),
        (["2", "1", "3"], "custom_id=number"),
        (["id_2!", "id_1!", "id_3!"], "custom_id=id_{number}!"),
    ],
)
def test_a_foreign_batch_beside_its_rows(
    run: Any, server: Any, people: str, ids: list[str], key: str
) -> None:
    there = ("--base-url", server.base_url, "--key", ids[0])
    batch = foreign(server, ids[0], ids, ["Bo", "Ann", "Cy"])

    said = run("fetch", batch, "--into", people, "people", "--key", key, *there)

    with closing(sqlite3.connect(people)) as conn:
        found = conn.execute("SELECT name, answer FROM people").fetchall()
    assert [name for name, _ in found] == ["Cy", "Ann", "Bo"]
    assert all(answer.endswith(f": {name}") for name, answer in found)
    assert "written            3   people.answer" in said.err


def test_failed_lines_leave_their_rows_empty(run: Any, server: Any, people: str) -> None:
    there = ("--base-url", server.base_url, "--key", "failed")
    batch = foreign(server, "failed", ["1", "2", "3"], ["[http 400]", "[refuse]", "fine"])

    said = run("fetch", batch, "--into", people, "people", "--key", "custom_id=number",
               "--output", "said", *there)  # fmt: skip

    with closing(sqlite3.connect(people)) as conn:
        found = dict(conn.execute("SELECT number, said FROM people").fetchall())
    assert (found[1], found[2]) == (None, None)
    assert found[3].endswith(": fine")
    assert "1 http_error" in said.err
    assert "1 refused" in said.err
    assert "sum                3" in said.err


@pytest.mark.parametrize(
    ("ids", "options", "code", "words"),
    [
        (["1", "x", "y"], (), 1, "No row of people has the custom_id of 2 lines: line "),
        (["1", "2"], ("--key", "custom_id=nummer"), 2, "no column 'nummer'. Columns: number"),
        (["Ann"], ("--key", "custom_id=same"), 1, "same 'Ann' stands in several rows of people"),
        (["1"], ("--output", "name"), 1, "Column 'name' of people already holds values in 3 rows"),
    ],
)  # fmt: skip
def test_what_would_be_a_guess_writes_nothing(
    run: Any,
    server: Any,
    people: str,
    unchanged: Any,
    ids: list[str],
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    with closing(sqlite3.connect(people)) as conn:
        conn.executescript("ALTER TABLE people ADD COLUMN same TEXT DEFAULT 'Ann'")
    there = ("--base-url", server.base_url, "--key", "guess")
    batch = foreign(server, "guess", ids)
    check = unchanged(people)
    key = () if "--key" in options else ("--key", "custom_id=number")

    said = run("fetch", batch, "--into", people, "people", *key, *options, *there, code=code)

    assert words in said.err
    check()


def test_unknown_ones_may_be_left_out(run: Any, server: Any, people: str) -> None:
    there = ("--base-url", server.base_url, "--key", "skip")
    batch = foreign(server, "skip", ["1", "x"])

    said = run("fetch", batch, "--into", people, "people", "--key", "custom_id=number",
               "--skip-unknown", *there)  # fmt: skip

    assert "unknown            1   no row has their custom_id" in said.err
    with closing(sqlite3.connect(people)) as conn:
        assert conn.execute("SELECT count(answer) FROM people").fetchone() == (1,)


def test_a_schema_makes_columns(run: Any, web: Any, reply: Any, people: str) -> None:
    def line(custom_id: str, text: str) -> dict[str, Any]:
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = {"object": "chat.completion", "model": "m", "choices": [choice]}
        return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}}

    lines = [line("1", '{"mood": "good", "score": 1}'), line("2", '{"mood": "so"}'), "broken"]
    data = "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in lines)
    batch = {"id": "b1", "status": "completed", "output_file_id": "f1", "created_at": 1}
    web.reply("GET /batches/b1", reply(200, batch))
    web.reply("GET /files/f1/content", reply(200, data.encode()))

    said = run("fetch", "b1", "--into", people, "people", "--key", "custom_id=number", "--schema",
               "mood good|bad, score int", "--base-url", web.base_url)  # fmt: skip

    with closing(sqlite3.connect(people)) as conn:
        found = conn.execute("SELECT number, mood, score FROM people ORDER BY number").fetchall()
    assert found == [(1, "good", 1), (2, None, None), (3, None, None)]
    assert "1 schema_violation" in said.err
    assert "broken             1" in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("batch_x", "--dir", "d"), 1, "has no batch 'batch_x' for this key"),
        (("batch_x",), 2, "Where to? --dir FOLDER for files"),
        (("batch_x", "--dir", "d", "--into", "p.db"), 2, "--dir and --into: give one of them"),
        (("batch_x", "--into", "p.db", "people"), 2, "Which column of people holds the custom_ids"),
        (("people", "--into", "p.db", "--key", "custom_id=code"), 2, "Which batch? Name it before"),
        (("batch_x", "--into", "no.db"), 1, "No such database: 'no.db'"),
    ],
)  # fmt: skip
def test_what_fetch_refuses(
    run: Any, server: Any, people: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = run("fetch", *arguments, "--base-url", server.base_url, "--key", "any", code=code)

    assert words in said.err
