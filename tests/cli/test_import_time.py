"""sqlite-utils loads this plugin at each of its calls: that must bring in next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "openai", "httpx2", "httpx", "pydantic", "jinja2", "msgspec", "orjson", "jsonschema_rs", "yaml",
    "starlette", "uvicorn", "anyio", "datasette", "genai_prices", "filetype", "platformdirs",
    "asyncio", "ssl", "multipart", "xllamacpp",
}  # fmt: skip
MODULES = """
import json, sys
{before}
from sqlite_utils.cli import cli
{after}
print(json.dumps(sorted(sys.modules)))
"""
WITHOUT = """
from importlib import metadata
found = metadata.entry_points
metadata.entry_points = lambda **k: [e for e in found(**k) if "openai_batch" not in e.value]
distributions = metadata.distributions
metadata.distributions = lambda: [
    d for d in distributions() if d.metadata["Name"] != "sqlite-utils-openai-batch"
]
"""
HELP = """
import contextlib, io
def shown(*args):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        cli(args)
    return out.getvalue()
assert "openai-batch" in shown("--help")
for name in ("", *cli.commands["openai-batch"].commands):
    assert "Usage:" in shown("openai-batch", *filter(None, [name]), "--help"), name
"""


def modules(before: str = "", after: str = "") -> set[str]:
    """What is loaded in a fresh Python after the command line of sqlite-utils is."""
    script = MODULES.format(before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def without() -> set[str]:
    """The modules of sqlite-utils itself."""
    loaded = modules(before=WITHOUT)
    assert not any(name.startswith("sqlite_utils_openai_batch") for name in loaded)
    return loaded


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_loading_the_plugin_brings_in_its_commands_only(without: set[str]) -> None:
    added = modules() - without
    ours = {name for name in added if name.startswith("sqlite_utils_openai_batch")}
    assert "sqlite_utils_openai_batch.cli" in ours
    outside = {
        name for name in ours
        if name != "sqlite_utils_openai_batch"
        and not f"{name}.".startswith("sqlite_utils_openai_batch.cli.")
    }  # fmt: skip
    # Figures and times for people: modules that import nothing of ours.
    assert outside <= {
        f"sqlite_utils_openai_batch.base{name}" for name in ("", ".clock", ".text", ".waits")
    }
    assert tops(added) & HEAVY == set()
    # Nothing from elsewhere either, small or not, but the standard library.
    assert tops(added) - tops(ours) <= set(sys.stdlib_module_names)


def test_no_help_text_brings_in_more(without: set[str]) -> None:
    added = modules(after=HELP) - without
    assert tops(added) & HEAVY == set()
    assert "sqlite_utils_openai_batch.store" not in added
    assert "sqlite_utils_openai_batch.local" not in added


def test_the_library_is_not_slowed_by_the_plugin() -> None:
    script = "import sys, json, sqlite_utils; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    ours = {m for m in json.loads(done.stdout) if m.startswith("sqlite_utils_openai_batch.")}
    assert ours == set()


def test_the_commands_can_be_imported_on_their_own() -> None:
    script = "from sqlite_utils_openai_batch.cli import openai_batch; print(openai_batch.name)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("openai-batch\n", "")
