"""Options that several commands share, what a job keeps of them, and how they become an `Ask`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from .click_ext import option, talk
from .destination import Place

if TYPE_CHECKING:
    import sqlite3

    from ..jobs.plan.ask import Ask
    from ..jobs.plan.plan import Plan
    from ..pricing.estimate import Money
    from ..provider.places import Places
    from ..store import Job


# `--like JOB`: what was typed for a job, kept with it, and taken up by another.

# Options of the moment, which no job keeps.
NEVER_KEPT = ("key", "new", "like", "workers", "requests")
# An option that is typed puts out what it would contradict.
PUTS_OUT = {
    "table": ("sql", "pk", "params"),
    "sql": ("table", "pk", "lines"),
    "template": ("template_body", "prompt", "system", "images", "attach", "lines"),
    "prompt": ("template_body", "lines"),
    "requests": (
        "table",
        "sql",
        "pk",
        "params",
        "where",
        "order",
        "limit",
        "sample",
        "seed",
        "model",
        "system",
        "prompt",
        "template_body",
        "images",
        "attach",
        "options",
        "endpoint",
    ),
    "sample": ("limit",),
    "limit": ("sample", "seed"),
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
}
# Options that say where rows go.
PLACE = ("provider", "base_url", "local", "upstream")
# Options that leave rows out, which nobody sees who doesn't type them.
NARROWING = ("changed", "missing", "where", "limit", "sample")
# Repeatable options whose values have names: those that are typed come on top.
NAMED = ("options", "params")


def recipe(table: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What was typed for a job, texts of files in place of their names. Raises TemplateError."""
    from ..base.errors import SchemaError, TemplateError
    from ..base.text_files import text_or_file

    kept = {name: value for name, value in options.items() if name not in NEVER_KEPT}
    for name in ("prompt", "system", "schema"):
        error = SchemaError if name == "schema" else TemplateError
        # Read once: what is asked and what is kept are the same.
        kept[name] = options[name] = text_or_file(options.get(name), f"--{name}", error)
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

    Returns the table. Raises DatabaseError where jobs can't be kept here, JobError for a job that
    isn't there or kept no options, and ConfigurationError where rows would go elsewhere than
    that job's did.
    """
    from .. import store
    from ..base.errors import JobError
    from ..jobs.trust import check_job
    from ..provider.accounts import check_key
    from ..results.recipe import kept_options

    store.check_version(conn)
    # Whatever is asked anew goes by the jobs that there are.
    store.list_jobs(conn)
    wanted = options.pop("like", None)
    if wanted is None:
        return table
    job = store.find_job(conn, wanted, db)
    check_job(job)
    kept = kept_options(job)
    if not kept:
        raise JobError(f"Job {job.id} keeps no options, so --like can't take them up.")
    typed = {name for name in (*options, "table") if was_typed(name)}
    if not typed.intersection(PLACE):
        kept |= place_of(job, kept)
        if options.get("key"):
            check_key(job, options["key"])
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
        talk(
            f"As in job {job.id}, only some rows are asked about: {' '.join(narrowed)}. "
            "To ask about others, type the options without --like."
        )
    return table


def place_of(job: Job, kept: dict[str, Any]) -> dict[str, Any]:
    """The options that say where a job's rows went, also where the environment said it then.

    Raises ConfigurationError where the environment says something else now.
    """
    from ..base.errors import ConfigurationError
    from ..provider.accounts import LOCAL, key_address, origin
    from ..provider.azure import AZURE, ENDPOINT
    from ..provider.errors import host_of

    if job.provider == LOCAL:
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
               help="What a million tokens of answers cost in a batch"),
        option("--price-input", metavar="USD", section=MONEY,
               help="What a million tokens of questions cost in a batch"),
        option("--price-as", metavar="MODEL", section=MONEY,
               help="Price it as this model: for deployments and aliases"),
        max_cost_option,
    ):  # fmt: skip
        function = add(function)
    return function


def read_money(options: dict[str, Any], place: Place, model: str, endpoint: str) -> Money:
    """Take the options under 'Money' out of `options`.

    Raises UsageError where prices contradict each other, or a ceiling has no price to hold by.
    """
    from ..base.errors import UsageError
    from ..base.text import meant
    from ..pricing.ceiling import parse_ceiling
    from ..pricing.estimate import Money
    from ..pricing.prices import context_window, is_own, known_models
    from ..provider.client import OPENAI_URL

    asked = options.pop("max_cost", None)
    ceiling = None if asked is None else parse_ceiling(asked)
    base_url = place.base_url or ("" if place.provider == "local" else OPENAI_URL)
    price_as = options.get("price_as")
    prices = read_prices(options, model, base_url, endpoint)
    own = prices is None and is_own(place.provider, base_url)
    if ceiling is not None and prices is None and not own:
        raise UsageError(
            f"No batch price of {model} at {place.host} is known, so --max-cost can't hold. "
            f"{meant(model, known_models())}Name a model that costs the same with --price-as, "
            "or give USD per million tokens with --price-input and --price-output."
        )
    return Money(
        prices=prices,
        own=own,
        max_cost=ceiling,
        price_as=price_as,
        window=None if own else context_window(price_as or model, base_url or OPENAI_URL),
        base_url=place.base_url,
        account=place.account,
    )


def read_prices(options: dict[str, Any], model: str, base_url: str, endpoint: str) -> Any:
    """The prices that somebody stated, else those that are published; None where unknown."""
    from ..base.errors import UsageError
    from ..pricing.prices import find_prices, parse_usd, prices_version, stated_prices
    from ..provider.client import OPENAI_URL

    price_as = options.pop("price_as", None)
    input_, output = options.pop("price_input", None), options.pop("price_output", None)
    if price_as is not None and (input_ is not None or output is not None):
        raise UsageError("--price-as and --price-input or --price-output: give one or the other.")
    if output is None and endpoint == "/v1/embeddings":
        output = "0"
    if input_ is not None and output is not None:
        return stated_prices(
            parse_usd("--price-input", input_), parse_usd("--price-output", output)
        )
    if input_ is not None or (output is not None and endpoint != "/v1/embeddings"):
        missing = "--price-output" if output is None else "--price-input"
        raise UsageError(f"{missing} is missing: questions and answers have a price each.")
    if price_as is None:
        return find_prices(model, base_url)
    found = find_prices(price_as, base_url) or find_prices(price_as, OPENAI_URL)
    if found is None:
        raise UsageError(
            f"--price-as '{price_as}': {prices_version()} knows no batch price of it. "
            "Give USD per million tokens with --price-input and --price-output."
        )
    return found


def check_may_send(yes: bool, max_cost: Any, can_ask: bool) -> None:
    """Raise UsageError where nobody can be asked and nothing was said beforehand."""
    from ..base.errors import UsageError

    if not yes and max_cost is None and not can_ask:
        raise UsageError(
            "Without a terminal to ask on, sending needs -y or --max-cost (or use preview)."
        )


def check_model(place: Place, places: Places, plan: Plan) -> None:
    """See whether the server knows the model, where it has a list (`GET /v1/models`).

    Raises UsageError where OpenAI itself doesn't: nothing could be answered. Elsewhere a list need
    not be whole, so that is a warning.
    """
    from ..base.errors import UsageError
    from ..base.text import listed, meant, nearest_first
    from ..provider.accounts import destination

    if place.provider != "openai" or "{{" in plan.model:
        return
    provider = places.remote(destination(place.base_url, places.key, place.provider))
    known = provider.models()
    if not known or plan.model in known:
        return
    said = f"{place.host} has no model '{plan.model}'."
    if provider.is_openai:
        raise UsageError(f"{said} {meant(plan.model, known)}Name one with -m.")
    near = listed(nearest_first(plan.model, known)[:5])
    plan.warnings.append(f"{place.host} doesn't list a model '{plan.model}'. It lists: {near}.")


def queue_figures(conn: sqlite3.Connection, money: Money, model: str) -> dict[str, Any]:
    """The queue limit and the pace of a provider, where this database knows them."""
    from .. import store
    from ..store.costs import pace, queue_limit

    if not store.exists(conn) or money.own:
        return {"limit": None, "pace": None}
    return {
        "limit": queue_limit(conn, money.account, model),
        "pace": pace(conn, money.base_url, model),
    }


def job_ceiling(conn: sqlite3.Connection, job: Job, text: str) -> int:
    """A new ceiling in nano-dollars for a job that waits. Raises UsageError where it can't hold."""
    from ..base.errors import UsageError
    from ..pricing.ceiling import parse_ceiling
    from ..pricing.prices import job_is_own, stored_prices, usd
    from ..store.costs import committed

    ceiling = parse_ceiling(text)
    if job_is_own(job.provider, job.base_url, job.settings):
        return ceiling
    if stored_prices(job.settings) is None:
        raise UsageError(
            f"Job {job.id} was prepared without prices, so --max-cost can't hold. "
            "Prepare it again with --price-as, or with --price-input and --price-output."
        )
    taken = committed(conn, job.id)
    if taken.total > ceiling:
        raise UsageError(
            f"--max-cost {text}: {usd(taken.spent)} is spent already, and up to "
            f"{usd(taken.open, up=True)} may still come of what was sent."
        )
    most = job.upper_cost_nanousd
    if job.status == "prepared" and (most is None or most > ceiling):
        may = "nothing bounds its cost" if most is None else f"may cost up to {usd(most, up=True)}"
        raise UsageError(
            f"The ceiling of {usd(ceiling)} can't hold: job {job.id} {may}. "
            "Raise it, or prepare the job anew with a lower -o max_tokens."
        )
    return ceiling


def raise_ceiling(conn: sqlite3.Connection, job: Job, nanousd: int) -> Job:
    """Store a ceiling that `job_ceiling` found good."""
    from .. import store
    from ..store.connection import transaction

    with transaction(conn):
        store.update_job(conn, job.id, max_cost_nanousd=nanousd)
        store.log(conn, "ceiling", job_id=job.id, nanousd=nanousd)
    return store.get_job(conn, job.id)


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
           help="Requests that go ahead of a job of several parts; 0 for none  [default: 100]"),
    option("--first-wait", type=click.FloatRange(min=0), metavar="MINUTES", section=LIMITS,
           help="How long the rest waits for good answers to those; 0 for not  [default: 15]"),
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
    from ..jobs.plan.ask import DEFAULT_MODEL, Ask, default_for
    from ..requests.body import parse_option

    lines = options.pop("lines", None)
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
             "part_tokens", "enqueued_tokens", "attempts", "first_part", "first_wait", "new",
             "workers", "reuse", "images", "image_detail", "image_size", "attach",
             "attach_tokens", "confidence")  # fmt: skip
    given = {name: options.pop(name) for name in names}
    return Ask(
        table=table,
        params=dict(options.pop("params")),
        template=template,
        lines=lines,
        fresh=bool(options.pop("fresh", False)),
        image_dir=image_folder(options.pop("image_dir")),
        options=body,
        write=not options.pop("no_write"),
        money=replace(
            read_money(options, place, str(model), given["endpoint"]),
            attach_tokens=given["attach_tokens"],
        ),
        provider=place.provider,
        first_typed=was_typed("first_part"),
        **given,
    )


def read_template(name: str | None) -> dict[str, Any] | None:
    """The whole body in a file. Raises TemplateError."""
    from ..base.errors import TemplateError
    from ..base.file_kinds import JSON_LINES, PRETTY, TEXT, kind_of
    from ..base.text_files import meant_file
    from ..requests.whole_body import parse_body

    if name is None:
        return None
    try:
        return parse_body(Path(name).read_text(encoding="utf-8-sig"), name)
    except (TemplateError, UnicodeDecodeError) as error:
        kind = kind_of(Path(name))
        if kind in (None, TEXT, PRETTY, JSON_LINES) and isinstance(error, TemplateError):
            raise
        raise TemplateError(
            f"--template '{name}' is {kind or 'no text in UTF-8'}, no request body. A template is "
            'JSON or YAML: {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": '
            '"{{ title }}"}]}'
        ) from error
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        meant = meant_file(name) if isinstance(error, FileNotFoundError) else ""
        said = f"--template '{name}' can't be read: {reason}. {meant}"
        raise TemplateError(said.strip()) from error


def image_folder(name: str | None) -> str | None:
    """The folder of --image-dir as the job keeps it. Raises UsageError."""
    from ..base.errors import UsageError

    if name is None:
        return None
    if not Path(name).is_dir():
        raise UsageError(f"--image-dir '{name}' is no folder.")
    return str(Path(name).resolve())
