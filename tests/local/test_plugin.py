"""The fixtures that other people's tests get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sqlite_utils_openai_batch.local as face

HEAVY = ("openai", "httpx2", "sqlite_utils", "msgspec", "starlette", "uvicorn", "platformdirs")
TESTS = """
def test_one(openai_batch_server, openai_batch_client):
    assert openai_batch_client.base_url == openai_batch_server.base_url + "/"
    assert list(openai_batch_client.batches.list()) == []

def test_other(openai_batch_server):
    assert openai_batch_server.journal() == []
"""


def pytest_says(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", *args],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("named", [False, True])
def test_pytest_finds_them(tmp_path: Path, named: bool) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    if named:  # as it was written before pytest found them by itself
        (tmp_path / "conftest.py").write_text(
            'pytest_plugins = ["sqlite_utils_openai_batch.local.pytest_plugin"]\n'
        )
    done = pytest_says(tmp_path, "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_they_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = pytest_says(tmp_path, "-p", "no:sqlite_utils_openai_batch.local.pytest_plugin")
    assert "fixture 'openai_batch_server' not found" in done.stdout


def test_whoever_does_not_use_them_waits_for_nothing() -> None:
    script = (
        "import json, sys, sqlite_utils_openai_batch.local.pytest_plugin;"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", face.__all__)
def test_the_face_has_what_it_names(name: str) -> None:
    assert getattr(face, name) is not None


def test_the_face_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        face.Nothing  # noqa: B018
