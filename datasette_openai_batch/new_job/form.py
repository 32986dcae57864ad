"""What stands in the form of a new job ↔ the options that the command line takes.

Each field is named as its option. Options are kept by the names of `jobs.plan.options.OPTIONS`,
which is what a job keeps of how it was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sqlite_utils_openai_batch.base.errors import OpenAIBatchError
from sqlite_utils_openai_batch.pricing.ceiling import parse_ceiling
from sqlite_utils_openai_batch.pricing.prices import usd
from sqlite_utils_openai_batch.requests.whole_body import parse_body

from ..access.request import Typed
from ..access.settings import Settings
from .filters import Chosen

#: Characters of one field at most.
LONGEST = 200_000
#: Fields that are taken as they are typed, by the names of their options.
TEXTS = ("table", "sql", "order", "prompt", "system", "name", "output", "output_table", "prefix",
         "price_as", "price_input", "price_output", "model", "max_cost", "where", "codebook",
         "endpoint", "first_wait")  # fmt: skip
NUMBERS = ("limit", "sample", "seed", "pilot", "pilot_job", "times", "repair", "image_size",
           "attach_tokens", "attempts", "first_part", "part_requests", "part_bytes", "part_tokens",
           "enqueued_tokens")  # fmt: skip
TICKS = ("missing", "changed", "reuse", "replace", "no_write", "local", "new", "confidence")
#: Fields of which one value is chosen, with the one that is meant where nothing is.
CHOICES = {"blanks": "skip", "responses": "all", "image_detail": ""}
#: Columns that are named once or several times, with the options that they are kept as.
COLUMNS = {"pk": "pk", "image": "images", "attach": "attach"}
#: Fields that few need: they stand in a fold, which is open where one of them is filled in.
MORE = ("pilot", "pilot_job", "seed", "changed", "blanks", "attach", "attach_tokens",
        "image_detail", "image_size", "confidence", "times", "repair", "responses", "attempts",
        "first_part", "first_wait", "part_requests", "part_bytes", "part_tokens",
        "enqueued_tokens")  # fmt: skip
#: Fields of a line of answers: each comes as often as there are lines.
LINE = ("answer_name", "answer_kind", "answer_values", "answer_note")
KINDS = {
    "text": "text",
    "choice": "one of …",
    "number": "number",
    "whole": "whole number",
    "yesno": "yes or no",
    "list": "list of texts",
}
#: The field that a kind of error belongs to, where its sentence names no option.
FIELD_OF = {
    "TemplateError": "prompt",
    "SchemaError": "schema",
    "OutputError": "output",
    "SourceError": "where",
    "CeilingError": "max_cost",
    "JobError": "form",
    "ConfigurationError": "form",
}
#: Fields whose option is called otherwise.
OPTION_FIELDS = {"image": "image", "option": "option", "param": "param", "p": "param",
                 "o": "option", "m": "model", "s": "system", "n": "limit"}  # fmt: skip
_OPTION = re.compile(r"(?<![\w-])(?:--([a-z][a-z-]+)|-([a-z])(?= |$))")

Errors = dict[str, str]


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may put into a form."""

    sql: bool
    """Whether they may run SQL of their own on this database."""


def lines_of(typed: Typed) -> list[tuple[str, str, str, str]]:
    """The lines of answers: name, kind, values, note."""
    columns = [typed.all(name) for name in LINE]
    count = max(len(column) for column in columns)
    full = [column + [""] * (count - len(column)) for column in columns]
    return [(a, b or "text", c, d) for a, b, c, d in zip(*full, strict=True)]


def read_form(
    typed: Typed, chosen: Chosen, rights: Rights, settings: Settings
) -> tuple[dict[str, Any], Errors]:
    """The options that a form stands for, and a sentence for each field that can't be used."""
    errors: Errors = {
        name: f"This is too long: at most {LONGEST:,} characters."
        for name, values in typed.values.items()
        if any(len(value) > LONGEST for value in values)
    }
    options: dict[str, Any] = {name: typed.one(name) for name in TEXTS if typed.one(name)}
    options |= {name: True for name in TICKS if typed.ticked(name)}
    for name, option in COLUMNS.items():
        if named := [value for value in typed.all(name) if value]:
            options[option] = named
    options |= {
        name: typed.one(name)
        for name, usual in CHOICES.items()
        if typed.one(name) not in ("", usual)
    }
    read_numbers(typed, options, errors)
    read_pairs_of(typed, options, errors)
    read_rows(typed, options, chosen, rights, errors)
    read_answers(typed, options, errors)
    read_template(typed, options, errors)
    read_money(options, settings, errors)
    read_place(options, settings, errors)
    return options, errors


def read_numbers(typed: Typed, options: dict[str, Any], errors: Errors) -> None:
    """Whole numbers."""
    for name in NUMBERS:
        text = typed.one(name)
        if not text:
            continue
        if not re.fullmatch(r"-?\d{1,15}", text):
            errors.setdefault(name, f'"{text}" is not a whole number.')
        else:
            options[name] = int(text)
    cap = typed.one("max_tokens")
    if cap and not (cap.isascii() and cap.isdigit() and 0 < int(cap[:9]) < 10_000_000):
        errors.setdefault("max_tokens", f'"{cap}" is not a number of tokens, such as 200.')


def read_pairs_of(typed: Typed, options: dict[str, Any], errors: Errors) -> None:
    """Parameters of the request and of conditions, each NAME=VALUE on a line of its own."""
    for field, option in (("option", "options"), ("param", "params")):
        pairs = []
        for line in "\n".join(typed.all(field)).splitlines():
            name, equals, value = line.partition("=")
            if not line.strip():
                continue
            if not equals or not name.strip():
                errors[field] = f'"{line.strip()}": write it as NAME=VALUE, one on each line.'
                continue
            pairs.append([name.strip(), value.strip()])
        if pairs:
            options[option] = pairs
    cap = typed.one("max_tokens")
    if cap and "max_tokens" not in errors:
        others = [pair for pair in options.get("options", []) if pair[0] != "max_tokens"]
        options["options"] = [["max_tokens", cap], *others]


def read_rows(
    typed: Typed, options: dict[str, Any], chosen: Chosen, rights: Rights, errors: Errors
) -> None:
    """Which rows: those of the table page's filters, and of SQL for those who may run it."""
    if not rights.sql:
        for name in ("where", "sql", "param"):
            if typed.one(name):
                errors[name] = "SQL of one's own needs the permission execute-sql."
        plain = r'"?[\w ]+"?( (asc|desc))?'
        if options.get("order") and not re.fullmatch(plain, options["order"], re.IGNORECASE):
            errors["order"] = "Without the permission execute-sql, name one column to sort by."
    if chosen.where:
        own = options.get("where")
        options["where"] = f"({chosen.where}) and ({own})" if own else chosen.where
        named = [list(pair) for pair in chosen.params.items()]
        if named:
            options["params"] = [*named, *options.get("params", [])]
    if chosen.order and not options.get("order"):
        options["order"] = chosen.order
    if options.get("sql"):
        options.pop("table", None)


def read_answers(typed: Typed, options: dict[str, Any], errors: Errors) -> None:
    """The answer schema: a short form or JSON, or lines that say the same."""
    schema = typed.one("schema")
    lines = [line for line in lines_of(typed) if any((line[0], line[2], line[3]))]
    if typed.one("codebook") and (schema or lines):
        errors["codebook"] = (
            "A codebook says what an answer holds: leave the lines and the schema empty."
        )
    elif schema and lines:
        errors["schema"] = "Give the answers as lines or as a schema: one of them."
    elif schema:
        options["schema"] = schema
    elif lines:
        try:
            options["schema"] = schema_of(lines)
        except ValueError as error:
            errors["answers"] = str(error)


def schema_of(lines: Sequence[tuple[str, str, str, str]]) -> str:
    """Lines of answers as a schema: in the short form where that can say it, else as JSON.

    Raises ValueError with a sentence that names the line.
    """
    names: set[str] = set()
    properties: dict[str, Any] = {}
    for number, (name, kind, values, note) in enumerate(lines, 1):
        if not name:
            raise ValueError(f"Answer {number} has no name.")
        if name.lower() in names:
            raise ValueError(f"Two answers are called {name}: give one another name.")
        if kind not in KINDS:
            raise ValueError(f"{name}: the kind {kind} is none of these: {', '.join(KINDS)}.")
        names.add(name.lower())
        properties[name] = property_of(name, kind, values)
        if note:
            properties[name]["description"] = " ".join(note.split())
    short = [short_form(name, node) for name, node in properties.items()]
    if all(one is not None for one in short):
        found = [str(one) for one in short]
        return ("\n" if any("," in one for one in found) else ", ").join(found)
    made = {"type": "object", "properties": properties, "required": list(properties)}
    return str(orjson.dumps(made, option=orjson.OPT_INDENT_2), "utf-8")


def property_of(name: str, kind: str, values: str) -> dict[str, Any]:
    """One answer as a property of a JSON schema. Raises ValueError."""
    if kind == "choice":
        choices = [one.strip() for one in re.split(r"[|\n;]", values) if one.strip()]
        if len(choices) == 1 and "," in values:
            choices = [one.strip() for one in values.split(",") if one.strip()]
        if not choices:
            raise ValueError(f"{name}: write its choices, with | between them: good|bad|mixed.")
        twice = sorted({one for one in choices if choices.count(one) > 1})
        if twice:
            raise ValueError(f'{name} has the choice "{twice[0]}" twice.')
        return {"type": "string", "enum": choices}
    if kind in ("number", "whole"):
        node: dict[str, Any] = {"type": "integer" if kind == "whole" else "number"}
        return node | bounds(name, values, whole=kind == "whole")
    if values:
        raise ValueError(f"{name}: choices and ranges belong to a choice or a number.")
    if kind == "list":
        return {"type": "array", "items": {"type": "string"}}
    return {"type": "boolean" if kind == "yesno" else "string"}


def bounds(name: str, values: str, *, whole: bool) -> dict[str, Any]:
    """From where to where a number goes: `0..1`, `1 to 5`, `1-5`. Raises ValueError."""
    if not values:
        return {}
    number = r"-?\d{1,15}(?:\.\d{1,15})?"
    found = re.fullmatch(rf"({number})\s*(?:\.\.|to|–|-)\s*({number})", values)
    if found is None:
        raise ValueError(f"{name}: write its range as 0..1 or 1..5.")
    if whole and any("." in one for one in found.groups()):
        raise ValueError(f"{name} is a whole number: its range {values} needs whole numbers.")
    low, high = (float(one) if "." in one else int(one) for one in found.groups())
    if low >= high:
        raise ValueError(f"{name} has the empty range {values}: put the lower end first.")
    return {"minimum": low, "maximum": high}


def short_form(name: str, node: Mapping[str, Any]) -> str | None:
    """A property in the short form; None where that can't say it."""
    words = name
    if not re.fullmatch(r"[^\s:|,]+", name):
        return None
    note = node.get("description", "")
    if "," in note or "\n" in note:
        return None
    if "enum" in node:
        choices = node["enum"]
        plain = all(not re.search(r"[|,:\n]", one) and one == " ".join(one.split())
                    for one in choices)  # fmt: skip
        if len(choices) < 2 or not plain or choices[0].split()[0] in ("str", "int", "float", "bool",
                                                                     "list"):  # fmt: skip
            return None
        words += " " + "|".join(choices)
    elif "minimum" in node:
        decimals = node["type"] == "number"
        words += f" {node['minimum']}..{node['maximum']}{'' if decimals else ' int'}"
    else:
        kinds = {"integer": " int", "number": " float", "boolean": " bool", "array": " list"}
        words += kinds.get(node["type"], "")
        if note and "|" in note and words == name:
            words += " str"
    return f"{words}: {note}" if note else words


def read_template(typed: Typed, options: dict[str, Any], errors: Errors) -> None:
    """The whole body of a request, for those who write it themselves."""
    text = typed.one("template")
    if not text:
        return
    try:
        options["template_body"] = parse_body(text)
    except OpenAIBatchError as error:
        errors["template"] = str(error)


def read_money(options: dict[str, Any], settings: Settings, errors: Errors) -> None:
    """The ceiling: a form can only lower what this Datasette allows."""
    text = str(options.get("max_cost", "")).lstrip("$").strip()
    if not text:
        options.pop("max_cost", None)
        return
    options["max_cost"] = text
    try:
        asked = parse_ceiling(text)
    except OpenAIBatchError as error:
        errors["max_cost"] = str(error)
        return
    if settings.max_cost is not None and asked > settings.max_cost:
        errors["max_cost"] = (
            f"This Datasette lets a job cost at most {usd(settings.max_cost)}: lower it."
        )


def read_place(options: dict[str, Any], settings: Settings, errors: Errors) -> None:
    """Where the rows go: that is the settings' matter, but for the model on this machine."""
    if options.get("local"):
        if not settings.local:
            errors["local"] = "The model on this machine isn't offered by this Datasette."
        # it is one model, whatever the field beside it says
        options.pop("model", None)
        return
    if settings.base_url:
        options["base_url"] = settings.base_url
    if settings.models:
        model = options.get("model") or settings.models[0]
        options["model"] = model
        if model not in settings.models:
            errors["model"] = (
                f"This Datasette doesn't allow {model}. It allows: {', '.join(settings.models)}."
            )


def field_of(error: Exception, options: Mapping[str, Any]) -> str:
    """The field that an error is about: the first option that it names, else by its kind."""
    kind = type(error).__name__
    if kind == "CeilingError":
        return "max_cost"
    known = {*TEXTS, *NUMBERS, *TICKS, *CHOICES, *COLUMNS, "schema", "template", *FIELD_OF}
    for long, short in _OPTION.findall(str(error)):
        name = OPTION_FIELDS.get(long or short, long.replace("-", "_"))
        if name in known or name in OPTION_FIELDS.values():
            return str(name)
    if kind == "SchemaError" and options.get("codebook"):
        return "codebook"
    return FIELD_OF.get(kind, "form")


def typed_of(options: Mapping[str, Any]) -> Typed:
    """The form that stands for options: of a draft, or of a job that is asked again."""
    values: dict[str, list[str]] = {}
    for name in (*TEXTS, *NUMBERS, *CHOICES, "schema"):
        if options.get(name) is not None:
            values[name] = [str(options[name])]
    for name in TICKS:
        if options.get(name):
            values[name] = ["1"]
    for name, option in COLUMNS.items():
        values[name] = [str(one) for one in options.get(option, [])]
    pairs = [tuple(map(str, pair)) for pair in options.get("options", [])]
    values["max_tokens"] = [value for name, value in pairs if name == "max_tokens"]
    values["option"] = ["\n".join(f"{n}={v}" for n, v in pairs if n != "max_tokens")]
    values["param"] = ["\n".join("=".join(map(str, pair)) for pair in options.get("params", []))]
    if body := options.get("template_body"):
        values["template"] = [orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()]
    return Typed(values)


def options_of_job(job_id: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a job keeps of how it was asked, without what is its own: for another one like it.

    After a pilot that is the rest of the rows, as `--like pilot --missing` asks them.
    """
    kept = settings.get("recipe") or {}
    left_out = ["base_url", "provider", "upstream", "concurrency", "ray", "ray_workers",
                "engine", "tensor_parallel", "name", "new"]  # fmt: skip
    after: dict[str, Any] = {}
    if kept.get("pilot"):
        left_out += ["pilot", "sample", "seed", "limit", "changed", "replace", "max_cost"]
        after = {"missing": True, "pilot_job": job_id}
    return {name: value for name, value in kept.items() if name not in left_out} | after
