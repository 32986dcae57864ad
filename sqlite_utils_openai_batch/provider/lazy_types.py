"""The `openai` client without the types of what nobody here calls.

`import openai` reads in some 450 modules of types, for each endpoint that OpenAI has: half of the
time that a command takes before its first call. Batches and files need thirty of them. Its packages
of types do nothing but `from .batch import Batch as Batch`, so each name can be fetched when it is
asked for, by whom ever: the same classes from the same modules. A package that does anything else
is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    # Its module takes 5 ms of each command, for a base class that does nothing.
    Loader = object

PACKAGE = "openai.types"


def load_types_lazily() -> None:
    """Have the packages of `openai.types` fetch what they name when it is asked for.

    For a process that is a command of ours, and nobody else's. Nothing changes where they are
    loaded already.
    """
    if PACKAGE not in sys.modules and not any(isinstance(one, _Finder) for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def without_trio() -> Iterator[None]:
    """Have the client's connections do without `trio` where they are loaded in this block.

    They load it wherever it is installed, for programs that wait by it: a tenth of the time that a
    small job takes.
    """
    if "trio" in sys.modules:
        yield
        return
    sys.modules["trio"] = None  # type: ignore[assignment]  # what `import` takes for absent
    try:
        yield
    finally:
        del sys.modules["trio"]


def homes(source: bytes) -> dict[str, tuple[str, str]] | None:
    """Where the names of a package come from: its module, and what they are called there.

    None for a package that does anything but take names from its own modules.
    """
    import ast

    found: dict[str, tuple[str, str]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            return None
        if node.level == 0 and node.module == "__future__":
            continue
        names = {one.asname or one.name: one.name for one in node.names}
        if node.level != 1 or "*" in names:
            return None
        found |= {name: (node.module, there) for name, there in names.items()}
    return found


class _Finder:
    """Finds packages of types, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PACKAGE and not fullname.startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None or not spec.origin:
            return spec
        names = homes(Path(spec.origin).read_bytes())
        if names is not None:
            spec.loader = _Lazily(names)
        return spec


class _Lazily(Loader):
    """Makes a package that fetches its names when they are asked for."""

    def __init__(self, names: dict[str, tuple[str, str]]) -> None:
        self.names = names

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = _Getter(module, self.names)


class _Package(ModuleType):
    def __dir__(self) -> list[str]:
        names: list[str] = vars(self)["__getattr__"].all()
        return sorted({*super().__dir__(), *names})


class _Getter:
    """Fetches a name of a package, and keeps it there."""

    def __init__(self, module: ModuleType, names: dict[str, tuple[str, str]]) -> None:
        self.module = module
        self.names = names

    def all(self) -> list[str]:
        """What `from … import *` takes."""
        return [name for name in self.names if not name.startswith("_")]

    def __call__(self, name: str) -> Any:
        package = self.module.__name__
        if name == "__all__":
            return self.all()
        if name in self.names:
            inside, there = self.names[name]
            value = getattr(import_module(f"{package}.{inside}"), there)
            setattr(self.module, name, value)
            return value
        if not name.startswith("_") and PathFinder.find_spec(name, self.module.__path__):
            # a module of the package, which others have brought in with it
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
