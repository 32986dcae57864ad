"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .click_ext import EMPTY, Failure, FilePath, FiniteRange, is_empty, option, talk

if TYPE_CHECKING:
    import sqlite3


def inherit(
    conn: sqlite3.Connection, db: str, table: str | None, options: dict[str, Any]
) -> str | None:
    """Fill `options` with those of the job named by --like; what was typed wins. See there."""
    from ..jobs.plan.options import inherit as take_over

    return take_over(conn, db, table, options, typed_of(options), talk)


def typed_of(options: Mapping[str, Any]) -> set[str]:
    """The options of the command that runs that were given by the person."""
    return {name for name in (*options, "table") if was_typed(name)}


def was_typed(name: str) -> bool:
    """Whether an option of the command that runs was given by the person."""
    context = click.get_current_context(silent=True)
    source = context and context.get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


# What commands share about money: options, and who may send without being asked.

MONEY = "Money"

max_cost_option = option(
    "--max-cost", metavar="USD", section=MONEY, help="Never let the job cost more than this"
)


def money_options(function: Any) -> Any:
    """--max-cost and the options that say what tokens cost."""
    for add in (
        option("--price-output", metavar="USD", section=MONEY,
               help="Price of a million output tokens in a batch"),
        option("--price-input", metavar="USD", section=MONEY,
               help="Price of a million input tokens in a batch"),
        option("--price-as", metavar="MODEL", section=MONEY,
               help="Price it as this model: for deployments and aliases"),
        max_cost_option,
    ):  # fmt: skip
        function = add(function)
    return function


def check_may_send(yes: bool, max_cost: Any, can_ask: bool) -> None:
    """Raise UsageError where nobody can be asked and nothing was said beforehand."""
    from ..base.errors import UsageError

    if not yes and max_cost is None and not can_ask:
        raise UsageError(
            "Without a terminal to ask on, sending needs -y or --max-cost (or use preview)."
        )


F = TypeVar("F", bound=Callable[..., Any])

ROWS = "Rows"
REQUEST = "Request"
ANSWERS = "Answers"
LIMITS = "Limits"
WHERE = "Where it runs"

# Not for Click to judge whether it can be read: that is no mistake in the command.
db_argument = click.argument("db", type=FilePath(readable=False), metavar="DB")
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
    type=FiniteRange(0.05, 86_400),
    metavar="SECONDS",
    section=WHERE,
    help="How often to look  [default: 30, on this machine 0.5]",
)
yes_option = option("-y", "--yes", is_flag=True, section=WHERE, help="Answer the question with yes")

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
    option("--where", metavar="EXPR", section=ROWS,
           help="Only rows for which this SQL condition holds"),
    option("-p", "--param", "params", nargs=2, multiple=True, metavar="NAME VALUE", section=ROWS,
           help="Named parameter of --where or --sql"),
    option("--order", metavar="EXPR", section=ROWS, help="Order of the rows"),
    option("--limit", type=click.IntRange(min=0), metavar="N", section=ROWS,
           help="At most that many rows"),
    option("--sample", type=click.IntRange(min=1), metavar="N", section=ROWS,
           help="That many rows, drawn at random: the same ones each time"),
    option("--seed", type=int, metavar="S", section=ROWS, help="Draw other rows for --sample"),
    option("--pilot", type=click.IntRange(min=1), metavar="N", section=ROWS,
           help="First ask N rows drawn at random; go on with --like pilot --missing"),
    option("--missing", is_flag=True, section=ROWS,
           help="Only rows without an answer, except those that wait or have failed"),
    option("--changed", is_flag=True, section=ROWS,
           help="Only rows that are new or changed since they were asked under this --name"),
    option("--blanks", type=click.Choice(["skip", "send", "error"]), default="skip",
           show_default=True, section=ROWS,
           help="What to do with rows whose prompt columns are all empty"),
    option("--recursive", is_flag=True, section=ROWS,
           help="The files of its subfolders too, where DB is a folder"),
    option("--encoding", metavar="NAME", section=ROWS,
           help="Encoding of a CSV file in place of DB  [default: UTF-8, else Windows-1252]"),
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
    option("--image-dir", "--attach-dir", "image_dir", metavar="DIR", section=REQUEST,
           help="Folder of the files that --image and --attach name; others aren't read"),
    option("--image-detail", type=click.Choice(["auto", "low", "high"]), section=REQUEST,
           help="How closely the model looks at images"),
    option("--image-size", type=click.IntRange(min=0), metavar="PX", section=REQUEST,
           help="Longest side of images; 0 sends them as they are  [default: 2048]"),
    option("--attach", multiple=True, metavar="COLUMN", section=REQUEST,
           help="Attach PDFs, WAV, MP3, images or text: paths, URLs or BLOBs; repeatable"),
    option("--attach-tokens", type=click.IntRange(min=1), metavar="N", section=REQUEST,
           help="The most tokens of one attached PDF or sound, for --max-cost to hold"),
    option("-o", "--option", "options", nargs=2, multiple=True, metavar="NAME VALUE",
           section=REQUEST, help="Any parameter of the request, such as -o max_tokens 200"),
    option("--schema", metavar="SPEC|FILE", section=REQUEST,
           help="Shape of the answer: 'mood good|bad, score 0..1, note', or a JSON schema"),
    option("--times", type=click.IntRange(min=2), metavar="K", section=REQUEST,
           help="Ask each row K times with different seeds, and write the most frequent label"),
    option("--repair", type=click.IntRange(min=1), metavar="N", section=REQUEST,
           help="Send a wrong answer back with what was wrong with it, up to N times a row"),
    option("--codebook", metavar="FILE", section=REQUEST,
           help="Variables, labels, definitions, examples (CSV or YAML): schema and instructions"),
    option("--endpoint", default="/v1/chat/completions", show_default=True, metavar="PATH",
           section=REQUEST, help="Endpoint of the API"),
    option("--like", metavar="JOB", section=REQUEST,
           help="Take all options from that job, except those that you type"),
    option("--name", section=REQUEST, help="Name of the job"),
)  # fmt: skip

answer_options = together(
    option("--output", metavar="COLUMN", section=ANSWERS,
           help="Column for the answer  [default: answer]"),
    option("--output-table", metavar="TABLE", section=ANSWERS,
           help="Write to this table instead of the source"),
    option("--prefix", default="", metavar="TEXT", section=ANSWERS,
           help="Begin the names of answer columns with this"),
    option("--confidence", is_flag=True, section=ANSWERS,
           help="How sure the model is of each label, in a column beside it: mood_confidence"),
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
    option("--first-part", type=click.IntRange(min=0), metavar="N", section=LIMITS,
           help="Send this many requests first if a job has several parts; 0: no  [default: 100]"),
    option("--first-wait", type=FiniteRange(0, 525_600), metavar="MINUTES", section=LIMITS,
           help="How long the rest waits for the answers to those; 0: it does not  [default: 15]"),
    option("--enqueued-tokens", type=click.IntRange(1, 10**15), metavar="N", section=LIMITS,
           help="Your limit of queued tokens for this model, from the provider's limits page"),
    option("--attempts", type=click.IntRange(1, 1_000), metavar="N", section=LIMITS,
           help="How often to send a request if its batch or the provider fails  [default: 3]"),
)  # fmt: skip


def one_text(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Addresses as one text, with a space between them. Fails for an empty one."""
    if any(is_empty(one) for one in values):
        raise Failure(f"{param.opts[0]}: {EMPTY}", 2)
    return " ".join(values) or None


def cluster_options(section: str) -> tuple[Callable[[Any], Any], ...]:
    """Options of a Ray cluster, of `run` and of `serve`."""
    return (
        option("--ray", metavar="[ADDRESS]", is_flag=False, flag_value="local", section=section,
               help="Spread the work over a Ray cluster: host:port or auto; without an address "
                    "over this machine's processors"),
        option("--ray-workers", type=click.IntRange(min=1), metavar="N", section=section,
               help="Workers on the cluster, or engines  [default: 2, or its processors]"),
        option("--engine", type=click.Choice(["vllm"]), section=section,
               help="Load the model of -m on the cluster's GPUs"),
        option("--tensor-parallel", type=click.IntRange(min=1), metavar="N", section=section,
               help="GPUs of each engine  [default: 1]"),
    )  # fmt: skip


place_options = together(
    option("--provider", type=click.Choice(["openai", "azure"]), default="openai",
           show_default=True, section=WHERE, help="Who runs the batches"),
    option("--base-url", metavar="URL", section=WHERE,
           help="A server with OpenAI's Files and Batches API"),
    key_option,
    option("--local", is_flag=True, section=WHERE,
           help="Ask the small model on this machine: no key, no cost"),
    option("--upstream", metavar="URL", multiple=True, callback=one_text, section=WHERE,
           help="Ask any chat server, through a batch server on this machine; repeatable"),
    option("--concurrency", type=click.IntRange(1, 10_000), metavar="N", section=WHERE,
           help="Requests at a time to each --upstream, at most  [default: 4]"),
    *cluster_options(WHERE),
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
