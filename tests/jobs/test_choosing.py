"""--sample, --missing, --changed and --like, and a table that grows night by night."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "nightly.md"
ASK = ("--prompt", "Say: {{ text }}")


def asked(run: Any, *arguments: Any) -> list[Any]:
    """The prompts of all requests that a preview shows."""
    out = run("preview", *arguments, "--raw", "-n", "100").out
    return [json.loads(line)["body"]["messages"][-1]["content"] for line in out.splitlines()]


def change(path: Path, *statements: str) -> None:
    """Edit a database as a person does."""
    with closing(sqlite3.connect(path)) as conn, conn:
        for statement in statements:
            conn.execute(statement)


# --sample


def test_a_sample_is_the_same_each_time(run: Any, notes: Any) -> None:
    first = asked(run, notes, "notes", *ASK, "--sample", "5")
    assert len(set(first)) == 5
    assert asked(run, notes, "notes", *ASK, "--sample", "5") == first
    assert asked(run, notes, "notes", *ASK, "--sample", "5", "--seed", "0") == first
    numbers = [int(prompt.split()[-1]) for prompt in first]
    assert numbers == sorted(numbers)
    others = [asked(run, notes, "notes", *ASK, "--sample", "5", "--seed", str(n)) for n in (1, 2)]
    assert first not in others


def test_a_sample_changes_little_when_rows_are_added(run: Any, notes: Any) -> None:
    first = asked(run, notes, "notes", *ASK, "--sample", "6")
    change(notes, "INSERT INTO notes (text) VALUES ('more')")
    assert len(set(first) & set(asked(run, notes, "notes", *ASK, "--sample", "6"))) >= 5


def test_a_sample_of_a_query_in_its_order(run: Any, notes: Any) -> None:
    query = ("--sql", "SELECT id, text FROM notes ORDER BY id DESC", "--pk", "id")
    drawn = asked(run, notes, *query, *ASK, "--sample", "4")
    numbers = [int(prompt.split()[-1]) for prompt in drawn]
    assert len(numbers) == 4
    assert numbers == sorted(numbers, reverse=True)


def test_a_sample_of_some_rows_and_of_few(run: Any, notes: Any) -> None:
    some = asked(run, notes, "notes", *ASK, "--sample", "3", "--where", "id <= 4")
    assert len(some) == 3
    assert set(some) < {f"Say: note {n}" for n in (1, 2, 3, 4)}
    assert len(asked(run, notes, "notes", *ASK, "--sample", "300")) == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "4"), "--seed goes with --sample N: it says which rows are drawn. The model's own seed is given by -o seed."),  # noqa: E501
        (("--sample", "4", "--limit", "2"), "--sample and --limit both say how many rows: give one of them."),  # noqa: E501
        (("--missing", "--replace"), "--missing never overwrites what others wrote: leave out --replace."),  # noqa: E501
        (("--missing", "--no-write"), "--missing goes by the columns that are written: leave out --no-write."),  # noqa: E501
        (("--changed",), "--changed goes by what was asked under a name: give it by --name, or by --like JOB."),  # noqa: E501
        (("--changed", "--missing", "--name", "a"), "--changed takes rows that were never asked too: leave out --missing."),  # noqa: E501
    ],
)  # fmt: skip
def test_options_that_contradict_each_other(
    run: Any, notes: Any, arguments: tuple[str, ...], message: str
) -> None:
    assert run("preview", notes, "notes", *ASK, *arguments, code=2).err == f"Error: {message}\n"


# --missing


def test_missing_is_what_has_no_answer(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *ASK, "--where", "id > 9", *run.there)
    change(notes, "UPDATE notes SET answer = 'by hand' WHERE id IN (1, 2)")

    said = run("run", notes, "notes", *ASK, "--missing", *run.there)

    assert "7 of 7 rows answered" in said.err
    answered = rows(notes, "SELECT id FROM notes WHERE answer = 'by hand'")
    assert answered == [(1,), (2,)]
    nothing = run("run", notes, "notes", *ASK, "--missing", *run.there)
    assert (
        nothing.err == "No row of notes lacks an answer that it could still get: nothing to ask.\n"
    )


def test_missing_is_no_row_that_failed_for_good_or_is_in_flight(
    run: Any, database: Any, held: Any
) -> None:
    server, _ = held
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'one'), (2, 'two [refuse]'), (3, 'three'), (4, 'four');"
    )
    run("run", db, "t", *ASK, "--where", "id <= 2", *run.there, code=3)
    there = ("--base-url", server.base_url, "-y", "--no-wait")
    run("run", db, "t", *ASK, "--where", "id = 3", "--new", *there)

    assert asked(run, db, "t", *ASK, "--missing") == ["Say: four"]


def test_missing_asks_what_was_dropped_or_emptied(run: Any, notes: Any, held: Any) -> None:
    server, _ = held
    there = ("--base-url", server.base_url)
    run("prepare", notes, "notes", *ASK, *there)
    assert asked(run, notes, "notes", *ASK, "--missing") == []
    run("delete", notes, "1", "-y")
    run("run", notes, "notes", *ASK, *run.there)
    change(notes, "UPDATE notes SET answer = NULL WHERE id = 5")

    assert asked(run, notes, "notes", *ASK, "--missing") == ["Say: note 5"]


def test_missing_in_a_table_of_its_own(run: Any, notes: Any) -> None:
    out = ("--output-table", "said")
    run("run", notes, "notes", *ASK, *out, "--where", "id < 11", *run.there)
    change(notes, "DELETE FROM said WHERE id = 3", "UPDATE said SET answer = NULL WHERE id = 4")

    missing = asked(run, notes, "notes", *ASK, *out, "--missing")

    assert missing == [f"Say: note {n}" for n in (3, 4, 11, 12)]


def test_missing_is_counted_before_the_limit(run: Any, notes: Any) -> None:
    run("run", notes, "notes", *ASK, "--where", "id % 2", *run.there)
    assert asked(run, notes, "notes", *ASK, "--missing", "--limit", "2") == [
        "Say: note 2",
        "Say: note 4",
    ]


# --changed

CHANGED = (*ASK, "--name", "nightly", "--changed")


def test_changed_is_what_is_new_or_differs(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *CHANGED, *run.there)
    before = dict(rows(notes, "SELECT id, answer FROM notes"))
    change(
        notes,
        "UPDATE notes SET text = 'new 2' WHERE id = 2",
        "UPDATE notes SET mark = 77 WHERE id = 3",
        "INSERT INTO notes (text) VALUES ('note 13')",
    )

    assert asked(run, notes, "notes", *CHANGED) == ["Say: new 2", "Say: note 13"]
    run("run", notes, "notes", *CHANGED, *run.there)

    after = dict(rows(notes, "SELECT id, answer FROM notes"))
    assert after[2].endswith("Say: new 2")
    assert after[13].endswith("Say: note 13")
    assert {key for key in before if before[key] != after[key]} == {2}
    nothing = run("run", notes, "notes", *CHANGED, *run.there)
    assert nothing.err == "Nothing in notes has changed since it was asked: nothing to ask.\n"


def test_changed_leaves_alone_what_a_person_edited(run: Any, notes: Any, rows: Any) -> None:
    run("run", notes, "notes", *CHANGED, *run.there)
    change(
        notes,
        "UPDATE notes SET text = 'new ' || id WHERE id IN (2, 3, 4)",
        "UPDATE notes SET answer = 'better' WHERE id = 2",
        "UPDATE notes SET answer = NULL WHERE id = 4",
        "INSERT INTO notes (id, text, answer) VALUES (20, 'x', 'my own')",
    )

    assert asked(run, notes, "notes", *CHANGED) == ["Say: new 3", "Say: new 4"]


def test_an_edit_while_the_question_is_out_is_left_alone(
    run: Any, notes: Any, rows: Any, held: Any
) -> None:
    server, answerer = held
    run("run", notes, "notes", *CHANGED, *run.there)
    change(notes, "UPDATE notes SET text = 'new ' || id WHERE id IN (2, 3)")
    run("run", notes, "notes", *CHANGED, "--base-url", server.base_url, "-y", "--no-wait")
    assert asked(run, notes, "notes", *CHANGED) == []
    change(notes, "UPDATE notes SET answer = 'better' WHERE id = 2")

    answerer.release()
    run("watch", notes, "--poll", "0.05")

    found = dict(rows(notes, "SELECT id, answer FROM notes WHERE id IN (2, 3)"))
    assert found[2] == "better"
    assert found[3].endswith("Say: new 3")


def test_changed_asks_no_failed_row_again_before_it_changes(run: Any, database: Any) -> None:
    db = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
        "INSERT INTO t VALUES (1, 'one'), (2, 'two [refuse]');"
    )
    run("run", db, "t", *CHANGED, *run.there, code=3)
    assert asked(run, db, "t", *CHANGED) == []
    change(db, "UPDATE t SET text = 'two' WHERE id = 2")
    assert asked(run, db, "t", *CHANGED) == ["Say: two"]


# --like


def test_like_takes_every_option_and_what_is_typed_wins(
    run: Any, notes: Any, tmp_path: Path
) -> None:
    (tmp_path / "system.txt").write_text("Be {{ mark }}.")
    run(
        "prepare", notes, "notes", *ASK, "-s", "system.txt", "-m", "gpt-4.1", "--name", "first",
        "-o", "max_tokens", "9", "-o", "temperature", "0", "--where", "id < :most",
        "-p", "most", "4", "--schema", "mood good|bad", *run.there[:2],
    )  # fmt: skip
    (tmp_path / "system.txt").unlink()

    same = run("preview", notes, "--like", "first", "--raw", "-n", "9")
    other = run(
        "preview", notes, "--like", "first", "--raw", "-n", "9", "--prompt", "{{ text }}?",
        "-o", "max_tokens", "5", "-p", "most", "3",
    )  # fmt: skip

    lines = [json.loads(line)["body"] for line in same.out.splitlines()]
    assert len(lines) == 3
    assert [message["content"] for message in lines[0]["messages"]] == ["Be 1.", "Say: note 1"]
    assert (lines[0]["model"], lines[0]["max_tokens"], lines[0]["temperature"]) == ("gpt-4.1", 9, 0)
    assert "at 127.0.0.1" in same.err
    assert "notes.mood TEXT" in same.err
    (first, _) = (json.loads(line)["body"] for line in other.out.splitlines())
    assert [message["content"] for message in first["messages"]] == ["Be 1.", "note 1?"]
    assert (first["max_tokens"], first["temperature"]) == (5, 0)


def test_like_takes_a_template_along(run: Any, notes: Any, tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "{{ text }}"}]}
    (tmp_path / "b.json").write_text(json.dumps(body))
    run("prepare", notes, "notes", "--template", "b.json", *run.there[:2])
    (tmp_path / "b.json").unlink()

    assert asked(run, notes, "--like", "1", "--limit", "1") == ["note 1"]
    assert asked(run, notes, "--like", "1", *ASK, "--limit", "1") == ["Say: note 1"]


def test_like_a_job_that_is_not_there(run: Any, notes: Any) -> None:
    run("prepare", notes, "notes", *ASK, "--name", "a", *run.there[:2])
    said = run("preview", notes, "--like", "b", code=1)
    assert said.err == "Error: No job 'b' in 'data.db'. Jobs: 1 (a)\n"


# The cron line


def cron_lines() -> list[str]:
    """The two commands of the crontab in docs/nightly.md, for a database of the test's own."""
    page = DOCS.read_text().replace("demo.db", "shop.db")
    indented = [line for line in page.splitlines() if re.match(r" {4}[\d*]", line)]
    parts = [line.partition("sqlite-utils openai-batch ") for line in indented]
    return [command for _, found, command in parts if found]


def test_a_table_that_grows_every_day(run: Any, database: Any, rows: Any, held: Any) -> None:
    database(
        "CREATE TABLE reviews (id INTEGER PRIMARY KEY, body TEXT);"
        "INSERT INTO reviews (body) VALUES ('one'), ('two'), ('three');",
        "shop.db",
    )
    nightly, sync = cron_lines()
    night = shlex.split(nightly)
    server, answerer = held

    def answered() -> dict[int, str | None]:
        found = rows("shop.db", "SELECT id, answer FROM reviews ORDER BY id")
        return {key: answer and answer.partition(": ")[2] for key, answer in found}

    # the first day: by hand, and waiting for it
    run("run", "shop.db", "reviews", "--prompt", "{{ body }}", "--name", "nightly", *run.there)
    assert answered() == {1: "one", 2: "two", 3: "three"}

    # the second night: nothing is new
    assert "nothing to ask" in run(*night).err

    # the third: two rows came, one was changed; the batch isn't done by morning
    change(
        Path("shop.db"),
        "INSERT INTO reviews (body) VALUES ('four'), ('five [refuse]')",
        "UPDATE reviews SET body = 'two!' WHERE id = 2",
    )
    run(*night, "--base-url", server.base_url)
    # the fourth: one more came; what is in flight isn't asked again
    change(Path("shop.db"), "INSERT INTO reviews (body) VALUES ('six')")
    run(*night, "--base-url", server.base_url)
    answerer.release()
    while run_sync(run, shlex.split(sync)):
        pass
    assert answered() == {
        1: "one", 2: "two!", 3: "three", 4: "four", 5: None, 6: "six",
    }  # fmt: skip

    # the fifth: a person wrote an answer of her own, and that row changed too
    change(
        Path("shop.db"),
        "UPDATE reviews SET answer = 'x: mine', body = 'one!' WHERE id = 1",
    )
    assert "nothing to ask" in run(*night).err
    counts = rows("shop.db", "SELECT requests FROM openai_batch_jobs ORDER BY id")
    assert counts == [(3,), (3,), (1,)]
    assert answered()[1] == "mine"


def run_sync(run: Any, arguments: list[str]) -> bool:
    """One pass of sync; whether something is still open."""
    from click.testing import CliRunner
    from sqlite_utils.cli import cli

    result = CliRunner().invoke(cli, ["openai-batch", *arguments], catch_exceptions=False)
    assert result.exit_code in (0, 3), result.output
    with closing(sqlite3.connect("shop.db")) as conn:
        found = conn.execute("SELECT 1 FROM openai_batch_jobs WHERE finished_at IS NULL LIMIT 1")
        return found.fetchone() is not None
