"""The command line that Datasette shows for a job asks the very same, through a real shell."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from sqlite_utils.cli import cli

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.jobs.plan.options import DEFAULTS, OPTIONS, command_line

UGLY = 'It\'s "{{ text }}" $HOME `id` \\ !!\n--limit 3 \N{CLAPPER BOARD} {{ mark }}'
# Options of the moment, and those that the job itself stands in for.
LEFT_OUT = {
    "db", "table", "key", "new", "like", "template", "poll", "yes", "no_wait", "dry_run",
    "encoding", "recursive", "csv_out",
    "ray", "ray_workers", "engine", "tensor_parallel",
}  # fmt: skip


def job_of(path: Path, job_id: int = 1) -> store.Job:
    with closing(sqlite3.connect(path)) as conn:
        return store.get_job(conn, job_id)


def words_of(command: str) -> list[str]:
    """The words of a command, as a shell reads them."""
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def bodies(run: Any, *arguments: Any) -> list[Any]:
    out = run("preview", *arguments, "--raw", "-n", "100").out
    return [json.loads(line)["body"] for line in out.splitlines()]


@pytest.mark.parametrize(
    "typed",
    [
        ("notes", "--prompt", "Say: {{ text }}"),
        ("notes", "--prompt", UGLY, "--system", "a\tb", "-o", "max_tokens", "9",
         "-o", "stop", '["x", "\'"]', "--where", "id < :most", "-p", "most", "7",
         "--order", "id desc", "--limit", "3", "--name", "the 'first'"),
        ("notes", "--prompt", "{{ text }}", "--sample", "4", "--seed", "-7", "--missing",
         "--schema", "mood good|bad|not sure, score 0..1", "--prefix", "ai_", "--reuse"),
        ("--sql", "SELECT id, text FROM notes WHERE mark = 1", "--pk", "id",
         "--prompt", "{{ text }}", "--output-table", "said", "--responses", "none",
         "--blanks", "send", "--part-requests", "2", "--attempts", "5"),
        ("notes", "--prompt", "Look: {{ text }}", "--image", "https://example.org/{{ mark }}.png",
         "--image-detail", "low", "--image-size", "0", "--no-write", "--max-cost", "2.50",
         "--price-input", "1", "--price-output", "2", "-m", "gpt-4o"),
        ("notes", "--prompt", "{{ text }}", "--endpoint", "/v1/embeddings", "--output", "vector"),
    ],
)  # fmt: skip
def test_the_command_asks_the_same(run: Any, notes: Path, typed: tuple[str, ...]) -> None:
    run("prepare", notes, *typed, *run.there[:2])
    job = job_of(notes)
    command = command_line(job, notes.name)
    assert command is not None

    again = words_of(command)

    assert again[:4] == ["sqlite-utils", "openai-batch", "run", notes.name]
    kept = job.settings["recipe"]
    assert bodies(run, *again[3:]) == bodies(run, notes, *typed, *run.there[:2])
    run("delete", notes, "1", "-y")
    run("prepare", *again[3:])
    assert job_of(notes).settings["recipe"] == {**kept, "model": job.model}
    assert command_line(job_of(notes), notes.name) == command


def test_a_whole_body_comes_from_the_job(run: Any, notes: Path, tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "{{ text }}"}]}
    (tmp_path / "b.json").write_text(json.dumps(body))
    run("prepare", notes, "notes", "--template", "b.json", "--limit", "2", *run.there[:2])
    (tmp_path / "b.json").unlink()
    command = command_line(job_of(notes), "data.db")
    assert command == "sqlite-utils openai-batch run data.db --like 1"
    assert len(bodies(run, *words_of(command)[3:])) == 2


def test_a_job_that_no_command_made_has_none(run: Any, notes: Path) -> None:
    run("prepare", notes, "notes", "--prompt", "{{ text }}", *run.there[:2])
    with closing(sqlite3.connect(notes)) as conn, conn:
        conn.execute("UPDATE openai_batch_jobs SET options = '{}'")
    assert command_line(job_of(notes), "data.db") is None


def test_every_option_of_run_is_known() -> None:
    group = cli.commands["openai-batch"]
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), "run")
    assert command is not None
    found = {parameter.name: parameter for parameter in command.params}
    assert set(OPTIONS) == set(found) - LEFT_OUT - {"help"}
    for name, option in OPTIONS.items():
        assert option in found[name].opts
    assert {name: found[name].default for name in DEFAULTS} == DEFAULTS
