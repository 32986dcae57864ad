"""Pages of `docs/` can be typed along, each from what a reader sees of it, and notebooks run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
NOTEBOOKS = sorted(path.name for path in ROOT.glob("docs/notebooks/*.ipynb"))
TYPED = sorted(page.name for page in PAGES if "\n```console\n" in page.read_text())


def test_pages_show_commands() -> None:
    assert {"asking.md", "agreement.md", "files.md", "queries.md", "README.md"} <= set(TYPED)


# The longest first, so that it isn't the last to end.
@pytest.mark.parametrize("name", sorted(TYPED, key=lambda name: name != "asking.md"))
def test_a_page_typed_along_prints_what_it_shows(name: str) -> None:
    page = name if name == "README.md" else f"docs/{name}"
    done = subprocess.run(
        [sys.executable, "docs/console.py", "--check", page],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nWrite it anew with: just cog"


def test_there_are_notebooks() -> None:
    assert {"furniture.ipynb", "movies.ipynb"} <= set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_shows_what_its_cells_show_now(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "docs/notebooks.py", "--check", f"docs/notebooks/{name}"],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nWrite it anew with: just notebooks"
