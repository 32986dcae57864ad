"""A few rows asked now, without a batch: what they answer, and what all rows would cost.

The requests are those that a job would send, to the same endpoint of the same server, and their
answers are read by the same code as a batch's lines.
"""

from __future__ import annotations

import json
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from .. import store
from ..answers.reader import Reader, asks_for_json
from ..base import clock
from ..base.errors import OpenAIBatchError, UsageError
from ..base.outcome import Outcome
from ..base.scratch import scratch
from ..base.text import counted, cut, duration, oneline
from ..pricing.ceiling import PartBound
from ..pricing.estimate import Estimate, likely
from ..pricing.prices import Prices, Spent, full_prices, usd
from ..pricing.words import amount, cost_words
from ..provider.client import OPENAI_URL, Provider
from ..provider.places import Place
from ..store.connection import transaction
from ..store.costs import Earlier
from .first_part import remember_try
from .plan.plan import Plan
from .plan.prepare import job_values, new_tally, question
from .plan.render import Rendered, Tally, rendered_rows
from .sync.collect import ResultFile, finish, take_files
from .sync.settle import settle_job
from .writeback import Writer

AT_ONCE = 4
SEED = 8


@dataclass(frozen=True, slots=True)
class Tried:
    """One row that was asked: its request, the HTTP reply, and what that is."""

    row: Rendered
    status: int
    reply: bytes
    outcome: Outcome
    seconds: float


def result_line(custom_id: str, status: int, reply: bytes) -> bytes:
    """An HTTP reply as a line of a result file, with its newline."""
    try:
        body = orjson.loads(reply)
    except orjson.JSONDecodeError:
        body = reply.decode("utf-8", "replace")
    response = {"status_code": status, "request_id": "", "body": body}
    return orjson.dumps({"custom_id": custom_id, "response": response, "error": None}) + b"\n"


def choose(plan: Plan, count: int) -> tuple[Tally, list[Rendered]]:
    """Read all rows: the tally of `survey`, and a seeded sample of those that can be asked.

    The same rows give the same sample, in their order.
    """
    tally = new_tally(plan)
    pick = random.Random(SEED).randrange
    chosen: list[Rendered] = []
    asked = 0
    for row in rendered_rows(plan, tally, "try"):
        if row.status != "pending":
            continue
        asked += 1
        if len(chosen) < count:
            chosen.append(row)
        elif (place := pick(asked)) < count:
            chosen[place] = row
    return tally, sorted(chosen, key=lambda row: row.position)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a server said to one row, in which time."""

    status: int
    content: bytes
    seconds: float


Came = tuple[int, "_Reply | OpenAIBatchError"]


def ask_rows(
    provider: Provider, plan: Plan, rows: Sequence[Rendered], *, at_once: int = AT_ONCE
) -> Iterator[Tried]:
    """Ask rows, a few at a time, and yield them in their order as soon as they have answered.

    Raises Unreachable or NeedsAttention where going on would be in vain. Closing the iterator
    leaves the requests that are under way to themselves.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[Came] = queue.SimpleQueue()
    stopped = threading.Event()
    for place in range(len(rows)):
        todo.put(place)

    def work() -> None:
        while not stopped.is_set():
            try:
                place = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((place, ask_one(provider, plan, rows[place])))
            except OpenAIBatchError as error:
                done.put((place, error))
            except Exception:
                # The client was closed under a request that nobody waits for any more.
                if not stopped.is_set():
                    raise

    # Daemons, since nobody waits for them where Ctrl-C came first.
    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(at_once, len(rows)))]
    for worker in workers:
        worker.start()
    reader = Reader(
        plan.template.endpoint,
        plan.asked_schema,
        json_mode=asks_for_json(plan.template.body),
        confidence=plan.confidence,
    )
    try:
        for place, reply in in_order(done, len(rows)):
            # Read here: the decoders of response lines can't be made in two threads at once.
            (outcome,) = reader.read([result_line("try", reply.status, reply.content)])
            reader.check([outcome])
            yield Tried(rows[place], reply.status, reply.content, outcome, reply.seconds)
    except OpenAIBatchError:
        stopped.set()
        for worker in workers:
            worker.join()
        raise
    finally:
        stopped.set()


def in_order(done: queue.SimpleQueue[Came], count: int) -> Iterator[tuple[int, _Reply]]:
    """Yield what comes in any order by its place."""
    came: dict[int, _Reply] = {}
    following = 0
    for _ in range(count):
        place, found = done.get()
        if isinstance(found, OpenAIBatchError):
            raise found
        came[place] = found
        while following in came:
            yield following, came.pop(following)
            following += 1


def ask_one(provider: Provider, plan: Plan, row: Rendered) -> _Reply:
    """Ask one row, and wait for the answer."""
    body = orjson.loads(row.line)["body"]
    began = time.monotonic()
    status, content = provider.ask(plan.template.endpoint, body)
    return _Reply(status, content, time.monotonic() - began)


def spent(tried: Sequence[Tried], prices: Prices | None) -> Spent:
    """Tokens of the answers, and what they cost by these prices."""
    found = Spent(prices)
    found.add([one.outcome for one in tried])
    return found


def save(
    conn: sqlite3.Connection,
    plan: Plan,
    tried: Sequence[Tried],
    *,
    uid: str,
    provider: str,
    base_url: str | None,
    account: str | None,
    prices: Prices | None,
) -> store.Job:
    """Keep what was tried as a finished job, its answers written like any other's.

    `prices` are those outside of a batch. Raises OutputError where the columns can't be written.
    """
    store.migrate(conn)
    values = job_values(plan, uid, provider, base_url, account, {})
    options = json.loads(values["options"]) | {"prices": prices.to_data() if prices else None}
    with transaction(conn):
        job_id = store.insert_job(conn, {**values, "options": json.dumps(options)})
        first = store.reserve_ids(conn, job_id, len(tried))
        part_id = store.insert_part(
            conn,
            job_id=job_id,
            number=1,
            status="completed",
            requests=len(tried),
            bytes=sum(len(one.row.line) for one in tried),
        )
        store.insert_requests(
            conn,
            [
                (first + n, job_id, part_id, one.row.row_key, one.row.source_hash, "pending", None)
                for n, one in enumerate(tried)
            ],
        )
    store.build_indexes(conn)
    take_in(conn, store.get_job(conn, job_id), part_id, first, tried)
    complete(conn, job_id, len(tried))
    return store.get_job(conn, job_id)


def complete(conn: sqlite3.Connection, job_id: int, requests: int) -> None:
    """End a job all of whose answers are here. Until then it counts as not yet prepared."""
    now = clock.now()
    with transaction(conn):
        store.update_job(
            conn,
            job_id,
            status="running",
            requests=requests,
            skipped=0,
            approved_at=now,
            submitted_at=now,
            checked_at=now,
            lease_owner=None,
            lease_until=None,
        )
        store.log(conn, "tried", job_id=job_id, requests=requests)
    settle_job(conn, job_id, [], [])


def take_in(
    conn: sqlite3.Connection,
    job: store.Job,
    part_id: int,
    first: int,
    tried: Sequence[Tried],
) -> None:
    """Take the answers in as the lines of a result file."""
    writer = Writer(conn, job)
    part = store.get_part(conn, part_id)
    try:
        with (
            scratch() as folder,
            store.leased(conn, part),
        ):
            path = folder / "try"
            path.write_bytes(
                b"".join(
                    result_line(f"{job.uid}-{first + n}", one.status, one.reply)
                    for n, one in enumerate(tried)
                )
            )
            file = ResultFile("try", f"try-{job.uid}", path)
            collected = take_files(conn, job, part, [file], writer)
            finish(conn, job, part, "completed", collected)
    finally:
        writer.close()


def prices_now(plan: Plan, place: Place) -> Prices | None:
    """What single requests cost; None where nothing is paid, or that isn't known."""
    money = plan.ask.money
    if money.own or money.prices is None or not money.prices.model:
        return None
    base_url = place.base_url or OPENAI_URL
    model = money.prices.model
    return full_prices(model, base_url) or full_prices(model, OPENAI_URL)


def check_bound(plan: Plan, lines: Sequence[bytes], prices: Prices | None) -> None:
    """Raise UsageError where the rows of this try might cost more than --max-cost."""
    money = plan.ask.money
    if money.max_cost is None or money.own:
        return
    # Stated prices are those of a batch. OpenAI and Azure sell single requests at twice that.
    stated = money.prices if prices is None else prices
    assert stated is not None
    factor = 2 if prices is None else 1
    models = (plan.model, *([money.price_as] if money.price_as else []))
    bound = PartBound(
        stated, money.counter(plan.model), plan.template.endpoint, models, money.window
    )
    for line in lines:
        bound.add(line)
    most = bound.count().nanousd
    if most is None or most * factor > money.max_cost:
        may = "nothing bounds" if most is None else f"up to {usd(most * factor, up=True)} is"
        raise UsageError(
            f"{may[0].upper()}{may[1:]} what {counted(len(lines), 'row')} may cost now, and the "
            f"ceiling is {usd(money.max_cost)}. Ask fewer with -n, or cap the answers "
            "with -o max_tokens."
        )


def remember(plan: Plan, place: Place, tried: Sequence[Tried]) -> None:
    """Keep, beside the database, whether the answers were good: then `run` needs no first part."""
    ok = sum(one.outcome.status == "ok" for one in tried)
    key = question(plan, place.provider, place.base_url)
    remember_try(key, plan.template.hash, ok, len(tried))


def answer_pairs(plan: Plan, one: Tried) -> list[tuple[str, str]]:
    """The columns that an answer would fill, or the answer itself."""
    outcome = one.outcome
    if outcome.values is not None:
        return [
            (oneline(column.name), cut("" if value is None else str(value), 200))
            for column, value in zip(plan.output.columns, outcome.values, strict=True)
        ]
    if isinstance(outcome.answer, bytes):
        return [("answer", f"{len(outcome.answer) // 4:,} numbers")]
    return [("answer", cut(outcome.answer, 400))] if outcome.answer else []


def told(one: Tried) -> str:
    """Why a row failed, its tokens, and its time."""
    outcome = one.outcome
    said = [oneline(outcome.error_message)] if outcome.error_message else []
    if outcome.prompt_tokens is not None:
        said.append(f"{outcome.prompt_tokens:,} tokens in, {outcome.completion_tokens or 0:,} out")
    return " · ".join([*said, duration(one.seconds)])


def all_rows(tried: Sequence[Tried], found: Estimate, plan: Plan) -> list[tuple[str, str]]:
    """What all rows would take and cost if their answers are as long as these."""
    sums = spent(tried, None)
    output = round(sums.completion / sums.requests * found.requests)
    questions = "" if found.input.tokens is None else f"{amount(found.input.tokens)} in, "
    words = f"{counted(found.requests, 'request')}: about {questions}{amount(output)} out"
    lines = [("All rows", words)]
    about = likely(
        found.money.prices,
        found.input_cost,
        output,
        [sums.prompt // sums.requests],
        found.cap,
        found.requests,
    )
    # As if an earlier job had answered so.
    earlier = Earlier(0, sums.requests, sums.completion)
    basis = replace(found, output=output, about=about, earlier=earlier)
    return [*lines, ("Cost", cost_words(basis, plan.model, "this server"))]
