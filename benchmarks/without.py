"""What each fast path is worth: the same work with it, and with the plain way beside it alone.

    python benchmarks/without.py --rows 50000 --again 3

Each fast path is switched off by itself, in a process of its own over a fresh copy, in turn with a
run that has all of them. A path that brings less than a tenth isn't worth its lines.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import collect
import own_requests
import prepare

#: What is done, and the fast paths that it goes through.
PATHS: dict[str, tuple[str, ...]] = {
    "prepare": ("lines from text as it is stored", "rows planned together"),
    "export-requests": ("lines from text as it is stored",),
    "prepare --requests": ("lines of one shape", "lines of the same settings"),
    "collect": ("usual lines read in one pass", "usual answers settled together"),
}


def switch_off(path: str) -> None:
    """Leave the plain way alone."""
    if path == "lines from text as it is stored":
        from sqlite_utils_openai_batch.requests import template

        template.Renderer.stored_lines = lambda *_: None  # type: ignore[method-assign, assignment]
    elif path == "rows planned together":
        from sqlite_utils_openai_batch.jobs.plan import render

        render._Counting.whole = lambda *_: False  # type: ignore[method-assign, assignment]
    elif path == "lines of one shape":
        from sqlite_utils_openai_batch.jobs.files import own

        own.OwnFile.shape_of = lambda *_: None  # type: ignore[method-assign, assignment]
    elif path == "lines of the same settings":
        from sqlite_utils_openai_batch.jobs.files import own

        own.OwnFile.shape_of = lambda *_: None  # type: ignore[method-assign, assignment]
        own.OwnFile.usual = lambda *_: own.NOTHING  # type: ignore[method-assign, assignment]
    elif path == "usual lines read in one pass":
        from sqlite_utils_openai_batch.answers import reader

        def one_by_one(self: Any, lines: list[bytes]) -> Any:
            found = list(map(self.whole, lines))
            return [one.custom_id for one in found], reader.Outcomes.of(found)

        reader.Reader.read_columns = one_by_one  # type: ignore[method-assign]
    elif path == "usual answers settled together":
        from sqlite_utils_openai_batch.jobs.sync import collect as collecting

        collecting.Taker.usual = lambda *_: []  # type: ignore[method-assign, assignment]


def export(folder: Path) -> None:
    """Write the requests of the job that `start` has prepared."""
    prepare.export(folder)


def own_file(folder: Path) -> None:
    """Prepare a job of a file of requests."""
    own_requests.work("prepare", "file", folder, "https://api.openai.com/v1")


def take_in(folder: Path) -> None:
    """Collect and write back."""
    collect.measure("collect, none", folder)


WORK: dict[str, Callable[[Path], None]] = {
    "prepare": prepare.prepare,
    "export-requests": export,
    "prepare --requests": own_file,
    "collect": take_in,
}


def start(folder: Path, rows: int) -> None:
    """Make what the ways begin with."""
    prepare.make(folder / "fresh.db", rows)
    shutil.copy(folder / "fresh.db", folder / "data.db")
    prepare.prepare(folder)
    shutil.move(folder / "data.db", folder / "prepared.db")
    shutil.copy(folder / "fresh.db", folder / "table.db")
    own_requests.name_rows(folder / "table.db")
    own_requests.write_file(folder)
    (folder / "answers").mkdir()
    collect.make(folder / "answers", rows, False)


def fresh(folder: Path, work: str) -> Path:
    """Bring a folder to what it was. Returns the one where the work is done."""
    for left in [*folder.glob("data.db*"), *folder.glob("file-now.db*")]:
        left.unlink()
    shutil.rmtree(folder / "requests", ignore_errors=True)
    if work == "collect":
        shutil.copy(folder / "answers/data.db", folder / "answers/work.db")
        return folder / "answers"
    shutil.copy(
        folder / ("prepared.db" if work == "export-requests" else "fresh.db"), folder / "data.db"
    )
    return folder


def seconds(folder: Path, work: str, off: str) -> float:
    """CPU seconds of one thing, in a process of its own."""
    where = fresh(folder, work)
    done = subprocess.run(
        [sys.executable, __file__, "--work", work, "--off", off, "--folder", str(where)],
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--again", type=int, default=3, help="runs of each; the middle one counts")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--off", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        before = resource.getrusage(resource.RUSAGE_SELF)
        switch_off(options.off)
        WORK[options.work](options.folder)
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return
    with tempfile.TemporaryDirectory(prefix="without-") as name:
        folder = Path(name)
        start(folder, options.rows)
        print(f"{options.rows:,} rows; middle of {options.again}\n")
        print("| work | without | CPU s with | without | ratio |\n|---|---|---:|---:|---:|")
        for work, paths in PATHS.items():
            found: dict[str, list[float]] = {off: [] for off in ("", *paths)}
            for _ in range(options.again):
                for off, figures in found.items():
                    figures.append(seconds(folder, work, off))
            middle = {off: sorted(all_)[len(all_) // 2] for off, all_ in found.items()}
            for off in paths:
                shown = f"{middle['']:.1f} | {middle[off]:.1f} | {middle[off] / middle['']:.2f}"
                print(f"| {work} | {off} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
