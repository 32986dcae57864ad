"""What somebody asked for, checked against the database: everything before the first row.

`Ask` is the command line as data; `settle` turns it into a `Plan` or raises, and writes nothing.
"""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import store
from .body import build_body
from .errors import JobError, TemplateError, UsageError
from .estimate import Money
from .limits import Limits, limits_for
from .output import Output, check_output, plan_output
from .schema import AnswerSchema
from .source import Source, open_source
from .template import Renderer, Template

CHAT = "/v1/chat/completions"
DEFAULT_MODEL = "gpt-4o-mini"
BLANKS = ("skip", "send", "error")


@dataclass(frozen=True)
class Ask:
    """The options of `run`, `preview` and `prepare`, as they were given."""

    table: str | None = None
    sql: str | None = None
    pk: Sequence[str] = ()
    where: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    order: str | None = None
    limit: int | None = None
    model: str | None = None
    system: str | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    schema: str | None = None
    endpoint: str = CHAT
    name: str | None = None
    blanks: str = "skip"
    output: str | None = None
    output_table: str | None = None
    prefix: str = ""
    replace: bool = False
    write: bool = True
    responses: str = "all"
    part_requests: int | None = None
    part_bytes: int | None = None
    provider: str = "openai"
    new: bool = False
    money: Money = field(default_factory=Money)


@dataclass
class Plan:
    """An `Ask` that the database can answer to. `close` frees the private copy of a query."""

    ask: Ask
    source: Source
    template: Template
    renderer: Renderer
    schema: AnswerSchema | None
    output: Output
    limits: Limits
    model: str
    hashed: tuple[int, ...]
    warnings: list[str]

    def close(self) -> None:
        """Drop what was read from a view or query."""
        self.source.close()


def text_or_file(value: str | None) -> str | None:
    """The text of the file of that name where there is one, else the value itself."""
    if value is None or "\n" in value or len(value) > 1_000:
        return value
    try:
        file = Path(value)
        if file.is_file():
            return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        # A prompt may well be no possible file name.
        return value
    return value


def settle(conn: sqlite3.Connection, ask: Ask, *, default_model: str = DEFAULT_MODEL) -> Plan:
    """Check all that can be checked without reading rows. Raises OpenAIBatchError."""
    if ask.name is not None and (not ask.name.strip() or ask.name.isdigit()):
        raise UsageError(f"--name '{ask.name}': a name can't be only digits, they mean a job's id.")
    source = open_source(
        conn,
        ask.table,
        sql=ask.sql,
        params=ask.params,
        pk=ask.pk,
        where=ask.where,
        order=ask.order,
        limit=ask.limit,
    )
    try:
        return settle_source(conn, ask, source, default_model)
    except BaseException:
        source.close()
        raise


def settle_source(conn: sqlite3.Connection, ask: Ask, source: Source, default_model: str) -> Plan:
    """The rest of `settle`, once there is a source."""
    model = ask.model or default_model
    schema = AnswerSchema.load(ask.schema) if ask.schema else None
    prompt = text_or_file(ask.prompt)
    if not prompt:
        columns = [column for column in source.columns if column not in source.key_columns]
        example = columns[0] if columns else "column"
        raise TemplateError(
            f"What is to be asked? Give a prompt with a column in it: "
            f"--prompt 'Summarise: {{{{ {example} }}}}'. Columns: {', '.join(source.columns)}"
        )
    body = build_body(
        endpoint=ask.endpoint,
        model=model,
        prompt=prompt,
        system=text_or_file(ask.system),
        schema=schema,
        options=ask.options,
    )
    template = Template(body, ask.endpoint)
    renderer = template.bind(source.columns)
    output = plan_output(
        source,
        schema,
        output=ask.output,
        output_table=ask.output_table,
        prefix=ask.prefix,
        replace=ask.replace,
        write=ask.write,
        responses=ask.responses,
        answer_type="BLOB" if ask.endpoint.endswith("/embeddings") else "TEXT",
    )
    limits = limits_for(
        ask.provider, ask.endpoint, requests=ask.part_requests, bytes=ask.part_bytes
    )
    source.check_keys()
    return Plan(
        ask=ask,
        source=source,
        template=template,
        renderer=renderer,
        schema=schema,
        output=output,
        limits=limits,
        model=model,
        hashed=hashed_columns(renderer, output),
        warnings=list(source.warnings),
    )


def hashed_columns(renderer: Renderer, output: Output) -> tuple[int, ...]:
    """Which of the rendered columns a row's hash covers: all but those the job writes itself."""
    written = {name.lower() for name in output.names} if output.table is None else set()
    return tuple(
        index for index, name in enumerate(renderer.columns) if name.lower() not in written
    )


def check_free(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError or OutputError where this would be asked, or written, a second time."""
    if not plan.ask.new:
        refuse_unfinished_twin(conn, plan, path)
    check_output(conn, plan.source, plan.output)


def refuse_unfinished_twin(conn: sqlite3.Connection, plan: Plan, path: str) -> None:
    """Raise JobError where an unfinished job has the same source, template and output."""
    for job in store.unfinished_jobs(conn):
        same = (
            job.source == plan.source.name
            and job.source_sql == plan.source.sql
            and job.template_hash == plan.template.hash
            and Output.from_json(job.output).names == plan.output.names
            and Output.from_json(job.output).table == plan.output.table
        )
        if same and job.requests is not None:
            step = "submit" if job.approved_at is None else "watch"
            raise JobError(
                f"Job {job.id} asks the same of {job.source or 'the same query'} and isn't "
                f"finished ({job.status}). Go on with: "
                f"sqlite-utils openai-batch {step} {shlex.quote(path)} {job.id} (or ask once more with --new)"
            )
