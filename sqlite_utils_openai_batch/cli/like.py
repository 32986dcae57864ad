"""`--like JOB`: what was typed for a job, kept with it, and taken up by another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    import sqlite3

# Options of the moment, which no job keeps.
NEVER_KEPT = ("key", "new", "like", "workers")
# An option that is typed puts out what it would contradict.
PUTS_OUT = {
    "table": ("sql", "pk", "params"),
    "sql": ("table", "pk"),
    "template": ("template_body", "prompt", "system", "images"),
    "prompt": ("template_body",),
    "sample": ("limit",),
    "limit": ("sample", "seed"),
    "missing": ("changed", "replace"),
    "changed": ("missing", "replace"),
    "replace": ("missing", "changed"),
    "base_url": ("local", "upstream", "concurrency"),
    "upstream": ("base_url",),
    "local": ("base_url", "upstream", "concurrency"),
    "price_as": ("price_input", "price_output"),
    "price_input": ("price_as",),
    "price_output": ("price_as",),
}
# Repeatable options whose values have names: those that are typed come on top.
NAMED = ("options", "params")


def recipe(table: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What was typed for a job, texts of files in place of their names. Raises TemplateError."""
    from ..ask import text_or_file
    from .options import read_template

    kept = {name: value for name, value in options.items() if name not in NEVER_KEPT}
    for name in ("prompt", "system", "schema"):
        kept[name] = text_or_file(kept.get(name))
    template = kept.pop("template", None)
    if template is not None:
        kept["template_body"] = read_template(template)
    if kept.get("image_dir"):
        kept["image_dir"] = str(Path(kept["image_dir"]).resolve())
    kept["table"] = table
    return {name: value for name, value in kept.items() if value not in (None, False, (), [])}


def inherit(
    conn: sqlite3.Connection, db: str, table: str | None, options: dict[str, Any]
) -> str | None:
    """Fill `options` with those of the job named by --like; what was typed wins.

    Returns the table. Raises JobError for a job that isn't there or kept no options.
    """
    from .. import store
    from ..errors import JobError

    wanted = options.pop("like", None)
    if wanted is None:
        return table
    job = store.find_job(conn, wanted, db)
    kept = dict(job.settings.get("recipe") or {})
    if not kept:
        raise JobError(f"Job {job.id} keeps no options, so --like can't take them up.")
    typed = {name for name in (*options, "table") if was_typed(name)}
    for name in typed:
        for other in PUTS_OUT.get(name, ()):
            kept.pop(other, None)
    for name in NAMED:
        if name in kept:
            # JSON knows no pairs, only lists.
            options[name] = (*map(tuple, kept.pop(name)), *options.get(name, ()))
    if "table" not in typed:
        table = kept.pop("table", None)
    options.update({name: value for name, value in kept.items() if name not in (*typed, "table")})
    return table


def was_typed(name: str) -> bool:
    """Whether an option of the command that runs was given by the person."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
