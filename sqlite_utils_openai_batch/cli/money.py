"""What commands share about money: options, and who may send without being asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .framework import option

if TYPE_CHECKING:
    import sqlite3

    from ..estimate import Money
    from ..places import Places
    from ..plan import Plan
    from ..store import Job
    from .place import Place

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
    from ..api import OPENAI_URL
    from ..ceiling import parse_ceiling
    from ..errors import UsageError
    from ..estimate import Money
    from ..job_prices import is_own
    from ..price_list import context_window

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
    from ..price_list import find_prices, prices_version
    from ..prices import parse_usd, stated_prices

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
    from ..job_prices import job_is_own, stored_prices
    from ..prices import usd
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
