"""Command lines made of what a job keeps: to ask the same again, to ask for longer answers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.json import unreadable
from ..base.parameters import CHAT
from ..base.text_files import Text
from ..provider.client import OPENAI_URL
from ..store import Job
from ..store.records import is_address, is_endpoint, is_folder
from .words import COMMAND

#: Options by the names under which a job keeps them, in the order of the help text.
OPTIONS = {
    "requests": "--requests",
    "sql": "--sql",
    "pk": "--pk",
    "where": "--where",
    "params": "--param",
    "order": "--order",
    "limit": "--limit",
    "sample": "--sample",
    "seed": "--seed",
    "missing": "--missing",
    "changed": "--changed",
    "blanks": "--blanks",
    "model": "--model",
    "system": "--system",
    "prompt": "--prompt",
    "images": "--image",
    "image_dir": "--image-dir",
    "image_detail": "--image-detail",
    "image_size": "--image-size",
    "attach": "--attach",
    "attach_tokens": "--attach-tokens",
    "options": "--option",
    "schema": "--schema",
    "confidence": "--confidence",
    "endpoint": "--endpoint",
    "name": "--name",
    "output": "--output",
    "output_table": "--output-table",
    "prefix": "--prefix",
    "replace": "--replace",
    "no_write": "--no-write",
    "responses": "--responses",
    "max_cost": "--max-cost",
    "price_as": "--price-as",
    "price_input": "--price-input",
    "price_output": "--price-output",
    "reuse": "--reuse",
    "part_requests": "--part-requests",
    "part_bytes": "--part-bytes",
    "part_tokens": "--part-tokens",
    "enqueued_tokens": "--enqueued-tokens",
    "attempts": "--attempts",
    "first_part": "--first-part",
    "first_wait": "--first-wait",
    "provider": "--provider",
    "base_url": "--base-url",
    "local": "--local",
    "upstream": "--upstream",
    "concurrency": "--concurrency",
}
#: What a job keeps although nobody typed it.
DEFAULTS = {
    "blanks": "skip",
    "endpoint": CHAT,
    "prefix": "",
    "responses": "all",
    "provider": "openai",
}


#: Where jobs go that say nothing of it.
HERE = (None, OPENAI_URL)
#: Options that a job keeps as numbers, as flags, as lists; all others are texts.
NUMBERS = frozenset(
    ("limit", "sample", "seed", "image_size", "attach_tokens", "part_requests", "part_bytes",
     "part_tokens", "enqueued_tokens", "attempts", "concurrency")
)  # fmt: skip
FLAGS = frozenset(("confidence", "missing", "changed", "replace", "no_write", "reuse", "local"))
LISTS = {"pk": 1, "images": 1, "attach": 1, "params": 2, "options": 2}
#: Options of which only some values are any.
VALUES = {
    "blanks": ("skip", "send", "error"),
    "image_detail": ("auto", "low", "high"),
    "responses": ("all", "failed", "none"),
    "provider": ("openai", "azure"),
}


def kept_options(job: Job) -> dict[str, Any]:
    """What was typed for a job, as `--like` takes it up. Raises DatabaseError for anything else.

    It comes from a file that somebody else may have made: a name that is no option of ours would
    be one of the command that reads it, a text that names a file would have that file sent.
    """
    kept = dict(job.settings.get("recipe") or {})
    for name, value in kept.items():
        if not fits(name, value):
            said = f"{name}: {value}"
            raise unreadable(said, "openai_batch_jobs.options", job.id)
    return {
        name: Text(value) if name in ("prompt", "system", "schema") else value
        for name, value in kept.items()
    }


def fits(name: str, value: Any) -> bool:
    """Whether an option of that name can have been kept with this value."""
    if name in VALUES:
        return value in VALUES[name]
    if name in FLAGS:
        return isinstance(value, bool)
    if name in NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    if name in LISTS:
        return isinstance(value, list) and all(_fits_list(one, LISTS[name]) for one in value)
    if name in ("template_body", "lines"):
        return isinstance(value, dict)
    if (name not in OPTIONS and name != "table") or not isinstance(value, str):
        return False
    if name in ("base_url", "upstream"):
        return is_address(value.rstrip("/"))
    if name == "endpoint":
        return is_endpoint(value)
    return name != "image_dir" or is_folder(value)


def _fits_list(value: Any, words: int) -> bool:
    if words == 1:
        return isinstance(value, str)
    return isinstance(value, list) and list(map(type, value)) == [str] * words


def command_line(job: Job, file: str) -> str | None:
    """The command that asks this again of the database `file`, quoted for a shell.

    Each option stands on a line of its own. None where the job keeps no options: it was made by a
    program, not by a command.
    """
    typed = job.settings.get("recipe")
    if not typed:
        return None
    begin = [COMMAND, "run", shlex.quote(file)]
    if "template_body" in typed or "lines" in typed:
        # Its file may be gone: the job itself is the best record of it.
        return " ".join([*begin, "--like", str(job.id)])
    if typed.get("table"):
        begin.append(shlex.quote(str(typed["table"])))
    if "base_url" not in typed and job.provider != "local" and job.base_url not in HERE:
        # It came from the environment, which may say something else where this is typed.
        typed = {**typed, "base_url": job.base_url}
    if not (typed.get("model") or typed.get("local")) and job.model:
        # Another version of the program may ask another model by default.
        typed = {**typed, "model": job.model}
    return " \\\n    ".join([" ".join(begin), *map(shlex.join, options(typed))])


def options(typed: Mapping[str, Any]) -> Iterator[list[str]]:
    """The options that were typed, each as the words that it takes."""
    for name, option in OPTIONS.items():
        value = typed.get(name)
        if value is None or value is False or value == DEFAULTS.get(name):
            continue
        if value is True:
            yield [option]
        elif isinstance(value, list | tuple):
            for one in value:
                words = one if isinstance(one, list | tuple) else [one]
                yield [option, *map(str, words)]
        else:
            yield [option, str(value)]
