"""The client's types come one by one, and are the same as ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sqlite_utils_openai_batch.local import LocalServer
from sqlite_utils_openai_batch.provider.lazy_types import homes

LAZILY = """
from sqlite_utils_openai_batch.provider.lazy_types import load_types_lazily
load_types_lazily()
"""
#: What each package of types names, and where that is from.
NAMES = """
import importlib, json, pkgutil, sys, types
import openai
found = {}
def look(package):
    names = dir(package)
    found[package.__name__] = {
        name: [getattr(value, "__module__", None), getattr(value, "__qualname__", repr(value))]
        for name in names if not name.startswith("_") and name != "annotations"
        for value in [getattr(package, name)]
    }
    for one in pkgutil.iter_modules(package.__path__):
        if one.ispkg:
            look(importlib.import_module(f"{package.__name__}.{one.name}"))
look(openai.types)
print(json.dumps(found))
"""
STAR = "from openai.types.chat import *; import json; print(json.dumps(sorted(globals())))"


def run(script: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_every_name_is_the_same_as_without() -> None:
    as_ever, lazily = run(NAMES), run(LAZILY + NAMES)
    assert set(as_ever) == set(lazily)
    for package, names in as_ever.items():
        found = lazily[package]
        # modules that others bring in need not be there before they are asked for
        named = {name: home for name, home in names.items() if home[0] is not None}
        assert {name: found.get(name) for name in named} == named, package


def test_a_star_takes_what_it_took() -> None:
    assert set(run(LAZILY + STAR)) >= {
        name for name in run(STAR) if name[:1].isupper()
    }  # fmt: skip


def test_what_batches_need_brings_in_few_types() -> None:
    script = (
        LAZILY
        + """
import json, sys
from sqlite_utils_openai_batch.provider.client import Provider
with Provider({url!r}, {key!r}) as provider:
    provider.check()
    provider.models()
    list(provider.files())
print(json.dumps([name for name in sys.modules if name.startswith("openai.types")]))
"""
    )
    with LocalServer() as server:
        loaded = run(script.format(url=server.base_url, key=server.key))
    assert "openai.types.batch" in loaded
    assert len(loaded) < 150


def test_only_our_commands_touch_the_client_of_others() -> None:
    # In Datasette, and beside somebody's own code, the client is as its makers have it.
    script = """
import json, sys
import datasette_openai_batch, sqlite_utils_openai_batch.python.batches
from sqlite_utils_openai_batch.provider.client import Provider
Provider("http://127.0.0.1:1/v1", "k").close()
print(json.dumps([type(one).__module__ for one in sys.meta_path]))
"""
    assert not [name for name in run(script) if name.startswith("sqlite_utils_openai_batch")]
    command = """
import json, sys
from click.testing import CliRunner
from sqlite_utils.cli import cli
CliRunner().invoke(cli, ["openai-batch", "serve", "--list-faults"])
print(json.dumps([type(one).__module__ for one in sys.meta_path]))
"""
    assert "sqlite_utils_openai_batch.provider.lazy_types" in run(command)
    browse = command.replace('"serve", "--list-faults"', '"browse", "nothing.db"')
    assert "sqlite_utils_openai_batch.provider.lazy_types" not in run(browse)


def test_a_command_of_ours_does_without_trio_and_leaves_it_to_others(tmp_path: Path) -> None:
    # As where it is installed, whoever runs these tests.
    (tmp_path / "trio.py").write_text("Event = Lock = Semaphore = CancelScope = object")
    script = """
import json, sys
sys.path.insert(0, {folder!r})
from sqlite_utils_openai_batch.provider.lazy_types import without_trio
from sqlite_utils_openai_batch.provider.client import Provider
with without_trio(), Provider({url!r}, {key!r}) as provider:
    provider.check()
    loaded = sys.modules["trio"] is not None
import trio
print(json.dumps([loaded, trio.__file__]))
"""
    with LocalServer() as server:
        found = run(script.format(folder=str(tmp_path), url=server.base_url, key=server.key))
    assert found == [False, str(tmp_path / "trio.py")]


def test_nobody_waits_for_a_command_that_has_said_its_last_word() -> None:
    # What Python would look through at the end is put aside, and files are closed all the same.
    command = """
import atexit, gc, json
atexit.register(lambda: print(json.dumps(gc.get_freeze_count() > 0)))
from click.testing import CliRunner
from sqlite_utils.cli import cli
CliRunner().invoke(cli, ["openai-batch", "serve", "--list-faults"])
"""
    assert run(command) is True


@pytest.mark.parametrize(
    "source, names",
    [
        (b"from .a import B as B\nfrom .c import D", {"B": ("a", "B"), "D": ("c", "D")}),
        (b"from __future__ import annotations\n", {}),
        (b"from .a import B as C", {"C": ("a", "B")}),
        (b"from .a import *", None),
        (b"from ..a import B", None),
        (b"from . import b", None),
        (b"from .a import B\nX = 1", None),
        (b"import os", None),
        (b'__all__ = ["B"]\nfrom .a import B', None),
    ],
)
def test_a_package_that_does_more_is_left_as_it_is(
    source: bytes, names: dict[str, tuple[str, str]] | None
) -> None:
    assert homes(source) == names
