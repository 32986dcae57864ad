"""The options of what is asked, by name: what they may be, what a job keeps, its command line.

A command, a form of Datasette and a program in Python all give the same options; a job keeps them
as its recipe, so that others can be asked like it.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ... import store
from ...answers.codebook import codebook_text
from ...base.errors import (
    ConfigurationError,
    JobError,
    SchemaError,
    TemplateError,
    UsageError,
)
from ...base.json import unreadable
from ...base.parameters import CHAT
from ...base.text import COMMAND, listed, meant
from ...base.text_files import Text, text_or_file
from ...provider.accounts import LOCAL, check_key, key_address, origin
from ...provider.azure import AZURE, ENDPOINT
from ...provider.client import OPENAI_URL
from ...provider.errors import host_of
from ...requests.images import check_named
from ...store import Job
from ...store.records import is_address, is_endpoint, is_folder
from ..trust import check_job
from .ask import read_template

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
    "pilot": "--pilot",
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
    "codebook": "--codebook",
    "confidence": "--confidence",
    "repair": "--repair",
    "times": "--times",
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
#: Options that are numbers, flags, lists (of single words, of pairs); all others are texts.
NUMBERS = {
    "limit": 0,
    "sample": 1,
    "seed": None,
    "image_size": 0,
    "attach_tokens": 1,
    "part_requests": 1,
    "part_bytes": 1,
    "part_tokens": 1,
    "enqueued_tokens": 1,
    "attempts": 1,
    "repair": 1,
    "times": 2,
    "pilot": 1,
    "first_part": 0,
    "first_wait": 0,
    "concurrency": 1,
    "ray_workers": 1,
    "tensor_parallel": 1,
}
"""With the least that each may be."""
FRACTIONS = frozenset(("first_wait",))
FLAGS = frozenset(
    ("confidence", "missing", "changed", "replace", "no_write", "reuse", "local", "new")
)
LISTS = {"pk": 1, "images": 1, "attach": 1, "params": 2, "options": 2}
#: Options of which only some values are any.
VALUES = {
    "blanks": ("skip", "send", "error"),
    "image_detail": ("auto", "low", "high"),
    "responses": ("all", "failed", "none"),
    "provider": ("openai", "azure"),
    "engine": ("vllm",),
}
#: Options of the moment, which no job keeps.
NEVER_KEPT = ("key", "new", "like", "requests", "pilot_job",
              "ray", "ray_workers", "engine", "tensor_parallel")  # fmt: skip
#: An option that is typed puts out what it would contradict.
PUTS_OUT = {
    "table": ("sql", "pk", "params"),
    "sql": ("table", "pk", "lines"),
    "template": ("template_body", "prompt", "system", "images", "attach", "lines"),
    "prompt": ("template_body", "lines"),
    "schema": ("codebook",),
    "codebook": ("schema",),
    "requests": ("table", "sql", "pk", "params", "where", "order", "limit", "sample", "seed",
                 "model", "system", "prompt", "template_body", "images", "attach", "options",
                 "endpoint"),
    "sample": ("limit", "pilot"),
    "limit": ("sample", "seed", "pilot"),
    "pilot": ("sample", "limit"),
    "missing": ("changed", "replace"),
    "changed": ("missing", "replace"),
    "replace": ("missing", "changed"),
    "provider": ("base_url", "local", "upstream", "concurrency"),
    "base_url": ("local", "upstream", "concurrency"),
    "upstream": ("base_url",),
    "local": ("base_url", "upstream", "concurrency"),
    "price_as": ("price_input", "price_output"),
    "price_input": ("price_as",),
    "price_output": ("price_as",),
}  # fmt: skip
#: Options that say where rows go.
PLACE = ("provider", "base_url", "local", "upstream", "ray")
#: Options that leave rows out, which nobody sees who doesn't type them.
NARROWING = ("changed", "missing", "where", "limit", "sample")
#: Repeatable options whose values have names: those that are typed come on top.
NAMED = ("options", "params")
#: Options that say what is asked: a line of a file of requests says all of it.
SAID = ("sql", "pk", "model", "system", "prompt", "template", "images", "image_dir",
        "image_detail", "image_size", "options", "reuse")  # fmt: skip


def complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options, those that aren't given with what they are then, as `settled` takes them.

    Texts of numbers become numbers, a mapping becomes pairs. Raises UsageError, which names the
    option, for one that there isn't and for a value that it can't have.
    """
    names = (*OPTIONS, *NEVER_KEPT, "template", "template_body", "lines")
    for name in given:
        if name not in names:
            near = meant(name, names) or f"There are: {listed(sorted(OPTIONS))}."
            raise UsageError(f"There is no option '{name}'. {near.strip()}")
    options = {name: _complete(name, given.get(name)) for name in names}
    return {
        name: value
        for name, value in options.items()
        if value is not None or name not in ("template_body", "lines")
    }


def _complete(name: str, value: Any) -> Any:
    if name in FLAGS:
        return bool(value)
    if name in LISTS:
        return _complete_list(name, value)
    if value is None:
        return DEFAULTS.get(name)
    if name in NUMBERS:
        return _complete_number(name, value)
    if name in VALUES and value not in VALUES[name]:
        raise UsageError(f"{flag(name)} '{value}': it is one of {', '.join(VALUES[name])}.")
    if name == "pilot_job":
        # the number of a job, which nobody types
        return value
    return value if isinstance(value, str | Mapping) else str(value)


def _complete_number(name: str, value: Any) -> int | float:
    whole, least = name not in FRACTIONS, NUMBERS[name]
    try:
        number = int(str(value)) if whole else float(value)
        good = not isinstance(value, bool) and abs(number) < 2**63
    except (TypeError, ValueError):
        good = False
    if not good:
        raise UsageError(f"{flag(name)} '{value}' is not a {'whole ' * whole}number.")
    if least is not None and number < least:
        raise UsageError(f"{flag(name)} '{value}': it is at least {least}.")
    return number


def _complete_list(name: str, value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    if LISTS[name] == 1:
        return (value,) if isinstance(value, str) else tuple(map(str, value))
    try:
        pairs = [tuple(one) for one in (value.items() if isinstance(value, Mapping) else value)]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise UsageError(f"{flag(name)}: give names with a value each.")
    return tuple((str(one), _as_typed(other)) for one, other in pairs)


def _as_typed(value: Any) -> str:
    """A value as one would type it: JSON, but for texts."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def flag(name: str) -> str:
    """An option as it is typed."""
    return OPTIONS.get(name) or f"--{name.replace('_', '-')}"


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
        name: Text(value) if name in ("prompt", "system", "schema", "codebook") else value
        for name, value in kept.items()
    }


def fits(name: str, value: Any) -> bool:
    """Whether an option of that name can have been kept with this value."""
    if name in VALUES:
        return value in VALUES[name]
    if name in FLAGS:
        return isinstance(value, bool)
    if name in NUMBERS:
        number = int | float if name in FRACTIONS else int
        return isinstance(value, number) and not isinstance(value, bool)
    if name in LISTS:
        return isinstance(value, list) and all(_fits_list(one, LISTS[name]) for one in value)
    if name in ("template_body", "lines"):
        return isinstance(value, dict)
    if (name not in OPTIONS and name != "table") or not isinstance(value, str):
        return False
    if name in ("base_url", "upstream"):
        given = value.split() if name == "upstream" else [value]
        return bool(given) and all(is_address(one.rstrip("/")) for one in given)
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
    return " \\\n    ".join([" ".join(begin), *map(shlex.join, words_of(typed))])


def words_of(typed: Mapping[str, Any]) -> Iterator[list[str]]:
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


def keep(table: str | None, options: dict[str, Any], *, files: bool = True) -> dict[str, Any]:
    """What a job keeps of its options, texts of files in place of their names.

    Raises TemplateError or SchemaError. A text that came from a browser is not a name of a file:
    without `files` none is read.
    """
    kept = {name: value for name, value in options.items() if name not in NEVER_KEPT}
    for name in ("prompt", "system", "schema") if files else ():
        error = SchemaError if name == "schema" else TemplateError
        # Read once: what is asked and what is kept are the same.
        kept[name] = options[name] = text_or_file(options.get(name), f"--{name}", error)
    kept["codebook"] = options["codebook"] = codebook_text(options.get("codebook"), files=files)
    template = kept.pop("template", None)
    if template is not None:
        kept["template_body"] = read_template(template)
    if kept.get("image_dir"):
        kept["image_dir"] = str(Path(kept["image_dir"]).resolve())
    kept["table"] = table
    return {name: value for name, value in kept.items() if value not in (None, False, (), [])}


def inherit(
    conn: sqlite3.Connection,
    file: str,
    table: str | None,
    options: dict[str, Any],
    typed: Collection[str],
    told: Callable[[str], None],
) -> str | None:
    """Fill `options` with those of the job named by --like; those in `typed` win.

    Returns the table. `told` hears which rows are left out for that. Raises DatabaseError where
    jobs can't be kept here, JobError for a job that isn't there or kept no options, and
    ConfigurationError where rows would go elsewhere than that job's did.
    """
    store.check_version(conn)
    # Whatever is asked anew goes by the jobs that there are.
    store.list_jobs(conn)
    wanted = options.pop("like", None)
    if wanted is None:
        return table
    job = store.find_job(conn, wanted, file)
    check_job(job)
    kept = kept_options(job)
    if not kept:
        raise JobError(f"Job {job.id} keeps no options, so --like can't take them up.")
    if not set(typed).intersection(PLACE):
        kept |= place_of(job, kept)
        if options.get("key"):
            check_key(job, options["key"])
    if "image_dir" not in typed:
        check_named(kept.get("image_dir"))
    if kept.pop("pilot", None):
        # The rest of the rows, in a job with a name of its own.
        options["pilot_job"] = job.id
        for name in ("seed", "name", "sample"):
            kept.pop(name, None)
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
    narrowed = [f"--{name}" for name in NARROWING if options.get(name) and name not in typed]
    if narrowed:
        told(
            f"As in job {job.id}, only some rows are asked about: {' '.join(narrowed)}. "
            "To ask about others, type the options without --like."
        )
    return table


def place_of(job: Job, kept: dict[str, Any]) -> dict[str, Any]:
    """The options that say where a job's rows went, also where the environment said it then.

    Raises ConfigurationError where the environment says something else now.
    """
    if job.provider == LOCAL:
        check_answerer(job)
        return {"provider": "openai", "base_url": None, "upstream": job.base_url,
                "local": job.base_url is None}  # fmt: skip
    variable = ENDPOINT if job.provider == AZURE else "OPENAI_BASE_URL"
    now, then = os.environ.get(variable), key_address(job)
    if now and then and not kept.get("base_url") and origin(now) != origin(then):
        raise ConfigurationError(
            f"Job {job.id} went to {host_of(then)}, and {variable} now says {host_of(now)}. "
            "Nothing was sent. Say where this one goes by --base-url, or unset the variable to "
            f"have it go to {host_of(then)}."
        )
    return {"provider": job.provider, "base_url": then, "upstream": None, "local": False}


def check_answerer(job: Job) -> None:
    """Raise ConfigurationError where a job's rows went to servers that have to be typed anew."""
    if job.settings.get("ray") or job.settings.get("upstreams"):
        where = "on a Ray cluster" if job.settings.get("ray") else "on several servers"
        raise ConfigurationError(
            f"Job {job.id} ran {where}, and a database can't decide where rows go there. Nothing "
            "was sent. Type --ray, --engine and --upstream as you did then, or --local for the "
            "small model."
        )


def refuse_others(options: Mapping[str, Any]) -> None:
    """Raise UsageError for options that say what the lines of a file say themselves."""
    given = [flag(name) for name in SAID if options.get(name)]
    if options.get("endpoint", CHAT) != CHAT:
        given.append("--endpoint")
    if given:
        raise UsageError(
            f"{given[0]} and the requests of a file: each line is sent as it is, so leave "
            f"{given[0]} out."
        )


def take_lines(options: dict[str, Any]) -> dict[str, Any] | None:
    """What the lines of a job have in common: its endpoint and model go into `options`.

    None for a job with a prompt. Raises UsageError.
    """
    lines: dict[str, Any] | None = options.pop("lines", None)
    if lines is None:
        return None
    refuse_others(options)
    options["endpoint"] = lines["endpoint"]
    options["model"] = lines["body"].get("model")
    return dict(lines["body"])
