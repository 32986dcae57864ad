"""What `docs/local-server.md` shows, works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sqlite_utils_openai_batch.local import FAULTS

DOCS = Path(__file__).parents[2] / "docs" / "local-server.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
MY_PROGRAM = """
import pytest
from sqlite_utils_openai_batch.local import ServerLimits

def my_program():
    import json, openai
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    with openai.OpenAI(max_retries=0) as client:
        file = client.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
        try:
            client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        except openai.APIConnectionError:
            assert len(list(client.batches.list())) == 1
"""
LIMITED = """
def test_limited(openai_batch_server):
    assert openai_batch_server.limits.enqueued_tokens == 90_000
    assert [fault["argument"] for fault in openai_batch_server.faults.active()] == [10]
"""


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("block", [b for b in BLOCKS if "LocalServer(" in b])
def test_scripts(tmp_path: Path, block: str) -> None:
    done = run(tmp_path, "-c", block)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_fixtures(tmp_path: Path) -> None:
    test, options = (
        next(block for block in BLOCKS if text in block)
        for text in ("def test_my_program", "def openai_batch_server_options")
    )
    (tmp_path / "test_plain.py").write_text(MY_PROGRAM + test)
    (tmp_path / "test_other.py").write_text(MY_PROGRAM + options + LIMITED)
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_from_another_language(tmp_path: Path) -> None:
    [block] = re.findall(r"```sh\n(.*?--print-url.*?)```", DOCS.read_text(), re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", block], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["data"] == []
    assert done.stderr == ""
    assert (tmp_path / "url").read_text().count("\n") == 1


def test_every_fault_is_in_the_table() -> None:
    text = DOCS.read_text()
    for fault in FAULTS.values():
        assert f"| `{fault.written}` |" in text and fault.doc in text
