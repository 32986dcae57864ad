"""A tour with the installed package alone, in an empty folder: commands, Python, Datasette."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
ONLY_FOR_TESTS = ("pytest", "hypothesis", "selenium", "pandas", "xllamacpp")


def say(*command: str) -> str:
    """What a command prints; fails where it fails."""
    done = subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    """Take the tour."""
    here = [name for name in ONLY_FOR_TESTS if importlib.util.find_spec(name)]
    assert here == [], f"This environment has more than the package: {here}"
    import datasette_openai_batch
    import sqlite_utils_openai_batch

    count = 0
    for package in (sqlite_utils_openai_batch, datasette_openai_batch):
        assert str(Path(sys.prefix)) in str(package.__file__), package.__file__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".pytest_plugin"):
                importlib.import_module(module.name)
                count += 1

    from sqlite_utils_openai_batch import Batches
    from sqlite_utils_openai_batch.local import LocalServer

    with LocalServer() as server:
        os.environ |= {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key}
        say("sqlite-utils", "openai-batch", "demo", "--rows", "0")
        ask = ("demo.db", "reviews", "--prompt", "{{ body }}", "--schema", "mood good|bad")
        say("sqlite-utils", "openai-batch", "preview", *ask)
        say("sqlite-utils", "openai-batch", "run", *ask, "-y", "--poll", "0.1")
        assert '"mood"' in say("sqlite-utils", "openai-batch", "results", "demo.db")
        say("sqlite-utils", "openai-batch", "results", "demo.db", "--xlsx", "answers.xlsx")
        job = Batches("demo.db").run("movies", prompt="{{ title }}", max_cost=1, poll=0.1)
        assert job.status == "completed", job
    assert "openai-batch" in say("datasette", "demo.db", "--get", "/demo/-/openai-batch")
    print(f"{count} modules, the commands, Python and Datasette work with the package alone")


if __name__ == "__main__":
    main()
