"""`docs/python.md`: each block runs as it stands, and prints what it shows."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


class Checker(doctest.OutputChecker):
    """Looks at what was printed, but for how often a job was looked at before its answers came."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(want, re.sub(r"(?m)^[0-4] of 5\n", "", got), optionflags)


PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_each_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        subprocess.run(["sh", "-c", block], check=True, capture_output=True)
    test = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, PAGE.name, None, 0)
    assert len(test.examples) > 20
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    doctest.DocTestRunner(Checker(), optionflags=flags).run(test, out=said.append)
    assert said == []
