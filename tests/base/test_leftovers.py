"""What a killed process leaves in the temporary folder is gone with the next command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.base.scratch import PREFIX, SERVER, Scratch, scratch, sweep
from sqlite_utils_openai_batch.local import LocalServer

ASK = ("--prompt", "Say: {{ text }}")

#: Runs a command, and is killed by itself right before a request: the rows are in their file then.
KILLED = """
import os, signal, sys, httpx2
from sqlite_utils.cli import cli
real = httpx2.Client.send
def send(self, request, **options):
    if f"{request.method} {request.url.path}".startswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, request, **options)
httpx2.Client.send = send
cli(["openai-batch", *sys.argv[2:]])
"""
#: Holds a folder until it is killed, or told to end.
HOLDS = """
import sys
from sqlite_utils_openai_batch.base.scratch import Scratch
held = Scratch(sys.argv[1])
(held.path / "rows").write_text("what people said")
print(held.path, flush=True)
sys.stdin.read()
held.close()
"""


@pytest.fixture
def journal() -> str:
    """Nothing here depends on SQLite's journal mode."""
    return "delete"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, for its processes too."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def left(folder: Path) -> list[str]:
    """What lies there, folders with what is in them."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def held(prefix: str = PREFIX) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, prefix],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def killed(*args: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, args)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_the_file_of_a_part_goes_with_the_next_sync(
    run: Any, notes: Path, temporary: Path, rows: Any
) -> None:
    killed("POST /v1/files", "run", notes, "notes", *ASK, *run.there)
    assert [path for path in left(temporary) if path.endswith("part-1.jsonl")]
    run("watch", notes, "--poll", "0.05")
    assert left(temporary) == []
    assert rows(notes, "SELECT count(answer) FROM notes") == [(12,)]


def test_answers_on_their_way_in_go_with_the_next_command(
    run: Any, notes: Path, temporary: Path, database: Any
) -> None:
    """Also where that is about another database, and sends."""
    run("prepare", notes, "notes", *ASK, *run.there[:2])
    run("submit", notes, "-y")
    run("run", notes, "notes", *ASK, *run.there, "--output", "b", "--no-wait")
    killed("GET /v1/files", "run", notes, "notes", *ASK, *run.there, "--output", "c")
    assert left(temporary)
    other = database("CREATE TABLE notes (id INTEGER PRIMARY KEY, text); "
                     "INSERT INTO notes VALUES (1, 'one')", "other.db")  # fmt: skip
    run("run", other, "notes", *ASK, *run.there)
    assert left(temporary) == []


@pytest.mark.parametrize("prefix", [PREFIX, SERVER])
def test_what_a_living_process_holds_stays(run: Any, notes: Path, temporary: Path,
                                           prefix: str) -> None:  # fmt: skip
    process, folder = held(prefix)
    try:
        run("run", notes, "notes", *ASK, *run.there)
        run("sync", notes)
        assert (folder / "rows").read_text() == "what people said"
        process.kill()
        process.wait()
        run("sync", notes)
        assert left(temporary) == []
    finally:
        process.kill()
        process.communicate()


def test_it_is_removed_at_the_end(temporary: Path) -> None:
    process, folder = held()
    assert folder.stat().st_mode & 0o777 == 0o700
    process.communicate("")
    assert left(temporary) == []
    with pytest.raises(KeyError), scratch() as folder:
        (folder / "rows").write_text("x")
        raise KeyError
    with LocalServer() as server:
        assert server.state_dir is not None and server.state_dir.parent == temporary
        sweep()
        assert server.state_dir.is_dir()
    assert left(temporary) == []


def test_nothing_else_is_removed(temporary: Path, tmp_path: Path) -> None:
    """Names of others, links, and folders that nobody ever locked."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("three years")
    (temporary / "openai-batch-1").symlink_to(precious)
    (temporary / "openai-batch-1.lock").write_text("")
    (temporary / "openai-batch-2").mkdir()
    (temporary / "openai-batch-3.lock").symlink_to(precious / "thesis.txt")
    (temporary / "openai-batch-4").write_text("a file")
    (temporary / "openai-batch-4.lock").write_text("")
    (temporary / "openai-batch-5.lock").mkdir()
    (temporary / "other.lock").write_text("")
    before = left(temporary)
    sweep()
    assert left(temporary) == before
    assert (precious / "thesis.txt").read_text() == "three years"


def test_a_lock_that_was_swept_at_the_wrong_moment_is_made_anew(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlite_utils_openai_batch.base import scratch as module

    real, swept = module.try_lock, []

    def first_swept(file: Any) -> bool:
        if not swept:
            swept.append(Path(file.name))
            os.unlink(file.name)
        return real(file)

    monkeypatch.setattr(module, "try_lock", first_swept)
    folder = Scratch()
    assert folder.path.is_dir() and folder.path.name not in swept[0].name
    folder.close()
    assert left(temporary) == []
