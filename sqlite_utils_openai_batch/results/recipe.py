"""Command lines made of what a job keeps: to ask the same again, to ask for longer answers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..pricing.tokens import CAPS, answers_asked, output_cap
from ..requests.body import CHAT
from ..store import Job
from .words import COMMAND

#: Options by the names under which a job keeps them, in the order of the help text.
OPTIONS = {
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
    "options": "--option",
    "schema": "--schema",
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


def command_line(job: Job, file: str) -> str | None:
    """The command that asks this again of the database `file`, quoted for a shell.

    Each option stands on a line of its own. None where the job keeps no options: it was made by a
    program, not by a command.
    """
    typed = job.settings.get("recipe")
    if not typed:
        return None
    begin = [COMMAND, "run", shlex.quote(file)]
    if "template_body" in typed:
        # Its file may be gone: the job itself is the best record of it.
        return " ".join([*begin, "--like", str(job.id)])
    if typed.get("table"):
        begin.append(shlex.quote(typed["table"]))
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


def more_room(job: Job) -> tuple[str, int] | None:
    """The parameter that caps a job's answers, and twice its value; None where it has no cap."""
    body = job.body
    cap = output_cap(body)
    if cap is None:
        return None
    return next(name for name in CAPS if name in body), 2 * cap // answers_asked(body)
