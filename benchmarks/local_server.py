"""How fast the local batch server starts, answers and stays small.

    python benchmarks/local_server.py                  everything, as a table
    python benchmarks/local_server.py --lines N --peak the peak memory of a batch of N lines, bytes

What is measured: the time from `LocalServer().start()` to its first reply, over 20 servers; lines
per second of simulated batches, from creation to `completed`, validation included; the peak memory
of the serving process; a batch of 10,000 lines through an upstream with 20 ms latency, killed
with -9 in the middle and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import openai

from sqlite_utils_openai_batch.local import (
    Answer,
    LocalServer,
    ServerLimits,
    SimulatedAnswerer,
    UpstreamAnswerer,
)

CHAT = "/v1/chat/completions"
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "summary": {"type": "string"}},
    "required": ["mood", "summary"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
TEXT = "A review of about nine hundred characters, as they are. " * 16
LIMITS = ServerLimits(requests=10**7, batch_file_bytes=10**11, upload_bytes=10**11)


def write_input(path: Path, lines: int, **more: Any) -> None:
    """Write an input file of so many chat completions of about 1 KB."""
    with path.open("w") as file:
        for number in range(lines):
            messages = [{"role": "user", "content": f"{number} {TEXT}"}]
            body = {"model": "gpt-4o-mini", "messages": messages, **more}
            line = {"custom_id": f"r-{number}", "method": "POST", "url": CHAT, "body": body}
            file.write(json.dumps(line) + "\n")


def create(client: openai.OpenAI, path: Path) -> str:
    """Upload an input file and create its batch; returns the batch's id."""
    with path.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    batch = client.batches.create(input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h")
    return batch.id


def connect(server: LocalServer) -> openai.OpenAI:
    """A client of a server."""
    return openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)


def peak() -> int:
    """The most memory that this process has had, in bytes.

    Where there is no /proc, getrusage must do; it counts what a parent process had as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def start_up(times: int = 20) -> float:
    """Seconds from nothing to the first reply, the median of so many servers."""
    seen = []
    for _ in range(times):
        began = time.perf_counter()
        with LocalServer() as server, connect(server) as client:
            client.batches.list()
            seen.append(time.perf_counter() - began)
    return statistics.median(seen)


def simulated(lines: int, **more: Any) -> tuple[float, int]:
    """Lines per second of a simulated batch, and the bytes of memory at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.jsonl"
        write_input(path, lines, **more)
        with LocalServer(limits=LIMITS) as server, connect(server) as client:
            with path.open("rb") as file:
                uploaded = client.files.create(file=file, purpose="batch")
            began = time.perf_counter()
            batch = client.batches.create(
                input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h"
            )
            assert server.wait_for(batch.id, timeout=600) == "completed"
            took = time.perf_counter() - began
    return lines / took, peak()


def peak_in_process(lines: int) -> int:
    """The peak memory of a process that serves a simulated batch of so many lines."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(simulated, (lines,))[1]


class Latency(SimulatedAnswerer):
    """An upstream that takes 20 ms, and counts what it was asked."""

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
        await asyncio.sleep(0.02)
        self.now -= 1
        return self.answer_now(url, body, custom_id)


def serve_upstream(state: str, url: str, key: str, concurrency: int, pipe: Any) -> None:
    """Serve an upstream from a state directory, until killed."""
    answerer = UpstreamAnswerer(url, key, concurrency)
    server = LocalServer(Path(state), answerer=answerer, key="k").start()
    pipe.send(server.base_url)
    while True:
        pipe.send(peak())
        time.sleep(0.2)


def through_upstream(lines: int = 10_000, concurrency: int = 64) -> Mapping[str, Any]:
    """Run a batch through an upstream, kill the server in the middle, start it again."""
    upstream = Latency()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, LocalServer(answerer=upstream) as far:
        state, path = Path(folder) / "state", Path(folder) / "input.jsonl"
        write_input(path, lines)
        began, batch_id, most = time.perf_counter(), "", 0
        for until in (lines // 2, lines):
            ours, theirs = context.Pipe()
            arguments = (str(state), far.base_url, far.key, concurrency, theirs)
            process = context.Process(target=serve_upstream, args=arguments)
            process.start()
            with openai.OpenAI(base_url=ours.recv(), api_key="k", max_retries=0) as client:
                batch_id = batch_id or create(client, path)
                done = wait(client, batch_id, until)
                answers = client.files.content(done).text.splitlines() if done else []
            while ours.poll():
                most = max(most, ours.recv())
            process.kill()
            process.join()
        took = time.perf_counter() - began
    keys = Counter(json.loads(line)["custom_id"] for line in answers)
    assert len(keys) == lines and set(keys.values()) == {1}
    return {
        "lines": lines,
        "answered once": len(keys),
        "asked twice": sum(count > 1 for count in upstream.asked.values()),
        "most at once": upstream.most,
        "lines/s": round(lines / took),
        "peak MB": round(most / 1e6),
    }


def wait(client: openai.OpenAI, batch_id: str, completed: int) -> str | None:
    """Wait for so many answers; returns the output file once the batch has ended."""
    while True:
        batch = client.batches.retrieve(batch_id)
        if batch.output_file_id:
            return batch.output_file_id
        counts = batch.request_counts
        if (
            counts
            and batch.status == "in_progress"
            and completed <= counts.completed < counts.total
        ):
            return None
        time.sleep(0.05)


def report(rows: Iterable[tuple[str, str]]) -> None:
    """Print a table as it is measured."""
    for what, figure in rows:
        print(f"{what:<52}{figure}", flush=True)


def measure() -> Iterable[tuple[str, str]]:
    """All of it, one line each."""
    yield "processors", str(os.cpu_count())
    yield "start to first reply, with client (median of 20)", f"{start_up() * 1000:.0f} ms"
    for name, more in (("text", {}), ("schema", {"response_format": FORMAT})):
        speed, _ = simulated(50_000, **more)
        yield f"simulated, 50,000 lines of 1 KB, {name}", f"{speed:,.0f} lines/s"
    for lines in (10_000, 100_000):
        yield f"peak memory, {lines:,} lines", f"{peak_in_process(lines) / 1e6:.0f} MB"
    for what, figure in through_upstream().items():
        yield f"upstream of 20 ms, killed half-way: {what}", f"{figure:,}"


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--peak", action="store_true")
    options = parser.parse_args()
    if options.peak:
        print(simulated(options.lines)[1])
    else:
        report(measure())


if __name__ == "__main__":
    sys.exit(main())
