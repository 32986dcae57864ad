"""The pages of `docs/` can be typed along: each from what a reader sees of it, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
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
