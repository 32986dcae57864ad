"""A draft, looked at, tried and made a job: the same functions as the command line's, no pages.

All of it runs in threads, on connections of its own. Raises OpenAIBatchError, a `Fault` where
the error belongs to a field of the form.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlite_utils_openai_batch import store
from sqlite_utils_openai_batch.base.errors import (
    CeilingError,
    JobError,
    OpenAIBatchError,
    OutputError,
)
from sqlite_utils_openai_batch.base.text import counted, cut
from sqlite_utils_openai_batch.jobs.new_job import (
    Asked,
    approve,
    discard,
    settled,
    store_job,
    trying,
)
from sqlite_utils_openai_batch.jobs.plan.conflicts import check_free
from sqlite_utils_openai_batch.jobs.plan.options import complete
from sqlite_utils_openai_batch.jobs.plan.plan import Plan
from sqlite_utils_openai_batch.jobs.plan.prepare import estimated, new_tally
from sqlite_utils_openai_batch.jobs.plan.render import Rendered, Run, Tally, rendered
from sqlite_utils_openai_batch.jobs.plan.words import (
    all_blank,
    all_warnings,
    nothing_to_ask,
    reads_words,
    row_words,
    said,
    writes_words,
)
from sqlite_utils_openai_batch.jobs.trial import all_rows, answer_pairs, prices_now, spent
from sqlite_utils_openai_batch.jobs.trial import told as told_of
from sqlite_utils_openai_batch.pricing.ceiling import PartBound, check_ceiling, parse_ceiling
from sqlite_utils_openai_batch.pricing.estimate import Estimate
from sqlite_utils_openai_batch.pricing.prices import CENT, usd
from sqlite_utils_openai_batch.pricing.words import cost_words, estimate_rows, same_words
from sqlite_utils_openai_batch.provider.places import Places
from sqlite_utils_openai_batch.store import drafts
from sqlite_utils_openai_batch.store.connection import transaction
from sqlite_utils_openai_batch.store.drafts import Draft

from ..access.settings import Settings
from .form import field_of

#: Requests that are shown, and tried.
SHOWN = 3
Told = Callable[[int], None]


class Fault(OpenAIBatchError):
    """An error of one field of the form."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@contextmanager
def at_fields(options: Mapping[str, Any]) -> Iterator[None]:
    """Say of each error which field of the form it is about."""
    try:
        yield
    except Fault:
        raise
    except OpenAIBatchError as error:
        raise Fault(field_of(error, options), str(error)) from error


def check(options: Mapping[str, Any]) -> None:
    """Look whether options can be what they are. Raises Fault."""
    with at_fields(options):
        all_options(options)


def all_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a draft, and those that it doesn't name. Raises UsageError."""
    return complete({name: value for name, value in options.items() if name != "table"})


def wanted(conn: sqlite3.Connection, options: Mapping[str, Any], settings: Settings) -> Asked:
    """Settle what a draft asks for, as the command line would. Raises OpenAIBatchError."""
    given = all_options(options) | {"key": settings.key}
    # what a browser sends is never the name of a file
    return settled(conn, options.get("table"), given, needs_key=False, files=False)


# Looking


@dataclass(slots=True)
class Survey:
    """What reading all rows found, the first few requests, and a hash over what was read."""

    tally: Tally
    shown: list[Rendered]
    hash: bytes


def survey(conn: sqlite3.Connection, plan: Plan, told: Told | None = None) -> Survey:
    """Read and render all rows, as `preview` does; `told` hears how many there were so far."""
    tally = new_tally(plan)
    shown: list[Rendered] = []
    digest = hashlib.sha256(plan.template.hash)
    for found in rendered(plan, tally, "preview"):
        if isinstance(found, Run):
            digest.update(b"".join(found.chunk.hashes))
            rows: Sequence[Rendered] = () if len(shown) == SHOWN else list(found.rows())
        else:
            digest.update(found.source_hash or b"")
            rows = [found]
        shown += [row for row in rows if row.status == "pending"][: SHOWN - len(shown)]
        if told:
            told(tally.rows)
    estimated(conn, plan, tally)
    return Survey(tally, shown, digest.digest()[:16])


def times_of(job: store.Job) -> int:
    """How often each row of a job is asked."""
    return int(job.settings.get("times") or 1)


def hash_of_job(conn: sqlite3.Connection, job: store.Job) -> bytes:
    """The hash over what a stored job asks, as `survey` makes it."""
    digest = hashlib.sha256(job.template_hash)
    # Where rows are asked several times, all of them stand there once, and then again.
    found = conn.execute(
        "SELECT source_hash FROM openai_batch_requests WHERE job_id = ? ORDER BY id LIMIT "
        "(SELECT count(*) / ? FROM openai_batch_requests WHERE job_id = ?)",
        [job.id, times_of(job), job.id],
    )
    while some := found.fetchmany(10_000):
        digest.update(b"".join(row[0] or b"" for row in some))
    return digest.digest()[:16]


def look(
    conn: sqlite3.Connection, draft: Draft, file: str, settings: Settings, told: Told | None = None
) -> None:
    """Read all rows of a draft and keep what its page shows. Raises Fault."""
    with at_fields(draft.options), wanted(conn, draft.options, settings) as want:
        plan = want.plan
        if plan.at_most() == 0:
            raise Fault("table", nothing_to_ask(plan))
        found = survey(conn, plan, told)
        if found.tally.requests == 0:
            raise Fault("prompt", all_blank(plan, found.tally))
        options = dict(draft.options)
        if not options.get("max_cost"):
            options |= suggested(found.tally.estimate, settings)
        shown = picture(conn, want, found, options, file)
    before = draft.look.get("facts") or []
    shown["changed"] = changed(before, shown["facts"]) if draft.hash else []
    estimate = found.tally.estimate
    drafts.leave_draft(
        conn,
        draft.token,
        "looked",
        options=json.dumps(options, ensure_ascii=False, sort_keys=True),
        rows=found.tally.asked,
        cost_nanousd=estimate.most if estimate else None,
        hash=found.hash,
        look=json.dumps(shown, ensure_ascii=False),
        message=None,
    )


def changed(before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> list[str]:
    """The labels of the lines that say something else than at the look before."""
    was = {pair[0]: pair[1] for pair in before}
    return [label for label, text in now if was and was.get(label) != text]


def suggested(estimate: Estimate | None, settings: Settings) -> dict[str, str]:
    """The ceiling that an estimate suggests: what it costs at most, in whole cents."""
    if estimate is None or estimate.money.own:
        return {}
    if estimate.money.prices is None:
        raise Fault(
            "price_as",
            "What this model costs isn't known, so no ceiling can hold. Name a model that costs "
            "the same, or give $ per million tokens of questions and of answers.",
        )
    if estimate.most is None:
        raise Fault(
            "max_cost",
            "Nothing bounds what this may cost. Say at how many dollars to stop, "
            "and give the longest answer.",
        )
    most = -(-estimate.most // CENT) * CENT
    if settings.max_cost is not None:
        most = min(most, settings.max_cost)
    return {"max_cost": f"{max(most, CENT) / 1_000_000_000:.2f}"}


def picture(
    conn: sqlite3.Connection, want: Asked, found: Survey, options: Mapping[str, Any], file: str
) -> dict[str, Any]:
    """What the page of a draft shows of a look."""
    plan, tally, place = want.plan, found.tally, want.place
    estimate = tally.estimate
    assert estimate is not None
    same = same_words(estimate)
    facts = [
        ("Rows", rows_words(plan, tally, plan.whole())),
        ("Times", f"{plan.ask.times} for each row" if plan.ask.times else ""),
        ("Left out", left_out(tally)),
        ("Reads", reads_words(plan)),
        *([("Same", same)] if same else []),
        ("Model", f"{plan.model} at {place.host}"),
        *[
            pair
            for pair in estimate_rows(estimate, plan.model, place.host, limit=None, pace=None)
            if pair[0] != "Ceiling"
        ],
        ("Repair", repaired(plan)),
        ("Writes", writes_words(plan)),
    ]
    ceiling = options.get("max_cost")
    holds = ceiling_holds(estimate, plan.model, ceiling)
    return {
        "facts": [pair for pair in facts if pair[1]],
        "asked": tally.asked,
        "requests": [request_words(plan, one) for one in found.shown],
        "warnings": all_warnings(plan, tally),
        "blocked": blocked(conn, plan, file),
        "ceiling": holds,
        "own": estimate.money.own,
        "cost": cost_words(estimate, plan.model, place.host),
        "host": place.host,
        "model": plan.model,
        "columns": list(plan.output.names) if plan.output.write else [],
        "try_most": try_words(want, found),
        "source": plan.source.name or "the query",
    }


def rows_words(plan: Plan, tally: Tally, whole: int | None) -> str:
    """How many rows are asked about, of how many."""
    name = plan.source.name or "the query"
    chosen = f"{tally.rows:,} of " if whole is not None and whole != tally.rows else ""
    rows = counted(tally.rows if whole is None else whole, "row")
    return f"{chosen}{rows} of {name}: {tally.asked:,} to ask"


def repaired(plan: Plan) -> str:
    """How often a wrong answer goes back; empty where none does."""
    if not plan.ask.repair:
        return ""
    often = "once" if plan.ask.repair == 1 else f"up to {plan.ask.repair} times"
    return f"a wrong answer goes back {often}, below the ceiling"


def left_out(tally: Tally) -> str:
    """Which rows are not asked about, and why; empty where all are."""
    said = []
    if tally.blank:
        said.append(f"{counted(tally.blank, 'row')} blank")
    if tally.unrenderable:
        said.append(f"{counted(tally.unrenderable, 'row')} that can't be made a request")
    if tally.too_large:
        said.append(f"{counted(tally.too_large, 'row')} too large")
    if tally.first_problem:
        said.append(cut(tally.first_problem, 200))
    return " · ".join(said)


def ceiling_holds(estimate: Estimate, model: str, ceiling: str | None) -> dict[str, Any]:
    """Whether the ceiling holds, else why not and the cap with which it would."""
    if estimate.money.own or not ceiling:
        return {"holds": True, "words": ""}
    money = replace(estimate.money, max_cost=parse_ceiling(ceiling))
    try:
        check_ceiling(replace(estimate, money=money), model)
    except CeilingError as error:
        return {"holds": False, "words": str(error), "cap": error.cap}
    return {"holds": True, "words": f"${ceiling}: holds"}


def blocked(conn: sqlite3.Connection, plan: Plan, file: str) -> str | None:
    """Why this can't be sent as it is: another job is at it, or columns hold values."""
    try:
        check_free(conn, plan, file)
    except (JobError, OutputError) as error:
        return str(error)
    return None


def request_words(plan: Plan, row: Rendered) -> dict[str, Any]:
    """One exact request: its row's key, who says what, and its body."""
    body = json.loads(row.line)["body"]
    pairs = [[role, cut(text, 4_000)] for role, text in said(body)]
    if plan.schema is not None:
        pairs.append(["answers", plan.schema.describe()])
    raw = json.dumps(body, ensure_ascii=False, indent=2)
    return {"row": row_words(plan, row.row_key), "pairs": pairs, "raw": cut_lines(raw, 20_000)}


def cut_lines(text: str, most: int) -> str:
    """A long text without its end; lines stay lines."""
    return text if len(text) <= most else text[:most] + "…"


def live(
    conn: sqlite3.Connection, options: Mapping[str, Any], file: str, settings: Settings
) -> list[dict[str, Any]]:
    """The first few requests of what is being typed. Reads a few rows only. Raises Fault."""
    drawn = ("sample", "seed", "pilot")
    few = {name: value for name, value in options.items() if name not in drawn}
    few |= {"limit": min(int(options.get("limit") or SHOWN), SHOWN), "missing": None}
    few["changed"] = None
    few.pop("max_cost", None)
    with at_fields(options), wanted(conn, few, settings) as want:
        return [request_words(want.plan, one) for one in first_rows(want.plan)]


def first_rows(plan: Plan) -> list[Rendered]:
    """The first few rows that can be asked."""
    shown: list[Rendered] = []
    for found in rendered(plan, new_tally(plan), "preview"):
        rows = found.rows() if isinstance(found, Run) else [found]
        for row in rows:
            if row.status == "pending":
                shown.append(row)
            if len(shown) == SHOWN:
                return shown
    return shown


# Trying


def try_words(want: Asked, found: Survey) -> str:
    """What trying the shown rows may cost, in a few words; empty where nobody knows."""
    money, plan = want.ask.money, want.plan
    if money.own:
        return "nothing (own server)"
    prices = prices_now(plan, want.place) or money.prices
    if prices is None:
        return ""
    models = (plan.model, *([money.price_as] if money.price_as else []))
    bound = PartBound(
        prices, money.counter(plan.model), plan.template.endpoint, models, money.window
    )
    for row in found.shown:
        bound.add(row.line)
    most = bound.count().nanousd
    return "" if most is None else f"at most {usd(most, up=True)}"


def try_rows(
    conn: sqlite3.Connection, draft: Draft, file: str, settings: Settings, told: Told | None = None
) -> None:
    """Ask the rows that were shown now, and keep what they answer with the draft."""
    with (
        wanted(conn, draft.options, settings) as want,
        Places(key=settings.key) as places,
    ):
        found = survey(conn, want.plan, told)
        with trying(want, places, found.shown) as (_, prices, answers):
            tried = list(answers)
        shown = trial(want.plan, found, tried, prices)
    drafts.leave_draft(
        conn, draft.token, "looked", tried=json.dumps(shown, ensure_ascii=False), message=None
    )


def trial(plan: Plan, found: Survey, tried: Sequence[Any], prices: Any) -> dict[str, Any]:
    """What the page of a draft shows of the rows that were tried."""
    sums = spent(tried, prices)
    good = sum(one.outcome.status == "ok" for one in tried)
    facts = [("Answered", f"{good} of {counted(len(tried), 'row')}")]
    if sums.nanousd is not None:
        facts.append(("This try", f"{usd(sums.nanousd)} (single requests, without a batch)"))
    if sums.requests and found.tally.estimate is not None:
        facts += all_rows(tried, found.tally.estimate, plan)
    return {
        "facts": facts,
        "rows": [
            {
                "row": row_words(plan, one.row.row_key),
                "status": one.outcome.status,
                "told": told_of(one),
                "pairs": answer_pairs(plan, one),
            }
            for one in tried
        ],
    }


# Sending


@dataclass(frozen=True, slots=True)
class Made:
    """What a draft became: a job, or a sentence why nothing was sent."""

    job_id: int | None
    sentence: str | None = None


def make(
    conn: sqlite3.Connection, draft: Draft, file: str, settings: Settings, told: Told | None = None
) -> Made:
    """Make a job of a confirmed draft, and approve it where it is to be sent.

    Where something changed since it was looked at, nothing is sent: the draft is looked at anew.
    What a kill leaves is gone on with by the next call.
    """
    job = job_of(conn, draft)
    if job is None or job.requests is None:
        job = prepared(conn, draft, file, settings, told)
    if job.approved_at is None:
        difference = differs(conn, draft, job)
        if difference:
            discard(conn, job)
            drafts.update_draft(conn, draft.token, status="looking")
            look(conn, draft, file, settings)
            drafts.update_draft(conn, draft.token, message=difference, wish=None)
            return Made(None, difference)
        note(conn, job, "created", draft.actor)
        if draft.wish == "send":
            job = approve(conn, job)
            note(conn, job, "approved", draft.actor)
    drafts.leave_draft(conn, draft.token, "done", job_id=job.id, message=None)
    return Made(job.id)


def job_of(conn: sqlite3.Connection, draft: Draft) -> store.Job | None:
    """The job that a draft became already."""
    if not store.exists(conn):
        return None
    return next((job for job in store.list_jobs(conn) if job.uid == draft.uid), None)


def prepared(
    conn: sqlite3.Connection, draft: Draft, file: str, settings: Settings, told: Told | None
) -> store.Job:
    """Store the job of a draft; as `prepare` does at the command line."""
    with (
        wanted(conn, draft.options, settings) as want,
        Places(key=settings.key) as places,
    ):
        job, _ = store_job(
            conn,
            file,
            want,
            places,
            uid=draft.uid,
            sends=draft.wish == "send",
            progress=told,
        )
    return job


def differs(conn: sqlite3.Connection, draft: Draft, job: store.Job) -> str | None:
    """What a job would do otherwise than its draft said; None where it is what was confirmed."""
    asked = draft.look.get("asked")
    now = sum(part.requests for part in store.list_parts(conn, job.id)) // times_of(job)
    if asked is not None and asked != now:
        return (
            f"Nothing was sent: there were {counted(asked, 'row')} to ask, now there are {now:,}."
        )
    if draft.cost_nanousd != job.upper_cost_nanousd:
        was = "unknown" if draft.cost_nanousd is None else usd(draft.cost_nanousd, up=True)
        most = job.upper_cost_nanousd
        return (
            f"Nothing was sent: it might have cost {was} at most, "
            f"now {'that is unknown' if most is None else usd(most, up=True)}."
        )
    if draft.hash != hash_of_job(conn, job):
        return "Nothing was sent: rows were changed since you looked at them."
    return None


def note(conn: sqlite3.Connection, job: store.Job, did: str, actor: str | None) -> None:
    """Keep who did something with a job."""
    with transaction(conn):
        store.log(conn, "by", job_id=job.id, did=did, actor=actor)
