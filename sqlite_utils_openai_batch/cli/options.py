"""Options that several commands share, and how they become an `Ask`."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .framework import option
from .money import money_options, read_money
from .place import Place

if TYPE_CHECKING:
    from ..ask import Ask

F = TypeVar("F", bound=Callable[..., Any])

ROWS = "Rows"
REQUEST = "Request"
ANSWERS = "Answers"
LIMITS = "Limits"
WHERE = "Where it runs"

# Not for Click to judge whether it can be read: that is no mistake in the command.
db_argument = click.argument("db", type=click.Path(readable=False), metavar="DB")
table_argument = click.argument("table", required=False, metavar="[TABLE]")
job_argument = click.argument("job", required=False, metavar="[JOB]")


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first on top."""
    return lambda function: reduce(lambda inner, add: add(inner), reversed(decorators), function)


key_option = option(
    "--key", section=WHERE, help="API key, or the name of a key stored by 'llm keys set'"
)
poll_option = option(
    "--poll",
    type=click.FloatRange(min=0.05),
    metavar="SECONDS",
    section=WHERE,
    help="How often to look  [default: 30, on this machine 0.5]",
)
yes_option = option("-y", "--yes", is_flag=True, section=WHERE, help="Don't ask before sending")

reuse_option = option(
    "--reuse",
    is_flag=True,
    section="Money",
    help="Ask identical requests once; take answers of earlier jobs too",
)

row_options = together(
    option("--sql", metavar="QUERY", section=ROWS,
           help="Ask about the rows of a query, not a table"),
    option("--pk", multiple=True, metavar="COLUMN", section=ROWS,
           help="Key column of a view or query, repeatable"),
    option("--where", metavar="EXPR", section=ROWS, help="Only rows for which this holds"),
    option("-p", "--param", "params", nargs=2, multiple=True, metavar="NAME VALUE", section=ROWS,
           help="Named parameter of --where or --sql"),
    option("--order", metavar="EXPR", section=ROWS, help="Order of the rows"),
    option("--limit", type=click.IntRange(min=0), metavar="N", section=ROWS,
           help="At most that many rows"),
    option("--sample", type=click.IntRange(min=1), metavar="N", section=ROWS,
           help="That many rows, drawn at random: the same ones each time"),
    option("--seed", type=int, metavar="S", section=ROWS, help="Another draw for --sample"),
    option("--missing", is_flag=True, section=ROWS,
           help="Only rows whose answer columns are empty, not asked or failed before"),
    option("--changed", is_flag=True, section=ROWS,
           help="Only rows that are new or changed since they were asked under this --name"),
    option("--blanks", type=click.Choice(["skip", "send", "error"]), default="skip",
           show_default=True, section=ROWS,
           help="What to do with rows whose prompt columns are all empty"),
)  # fmt: skip

request_options = together(
    option("-m", "--model", section=REQUEST,
           help="Model to ask  [default: gpt-4o-mini; for embeddings text-embedding-3-small]"),
    option("-s", "--system", metavar="TEXT|FILE", section=REQUEST, help="System prompt"),
    option("--prompt", metavar="TEXT|FILE", section=REQUEST,
           help="What to ask of each row: '{{ title }}: {{ overview }}'"),
    option("--template", metavar="FILE", section=REQUEST,
           help="Whole request body with placeholders, JSON or YAML, for any endpoint"),
    option("-a", "--image", "images", multiple=True, metavar="COLUMN|TEMPLATE|URL",
           section=REQUEST, help="Show an image with the prompt, repeatable"),
    option("--image-dir", metavar="DIR", section=REQUEST,
           help="Folder of the image files that --image names; others aren't read"),
    option("--image-detail", type=click.Choice(["auto", "low", "high"]), section=REQUEST,
           help="How closely the model looks at images"),
    option("--image-size", type=click.IntRange(min=0), metavar="PX", section=REQUEST,
           help="Longest side of images; 0 sends them as they are  [default: 2048]"),
    option("-o", "--option", "options", nargs=2, multiple=True, metavar="NAME VALUE",
           section=REQUEST, help="Any parameter of the request, such as -o max_tokens 200"),
    option("--schema", metavar="SPEC|FILE", section=REQUEST,
           help="Shape of the answer: 'mood good|bad, score 0..1, note', or a JSON schema"),
    option("--endpoint", default="/v1/chat/completions", show_default=True, metavar="PATH",
           section=REQUEST, help="Endpoint of the API"),
    option("--like", metavar="JOB", section=REQUEST,
           help="Every option as in that job; those that are typed win"),
    option("--name", section=REQUEST, help="Name of the job"),
)  # fmt: skip

answer_options = together(
    option("--output", metavar="COLUMN", section=ANSWERS,
           help="Column for the answer  [default: answer]"),
    option("--output-table", metavar="TABLE", section=ANSWERS,
           help="Write to this table instead of the source"),
    option("--prefix", default="", metavar="TEXT", section=ANSWERS,
           help="Begin the names of answer columns with this"),
    option("--replace", is_flag=True, section=ANSWERS, help="Overwrite columns that hold values"),
    option("--no-write", is_flag=True, section=ANSWERS,
           help="Keep the answers in the job only, write no columns"),
    option("--responses", type=click.Choice(["all", "failed", "none"]), default="all",
           show_default=True, section=ANSWERS,
           help="Which response lines to keep as they came (all: about 1 GB per million)"),
)  # fmt: skip

limit_options = together(
    option("--part-requests", type=click.IntRange(min=1), metavar="N", section=LIMITS,
           help="At most that many requests in a part"),
    option("--part-bytes", type=click.IntRange(min=1), metavar="N", section=LIMITS,
           help="At most that many bytes in a part"),
    option("--part-tokens", type=click.IntRange(min=1), metavar="N", section=LIMITS,
           help="At most about that many input tokens in a part"),
    option("--enqueued-tokens", type=click.IntRange(min=1), metavar="N", section=LIMITS,
           help="Your limit of queued tokens for this model, from the provider's limits page"),
    option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
           section=LIMITS, help="Processes that render the rows of a table"),
    option("--attempts", type=click.IntRange(min=1), metavar="N", section=LIMITS,
           help="How often a request is sent whose batch or provider failed  [default: 3]"),
)  # fmt: skip

place_options = together(
    option("--provider", type=click.Choice(["openai", "azure"]), default="openai",
           show_default=True, section=WHERE, help="Whose batches: Azure has limits of its own"),
    option("--base-url", metavar="URL", section=WHERE,
           help="A server with OpenAI's Files and Batches API"),
    key_option,
    option("--local", is_flag=True, section=WHERE,
           help="Ask the small model on this machine: no key, no cost"),
    option("--upstream", metavar="URL", section=WHERE,
           help="Ask any chat server, through a batch server on this machine"),
    option("--concurrency", type=click.IntRange(min=1), metavar="N", section=WHERE,
           help="Requests at a time to --upstream  [default: 4]"),
    option("--new", is_flag=True, section=WHERE,
           help="Ask even if an unfinished job asks the same"),
)  # fmt: skip

ask_options = together(
    row_options,
    request_options,
    answer_options,
    money_options,
    reuse_option,
    limit_options,
    place_options,
)


def read_ask(table: str | None, options: dict[str, Any], place: Place) -> Ask:
    """Turn the command line into an `Ask`."""
    from ..ask import DEFAULT_MODEL, Ask, default_for
    from ..body import parse_option

    template = options.pop("template_body", None) or read_template(options.get("template"))
    options.pop("template")
    options.pop("like", None)
    named = template.get("model") if template else None
    default = default_for(options["endpoint"], place.default_model or DEFAULT_MODEL)
    model = options["model"] or named or default
    body = {name: parse_option(name, value) for name, value in options.pop("options")}
    names = ("sql", "pk", "where", "order", "limit", "sample", "seed", "missing", "changed",
             "blanks", "model", "system", "prompt", "schema", "endpoint", "name", "output",
             "output_table", "prefix", "replace", "responses", "part_requests", "part_bytes",
             "part_tokens", "enqueued_tokens", "attempts", "new", "workers", "reuse", "images",
             "image_detail", "image_size")  # fmt: skip
    given = {name: options.pop(name) for name in names}
    return Ask(
        table=table,
        params=dict(options.pop("params")),
        template=template,
        image_dir=image_folder(options.pop("image_dir")),
        options=body,
        write=not options.pop("no_write"),
        money=read_money(options, place, str(model), given["endpoint"]),
        provider=place.provider,
        **given,
    )


def read_template(name: str | None) -> dict[str, Any] | None:
    """The whole body in a file. Raises TemplateError."""
    from ..body import parse_body
    from ..errors import TemplateError

    if name is None:
        return None
    try:
        return parse_body(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TemplateError(f"--template '{name}' can't be read: {reason}.") from error


def image_folder(name: str | None) -> str | None:
    """The folder of --image-dir as the job keeps it. Raises UsageError."""
    from ..errors import UsageError

    if name is None:
        return None
    if not Path(name).is_dir():
        raise UsageError(f"--image-dir '{name}' is no folder.")
    return str(Path(name).resolve())
