"""Run the OpenAI Batch API over the rows of a SQLite database.

    from sqlite_utils_openai_batch import Batches

sqlite-utils imports this module at each of its calls, so it holds the hook, and the names for
programs in Python, which are loaded when somebody asks for them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker

if TYPE_CHECKING:
    import click

    from .base.errors import (
        CeilingError,
        ConfigurationError,
        DatabaseError,
        FileError,
        JobError,
        NeedsAttention,
        NothingToAsk,
        OpenAIBatchError,
        OutputError,
        ProviderError,
        SchemaError,
        SourceError,
        TemplateError,
        Unreachable,
        UsageError,
    )
    from .python.batches import Batches
    from .python.job import Job
    from .python.preview import Preview
    from .python.results import Results

__all__ = [
    "Batches",
    "CeilingError",
    "ConfigurationError",
    "DatabaseError",
    "FileError",
    "Job",
    "JobError",
    "NeedsAttention",
    "NothingToAsk",
    "OpenAIBatchError",
    "OutputError",
    "Preview",
    "ProviderError",
    "Results",
    "SchemaError",
    "SourceError",
    "TemplateError",
    "Unreachable",
    "UsageError",
]

_HOMES = {
    "Batches": ".python.batches",
    "Job": ".python.job",
    "Preview": ".python.preview",
    "Results": ".python.results",
}

# What `sqlite_utils.hookimpl` is. Whoever wants the batch server alone, such as pytest in any
# project where this is installed, doesn't wait for sqlite-utils.
hookimpl = HookimplMarker("sqlite_utils")


def __getattr__(name: str) -> Any:
    """Load a name for programs; the others are errors."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, ".base.errors"), __name__), name)


def __dir__() -> list[str]:
    """The names for programs, also before they are loaded: an editor offers them."""
    return sorted({*globals(), *__all__})


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add the group `openai-batch` to sqlite-utils."""
    from . import cli as commands

    # Not there yet where `.cli` itself was imported first: then it adds the group when it is done.
    if hasattr(commands, "openai_batch"):
        cli.add_command(commands.openai_batch)
