"""`sqlite-utils openai-batch serve`."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from click.testing import CliRunner

from sqlite_utils_openai_batch.local import FAULTS

from .bench import Serve, chat, request_lines

SERVE = [sys.executable, "-m", "sqlite_utils", "openai-batch", "serve"]
PATIENCE = 60.0


class Terminal:
    """A running `serve`: its address, and what it has said."""

    def __init__(self, *options: str) -> None:
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen([*SERVE, *options], stdin=pipe, stdout=pipe, stderr=pipe)
        self.said = ""

    @property
    def base_url(self) -> str:
        """The first line of stdout."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().decode().removesuffix("\n")

    def hear(self, text: str) -> str:
        """Read stderr until it holds a text; returns all of it."""
        assert self.popen.stderr is not None
        deadline = time.monotonic() + PATIENCE
        while text not in self.said and time.monotonic() < deadline:
            if select.select([self.popen.stderr], [], [], 0.1)[0]:
                data = os.read(self.popen.stderr.fileno(), 65_536)
                self.said += data.decode()
                if not data:
                    break
        assert text in self.said, self.said
        return self.said

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; returns the exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(PATIENCE)

    def close(self) -> None:
        """End it however it is."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.communicate()


Begin = Callable[..., Terminal]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start `serve` with options."""
    begun: list[Terminal] = []

    def start(*options: str) -> Terminal:
        begun.append(Terminal(*options))
        return begun[-1]

    yield start
    for terminal in begun:
        terminal.close()


def test_a_first_session(begin: Begin) -> None:
    terminal = begin("--simulate", "--echo")
    base_url = terminal.base_url
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", base_url)
    said = terminal.hear("Stop     Ctrl-C\n")
    lines = said.splitlines()
    assert lines[0] == "Answers  simulated answers (made up, and marked so)"
    assert lines[1] == "         nothing here was asked of a model"
    assert lines[2] == "Keys     any; each sees its own files and batches"
    assert lines[3] == "State    gone when the server stops (--state DIR keeps it)"
    told = re.fullmatch(r"Use      export OPENAI_BASE_URL=(\S+) OPENAI_API_KEY=(\S+)", lines[4])
    assert told and told[1] == base_url
    with openai.OpenAI(base_url=told[1], api_key=told[2], max_retries=0) as client:
        content = request_lines([chat("hello")]).encode()
        file = client.files.create(file=("a.jsonl", content), purpose="batch")
        client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert terminal.end() == 130
    assert terminal.hear("Stopped.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_state_is_kept_where_told(begin: Begin, tmp_path: Path, number: int) -> None:
    state = str(tmp_path / "batches")
    terminal = begin("--simulate", "--state", state, "--key", "secret", "--rate", "1")
    base_url = terminal.base_url
    said = terminal.hear("Ctrl-C\n")
    assert "Keys     the one of --key\n" in said and f"State    {state}\n" in said
    assert "secret" not in said
    with openai.OpenAI(base_url=base_url, api_key="secret", max_retries=0) as client:
        content = request_lines([chat()] * 50).encode()
        file = client.files.create(file=("a.jsonl", content), purpose="batch")
        client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert terminal.end(number) == 130
    terminal.hear(f"Stopped. Batches that were running go on with --state {state}\n")
    again = begin("--simulate", "--state", state, "--key", "secret")
    with openai.OpenAI(base_url=again.base_url, api_key="secret", max_retries=0) as client:
        deadline = time.monotonic() + PATIENCE
        while next(iter(client.batches.list())).status != "completed":
            assert time.monotonic() < deadline


def test_second_server_on_the_same_state(begin: Begin, tmp_path: Path) -> None:
    first = begin("--simulate", "--state", str(tmp_path))
    base_url = first.base_url
    second = begin("--simulate", "--state", str(tmp_path))
    assert second.popen.wait(PATIENCE) == 1
    second.hear(f"A local batch server at {base_url} already uses {tmp_path}.")


def test_upstream_that_is_not_there_yet(begin: Begin) -> None:
    terminal = begin("--upstream", "http://127.0.0.1:9/v1")
    assert terminal.base_url
    said = terminal.hear("Ctrl-C\n")
    assert said.startswith("Warning: The upstream at http://127.0.0.1:9/v1 can't be reached")
    assert "Answers  answers of http://127.0.0.1:9/v1" in said


def invoke(*options: str) -> tuple[int, str, str]:
    from sqlite_utils.cli import cli

    result = CliRunner().invoke(cli, ["openai-batch", "serve", *options])
    return result.exit_code, result.stdout, result.stderr


def test_upstream_without_the_model(serve_with: Serve) -> None:
    far = serve_with().server
    code, out, err = invoke(
        "--upstream", far.base_url, "--upstream-key", far.key, "-m", "gpt-nothing"
    )
    assert (code, out) == (2, "")
    assert err == (
        f"Error: {far.base_url} has no model 'gpt-nothing'. It has: gpt-4o-mini,"
        " omni-moderation-latest, text-embedding-3-small.\n"
    )


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--simulate", "--upstream", "http://x"], 2,
         "--simulate and --upstream: give only one of them."),
        (["--local", "--upstream", "http://x"], 2, "--local and --upstream: give only one."),
        (["--rate", "5"], 2, "--rate is for --simulate only."),
        (["--simulate", "-m", "x"], 2, "--model is for --upstream only."),
        (["--simulate", "--upstream-key", "x"], 2, "--upstream-key is for --upstream only."),
        (["--simulate", "--webhook", "http://x"], 2, "--webhook and --webhook-secret go together."),
        (["--upstream", "localhost:11434/v1"], 2,
         "--upstream 'localhost:11434/v1' is not an address of a server. Write it like https://"),
        (["--upstream", "http://127.0.0.1:1/v1", "--upstream", "ftp://x/v1"], 2,
         "--upstream 'ftp://x/v1' is not an address of a server."),
        (["--simulate", "--webhook", "nonsense", "--webhook-secret", "whsec_MTIz"], 2,
         "--webhook 'nonsense' is not an address of a server."),
        (["--simulate", "--fault", "nonsense"], 2, "There is no fault 'nonsense'."),
        (["--simulate", "--host", "0.0.0.0"], 1, "the server needs a key there: add --key"),
    ],
)  # fmt: skip
def test_wrong_options(options: list[str], code: int, message: str) -> None:
    exit_code, out, err = invoke(*options)
    assert (exit_code, out) == (code, "")
    assert message in err


def test_list_faults() -> None:
    code, out, err = invoke("--list-faults")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(FAULTS)
    assert "expire:LINES                The batch expires after LINES answers" in out
