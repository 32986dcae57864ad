"""`demo`: the tour."""

from __future__ import annotations

import click

from .framework import Command


@click.command("demo", cls=Command)
def demo_command() -> None:
    """Watch a small model on this machine answer a question about twelve reviews."""
    raise NotImplementedError
