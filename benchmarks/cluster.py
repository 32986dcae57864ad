"""What Ray costs: lines a second with a model of 20 ms, by 1, 2 and 4 workers and without Ray.

    python benchmarks/cluster.py [--lines 2000] [--memory 10000,200000] [--address HOST:PORT]

The model is simulated inside the workers (4 requests at a time each), so that what is measured is
the way there and back. The upstream beside it is the same model behind a socket, asked 4 and 8 at a
time. `--memory` answers so many lines, in batches of 50,000 as OpenAI takes them, and prints the
peak memory of the server's process, which is the driver too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai

SECONDS = 0.02
TOGETHER = 4
#: Lines of a batch, at most.
BATCH = 50_000


class Model:
    """Takes 20 ms for anything, 4 requests at a time."""

    label, concurrency = "a model of 20 ms", TOGETHER

    def __init__(self, seconds: float = SECONDS) -> None:
        from sqlite_utils_openai_batch.local import SimulatedAnswerer

        self.inner, self.seconds = SimulatedAnswerer(), seconds

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Any:
        await asyncio.sleep(self.seconds)
        return self.inner.answer_now(url, body, custom_id)

    async def models(self) -> list[str]:
        return []

    async def allowed_models(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        return None


def answerer_of(way: str, workers: int, address: str) -> Any:
    from functools import partial

    from sqlite_utils_openai_batch.local import UpstreamAnswerer
    from sqlite_utils_openai_batch.local.answerers.cluster import RayAnswerer, Workers

    if way == "ray":
        make = partial(Model)
        return RayAnswerer(
            lambda _: Workers(make, workers, 0.1), Model(), address=address, workers=workers
        )
    if way == "instant":
        make = partial(Model, 0.0)
        return RayAnswerer(
            lambda _: Workers(make, workers, 0.1), Model(), address=address, workers=workers
        )
    return UpstreamAnswerer(address, concurrency=TOGETHER * workers)


def measure(way: str, workers: int, address: str, lines: int) -> dict[str, float]:
    """Answer a few lines, then time so many: the workers are there by then."""
    from sqlite_utils_openai_batch.local import LocalServer

    with LocalServer(answerer=answerer_of(way, workers, address)) as server:
        # Files are made and sent by another process: this one's memory is the server's.
        asking = [sys.executable, __file__, "--ask", server.base_url, str(64 * workers), str(lines)]
        seconds = float(subprocess.run(asking, stdout=subprocess.PIPE, check=True).stdout)
    return {"seconds": seconds, "memory": peak()}


def ask(base_url: str, first: int, lines: int) -> float:
    """Have a few lines answered, then so many. Returns the seconds that these took."""
    seconds = 0.0
    with openai.OpenAI(base_url=base_url, api_key="k", timeout=600) as client:
        for count in (first, lines):
            began = time.perf_counter()
            for start in range(0, count, BATCH):
                run(client, min(BATCH, count - start))
            seconds = time.perf_counter() - began
    return seconds


def run(client: openai.OpenAI, count: int) -> None:
    """Send a batch of so many lines, and wait for it."""
    with tempfile.NamedTemporaryFile("w+b", suffix=".jsonl") as file:
        for number in range(count):
            body = {"model": "m", "messages": [{"role": "user", "content": f"row {number} " * 20}]}
            line = {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps({**line, "body": body}).encode() + b"\n")
        file.flush()
        sent = client.files.create(file=Path(file.name), purpose="batch")
    batch = client.batches.create(
        input_file_id=sent.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while batch.status in ("validating", "in_progress", "finalizing"):
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed", batch.status
    assert batch.request_counts is not None and batch.request_counts.completed == count


def peak() -> float:
    """Megabytes that this process ever held."""
    text = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    if found := re.search(r"VmHWM:\s+(\d+)", text):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def upstream() -> str:
    """The same model behind a socket of this process. Returns its URL."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from sqlite_utils_openai_batch.local.server import listen

    model = Model()

    async def answer(request: Request) -> JSONResponse:
        reply = await model.answer("/v1/chat/completions", await request.json(), "x")
        return JSONResponse(reply.body)

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    listener = listen("127.0.0.1", 0)
    serving = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    threading.Thread(target=serving.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def apart(way: str, workers: int, address: str, lines: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", way, str(workers), address, str(lines)],
        stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000)
    parser.add_argument("--memory", help="numbers of lines, such as 10000,200000")
    parser.add_argument("--address", default="local")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        base_url, first, lines = options.ask
        print(ask(base_url, int(first), int(lines)))
        return
    if options.one:
        way, workers, address, lines = options.one
        print(json.dumps(measure(way, int(workers), address, int(lines))))
        return
    if options.memory:
        print("| lines | lines a second | peak memory |\n|---:|---:|---:|")
        for lines in map(int, options.memory.split(",")):
            found = apart("instant", 2, options.address, lines)
            rate = lines / found["seconds"]
            print(f"| {lines:,} | {rate:,.0f} | {found['memory']:.0f} MB |", flush=True)
        return
    print(
        "| who answers | at a time | lines a second | of what is possible |\n|---|---:|---:|---:|"
    )
    url = upstream()
    ways = [("upstream", 1), ("upstream", 2), ("ray", 1), ("ray", 2), ("ray", 4)]
    for way, workers in ways:
        found = apart(way, workers, url if way == "upstream" else options.address, options.lines)
        rate, possible = options.lines / found["seconds"], TOGETHER * workers / SECONDS
        name = "`--upstream` alone" if way == "upstream" else f"Ray, {workers} workers"
        shown = f"{TOGETHER * workers} | {rate:,.0f} | {rate / possible:.0%}"
        print(f"| {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
