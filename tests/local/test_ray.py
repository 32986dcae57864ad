"""A batch server on a Ray cluster of two workers, which is killed here and there."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sqlite_utils_openai_batch.local import weights_path
from sqlite_utils_openai_batch.local.server import listen

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="the extra `ray` isn't installed"
)
LINES = 2_000
# From this number on the model gives no answer at all.
SLOW = 1_000_000
HERE = Path(__file__).parent
# Ray compares a token at each connection: nobody else on this machine may use these clusters.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
         "RAY_USAGE_STATS_ENABLED": "0",
         # A socket's path has 107 characters at most, and the folders of tests are deep.
         "RAY_TMPDIR": "/tmp"}  # fmt: skip


class Cluster(NamedTuple):
    address: str
    process: subprocess.Popen[str]

    def workers(self) -> list[int]:
        """The processes that answer, of this cluster and no other."""
        found = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()]
        return [pid for pid in found if command(pid).startswith("ray::MapWorker")
                and self.process.pid in ancestors(pid)]  # fmt: skip


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    except OSError:
        return ""


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def driver(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "cluster_driver.py"), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **TOKEN},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    process = driver()
    assert process.stdout
    yield Cluster(process.stdout.readline().strip(), process)
    ended(process)


class ModelServer:
    """Answers with a number that follows from the request, and counts how often each came."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.together = self.most_together = 0
        self.url = ""
        self.closing = False

    async def answer(self, request: Request) -> JSONResponse:
        number = int((await request.json())["messages"][0]["content"])
        self.asked[number] += 1
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(0.01)
        while number >= SLOW and not self.closing:
            await asyncio.sleep(0.1)
        self.together -= 1
        if number == 13:
            return JSONResponse({"error": {"message": "unlucky", "code": "bad"}}, 400)
        message = {"role": "assistant", "content": str(number * number)}
        return JSONResponse({"object": "chat.completion", "choices": [{"message": message}]})


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    app = Starlette(routes=[Route("/v1/chat/completions", server.answer, methods=["POST"])])
    listener = listen("127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    yield server
    server.closing = running.should_exit = True
    thread.join()


Serving = Callable[..., tuple[subprocess.Popen[str], openai.OpenAI]]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Start `serve` over one state folder, as often as one likes."""
    opened: list[Any] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], openai.OpenAI]:
        process = subprocess.Popen(
            [sys.executable, "-m", "sqlite_utils", "openai-batch", "serve",
             "--state", str(tmp_path / "state"), *arguments],
            stdout=subprocess.PIPE, text=True, env={**os.environ, **TOKEN},
        )  # fmt: skip
        assert process.stdout
        client = openai.OpenAI(base_url=process.stdout.readline().strip(), api_key="k")
        opened.append((process, client))
        return process, client

    yield start
    for process, client in opened:
        client.close()
        process.terminate()
        process.wait(60)
        process.stdout.close()


def send(client: openai.OpenAI, contents: list[str], **more: Any) -> str:
    lines = [json.dumps({"custom_id": f"r-{n}", "method": "POST", "url": "/v1/chat/completions",
                         "body": {"model": "m", "messages": [{"role": "user", "content": text}],
                                  **more}})
             for n, text in enumerate(contents)]  # fmt: skip
    file = client.files.create(file=("b.jsonl", "\n".join(lines).encode()), purpose="batch")
    endpoint: Any = "/v1/chat/completions"
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h"
    ).id


def until(client: openai.OpenAI, batch_id: str, count: int | None = None) -> Any:
    """Wait until a batch has ended, or until so many of its lines are answered."""
    deadline = time.monotonic() + 300
    while True:
        batch = client.batches.retrieve(batch_id)
        done = batch.request_counts.completed if batch.request_counts else 0
        if batch.status not in ("validating", "in_progress", "finalizing", "cancelling"):
            return batch
        if count is not None and done >= count:
            return batch
        assert time.monotonic() < deadline, f"{batch.status}, {done} lines"
        threading.Event().wait(0.1)


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    return [json.loads(line) for line in client.files.content(file_id or "").text.splitlines()]


def test_every_line_once_whatever_is_killed(
    cluster: Cluster, model_server: ModelServer, serving: Serving
) -> None:
    arguments = ("--ray", cluster.address, "--upstream", model_server.url, "--concurrency", "8",
                 "--ray-workers", "2")  # fmt: skip
    server, client = serving(*arguments)
    batch_id = send(client, [str(number) for number in range(LINES)])
    until(client, batch_id, 200)
    os.kill(cluster.workers()[0], signal.SIGKILL)
    until(client, batch_id, 700)
    server.kill()
    server.wait()
    _, client = serving(*arguments)
    assert until(client, batch_id, 0).request_counts.completed >= 700
    batch = until(client, batch_id)

    assert batch.status == "completed"
    assert (batch.request_counts.completed, batch.request_counts.failed) == (LINES - 1, 1)
    found = {int(line["custom_id"][2:]): line for line in lines_of(client, batch.output_file_id)}
    assert len(lines_of(client, batch.output_file_id)) == len(found) == LINES - 1
    for number, line in found.items():
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answer == str(number * number)
    [failed] = lines_of(client, batch.error_file_id)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("r-13", 400)
    # What two kills repeat: the blocks in flight, and no more.
    assert sum(model_server.asked.values()) - LINES <= 2 * (2 * 3) * 64
    assert model_server.most_together <= 8


def test_cancelled_batches_keep_what_was_answered(
    cluster: Cluster, model_server: ModelServer, serving: Serving
) -> None:
    _, client = serving("--ray", cluster.address, "--upstream", model_server.url)
    batch_id = send(client, [str(number) for number in range(1000, 1000 + LINES)])
    until(client, batch_id, 1)
    client.batches.cancel(batch_id)
    batch = until(client, batch_id)
    assert batch.status == "cancelled"
    answered = {line["custom_id"] for line in lines_of(client, batch.output_file_id)}
    assert 1 <= len(answered) == batch.request_counts.completed < LINES


def test_batches_expire_with_what_was_answered(
    cluster: Cluster, model_server: ModelServer, serving: Serving
) -> None:
    _, client = serving("--ray", cluster.address, "--upstream", model_server.url, "--window", "20")
    # The workers are there once one batch was in time.
    while until(client, send(client, ["7"])).status != "completed":
        pass
    numbers = [*range(300), *range(SLOW, SLOW + 100)]

    batch = until(client, send(client, [str(number) for number in numbers]))

    assert batch.status == "expired"
    answered = lines_of(client, batch.output_file_id)
    assert 1 <= len(answered) == batch.request_counts.completed <= 299
    for line in answered:
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        assert answer == str(numbers[int(line["custom_id"][2:])] ** 2)
    failed = lines_of(client, batch.error_file_id)
    assert {line["error"]["code"] for line in failed if line["error"]} == {"batch_expired"}
    assert sorted(line["custom_id"] for line in answered + failed) == sorted(
        f"r-{number}" for number in range(len(numbers))
    )


def test_the_small_model_answers_on_the_workers(cluster: Cluster, serving: Serving) -> None:
    if importlib.util.find_spec("xllamacpp") is None or not weights_path().exists():
        pytest.skip("the small model isn't here: it needs the extra `local` and its weights")
    _, client = serving("--ray", cluster.address)
    schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}},
              "required": ["mood"], "additionalProperties": False}  # fmt: skip
    shape = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    texts = [f"Review {number}: {'lovely' if number % 2 else 'broken'}" for number in range(20)]
    batch = until(client, send(client, texts, response_format=shape, max_tokens=30))
    answers = [json.loads(line["response"]["body"]["choices"][0]["message"]["content"])
               for line in lines_of(client, batch.output_file_id)]  # fmt: skip
    assert len(answers) == 20
    assert {answer["mood"] for answer in answers} <= {"good", "bad"}


def test_vllm_by_a_stand_in_for_its_engine() -> None:
    process = driver("engine")
    assert process.stdout
    process.stdout.readline()
    one, broken, three, refused = json.loads(process.stdout.readline())
    ended(process)
    message = one[1]["choices"][0]["message"]["content"].split("|")
    assert message[:3] == ["one", "40", "0.0"]
    assert json.loads(message[3])["properties"] == {"mood": {"enum": ["good", "bad"]}}
    assert one[1]["usage"]["prompt_tokens"] == 7
    assert broken == ["engine_error", "ValueError: prompt too long"]
    assert three[1]["choices"][0]["finish_reason"] == "length"
    assert refused[0] == 400
    assert "vllm serve" in refused[1]["error"]["message"]


def test_no_cluster_there_is_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlite_utils", "openai-batch", "serve", "--simulate",
         "--ray", "127.0.0.1:1"],
        capture_output=True, text=True, env={**os.environ, **TOKEN},
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No Ray cluster can be used at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cluster_that_wants_another_token(cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlite_utils", "openai-batch", "serve", "--simulate",
         "--ray", cluster.address],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, **TOKEN, "RAY_AUTH_TOKEN": "0" * 64},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"The Ray cluster at {cluster.address} wants a token" in done.stderr
    assert "Traceback" not in done.stderr
