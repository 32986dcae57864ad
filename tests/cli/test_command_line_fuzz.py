"""Whatever is typed, a command ends with a sentence and never with a traceback.

Options, values and files of wrong kinds, put together by chance. A few examples each time; as
many as OPENAI_BATCH_FUZZ says (5000 before a release) where that is set.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("OPENAI_BATCH_FUZZ", "60"))
#: Commands that wait for people, servers or weights: they are typed with --help only.
WAITING = {"serve", "demo"}
#: Options that would reach beyond this machine, or take long.
LEFT_OUT = {"--local", "--workers", "--version"}

REQUEST = (
    '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": '
    '"gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}}\n'
)
ANSWER = (
    '{"custom_id": "a", "response": {"status_code": 200, "body": {"object": "chat.completion", '
    '"choices": [{"message": {"content": "{}"}}]}}}\n'
)
FILES: dict[str, bytes] = {
    "empty": b"",
    "survey.csv": b"id,text\n1,one\n",
    "text.txt": b"Say {{ text }} and {{ nothing }}\n",
    "prompt.txt": b"Say {{ text }}\n",
    "latin1.txt": b"Stra\xdfe {{ text }}\n",
    "nul.txt": b"a\x00b{{ text }}",
    "requests.jsonl": REQUEST.encode() * 2,
    "answers.jsonl": ANSWER.encode(),
    "list.json": f"[{REQUEST.strip()}]".encode(),
    "pretty.json": b'{\n  "type": "object",\n  "properties": {"a": {"type": "string"}}\n}\n',
    "true.json": b"true\n",
    "null.json": b"null\n",
    "deep.json": b"[" * 5_000,
    "body.json": b'{"messages": [{"role": "user", "content": "{{ text }}"}]}',
    "odd.yaml": b"messages: !!python/object:os.system [x]\n",
    "cut.png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "cut.gz": b"\x1f\x8b\x08\x00",
}
WORDS = [
    "", " ", "-", "--", "0", "1", "-1", "2.5", "nan", "inf", "1e999", "9" * 30, "text", "notes",
    "id", "answer", "no such", "{{ text }}", "{{ nothing }}", "{{", "{% for %}", "{{ text | x }}",
    "{{ row }}", "'", '"', ";", "\x1b[31m", "ü\u202e", "\udcff", "a" * 300, "a\nb", "$10",
    "mood good|bad", "a int, a int", "{}", "[]", "null", '{"type": "object"}', "text = 'x'",
    "id > ", "SELECT 1", "SELECT id, text FROM notes", "DELETE FROM notes", "1; SELECT 1",
    "/v1/embeddings", "/v1/responses", "/v1/nothing", "gpt-4o-mini", "gpt-5", "temperature",
    "max_tokens", "json_object", "stop", "http://127.0.0.1:9/v1", "http://[::1", "https://",
    "http://127.0.0.1:99999", "https://a.openai.azure.com", "x:y", "all", "failed", "ok", "csv",
    "max_tokens=5", "=", "a=b", ".", "/", "/dev/null", "..", "no/such/file.json",
]  # fmt: skip


def make_files() -> None:
    """Files of all kinds, in the folder where the test runs."""
    for name, data in FILES.items():
        Path(name).write_bytes(data)
    with zipfile.ZipFile("book.xlsx", "w") as book:
        book.writestr("xl/workbook.xml", "<workbook/>")
    Path("folder").mkdir(exist_ok=True)
    with closing(sqlite3.connect("data.db")) as conn, conn:
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, image BLOB)")
        conn.execute("INSERT INTO notes VALUES (1, 'one', x'00'), (2, NULL, NULL), (3, '', NULL)")
        conn.execute("CREATE VIEW seen AS SELECT * FROM notes")
        conn.execute("CREATE VIEW broken AS SELECT * FROM gone")
        conn.execute('CREATE TABLE "od""d" (" a" TEXT)')
    data = Path("data.db").read_bytes()
    Path("cut.sqlite").write_bytes(data[:5_000])
    Path("scrambled.sqlite").write_bytes(data[:4_096] + b"\xff" * (len(data) - 4_096))


NAMES = [*FILES, "book.xlsx", "folder", "cut.sqlite", "scrambled.sqlite", "no-such.db", "data.db"]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.sampled_from(WORDS) | st.sampled_from(NAMES) | TEXT


def group() -> click.Group:
    """The commands."""
    from sqlite_utils.cli import cli

    from sqlite_utils_openai_batch.cli import openai_batch

    assert cli.commands["openai-batch"] is openai_batch
    return openai_batch


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with options that it has, and values that may be anything."""
    commands = group().commands
    name = draw(st.sampled_from(sorted(commands)))
    if name in WAITING:
        return [name, "--help"]
    typed = [name]
    for param in commands[name].params:
        if isinstance(param, click.Argument):
            # Mostly the database, or nothing could be reached that is behind it.
            if param.name == "db":
                typed.append(draw(st.just("data.db") | st.sampled_from(NAMES)))
            elif param.name == "table":
                typed.append(draw(st.just("notes") | VALUES))
            elif draw(st.booleans()) or param.required:
                typed += [draw(VALUES) for _ in range(draw(st.integers(1, 2)))][: abs(param.nargs)]
    options = [
        param
        for param in commands[name].params
        if isinstance(param, click.Option) and not LEFT_OUT & set(param.opts)
    ]
    if any("--prompt" in param.opts for param in options) and draw(st.booleans()):
        typed += ["--prompt", "Say: {{ text }}"]
    for param in draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        typed.append(draw(st.sampled_from(param.opts)))
        if not param.is_flag:
            allowed = getattr(param.type, "choices", None)
            value = st.sampled_from(list(allowed)) if allowed else VALUES
            typed += [draw(value) for _ in range(param.nargs)]
    return typed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with files of all kinds, and a home and servers that hold nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "LLM_USER_PATH"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    # Nobody listens there, and nothing that is typed by chance leaves this machine.
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    make_files()
    shutil.copy("data.db", "first.db")
    yield tmp_path


def ends_well(typed: list[str]) -> Any:
    """Run a command line; fails where it ends in anything but a sentence."""
    from sqlite_utils.cli import cli

    result = CliRunner().invoke(cli, ["openai-batch", *typed])
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    if crashed:
        raise AssertionError(f"{typed} ended in a traceback") from result.exception
    assert "Traceback" not in result.stderr, typed
    assert result.exit_code in (0, 1, 2, 3, 4), (typed, result.exit_code)
    if result.exit_code in (1, 2) and not result.stdout:
        assert result.stderr.strip(), typed
    return result


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(typed=command_lines())
def test_no_command_line_ends_in_a_traceback(here: Path, fast: None, typed: list[str]) -> None:
    for left in here.iterdir():
        if left.name not in {*NAMES, "first.db", "home"} and not left.is_dir():
            left.unlink()
    shutil.copy("first.db", "data.db")
    event(typed[0])
    ends_well(typed)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait between tries for servers that aren't there."""
    import time

    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    "typed",
    [
        ["preview", "data.db", "notes", "--prompt", "\udcff{{ text }}"],
        ["preview", "data.db", "notes", "--prompt", "{{ text }}", "--where", "\udcff"],
        ["preview", "data.db", "broken", "--prompt", "{{ text }}"],
        ["preview", "scrambled.sqlite", "notes", "--prompt", "{{ text }}"],
        ["preview", "data.db", "notes", "--prompt", "{{ text }}", "--schema", "deep.json"],
        ["preview", "data.db", "notes", "--template", "deep.json"],
        ["preview", "data.db", "notes", "--template", "odd.yaml"],
        ["validate", "deep.json"],
        ["extract", "deep.json"],
        ["split", "deep.json", "out"],
        ["results", "data.db", "9" * 30],
        ["show", "cut.sqlite"],
    ],
)
def test_what_was_found_so(here: Path, fast: None, typed: list[str]) -> None:
    ends_well(typed)
