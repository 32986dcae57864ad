"""Run the OpenAI Batch API over the rows of a SQLite database.

sqlite-utils imports this module at each of its calls, so it holds the hook and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pluggy import HookimplMarker

if TYPE_CHECKING:
    import click

# What `sqlite_utils.hookimpl` is. Whoever wants the batch server alone, such as pytest in any
# project where this is installed, doesn't wait for sqlite-utils.
hookimpl = HookimplMarker("sqlite_utils")


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add the group `openai-batch` to sqlite-utils."""
    from . import cli as commands

    # Not there yet where `.cli` itself was imported first: then it adds the group when it is done.
    if hasattr(commands, "openai_batch"):
        cli.add_command(commands.openai_batch)
