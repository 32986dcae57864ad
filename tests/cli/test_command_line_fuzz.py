"""Whatever is typed, a command ends with a sentence and never with a traceback.

Options, values and files of wrong kinds, put together by chance, also over databases that somebody
else changed. A few examples each time; as many as OPENAI_BATCH_FUZZ says where that is set. Before
a release, half an hour:

    OPENAI_BATCH_FUZZ=5000 pytest -n 0 tests/cli/test_command_line_fuzz.py
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from finished import answered, request_ids, sent
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.store.connection import connect

EXAMPLES = int(os.environ.get("OPENAI_BATCH_FUZZ", "60"))
#: Commands that wait for people, servers or weights: they are typed with --help only.
WAITING = {"serve", "demo", "browse"}
#: Options that would reach beyond this machine, or take long.
LEFT_OUT = {"--local", "--version"}

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
    make_jobs(Path("jobs.db"))


def make_jobs(path: Path) -> None:
    """A database with jobs of most kinds: answered, labelled by people, failed, not sent."""
    shutil.copy("data.db", path)
    with closing(connect(path)) as conn:
        store.migrate(conn)
        conn.executescript(
            "CREATE TABLE pairs (a, b, text TEXT, PRIMARY KEY (a, b));"
            "INSERT INTO pairs VALUES (1, x'00', 'one'), ('x', 2.5, 'two');"
            "INSERT INTO notes VALUES (4, 'four', NULL), (5, 'five', NULL)"
        )
        folder = path.parent
        moods = {1: {"mood": "good", "n": 1}, 4: {"mood": "bad", "n": 2}, 5: "no json"}
        schema = {"schema": "mood good|bad, n int", "name": "first"}
        first = answered(conn, folder, "notes", moods, **schema)
        again = {**schema, "output_table": "other"}
        answered(conn, folder, "notes", {1: {"mood": "bad", "n": 1}, 4: "{}"}, **again)
        answered(conn, folder, None, {1: "one"}, sql="SELECT id, text FROM notes", pk=["id"],
                 prompt="{{ text }}!", write=False)  # fmt: skip
        keys = dict(conn.execute("SELECT text, json_array(a, b) FROM pairs WHERE a = 'x'"))
        answered(conn, folder, "pairs", {keys["two"]: "two"})
        waiting = sent(conn, "notes", output="later")
        conn.execute("UPDATE openai_batch_parts SET status = 'prepared', sends = 0, "
                     "batch_id = NULL, ended_at = NULL WHERE job_id = ?", [waiting.id])  # fmt: skip
        ids = list(request_ids(conn, first).values())
        store.reviews.insert_sample(conn, first.id, "random", ids, seed=0, size=2, population=3,
                                    blind=True)  # fmt: skip
        said = [store.reviews.Review(one, "mood", "good", coder) for one in ids for coder in "ab"]
        store.reviews.record(conn, first.id, said)


DATABASES = ["data.db", "jobs.db"]
NAMES = [*FILES, "book.xlsx", "folder", "cut.sqlite", "scrambled.sqlite", "no-such.db", *DATABASES]
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
                typed.append(
                    draw(st.sampled_from([*DATABASES, "jobs.db"]) | st.sampled_from(NAMES))
                )
            elif param.name == "table":
                typed.append(draw(st.just("notes") | VALUES))
            elif param.name in ("job", "jobs"):
                typed += draw(st.lists(st.sampled_from("12345") | VALUES, min_size=1, max_size=2))[
                    : abs(param.nargs) if param.nargs > 0 else 2
                ]
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
    for name in DATABASES:
        shutil.copy(name, f"{name}.kept")
    yield tmp_path
    # What somebody changed by hand needn't add up.
    clear(tmp_path)


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
    clear(here)
    event(typed[0])
    ends_well(typed)


def clear(here: Path) -> None:
    """Bring the folder back to what it was."""
    for left in here.iterdir():
        if left.name not in {*NAMES, "home"} and left.suffix != ".kept" and not left.is_dir():
            left.unlink()
    for name in DATABASES:
        shutil.copy(f"{name}.kept", name)


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


# A database that somebody else changed


#: Values that may stand anywhere; JSON is changed inside too.
STRANGE = [
    None, "", 0, -1, 2**63 - 1, 1.5, float("inf"), b"\xff\x00", "../../etc", "/etc/passwd",
    "file:///etc/passwd", "<script>alert(1)</script>", "\x1b]0;x\x07", "{{ row }}", "[]", "{}",
    "null", "[null]", "[" * 3_000, '{"x": NaN}', "9" * 40, "2026-13-45T99:99:99.999Z", "notes",
    "openai_batch_jobs", "ok", "pending", "running", "paused", "completed", "in_progress",
    "placeholder", "a" * 20_000, "\n", "/v1/embeddings",
]  # fmt: skip
LEAVES = [None, True, "", 0, -1, 1e308, 2**70, "x", "\x1b[31m", "{{ text }}", [], {}, [1], {"a": 1},
          [[1]], [None], "notes", "["]  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value of which one place is another."""
    inside = draw(st.integers(0, 5))
    if isinstance(value, dict) and value and inside:
        name = draw(st.sampled_from(list(value)))
        kept = {other: one for other, one in value.items() if other != name}
        if inside == 1:
            return kept
        return {**kept, name: draw(spoilt(value[name]))}
    if isinstance(value, list) and value and inside:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(spoilt(value[place])), *value[place + 1 :]]
    return draw(st.sampled_from(LEAVES))


@st.composite
def changes(draw: st.DrawFn, conn: sqlite3.Connection) -> tuple[str, Any]:
    """A statement that changes a column of our tables, and its value."""
    tables = conn.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'openai_batch_%'"
    ).fetchall()
    table = draw(st.sampled_from(sorted(tables)))[0]
    column = draw(st.sampled_from(conn.execute(f"PRAGMA table_info({table})").fetchall()))[1]
    found = conn.execute(
        f'SELECT DISTINCT "{column}" FROM {table} WHERE json_valid("{column}") '
        f"AND json_type(\"{column}\") IN ('object', 'array')"
    ).fetchall()
    value = draw(st.sampled_from(STRANGE))
    if found and draw(st.integers(0, 3)):
        value = json.dumps(draw(spoilt(json.loads(draw(st.sampled_from(found))[0]))))
    where = draw(st.sampled_from(["", " WHERE rowid = 1", " WHERE rowid % 2"]))
    return f'UPDATE OR IGNORE {table} SET "{column}" = ?{where}', value


COMMANDS = [
    "jobs", "jobs --totals", "show", "show 1", "show 2", "show 4", "show 5", "sync --silent",
    "results 1 --csv", "results 2 -t", "results 3", "results 4", "results 1 --xlsx out.xlsx",
    "report 1", "report 2", "report 4", "compare 1 2", "compare 1", "compare 1 --gold text",
    "compare 1 2 --disagree", "shares 1 mood", "shares 1 mood --by text", "review 1 --csv",
    "review 1 --csv --differ people", "review 1 --csv --least-sure n", "apply 1", "apply 4",
    "apply 1 --prefix z_", "apply 1 --reviewed", "revert 1", "revert 2", "revert 4",
    "retry 1 -y --no-wait", "cancel 5 -y", "pause 5", "submit 5 -y --no-wait", "delete 1 -y",
    "delete 2 -y --only responses", "export-requests 1 out", "export-requests 5 out",
    "run --like 2 --output-table o -y --no-wait", "preview --like 1", "preview --like 3",
    "run notes --like first --changed -y --no-wait", "preview notes --like 1 --missing --reuse",
    "import-responses answers.jsonl", "preview openai_batch_results --prompt {{answer}}",
]  # fmt: skip


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_changed_database_ends_in_a_traceback(
    here: Path, fast: None, data: st.DataObject
) -> None:
    clear(here)
    with closing(sqlite3.connect("jobs.db")) as conn, conn:
        for _ in range(data.draw(st.integers(1, 3))):
            statement, value = data.draw(changes(conn))
            with suppress(sqlite3.IntegrityError):
                conn.execute(statement, [value])
    first, *rest = data.draw(st.sampled_from(COMMANDS)).split(" ")
    said = ends_well([first, "jobs.db", *rest])
    assert "\x1b" not in said.stderr
