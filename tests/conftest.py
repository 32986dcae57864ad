"""What the tests share: a batch server on a real socket, database files, the real commands."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pty
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installed import check_installed
from quick import one_authority, retry_soon, without_pandas
from signals import heed_signals
from unclosed import let_datasette_be
from warm import Warm

from sqlite_utils_openai_batch.base.scratch import sweep
from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.store.connection import connect

# Every request is in exactly one of these.
OUTCOMES = {
    "pending", "ok", "http_error", "api_error", "expired", "cancelled", "missing", "rejected",
    "unrenderable", "too_large", "invalid_json", "schema_violation", "truncated", "refused",
    "content_filter", "empty",
}  # fmt: skip
PATIENCE = 30.0
SETTINGS = (
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID",
    "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION",
)  # fmt: skip


# No test is timed: machines are slow at times. What a test has to say it says by its asserts.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' files in memory where there is room: each job waits for a disk 130 times."""
    if not hasattr(config, "workerinput") and (wrong := check_installed(Path(__file__).parents[1])):
        raise pytest.UsageError(wrong)
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2_000_000_000:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))
    heed_signals()
    let_datasette_be()
    retry_soon()


# What takes longest begins first: else one process works on it while the others are done.
LONG = ("test_kill", "test_story", "test_review_browser", "test_docs", "test_coming_from")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long in front of the others."""
    items.sort(key=lambda item: not item.path.stem.startswith(LONG))


def pytest_collection_finish() -> None:
    """What stays to the end (modules, tests) is looked through by no collection of garbage.

    Hypothesis asks the collector who holds its random numbers, when it first makes them. Of what is
    frozen the collector tells nothing, so a first property makes them before.
    """

    @given(st.none())
    def first(_: None) -> None:
        pass

    first()
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: now and then one of them only waits."""
    return (os.cpu_count() or 1) + 1


# The answers


class Scripted(SimulatedAnswerer):
    """Echoes each prompt, except for prompts that hold one of the words below."""

    def __init__(self) -> None:
        super().__init__(echo=True)

    def answer_now(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request at once."""
        answer = super().answer_now(url, body, custom_id)
        text = json.dumps(body, ensure_ascii=False)
        if "[http 400]" in text:
            error = {"message": "Bad luck.", "type": "invalid_request_error", "code": "bad_luck"}
            return Answer(400, {"error": error})
        choice = (answer.body.get("choices") or [{}])[0]
        if "[refuse]" in text:
            choice["message"] |= {"content": None, "refusal": "I can't help with that."}
        if "[cut]" in text:
            choice["finish_reason"] = "length"
        if "[empty]" in text:
            choice["message"]["content"] = ""
        return answer


class Held:
    """Answers nothing until it is released, then as Scripted does."""

    label = "held answers"
    concurrency = 100

    def __init__(self) -> None:
        self.released = False
        self.then = Scripted()

    def release(self) -> None:
        """Answer from now on."""
        self.released = True

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        """Answer one request, when the time has come."""
        while not self.released:
            await asyncio.sleep(0.005)
        return self.then.answer_now(url, body, custom_id)

    async def models(self) -> list[str]:
        """Names for the list of models."""
        return await self.then.models()

    async def allowed_models(self) -> list[str] | None:
        """Any model may be asked for."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever tests, their processes and those that they kill leave, lies in pytest's folder."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        patch.setenv("SSL_CERT_FILE", str(one_authority(folder / "authorities.pem")))
        yield
        sweep()
        left = [path.name for path in folder.glob("*-batch-*")]
        assert left == [], "a command left its files, though nobody killed it"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A batch server whose answers repeat their prompts."""
    folder = tmp_path_factory.mktemp("server")
    with LocalServer(folder, answerer=Scripted()) as running:
        yield running


@pytest.fixture
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, Held]]:
    """A batch server that answers nothing before it is told to."""
    answerer = Held()
    with LocalServer(tmp_path_factory.mktemp("held"), answerer=answerer) as running:
        yield running, answerer


@dataclass(frozen=True)
class Reply:
    """What a scripted server answers; `cut` sends only that many bytes of what it announced.

    Without `announced` the end of the connection is the end of the body.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    announced: bool = True


@dataclass(frozen=True)
class Asked:
    """A request that a scripted server got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Web:
    """A server that answers word for word what a test tells it, and remembers what it got."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.replies: dict[str, list[Reply]] = {}
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else a body waits 40 ms behind its headers, till the client says that it has those.
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                web.answer(self)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def base_url(self) -> str:
        """Where its API begins."""
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def reply(self, to: str, *replies: Reply) -> None:
        """Answer `GET /files` and so on with these replies in turn, the last one ever after."""
        self.replies[to] = list(replies)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        path = request.path.partition("?")[0].removeprefix("/v1")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.command, request.path, headers, body))
        queue = self.replies.get(f"{request.command} {path}") or [
            Reply(404, {"error": {"message": "Not Found"}})
        ]
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        request.send_response(reply.status)
        for name, value in {"content-type": "application/json", **reply.headers}.items():
            request.send_header(name, value)
        if reply.announced:
            request.send_header("content-length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: reply.cut])
        request.close_connection |= reply.cut is not None or not reply.announced

    def close(self) -> None:
        """Stop to listen."""
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    """A server whose replies a test writes."""
    running = Web()
    yield running
    running.close()


@pytest.fixture
def reply() -> type[Reply]:
    """The class of what `web` replies."""
    return Reply


# The commands


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH whose `sqlite-utils` needs no time to start."""
    running = Warm(tmp_path_factory.mktemp("warm"))
    yield running.folder
    running.close()


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


@dataclass
class Commands:
    """Runs `sqlite-utils openai-batch …` in a folder, in this process or in one of its own."""

    folder: Path
    base_url: str
    running: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def there(self) -> tuple[str, ...]:
        """Options that send to the test server, at once and without asking."""
        return ("--base-url", self.base_url, "-y", "--poll", "0.05")

    def __call__(self, *args: str | Path, code: int = 0) -> Said:
        """Run a command in this process; fails unless it exits with `code`."""
        from sqlite_utils.cli import cli

        arguments = ["openai-batch", *map(str, args)]
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        said = Said(result.exit_code, result.stdout, result.stderr)
        assert said.code == code, said
        return said

    def process(
        self, *args: str | Path, code: int = 0, by: Sequence[str] = (), **options: Any
    ) -> Said:
        """Run a command as a process of its own (`by` another program), which exits with `code`."""
        options = {
            "cwd": self.folder, "stdin": subprocess.DEVNULL, "env": without_pandas(), **options
        }  # fmt: skip
        done = subprocess.run(
            [*by, *self.script(), *map(str, args)],
            capture_output=True, text=True, timeout=PATIENCE, check=False, **options,
        )  # fmt: skip
        assert done.returncode == code, done
        return Said(done.returncode, done.stdout, done.stderr)

    def start(
        self, *args: str | Path, by: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command as a process (`by` another program) and don't wait for it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {
            "cwd": self.folder, "text": True, "env": without_pandas(), **pipes, **options
        }  # fmt: skip
        begun = subprocess.Popen([*by, *self.script(), *map(str, args)], **options)
        self.running.append(begun)
        return begun

    def script(self) -> list[str]:
        """The command as it was installed beside this Python."""
        return [str(Path(sys.executable).with_name("sqlite-utils")), "openai-batch"]

    def close(self) -> None:
        """End what still runs."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def run(tmp_path: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """The commands, in an empty folder, with a home of their own and no keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "home"))
    commands = Commands(tmp_path, server.base_url)
    yield commands
    commands.close()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the keys and addresses of whoever runs the tests out of them."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


# A process gets Ctrl-C from the terminal that controls it, so it must take it as its own.
OWN_TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, os, sys, termios;"
    "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])",
)


class Terminal:
    """A command at a terminal, and what somebody types there."""

    def __init__(self, process: subprocess.Popen[Any], master: int) -> None:
        self.process = process
        self.master = master
        self.screen = ""

    def wait_for(self, text: str) -> None:
        """Read until the screen shows a text."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < deadline, self.screen
            if not self.read():
                break
        assert text in self.screen, self.screen

    def read(self) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self.master], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.master, 65_536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.screen += data.decode().replace("\r\n", "\n")
        return bool(data)

    def answer(self, question: str, text: str) -> None:
        """Type an answer once all of its question is there: its blank is written apart."""
        self.wait_for(question)
        deadline = time.monotonic() + PATIENCE
        while not self.screen.endswith(": "):
            assert time.monotonic() < deadline, self.screen
            assert self.read(), self.screen
        self.type(text)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self.master, text.encode())

    def insist(self, key: str) -> None:
        """Press a key until a new line begins: Python may miss a Ctrl-C just before it reads."""
        mark = len(self.screen)
        deadline = time.monotonic() + PATIENCE
        while "\n" not in self.screen[mark:]:
            assert time.monotonic() < deadline, self.screen
            self.type(key)
            for _ in range(20):
                if "\n" in self.screen[mark:] or not self.read():
                    return

    def end(self, code: int) -> str:
        """Read to the end; fails unless the command exits with `code`. Returns the screen."""
        deadline = time.monotonic() + PATIENCE
        while self.read():
            assert time.monotonic() < deadline, self.screen
        assert self.process.wait(PATIENCE) == code, self.screen
        return self.screen


@pytest.fixture
def terminal(run: Commands) -> Iterator[Callable[..., Terminal]]:
    """Start a command at a terminal of its own."""
    masters: list[int] = []

    def begin(*args: str | Path) -> Terminal:
        master, slave = pty.openpty()
        masters.append(master)
        process = run.start(
            *args, by=OWN_TERMINAL, stdin=slave, stdout=slave, stderr=slave, text=False
        )
        os.close(slave)
        return Terminal(process, master)

    yield begin
    for master in masters:
        os.close(master)


# The databases


#: Where the mode decides what happens: a file that is written while others read or write it, or
#: that is left in the middle of it. All other tests run in one of the modes, half of them in each.
BOTH_JOURNALS = (
    "jobs/test_apply", "jobs/test_collect", "jobs/test_revert", "jobs/test_sync",
    "jobs/test_writeback", "reliability/", "store/test_store", "tables/test_rules_of_tables",
)  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that opens a database in SQLite's journal modes, or in one of them."""
    if "journal" not in metafunc.fixturenames or hasattr(metafunc.module, "journal"):
        return
    marks = metafunc.definition.iter_markers("parametrize")
    if any(mark.args[0] == "journal" for mark in marks):
        return  # it says itself in which
    modes = ["delete", "wal"]
    where = metafunc.definition.nodeid.partition("tests/")[2]
    if not where.startswith(BOTH_JOURNALS):
        modes = [modes[zlib.crc32(metafunc.definition.name.encode()) % 2]]
    metafunc.parametrize("journal", modes, indirect=True)


@pytest.fixture
def journal(request: pytest.FixtureRequest) -> str:
    """SQLite's journal mode."""
    return str(request.param)


MakeDatabase = Callable[..., Path]


@pytest.fixture
def database(tmp_path: Path, journal: str) -> MakeDatabase:
    """Make a database file by a script of SQL; returns its name in the test's folder."""

    def make(script: str, name: str = "data.db") -> Path:
        with closing(sqlite3.connect(tmp_path / name)) as conn:
            assert conn.execute(f"PRAGMA journal_mode = {journal}").fetchone() == (journal,)
            conn.executescript(script)
        return Path(name)

    return make


@pytest.fixture
def open_db(
    tmp_path: Path, database: MakeDatabase
) -> Iterator[Callable[[str], sqlite3.Connection]]:
    """Make a database by a script, and open it as the commands do."""
    opened: list[sqlite3.Connection] = []

    def make(script: str) -> sqlite3.Connection:
        opened.append(connect(tmp_path / database(script)))
        return opened[-1]

    yield make
    for conn in opened:
        conn.close()


NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, mark INTEGER);" + "".join(
    f"INSERT INTO notes VALUES ({n}, 'note {n}', {n % 3});" for n in range(1, 13)
)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    """An empty database in memory, in autocommit as the commands have it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        yield opened


@pytest.fixture
def notes(database: MakeDatabase) -> Path:
    """`data.db` with a table `notes`: id 1 to 12, text 'note 1' …, mark 0 to 2."""
    return database(NOTES)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Rows of a statement over a database of the test's folder."""

    def read(path: str | Path, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{tmp_path / path}?mode=ro", uri=True)) as conn:
            return conn.execute(sql, params).fetchall()

    return read


@pytest.fixture
def unchanged(tmp_path: Path) -> Callable[[str | Path], Callable[[], None]]:
    """Remember a database; the function returned fails if anything of it has changed since."""

    def remember(path: str | Path) -> Callable[[], None]:
        file = tmp_path / path

        def beside() -> list[Path]:
            # What is kept for the person, in a home of the test's own, is not a file of theirs.
            return sorted(one for one in file.parent.iterdir() if one.name != "home")

        before = (file.read_bytes(), beside(), dump(file))

        def check() -> None:
            assert dump(file) == before[2]
            assert file.read_bytes() == before[0]
            assert beside() == before[1]

        return check

    return remember


def dump(path: Path) -> list[str]:
    """A whole database as SQL; empty for what is not a database."""
    try:
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as conn:
            return list(conn.iterdump())
    except sqlite3.DatabaseError:
        return []


@pytest.fixture(autouse=True)
def sums_hold(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: in every database that it left, outcomes add up to each job's requests."""
    folder: Path | None = None
    if "tmp_path" in request.fixturenames:
        folder = request.getfixturevalue("tmp_path")
    yield
    for path in sorted(folder.rglob("*.db")) if folder else ():
        if path.is_file() and path.read_bytes()[:16] == b"SQLite format 3\0":
            check_sums(path)


def check_sums(path: Path) -> None:
    """Each request has one known outcome, and parts, requests and job agree on how many."""
    with closing(sqlite3.connect(path)) as conn:
        tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master")}
        if "openai_batch_jobs" not in tables:
            return
        jobs = conn.execute("SELECT id, requests FROM openai_batch_jobs").fetchall()
        for job_id, requests in jobs:
            if requests is None:
                continue
            counted: dict[str, int] = {}
            for (outcomes,) in conn.execute(
                "SELECT outcomes FROM openai_batch_parts WHERE job_id = ?", [job_id]
            ):
                for status, count in json.loads(outcomes).items():
                    counted[status] = counted.get(status, 0) + count
            there = dict(
                conn.execute(
                    "SELECT status, count(*) FROM openai_batch_requests "
                    "WHERE job_id = ? GROUP BY status",
                    [job_id],
                ).fetchall()
            )
            assert set(there) <= OUTCOMES
            assert {status: n for status, n in counted.items() if n} == there, path
            assert sum(there.values()) == requests, path


def interrupt(process: subprocess.Popen[Any]) -> None:
    """What Ctrl-C does."""
    process.send_signal(signal.SIGINT)
