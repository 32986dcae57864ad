"""What commands share about money: options, who may send without asking, lines of the screens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .figures import counted, duration
from .framework import option

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from ..estimate import Estimate, Money
    from ..places import Places
    from ..plan import Plan
    from ..store import Job
    from ..store.money import Month
    from .options import Place

MONEY = "Money"
DAY = 86_400

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
    from ..api import OPENAI_URL
    from ..ceiling import parse_ceiling
    from ..errors import UsageError
    from ..estimate import Money
    from ..prices import context_window, is_own

    asked = options.pop("max_cost", None)
    ceiling = None if asked is None else parse_ceiling(asked)
    base_url = place.base_url or ("" if place.provider == "local" else OPENAI_URL)
    price_as = options.get("price_as")
    prices = read_prices(options, model, base_url, endpoint)
    own = prices is None and is_own(place.provider, base_url)
    if ceiling is not None and prices is None and not own:
        raise UsageError(
            f"No batch price of {model} at {place.host} is known, so --max-cost can't hold. "
            "Name a model that costs the same with --price-as, "
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
    from ..api import OPENAI_URL
    from ..errors import UsageError
    from ..prices import find_prices, parse_usd, prices_version, stated_prices

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
    from ..errors import UsageError

    if not yes and max_cost is None and not can_ask:
        raise UsageError(
            "Without a terminal to ask on, sending needs -y or --max-cost (or use preview)."
        )


def check_model(place: Place, places: Places, plan: Plan) -> None:
    """See whether the server knows the model, where it has a list (`GET /v1/models`).

    Raises UsageError where OpenAI itself doesn't: nothing could be answered. Elsewhere a list need
    not be whole, so that is a warning.
    """
    from ..account import destination
    from ..errors import UsageError
    from ..nearest import listed, meant, nearest_first

    if place.provider != "openai" or "{{" in plan.model:
        return
    provider = places.remote(destination(place.base_url, places.key))
    known = provider.models()
    if not known or plan.model in known:
        return
    said = f"{place.host} has no model '{plan.model}'."
    if provider.is_openai:
        raise UsageError(f"{said} {meant(plan.model, known)}Name one with -m.")
    near = listed(nearest_first(plan.model, known)[:5])
    plan.warnings.append(f"{place.host} doesn't list a model '{plan.model}'. It lists: {near}.")


def amount(tokens: int) -> str:
    """A number of tokens: `9,412`, `0.61M`, `10.9M`."""
    if tokens < 100_000:
        return f"{tokens:,}"
    return f"{tokens / 1e6:.2f}M" if tokens < 1_000_000 else f"{tokens / 1e6:,.1f}M"


def estimate_rows(
    found: Estimate, plan: Plan, place: Place, *, limit: int | None, pace: float | None
) -> list[tuple[str, str]]:
    """Label and text of the lines about tokens and money on the screen of a plan."""
    cost = ("Cost", cost_words(found, plan.model, place.host))
    if found.money.own:
        return [cost]
    lines = [("Tokens", f"{input_words(found)} · {output_words(found)}"), cost]
    if found.money.max_cost is not None:
        lines.append(("Ceiling", ceiling_words(found, plan.model)))
    return [*lines, ("Time", time_words(found, limit, pace))]


def same_words(found: Estimate) -> str | None:
    """How many requests are asked more than once; None where none is."""
    if not found.same:
        return None
    from ..prices import CENT, usd

    saved = found.saved() or 0
    would = f"would save {usd(saved)}" if saved >= CENT else "would send them once"
    return f"{counted(found.same, 'identical request')} (--reuse {would})"


def input_words(found: Estimate) -> str:
    """Tokens of the questions, and how they are known."""
    tokens = found.input
    if tokens.tokens is None:
        return "not known (images)"
    how = {
        "counted": "counted",
        "sampled": f"sampled, ±{percent(tokens.error)}",
        "bytes": f"from bytes, {amount(tokens.low)} to {amount(tokens.high)}",
    }[tokens.how]
    about = "about " if tokens.how == "bytes" else ""
    as_model = f" as {tokens.vocabulary} counts" if tokens.vocabulary else ""
    return f"{about}{amount(tokens.tokens)} in ({how}{as_model})"


def percent(share: float) -> str:
    """A small share: `0.2 %`; two significant digits below a tenth of a percent."""
    value = 100 * share
    return f"{value:.1f} %" if value >= 0.1 else f"{value:.2g} %"


def output_words(found: Estimate) -> str:
    """Tokens of the answers, as earlier ones were or as their cap is."""
    if found.earlier is not None and found.output is not None:
        return f"about {amount(found.output)} out (as in job {found.earlier.job_id})"
    if found.output_most is None:
        return "answers without a bound"
    if found.output_most == 0:
        return "none out"
    return f"at most {amount(found.output_most)} out"


def cost_words(found: Estimate, model: str, host: str) -> str:
    """What it costs: about, at most, and what that rests on."""
    from ..prices import usd

    if found.money.own:
        return "none (own server)"
    if found.money.prices is None:
        return (
            f"unknown: no batch price of {model} at {host} is known "
            "(--price-as MODEL, or --price-input and --price-output)"
        )
    if found.input_cost is None:
        return "unknown: how many tokens the images are isn't published"
    notes = f" ({'; '.join(price_notes(found))})"
    if found.most is None:
        return f"{usd(found.input_cost)} for the questions; nothing bounds the answers{notes}"
    most = f"at most {usd(found.most, up=True)}"
    if found.about is None:
        return f"{usd(found.input_cost)} for the questions, {most} with answers{notes}"
    if usd(found.about) == usd(found.most):
        return f"{usd(found.most, up=True)}{notes}"
    if found.earlier is None and found.cap.tokens:
        return f"{most}{notes}"
    return f"about {usd(found.about)}, {most}{notes}"


def price_notes(found: Estimate) -> list[str]:
    """What a bound rests on: the cap of the answers, and whose prices."""
    prices = found.money.prices
    assert prices is not None
    notes = []
    if found.cap.tokens:
        whose = {"model": ", the model's own cap", "context": ", all that the model holds"}.get(
            found.cap.source, ""
        )
        notes.append(f"answers ≤ {found.cap.tokens:,} tokens{whose}")
    if found.money.price_as:
        notes.append(f"priced as {found.money.price_as}")
    dated = f"of {prices.since}" if prices.since else f"by {prices.source}"
    notes.append(f"batch prices {dated}" if prices.model else "prices as stated")
    return notes


def ceiling_words(found: Estimate, model: str) -> str:
    """Whether the ceiling holds, and what would make it."""
    from ..ceiling import check_ceiling
    from ..errors import UsageError
    from ..prices import usd

    ceiling = usd(found.money.max_cost or 0)
    try:
        check_ceiling(found, model)
    except UsageError as error:
        return f"{ceiling}: does not hold. {str(error).partition(': ')[2]}"
    return f"{ceiling}: holds"


def time_words(found: Estimate, limit: int | None, pace: float | None) -> str:
    """How long it may take: rounds of the queue, at the pace seen so far."""
    if limit is None:
        return "up to 24 h per part; your queue limit isn't known yet"
    rounds = math.ceil((found.input.tokens or 0) / limit) or 1
    queue = f"{amount(limit)} queued tokens"
    if rounds == 1:
        seen = f"; {duration(pace)} a part so far" if pace else ""
        return f"up to 24 h; all of it fits in your queue of {queue}{seen}"
    seconds = rounds * (pace or 3_600)
    days = f"{seconds / DAY:,.0f} days" if seconds >= 2 * DAY else duration(seconds)
    each = f"{duration(pace)} a round as so far" if pace else "1 round an hour"
    return f"{counted(rounds, 'round')} of {queue}; at {each}, about {days}"


def confirmation_line(found: Estimate, host: str) -> str:
    """The line of the question before sending that says what it costs."""
    from ..prices import usd

    goes = f"Data goes to {host}."
    if found.money.own:
        return goes
    if found.money.prices is None or found.input_cost is None:
        return f"What it costs isn't known. {goes}"
    words = cost_words(found, "", host).partition(" (")[0]
    ceiling = found.money.max_cost
    held = f" (ceiling {usd(ceiling)})" if ceiling is not None else ""
    return f"{words[0].upper()}{words[1:]}{held}. {goes}"


def estimate_warnings(found: Estimate, plan: Plan) -> list[str]:
    """What a person should know before paying."""
    warnings = []
    if found.too_long:
        name = ".".join(
            part for part in (plan.source.name, "/".join(plan.source.key_columns)) if part
        )
        shown = ", ".join(f"{one.row_key} ({one.tokens:,} tokens)" for one in found.too_long[:3])
        more = " …" if len(found.too_long) > 3 else ""
        one = len(found.too_long) == 1
        warnings.append(
            f"{counted(len(found.too_long), 'row')} {'is' if one else 'are'} longer than the "
            f"{found.money.window:,} tokens that {plan.model} holds, and would fail: "
            f"{name} {shown}{more}"
        )
    if found.money.prices is not None and found.cap.source != "request":
        bound = f"up to {found.cap.tokens:,} tokens each" if found.cap.tokens else "without end"
        warnings.append(
            f"answers have no cap, so {plan.model} may write {bound}. "
            "-o max_tokens N bounds what they cost."
        )
    return warnings


def job_cost_line(job: Job) -> str:
    """What a job cost, beside what was expected of it: `$1.07 (estimate $1.09, ceiling $10.00)`."""
    from ..prices import job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return "none (own server)"
    expected = []
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if about is not None and about != most:
        expected.append(f"estimate {usd(about)}")
    elif most is not None:
        expected.append(f"estimate at most {usd(most, up=True)}")
    if job.max_cost_nanousd is not None:
        expected.append(f"ceiling {usd(job.max_cost_nanousd)}")
    known = "not known" if job.cost_nanousd is None else usd(job.cost_nanousd)
    return known + (f" ({', '.join(expected)})" if expected else "")


def queue_figures(conn: sqlite3.Connection, money: Money, model: str) -> dict[str, Any]:
    """The queue limit and the pace of a provider, where this database knows them."""
    from .. import store
    from ..store.money import pace, queue_limit

    if not store.exists(conn) or money.own:
        return {"limit": None, "pace": None}
    return {
        "limit": queue_limit(conn, money.account, model),
        "pace": pace(conn, money.base_url, model),
    }


def job_ceiling(conn: sqlite3.Connection, job: Job, text: str) -> int:
    """A new ceiling in nano-dollars for a job that waits. Raises UsageError where it can't hold."""
    from ..ceiling import parse_ceiling
    from ..errors import UsageError
    from ..prices import job_is_own, stored_prices, usd
    from ..store.money import committed

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
    from ..database import transaction

    with transaction(conn):
        store.update_job(conn, job.id, max_cost_nanousd=nanousd)
        store.log(conn, "ceiling", job_id=job.id, nanousd=nanousd)
    return store.get_job(conn, job.id)


def job_expects(job: Job, ceiling: int | None) -> str:
    """What a stored job is expected to cost, for the question before sending."""
    from ..prices import job_is_own, usd

    if job_is_own(job.provider, job.base_url, job.settings):
        return "It costs nothing (own server)."
    about, most = job.estimated_cost_nanousd, job.upper_cost_nanousd
    if most is None:
        return "What it costs isn't known."
    words = f"at most {usd(most, up=True)}"
    if about is not None and about != most:
        words = f"about {usd(about)}, {words}"
    ceiling = job.max_cost_nanousd if ceiling is None else ceiling
    held = f" (ceiling {usd(ceiling)})" if ceiling is not None else ""
    return f"{words[0].upper()}{words[1:]}{held}."


def months_of(conn: sqlite3.Connection) -> list[Month]:
    """What the jobs of each month asked and cost, newest first."""
    from .. import store
    from ..store.money import months

    return months(conn) if store.exists(conn) else []


def month_record(month: Month) -> list[Any]:
    """A month as a row of data."""
    return [
        month.month,
        month.jobs,
        month.requests,
        month.prompt_tokens,
        month.completion_tokens,
        month.cost_nanousd / 1e9,
        month.unknown,
    ]


def months_screen(months: Sequence[Month]) -> str:
    """The table of `jobs --totals`."""
    from ..prices import usd
    from .text import table

    return table(
        ["month", "jobs", "requests", "tokens in", "tokens out", "cost", ""],
        (
            [
                month.month,
                f"{month.jobs:,}",
                f"{month.requests:,}",
                f"{month.prompt_tokens:,}",
                f"{month.completion_tokens:,}",
                usd(month.cost_nanousd),
                f"and {counted(month.unknown, 'job')} of unknown cost" if month.unknown else "",
            ]
            for month in months
        ),
        right=(1, 2, 3, 4, 5),
    )


def month_sentence(month: Month) -> str:
    """What the newest month cost, where anything was paid: for the end of the list of jobs."""
    from datetime import datetime

    from ..prices import usd

    if not month.cost_nanousd:
        return ""
    name = datetime.strptime(month.month, "%Y-%m").strftime("%B")
    unknown = f" and {month.unknown} an unknown amount" if month.unknown else ""
    return (
        f"{counted(month.jobs, 'job')} in {name} cost {usd(month.cost_nanousd)}{unknown} "
        "(--totals).   "
    )
