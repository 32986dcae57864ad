"""Pages of `docs/` can be typed along, each from what a reader sees of it, and notebooks run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import openai
import pytest

from sqlite_utils_openai_batch import OpenAIBatchError
from sqlite_utils_openai_batch.cli.click_ext import EXIT_CODES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("docs/notebooks/*.ipynb"))
TYPED = sorted(page.name for page in PAGES if "\n```console\n" in page.read_text())
#: What the program itself never reads, by who reads it.
READ_BY_OTHERS = {
    "OPENAI_ORG_ID", "OPENAI_PROJECT_ID",  # OpenAI's own client
    "TMPDIR",  # Python
    "XDG_CACHE_HOME", "XDG_DATA_HOME",  # platformdirs
}  # fmt: skip


def test_pages_show_commands() -> None:
    assert {"asking.md", "agreement.md", "files.md", "queries.md", "README.md"} <= set(TYPED)


@pytest.fixture(scope="module")
def console() -> ModuleType:
    """docs/console.py, which is not a part of a package."""
    spec = importlib.util.spec_from_file_location("console", ROOT / "docs" / "console.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The longest first, so that it isn't the last to end.
@pytest.mark.parametrize("name", sorted(TYPED, key=lambda name: name != "asking.md"))
def test_a_page_typed_along_prints_what_it_shows(
    name: str, console: ModuleType, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = name if name == "README.md" else f"docs/{name}"
    # Where a look came before the answers there is a line of progress more, and `head` lets through
    # one line less: then the page is typed once more.
    difference = console.difference(page, warm) and console.difference(page, warm)
    assert not difference, f"{difference}\nWrite it anew with: just cog"


def test_there_are_notebooks() -> None:
    assert {"furniture.ipynb", "movies.ipynb"} <= set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_shows_what_its_cells_show_now(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "docs/notebooks.py", "--check", f"docs/notebooks/{name}"],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nWrite it anew with: just notebooks"


# What the reference says


def modules() -> Iterator[str]:
    """The text of each module of ours."""
    for package in ("sqlite_utils_openai_batch", "datasette_openai_batch"):
        for path in (ROOT / package).rglob("*.py"):
            yield path.read_text(encoding="utf-8")


def test_the_reference_names_each_environment_variable_that_is_read() -> None:
    page = (ROOT / "docs" / "reference.md").read_text()
    table = page.partition("## Environment variables")[2].partition("\n## ")[0]
    named = set(re.findall(r"(?m)`([A-Z_]+)`(?=[,` A-Z_]*\|)", table))
    read = {
        name
        for text in modules()
        for pattern in (
            r'"((?:OPENAI|AZURE_OPENAI|LLM)_[A-Z_]+)"',
            r'environ(?:\.get\(|\[)"(\w+)"',
        )
        for name in re.findall(pattern, text)
    }
    # OPENAI_URL is a name in an __all__.
    assert named == read - {"OPENAI_URL"} | READ_BY_OTHERS
    client = Path(openai.__file__).with_name("_client.py").read_text()
    assert "OPENAI_ORG_ID" in client and "OPENAI_PROJECT_ID" in client


def test_the_reference_names_each_exit_code() -> None:
    kinds = [OpenAIBatchError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} <= EXIT_CODES.keys()
    exits = r"(?:Exit|exit)\(([A-Z_]+)\)"
    raised = {name for text in modules() for name in re.findall(exits, text)}
    assert raised <= {"INTERRUPTED", "FAILED_REQUESTS", "NEEDS_YOU"}


def test_the_reference_names_each_setting() -> None:
    from datasette_openai_batch.access import settings

    text = Path(settings.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'found\.get\("(\w+)"', text)) == settings.SETTINGS.keys()
