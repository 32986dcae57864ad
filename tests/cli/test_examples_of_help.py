"""The examples that `--help` gives run as they stand, in a folder that holds what they name."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import click
import openai
import pytest
from sqlite_utils.cli import cli

from sqlite_utils_openai_batch import Batches
from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer

GROUP = cli.commands["openai-batch"]
assert isinstance(GROUP, click.Group)
COMMAND = "sqlite-utils openai-batch "
PATIENCE = 60.0

#: Why an example isn't run here.
LEFT_OUT = {
    f"{COMMAND}demo": "fetches the small model and waits for it: the gate takes README's tour",
}
#: What stands for something that only a reader has.
STAND_INS = {
    "batch_67fb": "the id of a batch at the server",
    "http://127.0.0.1:11434/v1": "Ollama: the server of the tests is as good",
    "--port 8900": "may be taken on this machine",
    "*/10 * * * *  ": "cron takes this away",
}
#: What runs until it is stopped, with what shows that it is there, and what is typed then.
TYPED = {
    "serve": ("http://", "\x03"),
    "browse": ("http://", "\x03"),
    "review movies.db 3 -n 60": ("mood> ", "/q\n"),
}


def examples() -> Iterator[tuple[str, list[str]]]:
    """What is typed in one folder: all lines below `Example:`, or one of those of `Examples:`."""
    for name, command in [("", GROUP), *sorted(GROUP.commands.items())]:
        for title, text in re.findall(
            r"(?m)^ *(Examples?|No key yet)\b.*\n((?: *\S.*\n?)+)", command.help or ""
        ):
            lines = re.sub(r"\\\n\s*", "", text).strip().split("\n")
            lines = [line.strip() for line in lines]
            for typed in [[line] for line in lines] if title == "Examples" else [lines]:
                if not LEFT_OUT.keys() & set(typed):
                    yield name, typed


EXAMPLES = list(examples())


class Uneven(SimulatedAnswerer):
    """Answers films that say so badly, until it is asked in another way."""

    def answer_now(self, url: str, body: Mapping[str, object], custom_id: str) -> Answer:
        """Answer one request at once."""
        answer = super().answer_now(url, body, custom_id)
        text = json.dumps(body)
        if "[http 400]" in text:
            return Answer(400, {"error": {"message": "Bad luck.", "code": "bad_luck"}})
        if "[cut]" in text and not body.keys() & {"max_tokens", "max_completion_tokens"}:
            answer.body["choices"][0]["finish_reason"] = "length"
        if "[wrong]" in text and len(body["messages"]) == 1:
            answer.body["choices"][0]["message"]["content"] = '{"mood": "blue"}'
        return answer


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(tmp_path_factory.mktemp("uneven"), answerer=Uneven()) as running:
        yield running


class Shell:
    """A terminal in a folder, with the server in its environment."""

    def __init__(self, folder: Path, server: LocalServer, warm: Path) -> None:
        self.folder = folder
        self.batch = ""
        self.environment = {
            "PATH": os.pathsep.join(
                [str(folder), str(warm), str(Path(sys.executable).parent), os.defpath]
            ),
            "HOME": str(folder / "home"), "XDG_DATA_HOME": str(folder / "home"),
            "LLM_USER_PATH": str(folder / "home"), "TMPDIR": str(folder),
            "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any",
            "BROWSER": "true", "COLUMNS": "100",
        }  # fmt: skip
        if "PYTHONPATH" in os.environ:
            self.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def __call__(self, line: str) -> str:
        """Type a line, and say yes to what it asks. Returns what it printed; it must succeed."""
        waits = [(f"{COMMAND}{end}", *typed) for end, typed in TYPED.items()]
        waits = [wait for wait in waits if line.startswith(wait[0])]
        awaited, answer = waits[0][1:] if waits else ("[y/N]: ", "y\n")
        # Ctrl-C would end the shell too, and what it says of that isn't what the command says.
        real = f"exec {line}" if answer == "\x03" else line
        ours, theirs = pty.openpty()
        own_terminal = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "os.execvp('sh', ['sh', '-c', sys.argv[1]])"
        )
        process = subprocess.Popen(
            [sys.executable, "-ISc", own_terminal, real], cwd=self.folder, env=self.environment,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        screen, answered, deadline = b"", False, time.monotonic() + PATIENCE
        try:
            while time.monotonic() < deadline:
                if not select.select([ours], [], [], 1)[0]:
                    continue
                try:
                    more = os.read(ours, 65_536)
                except OSError:  # Linux's way to say that the other end is closed
                    break
                if not more:
                    break
                screen += more
                if awaited.encode() in screen and not answered:
                    answered = True
                    os.write(ours, answer.encode())
            assert time.monotonic() < deadline, screen.decode()
            code = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(ours)
        printed = screen.decode()
        # 3: some rows have no answer after all, as the films that are answered badly.
        fine = code == 0 or (code == 3 and " failed (" in printed)
        # 130: Ctrl-C came before all was set up.
        fine = fine or (code == 130 and answer == "\x03" and "Stopped." in printed)
        assert fine and "Traceback" not in printed, f"$ {line}\n{printed}\n{code}"
        return printed


# The folders: each holds what the examples of some commands name.

LABELS = {"prompt": "{{ title }}: {{ overview }}", "schema": "mood good|bad"}


def films(shell: Shell, marks: Sequence[str] = ()) -> Batches:
    """`movies.db` with a dozen films, of which the first are marked."""
    path = shell.folder / "movies.db"
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute(
            "CREATE TABLE movies (id INTEGER PRIMARY KEY, title TEXT, year INTEGER, overview TEXT,"
            " human_category TEXT)"
        )
        conn.executemany(
            "INSERT INTO movies VALUES (?, ?, ?, ?, ?)",
            [(n, f"Film {n}", 1970 + n % 3, f"The story of film {n}.", ("good", "bad")[n % 2])
             for n in range(1, 13)],
        )  # fmt: skip
        for number, mark in enumerate(marks, 1):
            conn.execute("UPDATE movies SET overview = ? WHERE id = ?", [mark, number])
    return Batches(path, base_url=shell.environment["OPENAI_BASE_URL"], key="any")


def fresh(shell: Shell) -> None:
    """A database without a job, and another table."""
    films(shell)
    (shell.folder / "survey.csv").write_text("id,said\n1,Yes\n2,No\n")


def sent(shell: Shell) -> None:
    """Jobs 1 to 3 are at the server."""
    batches = films(shell)
    for prefix in ("a_", "b_", "c_"):
        job = batches.run("movies", **LABELS, prefix=prefix, approve=True, wait=False)
    with closing(sqlite3.connect(shell.folder / "movies.db")) as conn:
        part = "SELECT batch_id FROM openai_batch_parts WHERE job_id = ?"
        (shell.batch,) = conn.execute(part, [job.id]).fetchone()


def prepared(shell: Shell) -> None:
    """Jobs 1 to 3 are prepared, none is sent. There is a program that answers files."""
    batches = films(shell)
    for prefix in ("a_", "b_", "c_"):
        batches.prepare("movies", **LABELS, prefix=prefix)
    (shell.folder / "vllm").write_text(VLLM)
    (shell.folder / "vllm").chmod(0o755)


def finished(shell: Shell) -> None:
    """Jobs 1 to 5 have answers of the same shape; a row of each was cut short, another is wrong.

    `sheet.csv` is a sample of job 3 that a person has labelled.
    """
    batches = films(shell, ["[cut]", "[wrong]"])
    for options in ({"prefix": "a_"}, {"prefix": "b_"}, {"confidence": True}, {"prefix": "d_"},
                    {"prefix": "e_"}):  # fmt: skip
        batches.run("movies", **LABELS, **options, approve=True, poll=0.05)
    shell(f"{COMMAND}review movies.db 3 --csv -n 400 > sheet.csv")
    with open(shell.folder / "sheet.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert header[-1] == "mood_review"
    with open(shell.folder / "sheet.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *([*cells[:-1], "good"] for cells in lines)])
    shell(f"{COMMAND}review movies.db 3 --import sheet.csv --coder ben")


def own_batch(shell: Shell) -> None:
    """A batch of the reader's own script, whose custom_ids are ids of films, and its files."""
    schema = "mood good|bad, categories list, summary"
    asked = films(shell, ["[http 400]"]).preview("movies", **{**LABELS, "schema": schema}, n=12)
    (shell.folder / "requests.jsonl").write_text(
        "".join(
            json.dumps({"custom_id": str(number), "method": "POST", "url": CHAT, "body": body})
            + "\n"
            for number, body in enumerate(asked.requests, 1)
        )
    )
    with openai.OpenAI(base_url=shell.environment["OPENAI_BASE_URL"], api_key="any") as client:
        file = client.files.create(file=shell.folder / "requests.jsonl", purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        shell.batch = batch.id
        deadline = time.monotonic() + PATIENCE
        while batch.status != "completed":
            assert time.monotonic() < deadline, batch
            batch = client.batches.retrieve(batch.id)
        assert batch.output_file_id and batch.error_file_id
        for name, file_id in (("output", batch.output_file_id), ("error", batch.error_file_id)):
            (shell.folder / f"{name}.jsonl").write_bytes(client.files.content(file_id).content)


CHAT = "/v1/chat/completions"
VLLM = f"""#!{sys.executable}
import json, sys
asked, answers = sys.argv[3], sys.argv[5]
with open(asked) as lines, open(answers, "w") as out:
    for line in lines:
        choice = {{"index": 0, "finish_reason": "stop",
                  "message": {{"role": "assistant", "content": '{{"mood": "good"}}'}}}}
        body = {{"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}}
        print(json.dumps({{"id": "1", "custom_id": json.loads(line)["custom_id"], "error": None,
                          "response": {{"status_code": 200, "body": body}}}}), file=out)
"""
HELD = ("batches", "cancel", "pause")
FOLDERS = {
    **dict.fromkeys(["", "run", "preview", "try", "prepare", "export-requests"], fresh),
    **dict.fromkeys(["browse", "serve"], fresh),
    **dict.fromkeys([*HELD, "sync", "watch"], sent),
    **dict.fromkeys(["submit", "import-responses"], prepared),
    **dict.fromkeys(["extract", "fetch", "split", "validate"], own_batch),
    f"{COMMAND}fetch batch_67fb --into movies.db": sent,
}


@pytest.fixture(scope="module")
def filled(uneven: LocalServer, warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that most examples run in, made once."""
    shell = Shell(tmp_path_factory.mktemp("filled"), uneven, warm)
    finished(shell)
    return shell.folder


@pytest.mark.parametrize(
    ("name", "typed"), EXAMPLES, ids=[f"{name}: {typed[-1]}"[:60] for name, typed in EXAMPLES]
)
def test_an_example_runs(
    name: str, typed: list[str], uneven: LocalServer, warm: Path, filled: Path, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    server = request.getfixturevalue("held")[0] if name in HELD else uneven
    shell = Shell(tmp_path, server, warm)
    if fill := FOLDERS.get(typed[0], FOLDERS.get(name)):
        fill(shell)
    else:
        shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    real = {
        "batch_67fb": shell.batch, "http://127.0.0.1:11434/v1": uneven.base_url,
        "--port 8900": "--port 0", "*/10 * * * *  ": "",
    }  # fmt: skip
    assert real.keys() == STAND_INS.keys()
    for line in typed:
        for written, meant in real.items():
            line = line.replace(written, meant)
        shell(line)
        for file in re.findall(r"(?:> |--xlsx )(\S+)$", line):
            assert (tmp_path / file).stat().st_size > 0


def test_nothing_is_left_out_that_no_example_shows() -> None:
    helps = "\n".join(command.help or "" for command in (GROUP, *GROUP.commands.values()))
    for text in (*LEFT_OUT, *STAND_INS, *(f"{COMMAND}{end}" for end in TYPED)):
        assert text in helps
    assert {name for name, _ in EXAMPLES} == {"", *GROUP.commands} - {"demo"}
