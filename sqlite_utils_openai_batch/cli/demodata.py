"""`demo.db`, as it comes with the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..base.errors import ConfigurationError


def shipped() -> Path:
    """The file inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent.parent
    for place in (here / "demo.db", here.parent / "demo.db"):
        if place.is_file():
            return place
    raise ConfigurationError(
        "demo.db is missing from this installation. Install again with: "
        "pip install --force-reinstall --no-deps sqlite-utils-openai-batch"
    )


def copy_to(folder: Path) -> Path:
    """Copy demo.db into `folder` under a free name (`demo.db`, `demo-2.db`, …); returns it."""
    number = 1
    while True:
        target = folder / ("demo.db" if number == 1 else f"demo-{number}.db")
        if not target.exists():
            shutil.copyfile(shipped(), target)
            return target
        number += 1
