"""Killed in the middle and started again: each request is answered once in what comes out."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from sqlite_utils_openai_batch.local import Answer, LocalServer, SimulatedAnswerer, StateInUse

from .bench import CHAT, Serve, chat, request_lines, text_of
from .test_batches import wait_for_status

PATIENCE = 60.0
SERVE = [sys.executable, "-m", "sqlite_utils", "openai-batch", "serve"]


class Process:
    """`serve` in a process of its own, over one state directory."""

    def __init__(self, state: Path, *options: str) -> None:
        self.popen = subprocess.Popen(
            [*SERVE, "--state", str(state), "--key", "k", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def listens(self) -> Process:
        """Read the address that it prints, and connect."""
        assert self.popen.stdout is not None
        self.base_url = self.popen.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", self.base_url)
        self.client = openai.OpenAI(base_url=self.base_url, api_key="k", max_retries=0)
        return self

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        if self.popen.stdout:
            self.popen.stdout.close()

    def wait_for(self, batch_id: str, ready: Callable[[Any], bool]) -> Any:
        """Look at a batch until it is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            batch = self.client.batches.retrieve(batch_id)
            if ready(batch):
                return batch
            time.sleep(0.02)
        raise AssertionError(batch)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers over the same state directory, one after the other."""
    begun: list[Process] = []

    def start_one(*options: str) -> Process:
        begun.append(Process(tmp_path / "state", *options))
        return begun[-1].listens()

    yield start_one
    for process in begun:
        process.kill()
        process.client.close()


def create(process: Process, content: str) -> str:
    file = process.client.files.create(file=("a.jsonl", content.encode()), purpose="batch")
    return process.client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h"
    ).id


def answered(count: int) -> Callable[[Any], bool]:
    return lambda batch: batch.request_counts.completed >= count


def has_ended(batch: Any) -> bool:
    return batch.status in ("completed", "failed", "expired", "cancelled")


def lines_of(process: Process, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.client.files.content(file_id).text.splitlines()]


def test_killed_in_the_middle_three_times(start: Start, tmp_path: Path) -> None:
    total = 3_000
    process = start("--simulate", "--echo", "--rate", "200")
    batch_id = create(process, request_lines([chat(f"n {n}") for n in range(1, total + 1)]))
    for part in (1, 2, 3):
        process.wait_for(batch_id, answered(part * 200))
        process.kill()
        tear(tmp_path / "state" / "work" / f"{batch_id}.output")
        process = start("--simulate", "--echo", "--rate", "200" if part < 3 else "100000")
    batch = process.wait_for(batch_id, has_ended)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"completed": total, "failed": 0, "total": total}
    lines = lines_of(process, batch.output_file_id)
    assert Counter(line["custom_id"] for line in lines) == {
        f"r-{n}": 1 for n in range(1, total + 1)
    }
    for line in lines:
        number = line["custom_id"][2:]
        assert text_of(line) == f"simulated answer to r-{number}: n {number}"
    assert batch.usage.output_tokens == sum(
        line["response"]["body"]["usage"]["completion_tokens"] for line in lines
    )


def tear(path: Path) -> None:
    """Leave a file as a kill in the middle of a write does."""
    data = path.read_bytes()
    cut = data.rindex(b"\n", 0, len(data) - 1) + 40
    path.write_bytes(data[:cut])


@pytest.mark.parametrize(
    ("fault", "status", "end"),
    [
        ("stuck:validating", "validating", "completed"),
        ("stuck:in_progress", "in_progress", "completed"),
        ("stuck:finalizing", "finalizing", "completed"),
        ("stuck:cancelling", "cancelling", "cancelled"),
    ],
)
def test_killed_in_each_state(start: Start, fault: str, status: str, end: str) -> None:
    brake = ["--rate", "1"] if status == "cancelling" else []
    process = start("--simulate", "--fault", fault, *brake)
    batch_id = create(process, request_lines([chat(str(n)) for n in range(20)]))
    if status == "cancelling":
        process.wait_for(batch_id, lambda b: b.status == "in_progress")
        process.client.batches.cancel(batch_id)
    process.wait_for(batch_id, lambda b: b.status == status)
    process.kill()
    process = start("--simulate")
    batch = process.wait_for(batch_id, has_ended)
    assert batch.status == end
    if end == "completed":
        lines = lines_of(process, batch.output_file_id)
        assert sorted(line["custom_id"] for line in lines) == sorted(f"r-{n}" for n in range(1, 21))


def test_faults_of_a_batch_survive_a_restart(start: Start) -> None:
    process = start("--simulate", "--fault", "stuck", "--fault", "fail-lines:2")
    batch_id = create(process, request_lines([chat(str(n)) for n in range(8)]))
    process.wait_for(batch_id, answered(2))
    process.kill()
    process = start("--simulate")
    batch = process.wait_for(batch_id, has_ended)
    assert batch.request_counts.model_dump() == {"completed": 4, "failed": 4, "total": 8}


class Slow(SimulatedAnswerer):
    """An upstream that takes a moment, and remembers what it was asked."""

    pace = None  # type: ignore[assignment]  # so that it counts as one that takes its time
    concurrency = 1000

    def __init__(self) -> None:
        super().__init__(echo=True)
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        self.asked[body["messages"][0]["content"]] += 1
        await asyncio.sleep(0.01)
        self.now -= 1
        return self.answer_now(url, body, custom_id)


def test_upstream_killed_in_the_middle(start: Start, serve_with: Serve) -> None:
    total, concurrency = 600, 8
    slow = Slow()
    upstream = serve_with(answerer=slow).server
    options = ["--upstream", upstream.base_url, "--upstream-key", upstream.key,
               "--concurrency", str(concurrency), "-m", "gpt-4o-mini"]  # fmt: skip
    process = start(*options)
    batch_id = create(process, request_lines([chat(f"n {n}") for n in range(1, total + 1)]))
    process.wait_for(batch_id, answered(200))
    process.kill()
    process = start(*options)
    batch = process.wait_for(batch_id, has_ended)
    assert batch.request_counts.model_dump() == {"completed": total, "failed": 0, "total": total}
    lines = lines_of(process, batch.output_file_id)
    assert len(lines) == total
    for line in lines:
        assert text_of(line).endswith(f": n {line['custom_id'][2:]}")
    assert slow.most <= concurrency
    # what was in flight when the server died is asked again, and nothing else
    assert set(slow.asked.values()) <= {1, 2}
    assert sum(slow.asked.values()) <= total + concurrency


# one server to a directory


def test_second_server_on_the_same_directory(serve_with: Serve, tmp_path: Path) -> None:
    first = serve_with(state_dir=tmp_path / "state").server
    with pytest.raises(StateInUse, match="already uses") as caught:
        LocalServer(tmp_path / "state").start()
    assert (caught.value.base_url, caught.value.key) == (first.base_url, first.key)
    first.stop()
    with LocalServer(tmp_path / "state") as second:
        assert second.key == first.key


def test_killed_server_leaves_no_lock(start: Start) -> None:
    first = start("--simulate")
    first.kill()
    assert start("--simulate").client.batches.list().data == []


def test_the_address_file_is_private(serve_with: Serve, tmp_path: Path) -> None:
    serve_with(state_dir=tmp_path / "state")
    assert (tmp_path / "state" / "server.json").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_stopped_in_the_middle_and_started_again(serve_with: Serve, tmp_path: Path) -> None:
    bench = serve_with(state_dir=tmp_path, key="k", answerer=SimulatedAnswerer(duration=3600))
    created = bench.create(request_lines([chat(str(n)) for n in range(10)]))
    wait_for_status(bench, created.id, "in_progress")
    bench.server.stop()
    again = serve_with(state_dir=tmp_path, key="k")
    assert again.ended(created).status == "completed"
    assert len(again.server.journal()) > len(bench.server.journal()) == 0


def test_uploads_that_were_cut_off_are_cleared(serve_with: Serve, tmp_path: Path) -> None:
    serve_with(state_dir=tmp_path).server.stop()
    (tmp_path / "incoming" / "half").write_bytes(b"x")
    serve_with(state_dir=tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []


def test_interrupt_ends_cleanly(start: Start, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start("--simulate")
        process.client.batches.list()
        process.popen.send_signal(number)
        assert process.popen.wait(PATIENCE) == 130
        assert not (tmp_path / "state" / "server.json").exists()
