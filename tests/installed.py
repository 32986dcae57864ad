"""What is tested is the package that is installed; it must be the one of this folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("sqlite_utils_openai_batch", "datasette_openai_batch")


def check_installed(root: Path) -> str | None:
    """Why the package that is installed isn't that of the folder `root`; None where it is.

    README's command installs it as others do, so that the tests run against what a wheel holds.
    Whoever then changes a file here would test the file of before.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        here, there = root / name, Path(spec.origin).parent
        if here.is_dir() and (other := difference(here, there)):
            return (
                f"{name}/{other} is not as it is installed, in {there}, and the tests run what is "
                "installed. Install it so that it follows your changes: pip install -e '.[test]'"
            )
    return None


def difference(here: Path, there: Path) -> str | None:
    """The first file of two folders that isn't the same in both."""
    if here.resolve() == there.resolve():
        return None
    ours, theirs = files(here), files(there)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            return name
    return None


def files(folder: Path) -> dict[str, bytes]:
    """Each file of a package that is its source; demo.db is put into a wheel from elsewhere."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".db") and path.name != ".DS_Store"
    }
