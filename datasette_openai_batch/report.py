"""A job as Markdown for a methods section: prompt, schema, models, counts, cost, versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from sqlite_utils_openai_batch import clock

from . import asked, words
from .jobs import Opened


def report(opened: Opened, models: Sequence[str]) -> str:
    """The report of a job; `models` are those that answered, as the provider names them."""
    return "\n".join(lines(opened, models)).rstrip() + "\n"


def lines(opened: Opened, models: Sequence[str]) -> Iterator[str]:
    """The report, line by line."""
    job = opened.job
    name = f": {job.name}" if job.name else ""
    yield f"# Batch job {job.id}{plain(name)}"
    yield ""
    yield from overview(opened, models)
    yield ""
    yield "## Outcomes"
    yield ""
    yield "| outcome | requests | share |"
    yield "|---|---:|---:|"
    for status, count in opened.outcomes.items():
        yield f"| {status} | {count:,} | {words.percent(count, opened.total)} |"
    yield f"| sum | {opened.total:,} | |"
    yield ""
    yield "## What was asked"
    shown = asked.asked(opened)
    for said in asked.texts(json.loads(job.template)):
        yield ""
        yield f"{plain(said[0])}:"
        yield ""
        yield fenced(said[1])
    for parameter, value in shown.parameters:
        yield ""
        yield f"`{plain(parameter)}`: {plain(value)}"
    if job.answer_schema:
        yield ""
        yield "Answer schema:"
        yield ""
        yield fenced(
            json.dumps(json.loads(job.answer_schema), ensure_ascii=False, indent=2), "json"
        )
    yield ""
    yield "## Versions"
    yield ""
    for package, version in json.loads(job.versions or "{}").items():
        yield f"- {plain(package)} {plain(version)}"


def overview(opened: Opened, models: Sequence[str]) -> Iterator[str]:
    """Source, model, dates, cost and tokens as a list."""
    job = opened.job
    skipped = f"; {job.skipped:,} skipped as blank" if job.skipped else ""
    yield f"- Source: {plain(job.source or 'a query')} ({opened.total:,} rows asked{skipped})"
    if job.source_sql:
        yield f"- Query: `{plain(job.source_sql)}`"
    answered = f", answered by {', '.join(models)}" if models else ""
    yield f"- Model: {plain(job.model or '')}{plain(answered)}"
    yield f"- Endpoint: {plain(job.endpoint)} at {plain(words.provider(job))}"
    yield f"- Answers: {plain(asked.writes(opened))}"
    if job.submitted_at:
        yield f"- Submitted: {utc(job.submitted_at)}"
    if job.finished_at:
        yield f"- Finished: {utc(job.finished_at)}"
    yield f"- Cost: {words.cost(job)}"
    counts = {name: count for name, count in opened.tokens.items() if count is not None}
    if counts:
        said = ", ".join(f"{n:,} {name.removesuffix('_tokens')}" for name, n in counts.items())
        yield f"- Tokens: {said}"


def utc(text: str) -> str:
    """A moment for a report: date and minute, in UTC."""
    return f"{clock.parse(text):%Y-%m-%d %H:%M} UTC"


def plain(text: str) -> str:
    """Text on one line, with the characters escaped that Markdown or HTML would act on."""
    line = " ".join(str(text).split())
    return "".join(
        f"\\{c}" if c in "\\`*[]|" else {"<": "&lt;", "&": "&amp;"}.get(c, c) for c in line
    )


def fenced(text: str, language: str = "") -> str:
    """Text in a code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"
