from __future__ import annotations

import shutil
from pathlib import Path

from installed import PACKAGES, check_installed


def test_the_tests_run_the_files_that_are_here(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    assert check_installed(root) is None
    for name in PACKAGES:
        if (root / name).is_dir():
            shutil.copytree(root / name, tmp_path / name)
    assert check_installed(tmp_path) is None
    changed = tmp_path / PACKAGES[0] / "__init__.py"
    if changed.exists():
        changed.write_text("")
        said = check_installed(tmp_path)
        assert said and "sqlite_utils_openai_batch/__init__.py is not as it is installed" in said
        assert "pip install -e" in said
