"""A job as Markdown for a methods section: what was asked, of whom, when, and what came of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import store
from ..answers.codebook import job_codebook
from ..base import clock
from ..base.errors import OpenAIBatchError
from ..base.statuses import NOT_WRITTEN, REFUSED
from ..base.text import code, counted, fenced, percent, plain, visible
from ..pricing.prices import job_is_own, stored_prices, usd
from ..provider.errors import host_of
from ..requests.template import LINE_COLUMN
from ..store import history, reviews
from ..store import outcomes as settling
from ..store.reviews import Sample
from ..tables.output import Output
from .again import Round, again_section, rounds
from .calibration import Calibration, calibration_lines, calibrations
from .compare import Compared, Comparison
from .shares import Shares

# Words of a body that are told elsewhere in the report.
TOLD = {"model", "messages", "input", "instructions", "prompt", "response_format", "text"}


@dataclass(frozen=True)
class Facts:
    """What a report tells beside the job's own record."""

    parts: list[store.Part]
    models: Sequence[tuple[str, int]]
    failures: Sequence[tuple[str, str | None, int]]
    writes: dict[str, int]
    notes: Sequence[tuple[str, int]]
    imports: Sequence[tuple[str, str, int]]
    judged: list[Judged]
    samples: list[Sample]
    pilot: Pilot | None = None
    again: Sequence[Round] = ()
    calibrations: Sequence[Calibration] = ()


@dataclass(frozen=True)
class Pilot:
    """A first look, and the keys of its rows, as many as a report names."""

    job: store.Job
    keys: list[Any]


PILOT_KEYS = 1_000


def pilot_of(conn: sqlite3.Connection, job: store.Job) -> Pilot | None:
    """The pilot of a job: itself, or the one that it goes on with."""
    looked = job.settings.get("pilot_job")
    pilot = job if job.settings.get("pilot") else None
    if pilot is None and looked is not None:
        pilot = next((one for one in store.list_jobs(conn) if one.id == looked), None)
    if pilot is None:
        return None
    return Pilot(pilot, settling.row_keys(conn, pilot.id, PILOT_KEYS))


def report(conn: sqlite3.Connection, job: store.Job, *, people: bool = True) -> str:
    """The report of a job; it reads every request once, and once a column that people judged.

    Without `people` what they say of the rows is left out.
    """
    facts = Facts(
        store.list_parts(conn, job.id),
        settling.models(conn, job.id),
        settling.failures(conn, job.id),
        settling.write_statuses(conn, job.id),
        settling.notes(conn, job.id),
        history.imports(conn, job.id),
        judged(conn, job) if people else [],
        reviews.samples(conn, job.id),
        pilot_of(conn, job),
        rounds(conn, job),
        calibrations(conn, job),
    )
    return visible("\n".join(lines(job, facts)).rstrip()) + "\n"


def lines(job: store.Job, facts: Facts) -> Iterator[str]:
    """The report, line by line."""
    yield f"# Job {job.id}{f': {plain(job.name)}' if job.name else ''}"
    yield ""
    yield summary(job, facts)
    yield ""
    yield from data(job, facts)
    yield from asked(job)
    yield from outcomes(job, facts)
    yield from again_section(job, facts.again)
    yield from judged_lines(facts.judged, facts.samples)
    yield from calibration_lines(facts.calibrations)
    yield from cost(job, facts)
    yield from versions(job)
    yield from codebook_lines(job)


def codebook_lines(job: store.Job) -> Iterator[str]:
    """The codebook, as an appendix; nothing where there is none."""
    codebook = job_codebook(job.settings)
    if codebook is None:
        return
    yield ""
    yield "## Appendix: codebook"
    for variable in codebook.variables:
        yield ""
        yield f"### {plain(variable.name)}"
        yield ""
        scale = " The labels are steps of a scale." if variable.ordered else ""
        yield f"{plain(sentence(variable.definition))}{variable.wanted()}{scale}"
        if variable.example:
            yield f"Example: {plain(variable.example)}"
        if variable.labels:
            yield ""
            yield "| label | definition | example |"
            yield "|---|---|---|"
            for label in variable.labels:
                cells = (str(label.value), label.definition, label.example)
                yield f"| {' | '.join(plain(cell) or ' ' for cell in cells)} |"
        if (nothing := variable.nothing_fits()) is not None:
            yield ""
            yield plain(nothing)


def sentence(text: str) -> str:
    """A definition before another sentence."""
    bare = text.strip()
    return f"{bare}{'' if bare.endswith(('.', '?', '!')) else '.'} " if bare else ""


def summary(job: store.Job, facts: Facts) -> str:
    """A paragraph that can stand in a paper."""
    counts = store.outcome_counts(facts.parts)
    names = [model for model, _ in facts.models]
    by = f" (answered by {plain(', '.join(names))})" if names and names != [job.model] else ""
    when = period(job)
    one = job.requests == 1
    by_hand = job.submitted_at is None and bool(facts.imports)
    asked = job.submitted_at or by_hand
    put = ("was" if one else "were each") if asked else "is to be" if one else "are to be"
    through = f"through the batch API of {place(job)}{when}"
    if by_hand:
        last = clock.parse(facts.imports[-1][0])
        through = f"by hand, and the answers brought in from files, by {day(last)}"
    return (
        f"{number(job.requests or 0, 'row')} of {source_words(job)} {put} put to "
        f"{plain(job.model or 'the model')}{by} {through}. Answered: {counts.get('ok', 0):,}."
    )


def number(count: int, noun: str) -> str:
    """`1 row`, `39,012 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def source_words(job: store.Job) -> str:
    """What was asked about."""
    return code(job.source) if job.source else "a query"


def place(job: store.Job) -> str:
    """Whose API answered."""
    if job.provider == "local":
        return plain(job.base_url or "a server on this machine")
    host = host_of(job.base_url or "")
    return "OpenAI" if host == "api.openai.com" else plain(host)


def period(job: store.Job) -> str:
    """From when to when."""
    submitted, finished = clock.told(job.submitted_at), clock.told(job.finished_at)
    if submitted is None:
        return ""
    first = clock.parse(submitted)
    last = clock.parse(finished) if finished else None
    if last is None:
        return f", since {day(first)}"
    return f" on {day(first)}" if first.date() == last.date() else f", {day(first)} to {day(last)}"


def day(at: datetime) -> str:
    """A date as papers write it: `20 November 2026`."""
    return f"{at.day} {at:%B %Y}"


def utc(text: str | None) -> str:
    """A moment to the minute."""
    at = clock.told(clock.kept(text))
    return f"{clock.parse(at):%Y-%m-%d %H:%M} UTC" if at else "-"


def data(job: store.Job, facts: Facts) -> Iterator[str]:
    """Which rows, and where their answers are."""
    settings = job.settings
    yield "## Data"
    yield ""
    keys = ", ".join(map(code, job.keys))
    yield f"- Source: {source_words(job)}, rows named by {keys}"
    if job.source_sql:
        yield ""
        yield fenced(job.source_sql, "sql")
        yield ""
    for name, word in (("where", "Condition"), ("order", "Order"), ("limit", "At most")):
        if settings.get(name) is not None:
            yield f"- {word}: {code(str(settings[name]))}"
    if settings.get("sample") is not None:
        yield f"- Sample: {settings['sample']:,} rows, seed {settings.get('seed', 0)}"
    yield from pilot_lines(job, facts)
    times = int(settings.get("times") or 1)
    yield f"- Rows asked: {(job.requests or 0) // times:,}"
    if times > 1:
        yield (
            f"- Each row was asked {times} times, with seeds of its own, and has the label that "
            "most of these answers give; of as many the one that came first in the order of seeds"
        )
    if job.skipped:
        yield f"- Rows left out because their text was blank: {job.skipped:,}"
    output = Output.of(job)
    if output.write:
        table = output.table or job.source
        yield f"- Answers: {', '.join(code(f'{table}.{name}') for name in output.names)}"
    why = {**{status: words.why for status, words in NOT_WRITTEN.items()}, "refused": REFUSED}
    for status, word in why.items():
        if facts.writes.get(status):
            yield f"- Not written, because {word}: {facts.writes[status]:,}"
    yield ""


def pilot_lines(job: store.Job, facts: Facts) -> Iterator[str]:
    """Which rows were the pilot."""
    pilot = facts.pilot
    if pilot is None:
        return
    seed = pilot.job.settings.get("seed", 0)
    rows = number(pilot.job.requests or 0, "row")
    by = "" if pilot.job.id == job.id else f", were asked before by job {pilot.job.id}"
    keys = ", ".join(plain(str(key)) for key in pilot.keys)
    more = "" if len(pilot.keys) == (pilot.job.requests or 0) else " …"
    yield f"- Pilot: {rows}, drawn at random (seed {seed}){by}: {keys}{more}"


def asked(job: store.Job) -> Iterator[str]:
    """The request, with its placeholders, and the schema."""
    body = job.body
    yield "## Request"
    yield ""
    stands = (
        f"each request is the text in column {code(LINE_COLUMN)}, sent as it stands there."
        if job.settings.get("lines")
        else "`{{ }}` stands for the value of a column."
    )
    yield f"Endpoint {code(job.endpoint)}, model {code(job.model or '-')}; {stands}"
    for label, said in texts(body):
        yield ""
        yield f"{label}:"
        yield ""
        yield fenced(said)
    rest = {name: value for name, value in body.items() if name not in TOLD}
    if rest:
        yield ""
        yield f"{'In all of them' if job.settings.get('lines') else 'Parameters'}: " + ", ".join(
            f"{code(name)} {code(json.dumps(value, ensure_ascii=False))}"
            for name, value in rest.items()
        )
    if job.answer_schema:
        yield ""
        yield "Answers had to match this JSON schema, and were checked by it:"
        yield ""
        yield fenced(json.dumps(job.asked_schema, ensure_ascii=False, indent=2), "json")
    elif wanted := body.get("response_format") or body.get("text"):
        yield ""
        yield f"Response format: {code(json.dumps(wanted, ensure_ascii=False))}"
    yield ""


def texts(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Who says what in a request's body."""
    if "instructions" in body:
        yield "System", as_text(body["instructions"])
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list) and all(isinstance(one, dict) for one in messages):
        for message in messages:
            role = str(message.get("role", "input")).capitalize()
            yield role, as_text(message.get("content", message))
    elif messages is not None:
        yield "Input", as_text(messages)
    if "prompt" in body:
        yield "Prompt", as_text(body["prompt"])


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def outcomes(job: store.Job, facts: Facts) -> Iterator[str]:
    """What became of the requests; the sum is that of the rows asked."""
    counts = store.outcome_counts(facts.parts)
    total = sum(counts.values())
    yield "## Outcomes"
    yield ""
    yield "| outcome | requests | share |"
    yield "|---|---:|---:|"
    for status, count in sorted(counts.items(), key=lambda one: (one[0] != "ok", -one[1])):
        yield f"| {status} | {count:,} | {100 * count / total:.1f} % |"
    yield f"| sum | {total:,} | |"
    yield ""
    if facts.failures:
        yield "| outcome | commonest message | requests |"
        yield "|---|---|---:|"
        for status, message, count in facts.failures:
            yield f"| {status} | {plain(message or '-')} | {count:,} |"
        yield ""
    for note, count in facts.notes:
        yield f"In {number(count, 'answer')} {plain(note)}."
        yield ""
    if len(facts.models) > 1:
        said = ", ".join(f"{plain(model)} {count:,}" for model, count in facts.models)
        yield f"Answers by model: {said}."
        yield ""


def cost(job: store.Job, facts: Facts) -> Iterator[str]:
    """Tokens, money and time."""
    yield "## Cost and time"
    yield ""
    for label, name in (
        ("Input tokens", "prompt_tokens"),
        ("of them cached", "cached_tokens"),
        ("Output tokens", "completion_tokens"),
        ("of them reasoning", "reasoning_tokens"),
    ):
        found = [getattr(part, name) for part in facts.parts]
        known = [count for count in found if count is not None]
        if known and (sum(known) or not label.startswith("of")):
            yield f"- {label}: {sum(known):,}"
    yield f"- Cost: {cost_words(job)}"
    yield f"- Submitted {utc(job.submitted_at)}, finished {utc(job.finished_at)}"
    for at, file, count in facts.imports[:20]:
        yield f"- Brought in by hand: {number(count, 'line')} of `{file}`, {utc(at)}"
    if len(facts.imports) > 20:
        yield f"- and {number(len(facts.imports) - 20, 'more file')}"
    batches = [part.batch_id for part in facts.parts if part.batch_id]
    if batches:
        more = f" and {len(batches) - 20:,} more" if len(batches) > 20 else ""
        yield f"- Batches: {', '.join(f'`{batch}`' for batch in batches[:20])}{more}"
    yield ""


def cost_words(job: store.Job) -> str:
    """What a job cost, and by whose prices."""
    if job_is_own(job.provider, job.base_url, job.settings):
        return "none (own server)"
    if job.cost_nanousd is None:
        return "not known"
    prices = stored_prices(job.settings)
    since = f" of {prices.since}" if prices and prices.since else ""
    by = f" (batch prices{since}, {plain(prices.source)})" if prices else ""
    return f"{usd(job.cost_nanousd)}{by}"


def versions(job: store.Job) -> Iterator[str]:
    """What made the job."""
    found = job.made_with
    if found:
        yield "## Software"
        yield ""
        yield ", ".join(f"{plain(name)} {plain(version)}" for name, version in found.items()) + "."


# What people said of a job's rows.

METHOD = (
    "Shares were corrected for the model's errors by prediction-powered inference (Angelopoulos et "
    "al., Science 382, 2023) with a tuned weight (PPI++, 2023): the model's answers of all rows, "
    "and people's labels of a random sample of them. Intervals are of 95 %."
)


@dataclass(frozen=True)
class Judged:
    """What people said of one column."""

    compared: Compared
    shares: Shares | None
    """None where the column has no shares: text, objects."""
    coders: int
    alpha: float | None


def judged(conn: sqlite3.Connection, job: store.Job) -> list[Judged]:
    """What people said of each column of a job that they judged; reads all answers for each."""
    if not any(not review.skipped for review in reviews.of_job(conn, job.id)):
        return []
    try:
        comparison = Comparison(conn, job, people=True)
    except OpenAIBatchError:
        # No answer yet, or coders agree on none of the rows: there is nothing to tell.
        return []
    for _ in comparison.differences():
        pass
    found = []
    for column in comparison.columns:
        coders, alpha = comparison.coders(column)
        found.append(Judged(column, shares_of(conn, job, column.name), len(coders), alpha))
    return found


def shares_of(conn: sqlite3.Connection, job: store.Job, column: str) -> Shares | None:
    """The shares of a column; None where it has none."""
    try:
        return Shares.of(conn, job, column)
    except OpenAIBatchError:
        # Text that differs in each row has no shares; the agreement is told all the same.
        return None


def judged_lines(found: list[Judged], samples: list[Sample]) -> Iterator[str]:
    """The section, line by line; nothing where nobody judged anything."""
    if not found:
        return
    yield "## Labels by people"
    yield ""
    yield drawn_words(samples)
    yield ""
    for one in found:
        yield agreed_words(one)
        yield ""
        if one.shares is not None:
            yield from share_lines(one.shares)
    if any(one.shares is not None and one.shares.whole.reviewed for one in found):
        yield METHOD
        yield ""


def drawn_words(samples: list[Sample]) -> str:
    """How the rows were chosen that people labelled."""
    random = [sample for sample in samples if sample.kind == "random"]
    if not random:
        return "The rows that people labelled were not drawn at random."
    rows = len({request for sample in random for request in sample.requests})
    seeds = ", ".join(sorted({str(sample.seed) for sample in random}))
    hidden = "without sight of" if all(sample.blind for sample in random) else "in sight of"
    return (
        f"A random sample of {counted(rows, 'answered row')} (seed {seeds}) was given to people to "
        f"label, {hidden} the model's answers."
    )


def agreed_words(one: Judged) -> str:
    """How far the model and people agree in a column, and people among themselves."""
    found = one.compared.agreement
    kappa = found.kappa
    said = (
        f"{code(one.compared.name)}: {counted(found.n, 'row')} labelled by "
        f"{counted(one.coders, 'person', 'people')}; the model says the same in "
        f"{percent(found.same, found.n)}"
    )
    if kappa is not None:
        said += f" (Cohen's κ {kappa.value:.2f}, 95 %: {kappa.low:.2f} to {kappa.high:.2f})"
    weighted = found.weighted
    if weighted is not None:
        said += (
            f"; weighted κ {weighted.value:.2f}, 95 %: {weighted.low:.2f} to {weighted.high:.2f}"
        )
    if one.alpha is not None:
        said += f"; Krippendorff's α among people is {one.alpha:.2f}"
    return f"{said}."


def share_lines(shares: Shares) -> Iterator[str]:
    """The shares of a column as a table, and what must be known of them."""
    if shares.whole.reviewed:
        yield f"| {plain(shares.question.name)} | by the model | corrected | 95 % interval |"
        yield "|---|---:|---:|---:|"
        scale, unit = (1.0, "") if shares.is_mean else (100.0, " %")
        for one in shares.shares(shares.whole):
            by = one.corrected
            cells = [plain(shares.question.shown(one.label))]
            cells.append("-" if one.share is None else f"{scale * one.share:.1f}{unit}")
            cells.append(f"{scale * by.value:.1f}{unit}" if by else "-")
            low, high = (scale * by.low, scale * by.high) if by else (0.0, 0.0)
            cells.append(f"{low:.1f} to {high:.1f}{unit}" if by else "-")
            yield f"| {' | '.join(cells)} |"
        yield ""
    for sentence in shares.warnings():
        yield sentence
        yield ""
