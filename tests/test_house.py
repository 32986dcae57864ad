"""The house: each room says what it is for in a sentence, and others come in by its face only."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sqlite_utils_openai_batch", "datasette_openai_batch")
FILES = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}
ROOMS = sorted(
    name for name, path in MODULES.items() if path.name == "__init__.py" and name not in PACKAGES
)


@cache
def imported(path: Path) -> list[tuple[str, str]]:
    """Each (module, name) of ours that a file imports, wherever in it."""
    here = module_of(path).split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            found += [(module, alias.name) for alias in node.names]
    return found


def face(room: str) -> list[str]:
    """What a room names in `__all__`."""
    for node in ast.parse(MODULES[room].read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_names_its_face(room: str) -> None:
    words = (ast.get_docstring(ast.parse(MODULES[room].read_text())) or "").split("\n\n")[0]
    assert " " in words and words.endswith((".", ":"))
    if room not in ("sqlite_utils_openai_batch.cli",):  # its face is the group that it adds
        assert face(room)


@pytest.mark.parametrize("room", ROOMS)
def test_others_come_in_by_the_face(room: str) -> None:
    known = set(face(room))
    past = [
        (module_of(path), module, name)
        for path in FILES
        if not f"{module_of(path)}.".startswith(f"{room}.")
        for module, name in imported(path)
        if f"{module}.".startswith(f"{room}.")
        and (module.removeprefix(f"{room}.").split(".")[0] if module != room else name) not in known
    ]
    assert past == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_listing_is_about_a_dozen_entries(package: str) -> None:
    folders = {room.rsplit(".", 1)[0] for room in MODULES if room.startswith(package)}
    for folder in folders & {package, *ROOMS}:
        inside = [name for name in MODULES if name.rsplit(".", 1)[0] == folder]
        # A command has a module in `cli`, and there are many of them.
        most = 18 if folder.endswith(".cli") else 16
        assert len(inside) <= most, (folder, sorted(inside))
