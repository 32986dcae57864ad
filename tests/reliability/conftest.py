"""A batch server, killable commands, and what must hold whatever happens."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from quick import without_pandas

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.local import LocalServer, SimulatedAnswerer
from sqlite_utils_openai_batch.provider.client import authorities
from sqlite_utils_openai_batch.store.connection import connect

KEY = "test-key"
ROWS = 10


class Zygote:
    """Talks to `zygote.py`: runs commands in children that can be killed at a point."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=without_pandas(),
        )

    def run(self, *args: str, kill_at: int | None = None, **options: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"args": list(args), "kill_at": kill_at, **options}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    running = Zygote()
    yield running
    running.close()


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer(answerer=SimulatedAnswerer(echo=True)) as running:
        yield running


def make_table(path: Path, rows: int = ROWS, journal: str = "DELETE") -> Path:
    """A database with the table `notes` (id, body)."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"PRAGMA journal_mode = {journal}")
        conn.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        conn.executemany(
            "INSERT INTO notes VALUES (?, ?)",
            [(n, f"note number {n};") for n in range(1, rows + 1)],
        )
        conn.commit()
    return path


def asking(db: Path, server: LocalServer, *more: str, key: str = KEY) -> list[str]:
    """The arguments of a run over `notes` in parts of four."""
    return [
        "run", str(db), "notes", "--prompt", "Echo {{ body }}", "-m", "gpt-4o-mini",
        "--base-url", server.base_url, "--key", key, "--part-requests", "4",
        "--first-part", "0", "-y",
        "--poll", "0.05", *more,
    ]  # fmt: skip


def client_of(server: LocalServer, key: str) -> openai.OpenAI:
    """A client of somebody with this key."""
    http_client = openai.DefaultHttpxClient(verify=authorities())
    return openai.OpenAI(base_url=server.base_url, api_key=key, http_client=http_client)


class Paid:
    """What the provider ran under a key, read through its own API."""

    def __init__(self, server: LocalServer, key: str):
        self.batches: list[Any] = []
        self.times: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        with client_of(server, key) as client:
            for batch in client.batches.list(limit=100).data:
                self.batches.append(batch)
                if batch.status != "failed":
                    text = client.files.content(batch.input_file_id).read().decode()
                    ids = (json.loads(line)["custom_id"] for line in text.splitlines())
                    self.times.update(ids)
                if batch.output_file_id:
                    text = client.files.content(batch.output_file_id).read()
                    self.answers.update(answered(text))

    @property
    def twice(self) -> dict[str, int]:
        """Requests that are in more than one batch that ran."""
        return {custom_id: n for custom_id, n in self.times.items() if n > 1}

    @property
    def answered_twice(self) -> dict[str, int]:
        """Requests that were answered in more than one batch."""
        return {custom_id: n for custom_id, n in self.answers.items() if n > 1}


def answered(output: bytes) -> set[str]:
    """The requests that an output file has an answer of the model to."""
    ids = set()
    for text in output.split(b"\n"):
        with suppress(ValueError):
            line = json.loads(text)
            if line["response"]["status_code"] == 200:
                ids.add(line["custom_id"])
    return ids


def outcome_sums(path: Path) -> dict[str, int]:
    """Outcomes of the newest job; checks that parts, requests and the job's figure agree."""
    with closing(connect(path)) as conn:
        job = store.list_jobs(conn)[0]
        parts = store.outcome_counts(store.list_parts(conn, job.id))
        rows = conn.execute(
            "SELECT status, count(*) FROM openai_batch_requests WHERE job_id = ? GROUP BY status",
            [job.id],
        ).fetchall()
    assert parts == dict(rows), (parts, rows)
    assert sum(parts.values()) == job.requests
    return parts


def answers(path: Path) -> dict[int, str | None]:
    """Answers by row; no column is made before there is an answer."""
    with closing(sqlite3.connect(path)) as conn:
        columns = {row[1] for row in conn.execute("PRAGMA table_info(notes)").fetchall()}
        answer = "answer" if "answer" in columns else "NULL"
        return dict(conn.execute(f"SELECT id, {answer} FROM notes ORDER BY id").fetchall())


def check_all_answered(path: Path, rows: int = ROWS) -> None:
    """Every row has its own answer, and all sums agree."""
    assert outcome_sums(path) == {"ok": rows}
    for number, answer in answers(path).items():
        assert answer is not None
        assert f"note number {number};" in answer


def streaming(folder: Path, rows: tuple[int, ...]) -> Path:
    """A template whose lines for these rows are refused by the validation."""
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Echo {{ body }}"}],
        "stream": f"{{{{ (id in {list(rows)}) | json }}}}",
    }
    file = folder / "body.json"
    file.write_text(json.dumps(body))
    return file
