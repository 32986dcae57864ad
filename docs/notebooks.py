"""Runs the notebooks, and keeps in them what their cells show.

    python docs/notebooks.py docs/notebooks/*.ipynb            write it into them
    python docs/notebooks.py --check docs/notebooks/*.ipynb    say where one is out of date

Each runs from its first cell to its last in a kernel of its own, in an empty folder, without a key:
the notebooks start the local batch server. What is different every time is made the same.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

SAME_EVERY_TIME = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:18900"),
    (r"simulated answer to [a-z0-9]{10}-", "simulated answer to k3v9x2m7qa-"),
    (r"direct-[0-9a-f]{8}", "direct-5d81c09e"),
)


def run(notebook: Any) -> str:
    """The notebook as a text, with what its cells show now. Raises where one fails."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, resources={"metadata": {"path": folder}}, record_timing=False,
            timeout=300, startup_timeout=300,
        )  # fmt: skip
        client.execute(env=environment(Path(folder)))
    notebook.metadata.language_info = {"name": "python"}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            # Says which display is drawn again, by a name that is new each time.
            output.pop("transient", None)
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = plain(output.data["text/html"])
    text = nbformat.writes(notebook) + "\n"
    for pattern, replacement in SAME_EVERY_TIME:
        text = re.sub(pattern, replacement, text)
    return text


def plain(html: str) -> str:
    """A table without the style sheet that pandas puts into each."""
    return re.sub(r"<style scoped>.*?</style>\n", "", html, flags=re.DOTALL)


def environment(home: Path) -> dict[str, str]:
    """What a reader has who has no key."""
    kept = {name: os.environ[name] for name in ("LANG", "PYTHONPATH") if name in os.environ}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "HOME": str(home),
        "TZ": "UTC",
    }


def main(arguments: list[str]) -> int:
    """Run notebooks. Returns how many of them would change, with --check."""
    check, changed = "--check" in arguments, 0
    for name in arguments:
        if name == "--check":
            continue
        path = Path(name)
        before = path.read_text(encoding="utf-8")
        after = run(nbformat.reads(before, as_version=4))
        if not check:
            path.write_text(after, encoding="utf-8")
        elif after != before:
            changed += 1
            lines = (text.splitlines(keepends=True) for text in (before, after))
            sys.stdout.writelines(difflib.unified_diff(*lines, name, "run"))
    return changed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
